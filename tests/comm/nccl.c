/* Exchanges through NCCL, on the stand-ins of NCCL and of the GPU: the same bits as in the host's memory, the calls
 * that NCCL gets, and what each failure comes to on all ranks. */
#include "base/thread.h"
#include "comm/bench.h"
#include "comm/exchange_checks.h"
#include "comm/leaks.h"
#include "comm/reduction_checks.h"
#include "cuda/cuda.h"

#include <dlfcn.h>

/* Seconds that an exchange may wait: where nothing fails, and where something is to. */
#define PATIENT 60
#define DEADLINE 1.0

static const lk_cuda_module *module;
static const char *(*nccl_calls)(void);
static void (*nccl_forget)(void);
static int (*set_device)(int device); /* NULL: on a real GPU */
static const lk_space *space;

static void load(int rank)
{
    const lk_backend *backend = NULL;
    int n = 0;

    setenv("STANDIN_DEVICES", "4", 1);
    CHECK_OK(lk_cuda_load(&module));
    CHECK_OK(module->count(&n));
    CHECK(n > 0 && module->comm != NULL, "%d GPUs", n);
    CHECK_OK(module->open(rank % n, LK_PRECISION_FP32, &backend));
    space = backend->space;
    void *library = dlopen(getenv("LOCKSTEP_CUDA_MODULE"), RTLD_NOW | RTLD_NOLOAD);
    CHECK(library != NULL, "%s", dlerror());
    void *const calls = dlsym(library, "standin_nccl_calls"), *const forget = dlsym(library, "standin_nccl_forget");
    if (dlsym(library, "standin_nccl_calls") == dlsym(RTLD_DEFAULT, "standin_nccl_calls")) /* it was preloaded */
        setenv("STANDIN_NCCL_SHARE", "1", 1);
    else
        *(void **)&set_device = dlsym(library, "cudaSetDevice");
    *(void **)&nccl_calls = calls;
    *(void **)&nccl_forget = forget;
    dlclose(library);
    CHECK(calls != NULL && forget != NULL, "a module that is not the stand-in");
}

static lk_comm *nccl_over(lk_comm *inner, double deadline)
{
    lk_comm *c = NULL;

    CHECK_OK(module->comm(inner, deadline, &c));
    return c;
}

static void test_names(lk_comm *mpi)
{
    lk_cuda_versions versions;
    lk_comm *c = nccl_over(mpi, PATIENT);

    CHECK(strcmp(lk_comm_name(c), "nccl(mpi)") == 0, "%s", lk_comm_name(c));
    CHECK(lk_comm_space(c) == space && !space->host, "%s", lk_comm_space(c)->name);
    CHECK(lk_comm_rank(c) == lk_comm_rank(mpi) && lk_comm_nranks(c) == lk_comm_nranks(mpi), "rank %d", lk_comm_rank(c));
    module->versions(&versions);
    CHECK(versions.nccl >= 22000, "NCCL %d", versions.nccl);
    nccl_forget();
    lk_comm_destroy(&c);
    CHECK(strcmp(nccl_calls(), "CommFinalize CommDestroy") == 0, "%s", nccl_calls());
    CHECK_OK(lk_space_wait(space)); /* no one asks what is gone */
    CHECK_OK(lk_comm_barrier(mpi));
}

/* One group an exchange: every rank that has bytes, to it and from it, and no one else. */
static void test_calls(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    int64_t scount[8], sdispl[8] = {0}, rcount[8], rdispl[8] = {0}, zero[8] = {0};
    char want[400] = "GroupStart", *send = space_new(space, 1000), *recv = space_new(space, 1000);
    lk_comm_req *req = NULL;
    bool any = false;

    for (int r = 0; r < n; r++) { /* nothing from a rank to the one after the next */
        scount[r] = r == (me + 2) % n ? 0 : 10 + r;
        rcount[r] = me == (r + 2) % n ? 0 : 10 + me;
    }
    for (int s = 1; s < n; s++) {
        const int to = (me + s) % n, from = (me - s + n) % n;
        if (rcount[from] > 0)
            snprintf(want + strlen(want), sizeof want - strlen(want), " Recv(%d,%d)", from, (int)rcount[from]);
        if (scount[to] > 0)
            snprintf(want + strlen(want), sizeof want - strlen(want), " Send(%d,%d)", to, (int)scount[to]);
        any = any || rcount[from] > 0 || scount[to] > 0;
    }
    strcat(want, " GroupEnd");
    nccl_forget();
    CHECK_OK(lk_comm_alltoallv_start(c, 3, send, scount, sdispl, recv, rcount, rdispl, &req));
    CHECK_OK(lk_comm_wait(c, &req));
    CHECK(strcmp(nccl_calls(), any ? want : "") == 0, "%s, want %s", nccl_calls(), want);
    nccl_forget();
    CHECK_OK(lk_comm_alltoallv_start(c, 3, send, zero, sdispl, recv, zero, rdispl, &req));
    CHECK(req == NULL && nccl_calls()[0] == 0, "an exchange of nothing: %s", nccl_calls());
    CHECK_OK(lk_comm_allreduce(c, send, 100, LK_COMM_F32));
    CHECK_OK(lk_comm_allreduce(c, send, 0, LK_COMM_F32));
    CHECK(strcmp(nccl_calls(), n > 1 ? "AllReduce(100)" : "") == 0, "%s", nccl_calls());
    CHECK_OK(lk_space_wait(space));
    lk_space_free(space, send);
    lk_space_free(space, recv);
}

/* Sums of all types, queued behind what writes the numbers and in front of what reads them. */
static void test_allreduce(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c), ranks = n * (n - 1) / 2;
    float f[100], *df = space_new(space, sizeof f);
    double d[100], *dd = space_new(space, sizeof d);
    int64_t w[100], *dw = space_new(space, sizeof w);
    int wrong = 0;

    for (int i = 0; i < 100; i++) {
        f[i] = (float)(me + i);
        d[i] = (double)(me * i);
        w[i] = (int64_t)me << 40;
    }
    space_put(space, df, f, sizeof f);
    space_put(space, dd, d, sizeof d);
    space_put(space, dw, w, sizeof w);
    CHECK_OK(lk_comm_allreduce(c, df, 100, LK_COMM_F32));
    CHECK_OK(lk_comm_allreduce(c, dd, 100, LK_COMM_F64));
    CHECK_OK(lk_comm_allreduce(c, dw, 100, LK_COMM_I64));
    space_get(space, f, df, sizeof f);
    space_get(space, d, dd, sizeof d);
    space_get(space, w, dw, sizeof w);
    for (int i = 0; i < 100; i++)
        wrong += f[i] != (float)(ranks + n * i) || d[i] != (double)(ranks * i) || w[i] != (int64_t)ranks << 40;
    CHECK(wrong == 0, "%d wrong", wrong);
    lk_space_free(space, df);
    lk_space_free(space, dd);
    lk_space_free(space, dw);
}

static void test_bench(lk_comm *c)
{
    lk_bench_reduce_result o;

    CHECK_OK(lk_bench_reduce(c, 100000, 2, &o));
    CHECK(o.bytes >= 100000 && o.ordered.min > 0 && o.allreduce.min > 0, "%d bytes", (int)o.bytes);
}

/* ---- failures: each ends a communicator of its own, and leaves the one it was over as it was ---- */

/* Beginnings that fail on one rank fail on all, and the ranks still have each other. */
static void test_failed_beginning(lk_comm *mpi, const char *failure, int bad, const char *told)
{
    const int me = lk_comm_rank(mpi);
    const double start = lk_now();
    lk_comm *c = NULL;
    char speaker[300];

    if (me == bad)
        setenv("STANDIN_NCCL_FAIL", failure, 1);
    const lk_status st = module->comm(mpi, DEADLINE, &c);
    unsetenv("STANDIN_NCCL_FAIL");
    CHECK(st == LK_E_LIBRARY && c == NULL, "%s: rank %d: %s", failure, me, lk_status_name(st));
    CHECK(strstr(lk_err_last()->message, told) != NULL, "%s: %s", failure, lk_err_last()->message);
    snprintf(speaker, sizeof speaker, "on %s: ", lk_comm_host(mpi, 0));
    CHECK(strstr(lk_err_last()->message, speaker) != NULL, "%s: %s", failure, lk_err_last()->message);
    CHECK(lk_now() - start < 30, "%s took %g s", failure, lk_now() - start);
    CHECK_OK(lk_comm_agree(mpi, LK_OK));
}

static void test_beginnings(lk_comm *mpi)
{
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi);
    lk_comm *c = NULL;

    test_failed_beginning(mpi, "ncclGetUniqueId:1", 0, "ncclGetUniqueId: internal error");
    /* the others wait for it as long as they may: the message is theirs if they are of lower rank */
    test_failed_beginning(mpi, "ncclCommInitRankConfig:1:2", 0, "ncclCommInitRankConfig: unhandled system error");
    if (n == 1) /* alone it does not wait for anyone */
        return;
    test_failed_beginning(mpi, "ncclCommInitRankConfig:1", n - 1, "NCCL_SOCKET_IFNAME");
    test_failed_beginning(mpi, "absent:1", n - 1, "NCCL has not connected");
    test_failed_beginning(mpi, "ncclCommGetAsyncError:1:1", 0, "ncclCommGetAsyncError: unhandled cuda error");

    /* With a deadline of its own that is shorter, the inner communicator still waits for all. */
    lk_comm_set_deadline(mpi, 0.3);
    test_failed_beginning(mpi, "ncclCommInitRankConfig:1", n - 1, "NCCL_SOCKET_IFNAME");
    lk_comm_set_deadline(mpi, 0);

    /* Two ranks on one GPU. */
    if (set_device == NULL)
        return;
    CHECK(set_device(0) == 0, "device 0");
    CHECK(module->comm(mpi, PATIENT, &c) == LK_E_LIBRARY && c == NULL, "ranks share a GPU");
    CHECK(strstr(lk_err_last()->message, "Duplicate GPU detected : rank 0 and rank 1") != NULL, "%s",
        lk_err_last()->message);
    CHECK(set_device(me % 4) == 0, "device %d", me % 4);
    CHECK_OK(lk_comm_agree(mpi, LK_OK));
}

/* Exchanges and sums until something fails: what the host was told, at whichever call. */
static lk_status run_until_failure(lk_comm *c)
{
    lk_status st = LK_OK;

    for (int i = 0; i < 8 && st == LK_OK; i++) {
        exchange x;
        float sum[10];
        exchange_init(&x, c, i, 2000);
        float *there = space_new(space, sizeof sum);
        st = lk_comm_alltoallv_start(c, i, x.send, x.scount, x.sdispl, x.recv, x.rcount, x.rdispl, &x.req);
        if (st == LK_OK)
            st = lk_comm_wait(c, &x.req);
        if (st == LK_OK)
            st = lk_comm_allreduce(c, there, 10, LK_COMM_F32);
        if (st == LK_OK) /* waits for the GPU, which waits for the others */
            st = lk_space_copy(space, sum, there, sizeof sum, LK_COPY_OUT);
        if (st == LK_OK)
            exchange_check(&x, c, i);
        exchange_fini(&x, c);
        lk_space_free(space, there);
    }
    return st;
}

static void test_failure(lk_comm *mpi, const char *variable, const char *failure, lk_status wanted, const char *told)
{
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi), bad = n - 1;
    const double start = lk_now();
    lk_comm *c = nccl_over(mpi, DEADLINE);
    lk_comm_req *req = NULL;
    char text[LK_ERR_MESSAGE];
    bool done;

    if (me == bad)
        setenv(variable, failure, 1);
    const lk_status st = run_until_failure(c);
    snprintf(text, sizeof text, "%s", lk_err_last()->message);
    unsetenv(variable);
    CHECK(st == (me == bad ? wanted : LK_E_COMM), "%s: rank %d: %s", failure, me, lk_status_name(st));
    if (me == bad)
        CHECK(strstr(text, told) != NULL, "%s: %s", failure, text);
    else
        CHECK(strstr(text, "no answer from other ranks for 1 s (") != NULL && strstr(text, "bytes") != NULL, "%s: %s",
            failure, text);
    CHECK(lk_now() - start < 30, "%s took %g s", failure, lk_now() - start);
    /* dead, with one story, on the GPU as well */
    CHECK(lk_comm_barrier(c) == st && strcmp(lk_err_last()->message, text) == 0, "%s: %s", failure,
        lk_err_last()->message);
    CHECK(lk_comm_test(c, &req, &done) == st && lk_comm_agree(c, LK_OK) == st, "%s", failure);
    CHECK_OK(lk_space_wait(space)); /* what was queued has ended */
    CHECK(strstr(nccl_calls(), "CommAbort") != NULL, "%s: not aborted", failure);
    nccl_forget();
    lk_comm_destroy(&c);
    CHECK(nccl_calls()[0] == 0, "%s: after the abort: %s", failure, nccl_calls());
    CHECK_OK(lk_comm_barrier(mpi));
}

static void test_failures(lk_comm *mpi)
{
    static const char *const fail = "STANDIN_NCCL_FAIL";

    test_failure(mpi, fail, "ncclSend:2", LK_E_COMM, "ncclSend: internal error");
    test_failure(mpi, fail, "ncclRecv:2:6", LK_E_COMM, "ncclRecv: remote process exited");
    test_failure(mpi, fail, "ncclGroupStart:3", LK_E_COMM, "ncclGroupStart: internal error");
    test_failure(mpi, fail, "ncclGroupEnd:3:2", LK_E_COMM, "ncclGroupEnd: unhandled system error");
    test_failure(mpi, fail, "ncclAllReduce:2", LK_E_COMM, "ncclAllReduce: internal error");
    test_failure(mpi, fail, "ncclCommGetAsyncError:9", LK_E_COMM, "ncclCommGetAsyncError: internal error");
    test_failure(mpi, fail, "async:3", LK_E_COMM, "NCCL: remote process exited or there was a network error");
    test_failure(mpi, fail, "hang:3", LK_E_COMM, "no answer from other ranks");
    if (set_device != NULL)
        test_failure(mpi, "STANDIN_FAIL", "cudaStreamWaitEvent:5:999", LK_E_DEVICE, "cudaStreamWaitEvent: ");
}

/* One rank starts exchanges in another order: NCCL would mix up their bytes or hang; the stand-in says so. */
static void test_order(lk_comm *mpi)
{
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi);
    lk_comm *c = nccl_over(mpi, DEADLINE);
    int64_t count[8], displ[8] = {0};
    char *data = space_new(space, 2000);
    lk_status st = LK_OK;

    for (int i = 0; i < 2 && st == LK_OK; i++) {
        lk_comm_req *req = NULL;
        for (int r = 0; r < n; r++)
            count[r] = r == me ? 0 : (me == 0) == (i == 0) ? 200 : 100;
        st = lk_comm_alltoallv_start(c, i, data, count, displ, data + 1000, count, displ, &req);
        if (st == LK_OK)
            st = lk_comm_wait(c, &req);
    }
    if (st == LK_OK)
        st = lk_space_wait(space);
    CHECK(st == LK_E_COMM, "%s", lk_status_name(st));
    lk_comm_destroy(&c);
    lk_space_free(space, data);
    CHECK_OK(lk_comm_barrier(mpi));
}

/* A step that is left in the middle: the others' exchange will not end, and is aborted. */
static void test_left_behind(lk_comm *mpi)
{
    const int n = lk_comm_nranks(mpi), me = lk_comm_rank(mpi);
    const int64_t bucket[2] = {0, 4 * TILE};
    const lk_reduce_opts o = {
        .n = 4 * TILE, .type = LK_COMM_F32, .tile = TILE, .n_buckets = 1, .bucket = bucket, .leaves = n, .width = 1};
    lk_comm *c = nccl_over(mpi, PATIENT);
    lk_reduce *r = NULL;

    CHECK_OK(lk_reduce_create(c, &o, &r));
    CHECK_OK(lk_reduce_ready(r, me, 0));
    nccl_forget();
    lk_reduce_destroy(&r);
    CHECK(strcmp(nccl_calls(), "CommAbort") == 0, "%s", nccl_calls());
    CHECK(lk_comm_barrier(c) == LK_E_COMM && strstr(lk_err_last()->message, "gave up an exchange") != NULL, "%s",
        lk_err_last()->message);
    lk_comm_destroy(&c);
    CHECK_OK(lk_space_wait(space));
    CHECK_OK(lk_comm_barrier(mpi));
}

/* The inner communicator fails: this one is dead as well, and what waits for the GPU hears of it. */
static void test_inner(lk_comm *mpi)
{
    const int n = lk_comm_nranks(mpi);
    lk_comm *inner = NULL;

    CHECK_OK(lk_comm_create_fault(mpi, n - 1, 4, &inner)); /* behind two agreements and a broadcast */
    lk_comm_set_deadline(inner, DEADLINE);
    lk_comm *c = nccl_over(inner, PATIENT);
    CHECK(lk_comm_barrier(c) == LK_E_COMM, "the communicator lives");
    CHECK_OK(lk_space_wait(space));
    lk_comm_destroy(&c);
    lk_comm_destroy(&inner);
}

int main(void)
{
    lk_comm *mpi = NULL, *last = NULL, *c = NULL;

    CHECK_OK(lk_comm_create_mpi(&mpi));
    CHECK_OK(lk_comm_create_mpi(&last));
    if (mpi == NULL || last == NULL)
        return 1;
    const int rank = lk_comm_rank(mpi), n = lk_comm_nranks(mpi);
    load(rank);
    test_names(mpi);
    CHECK_OK(module->comm(mpi, PATIENT, &c));
    test_calls(c);
    test_exchange(c, false);
    test_allreduce(c);
    test_sums(c, false);
    test_errors(c);
    test_bench(c);
    CHECK(module->comm(c, 0, &last) == LK_E_ARG, "over NCCL itself");
    lk_comm_destroy(&c);
    test_beginnings(mpi);
    if (n > 1) {
        test_failures(mpi);
        test_order(mpi);
        test_left_behind(mpi);
    }
    test_inner(last);
    lk_comm_destroy(&mpi);
    return check_end(rank);
}
