#include "comm/bench.h"
#include "comm/reduce.h"

#include "base/mem.h"
#include "base/thread.h"

#include <inttypes.h>
#include <stdlib.h>

enum { WARM_UP = 2, TILE = 1024 };

typedef struct bench {
    lk_comm *c;
    lk_reduce *reduce;
    const lk_space *space;
    int64_t n;
    float *flat; /* [n] in the space */
    float *written; /* [n] on the host */
    double *all; /* [nranks] */
    double *second; /* [2][iterations] */
} bench;

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static lk_bench_time summary(double *second, int n)
{
    qsort(second, (size_t)n, sizeof *second, by_value);
    return (lk_bench_time){
        .median = 0.5 * (second[(n - 1) / 2] + second[n / 2]), .min = second[0], .max = second[n - 1]};
}

/* The buffers as a step leaves them: written just now, by this rank. */
static lk_status write_leaf(bench *b, float *x)
{
    for (int64_t i = 0; i < b->n; i++)
        b->written[i] = (float)(lk_comm_rank(b->c) + 1) + (float)(i & 1023) * 0x1p-10f;
    LK_TRY(lk_space_copy(b->space, x, b->written, (size_t)b->n * sizeof *x, LK_COPY_IN));
    return lk_space_wait(b->space);
}

static lk_status ordered(bench *b)
{
    LK_TRY(lk_reduce_ready(b->reduce, lk_comm_rank(b->c), 0));
    LK_TRY(lk_reduce_finish(b->reduce));
    return lk_reduce_gather(b->reduce, b->flat);
}

static lk_status timed(bench *b, bool tree, double *seconds)
{
    const int rank = lk_comm_rank(b->c);

    LK_TRY(write_leaf(b, tree ? lk_reduce_leaf(b->reduce, rank) : b->flat));
    LK_TRY(lk_comm_barrier(b->c));
    const double start = lk_now();
    if (tree)
        LK_TRY(ordered(b));
    else
        LK_TRY(lk_comm_allreduce(b->c, b->flat, b->n, LK_COMM_F32));
    LK_TRY(lk_space_wait(b->space));
    const double own = lk_now() - start;
    LK_TRY(lk_comm_allgather(b->c, &own, sizeof own, b->all));
    *seconds = 0;
    for (int r = 0; r < lk_comm_nranks(b->c); r++)
        *seconds = b->all[r] > *seconds ? b->all[r] : *seconds;
    return LK_OK;
}

static lk_status allocate(bench *b, int iterations)
{
    LK_TRY(lk_space_alloc(b->space, (size_t)b->n * sizeof *b->flat, "vector to measure", &b->flat));
    LK_TRY(lk_alloc_array(b->n, sizeof *b->written, "vector to measure", &b->written));
    LK_TRY(lk_alloc_array(lk_comm_nranks(b->c), sizeof *b->all, "times of ranks", &b->all));
    return lk_alloc_array(2 * (int64_t)iterations, sizeof *b->second, "times", &b->second);
}

static lk_status measure(bench *b, int iterations)
{
    const int64_t buckets[2] = {0, b->n};
    const lk_reduce_opts o = {.n = b->n,
        .type = LK_COMM_F32,
        .tile = TILE,
        .n_buckets = 1,
        .bucket = buckets,
        .leaves = lk_comm_nranks(b->c),
        .width = 1};

    LK_TRY(lk_comm_agree(b->c, allocate(b, iterations)));
    LK_TRY(lk_reduce_create(b->c, &o, &b->reduce));
    for (int i = -WARM_UP; i < iterations; i++) {
        const int at = i < 0 ? 0 : i;
        LK_TRY(timed(b, true, &b->second[at]));
        LK_TRY(timed(b, false, &b->second[iterations + at]));
    }
    return LK_OK;
}

lk_status lk_bench_reduce(lk_comm *c, int64_t bytes, int iterations, lk_bench_reduce_result *out)
{
    const int64_t tile = TILE * (int64_t)sizeof(float);
    bench b = {.c = c, .space = lk_comm_space(c)};

    if (bytes < 1 || bytes > INT64_MAX / 4 - tile || iterations < 1)
        return LK_FAIL(LK_E_ARG, "a measurement of %" PRId64 " bytes, %d times", bytes, iterations);
    b.n = (bytes + tile - 1) / tile * TILE;
    const lk_status st = measure(&b, iterations);
    if (st == LK_OK) {
        *out = (lk_bench_reduce_result){.bytes = b.n * (int64_t)sizeof(float),
            .nranks = lk_comm_nranks(c),
            .iterations = iterations,
            .ordered = summary(b.second, iterations),
            .allreduce = summary(b.second + iterations, iterations)};
    }
    lk_reduce_destroy(&b.reduce);
    lk_space_free(b.space, b.flat);
    lk_free(b.written);
    lk_free(b.all);
    lk_free(b.second);
    return st == LK_OK ? LK_OK : lk_err_frame(st, __FILE__, __LINE__, __func__);
}
