/* Copies of arrays whose elements lie in another order or at other distances: what reorder, flatten, permute, concat, slice and pad do.
 * Elements are 2 or 4 bytes; what they hold does not matter. */
#ifndef LK_KERN_CUDA_COPY_CUH
#define LK_KERN_CUDA_COPY_CUH

#include "kern/cuda/cuda_int.h"

/* Indices in the order in which `to` lies in memory, and how many elements apart neighbours along each lie in both arrays. */
struct lki_walk {
    int n;
    int64_t size[LK_MAX_DIMS], from[LK_MAX_DIMS], to[LK_MAX_DIMS];
};

/* How far apart neighbours along each dimension of an array lie. */
void lki_steps(int n, const int64_t *size, int64_t *out);
/* Copies each element, the arrays apart. */
LK_MUST_USE lk_status lki_walk_copy(size_t element, const lki_walk *w, const void *from, void *to);
/* to [batch][cols][rows] = from [batch][rows][cols], apart. */
LK_MUST_USE lk_status lki_turn(size_t element, int64_t batch, int64_t rows, int64_t cols, const void *from, void *to);

/* A part of `size` places from place `at` of an array of `whole`, all in the order in memory. */
struct lki_box {
    int n;
    int64_t size[LK_MAX_DIMS], whole[LK_MAX_DIMS], at[LK_MAX_DIMS];
};

/* From lists by dimension of values that are, or are part of, one of that shape and layout. */
lki_box lki_box_make(const lk_shape *s, lk_layout layout, const int64_t *size, const int64_t *whole, const int64_t *at);
/* part = the box of `whole`; the box of `whole` = part, the rest of it stays; the same, and the rest is filled with an element of those bits. */
LK_MUST_USE lk_status lki_box_take(size_t element, const lki_box *b, const void *whole, void *part);
LK_MUST_USE lk_status lki_box_put(size_t element, const lki_box *b, const void *part, void *whole);
LK_MUST_USE lk_status lki_box_put_filled(size_t element, const lki_box *b, const void *part, void *whole, uint32_t fill);

/* Spatial, and kept channels last. */
static inline bool lki_channels_last(const lk_shape *s, lk_layout layout)
{
    return lk_shape_spatial(s) && layout == LK_LAYOUT_NHWC;
}

#endif
