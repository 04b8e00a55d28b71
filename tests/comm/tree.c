/* The arithmetic of the fixed tree, and the whole reduction for every number of leaves and ranks up to 40 on a
 * simulated communicator: all ranks live in this process and take turns. */
#include "base/mem.h"
#include "comm/comm_int.h"
#include "comm/reduce.h"
#include "comm/reduce_tree.h"
#include "comm/values.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 40 };

Test(tree, blocks_hold_every_leaf_once)
{
    for (int m = 1; m <= MOST; m++) {
        for (int n = 1; n <= m; n++) {
            int next = 0;
            for (int r = 0; r < n; r++) {
                const int first = lk_block_first(m, n, r), end = lk_block_end(m, n, r);
                cr_assert(first == next && end > first, "M=%d N=%d rank %d: [%d,%d)", m, n, r, first, end);
                cr_assert(end - first == m / n || end - first == m / n + 1);
                next = end;
            }
            cr_assert(next == m);
        }
    }
    cr_assert(lk_block_first(2000000000, 2000, 1999) == 1999000000); /* the product is beyond 32 bits */
}

static bool is_node(int leaves, int a, int b)
{
    int x = 0, y = leaves;

    while (y - x > b - a) {
        const int mid = lki_tree_mid(x, y);
        if (a < mid)
            y = mid;
        else
            x = mid;
    }
    return x == a && y == b;
}

Test(tree, open_nodes_are_the_largest_of_a_block)
{
    for (int m = 1; m <= MOST; m++) {
        for (int first = 0; first < m; first++) {
            for (int end = first + 1; end <= m; end++) {
                int starts[LKI_MAX_OPEN], ends[LKI_MAX_OPEN], next = first;
                const int n = lki_open_nodes(m, first, end, starts, ends);
                for (int i = 0; i < n; i++) {
                    cr_assert(starts[i] == next && is_node(m, starts[i], ends[i]), "M=%d block [%d,%d)", m, first, end);
                    next = ends[i];
                    for (int j = i + 1; j < n; j++) /* no run of them makes up a larger node */
                        cr_assert(!is_node(m, starts[i], ends[j]), "M=%d block [%d,%d)", m, first, end);
                }
                cr_assert(next == end);
            }
        }
    }
}

Test(tree, whole_blocks_of_powers_of_two_are_one_node)
{
    int starts[LKI_MAX_OPEN], ends[LKI_MAX_OPEN];

    for (int n = 1; n <= 16; n *= 2) {
        for (int r = 0; r < n; r++)
            cr_assert(lki_open_nodes(48, r * 48 / n, (r + 1) * 48 / n, starts, ends) == 1);
    }
}

Test(tree, slices_cover_a_bucket_in_whole_tiles)
{
    static const int64_t tiles[] = {0, 1, 2, 7, 64, 1001};

    for (size_t t = 0; t < sizeof tiles / sizeof tiles[0]; t++) {
        for (int n = 1; n <= MOST; n++) {
            for (int b = 0; b < 5; b++) {
                const int64_t tile = 16, a = 320, end = a + tiles[t] * tile;
                int64_t next = a;
                for (int r = 0; r < n; r++) {
                    int64_t x, y;
                    lki_slice(a, end, tile, b, n, r, &x, &y);
                    cr_assert(x == next && y >= x && (y - x) % tile == 0);
                    cr_assert((y - x) / tile == tiles[t] / n || (y - x) / tile == tiles[t] / n + 1);
                    next = y;
                }
                cr_assert(next == end);
            }
        }
    }
}

Test(tree, rows_are_summed_along_the_tree)
{
    enum { K = 3 };
    double rows[MOST * K], column[MOST], sum[K];
    int differ = 0;

    for (int m = 1; m <= MOST; m++) {
        for (int i = 0; i < m; i++)
            fill_leaf(11, 100 * m + i, LK_COMM_F64, K, rows + i * K);
        lk_tree_sum(m, K, rows, sum);
        for (int k = 0; k < K; k++) {
            double in_turn = 0;
            for (int i = 0; i < m; i++) {
                column[i] = rows[i * K + k];
                in_turn += column[i];
            }
            const double want = reference_f64(column, 1, m);
            cr_assert(
                memcmp(&sum[k], &want, sizeof want) == 0, "M=%d column %d: %.17g, want %.17g", m, k, sum[k], want);
            differ += in_turn != want;
        }
    }
    cr_assert(differ > MOST, "the order of adding makes no difference to these numbers: nothing was tested");
    lk_tree_sum(0, K, NULL, sum);
    cr_assert(sum[0] == 0 && sum[K - 1] == 0);
}

/* ---- a communicator whose ranks are all here: an exchange is a note of where the pieces are; who waits fetches them
 * ---- */

enum { MAX_TAGS = 64 };

typedef struct sim_post {
    bool here;
    const char *send;
    const int64_t *scount, *sdispl;
} sim_post;

typedef struct sim_request { /* stands behind lk_comm_req */
    int tag;
    char *recv;
    const int64_t *rcount, *rdispl;
} sim_request;

typedef struct sim_world {
    int nranks;
    sim_post post[MAX_TAGS][MOST];
} sim_world;

typedef struct sim_comm {
    lk_comm base;
    sim_world *world;
    sim_request req[MAX_TAGS];
} sim_comm;

static lk_status sim_start(lk_comm *c, int tag, const void *send, const int64_t *scount, const int64_t *sdispl,
    void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out)
{
    sim_comm *s = (sim_comm *)c;

    cr_assert(tag < MAX_TAGS);
    s->world->post[tag][c->rank] = (sim_post){true, send, scount, sdispl};
    s->req[tag] = (sim_request){tag, recv, rcount, rdispl};
    *out = (lk_comm_req *)&s->req[tag];
    return LK_OK;
}

static lk_status sim_test(lk_comm *c, lk_comm_req **req, bool *done)
{
    sim_comm *s = (sim_comm *)c;
    const sim_request *q = (const sim_request *)*req;

    *done = false;
    for (int k = 0; k < c->nranks; k++) {
        if (!s->world->post[q->tag][k].here)
            return LK_OK;
    }
    for (int k = 0; k < c->nranks; k++) {
        const sim_post *p = &s->world->post[q->tag][k];
        cr_assert(p->scount[c->rank] == q->rcount[k], "%d sends %d, %d expects %d", k, (int)p->scount[c->rank], c->rank,
            (int)q->rcount[k]);
        if (q->rcount[k] > 0)
            memcpy(q->recv + q->rdispl[k], p->send + p->sdispl[c->rank], (size_t)q->rcount[k]);
    }
    *req = NULL;
    *done = true;
    return LK_OK;
}

static lk_status sim_wait(lk_comm *c, lk_comm_req **req)
{
    bool done;
    const lk_status st = sim_test(c, req, &done);

    cr_assert(done);
    return st;
}

static lk_status sim_agree(lk_comm *c, lk_status local)
{
    (void)c;
    return local;
}

static void sim_destroy(lk_comm *c)
{
    (void)c;
}

static const lk_comm_ops sim_ops = {
    .alltoallv_start = sim_start, .test = sim_test, .wait = sim_wait, .agree = sim_agree, .destroy = sim_destroy};

static lk_comm *sim_create(sim_world *world, int rank)
{
    sim_comm *s = NULL;

    cr_assert(lk_alloc(sizeof *s, "simulated communicator", &s) == LK_OK);
    cr_assert(lki_comm_init(&s->base, &sim_ops, "sim", rank, world->nranks) == LK_OK);
    s->world = world;
    return &s->base;
}

enum { TILE = 4, N_ELEMENTS = 13 * TILE, N_BUCKETS = 4 };
static const int64_t buckets[N_BUCKETS + 1] = {0, 2 * TILE, 2 * TILE, 9 * TILE, 13 * TILE}; /* one is empty */

/* One step of rank k up to finish, with buckets in an order that differs from leaf to leaf. */
static void run_leaves(lk_reduce *r, int leaves, int nranks, int k, int width)
{
    const int first = lk_block_first(leaves, nranks, k), end = lk_block_end(leaves, nranks, k);

    for (int from = first; from < end; from += width) {
        const int to = from + width < end ? from + width : end;
        for (int m = from; m < to; m++)
            fill_leaf(5, m, LK_COMM_F32, N_ELEMENTS, lk_reduce_leaf(r, m));
        for (int m = from; m < to; m++) {
            for (int i = 0; i < N_BUCKETS; i++)
                cr_assert(lk_reduce_ready(r, m, m == end - 1 ? i : (i + m) % N_BUCKETS) == LK_OK);
        }
    }
}

static int check_slices(const lk_reduce *r, int nranks, int k, const float *want)
{
    const float *sum = lk_reduce_sum(r);
    int n = 0;

    for (int b = 0; b < N_BUCKETS; b++) {
        int64_t a, e;
        lk_reduce_slice(r, b, k, &a, &e);
        cr_assert(
            memcmp(sum + a, want + a, (size_t)(e - a) * sizeof(float)) == 0, "N=%d rank %d bucket %d", nranks, k, b);
        n += (int)(e - a);
    }
    return n;
}

static void simulate(int leaves, int nranks, int width, const float *want)
{
    static sim_world world;
    lk_comm *c[MOST];
    lk_reduce *r[MOST] = {0};
    const lk_reduce_opts o = {.n = N_ELEMENTS,
        .type = LK_COMM_F32,
        .tile = TILE,
        .n_buckets = N_BUCKETS,
        .bucket = buckets,
        .leaves = leaves,
        .width = width};

    world = (sim_world){.nranks = nranks};
    for (int k = 0; k < nranks; k++) {
        c[k] = sim_create(&world, k);
        cr_assert(lk_reduce_create(c[k], &o, &r[k]) == LK_OK, "%s", lk_err_last()->message);
    }
    for (int step = 0; step < 2; step++) {
        int covered = 0;
        memset(world.post, 0, sizeof world.post);
        for (int k = nranks - 1; k >= 0; k--) {
            run_leaves(r[k], leaves, nranks, k, width);
            cr_assert(lk_reduce_poll(r[k]) == LK_OK);
        }
        for (int k = 0; k < nranks; k++)
            cr_assert(lk_reduce_finish(r[k]) == LK_OK);
        for (int k = 0; k < nranks; k++)
            covered += check_slices(r[k], nranks, k, want);
        cr_assert(covered == N_ELEMENTS);
    }
    for (int k = 0; k < nranks; k++) {
        lk_reduce_destroy(&r[k]);
        lk_comm_destroy(&c[k]);
    }
}

Test(tree, every_number_of_ranks_gives_the_same_bits)
{
    static float all[MOST][N_ELEMENTS], want[N_ELEMENTS];
    static const int widths[] = {1, 2, 3, 7};

    for (int m = 0; m < MOST; m++)
        fill_leaf(5, m, LK_COMM_F32, N_ELEMENTS, all[m]);
    for (int leaves = 1; leaves <= MOST; leaves++) {
        int differ = 0;
        for (int i = 0; i < N_ELEMENTS; i++) {
            float in_turn = all[0][i];
            for (int m = 1; m < leaves; m++)
                in_turn += all[m][i];
            want[i] = reference_f32(&all[0][i], N_ELEMENTS, leaves);
            differ += in_turn != want[i];
        }
        cr_assert(
            leaves < 4 || differ > 5, "M=%d: another order of adding differs in %d elements only", leaves, differ);
        for (int nranks = 1; nranks <= leaves; nranks++) {
            for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++)
                simulate(leaves, nranks, widths[w], want);
        }
    }
    cr_assert(lk_mem_bytes() == 0, "%d bytes are left", (int)lk_mem_bytes());
}

Test(tree, buffers_are_few)
{
    static const int64_t one[2] = {0, 16};
    /* width 1: what is open, and the leaf: 1 + log2 of the leaves */
    static const struct {
        int leaves, width, buffers;
    } cases[] = {{1, 1, 1}, {2, 1, 2}, {8, 1, 4}, {64, 1, 7}, {8, 2, 4}, {8, 8, 8}, {64, 4, 8}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lk_comm *c = NULL;
        lk_reduce *r = NULL;
        const lk_reduce_opts o = {.n = 16,
            .type = LK_COMM_F32,
            .tile = 16,
            .n_buckets = 1,
            .bucket = one,
            .leaves = cases[i].leaves,
            .width = cases[i].width};
        cr_assert(lk_comm_create_self(&c) == LK_OK);
        cr_assert(lk_reduce_create(c, &o, &r) == LK_OK);
        cr_expect(lk_reduce_buffer_bytes(r) == cases[i].buffers * 64, "M=%d width %d: %d buffers", cases[i].leaves,
            cases[i].width, (int)lk_reduce_buffer_bytes(r) / 64);
        lk_reduce_destroy(&r);
        lk_comm_destroy(&c);
    }
}

/* Whichever allocation fails, create says so and leaves nothing behind. */
Test(tree, create_survives_a_failed_allocation)
{
    sim_world *world = calloc(1, sizeof *world);
    const lk_reduce_opts o = {.n = N_ELEMENTS,
        .type = LK_COMM_F64,
        .tile = TILE,
        .n_buckets = N_BUCKETS,
        .bucket = buckets,
        .leaves = 7,
        .width = 2};
    int failed = 0;

    cr_assert(world != NULL);
    world->nranks = 3;
    lk_comm *c = sim_create(world, 1);
    const int64_t before = lk_mem_bytes();
    for (int n = 1;; n++) {
        lk_reduce *r = NULL;
        lk_mem_fail_at(n);
        const lk_status st = lk_reduce_create(c, &o, &r);
        lk_mem_fail_at(0);
        if (st == LK_OK) {
            lk_reduce_destroy(&r);
            break;
        }
        cr_assert(st == LK_E_NOMEM && r == NULL);
        cr_assert(lk_mem_bytes() == before, "allocation %d: %d bytes are left", n, (int)(lk_mem_bytes() - before));
        failed++;
    }
    cr_assert(failed > 10);
    lk_comm_destroy(&c);
    free(world);
}
