/* A call that fails on one rank: that rank knows at once and for good; the others know when their deadline is over, and
 * by name. */
#include "base/thread.h"
#include "check.h"
#include "comm/comm.h"
#include "comm/leaks.h"
#include "comm/reduce.h"

#include <string.h>

enum { KINDS = 6 };
static const char *const kinds[KINDS] = {"barrier", "bcast", "allgather", "allreduce", "alltoallv_start", "agree"};

/* Seconds that those who wait for the rank that failed are patient. */
#define DEADLINE 0.3

static lk_status call(lk_comm *c, int kind)
{
    int64_t count[8], displ[8], data[8] = {0}, all[8];
    lk_comm_req *req = NULL;

    for (int r = 0; r < 8; r++) {
        count[r] = 8;
        displ[r] = 8 * r;
    }
    switch (kind) {
    case 0:
        return lk_comm_barrier(c);
    case 1:
        return lk_comm_bcast(c, 0, data, sizeof data);
    case 2:
        return lk_comm_allgather(c, data, 8, all);
    case 3:
        return lk_comm_allreduce(c, data, 8, LK_COMM_I64);
    case 4:
        LK_TRY(lk_comm_alltoallv_start(c, 3, data, count, displ, all, count, displ, &req));
        return lk_comm_wait(c, &req);
    default:
        return lk_comm_agree(c, LK_OK);
    }
}

static void check_dead(lk_comm *c, const char *text)
{
    for (int kind = 0; kind < KINDS; kind++) {
        CHECK(call(c, kind) == LK_E_COMM, "%s after death", kinds[kind]);
        CHECK(strcmp(lk_err_last()->message, text) == 0, "%s, was %s", lk_err_last()->message, text);
    }
}

/* On one rank alone nothing can hang: every kind at every place. */
static void test_self(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        for (int n = 1; n <= 3; n++) {
            lk_comm *self = NULL, *c = NULL;
            char want[100];
            CHECK_OK(lk_comm_create_self(&self));
            CHECK_OK(lk_comm_create_fault(self, 0, n, &c));
            CHECK(strcmp(lk_comm_name(c), "fault(self)") == 0, "%s", lk_comm_name(c));
            for (int i = 1; i < n; i++)
                CHECK_OK(call(c, (kind + i) % KINDS));
            CHECK(call(c, kind) == LK_E_COMM, "%s, call %d", kinds[kind], n);
            snprintf(want, sizeof want, "injected fault at call %d (%s)", n, kinds[kind]);
            check_dead(c, want);
            lk_comm_destroy(&c);
        }
    }
}

static void test_arguments(void)
{
    lk_comm *self = NULL, *c = NULL;

    CHECK_OK(lk_comm_create_self(&self));
    CHECK(lk_comm_create_fault(self, 1, 1, &c) == LK_E_ARG, "rank 1 of 1");
    CHECK(lk_comm_create_fault(self, 0, 0, &c) == LK_E_ARG, "call 0");
    CHECK_OK(lk_comm_barrier(self)); /* not adopted by a call that failed */
    lk_comm_destroy(&self);
}

/* Over MPI, once a program: afterwards the ranks are out of step. */
static void test_mpi(lk_comm **mpi)
{
    const int n = lk_comm_nranks(*mpi), me = lk_comm_rank(*mpi), bad = n - 1;
    lk_comm *c = NULL;
    char text[LK_ERR_MESSAGE], want[200];

    CHECK_OK(lk_comm_create_fault(*mpi, bad, KINDS + 1, &c));
    *mpi = NULL;
    CHECK(strcmp(lk_comm_name(c), "fault(mpi)") == 0, "%s", lk_comm_name(c));
    CHECK(lk_comm_rank(c) == me && lk_comm_nranks(c) == n && lk_comm_local_rank(c) == me, "rank %d", lk_comm_rank(c));
    for (int kind = 0; kind < KINDS; kind++) /* before the fault all is well */
        CHECK_OK(call(c, kind));
    lk_comm_set_deadline(c, DEADLINE);
    const double start = lk_now();
    const lk_status st = lk_comm_barrier(c);
    const double waited = lk_now() - start;
    CHECK(st == LK_E_COMM, "rank %d: %s", me, lk_status_name(st));
    snprintf(text, sizeof text, "%s", lk_err_last()->message);
    if (me == bad) {
        snprintf(want, sizeof want, "injected fault at call %d (barrier)", KINDS + 1);
        CHECK(strcmp(text, want) == 0, "%s", text);
    } else {
        snprintf(
            want, sizeof want, "no answer from rank %d on %s for %g s (barrier)", bad, lk_comm_host(c, bad), DEADLINE);
        CHECK(strcmp(text, want) == 0, "%s", text);
        CHECK(waited >= DEADLINE && waited < 30, "%g s", waited);
    }
    check_dead(c, text);
    lk_comm_destroy(&c);
    CHECK(c == NULL, "destroy leaves the pointer");
}

/* A reduction whose exchange fails on one rank ends on every rank, and what was in flight does no harm. */
static void test_reduction(lk_comm *mpi)
{
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi), bad = n - 1;
    const int64_t bucket[3] = {0, 1 << 16, 1 << 18};
    const lk_reduce_opts o = {
        .n = bucket[2], .type = LK_COMM_F32, .tile = 64, .n_buckets = 2, .bucket = bucket, .leaves = n, .width = 1};
    lk_comm *c = NULL;
    lk_reduce *r = NULL;
    lk_status st = LK_OK;

    /* call 1 is the agreement in create, 2 and 3 the exchanges of the first bucket and the second */
    CHECK_OK(lk_comm_create_fault(mpi, bad, 3, &c));
    lk_comm_set_deadline(c, DEADLINE);
    CHECK_OK(lk_reduce_create(c, &o, &r));
    for (int b = 0; b < 2 && st == LK_OK; b++)
        st = lk_reduce_ready(r, me, b);
    if (st == LK_OK)
        st = lk_reduce_finish(r);
    CHECK(st == LK_E_COMM, "rank %d: %s", me, lk_status_name(st));
    CHECK(strstr(lk_err_last()->message,
              me == bad ? "injected fault at call 3 (alltoallv_start)" : "no answer from rank") != NULL,
        "%s", lk_err_last()->message);
    lk_reduce_destroy(&r);
    CHECK(lk_comm_agree(c, LK_OK) == LK_E_COMM, "agreement on a dead communicator");
    lk_comm_destroy(&c);
}

int main(void)
{
    lk_comm *first = NULL, *second = NULL;

    CHECK_OK(lk_comm_create_mpi(&first));
    CHECK_OK(lk_comm_create_mpi(&second)); /* its messages are its own */
    if (first == NULL || second == NULL)
        return 1;
    const int rank = lk_comm_rank(first);
    test_self();
    test_arguments();
    test_reduction(second);
    test_mpi(&first);
    return check_end(rank);
}
