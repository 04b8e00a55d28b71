/* What the ordered reduction costs, beside what the MPI library's own costs here and now. */
#ifndef LK_COMM_BENCH_H
#define LK_COMM_BENCH_H

#include "comm/comm.h"

typedef struct lk_bench_time {
    double median, min, max; /* seconds; of each iteration the slowest rank counts */
} lk_bench_time;

typedef struct lk_bench_reduce_result {
    int64_t bytes; /* as measured: whole tiles */
    int nranks, iterations;
    lk_bench_time ordered; /* reduction and gather along the tree */
    lk_bench_time allreduce; /* lk_comm_allreduce */
} lk_bench_reduce_result;

/* Measures both by turns on a vector of f32 of about `bytes` bytes in lk_comm_space(c), one leaf a rank, one bucket, until
 * all that was queued is done, after two rounds that do not count. Collective with same arguments. Errors: LK_E_ARG (bytes < 1, iterations < 1), LK_E_NOMEM, on every rank
 * the same. */
LK_MUST_USE lk_status lk_bench_reduce(lk_comm *c, int64_t bytes, int iterations, lk_bench_reduce_result *out);

#endif
