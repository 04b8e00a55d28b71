/* The reduction over any communicator, in whatever space its numbers lie: the bits must be those of one tree over all
 * leaves, which every rank computes for itself on the host, whatever the number of ranks, buckets and threads. */
#ifndef LK_TESTS_COMM_REDUCTION_CHECKS_H
#define LK_TESTS_COMM_REDUCTION_CHECKS_H

#include "base/mem.h"
#include "check.h"
#include "comm/comm_int.h"
#include "comm/reduce.h"
#include "comm/spaces.h"
#include "comm/values.h"

enum { TILE = 16 };

typedef struct setting {
    int leaves, width, n_buckets;
    int64_t bucket[8];
    lk_comm_type type;
    bool fast;
} setting;

static int64_t n_of(const setting *s)
{
    return s->bucket[s->n_buckets];
}

static void describe(const setting *s, char text[100])
{
    snprintf(text, 100, "M=%d width %d, %d buckets, n=%d, %s%s", s->leaves, s->width, s->n_buckets, (int)n_of(s),
        s->type == LK_COMM_F32 ? "f32" : "f64", s->fast ? ", fast" : "");
}

/* The tree's sum of all leaves, and how many elements another order of adding would change. */
static void *reference(const setting *s, uint64_t seed, int64_t *differ)
{
    const int64_t n = n_of(s);
    const size_t size = lk_comm_type_size(s->type);
    char *all = malloc((size_t)(n * s->leaves) * size), *want = malloc((size_t)n * size);

    for (int m = 0; m < s->leaves; m++)
        fill_leaf(seed, m, s->type, n, all + (size_t)(n * m) * size);
    *differ = 0;
    for (int64_t i = 0; i < n; i++) {
        if (s->type == LK_COMM_F32) {
            const float *x = (const float *)all + i;
            float in_turn = x[0];
            for (int m = 1; m < s->leaves; m++)
                in_turn += x[m * n];
            ((float *)want)[i] = reference_f32(x, n, s->leaves);
            *differ += in_turn != ((float *)want)[i];
        } else {
            const double *x = (const double *)all + i;
            double in_turn = x[0];
            for (int m = 1; m < s->leaves; m++)
                in_turn += x[m * n];
            ((double *)want)[i] = reference_f64(x, n, s->leaves);
            *differ += in_turn != ((double *)want)[i];
        }
    }
    free(all);
    return want;
}

static void write_leaf(lk_reduce *r, const lk_comm *c, int m, lk_comm_type type, int64_t n, uint64_t seed)
{
    const size_t bytes = (size_t)n * lk_comm_type_size(type);
    char *leaf = malloc(bytes + 1);

    fill_leaf(seed, m, type, n, leaf);
    space_put(lk_comm_space(c), lk_reduce_leaf(r, m), leaf, bytes);
    free(leaf);
}

static void step(lk_reduce *r, const lk_comm *c, const setting *s, uint64_t seed)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    const int first = lk_block_first(s->leaves, n, me), end = lk_block_end(s->leaves, n, me);

    for (int from = first; from < end; from += s->width) {
        const int to = from + s->width < end ? from + s->width : end;
        for (int m = to - 1; m >= from; m--)
            write_leaf(r, c, m, s->type, n_of(s), seed);
        for (int b = s->n_buckets - 1; b >= 0; b--) {
            for (int m = from; m < to; m++)
                CHECK_OK(lk_reduce_ready(r, m, b));
            CHECK_OK(lk_reduce_poll(r));
        }
    }
    CHECK_OK(lk_reduce_finish(r));
}

static bool is_near(const setting *s, const char *got, const char *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const double x = s->type == LK_COMM_F32 ? (double)((const float *)got)[i] : ((const double *)got)[i];
        const double y = s->type == LK_COMM_F32 ? (double)((const float *)want)[i] : ((const double *)want)[i];
        /* leaves are below 2^16; each of their sums is rounded by at most 2^-24 of 2^20 */
        if (fabs(x - y) > s->leaves * 0.0625)
            return false;
    }
    return true;
}

/* Own slices of the sum against the reference; `fast` is only near it. */
static void check_sum(const lk_reduce *r, const lk_comm *c, const setting *s, const char *want, const char *text)
{
    const int64_t size = (int64_t)lk_comm_type_size(s->type);
    char *sum = malloc((size_t)(n_of(s) * size) + 1);

    space_get(lk_comm_space(c), sum, lk_reduce_sum(r), (size_t)(n_of(s) * size));
    for (int b = 0; b < s->n_buckets; b++) {
        int64_t a, e;
        lk_reduce_slice(r, b, lk_comm_rank(c), &a, &e);
        const bool same = s->fast ? is_near(s, sum + a * size, want + a * size, e - a)
                                  : memcmp(sum + a * size, want + a * size, (size_t)((e - a) * size)) == 0;
        CHECK(same, "%s: rank %d, bucket %d [%d,%d)", text, lk_comm_rank(c), b, (int)a, (int)e);
    }
    free(sum);
}

static void check_moves(lk_reduce *r, const lk_comm *c, const setting *s, const char *want, const char *text)
{
    const size_t bytes = (size_t)n_of(s) * lk_comm_type_size(s->type);
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    const lk_space *space = lk_comm_space(c);
    char *flat = malloc(bytes + 1), *there = space_new(space, bytes);
    const int64_t allocations = lk_mem_count() + late.n_allocated;

    const int roots[] = {-1, 0, n - 1}; /* -1: to all */
    for (int i = 0; i < 3; i++) {
        const int root = roots[i];
        memset(flat, 0xA5, bytes);
        for (int b = 0; b < s->n_buckets; b++) {
            const int64_t size = (int64_t)lk_comm_type_size(s->type);
            int64_t a, e;
            lk_reduce_slice(r, b, me, &a, &e);
            memcpy(flat + a * size, want + a * size, (size_t)((e - a) * size));
        }
        space_put(space, there, flat, bytes);
        if (root < 0)
            CHECK_OK(lk_reduce_gather(r, there));
        else
            CHECK_OK(lk_reduce_collect(r, root, there));
        space_get(space, flat, there, bytes);
        if (root < 0 || root == me)
            CHECK(memcmp(flat, want, bytes) == 0, "%s: rank %d, slices to %d", text, me, root);
    }
    CHECK(lk_mem_count() + late.n_allocated == allocations, "%s: allocations while slices move", text);
    free(flat);
    lk_space_free(space, there);
}

static void run(lk_comm *c, const setting *s)
{
    lk_reduce *r = NULL;
    char text[100];
    int64_t differ;
    char *want[2];

    describe(s, text);
    want[0] = reference(s, 3, &differ);
    CHECK(n_of(s) == 0 || differ > n_of(s) / 8, "%s: another order changes %d elements only", text, (int)differ);
    want[1] = reference(s, 4, &differ);
    const lk_reduce_opts o = {.n = n_of(s),
        .type = s->type,
        .tile = TILE,
        .n_buckets = s->n_buckets,
        .bucket = s->bucket,
        .leaves = s->leaves,
        .width = s->width,
        .fast = s->fast};
    const int64_t bytes = lk_mem_bytes(), pinned_before = late_pinned_bytes();
    CHECK_OK(lk_reduce_create(c, &o, &r));
    int64_t predicted = 0, most = 0;
    CHECK_OK(lk_reduce_predict(&o, lk_comm_space(c), lk_comm_nranks(c), lk_comm_rank(c), &predicted, &most));
    if (lk_comm_is_staged(c) && pinned_before == 0) /* no memory of other reductions is left */
        CHECK(late_pinned_bytes() <= most && 3 * late_pinned_bytes() >= most, "%s: %ld bytes pinned, predicted %ld",
            text, (long)late_pinned_bytes(), (long)most);
    CHECK(lk_reduce_buffer_bytes(r) == predicted, "%s: %ld bytes, predicted %ld", text, (long)lk_reduce_buffer_bytes(r),
        (long)predicted);
    const bool first = s->fast && !lk_comm_space(c)->host; /* an allreduce may keep memory of its own */
    int64_t allocations = lk_mem_count() + late.n_allocated;
    for (int i = 0; i < 2; i++) {
        step(r, c, s, 3 + (uint64_t)i);
        check_sum(r, c, s, want[i], text);
        if (i == 0 && first)
            allocations = lk_mem_count() + late.n_allocated;
    }
    CHECK(lk_mem_count() + late.n_allocated == allocations, "%s: %d allocations in two steps", text,
        (int)(lk_mem_count() + late.n_allocated - allocations));
    check_moves(r, c, s, want[0], text);
    CHECK(lk_reduce_wait_seconds(r) >= 0 && lk_reduce_buffer_bytes(r) >= n_of(s) * 4, "%s", text);
    lk_reduce_destroy(&r);
    CHECK(lk_mem_bytes() <= bytes + 65536, "%s: %d bytes are left", text,
        (int)(lk_mem_bytes() - bytes)); /* requests stay */
    free(want[0]);
    free(want[1]);
}

/* `all` settings, or some of each kind. */
static void test_sums(lk_comm *c, bool all)
{
    static const struct {
        int n;
        int64_t bucket[8];
    } cuts[] = {
        {1, {0, 100 * TILE}},
        {4, {0, TILE, TILE, 60 * TILE, 67 * TILE}}, /* one tile, none, many, few: with 8 ranks some slices are empty */
        {7, {0, 5 * TILE, 6 * TILE, 7 * TILE, 8 * TILE, 9 * TILE, 33 * TILE, 40 * TILE}},
    };
    static const int leaves[] = {8, 12};

    for (size_t l = 0; l < 2; l++) {
        for (size_t k = 0; k < sizeof cuts / sizeof cuts[0]; k++) {
            for (int width = 1; width <= 3; width++) {
                if (!all && (k == 0 || width != 2))
                    continue;
                for (int f = 0; f < 3; f++) {
                    if (f == 1 && !lk_comm_space(c)->host)
                        continue; /* sums of f64 are the host's */
                    setting s = {.leaves = leaves[l],
                        .width = width,
                        .n_buckets = cuts[k].n,
                        .type = f % 2 == 0 ? LK_COMM_F32 : LK_COMM_F64,
                        .fast = f >= 2};
                    memcpy(s.bucket, cuts[k].bucket, sizeof s.bucket);
                    run(c, &s);
                }
            }
        }
    }
    const setting long_slices = {
        .leaves = 8, .width = 2, .n_buckets = 2, .bucket = {0, 32 * TILE, 40000 * TILE}, .type = LK_COMM_F32};
    run(c, &long_slices); /* parts of a slice */
    const setting longer = {
        .leaves = 4, .width = 1, .n_buckets = 2, .bucket = {0, 1 << 16, 170000 * TILE}, .type = LK_COMM_F32};
    if (!lk_comm_space(c)->host && lk_comm_nranks(c) == 2)
        run(c, &longer); /* the same where parts are longer */
    const setting nothing = {.leaves = 8, .width = 1, .n_buckets = 1, .bucket = {0, 0}, .type = LK_COMM_F32};
    run(c, &nothing);
}

static void test_errors(lk_comm *c)
{
    const int n = lk_comm_nranks(c), me = lk_comm_rank(c);
    const int64_t bucket[3] = {0, TILE, 4 * TILE}, odd[3] = {0, TILE + 1, 4 * TILE};
    const lk_reduce_opts good = {
        .n = 4 * TILE, .type = LK_COMM_F32, .tile = TILE, .n_buckets = 2, .bucket = bucket, .leaves = 8, .width = 1};
    lk_reduce_opts o = good;
    lk_reduce *r = NULL;
    char want[200], *flat = space_new(lk_comm_space(c), 4 * TILE * sizeof(float));

    if (n > 1) {
        o.leaves = n - 1;
        snprintf(want, sizeof want, "%d ranks, but train.microbatches is %d: raise it or start at most %d rank%s", n,
            n - 1, n - 1, n == 2 ? "" : "s");
        CHECK(lk_reduce_create(c, &o, &r) == LK_E_ARG, "too many ranks");
        CHECK(strcmp(lk_err_last()->message, want) == 0, "%s", lk_err_last()->message);
    }
    o = good;
    o.bucket = odd;
    CHECK(lk_reduce_create(c, &o, &r) == LK_E_ARG, "a bucket that cuts a tile");
    o = good;
    o.type = LK_COMM_I64;
    CHECK(lk_reduce_create(c, &o, &r) == LK_E_ARG, "whole numbers");
    o = good;
    o.n = 5 * TILE;
    CHECK(lk_reduce_create(c, &o, &r) == LK_E_ARG, "buckets that do not span");
    CHECK(r == NULL, "an object of a refused call");

    /* One rank has no memory left: no rank has a reduction. */
    lk_mem_fail_at(me == n - 1 ? 3 : 0);
    CHECK(lk_reduce_create(c, &good, &r) == LK_E_NOMEM, "%s", lk_err_last()->message);
    lk_mem_fail_at(0);
    CHECK(r == NULL && strstr(lk_err_last()->message, "out of memory") != NULL, "%s", lk_err_last()->message);

    CHECK_OK(lk_reduce_create(c, &good, &r));
    const int first = lk_block_first(8, n, me), end = lk_block_end(8, n, me);
    CHECK(lk_reduce_ready(r, end, 0) == LK_E_ARG, "a leaf of another rank");
    CHECK(lk_reduce_ready(r, first, 2) == LK_E_ARG, "bucket 2 of 2");
    CHECK(lk_reduce_finish(r) == LK_E_ARG, "finish before the end");
    for (int m = first; m < end; m++) {
        write_leaf(r, c, m, LK_COMM_F32, 4 * TILE, 1);
        CHECK_OK(lk_reduce_ready(r, m, 0));
        CHECK(lk_reduce_ready(r, m, 0) == LK_E_ARG, "a leaf that is ready twice");
        CHECK_OK(lk_reduce_ready(r, m, 1));
    }
    CHECK(n == 1 || lk_reduce_gather(r, flat) == LK_E_ARG, "gather during a step");
    CHECK_OK(lk_reduce_finish(r));
    CHECK(lk_reduce_collect(r, n, flat) == LK_E_ARG, "collect to rank %d", n);
    lk_reduce_destroy(&r);
    lk_reduce_destroy(&r);
    if (!lk_comm_space(c)->host) {
        o = good;
        o.type = LK_COMM_F64;
        CHECK(lk_reduce_create(c, &o, &r) == LK_E_ARG, "sums of f64 on a device");
        snprintf(want, sizeof want, "f64 in memory of %s", lk_comm_space(c)->name);
        CHECK(strstr(lk_err_last()->message, want) != NULL, "%s", lk_err_last()->message);
    }
    lk_space_free(lk_comm_space(c), flat);
}

#endif
