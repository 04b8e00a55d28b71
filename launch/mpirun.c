/* What is known about Open MPI's mpirun: how it is called, and how it speaks. */
#include "launch/launch_int.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FENCE = 70, /* dashes that begin and end a block; mpirun writes 74 */
    BLOCK_MAX = 16384 /* bytes of a block: what is longer was none */
};

/* The command line. */

static lk_status add(lki_words *w, const char *word)
{
    LK_TRY(lk_realloc_array(w->n > 0 ? w->n + 1 : 0, (int64_t)w->n + 2, sizeof *w->item, "command line", &w->item));
    LK_TRY(lk_strdup(word, &w->item[w->n]));
    w->n++;
    return LK_OK;
}

static lk_status add_all(lki_words *w, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        LK_TRY(add(w, words[i]));
    return LK_OK;
}

static bool is_program(const char *path)
{
    return access(path, X_OK) == 0;
}

static lk_status find_mpirun(lk_buf *out)
{
    const char *wish = getenv("LOCKSTEP_MPIRUN");
    const char *path = getenv("PATH");

    if (wish != NULL && wish[0] != 0) {
        if (!is_program(wish))
            return LK_FAIL(LK_E_NOT_FOUND, "LOCKSTEP_MPIRUN: %s is no program that can be run", wish);
        lk_buf_add(out, wish);
        return lk_buf_status(out);
    }
    for (path = path != NULL ? path : "/usr/bin:/bin"; *path != 0; path += *path == ':') {
        const size_t n = strcspn(path, ":");
        lk_buf_clear(out);
        lk_buf_add_n(out, path, n);
        lk_buf_add(out, n > 0 ? "/mpirun" : "./mpirun");
        LK_TRY(lk_buf_status(out));
        if (is_program(out->text))
            return LK_OK;
        path += n;
    }
    return LK_FAIL(LK_E_NOT_FOUND, "mpirun was not found in PATH: install Open MPI (Debian, Ubuntu: apt-get install "
                                   "openmpi-bin), or name it in LOCKSTEP_MPIRUN");
}

static lk_status find_self(char *out, size_t cap)
{
    const ssize_t n = readlink("/proc/self/exe", out, cap - 1);

    LK_TRY(LK_SYS(n < 0, "read link", "/proc/self/exe"));
    out[n] = 0;
    return LK_OK;
}

static int cores_allowed(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

lk_status lki_mpirun_words(const lk_launch_opts *o, lki_words *out)
{
    /* Ranks have threads of their own: they are not tied to one core each. Blocks come whole, not counted up later. */
    static const char *const always[] = {"--bind-to", "none", "--mca", "orte_base_help_aggregate", "0"};
    static const char *const yield[] = {"--mca", "mpi_yield_when_idle", "1"};
    lki_words w = {0};
    lk_buf mpirun = {0};
    char text[4096];
    lk_status st;

    LK_TRY_TO(st, out, find_mpirun(&mpirun));
    LK_TRY_TO(st, out, add(&w, mpirun.text));
    if (geteuid() == 0)
        LK_TRY_TO(st, out, add(&w, "--allow-run-as-root"));
    LK_TRY_TO(st, out, add_all(&w, always, 5));
    if (o->hostfile != NULL) {
        if (access(o->hostfile, R_OK) != 0)
            LK_TRY_TO(st, out, LK_SYS(true, "read", o->hostfile));
        LK_TRY_TO(st, out, add(&w, "--hostfile"));
        LK_TRY_TO(st, out, add(&w, o->hostfile));
    } else {
        /* mpirun counts cores, not what the scheduler gives us of them, and refuses more ranks than those unless told.
         * Inside a batch job the job's own size is the limit. */
        if (getenv("SLURM_JOB_ID") == NULL)
            LK_TRY_TO(st, out, add(&w, "--oversubscribe"));
        /* A rank that spins while it waits takes the core from the rank that it waits for: 8 ms a message in place of
         * 45 us. */
        if (o->ranks > cores_allowed())
            LK_TRY_TO(st, out, add_all(&w, yield, 3));
    }
    snprintf(text, sizeof text, "%d", o->ranks);
    LK_TRY_TO(st, out, add(&w, "-n"));
    LK_TRY_TO(st, out, add(&w, text));
    LK_TRY_TO(st, out, find_self(text, sizeof text));
    LK_TRY_TO(st, out, add(&w, text));
    for (int i = 0; i < o->n_words; i++)
        LK_TRY_TO(st, out, add(&w, o->word[i]));
    *out = w;
out:
    if (st != LK_OK)
        lki_words_free(&w);
    lk_buf_fini(&mpirun);
    return st;
}

void lki_words_free(lki_words *w)
{
    lk_strings_free(&w->item, w->n);
    w->n = 0;
}

/* Its speech. */

static void write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        const ssize_t done = write(fd, text, n);
        if (done > 0) {
            text += done;
            n -= (size_t)done;
        } else if (done < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            poll(&p, 1, 1000);
        } else if (done == 0 || errno != EINTR) {
            return; /* nobody reads any more; the job goes on */
        }
    }
}

static void pass(lki_speech *s, const char *text, size_t n)
{
    if (n == 0)
        return;
    write_all(s->fd, text, n);
    s->passed += n;
    s->open_line = text[n - 1] != '\n';
}

static void pass_dashes(lki_speech *s, int n)
{
    for (int i = 0; i < n; i++)
        pass(s, "-", 1);
}

/* The beginning of a block was a rank's line after all. */
static void give_up_block(lki_speech *s)
{
    pass_dashes(s, s->dashes);
    pass(s, "\n", 1);
    pass(s, lk_buf_text(&s->block), s->block.len);
    lk_buf_clear(&s->block);
    s->inside = false;
    s->dashes = 0;
}

static void close_block(lki_speech *s)
{
    if (strstr(lk_buf_text(&s->kept), lk_buf_text(&s->block)) == NULL)
        lk_buf_add(&s->kept, lk_buf_text(&s->block));
    lk_buf_clear(&s->block);
    s->n_blocks++;
    s->inside = false;
    s->dashes = 0;
}

/* Where the last, unfinished or just finished line of the open block begins. */
static size_t last_line(const lki_speech *s)
{
    size_t at = s->block.len;

    while (at > 0 && s->block.text[at - 1] != '\n')
        at--;
    return at;
}

static void take_inside(lki_speech *s, char c)
{
    if (c != '\n') {
        lk_buf_add_n(&s->block, &c, 1);
        if (s->block.len > BLOCK_MAX || s->block.failed)
            give_up_block(s);
        return;
    }
    const size_t at = last_line(s);
    const char *line = lk_buf_text(&s->block) + at;
    const size_t n = s->block.len - at;
    if (n >= FENCE && strspn(line, "-") == n) {
        s->block.text[at] = 0;
        s->block.len = at;
        close_block(s);
    } else if (strncmp(line, "lockstep", 8) == 0) { /* ours, in the middle of theirs */
        pass(s, line, n);
        pass(s, "\n", 1);
        s->block.text[at] = 0;
        s->block.len = at;
    } else {
        lk_buf_add_n(&s->block, &c, 1);
    }
}

/* Length of a line of mpirun's own outside of blocks that begins here, with the empty line that may follow; 0: none
 * does. Such lines come in one piece, maybe behind a progress bar: "mpirun: Forwarding signal 10 to job", "[host:PID]
 * ..." with its own process id (it stumbles now and then over what it has to say of an abort), and what its daemons on
 * other hosts log. */
static size_t own_line(const lki_speech *s, const char *text, size_t n)
{
    static const char name[] = "mpirun: ", error_log[] = "ORTE_ERROR_LOG";
    const char *end;
    char pid[32];
    bool own = false;

    if ((text[0] != '[' && text[0] != name[0]) || (end = memchr(text, '\n', n)) == NULL)
        return 0;
    const size_t line = (size_t)(end - text) + 1;
    const char *bracket = memchr(text, ']', line);
    if (text[0] == '[' && bracket != NULL) {
        const size_t m = (size_t)snprintf(pid, sizeof pid, ":%ld]", (long)s->pid);
        const size_t head = (size_t)(bracket - text) + 1;
        own = (head > m && memcmp(text + head - m, pid, m) == 0) ||
              memmem(text, line, error_log, strlen(error_log)) != NULL;
    } else if (line > strlen(name)) {
        own = memcmp(text, name, strlen(name)) == 0;
    }
    return !own ? 0 : line < n && text[line] == '\n' ? line + 1 : line;
}

void lki_speech_add(lki_speech *s, const char *text, size_t n)
{
    size_t from = 0; /* of what passes */

    for (size_t i = 0; i < n; i++) {
        const size_t own = s->inside ? 0 : own_line(s, text + i, n - i);
        if (own > 0) {
            pass(s, text + from, i - from);
            if (text[i] == '[')
                lk_buf_add_n(&s->kept, text + i, own);
            from = i + own;
            i = from - 1;
        } else if (s->inside) {
            take_inside(s, text[i]);
            from = i + 1;
        } else if (text[i] == '-') {
            if (s->dashes == 0)
                pass(s, text + from, i - from);
            s->dashes++;
            from = i + 1;
        } else if (s->dashes >= FENCE && text[i] == '\n') {
            s->inside = true; /* dashes stay counted, in case it is no block */
            from = i + 1;
        } else if (s->dashes > 0) {
            pass_dashes(s, s->dashes);
            s->dashes = 0;
            from = i;
        }
    }
    pass(s, text + from, n - from);
}

void lki_speech_idle(lki_speech *s)
{
    if (!s->inside && s->dashes > 0) {
        pass_dashes(s, s->dashes);
        s->dashes = 0;
    }
}

void lki_speech_end(lki_speech *s)
{
    if (s->inside)
        close_block(s);
    lki_speech_idle(s);
}

void lki_speech_fini(lki_speech *s)
{
    lk_buf_fini(&s->block);
    lk_buf_fini(&s->kept);
}

void lki_mpirun_verdict(const char *kept, lki_verdict *out)
{
    static const char signal_words[] = "noticed that process rank ";
    static const char exit_words[] = "Exit code:";
    const char *at;
    int rank, number, job, part;
    char host[256];

    *out = (lki_verdict){.rank = -1, .exit_code = -1, .abort = strstr(kept, "MPI_ABORT was invoked") != NULL};
    at = strstr(kept, signal_words);
    if (at != NULL && sscanf(at + strlen(signal_words), "%d with PID %*d on node %255s exited on signal %d", &rank,
                          host, &number) == 3) {
        out->rank = rank;
        out->signal = number;
        snprintf(out->host, sizeof out->host, "%s", host);
        return;
    }
    at = strstr(kept, "Process name: [[");
    if (at == NULL || sscanf(at, "Process name: [[%d,%d],%d]", &job, &part, &rank) != 3)
        return;
    at = strstr(at, exit_words);
    if (at != NULL && sscanf(at + strlen(exit_words), "%d", &number) == 1) {
        out->rank = rank;
        out->exit_code = number;
    }
}
