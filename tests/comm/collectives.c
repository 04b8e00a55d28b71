/* Collective calls of `mpi` at any number of ranks, and of `self` (at one rank both must agree). */
#include "comm/comm_int.h"
#include "comm/exchange_checks.h"
#include "comm/leaks.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void test_places(lk_comm *c)
{
    const int n = lk_comm_nranks(c);
    char own[LKI_HOST_BYTES];

    lki_hostname(own);
    CHECK(lk_comm_rank(c) >= 0 && lk_comm_rank(c) < n, "rank %d of %d", lk_comm_rank(c), n);
    for (int r = 0; r < n; r++)
        CHECK(strcmp(lk_comm_host(c, r), own) == 0, "rank %d is on %s", r,
            lk_comm_host(c, r)); /* the tests run on one host */
    CHECK(lk_comm_local_rank(c) == lk_comm_rank(c), "local rank %d", lk_comm_local_rank(c));
}

static void test_bcast(lk_comm *c)
{
    char data[1000];

    for (int root = 0; root < lk_comm_nranks(c); root++) {
        for (size_t bytes = 0; bytes <= sizeof data; bytes += 125) {
            memset(data, 0, sizeof data);
            if (lk_comm_rank(c) == root) {
                for (size_t i = 0; i < bytes; i++)
                    data[i] = byte_of(root, (int64_t)i);
            }
            CHECK_OK(lk_comm_bcast(c, root, data, bytes));
            int wrong = 0;
            for (size_t i = 0; i < sizeof data; i++)
                wrong += data[i] != (i < bytes ? byte_of(root, (int64_t)i) : 0);
            CHECK(wrong == 0, "root %d, %zu bytes: %d wrong", root, bytes, wrong);
        }
    }
}

static void test_allgather(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    static const size_t sizes[] = {0, 1, 8, 1000, 70000};
    char *send = malloc(70000), *recv = malloc((size_t)n * 70000);

    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t i = 0; i < sizes[s]; i++)
            send[i] = byte_of(me, (int64_t)i);
        CHECK_OK(lk_comm_allgather(c, send, sizes[s], recv));
        int wrong = 0;
        for (int r = 0; r < n; r++) {
            for (size_t i = 0; i < sizes[s]; i++)
                wrong += recv[(size_t)r * sizes[s] + i] != byte_of(r, (int64_t)i);
        }
        CHECK(wrong == 0, "%zu bytes: %d wrong", sizes[s], wrong);
    }
    free(send);
    free(recv);
}

static void test_allreduce(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    float f[100];
    double d[100];
    int64_t w[100];

    for (int i = 0; i < 100; i++) {
        f[i] = (float)(me + i);
        d[i] = (double)(me * i);
        w[i] = (int64_t)me << 40;
    }
    CHECK_OK(lk_comm_allreduce(c, f, 100, LK_COMM_F32));
    CHECK_OK(lk_comm_allreduce(c, d, 100, LK_COMM_F64));
    CHECK_OK(lk_comm_allreduce(c, w, 100, LK_COMM_I64));
    CHECK_OK(lk_comm_allreduce(c, w, 0, LK_COMM_I64));
    const int ranks = n * (n - 1) / 2;
    int wrong = 0;
    for (int i = 0; i < 100; i++)
        wrong += f[i] != (float)(ranks + n * i) || d[i] != (double)(ranks * i) || w[i] != (int64_t)ranks << 40;
    CHECK(wrong == 0, "%d wrong", wrong);
}

/* Messages longer than the library can count go in pieces: here the pieces are short. */
static void test_pieces(lk_comm *c)
{
    static const int64_t pieces[] = {1, 100, 101, 4096};

    if (strcmp(lk_comm_name(c), "mpi") != 0)
        return;
    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        lki_comm_mpi_set_piece(c, pieces[p]);
        run_exchanges(c, 101, true);
        test_bcast(c);
        test_allreduce(c);
    }
    lki_comm_mpi_set_piece(c, 1000);
    test_allgather(c);
    lki_comm_mpi_set_piece(c, (int64_t)1 << 30);
}

static void test_distinct(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    char device[80], why[200] = "", want[200];
    bool distinct = n == 1;

    snprintf(device, sizeof device, "0000:%02x:00.0", me);
    CHECK_OK(lk_comm_distinct(c, device, &distinct, why, sizeof why));
    CHECK(distinct && why[0] == 0, "%s", why);
    for (int other = 0; other < n - 1; other++) { /* the last rank has the device of another one */
        snprintf(device, sizeof device, "0000:%02x:00.0", me == n - 1 ? other : me);
        CHECK_OK(lk_comm_distinct(c, device, &distinct, why, sizeof why));
        snprintf(want, sizeof want, "ranks %d and %d on %s have the same device 0000:%02x:00.0", other, n - 1,
            lk_comm_host(c, 0), other);
        CHECK(!distinct && strcmp(why, want) == 0, "%s", why);
    }
    memset(device, 'x', sizeof device);
    device[sizeof device - 1] = 0;
    CHECK(lk_comm_distinct(c, me == n - 1 ? device : "short", &distinct, why, sizeof why) == LK_E_ARG, "a long name");
    CHECK(strstr(lk_err_last()->message, "longer than 63 characters") != NULL, "%s", lk_err_last()->message);
}

static void test_agree(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    char want[200];

    CHECK_OK(lk_comm_agree(c, LK_OK));
    for (int bad = 0; bad < n; bad++) {
        /* one rank fails */
        lk_status st = me == bad ? LK_FAIL(LK_E_SHAPE, "layer %d is odd", bad) : LK_OK;
        st = lk_comm_agree(c, st);
        snprintf(want, sizeof want, "rank %d on %s: layer %d is odd", bad, lk_comm_host(c, bad), bad);
        CHECK(st == LK_E_SHAPE, "%s", lk_status_name(st));
        CHECK(strcmp(lk_err_last()->message, n > 1 ? want : "layer 0 is odd") == 0, "%s", lk_err_last()->message);
        CHECK(lk_err_last()->code == LK_E_SHAPE, "%d", lk_err_last()->code);

        /* all fail: the worst counts, of the worst the lowest rank speaks */
        st = me >= bad ? LK_FAIL(LK_E_IO, "disk %d", me) : LK_FAIL(LK_E_ARG, "key %d", me);
        st = lk_comm_agree(c, st);
        snprintf(want, sizeof want, "rank %d on %s: disk %d", bad, lk_comm_host(c, bad), bad);
        CHECK(st == LK_E_IO, "%s", lk_status_name(st));
        CHECK(strcmp(lk_err_last()->message, n > 1 ? want : "disk 0") == 0, "%s", lk_err_last()->message);
        CHECK_OK(lk_comm_agree(c, LK_OK)); /* alive */
    }
    /* A status without a record of its own speaks its general text. */
    (void)!LK_FAIL(LK_E_ARG, "of another time");
    CHECK(lk_comm_agree(c, LK_E_FORMAT) == LK_E_FORMAT, "%s", lk_err_last()->message);
    CHECK(strstr(lk_err_last()->message, "wrong file format") != NULL, "%s", lk_err_last()->message);
}

static void test_arguments(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    int64_t count[8] = {0}, displ[8] = {0};
    char data[16] = "";
    lk_comm_req *req = NULL;

    CHECK(lk_comm_bcast(c, n, data, 1) == LK_E_ARG, "root %d", n);
    CHECK(strstr(lk_err_last()->message, "root") != NULL, "%s", lk_err_last()->message);
    CHECK(lk_comm_allreduce(c, data, -1, LK_COMM_F32) == LK_E_ARG, "count -1");
    CHECK(lk_comm_allreduce(c, data, 1, LK_COMM_BYTE) == LK_E_ARG, "a sum of bytes");
    CHECK(lk_comm_alltoallv_start(c, -1, data, count, displ, data, count, displ, &req) == LK_E_ARG, "tag -1");
    count[me] = -1;
    CHECK(lk_comm_alltoallv_start(c, 0, data, count, displ, data, count, displ, &req) == LK_E_ARG, "count -1");
    CHECK(req == NULL, "a request of a refused call");
    CHECK_OK(lk_comm_barrier(c)); /* none of it did harm */
}

static void test_all(lk_comm *c)
{
    test_places(c);
    CHECK_OK(lk_comm_barrier(c));
    test_bcast(c);
    test_allgather(c);
    test_allreduce(c);
    test_exchange(c, true);
    test_pieces(c);
    test_distinct(c);
    test_agree(c);
    test_arguments(c);
}

/* Damage to the communicator cannot be agreed on: it stands at once, and for every later call. */
static void test_death(lk_comm *c)
{
    int64_t zero[8] = {0};
    char data[8] = "";
    bool done;
    lk_comm_req *req = NULL;

    CHECK(lk_comm_agree(c, LK_FAIL(LK_E_COMM, "cable %d cut", 7)) == LK_E_COMM, "%s", lk_err_last()->message);
    (void)!LK_FAIL(LK_E_ARG, "something else in between");
    CHECK(lk_comm_barrier(c) == LK_E_COMM, "barrier");
    CHECK(strcmp(lk_err_last()->message, "cable 7 cut") == 0, "%s", lk_err_last()->message);
    CHECK(lk_comm_bcast(c, 0, data, 8) == LK_E_COMM, "bcast");
    CHECK(lk_comm_allgather(c, data, 0, data) == LK_E_COMM, "allgather");
    CHECK(lk_comm_allreduce(c, data, 1, LK_COMM_I64) == LK_E_COMM, "allreduce");
    CHECK(lk_comm_alltoallv_start(c, 0, data, zero, zero, data, zero, zero, &req) == LK_E_COMM, "alltoallv");
    CHECK(lk_comm_test(c, &req, &done) == LK_E_COMM, "test");
    CHECK(lk_comm_wait(c, &req) == LK_E_COMM, "wait");
    CHECK(lk_comm_agree(c, LK_OK) == LK_E_COMM, "agree");
    CHECK(strcmp(lk_err_last()->message, "cable 7 cut") == 0, "%s", lk_err_last()->message);
}

int main(void)
{
    lk_comm *c = NULL, *self = NULL;

    CHECK(lk_comm_under_mpi(), "mpirun's marks are not seen");
    CHECK_OK(lk_comm_create_mpi(&c));
    if (c == NULL)
        return 1;
    const int rank = lk_comm_rank(c);
    CHECK(strcmp(lk_comm_name(c), "mpi") == 0, "%s", lk_comm_name(c));
    test_all(c);
    lk_comm_set_deadline(c, 60); /* the same calls take other ways */
    test_all(c);

    CHECK_OK(lk_comm_create_self(&self));
    CHECK(lk_comm_rank(self) == 0 && lk_comm_nranks(self) == 1, "self is rank %d", lk_comm_rank(self));
    test_all(self);
    test_death(self);
    lk_comm_destroy(&self);
    CHECK(self == NULL, "destroy leaves the pointer");
    lk_comm_destroy(&self);

    CHECK_OK(lk_comm_barrier(c));
    test_death(c);
    lk_comm_destroy(&c);
    CHECK(lk_comm_create_mpi(&c) == LK_E_UNSUPPORTED, "MPI after its end");
    CHECK(lk_mem_bytes() == 0, "%" PRId64 " bytes are left", lk_mem_bytes());
    return check_end(rank);
}
