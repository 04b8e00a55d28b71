/* The inner loops of our own convolutions and matrix products, one set an instruction set.
 *
 * `tile`: R rows by NV vectors of c stay in registers while k runs, in up to three loops,
 *   c[r][.] = act(bias[.] + sum over o < outer, s < segs, i < k of a[row_a[r] + at_a] b[at_b + .]),
 *   at_a = o a_outer + s a_seg + i a_k, at_b = o b_outer + s b_seg + i b_k,
 * so that a row may be a place of an image (its taps are segments of neighbours in NHWC, kernel row by kernel row), a
 * sample, a row of a matrix or a column of it.
 * `dot`: products of rows with rows, both contiguous along k: lanes run along k and are added at the end.
 *
 * Each sum has one order, given by the instruction set and the arguments: in `tile` that of (o, s, i), in `dot` as many
 * sums as a vector has lanes, then a tree; with fused multiply-adds where the machine has them. */
#ifndef LK_KERN_CPU_TILE_H
#define LK_KERN_CPU_TILE_H

#include <stdbool.h>
#include <stdint.h>

enum { LK_TILE_ROWS = 16, LK_TILE_VECTORS = 4 }; /* the most that a set has */

typedef struct lki_tile {
    const float *a, *b;
    float *c;
    const int64_t *row_a, *row_c; /* [rows], elements from a and c */
    int64_t outer, segs, k; /* outer 0 counts as 1 */
    int64_t a_outer, a_seg, a_k, b_outer, b_seg, b_k;
    const float *bias; /* [n] or NULL; sums start from it */
    bool add; /* sums start from what c holds; then no bias */
    bool relu;
    int n; /* columns, at least 1 */
} lki_tile;

typedef struct lki_tiles {
    int lanes; /* floats in a vector */
    int max_rows[LK_TILE_VECTORS + 1]; /* by number of vectors that n needs */
    void (*tile)(const lki_tile *t, int rows);
    int dot_rows, dot_cols; /* at most */
    /* y[r ldy + s] = sum over i < k of x[r ldx + i] w[s ldw + i] */
    void (*dot)(
        int rows, int cols, int64_t k, const float *x, int64_t ldx, const float *w, int64_t ldw, float *y, int64_t ldy);
} lki_tiles;

/* The best set for this machine. */
const lki_tiles *lki_tiles_get(void);

extern const lki_tiles lki_tiles_avx512, lki_tiles_avx2, lki_tiles_any;

#endif
