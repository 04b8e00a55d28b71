/* MPI_COMM_WORLD as a communicator. Everything with a deadline is made of nonblocking sends and receives, so that
 * whoever waits knows for whom. The library's own collectives block and cannot tell; they are used as they are without
 * a deadline, and after a roll call of all ranks with one. */
#include "comm/comm_int.h"

#include "base/mem.h"
#include "base/thread.h"

#include <inttypes.h>
#include <mpi.h>
#if defined(OPEN_MPI)
#include <mpi-ext.h>
#endif
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LK_MPI(call) mpi_status((call), #call, __FILE__, __LINE__, __func__)

/* Tags of our own traffic; those of callers follow. */
enum { TAG_GATHER, TAG_AGREE, TAG_MESSAGE, TAG_CALLER };

/* A message of MPI counts in int; this leaves room, and shows in no timing. */
#define PIECE ((int64_t)1 << 30)

/* How a wait spends its time: an exchange looks all the time; an agreement may wait for a rank that reads a file, and
 * then sleeps between looks. */
typedef enum patience { EAGER, PATIENT } patience;
#define PATIENT_AFTER 1e-3
/* Who has waited longer than any message takes waits for a rank that still computes, and its threads may want this
 * processor. */
#define YIELD_AFTER 5e-3

struct lk_comm_req {
    lk_comm_req *next_idle, *next;
    int n, capacity;
    MPI_Request *mpi; /* [capacity] */
    int *peer; /* [capacity] the rank it comes from, or ~ the rank it goes to */
};

typedef struct comm_mpi {
    lk_comm base;
    MPI_Comm world; /* a copy, so that no one else's messages are mistaken for ours */
    bool finalize; /* MPI was started here, so it ends here */
    bool yield; /* more ranks on this host than processors, and the library does not let others run while it waits */
    int tag_max;
    int64_t piece;
    lk_comm_req *all, *idle;
    lk_status *status; /* [nranks], for agree */
    char *present; /* [nranks], for a roll call */
    char message[LK_ERR_MESSAGE];
} comm_mpi;

static lk_status mpi_status(int rc, const char *call, const char *file, int line, const char *func)
{
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int length = 0;

    if (rc == MPI_SUCCESS)
        return LK_OK;
    if (MPI_Error_string(rc, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof text, "error %d", rc);
    return lk_err_set(LK_E_COMM, file, line, func, "%.*s: %s", (int)strcspn(call, "("), call, text);
}

static int64_t n_pieces(const comm_mpi *m, int64_t bytes)
{
    return (bytes + m->piece - 1) / m->piece;
}

/* ---- requests: given out and taken back, never freed before the communicator ---- */

static lk_status req_grow(lk_comm_req *q, int64_t capacity)
{
    MPI_Request *mpi = NULL;
    int *peer = NULL, checked;

    LK_TRY(lk_cast_int(capacity, &checked));
    LK_TRY(lk_alloc_array(capacity, sizeof *mpi, "MPI requests", &mpi));
    const lk_status st = lk_alloc_array(capacity, sizeof *peer, "MPI requests", &peer);
    if (st != LK_OK) {
        lk_free(mpi);
        return st;
    }
    lk_free(q->mpi);
    lk_free(q->peer);
    q->mpi = mpi;
    q->peer = peer;
    q->capacity = checked;
    return LK_OK;
}

static void req_put(comm_mpi *m, lk_comm_req *q)
{
    q->next_idle = m->idle;
    m->idle = q;
}

static lk_status req_add(comm_mpi *m, int64_t capacity)
{
    lk_comm_req *q = NULL;

    LK_TRY(lk_alloc(sizeof *q, "request", &q));
    const lk_status st = req_grow(q, capacity);
    if (st != LK_OK) {
        lk_free(q);
        return st;
    }
    q->next = m->all;
    m->all = q;
    req_put(m, q);
    return LK_OK;
}

/* The smallest request has room for one message to and from each rank, so that requests of different exchanges are
 * alike. */
static int64_t usual_messages(const comm_mpi *m)
{
    return 2 * (int64_t)m->base.nranks;
}

/* An idle request for n messages. */
static lk_status req_get(comm_mpi *m, int64_t n, lk_comm_req **out)
{
    const int64_t usual = usual_messages(m);
    lk_comm_req **link = &m->idle;

    while (*link != NULL && (*link)->capacity < n)
        link = &(*link)->next_idle;
    if (*link == NULL) {
        LK_TRY(req_add(m, n > usual ? n : usual));
        link = &m->idle;
    }
    lk_comm_req *q = *link;
    *link = q->next_idle;
    q->n = 0;
    *out = q;
    return LK_OK;
}

/* ---- waiting ---- */

static void rest(const comm_mpi *m, patience p, double waited)
{
    if (p == PATIENT && waited > PATIENT_AFTER) {
        const struct timespec nap = {.tv_nsec = waited < 0.1 ? 50000 : 1000000};
        nanosleep(&nap, NULL);
    } else if (m->yield || waited > YIELD_AFTER) {
        sched_yield();
    }
}

/* Ends what MPI may still do for this request. A receive that has not begun will not write any more. */
static void abandon(lk_comm_req *q)
{
    for (int i = 0; i < q->n; i++) {
        if (q->mpi[i] == MPI_REQUEST_NULL)
            continue;
        if (q->peer[i] >= 0)
            MPI_Cancel(&q->mpi[i]);
        MPI_Request_free(&q->mpi[i]);
    }
    q->n = 0;
}

/* Names the lowest rank that has not answered. */
static lk_status no_answer(const comm_mpi *m, lk_comm_req *q, const char *what)
{
    int silent = -1;
    bool others = false;

    for (int i = 0; i < q->n; i++) {
        const int peer = q->peer[i] >= 0 ? q->peer[i] : ~q->peer[i];
        int done = 0;
        if (q->mpi[i] == MPI_REQUEST_NULL || MPI_Test(&q->mpi[i], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || done)
            continue;
        others = others || (silent >= 0 && silent != peer);
        if (silent < 0 || peer < silent)
            silent = peer;
    }
    abandon(q);
    if (silent < 0) /* the last message came in just now, too late */
        return LK_FAIL(LK_E_COMM, "no answer for %g s (%s)", m->base.deadline, what);
    return LK_FAIL(LK_E_COMM, "no answer from rank %d on %s%s for %g s (%s)", silent, m->base.host[silent],
        others ? " and others" : "", m->base.deadline, what);
}

static lk_status wait_for(comm_mpi *m, lk_comm_req *q, patience p, const char *what)
{
    int done = 0;

    LK_TRY(LK_MPI(MPI_Testall(q->n, q->mpi, &done, MPI_STATUSES_IGNORE)));
    if (done)
        return LK_OK;
    const double start = lk_now();
    double waited = 0;
    for (unsigned turn = 1;; turn++) {
        rest(m, p, waited);
        LK_TRY(LK_MPI(MPI_Testall(q->n, q->mpi, &done, MPI_STATUSES_IGNORE)));
        if (done)
            return LK_OK;
        if (p == PATIENT || turn % 16 == 0) {
            waited = lk_now() - start;
            if (m->base.deadline > 0 && waited > m->base.deadline)
                return no_answer(m, q, what);
        }
    }
}

/* ---- exchanges ---- */

static int64_t count_messages(const comm_mpi *m, const int64_t *scount, const int64_t *rcount)
{
    int64_t n = 0;

    for (int r = 0; r < m->base.nranks; r++)
        n += r == m->base.rank ? 0 : n_pieces(m, scount[r]) + n_pieces(m, rcount[r]);
    return n;
}

/* Starts one message, in pieces. When it fails, the messages that the request had before are abandoned with it. */
static lk_status post(comm_mpi *m, lk_comm_req *q, bool send, int peer, int tag, char *data, int64_t bytes)
{
    lk_status st = LK_OK;

    for (int64_t done = 0; done < bytes && st == LK_OK; done += m->piece) {
        const int count = (int)(bytes - done < m->piece ? bytes - done : m->piece);
        MPI_Request *to = &q->mpi[q->n];
        st = send ? LK_MPI(MPI_Isend(data + done, count, MPI_BYTE, peer, tag, m->world, to))
                  : LK_MPI(MPI_Irecv(data + done, count, MPI_BYTE, peer, tag, m->world, to));
        if (st == LK_OK)
            q->peer[q->n++] = send ? ~peer : peer;
    }
    if (st != LK_OK)
        abandon(q);
    return st;
}

/* Receives first, so that what arrives has a place; then sends, each rank beginning with its next neighbour, so that
 * not all talk to rank 0 at once. */
static lk_status alltoallv_start_mpi(lk_comm *c, int tag, const void *send, const int64_t *scount,
    const int64_t *sdispl, void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out)
{
    comm_mpi *m = (comm_mpi *)c;
    const int me = c->rank, n = c->nranks;
    lk_comm_req *q;

    if (tag > m->tag_max - TAG_CALLER)
        return LK_FAIL(LK_E_ARG, "alltoallv on mpi: tag %d, but %d is the highest", tag, m->tag_max - TAG_CALLER);
    const int64_t n_messages = count_messages(m, scount, rcount);
    if (n_messages == 0) {
        *out = NULL;
    } else {
        /* The others count on this rank: one that cannot take part has left. */
        if (req_get(m, n_messages, &q) != LK_OK)
            return LK_FAIL(LK_E_COMM, "cannot take part in an exchange: %s", lk_err_last()->message);
        *out = q;
        for (int s = 1; s < n; s++) {
            const int from = (me - s + n) % n;
            LK_TRY(post(m, q, false, from, tag + TAG_CALLER, (char *)recv + rdispl[from], rcount[from]));
        }
        for (int s = 1; s < n; s++) {
            const int to = (me + s) % n;
            LK_TRY(post(m, q, true, to, tag + TAG_CALLER, (char *)send + sdispl[to], scount[to]));
        }
    }
    if (scount[me] > 0)
        memmove((char *)recv + rdispl[me], (const char *)send + sdispl[me], (size_t)scount[me]);
    return LK_OK;
}

static lk_status test_mpi(lk_comm *c, lk_comm_req **req, bool *done)
{
    comm_mpi *m = (comm_mpi *)c;
    int flag = 0;

    LK_TRY(LK_MPI(MPI_Testall((*req)->n, (*req)->mpi, &flag, MPI_STATUSES_IGNORE)));
    if (flag) {
        req_put(m, *req);
        *req = NULL;
    }
    *done = flag != 0;
    return LK_OK;
}

static lk_status wait_mpi(lk_comm *c, lk_comm_req **req)
{
    comm_mpi *m = (comm_mpi *)c;

    LK_TRY(wait_for(m, *req, EAGER, "exchange"));
    req_put(m, *req);
    *req = NULL;
    return LK_OK;
}

static void drop_mpi(lk_comm *c, lk_comm_req **req)
{
    (void)c; /* the request stays with `all`, out of use */
    abandon(*req);
}

static lk_status reserve_mpi(lk_comm *c, int n, const int64_t *counts)
{
    comm_mpi *m = (comm_mpi *)c;
    int64_t capacity = usual_messages(m);

    for (int i = 0; i < n; i++) {
        const int64_t *k = counts + (int64_t)i * 4 * c->nranks, needed = count_messages(m, k, k + 2 * c->nranks);
        capacity = needed > capacity ? needed : capacity;
    }
    for (lk_comm_req *q = m->idle; q != NULL && n > 0; q = q->next_idle, n--) {
        if (q->capacity < capacity)
            LK_TRY(req_grow(q, capacity));
    }
    for (; n > 0; n--)
        LK_TRY(req_add(m, capacity));
    return LK_OK;
}

/* ---- collectives ---- */

/* An all-gather that knows who is missing. One message to and from each rank. */
static lk_status gather_named(
    comm_mpi *m, int tag, const void *send, int64_t bytes, void *recv, patience p, const char *what)
{
    const int me = m->base.rank, n = m->base.nranks;
    lk_comm_req *q;

    if (req_get(m, 2 * (int64_t)(n - 1) * n_pieces(m, bytes), &q) != LK_OK)
        return LK_FAIL(LK_E_COMM, "cannot take part in %s: %s", what, lk_err_last()->message);
    for (int s = 1; s < n; s++) {
        const int from = (me - s + n) % n;
        LK_TRY(post(m, q, false, from, tag, (char *)recv + from * bytes, bytes));
    }
    for (int s = 1; s < n; s++)
        LK_TRY(post(m, q, true, (me + s) % n, tag, (char *)send, bytes));
    if (bytes > 0)
        memmove((char *)recv + me * bytes, send, (size_t)bytes);
    LK_TRY(wait_for(m, q, p, what));
    req_put(m, q);
    return LK_OK;
}

static lk_status roll_call(comm_mpi *m, const char *what)
{
    static const char here = 1;

    return m->base.deadline > 0 ? gather_named(m, TAG_GATHER, &here, 1, m->present, PATIENT, what) : LK_OK;
}

static lk_status barrier_mpi(lk_comm *c)
{
    comm_mpi *m = (comm_mpi *)c;

    return c->deadline > 0 ? roll_call(m, "barrier") : LK_MPI(MPI_Barrier(m->world));
}

static lk_status bcast_mpi(lk_comm *c, int root, void *data, size_t bytes)
{
    comm_mpi *m = (comm_mpi *)c;

    LK_TRY(roll_call(m, "bcast"));
    for (size_t done = 0; done < bytes; done += (size_t)m->piece) {
        const size_t count = bytes - done < (size_t)m->piece ? bytes - done : (size_t)m->piece;
        LK_TRY(LK_MPI(MPI_Bcast((char *)data + done, (int)count, MPI_BYTE, root, m->world)));
    }
    return LK_OK;
}

static lk_status allgather_mpi(lk_comm *c, const void *send, size_t bytes, void *recv)
{
    comm_mpi *m = (comm_mpi *)c;

    /* Not only each count, all of it must fit an int: libraries multiply. */
    if (c->deadline > 0 || (int64_t)bytes > m->piece / c->nranks)
        return gather_named(m, TAG_GATHER, send, (int64_t)bytes, recv, EAGER, "allgather");
    return LK_MPI(MPI_Allgather(send, (int)bytes, MPI_BYTE, recv, (int)bytes, MPI_BYTE, m->world));
}

static lk_status allreduce_mpi(lk_comm *c, void *data, int64_t count, lk_comm_type t)
{
    comm_mpi *m = (comm_mpi *)c;
    const size_t size = lk_comm_type_size(t);
    const MPI_Datatype type = t == LK_COMM_F32 ? MPI_FLOAT : t == LK_COMM_F64 ? MPI_DOUBLE : MPI_INT64_T;
    const int64_t most = m->piece / (int64_t)size > 1 ? m->piece / (int64_t)size : 1;

    LK_TRY(roll_call(m, "allreduce"));
    for (int64_t done = 0; done < count; done += most) {
        const int n = (int)(count - done < most ? count - done : most);
        LK_TRY(LK_MPI(MPI_Allreduce(MPI_IN_PLACE, (char *)data + (size_t)done * size, n, type, MPI_SUM, m->world)));
    }
    return LK_OK;
}

/* The codes go round; if one is bad, the lowest rank that has the worst tells its message to all. Two rounds at most,
 * and no rank needs a word from one that has nothing to say. */
static lk_status agree_mpi(lk_comm *c, lk_status local)
{
    comm_mpi *m = (comm_mpi *)c;
    char *const text = m->message;
    int speaker = 0;
    lk_comm_req *q;

    LK_TRY(gather_named(m, TAG_AGREE, &local, sizeof local, m->status, PATIENT, "agreement"));
    for (int r = 1; r < c->nranks; r++) {
        if (m->status[r] > m->status[speaker])
            speaker = r;
    }
    const lk_status worst = m->status[speaker];
    if (worst == LK_OK)
        return LK_OK;
    if (speaker == c->rank && c->nranks > 1)
        lk_err_prefix(local, "rank %d on %s: ", c->rank, c->host[c->rank]);
    if (req_get(m, c->nranks, &q) != LK_OK)
        return LK_FAIL(LK_E_COMM, "cannot take part in agreement: %s", lk_err_last()->message);
    if (speaker == c->rank) {
        memcpy(text, lk_err_last()->message, sizeof m->message);
        for (int s = 1; s < c->nranks; s++)
            LK_TRY(post(m, q, true, (c->rank + s) % c->nranks, TAG_MESSAGE, text, sizeof m->message));
    } else {
        LK_TRY(post(m, q, false, speaker, TAG_MESSAGE, text, sizeof m->message));
    }
    LK_TRY(wait_for(m, q, PATIENT, "agreement"));
    req_put(m, q);
    text[sizeof m->message - 1] = 0;
    return speaker == c->rank ? worst : LK_FAIL(worst, "%s", text);
}

/* ---- beginning and end ---- */

static void abort_mpi(lk_comm *c, int exit_code)
{
    (void)c;
    MPI_Abort(MPI_COMM_WORLD, exit_code);
}

static void destroy_mpi(lk_comm *c)
{
    comm_mpi *m = (comm_mpi *)c;

    for (lk_comm_req *q = m->all; q != NULL; q = q->next)
        abandon(q);
    if (m->world != MPI_COMM_NULL && c->dead == LK_OK)
        MPI_Comm_free(&m->world);
    if (m->finalize)
        MPI_Finalize();
    /* Only now: until here a late message of a dead communicator may have found its buffer. */
    while (m->all != NULL) {
        lk_comm_req *q = m->all;
        m->all = q->next;
        lk_free(q->mpi);
        lk_free(q->peer);
        lk_free(q);
    }
    lk_free(m->status);
    lk_free(m->present);
}

static const lk_comm_ops ops_mpi = {
    .barrier = barrier_mpi,
    .bcast = bcast_mpi,
    .allgather = allgather_mpi,
    .allreduce = allreduce_mpi,
    .alltoallv_start = alltoallv_start_mpi,
    .test = test_mpi,
    .wait = wait_mpi,
    .drop = drop_mpi,
    .agree = agree_mpi,
    .reserve = reserve_mpi,
    .abort = abort_mpi,
    .destroy = destroy_mpi,
};

static const char open_mpi_yields[] = "OMPI_MCA_mpi_yield_when_idle";

/* Open MPI spins while it waits, unless told otherwise or told the slots of the host. With more ranks than processors
 * that makes a message take milliseconds (measured: 8 ms against 45 us); with enough of them yielding would double the
 * time of a short one. Left alone when the user has decided. */
static void yield_when_crowded(void)
{
    const char *local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");

    if (local != NULL && strtol(local, NULL, 10) > sysconf(_SC_NPROCESSORS_ONLN))
        setenv(open_mpi_yields, "1", 0);
}

/* Whether our own waits must yield: yielding twice a turn costs as much again. */
static bool must_yield(const lk_comm *c)
{
    const char *library = getenv(open_mpi_yields);
    int local = 0;

    for (int r = 0; r < c->nranks; r++)
        local += strcmp(c->host[r], c->host[c->rank]) == 0;
    return local > sysconf(_SC_NPROCESSORS_ONLN) && (library == NULL || strtol(library, NULL, 10) == 0);
}

static lk_status mpi_begin(bool *began)
{
    int initialized, finalized, level;

    LK_TRY(LK_MPI(MPI_Finalized(&finalized)));
    if (finalized)
        return LK_FAIL(LK_E_UNSUPPORTED, "MPI has ended in this process and cannot be started again");
    LK_TRY(LK_MPI(MPI_Initialized(&initialized)));
    if (!initialized) {
        yield_when_crowded();
        LK_TRY(LK_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level)));
        *began = true;
    } else {
        LK_TRY(LK_MPI(MPI_Query_thread(&level)));
    }
    if (level < MPI_THREAD_FUNNELED)
        return LK_FAIL(LK_E_UNSUPPORTED, "this MPI does not allow threads (level %d)", level);
    return LK_OK;
}

/* After MPI_Init, as it wants. */
static bool takes_cuda(void)
{
#if (defined(OMPI_HAVE_MPI_EXT_CUDA) && OMPI_HAVE_MPI_EXT_CUDA) || defined(MPIX_GPU_SUPPORT_CUDA)
    return MPIX_Query_cuda_support() == 1; /* Open MPI; MPICH 4 */
#else
    return false;
#endif
}

lk_status lk_comm_create_mpi(lk_comm **out)
{
    comm_mpi *m = NULL;
    char own[LKI_HOST_BYTES];
    int rank, nranks, found = 0, *tag_max = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *m, "communicator", &m));
    m->world = MPI_COMM_NULL;
    m->piece = PIECE;
    LK_TRY_TO(st, fail, mpi_begin(&m->finalize));
    LK_TRY_TO(st, fail, LK_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN)));
    LK_TRY_TO(st, fail, LK_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &m->world)));
    LK_TRY_TO(st, fail, LK_MPI(MPI_Comm_set_errhandler(m->world, MPI_ERRORS_RETURN)));
    LK_TRY_TO(st, fail, LK_MPI(MPI_Comm_rank(m->world, &rank)));
    LK_TRY_TO(st, fail, LK_MPI(MPI_Comm_size(m->world, &nranks)));
    LK_TRY_TO(st, fail, LK_MPI(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &tag_max, &found)));
    m->tag_max = found ? *tag_max : 32767; /* what the standard promises */
    LK_TRY_TO(st, fail, lki_comm_init(&m->base, &ops_mpi, "mpi", rank, nranks));
    LK_TRY_TO(st, fail, lk_alloc_array(nranks, sizeof *m->status, "statuses", &m->status));
    LK_TRY_TO(st, fail, lk_alloc_array(nranks, 1, "roll call", &m->present));
    lki_hostname(own);
    LK_TRY_TO(st, fail, LK_MPI(MPI_Allgather(own, sizeof own, MPI_BYTE, m->base.host, sizeof own, MPI_BYTE, m->world)));
    lki_comm_place(&m->base);
    m->base.way = "MPI";
    m->base.takes_cuda = takes_cuda();
    m->yield = must_yield(&m->base);
    *out = &m->base;
    return LK_OK;

fail:
    destroy_mpi(&m->base);
    lki_comm_fini(&m->base);
    lk_free(m);
    return st;
}

void lki_comm_mpi_set_piece(lk_comm *c, int64_t bytes)
{
    LK_BUG_IF(c->ops != &ops_mpi || bytes < 1 || bytes > PIECE, "piece of %" PRId64 " bytes on %s", bytes, c->name);
    ((comm_mpi *)c)->piece = bytes;
}
