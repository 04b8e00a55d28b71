/* Exchanges of a space that is not the host's, through the host: the same bits as in the host's memory, whatever the
 * space does when; and what happens when a copy, the memory, the device or the inner communicator fails. */
#include "base/thread.h"
#include "comm/exchange_checks.h"
#include "comm/leaks.h"
#include "comm/reduction_checks.h"
#include "comm/staged_checks.h"

#include <inttypes.h>

#define DEADLINE 0.3

static lk_comm *staged_over(lk_comm *inner)
{
    lk_comm *c = NULL;

    CHECK_OK(lk_comm_create_staged(inner, &late_space, false, &c));
    return c;
}

static void test_names(lk_comm *mpi)
{
    lk_comm *self = NULL, *c = staged_over(mpi), *none = NULL;

    CHECK(strcmp(lk_comm_name(c), "staged(mpi)") == 0, "%s", lk_comm_name(c));
    CHECK(lk_comm_space(c) == &late_space && lk_comm_space(mpi) == &lk_space_host, "%s", lk_comm_space(c)->name);
    CHECK(lk_comm_rank(c) == lk_comm_rank(mpi) && lk_comm_nranks(c) == lk_comm_nranks(mpi), "rank %d", lk_comm_rank(c));
    CHECK(lk_comm_local_rank(c) == lk_comm_local_rank(mpi), "%d", lk_comm_local_rank(c));
    CHECK(strcmp(lk_comm_host(c, 0), lk_comm_host(mpi, 0)) == 0, "%s", lk_comm_host(c, 0));
    CHECK(lk_comm_create_staged(c, &late_space, false, &none) == LK_E_ARG && none == NULL, "staged over staged");
    CHECK(strstr(lk_err_last()->message, "staged(mpi)") != NULL, "%s", lk_err_last()->message);
    lk_comm_destroy(&c);

    CHECK_OK(lk_comm_create_self(&self));
    c = staged_over(self);
    test_exchange(c, true);
    CHECK(late.copied_out == 0 && late.copied_in == 0, "one rank alone copies %d bytes out", (int)late.copied_out);
    test_sums(c, true);
    lk_comm_destroy(&c);
    lk_comm_destroy(&self);
}

/* A piece that goes to all ranks is copied once. */
static void test_copies(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    int64_t scount[8], sdispl[8] = {0}, rdispl[8];
    char own[1000], all[8 * 1000];
    char *send = space_new(lk_comm_space(c), sizeof own), *recv = space_new(lk_comm_space(c), sizeof all);
    lk_comm_req *req = NULL;

    for (int r = 0; r < n; r++) {
        scount[r] = 1000;
        rdispl[r] = 1000 * r;
    }
    memset(own, me + 1, sizeof own);
    space_put(lk_comm_space(c), send, own, sizeof own);
    late.copied_out = late.copied_in = 0;
    CHECK_OK(lk_comm_alltoallv_start(c, 1, send, scount, sdispl, recv, scount, rdispl, &req));
    CHECK_OK(lk_comm_wait(c, &req));
    CHECK(late.copied_out == (n > 1 ? 1000 : 0), "%d bytes out", (int)late.copied_out);
    CHECK(late.copied_in == 1000 * (n - 1), "%d bytes in", (int)late.copied_in);
    space_get(lk_comm_space(c), all, recv, sizeof all);
    for (int i = 0; i < 1000 * n; i++)
        CHECK(all[i] == i / 1000 + 1, "byte %d is %d", i, all[i]);
    lk_space_free(lk_comm_space(c), send);
    lk_space_free(lk_comm_space(c), recv);
}

/* ---- failures: each ends a communicator of its own ---- */

enum { FAIL_INNER, FAIL_COPY_OUT, FAIL_COPY_IN, FAIL_MEMORY, FAIL_DEVICE, FAILURES };

/* Three exchanges, the second of which fails on rank `bad`. Returns what this rank was told. */
static lk_status run_failing(lk_comm *c, int what, int bad)
{
    const int me = lk_comm_rank(c);
    lk_status st = LK_OK;

    for (int i = 0; i < 3 && st == LK_OK; i++) {
        exchange x;
        exchange_init(&x, c, i, 20000 * (1 + 9 * i)); /* the second needs more memory */
        CHECK_OK(lk_space_wait(lk_comm_space(c)));
        int64_t copies_out = 0;
        for (int r = 0; r < lk_comm_nranks(c); r++)
            copies_out += x.scount[r] > 0; /* the own piece is a copy too */
        if (me == bad && i == 1) {
            late.fail_copy = what == FAIL_COPY_OUT ? copies_out : what == FAIL_COPY_IN ? copies_out + 1 : 0;
            late.fail_alloc = what == FAIL_MEMORY;
            late.fail_work = what == FAIL_DEVICE;
        }
        st = lk_comm_alltoallv_start(c, i, x.send, x.scount, x.sdispl, x.recv, x.rcount, x.rdispl, &x.req);
        if (st == LK_OK)
            st = lk_comm_wait(c, &x.req);
        if (st == LK_OK)
            exchange_check(&x, c, i);
        late.fail_copy = late.fail_alloc = late.fail_work = 0;
        if (st == LK_OK)
            exchange_fini(&x, c); /* else others may still be at it */
    }
    return st;
}

static void test_failure(lk_comm *mpi, int what)
{
    static const char *const told[FAILURES] = {
        [FAIL_INNER] = "injected fault at call 2 (alltoallv_start)",
        [FAIL_COPY_OUT] = "cannot take part in an exchange: late: a copy that is refused",
        [FAIL_COPY_IN] = "cannot take part in an exchange: late: a copy that is refused",
        [FAIL_MEMORY] = "cannot take part in an exchange: late: no ",
        [FAIL_DEVICE] = "late: work that was queued has failed",
    };
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi), bad = n - 1;
    const double start = lk_now();
    lk_comm *inner = NULL;
    char text[LK_ERR_MESSAGE];

    CHECK_OK(lk_comm_create_fault(mpi, bad, what == FAIL_INNER ? 2 : 1000, &inner));
    lk_comm *c = staged_over(inner);
    lk_comm_set_deadline(c, DEADLINE);
    const lk_status st = run_failing(c, what, bad);
    snprintf(text, sizeof text, "%s", lk_err_last()->message);
    if (me == bad) {
        CHECK(st == (what == FAIL_DEVICE ? LK_E_DEVICE : LK_E_COMM), "failure %d: %s", what, lk_status_name(st));
        CHECK(strstr(text, told[what]) != NULL, "failure %d: %s", what, text);
    } else if (what == FAIL_COPY_IN && st == LK_OK) {
        /* the others had what they needed of the second exchange, and maybe of the third */
        CHECK(n > 2, "failure %d: rank %d is content", what, me);
    } else {
        CHECK(st == LK_E_COMM, "failure %d: rank %d: %s", what, me, lk_status_name(st));
        CHECK(strstr(text, "no answer from rank") != NULL, "failure %d: %s", what, text);
    }
    CHECK(lk_now() - start < 30, "failure %d took %g s", what, lk_now() - start);
    if (st != LK_OK) { /* dead, and says why */
        lk_comm_req *req = NULL;
        bool done;
        CHECK(lk_comm_barrier(c) == st && strcmp(lk_err_last()->message, text) == 0, "%s", lk_err_last()->message);
        CHECK(lk_comm_test(c, &req, &done) == st, "failure %d", what);
        CHECK(lk_comm_agree(c, LK_OK) == st, "failure %d", what);
    }
    lk_comm_destroy(&c);
    CHECK(late.misuse == 0, "failure %d: memory that copies go to was freed", what);
    late_reset(7);
    lk_comm_destroy(&inner);
}

/* A step that is left in the middle. */
static void test_left_behind(lk_comm *mpi)
{
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi);
    const int64_t bucket[2] = {0, 4 * TILE};
    const lk_reduce_opts o = {
        .n = 4 * TILE, .type = LK_COMM_F32, .tile = TILE, .n_buckets = 1, .bucket = bucket, .leaves = n, .width = 1};
    lk_comm *c = staged_over(mpi);
    lk_reduce *r = NULL;

    CHECK_OK(lk_reduce_create(c, &o, &r));
    CHECK_OK(lk_reduce_ready(r, me, 0));
    lk_reduce_destroy(&r);
    CHECK(n == 1 || lk_comm_barrier(c) == LK_E_COMM, "the communicator lives");
    CHECK(n == 1 || strstr(lk_err_last()->message, "gave up an exchange") != NULL, "%s", lk_err_last()->message);
    lk_comm_destroy(&c);
    CHECK(late.misuse == 0, "memory that copies go to was freed");
}

int main(void)
{
    enum { COMMS = FAILURES + 1 };
    lk_comm *mpi = NULL, *more[COMMS] = {0};

    CHECK_OK(lk_comm_create_mpi(&mpi));
    if (mpi == NULL)
        return 1;
    for (int i = 0; i < COMMS; i++)
        CHECK_OK(lk_comm_create_mpi(&more[i]));
    const int rank = lk_comm_rank(mpi);
    test_names(mpi);
    lk_comm *c = staged_over(mpi);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        late_reset(seed * 77 + (uint64_t)rank);
        test_exchange(c, true);
        test_between(c);
    }
    test_copies(c);
    test_allreduce(c);
    lk_comm_destroy(&c);
    c = staged_over(mpi);
    test_sums(c, true);
    test_errors(c);
    lk_comm_set_deadline(c, 60); /* the inner communicator takes other ways */
    test_between(c);
    CHECK(late.misuse == 0, "%d misuses of the space", late.misuse);
    lk_comm_destroy(&c);
    CHECK_OK(lk_comm_barrier(mpi)); /* it outlives what was over it */
    int pinned = 0;
    for (int i = 0; i < LATE_PINNED; i++)
        pinned += late.pinned[i].at != NULL;
    CHECK(pinned == 0, "%d pieces of pinned memory are left", pinned);

    test_left_behind(more[0]);
    for (int what = 0; what < FAILURES && lk_comm_nranks(mpi) > 1; what++) {
        test_failure(more[1 + what], what);
        more[1 + what] = NULL; /* adopted */
        CHECK_OK(lk_comm_barrier(mpi));
    }
    for (int i = 0; i < COMMS; i++)
        lk_comm_destroy(&more[i]);
    lk_comm_destroy(&mpi);
    CHECK(lk_mem_bytes() == 0, "%" PRId64 " bytes are left", lk_mem_bytes());
    return check_end(rank);
}
