#include "base/record.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC \
    UINT64_C(0x4452434552504b4c) /* "LKPRECRD" as bytes on a little-endian machine; another byte order reads as \
                                    another magic */
enum { VERSION = 1 };

struct lk_record {
    int fd; /* holds the lock */
    lk_record_data *data; /* mapped, shared */
};

static _Atomic(lk_record *) current;

const char *lk_phase_name(lk_phase p)
{
    static const char *const names[LK_PHASE_COUNT] = {
        [LK_PHASE_START] = "start",
        [LK_PHASE_OPEN] = "open",
        [LK_PHASE_DATA] = "data",
        [LK_PHASE_FORWARD] = "compute",
        [LK_PHASE_REDUCE] = "reduce",
        [LK_PHASE_UPDATE] = "update",
        [LK_PHASE_EVAL] = "eval",
        [LK_PHASE_CHECKPOINT] = "checkpoint",
        [LK_PHASE_END] = "end",
    };
    return (unsigned)p < LK_PHASE_COUNT ? names[p] : "?";
}

void lk_record_note(lk_record *r, lk_phase phase, int64_t epoch, int64_t step)
{
    if (r == NULL)
        return;
    lk_record_data *d = r->data;
    __atomic_store_n(&d->phase, (int32_t)phase, __ATOMIC_RELAXED);
    __atomic_store_n(&d->epoch, epoch, __ATOMIC_RELAXED);
    __atomic_store_n(&d->step, step, __ATOMIC_RELAXED);
    __atomic_fetch_add(&d->ticks, 1, __ATOMIC_RELEASE);
}

void lk_record_end(lk_record *r, lk_record_state state, const char *message)
{
    if (r == NULL)
        return;
    lk_record_data *d = r->data;
    const size_t n = message != NULL ? strnlen(message, sizeof d->message - 1) : 0;
    if (n > 0)
        memcpy(d->message, message, n);
    d->message[n] = 0;
    __atomic_store_n(&d->state, (int32_t)state, __ATOMIC_RELEASE);
    __atomic_fetch_add(&d->ticks, 1, __ATOMIC_RELEASE);
}

const lk_record_data *lk_record_view(const lk_record *r)
{
    return r->data;
}

lk_record *lk_record_current(void)
{
    return atomic_load(&current);
}

static struct flock whole_file(short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET};
}

/* The magic comes last: who sees it sees a record that is locked and filled. */
static void fill(lk_record_data *d, int rank, int nranks)
{
    d->version = VERSION;
    d->rank = rank;
    d->nranks = nranks;
    d->pid = getpid();
    if (gethostname(d->host, sizeof d->host - 1) != 0)
        memcpy(d->host, "?", 2);
    d->state = LK_RECORD_RUNNING;
    d->phase = LK_PHASE_START;
    __atomic_store_n(&d->magic, MAGIC, __ATOMIC_RELEASE);
}

static lk_status lock_file(int fd, const char *path)
{
    struct flock l = whole_file(F_WRLCK);

    if (fcntl(fd, F_SETLK, &l) == 0)
        return LK_OK;
    if (errno == EACCES || errno == EAGAIN) {
        l = whole_file(F_WRLCK);
        if (fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK)
            return LK_FAIL(LK_E_IO, "%s: process %ld is alive and writes this record", path, (long)l.l_pid);
        return LK_FAIL(LK_E_IO, "%s: another process writes this record", path);
    }
    return LK_SYS(true, "lock", path);
}

lk_status lk_record_create(const char *path, int rank, int nranks, lk_record **out)
{
    lk_record *r = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *r, "flight record", &r));
    r->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    LK_TRY_TO(st, fail, LK_SYS(r->fd < 0, "create", path));
    LK_TRY_TO(st, fail, lock_file(r->fd, path));
    /* Space is taken now: a store to a mapped page for which the disk has no room would end the process. */
    LK_TRY_TO(st, fail, LK_SYS(ftruncate(r->fd, 0) != 0, "truncate", path));
    errno = posix_fallocate(r->fd, 0, sizeof *r->data);
    LK_TRY_TO(st, fail, LK_SYS(errno != 0, "reserve space", path));
    void *at = mmap(NULL, sizeof *r->data, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
    LK_TRY_TO(st, fail, LK_SYS(at == MAP_FAILED, "map", path));
    r->data = at;
    fill(r->data, rank, nranks);
    atomic_store(&current, r);
    *out = r;
    return LK_OK;

fail:
    lk_record_close(&r);
    return st;
}

void lk_record_close(lk_record **record)
{
    lk_record *r = *record;

    if (r == NULL)
        return;
    lk_record *mine = r;
    atomic_compare_exchange_strong(&current, &mine, NULL);
    if (r->data != NULL) {
        if (r->data->state == LK_RECORD_RUNNING)
            lk_record_end(r, LK_RECORD_FAILED, NULL);
        munmap(r->data, sizeof *r->data);
    }
    if (r->fd >= 0)
        close(r->fd);
    lk_free(r);
    *record = NULL;
}

static lk_status check(const lk_record_data *d, ssize_t bytes, const char *path)
{
    if (bytes != (ssize_t)sizeof *d || d->magic != MAGIC)
        return LK_FAIL(LK_E_FORMAT, "%s: no flight record", path);
    if (d->version != VERSION)
        return LK_FAIL(LK_E_FORMAT, "%s: a flight record of version %llu, this program reads %d", path,
            (unsigned long long)d->version, VERSION);
    if (d->phase < 0 || d->phase >= LK_PHASE_COUNT || d->state < LK_RECORD_RUNNING || d->state > LK_RECORD_STOPPED)
        return LK_FAIL(LK_E_FORMAT, "%s: a damaged flight record (phase %d, state %d)", path, d->phase, d->state);
    return LK_OK;
}

lk_status lk_record_read(const char *path, lk_record_data *out, bool *alive)
{
    lk_record_data d = {0};
    struct flock l = whole_file(F_WRLCK);
    lk_status st;

    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    LK_TRY(LK_SYS(fd < 0, "open", path));
    /* The lock is asked first: a rank that notes its end and goes in between is then "alive and ended", never "gone
     * while running". */
    LK_TRY_TO(st, out, LK_SYS(fcntl(fd, F_GETLK, &l) != 0, "ask for the lock", path));
    const ssize_t n = pread(fd, &d, sizeof d, 0);
    LK_TRY_TO(st, out, LK_SYS(n < 0, "read", path));
    LK_TRY_TO(st, out, check(&d, n, path));
    d.host[sizeof d.host - 1] = 0;
    d.message[sizeof d.message - 1] = 0;
    *out = d;
    *alive = l.l_type != F_UNLCK;
out:
    close(fd);
    return st;
}
