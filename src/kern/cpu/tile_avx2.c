/* Tiles for AVX2 with FMA: 16 registers of 8 floats. */
#include "kern/cpu/tile.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define LANES 8
typedef __m256 vec;
typedef __m256i mask;
static const int32_t lane_masks[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
#define FIRST(n) _mm256_loadu_si256((const __m256i *)(lane_masks + LANES - (n)))
#define LOAD(p) _mm256_loadu_ps(p)
#define LOAD_FIRST(m, p) _mm256_maskload_ps(p, m)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define STORE_FIRST(m, p, v) _mm256_maskstore_ps(p, m, v)
#define SET(f) _mm256_set1_ps(f)
#define ZERO() _mm256_setzero_ps()
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define RECTIFY(v) _mm256_max_ps(_mm256_setzero_ps(), v) /* the second operand where one is NaN */

/* out[i] = sum of the lanes of the i-th vector */
TARGET static inline __attribute__((always_inline)) void sum_lanes(vec a, vec b, vec c, vec d, float out[4])
{
    const vec ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const vec cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    /* a b c d in each half */
    const vec all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

/* clang-format off */
#define TILES(X) \
    X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(7, 1) X(8, 1) X(9, 1) X(10, 1) \
    X(1, 2) X(2, 2) X(3, 2) X(4, 2) X(5, 2) X(6, 2) \
    X(1, 3) X(2, 3) X(3, 3) X(4, 3) \
    X(1, 4) X(2, 4) X(3, 4)
#define DOTS(X) \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) \
    X(2, 1) X(2, 2) X(2, 3) X(2, 4) \
    X(3, 1) X(3, 2) X(3, 3) X(3, 4)
/* clang-format on */

#include "kern/cpu/tile_body.h"

const lki_tiles lki_tiles_avx2 = {
    .lanes = LANES, .max_rows = {0, 10, 6, 4, 3}, .tile = tile, .dot_rows = 3, .dot_cols = 4, .dot = dot};
#else
const lki_tiles lki_tiles_avx2 = {0};
#endif
