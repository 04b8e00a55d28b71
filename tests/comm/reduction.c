/* The ordered reduction over real messages, in the host's memory. */
#include "comm/bench.h"
#include "comm/leaks.h"
#include "comm/reduction_checks.h"

/* Rows whose blocks differ in length, also where there are fewer rows than ranks. */
static void test_small(lk_comm *c)
{
    enum { K = 5, MOST = 40 };
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    double rows[MOST * K], want[K], got[K];

    for (int leaves = 0; leaves <= MOST; leaves++) {
        for (int m = 0; m < leaves; m++)
            fill_leaf(9, m, LK_COMM_F64, K, rows + m * K);
        lk_tree_sum(leaves, K, rows, want);
        const int first = lk_block_first(leaves, n, me);
        CHECK_OK(lk_reduce_small(c, leaves, K, rows + first * K, got));
        CHECK(memcmp(got, want, sizeof got) == 0, "%d rows: %g, want %g", leaves, got[0], want[0]);
    }
    const int64_t before = lk_mem_count();
    CHECK_OK(lk_reduce_small(c, 12, K, rows + lk_block_first(12, n, me) * K, got));
    CHECK(lk_mem_count() == before, "%d allocations", (int)(lk_mem_count() - before));
    CHECK(lk_reduce_small(c, -1, K, rows, got) == LK_E_ARG, "-1 rows");
}

static void test_bench(lk_comm *c)
{
    lk_bench_reduce_result o;
    lk_comm *staged = NULL;

    CHECK_OK(lk_comm_create_staged(c, &late_space, false, &staged));
    CHECK_OK(lk_bench_reduce(staged, 30000, 2, &o));
    CHECK(o.bytes >= 30000 && o.ordered.min > 0, "%d bytes", (int)o.bytes);
    lk_comm_destroy(&staged);
    CHECK_OK(lk_bench_reduce(c, 100000, 3, &o));
    CHECK(o.bytes >= 100000 && o.bytes < 105000 && o.nranks == lk_comm_nranks(c) && o.iterations == 3, "%d bytes",
        (int)o.bytes);
    CHECK(
        o.ordered.min <= o.ordered.median && o.ordered.median <= o.ordered.max, "%g %g", o.ordered.min, o.ordered.max);
    CHECK(o.allreduce.min <= o.allreduce.median && o.allreduce.median <= o.allreduce.max, "%g", o.allreduce.min);
    CHECK(lk_bench_reduce(c, 0, 3, &o) == LK_E_ARG, "no bytes");
}

/* Leaving a step in the middle ends the communicator: a message on its way could be taken for one of the next step. */
static void test_left_behind(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    const int64_t bucket[2] = {0, 4 * TILE};
    const lk_reduce_opts o = {
        .n = 4 * TILE, .type = LK_COMM_F32, .tile = TILE, .n_buckets = 1, .bucket = bucket, .leaves = n, .width = 1};
    lk_reduce *r = NULL;

    CHECK_OK(lk_reduce_create(c, &o, &r));
    CHECK_OK(lk_reduce_ready(r, me, 0));
    lk_reduce_destroy(&r);
    CHECK(n == 1 || lk_comm_barrier(c) == LK_E_COMM, "the communicator lives");
    CHECK(n == 1 || strstr(lk_err_last()->message, "gave up an exchange") != NULL, "%s", lk_err_last()->message);
}

int main(void)
{
    lk_comm *c = NULL;

    CHECK_OK(lk_comm_create_mpi(&c));
    if (c == NULL)
        return 1;
    const int rank = lk_comm_rank(c);
    test_sums(c, true);
    test_small(c);
    test_errors(c);
    test_bench(c);
    lk_comm_set_deadline(c, 60);
    test_small(c);
    test_left_behind(c);
    lk_comm_destroy(&c);
    return check_end(rank);
}
