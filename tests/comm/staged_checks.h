/* What a communicator for memory of a device does over one of the host, whether through pinned memory or not. */
#ifndef LK_TESTS_COMM_STAGED_CHECKS_H
#define LK_TESTS_COMM_STAGED_CHECKS_H

#include "comm/exchange_checks.h"

/* Blocking calls between a start and its end, at other places on other ranks: no one waits for a message that another
 * has yet to send. */
static void test_between(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    float one[3] = {1, 2, 3}, *there = space_new(lk_comm_space(c), sizeof one);
    exchange x;

    for (int kind = 0; kind < 5; kind++) {
        for (int early = 0; early < n; early++) {
            char data[8] = "", all[8 * 8];
            exchange_init(&x, c, kind, 3000);
            space_put(lk_comm_space(c), there, one, sizeof one);
            CHECK_OK(lk_comm_alltoallv_start(c, 5, x.send, x.scount, x.sdispl, x.recv, x.rcount, x.rdispl, &x.req));
            if (me != early)
                CHECK_OK(lk_comm_wait(c, &x.req));
            switch (kind) {
            case 0:
                CHECK_OK(lk_comm_barrier(c));
                break;
            case 1:
                CHECK_OK(lk_comm_bcast(c, 0, data, sizeof data));
                break;
            case 2:
                CHECK_OK(lk_comm_allgather(c, data, sizeof data, all));
                break;
            case 3:
                CHECK_OK(lk_comm_agree(c, LK_OK));
                break;
            default:
                CHECK_OK(lk_comm_allreduce(c, there, 3, LK_COMM_F32));
                float sum[3];
                space_get(lk_comm_space(c), sum, there, sizeof sum);
                CHECK(sum[0] == (float)n && sum[1] == 2 * (float)n && sum[2] == 3 * (float)n, "%g", (double)sum[0]);
            }
            CHECK_OK(lk_comm_wait(c, &x.req));
            exchange_check(&x, c, kind);
            exchange_fini(&x, c);
        }
    }
    lk_space_free(lk_comm_space(c), there);
}

/* Longer than what goes through the host at a time. */
static void test_allreduce(lk_comm *c)
{
    enum { N = 2100000 };
    const int n = lk_comm_nranks(c);
    float *x = malloc(N * sizeof *x), *there = space_new(lk_comm_space(c), N * sizeof *x);
    int wrong = 0;

    for (int i = 0; i < N; i++)
        x[i] = (float)(i % 1000 + lk_comm_rank(c));
    space_put(lk_comm_space(c), there, x, N * sizeof *x);
    CHECK_OK(lk_comm_allreduce(c, there, N, LK_COMM_F32));
    space_get(lk_comm_space(c), x, there, N * sizeof *x);
    for (int i = 0; i < N; i++)
        wrong += x[i] != (float)(n * (i % 1000) + n * (n - 1) / 2);
    CHECK(wrong == 0, "%d wrong", wrong);
    free(x);
    lk_space_free(lk_comm_space(c), there);
}

#endif
