/* Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
 * 1, 2, 3", SC'11). A draw is a pure function of (key, counter): no state, so nothing depends on the order of calls,
 * on threads or on ranks. */
#ifndef LK_BASE_RNG_H
#define LK_BASE_RNG_H

#include <stdint.h>

/* What a stream is used for: the first part of every key. Numbers are part of the promise: never renumber. */
typedef enum lk_rng_use { LK_RNG_INIT = 1, LK_RNG_DROPOUT = 2, LK_RNG_ORDER = 3, LK_RNG_SYNTHETIC = 4, LK_RNG_TEST = 5, LK_RNG_AUGMENT = 6, LK_RNG_NOISE = 7, LK_RNG_GRADIENT = 8, LK_RNG_ROUNDING = 9 } lk_rng_use;

typedef struct lk_rng {
    uint32_t key[2];
} lk_rng;

/* The stream of (seed, use, id): the 64-bit key is the XXH3-64 hash of the three, as little-endian 64-bit words.
 * `id` tells streams of one use apart (hash of a parameter's name, layer number, epoch...). */
lk_rng lk_rng_make(uint64_t seed, lk_rng_use use, uint64_t id);
/* The block of four words for a 128-bit counter. */
void lk_philox4x32(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);
/* Words 4*block .. 4*block+3 of row `row` of the stream: counter = {block lo, block hi, row lo, row hi}. */
void lk_rng_block(lk_rng r, uint64_t row, uint64_t block, uint32_t out[4]);
/* n words of row `row`, from word `first` on (first a multiple of 4): the bulk form, written to be vectorized. */
void lk_rng_fill(lk_rng r, uint64_t row, uint64_t first, int64_t n, uint32_t *out);
/* One word of row 0. */
uint32_t lk_rng_word(lk_rng r, uint64_t index);
/* A word as a number in [0,1) with 24 bits; as double likewise exact. */
static inline float lk_rng_unit(uint32_t w)
{
    return (float)(w >> 8) * 0x1p-24f;
}
/* Element `index` of row 0 as standard normal (Box-Muller over the two words 2*index, 2*index+1; computed in double with
 * libm, so equal on every machine with the same libm). */
double lk_rng_normal(lk_rng r, uint64_t index);
/* Element `index` of row `row`, likewise. */
double lk_rng_normal_row(lk_rng r, uint64_t row, uint64_t index);
/* Position -> position in [0,n): a keyed bijection (balanced Feistel network of 6 rounds over the next even power of two, with
 * Philox as round function, and cycle walking). n >= 1; p in [0,n). O(1) expected. */
int64_t lk_rng_permute(lk_rng r, int64_t n, int64_t p);

#endif
