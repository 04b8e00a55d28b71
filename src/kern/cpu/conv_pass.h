/* The two kinds of loops of a convolution over one to three axes, from tiles, channels last. All is D, H, W here: axes
 * that a value has not are of size 1.
 *
 * A pass writes places of `cols` columns, each from a window of kernel places of `depth` channels that it reads: the
 * output from the input, and, with the kernel turned, the input's gradient from the output's. With all channels in one
 * group and no dilation along W each kernel row is contiguous under a window: kw depth elements (`dense`). Places that
 * lie side by side are then contiguous as well, so P of them can be one row of a tile: its columns are P cols, it reads
 * (kw + (P-1) stride) depth elements a kernel row, and the weights of the p-th place are the kernel moved by p strides,
 * with zeros around (a Toeplitz matrix). That fills vectors which cols alone would not, for some multiplications by
 * zero more; a NaN then reaches all places of its group. Planes of the kernel are added one after the other. */
#ifndef LK_KERN_CPU_CONV_PASS_H
#define LK_KERN_CPU_CONV_PASS_H

#include "kern/cpu/cpu_int.h"

/* Where the weights of a pass are in the plain weight: column col, depth d, tap (i,j,k) of group g at
 * start + g by_group + col by_col + d by_depth + i by_tap[0] + j by_tap[1] + k by_tap[2]. */
typedef struct lki_weight_walk {
    int64_t start, by_group, by_col, by_depth, by_tap[LK_MAX_AXES];
} lki_weight_walk;

typedef struct lki_pass {
    int64_t batch, groups;
    int64_t in[LK_MAX_AXES], in_place; /* in_place: distance of places, all channels of what is read */
    int64_t out[LK_MAX_AXES];
    int64_t out_start, out_sample,
        out_step[LK_MAX_AXES]; /* of the first place; distances of samples, planes, rows, places */
    int64_t depth, cols; /* of one group */
    int64_t kernel[LK_MAX_AXES], stride[LK_MAX_AXES], dilation[LK_MAX_AXES];
    int64_t before[LK_MAX_AXES]; /* place o reads from o stride - before on; outside are zeros */
    lki_weight_walk walk;
    /* The rest by lki_pass_init. */
    const lki_tiles *tiles;
    int64_t places, columns, taps; /* P, P cols, elements of a kernel row */
    bool dense; /* a kernel row is contiguous */
    bool winograd; /* by conv_winograd.c, and nothing of what stands here */
    bool by_sample; /* tile rows are samples at the same place, else places of a sample */
} lki_pass;

/* Chooses P and the rows, from shape and instruction set alone. */
void lki_pass_init(lki_pass *p, const lki_tiles *t);
size_t lki_pass_packed_bytes(const lki_pass *p);
size_t lki_pass_scratch_bytes(const lki_pass *p);
/* w: the plain weight. */
void lki_pass_pack(const lki_pass *p, const float *w, float *packed);
/* bias [groups cols] or NULL. */
void lki_pass_run(
    const lki_pass *p, const float *in, const float *packed, const float *bias, bool relu, float *out, void *scratch);

/* A convolution: from c channels at `in` places to f at `out` places, weights [f][c/groups][kernel]. */
typedef struct lki_conv {
    int64_t batch, groups, c, f;
    int64_t in[LK_MAX_AXES], out[LK_MAX_AXES];
    int64_t kernel[LK_MAX_AXES], stride[LK_MAX_AXES], dilation[LK_MAX_AXES], before[LK_MAX_AXES];
} lki_conv;
static inline int64_t lki_product(const int64_t v[LK_MAX_AXES])
{
    return v[0] * v[1] * v[2];
}

/* conv_weights.c: the gradient of the weights from x [batch][in][c] and dy [batch][out][f]. */
size_t lki_weights_scratch_bytes(const lki_tiles *t, const lki_conv *g);
void lki_weights_run(const lki_tiles *t, const lki_conv *g, const float *x, const float *dy, float *dw, void *scratch);

/* conv_winograd.c: 3 x 3 windows of stride 1 with fewer products, as a pass and as the gradient of weights. `inside`:
 * share of the taps that lie inside, over all places. Packed weights and scratch are its own. */
bool lki_winograd_fits(const lki_pass *p, double inside);
size_t lki_winograd_packed_bytes(const lki_pass *p);
size_t lki_winograd_scratch_bytes(const lki_pass *p);
void lki_winograd_pack(const lki_pass *p, const float *w, float *packed);
void lki_winograd_run(
    const lki_pass *p, const float *in, const float *packed, const float *bias, bool relu, float *out, void *scratch);
bool lki_winograd_fits_weights(const lki_conv *g);
size_t lki_winograd_weights_bytes(const lki_conv *g);
void lki_winograd_weights(
    const lki_tiles *t, const lki_conv *g, const float *x, const float *dy, float *dw, void *scratch);

/* conv_depthwise.c: a filter for each channel (c = f = groups), without tiles. Packed: the weights as [tap][c]. */
static inline bool lki_is_depthwise(const lki_conv *g)
{
    return g->groups > 1 && g->c == g->groups && g->f == g->groups;
}
size_t lki_depthwise_packed_bytes(const lki_conv *g);
void lki_depthwise_pack(const lki_conv *g, const float *w, float *packed);
void lki_depthwise_down(const lki_conv *g, const float *x, const float *packed, const float *bias, bool relu, float *y);
void lki_depthwise_up(const lki_conv *g, const float *y, const float *packed, const float *bias, bool relu, float *x);
size_t lki_depthwise_scratch_bytes(const lki_conv *g);
void lki_depthwise_weights(const lki_conv *g, const float *x, const float *dy, float *dw, void *scratch);

/* conv_both.c: a convolution and its transpose, for the operations conv and conv_transpose. */
typedef struct lki_conv_both {
    lki_conv g;
    bool depthwise;
    lki_pass down;
    int64_t n_up;
    lki_pass *up; /* [n_up] */
    size_t *up_packed; /* [n_up] offset of its weights in `packed` */
    bool gaps; /* the stride steps over inputs that no window touches */
    size_t packed_bytes, scratch_down, scratch_up, scratch_weights;
} lki_conv_both;
/* `down` and `up`: what will be asked for. */
LK_MUST_USE lk_status lki_conv_create(const lki_conv *g, bool down, bool up, lki_conv_both **out);
void lki_conv_destroy(lki_conv_both **v);
void lki_conv_pack(const lki_conv_both *v, const float *w, void *packed);
/* y = act(conv(x) + bias); bias [f] or NULL. */
void lki_conv_down(
    const lki_conv_both *v, const float *x, const void *packed, const float *bias, bool relu, float *y, void *scratch);
/* x = act(transposed conv(y) + bias): the gradient of x that belongs to a gradient y; bias [c] or NULL. */
void lki_conv_up(
    const lki_conv_both *v, const float *y, const void *packed, const float *bias, bool relu, float *x, void *scratch);
void lki_conv_weights(const lki_conv_both *v, const float *x, const float *y, float *dw, void *scratch);

/* One sample with zeros around in H and W, so that no window reaches beyond: rows [0, h) and columns [0, w) counted
 * from the padding's corner. */
typedef struct lki_padded {
    int64_t in[LK_MAX_AXES], depth, top, left, h, w;
} lki_padded;
size_t lki_padded_bytes(const lki_padded *p); /* 0: read in place */
void lki_padded_clear(const lki_padded *p, float *room);
/* The sample as it is to be read, with rows and planes at distances of lki_padded_row and lki_padded_plane. */
const float *lki_padded_sample(const lki_padded *p, const float *in, float *room);
int64_t lki_padded_row(const lki_padded *p);
int64_t lki_padded_plane(const lki_padded *p);

/* The range [*from, *to) of taps at first + tap dilation that lie in [0, size), empty ones as equal numbers. */
static inline void lki_taps_inside(
    int64_t first, int64_t kernel, int64_t dilation, int64_t size, int64_t *from, int64_t *to)
{
    *from = first < 0 ? (-first + dilation - 1) / dilation : 0;
    *to = first < size ? lki_min(kernel, (size - first + dilation - 1) / dilation) : 0;
    if (*to < *from)
        *to = *from;
}

/* The range of places whose tap, `tap` elements from the window's start, lies inside of an input of `size`. */
static inline void lki_places_inside(
    int64_t places, int64_t stride, int64_t before, int64_t tap, int64_t size, int64_t *from, int64_t *to)
{
    const int64_t least = before - tap; /* i stride >= least, i stride < least + size */
    *from = least <= 0 ? 0 : (least + stride - 1) / stride;
    *to = least + size <= 0 ? 0 : lki_min(places, (least + size + stride - 1) / stride);
    if (*to < *from)
        *to = *from;
}

#endif
