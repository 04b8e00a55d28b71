/* Tiles for AVX-512: 32 registers of 16 floats. */
#include "kern/cpu/tile.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma")))
#define LANES 16
typedef __m512 vec;
typedef __mmask16 mask;
#define FIRST(n) ((mask)((1u << (n)) - 1))
#define LOAD(p) _mm512_loadu_ps(p)
#define LOAD_FIRST(m, p) _mm512_maskz_loadu_ps(m, p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define STORE_FIRST(m, p, v) _mm512_mask_storeu_ps(p, m, v)
#define SET(f) _mm512_set1_ps(f)
#define ZERO() _mm512_setzero_ps()
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define RECTIFY(v) _mm512_max_ps(_mm512_setzero_ps(), v) /* the second operand where one is NaN */

/* out[i] = sum of the lanes of the i-th vector */
TARGET static inline __attribute__((always_inline)) void sum_lanes(vec a, vec b, vec c, vec d, float out[4])
{
    const vec ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const vec cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    /* a b c d in each quarter */
    const vec all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

/* clang-format off */
#define TILES_TO_6(X, NV) X(1, NV) X(2, NV) X(3, NV) X(4, NV) X(5, NV) X(6, NV)
#define TILES_TO_8(X, NV) TILES_TO_6(X, NV) X(7, NV) X(8, NV)
#define TILES_TO_14(X, NV) TILES_TO_8(X, NV) X(9, NV) X(10, NV) X(11, NV) X(12, NV) X(13, NV) X(14, NV)
#define TILES(X) TILES_TO_14(X, 1) X(15, 1) X(16, 1) TILES_TO_14(X, 2) TILES_TO_8(X, 3) TILES_TO_6(X, 4)
#define DOTS(X) \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) \
    X(2, 1) X(2, 2) X(2, 3) X(2, 4) \
    X(3, 1) X(3, 2) X(3, 3) X(3, 4) \
    X(4, 1) X(4, 2) X(4, 3) X(4, 4)
/* clang-format on */

#include "kern/cpu/tile_body.h"

const lki_tiles lki_tiles_avx512 = {
    .lanes = LANES, .max_rows = {0, 16, 14, 8, 6}, .tile = tile, .dot_rows = 4, .dot_cols = 4, .dot = dot};
#else
const lki_tiles lki_tiles_avx512 = {0};
#endif
