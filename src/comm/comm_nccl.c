/* Exchanges through NCCL, one group of sends and receives each. NCCL's communicator is one that does not block:
 * whatever it does is asked for until it is done or the deadline is over, so that a rank that does not come is an error
 * and not a hang. On the GPU an exchange waits for the others as long as it takes; who waits for the GPU asks
 * lk_comm_nccl_watch.
 *
 * When anything fails, NCCL's communicator is aborted at once: that ends what it has on the GPU. */
#include "comm/nccl.h"

#include "comm/comm_int.h"

#include "base/mem.h"
#include "base/thread.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cuda_runtime_api.h>
#include <nccl.h>

#define LK_CUDA(m, call) cuda_status((m), (call), #call, __FILE__, __LINE__, __func__)
#define LK_NCCL(m, call) nccl_status((m), (call), #call, __FILE__, __LINE__, __func__)

/* A wait for NCCL that has lasted longer than this sleeps between looks. */
#define PATIENT_AFTER 1e-3

struct lk_comm_req {
    lk_comm_req *next_all, *next_idle, *next_flying;
    cudaEvent_t ready; /* what was queued before it is done */
    cudaEvent_t done;
    int tag; /* -1: an allreduce */
    int64_t bytes; /* to and from other ranks */
    int64_t serial;
    bool held; /* the caller has not been told of its end */
    bool flying; /* the GPU is not known to be done with it */
};

typedef struct comm_nccl {
    lk_comm base;
    lk_comm *inner;
    ncclComm_t nccl; /* NULL: not there yet, or aborted */
    int device;
    cudaStream_t compute, stream; /* stream: of the exchanges */
    lk_comm_set_watch *set_watch; /* NULL: nobody was told to ask */
    lk_comm_req *all, *idle;
    lk_comm_req *first, **last; /* those that fly, in the order in which they began */
    int64_t n_started;
    int64_t watched; /* the oldest one that flies, by number, */
    double since; /* and since when it waits for other ranks; 0: not yet */
} comm_nccl;

/* "Not ready" is an answer and no failure; but CUDA keeps it, and whoever asks for the last error would take it for
 * one. */
static cudaError_t query(cudaEvent_t event)
{
    const cudaError_t e = cudaEventQuery(event);

    if (e == cudaErrorNotReady)
        (void)cudaGetLastError();
    return e;
}

static lk_status cuda_status(
    const comm_nccl *m, cudaError_t e, const char *call, const char *file, int line, const char *func)
{
    if (e == cudaSuccess)
        return LK_OK;
    return lk_err_set(LK_E_DEVICE, file, line, func, "GPU %d: %.*s: %s (%s)", m->device, (int)strcspn(call, "("), call,
        cudaGetErrorString(e), cudaGetErrorName(e));
}

/* Calls of a communicator that does not block may say that they go on. */
static lk_status nccl_status(
    const comm_nccl *m, ncclResult_t result, const char *call, const char *file, int line, const char *func)
{
    if (result == ncclSuccess || result == ncclInProgress)
        return LK_OK;
    const char *text = ncclGetLastError(m->nccl);
    return lk_err_set(LK_E_COMM, file, line, func, "rank %d on %s: %.*s: %s%s%s", m->base.rank,
        m->base.host[m->base.rank], (int)strcspn(call, "("), call, ncclGetErrorString(result),
        text != NULL && text[0] != 0 ? ": " : "", text != NULL ? text : "");
}

/* The end of NCCL's communicator when something failed; what it has on the GPU ends with it. Returns `st`. */
static lk_status lost(comm_nccl *m, lk_status st)
{
    if (st != LK_OK && m->nccl != NULL) {
        (void)ncclCommAbort(m->nccl);
        m->nccl = NULL;
    }
    return st;
}

static void rest(double waited)
{
    const struct timespec nap = {.tv_nsec = 50000};

    if (waited > PATIENT_AFTER)
        nanosleep(&nap, NULL);
    else
        sched_yield();
}

/* What NCCL says of its work. Where the GPU is lost it may go on for ever, or says what only followed from that: the GPU's own error comes first. */
static lk_status answer(comm_nccl *m, ncclResult_t *state)
{
    *state = ncclSuccess;
    LK_TRY(LK_NCCL(m, ncclCommGetAsyncError(m->nccl, state)));
    if (*state == ncclSuccess)
        return LK_OK;
    const cudaError_t e = cudaStreamQuery(m->compute);
    if (e == cudaErrorNotReady)
        (void)cudaGetLastError();
    else
        LK_TRY(cuda_status(m, e, "a kernel or copy that was queued", __FILE__, __LINE__, __func__));
    return nccl_status(m, *state, "NCCL", __FILE__, __LINE__, __func__);
}

/* Until NCCL has done on the host what it was asked for: only then has it queued its work on the GPU. *over: it took
 * longer than `deadline` (0: for ever). */
static lk_status finish_call(comm_nccl *m, double deadline, bool *over)
{
    const double start = lk_now();

    *over = false;
    for (double waited = 0;; waited = lk_now() - start) {
        ncclResult_t state;
        LK_TRY(answer(m, &state));
        if (state != ncclInProgress)
            return LK_OK;
        if (deadline > 0 && waited > deadline) {
            *over = true;
            return LK_OK;
        }
        rest(waited);
    }
}

static void describe(const lk_comm_req *q, char *text, size_t size)
{
    if (q->tag < 0)
        snprintf(text, size, "allreduce of %" PRId64 " bytes", q->bytes);
    else
        snprintf(text, size, "exchange %d, %" PRId64 " bytes to and from other ranks", q->tag, q->bytes);
}

static lk_status no_answer(const comm_nccl *m, const lk_comm_req *q)
{
    char what[100];
    int n = 0;

    describe(q, what, sizeof what);
    for (const lk_comm_req *f = m->first; f != NULL; f = f->next_flying)
        n += f != q;
    return LK_FAIL(LK_E_COMM, "rank %d on %s: no answer from other ranks for %g s (%s; %d more behind it)",
        m->base.rank, m->base.host[m->base.rank], m->base.deadline, what, n);
}

/* ---- requests ---- */

static void req_free(lk_comm_req *q)
{
    if (q->ready != NULL)
        cudaEventDestroy(q->ready);
    if (q->done != NULL)
        cudaEventDestroy(q->done);
    lk_free(q);
}

static lk_status req_add(comm_nccl *m)
{
    lk_comm_req *q = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *q, "request", &q));
    LK_TRY_TO(st, fail, LK_CUDA(m, cudaEventCreateWithFlags(&q->ready, cudaEventDisableTiming)));
    LK_TRY_TO(st, fail, LK_CUDA(m, cudaEventCreateWithFlags(&q->done, cudaEventDisableTiming)));
    q->next_all = m->all;
    m->all = q;
    q->next_idle = m->idle;
    m->idle = q;
    return LK_OK;

fail:
    req_free(q);
    return st;
}

static void put_if_over(comm_nccl *m, lk_comm_req *q)
{
    if (q->held || q->flying)
        return;
    q->next_idle = m->idle;
    m->idle = q;
}

/* Takes from the line what the GPU is done with. */
static lk_status sweep(comm_nccl *m)
{
    while (m->first != NULL) {
        lk_comm_req *q = m->first;
        const cudaError_t e = query(q->done);
        if (e == cudaErrorNotReady)
            return LK_OK;
        LK_TRY(cuda_status(m, e, "work of NCCL", __FILE__, __LINE__, __func__));
        m->first = q->next_flying;
        if (m->first == NULL)
            m->last = &m->first;
        q->flying = false;
        put_if_over(m, q);
    }
    return LK_OK;
}

static lk_status req_get(comm_nccl *m, lk_comm_req **out)
{
    LK_TRY(sweep(m));
    if (m->idle == NULL)
        LK_TRY(req_add(m));
    *out = m->idle;
    m->idle = m->idle->next_idle;
    return LK_OK;
}

/* What a caller has been told of may fly on, so requests of one reservation do not serve the next. */
static lk_status reserve_nccl(lk_comm *c, int n, const int64_t *counts)
{
    (void)counts;
    for (; n > 0; n--)
        LK_TRY(req_add((comm_nccl *)c));
    return LK_OK;
}

/* ---- exchanges ---- */

/* The stream of exchanges goes on behind what is in the queue now. */
static lk_status begin(comm_nccl *m, int tag, lk_comm_req **out)
{
    lk_comm_req *q = NULL;

    /* The others count on this rank: one that cannot take part has left. */
    const lk_status st = req_get(m, &q);
    if (st != LK_OK && lk_status_damage(st) < LK_DAMAGE_COMM)
        return LK_FAIL(LK_E_COMM, "cannot take part in an exchange: %s", lk_err_last()->message);
    LK_TRY(st);
    q->tag = tag;
    q->bytes = 0;
    q->held = true;
    *out = q;
    LK_TRY(LK_CUDA(m, cudaEventRecord(q->ready, m->compute)));
    return LK_CUDA(m, cudaStreamWaitEvent(m->stream, q->ready, 0));
}

/* All of it is on the stream. */
static lk_status launched(comm_nccl *m, lk_comm_req *q)
{
    bool over;

    LK_TRY(finish_call(m, m->base.deadline, &over));
    if (over)
        return no_answer(m, q);
    LK_TRY(LK_CUDA(m, cudaEventRecord(q->done, m->stream)));
    q->serial = ++m->n_started;
    q->flying = true;
    q->next_flying = NULL;
    *m->last = q;
    m->last = &q->next_flying;
    return LK_OK;
}

/* What is queued from now on waits for it. */
static lk_status ended(comm_nccl *m, lk_comm_req *q)
{
    LK_TRY(LK_CUDA(m, cudaStreamWaitEvent(m->compute, q->done, 0)));
    q->held = false;
    put_if_over(m, q);
    return LK_OK;
}

/* One group: what is to go out and to come in at the same time. Each rank begins with its next neighbour. */
static lk_status send_and_receive(comm_nccl *m, lk_comm_req *q, const char *send, const int64_t *scount,
    const int64_t *sdispl, char *recv, const int64_t *rcount, const int64_t *rdispl)
{
    const int me = m->base.rank, n = m->base.nranks;
    lk_status st = LK_OK;

    for (int r = 0; r < n; r++)
        q->bytes += r == me ? 0 : scount[r] + rcount[r];
    if (q->bytes == 0)
        return LK_OK;
    LK_TRY(LK_NCCL(m, ncclGroupStart()));
    for (int s = 1; s < n && st == LK_OK; s++) {
        const int to = (me + s) % n, from = (me - s + n) % n;
        if (rcount[from] > 0)
            st = LK_NCCL(m, ncclRecv(recv + rdispl[from], (size_t)rcount[from], ncclInt8, from, m->nccl, m->stream));
        if (scount[to] > 0 && st == LK_OK)
            st = LK_NCCL(m, ncclSend(send + sdispl[to], (size_t)scount[to], ncclInt8, to, m->nccl, m->stream));
    }
    if (st == LK_OK)
        return LK_NCCL(m, ncclGroupEnd());
    (void)ncclGroupEnd(); /* it is open; what went wrong before is told */
    return st;
}

static lk_status exchange(comm_nccl *m, lk_comm_req *q, const char *send, const int64_t *scount, const int64_t *sdispl,
    char *recv, const int64_t *rcount, const int64_t *rdispl)
{
    const int me = m->base.rank;

    if (scount[me] > 0)
        LK_TRY(LK_CUDA(m, cudaMemcpyAsync(
            recv + rdispl[me], send + sdispl[me], (size_t)scount[me], cudaMemcpyDeviceToDevice, m->stream)));
    LK_TRY(send_and_receive(m, q, send, scount, sdispl, recv, rcount, rdispl));
    return launched(m, q);
}

static lk_status alltoallv_start_nccl(lk_comm *c, int tag, const void *send, const int64_t *scount,
    const int64_t *sdispl, void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out)
{
    comm_nccl *m = (comm_nccl *)c;
    bool any = false;
    lk_comm_req *q = NULL;

    for (int r = 0; r < c->nranks; r++)
        any = any || scount[r] > 0 || rcount[r] > 0;
    if (any) {
        LK_TRY(lost(m, begin(m, tag, &q)));
        LK_TRY(lost(m, exchange(m, q, send, scount, sdispl, recv, rcount, rdispl)));
    }
    *out = q;
    return LK_OK;
}

static lk_status all_reduce(comm_nccl *m, lk_comm_req *q, void *data, int64_t count, lk_comm_type t)
{
    const ncclDataType_t type = t == LK_COMM_F32 ? ncclFloat32 : t == LK_COMM_F64 ? ncclFloat64 : ncclInt64;

    q->bytes = count * (int64_t)lk_comm_type_size(t);
    LK_TRY(LK_NCCL(m, ncclAllReduce(data, data, (size_t)count, type, ncclSum, m->nccl, m->stream)));
    LK_TRY(launched(m, q));
    return ended(m, q);
}

static lk_status allreduce_nccl(lk_comm *c, void *data, int64_t count, lk_comm_type t)
{
    comm_nccl *m = (comm_nccl *)c;
    lk_comm_req *q;

    if (count == 0 || c->nranks == 1)
        return LK_OK;
    LK_TRY(lost(m, begin(m, -1, &q)));
    return lost(m, all_reduce(m, q, data, count, t));
}

/* ---- has anything gone wrong? ---- */

static lk_status look(comm_nccl *m)
{
    ncclResult_t state;

    LK_TRY(answer(m, &state));
    LK_TRY(sweep(m));
    if (m->base.deadline <= 0 || m->first == NULL)
        return LK_OK;
    /* The oldest one waits for others from when its turn has come on the GPU, and not while this rank's own work is in
     * front of it. */
    const double now = lk_now();
    if (m->watched != m->first->serial) {
        m->watched = m->first->serial;
        m->since = 0;
    }
    if (m->since > 0)
        return now - m->since > m->base.deadline ? no_answer(m, m->first) : LK_OK;
    const cudaError_t e = query(m->first->ready);
    if (e == cudaSuccess)
        m->since = now;
    return e == cudaErrorNotReady ? LK_OK
                                  : cuda_status(m, e, "a kernel or copy that was queued", __FILE__, __LINE__, __func__);
}

lk_status lk_comm_nccl_watch(void *comm)
{
    lk_comm *c = comm;
    comm_nccl *m = comm;

    if (c->dead == LK_OK)
        return LKI_SETTLE(c, lost(m, look(m)));
    (void)lost(m, c->dead); /* of something else: nobody will come any more */
    return lk_err_give(&c->death);
}

static lk_status test_nccl(lk_comm *c, lk_comm_req **req, bool *done)
{
    comm_nccl *m = (comm_nccl *)c;

    LK_TRY(lost(m, look(m)));
    const cudaError_t e = query((*req)->done);
    if (e == cudaErrorNotReady) {
        *done = false;
        return LK_OK;
    }
    LK_TRY(lost(m, cuda_status(m, e, "work of NCCL", __FILE__, __LINE__, __func__)));
    LK_TRY(lost(m, ended(m, *req)));
    *req = NULL;
    *done = true;
    return LK_OK;
}

static lk_status wait_nccl(lk_comm *c, lk_comm_req **req)
{
    comm_nccl *m = (comm_nccl *)c;

    LK_TRY(lost(m, look(m)));
    LK_TRY(lost(m, ended(m, *req)));
    *req = NULL;
    return LK_OK;
}

static void drop_nccl(lk_comm *c, lk_comm_req **req)
{
    (void)req; /* it stays with `all`, out of use */
    (void)lost((comm_nccl *)c, LK_E_COMM);
}

/* ---- what goes to the inner communicator as it is ---- */

static lk_status barrier_nccl(lk_comm *c)
{
    return lk_comm_barrier(((comm_nccl *)c)->inner);
}

static lk_status bcast_nccl(lk_comm *c, int root, void *data, size_t bytes)
{
    return lk_comm_bcast(((comm_nccl *)c)->inner, root, data, bytes);
}

static lk_status allgather_nccl(lk_comm *c, const void *send, size_t bytes, void *recv)
{
    return lk_comm_allgather(((comm_nccl *)c)->inner, send, bytes, recv);
}

static lk_status agree_nccl(lk_comm *c, lk_status local)
{
    return lk_comm_agree(((comm_nccl *)c)->inner, local);
}

static void abort_nccl(lk_comm *c, int exit_code)
{
    lk_world_abort(((comm_nccl *)c)->inner, exit_code);
}

/* ---- beginning and end ---- */

static void destroy_nccl(lk_comm *c)
{
    comm_nccl *m = (comm_nccl *)c;
    bool over = false;

    if (m->set_watch != NULL)
        m->set_watch(NULL, NULL);
    if (m->nccl != NULL && c->dead == LK_OK) {
        lk_err before;
        lk_err_take(&before);
        lk_status st = LK_NCCL(m, ncclCommFinalize(m->nccl));
        if (st == LK_OK)
            st = finish_call(m, c->deadline, &over);
        if (st == LK_OK && !over) {
            (void)ncclCommDestroy(m->nccl);
            m->nccl = NULL;
        }
        if (st != LK_OK)
            (void)!lk_err_give(&before);
    }
    (void)lost(m, LK_E_COMM); /* unless it ended well */
    while (m->all != NULL) {
        lk_comm_req *q = m->all;
        m->all = q->next_all;
        req_free(q);
    }
    if (m->stream != NULL)
        cudaStreamDestroy(m->stream);
}

static const lk_comm_ops ops_nccl = {
    .barrier = barrier_nccl,
    .bcast = bcast_nccl,
    .allgather = allgather_nccl,
    .allreduce = allreduce_nccl,
    .alltoallv_start = alltoallv_start_nccl,
    .test = test_nccl,
    .wait = wait_nccl,
    .drop = drop_nccl,
    .agree = agree_nccl,
    .reserve = reserve_nccl,
    .abort = abort_nccl,
    .destroy = destroy_nccl,
};

/* A stream that the GPU prefers: an exchange that can start does not wait for the rest of the queue's kernels. */
static lk_status create_stream(comm_nccl *m)
{
    int least, greatest;

    LK_TRY(LK_CUDA(m, cudaDeviceGetStreamPriorityRange(&least, &greatest)));
    return LK_CUDA(m, cudaStreamCreateWithPriority(&m->stream, cudaStreamNonBlocking, greatest));
}

static lk_status create_local(
    lk_comm *inner, const lk_space *space, void *compute_stream, ncclUniqueId *id, comm_nccl **out)
{
    comm_nccl *m = NULL;
    char name[sizeof m->base.name];

    if (!lk_comm_space(inner)->host || space->host)
        return LK_FAIL(LK_E_ARG, "NCCL for memory of %s over %s, whose own exchanges are in memory of %s", space->name,
            inner->name, lk_comm_space(inner)->name);
    snprintf(name, sizeof name, "nccl(%.*s)", (int)sizeof name - 7, inner->name);
    LK_TRY(lk_alloc(sizeof *m, "communicator", &m));
    const lk_status st = lki_comm_init_over(&m->base, &ops_nccl, name, inner);
    if (st != LK_OK) {
        lk_free(m);
        return st;
    }
    m->base.space = space;
    m->base.way = "NCCL";
    m->inner = inner;
    m->compute = compute_stream;
    m->last = &m->first;
    *out = m; /* from here on the caller destroys it */
    LK_TRY(LK_CUDA(m, cudaGetDevice(&m->device)));
    LK_TRY(create_stream(m));
    return inner->rank == 0 ? LK_NCCL(m, ncclGetUniqueId(id)) : LK_OK;
}

static lk_status join(comm_nccl *m, ncclUniqueId id, double deadline)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    bool over;

    config.blocking = 0;
    LK_TRY(LK_NCCL(m, ncclCommInitRankConfig(&m->nccl, m->base.nranks, id, m->base.rank, &config)));
    LK_TRY(finish_call(m, deadline, &over));
    if (over)
        return LK_FAIL(LK_E_COMM,
            "rank %d on %s: NCCL has not connected the %d ranks in %g s. NCCL_DEBUG=INFO makes it tell what it does; "
            "NCCL_SOCKET_IFNAME names the network interface to use; /dev/shm must have room",
            m->base.rank, m->base.host[m->base.rank], m->base.nranks, deadline);
    return LK_OK;
}

/* Agreement on a local status. That NCCL failed does no harm to the communicator over which the ranks agree. */
static lk_status agree_on(lk_comm *inner, lk_status st)
{
    if (st == LK_E_COMM)
        st = LK_FAIL(LK_E_LIBRARY, "%s", lk_err_last()->message);
    return lk_comm_agree(inner, st);
}

lk_status lk_comm_create_nccl(lk_comm *inner, const lk_space *space, void *compute_stream, double deadline,
    lk_comm_set_watch *set_watch, lk_comm **out)
{
    const double usual = inner->deadline;
    ncclUniqueId id = {{0}};
    comm_nccl *m = NULL;
    lk_status st;

    LK_TRY_TO(st, fail, agree_on(inner, create_local(inner, space, compute_stream, &id, &m)));
    LK_TRY_TO(st, fail, lk_comm_bcast(inner, 0, &id, sizeof id));
    st = lost(m, join(m, id, deadline));
    /* Who failed at once waits for those who give NCCL all its time. */
    if (usual > 0)
        lk_comm_set_deadline(inner, deadline > 0 ? usual + deadline : 0);
    st = agree_on(inner, st);
    lk_comm_set_deadline(inner, usual);
    LK_TRY_TO(st, fail, st);
    m->base.deadline = deadline;
    m->set_watch = set_watch;
    if (set_watch != NULL)
        set_watch(lk_comm_nccl_watch, m);
    *out = &m->base;
    return LK_OK;

fail:
    if (m != NULL) {
        (void)lost(m, st);
        destroy_nccl(&m->base);
        lki_comm_fini(&m->base);
        lk_free(m);
    }
    return st;
}

int lk_comm_nccl_version(void)
{
    int version = 0;

    return ncclGetVersion(&version) == ncclSuccess ? version : 0;
}
