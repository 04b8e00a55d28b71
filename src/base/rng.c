#include "base/rng.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 10, LANES = 16, FEISTEL_ROUNDS = 6 };

#define MUL_0 UINT32_C(0xD2511F53)
#define MUL_1 UINT32_C(0xCD9E8D57)
#define WEYL_0 UINT32_C(0x9E3779B9) /* golden ratio */
#define WEYL_1 UINT32_C(0xBB67AE85) /* sqrt(3) - 1 */

/* The bulk function is compiled once for each vector width and chosen at start; sanitizers do not work with that. It is whole
 * numbers only, so all of them give the same words. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EACH_WIDTH __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define EACH_WIDTH
#endif

/* LANES consecutive blocks from `block` on, word by word into out[4 * LANES]. Each lane is 64 bits wide and only its low half
 * counts: what a multiply leaves in the high half needs no masking until the end. */
EACH_WIDTH static void fill_lanes(const uint32_t key[2], uint64_t row, uint64_t block, int64_t n_groups, uint32_t *out)
{
    for (int64_t g = 0; g < n_groups; g++, block += LANES, out += 4 * LANES) {
        uint64_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
        uint32_t k0 = key[0], k1 = key[1];
        for (int i = 0; i < LANES; i++) {
            c0[i] = block + (uint64_t)i;
            c1[i] = (block + (uint64_t)i) >> 32;
            c2[i] = row;
            c3[i] = row >> 32;
        }
        for (int r = 0; r < ROUNDS; r++) {
            for (int i = 0; i < LANES; i++) {
                const uint64_t p0 = (uint64_t)MUL_0 * (uint32_t)c0[i];
                const uint64_t p1 = (uint64_t)MUL_1 * (uint32_t)c2[i];
                c0[i] = (p1 >> 32) ^ c1[i] ^ k0;
                c2[i] = (p0 >> 32) ^ c3[i] ^ k1;
                c1[i] = p1;
                c3[i] = p0;
            }
            k0 += WEYL_0;
            k1 += WEYL_1;
        }
        for (int i = 0; i < LANES; i++) {
            out[4 * i] = (uint32_t)c0[i];
            out[4 * i + 1] = (uint32_t)c1[i];
            out[4 * i + 2] = (uint32_t)c2[i];
            out[4 * i + 3] = (uint32_t)c3[i];
        }
    }
}

void lk_philox4x32(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int r = 0; r < ROUNDS; r++) {
        const uint64_t p0 = (uint64_t)MUL_0 * c0;
        const uint64_t p1 = (uint64_t)MUL_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
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
    const double two_pi = 6.283185307179586476925286766559;
    uint32_t words[4];

    lk_rng_block(r, 0, index / 2, words);
    const uint32_t *w = words + 2 * (index % 2);
    const double radius = ((double)w[0] + 1.0) * 0x1p-32; /* (0,1] */
    const double angle = (double)w[1] * 0x1p-32;          /* [0,1) */
    return sqrt(-2.0 * log(radius)) * cos(two_pi * angle);
}

int64_t lk_rng_permute(lk_rng r, int64_t n, int64_t p)
{
    int half = 1; /* bits of one side: 2 * half bits hold n - 1 */

    while (half < 32 && ((uint64_t)n - 1) >> (2 * half) != 0)
        half++;
    const uint32_t mask = half == 32 ? UINT32_MAX : (UINT32_C(1) << half) - 1;
    uint64_t x = (uint64_t)p;
    /* What lands at n or above is sent round again: on the cycle of p there is a next position below n, at the latest p. */
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
