#include "base/rng.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/support.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds). */
Test(rng, philox_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } row[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
            {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (int i = 0; i < 3; i++) {
        uint32_t got[4];
        lk_philox4x32(row[i].key, row[i].counter, got);
        cr_expect(memcmp(got, row[i].want, sizeof got) == 0, "vector %d", i);
        /* The same through the names of streams: counter = {block lo, block hi, row lo, row hi}. */
        const uint32_t *c = row[i].counter;
        const lk_rng r = {.key = {row[i].key[0], row[i].key[1]}};
        lk_rng_block(r, (uint64_t)c[3] << 32 | c[2], (uint64_t)c[1] << 32 | c[0], got);
        cr_expect(memcmp(got, row[i].want, sizeof got) == 0, "block %d", i);
    }
}

/* The key is part of the promise: these bytes never change. */
Test(rng, key_is_the_hash_of_three_little_endian_words)
{
    static const unsigned char words[24] = {
        1, 2, 3, 4, 5, 6, 7, 8, LK_RNG_ORDER, 0, 0, 0, 0, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde, 0, 0, 0, 0};
    const lk_rng r = lk_rng_make(0x0807060504030201, LK_RNG_ORDER, 0xdeadbeef);
    const uint64_t key = lk_hash64(words, sizeof words);

    cr_expect(r.key[0] == (uint32_t)key && r.key[1] == (uint32_t)(key >> 32));
    const lk_rng other[] = {
        lk_rng_make(1, LK_RNG_ORDER, 2), lk_rng_make(2, LK_RNG_ORDER, 1), lk_rng_make(1, LK_RNG_INIT, 2)};
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < i; k++)
            cr_expect(memcmp(&other[i], &other[k], sizeof other[i]) != 0);
    }
}

Test(rng, fill_equals_block_by_block)
{
    static const int64_t lengths[] = {0, 1, 3, 4, 5, 63, 64, 65, 255, 256, 257, 511, 512, 1021, 4096};
    static const uint64_t firsts[] = {
        0, 4, 100, (UINT64_C(1) << 34) - 16, (UINT64_C(1) << 34) - 400, UINT64_C(1) << 40};
    const lk_rng r = lk_rng_make(3, LK_RNG_TEST, 9);
    uint32_t *got = NULL;

    EXPECT_OK(lk_alloc_array(4096 + 1, sizeof *got, "words", &got));
    for (int f = 0; f < (int)(sizeof firsts / sizeof firsts[0]); f++) {
        for (int l = 0; l < (int)(sizeof lengths / sizeof lengths[0]); l++) {
            const uint64_t row = (uint64_t)l << 31;
            got[lengths[l]] = 0xabcdef01;
            lk_rng_fill(r, row, firsts[f], lengths[l], got);
            for (int64_t i = 0; i < lengths[l]; i++) {
                uint32_t want[4];
                lk_rng_block(r, row, (firsts[f] + (uint64_t)i) / 4, want);
                cr_assert(got[i] == want[i % 4], "first %" PRIu64 ", length %" PRId64 ", word %" PRId64, firsts[f],
                    lengths[l], i);
                if (row == 0)
                    cr_assert(lk_rng_word(r, firsts[f] + (uint64_t)i) == got[i]);
            }
            cr_expect(got[lengths[l]] == 0xabcdef01, "written past the end");
        }
    }
    lk_free(got);
}

Test(rng, unit_is_in_0_1)
{
    cr_expect(lk_rng_unit(0) == 0.0f);
    cr_expect(lk_rng_unit(UINT32_MAX) == 1.0f - 0x1p-24f);
    cr_expect(lk_rng_unit(0x80000000) == 0.5f);
}

/* Mean, variance, skewness and kurtosis of N draws are normal around 0, 1, 0, 3 with variances 1/N, 2/N, 6/N, 24/N;
 * five standard deviations are passed once in 1.7 million seeds, and the seed is fixed. */
Test(rng, normal_has_the_moments_of_a_normal)
{
    const int n = 400000;
    const uint64_t seed = 11;
    const lk_rng r = lk_rng_make(seed, LK_RNG_TEST, 0);
    double sum[5] = {0};
    int beyond_2 = 0;

    for (int i = 0; i < n; i++) {
        const double x = lk_rng_normal(r, (uint64_t)i);
        cr_assert(isfinite(x));
        beyond_2 += fabs(x) > 2;
        double p = 1;
        for (int k = 1; k <= 4; k++)
            sum[k] += p *= x;
    }
    cr_expect(fabs(sum[1] / n) < 5 * sqrt(1.0 / n), "seed %" PRIu64 ": mean %g", seed, sum[1] / n);
    cr_expect(fabs(sum[2] / n - 1) < 5 * sqrt(2.0 / n), "seed %" PRIu64 ": variance %g", seed, sum[2] / n);
    cr_expect(fabs(sum[3] / n) < 5 * sqrt(15.0 / n), "seed %" PRIu64 ": third moment %g", seed, sum[3] / n);
    cr_expect(fabs(sum[4] / n - 3) < 5 * sqrt(96.0 / n), "seed %" PRIu64 ": fourth moment %g", seed, sum[4] / n);
    const double share = (double)beyond_2 / n, want = 0.045500263896;
    cr_expect(fabs(share - want) < 5 * sqrt(want * (1 - want) / n), "seed %" PRIu64 ": %g beyond 2", seed, share);
}

Test(rng, normal_is_box_muller_over_its_two_words)
{
    const lk_rng r = lk_rng_make(5, LK_RNG_INIT, 77);

    for (uint64_t i = 0; i < 50; i++) {
        const double u = ((double)lk_rng_word(r, 2 * i) + 1) / 4294967296.0,
                     v = (double)lk_rng_word(r, 2 * i + 1) / 4294967296.0;
        cr_expect(lk_rng_normal(r, i) == sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v));
    }
}

static void check_bijection(lk_rng r, int64_t n, unsigned char *seen)
{
    memset(seen, 0, (size_t)n);
    for (int64_t p = 0; p < n; p++) {
        const int64_t to = lk_rng_permute(r, n, p);
        cr_assert(to >= 0 && to < n, "n %" PRId64 ": %" PRId64 " -> %" PRId64, n, p, to);
        cr_assert(!seen[to], "n %" PRId64 ": %" PRId64 " is hit twice", n, to);
        seen[to] = 1;
    }
}

Test(rng, permute_is_a_bijection)
{
    static unsigned char seen[1 << 20];

    for (uint64_t key = 0; key < 3; key++) {
        const lk_rng r = lk_rng_make(key, LK_RNG_ORDER, key * 1000);
        for (int64_t n = 1; n <= 2000; n++)
            check_bijection(r, n, seen);
    }
    const lk_rng r = lk_rng_make(7, LK_RNG_ORDER, 1);
    check_bijection(r, 65536, seen);
    check_bijection(r, 65537, seen);
    check_bijection(r, 1 << 20, seen);
    check_bijection(r, 999983, seen);
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* Too many positions to visit: no two of many hit the same place, and all stay inside. */
Test(rng, permute_of_large_n)
{
    static const int64_t sizes[] = {
        INT64_C(1) << 32, (INT64_C(1) << 32) + 1, 1000000000039, (INT64_C(1) << 62) + 1, INT64_MAX};
    enum { N = 20000 };
    static int64_t to[N];

    for (int s = 0; s < 5; s++) {
        const lk_rng r = lk_rng_make((uint64_t)s, LK_RNG_ORDER, 2);
        for (int64_t i = 0; i < N; i++) {
            to[i] = lk_rng_permute(r, sizes[s], i % 2 == 0 ? i : sizes[s] - i);
            cr_assert(to[i] >= 0 && to[i] < sizes[s]);
        }
        qsort(to, N, sizeof to[0], by_value);
        for (int i = 1; i < N; i++)
            cr_assert(to[i] != to[i - 1], "n %" PRId64, sizes[s]);
    }
}

/* Over many keys each position goes to each place about equally often: chi-squared with 63 degrees of freedom and mean
 * 63 for each position, standard deviation 11.2; six of those above the mean is out of the question for 8 sums at a
 * fixed seed. */
Test(rng, permute_spreads_evenly)
{
    enum { N = 64, KEYS = 6400 };

    for (int64_t p = 0; p < N; p += 8) {
        int hits[N] = {0};
        double chi = 0;
        for (uint64_t key = 0; key < KEYS; key++)
            hits[lk_rng_permute(lk_rng_make(key, LK_RNG_ORDER, 0), N, p)]++;
        for (int i = 0; i < N; i++)
            chi += (hits[i] - KEYS / N) * (double)(hits[i] - KEYS / N) / (KEYS / N);
        cr_expect(chi < 63 + 6 * 11.2, "position %" PRId64 ": %g", p, chi);
    }
}

/* Frozen outputs: what a checkpoint of last year relies on. */
Test(rng, promised_values)
{
    const lk_rng r = lk_rng_make(1, LK_RNG_ORDER, 0);
    static const int64_t want[10] = {9, 5, 2, 4, 1, 6, 7, 3, 8, 0};
    int64_t got[10];

    for (int i = 0; i < 10; i++)
        got[i] = lk_rng_permute(r, 10, i);
    cr_expect(memcmp(got, want, sizeof want) == 0);
    cr_expect(lk_rng_word(r, 0) == 0xe9bd90bc);
    cr_expect(lk_rng_permute(r, 1000003, 12345) == 926535);
}
