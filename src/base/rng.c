#include "base/rng.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 10, LANES = 64, FEISTEL_ROUNDS = 6 };

#define MUL_0 UINT32_C(0xD2511F53)
#define MUL_1 UINT32_C(0xCD9E8D57)
#define WEYL_0 UINT32_C(0x9E3779B9) /* golden ratio */
#define WEYL_1 UINT32_C(0xBB67AE85) /* sqrt(3) - 1 */

/* The bulk function is compiled once for each vector width and the one for this machine taken at start; sanitizers do
 * not work with that. It computes in whole numbers only, so all of them give the same words. */
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EACH_WIDTH __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define EACH_WIDTH
#endif

/* One round on a block in c0..c3. */
#define ROUND(r) \
    do { \
        const uint64_t p0 = (uint64_t)MUL_0 * c0, p1 = (uint64_t)MUL_1 * c2; \
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ (k0 + (r) * WEYL_0); \
        c1 = (uint32_t)p1; \
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ (k1 + (r) * WEYL_1); \
        c3 = (uint32_t)p0; \
    } while (0)

/* n_groups groups of LANES consecutive blocks from `block` on. The rounds stand inside the loop over lanes, written
 * out, so that the loop vectorizes with all four words in registers. */
EACH_WIDTH static void fill_lanes(
    const uint32_t key[2], uint64_t row, uint64_t block, int64_t n_groups, uint32_t *restrict out)
{
    const uint32_t k0 = key[0], k1 = key[1], row_lo = (uint32_t)row, row_hi = (uint32_t)(row >> 32);
    uint32_t lo[LANES], hi[LANES], word[4][LANES];

    for (int64_t g = 0; g < n_groups; g++, block += LANES, out += 4 * LANES) {
        for (int i = 0; i < LANES; i++) {
            lo[i] = (uint32_t)(block + (uint64_t)i);
            hi[i] = (uint32_t)((block + (uint64_t)i) >> 32);
        }
        for (int i = 0; i < LANES; i++) {
            uint32_t c0 = lo[i], c1 = hi[i], c2 = row_lo, c3 = row_hi;
            ROUND(0);
            ROUND(1);
            ROUND(2);
            ROUND(3);
            ROUND(4);
            ROUND(5);
            ROUND(6);
            ROUND(7);
            ROUND(8);
            ROUND(9);
            word[0][i] = c0;
            word[1][i] = c1;
            word[2][i] = c2;
            word[3][i] = c3;
        }
        for (int i = 0; i < LANES; i++) {
            for (int k = 0; k < 4; k++)
                out[4 * i + k] = word[k][i];
        }
    }
}

void lk_philox4x32(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    const uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];

    for (uint32_t r = 0; r < ROUNDS; r++)
        ROUND(r);
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void put_u64_le(uint64_t v, unsigned char *to)
{
    for (int i = 0; i < 8; i++)
        to[i] = (unsigned char)(v >> (8 * i));
}

lk_rng lk_rng_make(uint64_t seed, lk_rng_use use, uint64_t id)
{
    unsigned char words[24];

    put_u64_le(seed, words);
    put_u64_le((uint64_t)use, words + 8);
    put_u64_le(id, words + 16);
    const uint64_t key = lk_hash64(words, sizeof words);
    return (lk_rng){.key = {(uint32_t)key, (uint32_t)(key >> 32)}};
}

void lk_rng_block(lk_rng r, uint64_t row, uint64_t block, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)row, (uint32_t)(row >> 32)};

    lk_philox4x32(r.key, counter, out);
}

void lk_rng_fill(lk_rng r, uint64_t row, uint64_t first, int64_t n, uint32_t *out)
{
    const int64_t n_groups = n / (4 * LANES);
    uint64_t block = first / 4;

    fill_lanes(r.key, row, block, n_groups, out);
    block += (uint64_t)n_groups * LANES;
    for (int64_t done = n_groups * 4 * LANES; done < n; done += 4, block++) {
        uint32_t words[4];
        lk_rng_block(r, row, block, words);
        memcpy(out + done, words, (size_t)(n - done < 4 ? n - done : 4) * sizeof words[0]);
    }
}

uint32_t lk_rng_word(lk_rng r, uint64_t index)
{
    uint32_t words[4];

    lk_rng_block(r, 0, index / 4, words);
    return words[index % 4];
}

double lk_rng_normal(lk_rng r, uint64_t index)
{
    return lk_rng_normal_row(r, 0, index);
}

double lk_rng_normal_row(lk_rng r, uint64_t row, uint64_t index)
{
    const double two_pi = 6.283185307179586476925286766559;
    uint32_t words[4];

    lk_rng_block(r, row, index / 2, words);
    const uint32_t *w = words + 2 * (index % 2);
    const double radius = ((double)w[0] + 1.0) * 0x1p-32; /* (0,1] */
    const double angle = (double)w[1] * 0x1p-32; /* [0,1) */
    return sqrt(-2.0 * log(radius)) * cos(two_pi * angle);
}

int64_t lk_rng_permute(lk_rng r, int64_t n, int64_t p)
{
    int half = 1; /* bits of one side: 2 * half bits hold n - 1 */

    while (half < 32 && ((uint64_t)n - 1) >> (2 * half) != 0)
        half++;
    const uint32_t mask = half == 32 ? UINT32_MAX : (UINT32_C(1) << half) - 1;
    uint64_t x = (uint64_t)p;
    /* What lands at n or above is sent round again: its cycle comes back below n, at the latest at p. */
    do {
        uint32_t left = (uint32_t)(x >> half) & mask, right = (uint32_t)x & mask;
        for (uint32_t round = 0; round < FEISTEL_ROUNDS; round++) {
            const uint32_t counter[4] = {right, round, (uint32_t)n, (uint32_t)((uint64_t)n >> 32)};
            uint32_t words[4];
            lk_philox4x32(r.key, counter, words);
            const uint32_t next = left ^ (words[0] & mask);
            left = right;
            right = next;
        }
        x = (uint64_t)left << half | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}
