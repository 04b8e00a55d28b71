/* The two kinds of loops of a convolution, from tiles, in NHWC.
 *
 * A pass writes places of `cols` columns, each from a window of kh x kw places of `depth` that it reads: the output
 * from the input, and, with the kernel turned, the input's gradient from the output's. Under a window each kernel row
 * is contiguous: kw depth elements. Places that lie side by side are contiguous as well, so P of them can be one row of
 * a tile: its columns are then P cols, it reads (kw + (P-1) stride) depth elements a kernel row, and the weights of the
 * p-th place are the kernel moved by p strides, with zeros around (a Toeplitz matrix). That fills vectors which cols
 * alone would not, for some multiplications by zero more; a NaN then reaches all places of its group. */
#ifndef LK_KERN_CPU_CONV_PASS_H
#define LK_KERN_CPU_CONV_PASS_H

#include "kern/cpu/cpu_int.h"

/* Where the weights of a pass are in the plain weight [f][c][kh][kw]: column col, depth d, tap (i,j) at
 * start + col by_col + d by_depth + i by_h + j by_w. */
typedef struct lki_weight_walk {
    int64_t start, by_col, by_depth, by_h, by_w;
} lki_weight_walk;

typedef struct lki_pass {
    int64_t batch;
    int64_t in_h, in_w, depth;
    int64_t out_h, out_w, cols;
    int64_t out_start, out_sample, out_row, out_place; /* of the first place; distances of samples, rows, places */
    int64_t kh, kw, sh, sw, top, left; /* place (i,j) reads from (i sh - top, j sw - left); outside are zeros */
    lki_weight_walk walk;
    /* The rest by lki_pass_init. */
    const lki_tiles *tiles;
    int64_t places, columns, taps; /* P, P cols, elements of a kernel row */
    bool by_sample; /* tile rows are samples at the same place, else places of a sample */
} lki_pass;

/* Chooses P and the rows, from shape and instruction set alone. */
void lki_pass_init(lki_pass *p, const lki_tiles *t);
size_t lki_pass_packed_bytes(const lki_pass *p);
size_t lki_pass_scratch_bytes(const lki_pass *p);
/* w: the plain weight. */
void lki_pass_pack(const lki_pass *p, const float *w, float *packed);
/* bias [cols] or NULL. */
void lki_pass_run(
    const lki_pass *p, const float *in, const float *packed, const float *bias, bool relu, float *out, void *scratch);

/* The gradient of the weights [f][c][kh][kw] from x [batch][h][w][c] and dy [batch][oh][ow][f]. */
typedef struct lki_conv {
    int64_t batch, c, h, w, f, oh, ow;
    int64_t kh, kw, sh, sw, top, left;
} lki_conv;
size_t lki_weights_scratch_bytes(const lki_tiles *t, const lki_conv *g);
void lki_weights_run(const lki_tiles *t, const lki_conv *g, const float *x, const float *dy, float *dw, void *scratch);

/* One sample with zeros around, so that no window reaches beyond: rows [0, h) and columns [0, w) counted from the
 * padding's corner. */
typedef struct lki_padded {
    int64_t in_h, in_w, depth, top, left, h, w;
} lki_padded;
size_t lki_padded_bytes(const lki_padded *p); /* 0: read in place */
void lki_padded_clear(const lki_padded *p, float *room);
/* The sample as it is to be read, with rows at a distance of lki_padded_row. */
const float *lki_padded_sample(const lki_padded *p, const float *in, float *room);
int64_t lki_padded_row(const lki_padded *p);

#endif
