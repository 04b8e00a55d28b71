/* Exchanges over any communicator, in whatever space its numbers lie. */
#ifndef LK_TESTS_COMM_EXCHANGE_CHECKS_H
#define LK_TESTS_COMM_EXCHANGE_CHECKS_H

#include "base/mem.h"
#include "check.h"
#include "comm/comm.h"
#include "comm/spaces.h"

#include <stdlib.h>
#include <string.h>

static char byte_of(int rank, int64_t i)
{
    return (char)(rank * 31 + i * 7 + 1);
}

/* An exchange with counts that differ by pair, zeros among them. */
typedef struct exchange {
    int64_t *scount, *sdispl, *rcount, *rdispl, total;
    char *send, *recv; /* in the communicator's space */
    lk_comm_req *req;
} exchange;

static int64_t pair_bytes(int from, int to, int salt, int64_t unit)
{
    return (from * 5 + to * 3 + salt) % 4 * unit + (from + to + salt) % 3;
}

static void exchange_init(exchange *x, const lk_comm *c, int salt, int64_t unit)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    int64_t *k = calloc((size_t)n * 4, sizeof *k), sent = 0, total = 0;

    *x = (exchange){.scount = k, .sdispl = k + n, .rcount = k + 2 * n, .rdispl = k + 3 * n};
    for (int r = 0; r < n; r++) {
        x->scount[r] = pair_bytes(me, r, salt, unit);
        x->rcount[r] = pair_bytes(r, me, salt, unit);
        x->sdispl[r] = sent;
        x->rdispl[r] = total + r; /* gaps */
        sent += x->scount[r];
        total += x->rcount[r];
    }
    x->total = total + n;
    x->send = space_new(lk_comm_space(c), (size_t)sent);
    x->recv = space_new(lk_comm_space(c), (size_t)x->total);
    char *data = malloc((size_t)sent + 1);
    for (int r = 0; r < n; r++) {
        for (int64_t i = 0; i < x->scount[r]; i++)
            data[x->sdispl[r] + i] = byte_of(me * 16 + r, i + salt);
    }
    space_put(lk_comm_space(c), x->send, data, (size_t)sent);
    free(data);
}

static void exchange_check(const exchange *x, const lk_comm *c, int salt)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    int wrong = 0;
    int64_t at = 0;
    char *data = malloc((size_t)x->total + 1);

    space_get(lk_comm_space(c), data, x->recv, (size_t)x->total);
    for (int r = 0; r < n; r++) {
        for (; at < x->rdispl[r]; at++)
            wrong += data[at] != 0;
        for (int64_t i = 0; i < x->rcount[r]; i++, at++)
            wrong += data[at] != byte_of(r * 16 + me, i + salt);
    }
    free(data);
    CHECK(wrong == 0, "exchange %d: %d bytes wrong", salt, wrong);
}

static void exchange_fini(exchange *x, const lk_comm *c)
{
    free(x->scount);
    lk_space_free(lk_comm_space(c), x->send);
    lk_space_free(lk_comm_space(c), x->recv);
}

/* Several in flight, begun in an order that is each rank's own if they are told apart by tags, completed by test and by
 * wait. Returns how many allocations the exchanges made. */
static int64_t run_exchanges(lk_comm *c, int64_t unit, bool tags)
{
    enum { FLIGHT = 6 };
    exchange x[FLIGHT];
    const int me = tags ? lk_comm_rank(c) : 0;

    for (int i = 0; i < FLIGHT; i++)
        exchange_init(&x[i], c, i, unit);
    const int64_t before = lk_mem_count() + late.n_allocated;
    for (int i = 0; i < FLIGHT; i++) {
        const int t = (i + me) % FLIGHT;
        CHECK_OK(lk_comm_alltoallv_start(
            c, t * 7, x[t].send, x[t].scount, x[t].sdispl, x[t].recv, x[t].rcount, x[t].rdispl, &x[t].req));
    }
    for (int i = 0; i < FLIGHT; i++) {
        bool done = false;
        while (i % 2 == 0 && !done)
            CHECK_OK(lk_comm_test(c, &x[i].req, &done));
        CHECK_OK(lk_comm_wait(c, &x[i].req));
        CHECK(x[i].req == NULL, "a completed request is still there");
        exchange_check(&x[i], c, i);
    }
    const int64_t allocations = lk_mem_count() + late.n_allocated - before;
    for (int i = 0; i < FLIGHT; i++)
        exchange_fini(&x[i], c);
    return allocations;
}

static void test_exchange(lk_comm *c, bool tags)
{
    run_exchanges(c, 0, tags);
    run_exchanges(c, 100, tags);
    run_exchanges(c, 50000, tags);
    const int64_t allocations = run_exchanges(c, 50000, tags);
    CHECK(allocations == 0, "%d allocations by an exchange that had been made before", (int)allocations);
}

#endif
