/* The launcher's process: starts mpirun, passes on signals and the ranks' lines, ends what does not end, and says why
 * it failed. */
#include "launch/launch_int.h"

#include "base/log.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 50, EXIT_INPUT = 2, EXIT_STOPPED = 75 };

/* A rank is dead or has failed: mpirun has this long to end the rest by itself (2.4 s is what it takes), then it is
 * told to, then killed. */
static const double patience_s = 3.5, patience_after_term_s = 2.5;

typedef struct job {
    const lk_launch_opts *opts;
    lki_words words;
    lki_watch watch;
    lki_speech speech;
    pid_t mpirun; /* leader of a process group of its own */
    int stderr_fd, signal_fd;
    bool stop_asked, stop_sent;
    int ended_by; /* the signal that made us end it hard, or 0 */
    double term_at; /* when mpirun is told to end, 0: not planned */
    bool term_sent;
    int status; /* of mpirun, once it has ended */
    bool ended;
} job;

static const int passed_on[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP, SIGCHLD};

/* Starting. */

/* The child's side; `report` takes errno if there is no mpirun to run after all. */
_Noreturn static void become_mpirun(const job *j, pid_t parent, int stderr_to, int report)
{
    const int null = open("/dev/null", O_RDONLY);
    sigset_t none;
    struct winsize size;
    char columns[16];

    /* When the launcher is killed, mpirun is told, and ends the ranks. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setenv("LOCKSTEP_RECORDS", j->watch.folder, 1);
    unsetenv("LOCKSTEP_TTY");
    if (isatty(STDERR_FILENO)) {
        const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
        snprintf(columns, sizeof columns, "%d", known ? size.ws_col : 80);
        setenv("LOCKSTEP_TTY", columns, 1);
    }
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(stderr_to, STDERR_FILENO) >= 0)
        execv(j->words.item[0], j->words.item);
    const int e = errno;
    if (write(report, &e, sizeof e) != sizeof e)
        _exit(126);
    _exit(127);
}

static lk_status start(job *j)
{
    int speech[2] = {-1, -1}, report[2] = {-1, -1};
    const pid_t self = getpid();
    int e = 0;
    lk_status st;

    LK_TRY_TO(st, fail, LK_SYS(pipe2(speech, O_CLOEXEC) != 0, "make a pipe", "launcher"));
    LK_TRY_TO(st, fail, LK_SYS(pipe2(report, O_CLOEXEC) != 0, "make a pipe", "launcher"));
    j->mpirun = fork();
    LK_TRY_TO(st, fail, LK_SYS(j->mpirun < 0, "start", j->words.item[0]));
    if (j->mpirun == 0)
        become_mpirun(j, self, speech[1], report[1]);
    setpgid(j->mpirun, j->mpirun); /* whoever comes first */
    close(report[1]);
    report[1] = -1;
    if (read(report[0], &e, sizeof e) == sizeof e) {
        waitpid(j->mpirun, NULL, 0);
        errno = e;
        LK_TRY_TO(st, fail, LK_SYS(true, "start", j->words.item[0]));
    }
    close(report[0]);
    close(speech[1]);
    j->stderr_fd = speech[0];
    j->speech.pid = j->mpirun;
    fcntl(j->stderr_fd, F_SETFL, O_NONBLOCK);
    return LK_OK;

fail:
    for (int i = 0; i < 2; i++) {
        if (speech[i] >= 0)
            close(speech[i]);
        if (report[i] >= 0)
            close(report[i]);
    }
    return st;
}

/* While it runs. */

static void plan_end(job *j, double after_s)
{
    if (j->term_at == 0)
        j->term_at = lk_now() + after_s;
}

static void end_hard(job *j, int signal)
{
    if (j->ended_by == 0)
        j->ended_by = signal;
    if (!j->term_sent)
        j->term_at = lk_now();
}

static void take_signals(job *j)
{
    struct signalfd_siginfo info;

    while (read(j->signal_fd, &info, sizeof info) == sizeof info) {
        const int signal = (int)info.ssi_signo;
        if (signal == SIGCHLD)
            continue;
        if (!j->opts->stoppable || signal == SIGINT || (signal == SIGTERM && j->stop_asked))
            end_hard(j, signal);
        else
            j->stop_asked = true;
    }
}

/* The wish to stop waits until the ranks can take it: before they have their handlers SIGUSR1 would just kill them. */
static void pass_on_stop(job *j)
{
    const int enough = j->opts->hostfile != NULL ? 1 : j->watch.ranks;

    if (!j->stop_asked || j->stop_sent || j->watch.n_there < enough)
        return;
    kill(j->mpirun, SIGUSR1);
    j->stop_sent = true;
}

static void take_speech(job *j)
{
    char text[65536];

    while (j->stderr_fd >= 0) {
        const ssize_t n = read(j->stderr_fd, text, sizeof text);
        if (n > 0) {
            lki_speech_add(&j->speech, text, (size_t)n);
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            close(j->stderr_fd);
            j->stderr_fd = -1;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static void carry_out_end(job *j)
{
    const double now = lk_now();

    if (j->term_at == 0 || now < j->term_at)
        return;
    if (!j->term_sent) {
        /* One that is ending the job already takes a second push badly (a crash in its own finalization). */
        if (!lki_watch_all_ended(&j->watch))
            kill(j->mpirun, SIGTERM);
        j->term_sent = true;
    } else if (now >= j->term_at + patience_after_term_s) {
        kill(-j->mpirun, SIGKILL);
        lki_watch_sweep(&j->watch);
    }
}

static void reap(job *j)
{
    pid_t p;

    do
        p = waitpid(j->mpirun, &j->status, WNOHANG);
    while (p < 0 && errno == EINTR);
    j->ended = p != 0;
}

static void supervise(job *j)
{
    double next_look = 0;

    while (!j->ended) {
        struct pollfd p[] = {{.fd = j->signal_fd, .events = POLLIN}, {.fd = j->stderr_fd, .events = POLLIN}};
        poll(p, 2, LOOK_MS);
        take_signals(j);
        take_speech(j);
        reap(j);
        if (!j->ended && lk_now() < next_look)
            continue;
        lki_speech_idle(&j->speech);
        if (!j->term_sent) /* after that, ranks die of what we do */
            lki_watch_look(&j->watch);
        next_look = lk_now() + 1e-3 * LOOK_MS;
        if (j->watch.first >= 0)
            plan_end(j, patience_s);
        pass_on_stop(j);
        if (!j->ended)
            carry_out_end(j);
    }
    take_speech(j);
    lki_speech_end(&j->speech);
}

/* The end. */

static const char *cause(const job *j, const lki_verdict *v, int rank, char *out, size_t cap)
{
    const int status = WIFEXITED(j->status) ? WEXITSTATUS(j->status) : 0;
    const bool others = v->rank >= 0 && v->rank != rank;

    out[0] = 0;
    if (v->rank == rank && v->signal > 0)
        snprintf(out, cap, " (killed by signal %d)", v->signal);
    else if (v->rank == rank && v->exit_code >= 0)
        snprintf(out, cap, " (exit code %d)", v->exit_code);
    else if (!others && status > 128 && status < 128 + SIGRTMAX)
        snprintf(out, cap, " (killed by signal %d)", status - 128);
    else if (!others && status > 0)
        snprintf(out, cap, " (exit code %d)", status);
    return out;
}

/* The rank that brought the job down: the one whose record showed it first. Where several did in one look, mpirun's
 * word decides. */
static int culprit(const job *j, const lki_verdict *v)
{
    const lki_watch *w = &j->watch;

    if (w->first >= 0 && v->rank >= 0 && v->rank < w->ranks && w->seen[v->rank].noted == w->seen[w->first].noted &&
        w->seen[w->first].last.state != LK_RECORD_FAILED)
        return v->rank;
    return w->first;
}

/* One line, if no rank has said it. */
static void say_why(job *j)
{
    lki_verdict v;
    char why[64];

    lki_mpirun_verdict(lk_buf_text(&j->speech.kept), &v);
    const int rank = culprit(j, &v);
    if (j->speech.open_line && write(STDERR_FILENO, "\n", 1) != 1) /* under the progress bar */
        return;
    if (rank >= 0) {
        const lk_record_data *d = &j->watch.seen[rank].last;
        const char *phase = lk_phase_name((lk_phase)d->phase);
        if (d->state != LK_RECORD_FAILED)
            lk_log(LK_LOG_ERROR, "rank %d on %s died in phase %s at step %lld%s", rank, d->host, phase,
                (long long)d->step, cause(j, &v, rank, why, sizeof why));
        else if (d->message[0] != 0)
            lk_log(LK_LOG_ERROR, "rank %d on %s failed in phase %s at step %lld: %s", rank, d->host, phase,
                (long long)d->step, d->message);
    } else if (j->ended_by != 0) {
        lk_log(LK_LOG_ERROR, "ended by SIG%s", sigabbrev_np(j->ended_by));
    } else if (v.rank >= 0 && v.signal > 0) {
        lk_log(LK_LOG_ERROR, "rank %d on %s died%s", v.rank, v.host, cause(j, &v, v.rank, why, sizeof why));
    } else if (v.rank >= 0 && j->speech.passed == 0) {
        lk_log(LK_LOG_ERROR, "rank %d ended%s and said nothing", v.rank, cause(j, &v, v.rank, why, sizeof why));
    } else if (v.rank < 0 && j->speech.kept.len > 0 &&
               (j->speech.passed == 0 || (j->speech.n_blocks > 0 && !v.abort))) {
        const lk_buf *kept = &j->speech.kept;
        size_t n = kept->len;
        while (n > 0 && kept->text[n - 1] == '\n')
            n--;
        lk_log(LK_LOG_ERROR, "mpirun could not run the ranks%s; it says:\n%.*s", cause(j, &v, -1, why, sizeof why),
            (int)n, kept->text);
    } else if (j->speech.passed == 0) {
        lk_log(LK_LOG_ERROR, "mpirun ended%s and said nothing", cause(j, &v, -1, why, sizeof why));
    }
}

/* Until nobody is found any more; a killed process needs a moment to go. */
static void sweep(const job *j)
{
    const struct timespec moment = {.tv_nsec = 20000000};

    for (int i = 0; i < 100 && lki_watch_sweep(&j->watch) > 0; i++)
        nanosleep(&moment, NULL);
}

static int conclude(job *j)
{
    const int code = WIFEXITED(j->status) ? WEXITSTATUS(j->status) : 1;

    if (j->ended_by == 0 && (code == 0 || code == EXIT_INPUT || code == EXIT_STOPPED))
        return code;
    sweep(j);
    say_why(j);
    return 1;
}

lk_status lk_launch_run(const lk_launch_opts *o, int *exit_code)
{
    job j = {.opts = o, .stderr_fd = -1, .signal_fd = -1, .speech.fd = STDERR_FILENO};
    sigset_t taken, before;
    lk_status st;

    sigprocmask(SIG_SETMASK, NULL, &before);
    LK_TRY_TO(st, out, lki_mpirun_words(o, &j.words));
    LK_TRY_TO(st, out, lki_watch_create(o->ranks, &j.watch));
    sigemptyset(&taken);
    for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
        struct sigaction a;
        if (sigaction(passed_on[i], NULL, &a) == 0 && a.sa_handler == SIG_IGN && passed_on[i] != SIGCHLD)
            continue; /* under nohup */
        sigaddset(&taken, passed_on[i]);
    }
    sigprocmask(SIG_BLOCK, &taken, NULL);
    j.signal_fd = signalfd(-1, &taken, SFD_NONBLOCK | SFD_CLOEXEC);
    LK_TRY_TO(st, out, LK_SYS(j.signal_fd < 0, "take signals", "launcher"));
    LK_TRY_TO(st, out, start(&j));
    supervise(&j);
    *exit_code = conclude(&j);
out:
    if (j.stderr_fd >= 0)
        close(j.stderr_fd);
    if (j.signal_fd >= 0)
        close(j.signal_fd);
    sigprocmask(SIG_SETMASK, &before, NULL);
    lki_watch_fini(&j.watch);
    lki_speech_fini(&j.speech);
    lki_words_free(&j.words);
    return st;
}

/* A word as a shell takes it. */
static void add_quoted(const char *word, lk_buf *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@%^";

    if (word[0] != 0 && strspn(word, plain) == strlen(word)) {
        lk_buf_add(out, word);
        return;
    }
    lk_buf_add(out, "'");
    for (; *word != 0; word++) {
        if (*word == '\'')
            lk_buf_add(out, "'\\''");
        else
            lk_buf_add_n(out, word, 1);
    }
    lk_buf_add(out, "'");
}

lk_status lk_launch_describe(const lk_launch_opts *o, lk_buf *out)
{
    lki_words w = {0};

    LK_TRY(lki_mpirun_words(o, &w));
    for (int i = 0; i < w.n; i++) {
        lk_buf_add(out, i > 0 ? " " : "");
        add_quoted(w.item[i], out);
    }
    lk_buf_add(out, "\n");
    lki_words_free(&w);
    return lk_buf_status(out);
}
