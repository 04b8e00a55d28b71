/* Boxes of neighbouring places in arrays of several dimensions: what concat, slice and pad copy. */
#ifndef LK_KERN_CPU_BOX_H
#define LK_KERN_CPU_BOX_H

#include "kern/cpu/cpu_int.h"

/* Sizes, or anything else that is kept by dimension, in the order in memory of that shape and layout. */
void lki_memory_order(const lk_shape *s, lk_layout layout, const int64_t by_dim[LK_MAX_DIMS], int64_t out[LK_MAX_DIMS]);
/* Copies `size` [ndim] places from place `from` of an array of `from_dim` to place `to` of one of `to_dim`, all in the
 * order in memory. */
void lki_box_copy(int ndim, const int64_t *size, const float *in, const int64_t *in_dim, const int64_t *in_at, float *out,
    const int64_t *out_dim, const int64_t *out_at);

#endif
