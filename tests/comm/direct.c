/* Exchanges of a device's memory by an MPI that takes it as it is, on the stand-in of the GPU with standin/mpi.c in front of MPI: the same bits as in
 * the host's memory, no pinned memory, nothing that MPI reads before it is there or writes while it is in use. */
#include "base/thread.h"
#include "comm/comm_int.h"
#include "comm/exchange_checks.h"
#include "comm/leaks.h"
#include "comm/reduction_checks.h"
#include "comm/staged_checks.h"
#include "cuda/cuda.h"

#include <inttypes.h>
#include <stdio.h>

#define DEADLINE 0.3

static const lk_space *space;

static void load(int rank)
{
    const lk_cuda_module *module = NULL;
    const lk_backend *backend = NULL;

    setenv("STANDIN_DEVICES", "4", 1);
    CHECK_OK(lk_cuda_load(&module));
    CHECK_OK(module->open(rank % 4, LK_PRECISION_FP32, &backend));
    space = backend->space;
}

static lk_comm *direct_over(lk_comm *inner)
{
    lk_comm *c = NULL;

    CHECK_OK(lk_comm_create_staged(inner, space, true, &c));
    return c;
}

/* ---- who takes what ---- */

static void wish(const char *value)
{
    if (value != NULL)
        setenv("LOCKSTEP_MPI_CUDA", value, 1);
    else
        unsetenv("LOCKSTEP_MPI_CUDA");
}

static void test_wish(lk_comm *mpi)
{
    static const char *const refused[] = {"2", "yes", "", "01"};
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi);
    lk_comm *self = NULL;
    bool takes = false;

    CHECK_OK(lk_comm_takes_cuda(mpi, &takes));
    CHECK(takes, "the MPI of this test says no");
    wish("0");
    CHECK_OK(lk_comm_takes_cuda(mpi, &takes));
    CHECK(!takes, "0 is not heard");
    wish(NULL);

    mpi->takes_cuda = me < n - 1; /* one that cannot */
    CHECK_OK(lk_comm_takes_cuda(mpi, &takes));
    CHECK(!takes, "one rank cannot, rank %d would", me);
    wish("1");
    CHECK_OK(lk_comm_takes_cuda(mpi, &takes));
    CHECK(takes, "1 is not heard");
    mpi->takes_cuda = true;

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char want[200];
        wish(me == n - 1 ? refused[i] : "1");
        CHECK(lk_comm_takes_cuda(mpi, &takes) == LK_E_CONFIG, "\"%s\" is taken", refused[i]);
        snprintf(want, sizeof want, "LOCKSTEP_MPI_CUDA is \"%s\" in the environment", refused[i]);
        CHECK(strstr(lk_err_last()->message, want) != NULL, "%s", lk_err_last()->message);
    }
    for (int i = 0; i < 3 && n > 1; i++) { /* each may be what rank 0 has */
        const char *const values[3] = {"1", "0", NULL};
        wish(me == 0 ? values[i] : values[(i + 1) % 3]);
        CHECK(lk_comm_takes_cuda(mpi, &takes) == LK_E_CONFIG, "not the same on all ranks");
        CHECK(strstr(lk_err_last()->message, "on rank 0 and ") != NULL && strstr(lk_err_last()->message, "on rank 1 on") != NULL, "%s",
            lk_err_last()->message);
    }
    wish(NULL);
    CHECK_OK(lk_comm_create_self(&self));
    CHECK_OK(lk_comm_takes_cuda(self, &takes));
    CHECK(!takes, "without MPI");
    lk_comm_destroy(&self);
}

static void test_names(lk_comm *mpi)
{
    lk_comm *c = direct_over(mpi), *none = NULL, *staged = NULL;

    CHECK(strcmp(lk_comm_name(c), "direct(mpi)") == 0, "%s", lk_comm_name(c));
    CHECK(strcmp(lk_comm_way(c), "MPI, device memory directly") == 0, "%s", lk_comm_way(c));
    CHECK(strcmp(lk_comm_way(mpi), "MPI") == 0, "%s", lk_comm_way(mpi));
    CHECK(lk_comm_space(c) == space && !lk_comm_is_staged(c), "staged");
    CHECK_OK(lk_comm_create_staged(mpi, space, false, &staged));
    CHECK(strcmp(lk_comm_way(staged), "MPI through pinned host memory") == 0, "%s", lk_comm_way(staged));
    CHECK(lk_comm_is_staged(staged), "not staged");
    CHECK(lk_comm_create_staged(c, space, true, &none) == LK_E_ARG && none == NULL, "direct over direct");
    lk_comm_destroy(&staged);
    lk_comm_destroy(&c);
}

/* ---- exchanges ---- */

/* With no pinned memory to be had, which is what the other way fails of. */
static void test_nothing_pinned(lk_comm *mpi)
{
    lk_comm *c = direct_over(mpi);
    void *pinned = NULL;

    setenv("STANDIN_FAIL", "cudaMallocHost:1", 1);
    test_exchange(c, true);
    test_allreduce(c);
    test_sums(c, true);
    CHECK(lk_space_alloc_pinned(space, 100, "test", &pinned) == LK_E_NOMEM, "there was pinned memory all the time");
    unsetenv("STANDIN_FAIL");
    lk_comm_destroy(&c);
}

/* What was queued in front of an exchange reads what was in its buffers before, and what is queued behind it finds the new. */
static void test_in_use(lk_comm *c)
{
    enum { BYTES = 100000 };
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c), next = (me + 1) % n, last = (me + n - 1) % n;
    int64_t scount[8] = {0}, sdispl[8] = {0}, rcount[8] = {0}, rdispl[8] = {0};
    char *x = space_new(space, BYTES), *y = space_new(space, BYTES), *old = space_new(space, BYTES), *host = malloc(BYTES);
    int wrong = 0;

    scount[next] = rcount[last] = BYTES;
    for (int i = 0; i < 20; i++) {
        lk_comm_req *req = NULL;
        memset(host, 100 + me + i, BYTES);
        space_put(space, x, host, BYTES);
        memset(host, i, BYTES);
        space_put(space, y, host, BYTES);
        CHECK_OK(lk_space_copy(space, old, y, BYTES, LK_COPY_WITHIN));
        CHECK_OK(lk_comm_alltoallv_start(c, i, x, scount, sdispl, y, rcount, rdispl, &req));
        CHECK_OK(lk_comm_wait(c, &req));
        CHECK_OK(lk_space_zero(space, x, BYTES));
        space_get(space, host, old, BYTES);
        for (int k = 0; k < BYTES; k++)
            wrong += host[k] != (char)i;
        space_get(space, host, y, BYTES);
        for (int k = 0; k < BYTES; k++)
            wrong += host[k] != (char)(100 + last + i);
    }
    CHECK(wrong == 0, "%d bytes wrong", wrong);
    free(host);
    lk_space_free(space, x);
    lk_space_free(space, y);
    lk_space_free(space, old);
}

/* ---- failures: each ends a communicator of its own ---- */

/* Three exchanges, the second of which fails on the last rank: in MPI, or on the device. */
static void test_failure(lk_comm *mpi, const char *device)
{
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi), bad = n - 1;
    lk_comm *inner = NULL;
    lk_status st = LK_OK;

    CHECK_OK(lk_comm_create_fault(mpi, bad, device != NULL ? 1000 : 2, &inner));
    lk_comm *c = direct_over(inner);
    lk_comm_set_deadline(c, DEADLINE);
    for (int i = 0; i < 3 && st == LK_OK; i++) {
        exchange x;
        exchange_init(&x, c, i, 20000);
        CHECK_OK(lk_space_wait(space));
        if (me == bad && i == 1 && device != NULL)
            setenv("STANDIN_FAIL", device, 1);
        st = lk_comm_alltoallv_start(c, i, x.send, x.scount, x.sdispl, x.recv, x.rcount, x.rdispl, &x.req);
        if (st == LK_OK)
            st = lk_comm_wait(c, &x.req);
        if (st == LK_OK)
            exchange_check(&x, c, i);
        if (st == LK_OK)
            exchange_fini(&x, c); /* else others may still be at it */
    }
    unsetenv("STANDIN_FAIL");
    CHECK(st == (me == bad && device != NULL ? LK_E_DEVICE : LK_E_COMM), "rank %d: %s", me, lk_status_name(st));
    CHECK(strstr(lk_err_last()->message, me != bad ? "no answer from rank" : device != NULL ? "cudaErrorLaunchFailure" : "injected fault at call 2") != NULL, "%s",
        lk_err_last()->message);
    CHECK(lk_comm_barrier(c) == st, "dead, and alive again");
    lk_comm_destroy(&c);
    lk_comm_destroy(&inner);
}

/* A step that is left in the middle. */
static void test_left_behind(lk_comm *mpi)
{
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi);
    const int64_t bucket[2] = {0, 4 * TILE};
    const lk_reduce_opts o = {
        .n = 4 * TILE, .type = LK_COMM_F32, .tile = TILE, .n_buckets = 1, .bucket = bucket, .leaves = n, .width = 1};
    lk_comm *c = direct_over(mpi);
    lk_reduce *r = NULL;

    CHECK_OK(lk_reduce_create(c, &o, &r));
    CHECK_OK(lk_reduce_ready(r, me, 0));
    lk_reduce_destroy(&r);
    CHECK(n == 1 || lk_comm_barrier(c) == LK_E_COMM, "the communicator lives");
    CHECK(n == 1 || strstr(lk_err_last()->message, "gave up an exchange") != NULL, "%s", lk_err_last()->message);
    lk_comm_destroy(&c);
}

int main(void)
{
    lk_comm *mpi = NULL, *more[3] = {0};

    CHECK_OK(lk_comm_create_mpi(&mpi));
    if (mpi == NULL)
        return 1;
    for (int i = 0; i < 3; i++)
        CHECK_OK(lk_comm_create_mpi(&more[i]));
    const int rank = lk_comm_rank(mpi);
    load(rank);
    test_wish(mpi);
    test_names(mpi);
    test_nothing_pinned(mpi);
    lk_comm *c = direct_over(mpi);
    test_in_use(c);
    test_between(c);
    test_errors(c);
    lk_comm_set_deadline(c, 60); /* the inner communicator takes other ways */
    test_between(c);
    lk_comm_destroy(&c);
    CHECK_OK(lk_comm_barrier(mpi)); /* it outlives what was over it */
    test_left_behind(more[0]);
    if (lk_comm_nranks(mpi) > 1) {
        test_failure(more[1], NULL);
        CHECK_OK(lk_comm_barrier(mpi));
        test_failure(more[2], "cudaEventQuery:1:719");
        more[1] = more[2] = NULL; /* adopted */
        CHECK_OK(lk_comm_barrier(mpi));
    }
    for (int i = 0; i < 3; i++)
        lk_comm_destroy(&more[i]);
    lk_comm_destroy(&mpi);
    CHECK(lk_mem_bytes() == 0, "%" PRId64 " bytes are left", lk_mem_bytes());
    return check_end(rank);
}
