#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8192 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_int lowest = LK_LOG_INFO;
static bool fixed_by_user; /* LOCKSTEP_LOG was given: the program's own wish does not count */
static atomic_int log_rank = 0;
static atomic_int log_nranks = 1;

static void read_environment(void)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *wish = getenv("LOCKSTEP_LOG");

    for (int i = 0; wish != NULL && i < (int)(sizeof names / sizeof names[0]); i++) {
        if (strcmp(wish, names[i]) == 0) {
            atomic_store(&lowest, i);
            fixed_by_user = true;
        }
    }
}

void lk_log_set_level(lk_log_level level)
{
    pthread_once(&once, read_environment);
    if (!fixed_by_user)
        atomic_store(&lowest, (int)level);
}

void lk_log_set_rank(int rank, int nranks)
{
    atomic_store(&log_rank, rank);
    atomic_store(&log_nranks, nranks);
}

static bool shown(lk_log_level level)
{
    pthread_once(&once, read_environment);
    if ((int)level > atomic_load(&lowest))
        return false;
    return level != LK_LOG_INFO || atomic_load(&log_rank) == 0;
}

/* A pipe takes up to PIPE_BUF bytes whole; what is longer, or hits a full pipe, goes on where it stopped. */
static void write_all(const char *text, size_t n)
{
    while (n > 0) {
        const ssize_t done = write(STDERR_FILENO, text, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return;
        text += done;
        n -= (size_t)done;
    }
}

static size_t append(char *line, size_t used, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static size_t append_v(char *line, size_t used, const char *fmt, va_list ap)
{
    const size_t room = LINE_MAX_BYTES - 1 - used; /* one byte stays for the line end */
    const int n = vsnprintf(line + used, room, fmt, ap);

    if (n < 0)
        return used;
    return used + ((size_t)n < room ? (size_t)n : room - 1);
}

static size_t append(char *line, size_t used, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    used = append_v(line, used, fmt, ap);
    va_end(ap);
    return used;
}

static size_t begin(char *line)
{
    if (atomic_load(&log_nranks) > 1)
        return append(line, 0, "lockstep [rank %d]: ", atomic_load(&log_rank));
    return append(line, 0, "lockstep: ");
}

static void end(char *line, size_t used)
{
    line[used++] = '\n';
    write_all(line, used);
}

void lk_log(lk_log_level level, const char *fmt, ...)
{
    const int saved = errno;
    char line[LINE_MAX_BYTES];
    va_list ap;

    if (!shown(level))
        return;
    size_t used = begin(line);
    va_start(ap, fmt);
    used = append_v(line, used, fmt, ap);
    va_end(ap);
    end(line, used);
    errno = saved;
}

void lk_log_err(const lk_err *e)
{
    const int saved = errno;
    char line[LINE_MAX_BYTES];

    if (!shown(LK_LOG_ERROR))
        return;
    size_t used = begin(line);
    used = append(line, used, "%s", e->message[0] != 0 ? e->message : lk_status_text(e->code));
    if (atomic_load(&lowest) >= LK_LOG_DEBUG) {
        for (int i = 0; i < e->n_frames; i++)
            used = append(line, used, "\n    %s (%s:%d)", e->frame[i].func, e->frame[i].file, e->frame[i].line);
    }
    end(line, used);
    errno = saved;
}
