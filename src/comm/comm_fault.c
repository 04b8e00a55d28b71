/* Wraps a communicator and fails one chosen call on one chosen rank, as a broken network would: the call does not
 * happen, the other ranks are not told. What is counted: barrier, bcast, allgather, allreduce, alltoallv_start and
 * agree, one each whatever they do inside. Test and wait are not: how often they are called depends on timing, and a
 * fault must hit the same place in every run. */
#include "comm/comm_int.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct comm_fault {
    lk_comm base;
    lk_comm *inner;
    int64_t left; /* calls until the fault; 0 and below: none to come on this rank */
    int64_t call;
} comm_fault;

static lk_status count(comm_fault *f, const char *name)
{
    if (f->left > 0 && --f->left == 0)
        return LK_FAIL(LK_E_COMM, "injected fault at call %" PRId64 " (%s)", f->call, name);
    return LK_OK;
}

static lk_status alltoallv_start_fault(lk_comm *c, int tag, const void *send, const int64_t *scount,
    const int64_t *sdispl, void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out)
{
    comm_fault *f = (comm_fault *)c;

    LK_TRY(count(f, "alltoallv_start"));
    return lk_comm_alltoallv_start(f->inner, tag, send, scount, sdispl, recv, rcount, rdispl, out);
}

static lk_status barrier_fault(lk_comm *c)
{
    comm_fault *f = (comm_fault *)c;

    LK_TRY(count(f, "barrier"));
    return lk_comm_barrier(f->inner);
}

static lk_status bcast_fault(lk_comm *c, int root, void *data, size_t bytes)
{
    comm_fault *f = (comm_fault *)c;

    LK_TRY(count(f, "bcast"));
    return lk_comm_bcast(f->inner, root, data, bytes);
}

static lk_status allgather_fault(lk_comm *c, const void *send, size_t bytes, void *recv)
{
    comm_fault *f = (comm_fault *)c;

    LK_TRY(count(f, "allgather"));
    return lk_comm_allgather(f->inner, send, bytes, recv);
}

static lk_status allreduce_fault(lk_comm *c, void *data, int64_t n, lk_comm_type t)
{
    comm_fault *f = (comm_fault *)c;

    LK_TRY(count(f, "allreduce"));
    return lk_comm_allreduce(f->inner, data, n, t);
}

static lk_status test_fault(lk_comm *c, lk_comm_req **req, bool *done)
{
    return lk_comm_test(((comm_fault *)c)->inner, req, done);
}

static lk_status wait_fault(lk_comm *c, lk_comm_req **req)
{
    return lk_comm_wait(((comm_fault *)c)->inner, req);
}

static void drop_fault(lk_comm *c, lk_comm_req **req)
{
    lki_comm_drop(((comm_fault *)c)->inner, req);
}

static lk_status agree_fault(lk_comm *c, lk_status local)
{
    comm_fault *f = (comm_fault *)c;

    LK_TRY(count(f, "agree"));
    return lk_comm_agree(f->inner, local);
}

static lk_status reserve_fault(lk_comm *c, int n, const int64_t *counts)
{
    return lki_comm_reserve(((comm_fault *)c)->inner, n, counts);
}

static void set_deadline_fault(lk_comm *c, double seconds)
{
    lk_comm_set_deadline(((comm_fault *)c)->inner, seconds);
}

static void abort_fault(lk_comm *c, int exit_code)
{
    lk_world_abort(((comm_fault *)c)->inner, exit_code);
}

static void destroy_fault(lk_comm *c)
{
    lk_comm_destroy(&((comm_fault *)c)->inner);
}

static const lk_comm_ops ops_fault = {
    .barrier = barrier_fault,
    .bcast = bcast_fault,
    .allgather = allgather_fault,
    .allreduce = allreduce_fault,
    .alltoallv_start = alltoallv_start_fault,
    .test = test_fault,
    .wait = wait_fault,
    .drop = drop_fault,
    .agree = agree_fault,
    .reserve = reserve_fault,
    .set_deadline = set_deadline_fault,
    .abort = abort_fault,
    .destroy = destroy_fault,
};

lk_status lk_comm_create_fault(lk_comm *inner, int rank, int64_t call, lk_comm **out)
{
    comm_fault *f = NULL;
    char name[sizeof f->base.name];

    if (rank < 0 || rank >= inner->nranks)
        return LK_FAIL(LK_E_ARG, "a fault on rank %d of %d", rank, inner->nranks);
    if (call < 1)
        return LK_FAIL(LK_E_ARG, "a fault at call %" PRId64 ": calls are counted from 1", call);
    snprintf(name, sizeof name, "fault(%.*s)", (int)sizeof name - 8, inner->name);
    LK_TRY(lk_alloc(sizeof *f, "communicator", &f));
    const lk_status st = lki_comm_init_over(&f->base, &ops_fault, name, inner);
    if (st != LK_OK) {
        lk_free(f);
        return st;
    }
    f->inner = inner;
    f->call = call;
    f->left = rank == inner->rank ? call : 0;
    *out = &f->base;
    return LK_OK;
}
