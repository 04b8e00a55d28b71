/* Inside the cpu backend: vector loops, sums, changes of layout and matrix products.
 *
 * Bits. The library is built without contraction, so an element-wise loop gives the same bits whatever vector width it
 * was compiled for. Sums over elements are written in fixed lanes and blocks, never left to the compiler. */
#ifndef LK_KERN_CPU_CPU_INT_H
#define LK_KERN_CPU_CPU_INT_H

#include "kern/cpu/tile.h"
#include "kern/kern_int.h"

/* A function compiled once for each vector width and chosen at start; sanitizers do not work with that. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define LK_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LK_CLONES
#endif

/* The next loop carries nothing from turn to turn: pointers are equal or apart (a kernel in place). */
#ifdef __clang__
#define LK_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define LK_INDEPENDENT _Pragma("GCC ivdep")
#endif

static inline int64_t lki_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Bytes of n floats, rounded up so that the next piece of a buffer is aligned as well. */
static inline size_t lki_floats(int64_t n)
{
    return ((size_t)n * sizeof(float) + 63) / 64 * 64;
}

/* ---- sums.c ---- */
/* Rows of few columns are folded: `repeat` rows side by side make one row of `width`, at least LK_LANES, and what
 * belongs to a column (mean, scale) is repeated likewise. */
#define LK_LANES 32
#define LK_FOLD_WIDTH 512 /* folded rows are no wider than this, unless one row is */
typedef struct lki_fold {
    int64_t cols, repeat, width;
} lki_fold;
lki_fold lki_fold_make(int64_t cols);
/* wide[i] = v[i % cols], i < width. */
void lki_fold_repeat(const lki_fold *f, const float *v, float *wide);

/* Column sums of [rows][cols], added to sum [cols] in an order fixed by the shape: floats in blocks of 64 wide rows,
 * blocks in double. `wide` is scratch, [width] (lki_norm_sums: [2 width]); mean, scale, shift are folded vectors. */
void lki_sums(const lki_fold *f, int64_t rows, const float *x, double *wide, double *sum);
/* of (x - mean)^2 */
void lki_square_sums(const lki_fold *f, int64_t rows, const float *x, const float *mean, double *wide, double *sum);
/* of dy, and of dy (x - mean); with relu only where (x - mean) scale + shift > 0 */
void lki_norm_sums(const lki_fold *f, int64_t rows, const float *x, const float *dy, bool relu, const float *mean,
    const float *scale, const float *shift, double *wide, double *sum, double *sum_x);
/* out[c] = sum over rows of x[rows][cols]: the gradient of a bias. */
void lki_column_sums(int64_t rows, int64_t cols, const float *x, float *out);
/* In 16 lanes of double and a tree. */
double lki_cpu_sum_squares(int64_t n, const void *x);

/* ---- elements.c ---- */
/* y = max(x, 0), NaN stays; y may be x. */
void lki_relu(int64_t n, const float *x, float *y);
/* dx = y > 0 ? dy : 0; dx may be dy. */
void lki_relu_backward(int64_t n, const float *y, const float *dy, float *dx);
/* out may be in. */
void lki_copy(int64_t n, const float *in, float *out);
/* out[c][r] = in[r][c]. */
void lki_transpose(int64_t rows, int64_t cols, const float *in, float *out);
/* [B,C,area] plain -> [B,area,C] and back. */
void lki_plain_to_nhwc(int64_t b, int64_t c, int64_t area, const float *in, float *out);
void lki_nhwc_to_plain(int64_t b, int64_t c, int64_t area, const float *in, float *out);
/* Spatial, and kept channels last. */
static inline bool lki_is_nhwc(const lk_shape *s, lk_layout layout)
{
    return lk_shape_spatial(s) && layout == LK_LAYOUT_NHWC;
}

/* Floats that loops over several passes take at a time: two or three such pieces stay in the nearest cache. */
enum { LK_PIECE = 2048 };

/* ---- activation.c: also for an activation fused behind another operation; act is not NONE ---- */
/* y = f(x); y may be x. */
void lki_act_forward(lk_act act, double alpha, int64_t n, const float *x, float *y);
/* dx = dy f'(x); v is y where lki_act_by_output(act), else x; dx may be dy. */
void lki_act_backward(lk_act act, double alpha, int64_t n, const float *v, const float *dy, float *dx);

/* ---- gemm.c: matrices of rows at a distance ld ---- */
/* c [m][n] = a [m][k] times b [n][k] transposed. */
void lki_gemm_nt(const lki_tiles *t, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
    int64_t ldb, float *c, int64_t ldc);
/* c [m][n] = a times b [k][n]; a's element (i,j) at a[i a_row + j a_k], so either way round; added to c where `add`. */
void lki_gemm_nn(const lki_tiles *t, int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_k,
    const float *b, int64_t ldb, float *c, int64_t ldc, bool add);

#endif
