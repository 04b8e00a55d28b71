#include "comm/comm_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICE_BYTES = 64 }; /* of a name that is told to the others */

lk_status lki_comm_settle(lk_comm *c, lk_status st, const char *file, int line, const char *func)
{
    if (st == LK_OK)
        return LK_OK;
    lk_err_frame(st, file, line, func);
    if (lk_status_damage(st) >= LK_DAMAGE_COMM && c->dead == LK_OK) {
        c->dead = st;
        lk_err_take(&c->death);
    }
    return st;
}

#define TRY_ALIVE(c) \
    do { \
        if ((c)->dead != LK_OK) \
            return lk_err_give(&(c)->death); \
    } while (0)

size_t lk_comm_type_size(lk_comm_type t)
{
    switch (t) {
    case LK_COMM_F32:
        return sizeof(float);
    case LK_COMM_F64:
        return sizeof(double);
    case LK_COMM_I64:
        return sizeof(int64_t);
    case LK_COMM_BYTE:
        return 1;
    }
    return 0;
}

bool lk_comm_under_mpi(void)
{
    /* Not SLURM_PROCID: a plain `srun lockstep` or a batch script has it, and MPI_Init would find no one to talk to. */
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};

    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (getenv(marks[i]) != NULL)
            return true;
    }
    return false;
}

int lk_comm_rank(const lk_comm *c)
{
    return c->rank;
}

int lk_comm_nranks(const lk_comm *c)
{
    return c->nranks;
}

const char *lk_comm_name(const lk_comm *c)
{
    return c->name;
}

const char *lk_comm_way(const lk_comm *c)
{
    return c->way;
}

const lk_space *lk_comm_space(const lk_comm *c)
{
    return c->space;
}

const char *lk_comm_host(const lk_comm *c, int rank)
{
    LK_BUG_IF(rank < 0 || rank >= c->nranks, "host of rank %d of %d", rank, c->nranks);
    return c->host[rank];
}

int lk_comm_local_rank(const lk_comm *c)
{
    return c->local_rank;
}

void lk_comm_set_deadline(lk_comm *c, double seconds)
{
    c->deadline = seconds > 0 ? seconds : 0;
    if (c->ops->set_deadline != NULL)
        c->ops->set_deadline(c, c->deadline);
}

lk_status lk_comm_barrier(lk_comm *c)
{
    TRY_ALIVE(c);
    return LKI_SETTLE(c, c->ops->barrier(c));
}

lk_status lk_comm_bcast(lk_comm *c, int root, void *data, size_t bytes)
{
    TRY_ALIVE(c);
    if (root < 0 || root >= c->nranks)
        return LK_FAIL(LK_E_ARG, "bcast on %s: root %d of %d ranks", c->name, root, c->nranks);
    return LKI_SETTLE(c, c->ops->bcast(c, root, data, bytes));
}

lk_status lk_comm_allgather(lk_comm *c, const void *send, size_t bytes, void *recv)
{
    TRY_ALIVE(c);
    if (bytes > (size_t)(INT64_MAX / c->nranks))
        return LK_FAIL(LK_E_ARG, "allgather on %s: %zu bytes from each of %d ranks", c->name, bytes, c->nranks);
    return LKI_SETTLE(c, c->ops->allgather(c, send, bytes, recv));
}

lk_status lk_comm_allreduce(lk_comm *c, void *data, int64_t count, lk_comm_type t)
{
    TRY_ALIVE(c);
    if (count < 0)
        return LK_FAIL(LK_E_ARG, "allreduce on %s: count %" PRId64 " is negative", c->name, count);
    if (t == LK_COMM_BYTE)
        return LK_FAIL(LK_E_ARG, "allreduce on %s: bytes have no sum", c->name);
    return LKI_SETTLE(c, c->ops->allreduce(c, data, count, t));
}

lk_status lk_comm_alltoallv_start(lk_comm *c, int tag, const void *send, const int64_t *scount, const int64_t *sdispl,
    void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out)
{
    TRY_ALIVE(c);
    if (tag < 0)
        return LK_FAIL(LK_E_ARG, "alltoallv on %s: tag %d is negative", c->name, tag);
    for (int r = 0; r < c->nranks; r++) {
        if (scount[r] < 0 || rcount[r] < 0)
            return LK_FAIL(LK_E_ARG, "alltoallv on %s: %" PRId64 " bytes to and %" PRId64 " bytes from rank %d",
                c->name, scount[r], rcount[r], r);
    }
    if (scount[c->rank] != rcount[c->rank])
        return LK_FAIL(LK_E_ARG,
            "alltoallv on %s: the own piece has %" PRId64 " bytes to send and %" PRId64 " to receive", c->name,
            scount[c->rank], rcount[c->rank]);
    lk_comm_req *req = NULL;
    const lk_status st = LKI_SETTLE(c, c->ops->alltoallv_start(c, tag, send, scount, sdispl, recv, rcount, rdispl, &req));
    if (st == LK_OK)
        *out = req;
    return st;
}

lk_status lk_comm_test(lk_comm *c, lk_comm_req **req, bool *done)
{
    TRY_ALIVE(c);
    if (*req == NULL) {
        *done = true;
        return LK_OK;
    }
    return LKI_SETTLE(c, c->ops->test(c, req, done));
}

lk_status lk_comm_wait(lk_comm *c, lk_comm_req **req)
{
    TRY_ALIVE(c);
    if (*req == NULL)
        return LK_OK;
    return LKI_SETTLE(c, c->ops->wait(c, req));
}

lk_status lk_comm_agree(lk_comm *c, lk_status local)
{
    TRY_ALIVE(c);
    if (local != LK_OK && lk_err_last()->code != local)
        local = LK_FAIL(local, "%s", lk_status_text(local));
    /* A rank in this state cannot keep in step with the others, so for it the communicator is dead as well. */
    if (lk_status_damage(local) >= LK_DAMAGE_COMM)
        return LKI_SETTLE(c, local);
    return LKI_SETTLE(c, c->ops->agree(c, local));
}

lk_status lk_comm_distinct(lk_comm *c, const char *device, bool *distinct, char *why, size_t size)
{
    const int n = c->nranks;
    char own[DEVICE_BYTES] = "", (*all)[DEVICE_BYTES] = NULL;
    lk_status st = lk_alloc_array(n, sizeof own, "names of devices", &all);

    if (st == LK_OK && strlen(device) >= sizeof own)
        st = LK_FAIL(LK_E_ARG, "the name of a device is longer than %d characters: %s", DEVICE_BYTES - 1, device);
    LK_TRY_TO(st, end, lk_comm_agree(c, st));
    memcpy(own, device, strlen(device));
    LK_TRY_TO(st, end, lk_comm_allgather(c, own, sizeof own, all));
    *distinct = true;
    for (int b = 1; b < n && *distinct; b++) {
        for (int a = 0; a < b && *distinct; a++) {
            *distinct = strcmp(c->host[a], c->host[b]) != 0 || strcmp(all[a], all[b]) != 0;
            if (!*distinct)
                snprintf(why, size, "ranks %d and %d on %s have the same device %s", a, b, c->host[a], all[a]);
        }
    }
end:
    lk_free(all);
    return st;
}

static const char cuda_wish[] = "LOCKSTEP_MPI_CUDA";

/* What the environment says in the place of MPI: '0', '1', or '-', nothing. */
static lk_status read_cuda_wish(char *out)
{
    const char *wish = getenv(cuda_wish);

    if (wish != NULL && strcmp(wish, "0") != 0 && strcmp(wish, "1") != 0)
        return LK_FAIL(LK_E_CONFIG,
            "%s is \"%s\" in the environment: 1 hands MPI the memory of GPUs, 0 takes it through the host, unset asks MPI",
            cuda_wish, wish);
    *out = wish != NULL ? wish[0] : '-';
    return LK_OK;
}

static const char *wish_text(char wish)
{
    return wish == '-' ? "unset" : wish == '0' ? "0" : "1";
}

lk_status lk_comm_takes_cuda(lk_comm *c, bool *takes)
{
    const int n = c->nranks;
    char own[2] = {'-', (char)c->takes_cuda}, (*all)[2] = NULL;
    bool every = true;
    lk_status st = lk_alloc_array(n, sizeof own, "what MPI takes", &all);

    if (st == LK_OK)
        st = read_cuda_wish(&own[0]);
    LK_TRY_TO(st, end, lk_comm_agree(c, st));
    LK_TRY_TO(st, end, lk_comm_allgather(c, own, sizeof own, all));
    for (int r = 0; r < n && st == LK_OK; r++) {
        every = every && (all[r][0] == '-' ? all[r][1] : all[r][0] == '1');
        if (all[r][0] != all[0][0])
            st = LK_FAIL(LK_E_CONFIG, "%s is %s on rank 0 and %s on rank %d on %s: set it alike on all (mpirun -x %s)",
                cuda_wish, wish_text(all[0][0]), wish_text(all[r][0]), r, c->host[r], cuda_wish);
    }
    if (st == LK_OK)
        *takes = every;
end:
    lk_free(all);
    return st;
}

void lk_comm_destroy(lk_comm **comm)
{
    lk_comm *c = *comm;

    if (c == NULL)
        return;
    c->ops->destroy(c);
    lki_comm_fini(c);
    lk_free(c);
    *comm = NULL;
}

_Noreturn void lk_world_abort(lk_comm *c, int exit_code)
{
    if (c != NULL && c->ops->abort != NULL)
        c->ops->abort(c, exit_code);
    _exit(exit_code);
}

void lki_hostname(char out[LKI_HOST_BYTES])
{
    memset(out, 0, LKI_HOST_BYTES);
    if (gethostname(out, LKI_HOST_BYTES - 1) != 0 || out[0] == 0)
        memcpy(out, "?", 2);
}

lk_status lki_comm_init(lk_comm *c, const lk_comm_ops *ops, const char *name, int rank, int nranks)
{
    LK_TRY(lk_alloc_array(nranks, LKI_HOST_BYTES, "host names", &c->host));
    c->ops = ops;
    c->way = c->name;
    c->rank = rank;
    c->nranks = nranks;
    c->space = &lk_space_host;
    strncpy(c->name, name, sizeof c->name - 1);
    return LK_OK;
}

lk_status lki_comm_init_over(lk_comm *c, const lk_comm_ops *ops, const char *name, const lk_comm *inner)
{
    LK_TRY(lki_comm_init(c, ops, name, inner->rank, inner->nranks));
    memcpy(c->host, inner->host, (size_t)inner->nranks * LKI_HOST_BYTES);
    c->local_rank = inner->local_rank;
    c->deadline = inner->deadline;
    c->space = inner->space;
    c->way = inner->way;
    c->takes_cuda = inner->takes_cuda;
    return LK_OK;
}

void lki_comm_place(lk_comm *c)
{
    c->local_rank = 0;
    for (int r = 0; r < c->rank; r++)
        c->local_rank += strcmp(c->host[r], c->host[c->rank]) == 0;
}

void lki_comm_fini(lk_comm *c)
{
    lk_free(c->scratch);
    lk_free(c->host);
}

lk_status lki_comm_scratch(lk_comm *c, int64_t bytes, void **out)
{
    if (bytes > c->scratch_bytes) {
        void *grown = NULL;
        LK_TRY(lk_alloc_array(bytes, 1, "scratch of a communicator", &grown));
        lk_free(c->scratch);
        c->scratch = grown;
        c->scratch_bytes = bytes;
    }
    *out = c->scratch;
    return LK_OK;
}

lk_status lki_comm_reserve(lk_comm *c, int n, const int64_t *counts)
{
    return c->ops->reserve != NULL ? c->ops->reserve(c, n, counts) : LK_OK;
}

void lki_comm_drop(lk_comm *c, lk_comm_req **req)
{
    if (*req == NULL)
        return;
    c->ops->drop(c, req);
    *req = NULL;
    if (c->dead == LK_OK) {
        lk_err before;
        lk_err_take(&before);
        c->dead = LK_FAIL(LK_E_COMM, "rank %d gave up an exchange that had begun", c->rank);
        lk_err_take(&c->death);
        (void)!lk_err_give(&before); /* who gave up has a reason, and that is what the record should tell */
    }
}
