/* What the pooling operations share: windows over NHWC, eight channels at a time.
 *
 * The last eight channels of a place overlap the ones before, or, with fewer than eight channels, reach into the next
 * place, which is written after; so at the very end of the buffers some places go channel by channel. */
#ifndef LK_KERN_CPU_POOL_INT_H
#define LK_KERN_CPU_POOL_INT_H

#include "kern/cpu/cpu_int.h"

typedef struct lki_pool {
    int64_t batch, c, h, w, oh, ow, kh, kw, sh, sw, ph, pw;
} lki_pool;

/* Plain is NHWC of one channel with more samples. */
static inline lki_pool lki_pool_make(const lk_opspec *s)
{
    const lk_attr_pool2d *const a = &s->attr.pool2d;
    const int64_t *const x = s->in[0].dim, *const y = s->out.dim;
    const bool nhwc = s->in_layout == LK_LAYOUT_NHWC;
    return (lki_pool){nhwc ? x[0] : x[0] * x[1], nhwc ? x[1] : 1, x[2], x[3], y[2], y[3], a->kernel[0], a->kernel[1],
        a->stride[0], a->stride[1], a->pad[0], a->pad[1]};
}

/* Windows of 2 x 2 that tile the input, which has channels enough for eights. */
static inline bool lki_pool_is_2x2(const lki_pool *g)
{
    return g->kh == 2 && g->kw == 2 && g->sh == 2 && g->sw == 2 && g->ph == 0 && g->pw == 0 && 2 * g->oh == g->h &&
           2 * g->ow == g->w && g->c >= 3;
}

/* How many places from the start on eights may reach ahead: all but the last 8 elements' worth. */
static inline int64_t lki_pool_fast(const lki_pool *g)
{
    const int64_t all = g->batch * g->oh * g->ow;
    return g->c < 8 ? all - lki_min(all, (8 + g->c - 1) / g->c) : all;
}

/* The same for row r of the output. */
static inline int64_t lki_pool_fast_row(const lki_pool *g, int64_t r)
{
    const int64_t left = lki_pool_fast(g) - r * g->ow;
    return left < 0 ? 0 : lki_min(left, g->ow);
}

/* The part of a window that lies in the input: rows [h0, h1) and columns [w0, w1), counted from the window's corner. */
typedef struct lki_window {
    int64_t corner; /* element of the corner, which may lie outside */
    int64_t h0, h1, w0, w1;
} lki_window;

static inline lki_window lki_window_at(const lki_pool *g, int64_t oh, int64_t ow)
{
    const int64_t h = oh * g->sh - g->ph, w = ow * g->sw - g->pw;
    return (lki_window){
        (h * g->w + w) * g->c, h < 0 ? -h : 0, lki_min(g->kh, g->h - h), w < 0 ? -w : 0, lki_min(g->kw, g->w - w)};
}

typedef float lki_eight __attribute__((vector_size(32)));
typedef float lki_eight_at __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t lki_eight_int __attribute__((vector_size(32)));
#define LK_EIGHT(p) ((lki_eight)(*(const lki_eight_at *)(p)))
#define LK_EIGHT_STORE(p, v) (*(lki_eight_at *)(p) = (v))

#endif
