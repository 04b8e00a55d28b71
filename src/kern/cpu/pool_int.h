/* What the pooling operations share: windows over D, H, W (1 for axes that a value has not), channels last, eight
 * channels at a time.
 *
 * The last eight channels of a place overlap the ones before, or, with fewer than eight channels, reach into the next
 * place, which is written after; so at the very end of the buffers some places go channel by channel. */
#ifndef LK_KERN_CPU_POOL_INT_H
#define LK_KERN_CPU_POOL_INT_H

#include "kern/cpu/cpu_int.h"

typedef struct lki_pool {
    int64_t batch, c;
    int64_t in[LK_MAX_AXES], out[LK_MAX_AXES], kernel[LK_MAX_AXES], stride[LK_MAX_AXES], pad[LK_MAX_AXES];
    int64_t places_in, places_out, taps;
} lki_pool;

/* Plain is channels last of one channel with more samples. */
static inline lki_pool lki_pool_make(const lk_opspec *s)
{
    const lk_attr_pool *const a = &s->attr.pool;
    const int64_t *const x = s->in[0].dim;
    const bool nhwc = s->in_layout == LK_LAYOUT_NHWC;
    lki_pool g = {.batch = nhwc ? x[0] : x[0] * x[1],
        .c = nhwc ? x[1] : 1,
        .places_in = lki_shape_area(&s->in[0]),
        .places_out = lki_shape_area(&s->out),
        .taps = 1};
    lki_axes_size(&s->in[0], g.in);
    lki_axes_size(&s->out, g.out);
    lki_axes(&s->in[0], a->kernel, 1, g.kernel);
    lki_axes(&s->in[0], a->stride, 1, g.stride);
    lki_axes(&s->in[0], a->pad, 0, g.pad);
    for (int i = 0; i < LK_MAX_AXES; i++)
        g.taps *= g.kernel[i];
    return g;
}

/* Windows of 2 x 2 that tile the input, which has channels enough for eights. */
static inline bool lki_pool_is_2x2(const lki_pool *g)
{
    bool tiles = g->kernel[AT_D] == 1 && g->stride[AT_D] == 1 && g->c >= 3;
    for (int i = AT_H; i <= AT_W; i++)
        tiles = tiles && g->kernel[i] == 2 && g->stride[i] == 2 && g->pad[i] == 0 && 2 * g->out[i] == g->in[i];
    return tiles;
}

/* Rows of the output, of all samples and planes. */
static inline int64_t lki_pool_rows(const lki_pool *g)
{
    return g->batch * g->out[AT_D] * g->out[AT_H];
}

/* How many places from the start on eights may reach ahead: all but the last 8 elements' worth. */
static inline int64_t lki_pool_fast(const lki_pool *g)
{
    const int64_t all = lki_pool_rows(g) * g->out[AT_W];
    return g->c < 8 ? all - lki_min(all, (8 + g->c - 1) / g->c) : all;
}

/* The same for row r of the output. */
static inline int64_t lki_pool_fast_row(const lki_pool *g, int64_t r)
{
    const int64_t left = lki_pool_fast(g) - r * g->out[AT_W];
    return left < 0 ? 0 : lki_min(left, g->out[AT_W]);
}

/* The part of a window that lies in the input, as taps [from, to) on each axis. */
typedef struct lki_window {
    int64_t corner; /* element of the corner, which may lie outside */
    int64_t from[LK_MAX_AXES], to[LK_MAX_AXES];
} lki_window;

static inline lki_window lki_window_at(const lki_pool *g, int64_t d, int64_t h, int64_t w)
{
    const int64_t place[LK_MAX_AXES] = {d, h, w};
    lki_window t = {0};
    int64_t step = g->c;
    for (int i = LK_MAX_AXES - 1; i >= 0; i--) {
        const int64_t at = place[i] * g->stride[i] - g->pad[i];
        t.corner += at * step;
        t.from[i] = at < 0 ? -at : 0;
        t.to[i] = lki_min(g->kernel[i], g->in[i] - at);
        step *= g->in[i];
    }
    return t;
}

/* The loop over the places of a sample's output. */
#define LK_EACH_PLACE(g, d, h, w) \
    for (int64_t d = 0; d < (g)->out[AT_D]; d++) \
        for (int64_t h = 0; h < (g)->out[AT_H]; h++) \
            for (int64_t w = 0; w < (g)->out[AT_W]; w++)

/* The element under a tap, from the corner; and the tap's number. */
static inline int64_t lki_window_element(const lki_pool *g, int64_t d, int64_t h, int64_t w)
{
    return ((d * g->in[AT_H] + h) * g->in[AT_W] + w) * g->c;
}

static inline int64_t lki_window_tap(const lki_pool *g, int64_t d, int64_t h, int64_t w)
{
    return (d * g->kernel[AT_H] + h) * g->kernel[AT_W] + w;
}

/* The loop over the taps of a window that lie in the input, in D H W order. */
#define LK_EACH_TAP(t, d, h, w) \
    for (int64_t d = (t).from[AT_D]; d < (t).to[AT_D]; d++) \
        for (int64_t h = (t).from[AT_H]; h < (t).to[AT_H]; h++) \
            for (int64_t w = (t).from[AT_W]; w < (t).to[AT_W]; w++)

typedef float lki_eight __attribute__((vector_size(32)));
typedef float lki_eight_at __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t lki_eight_int __attribute__((vector_size(32)));
#define LK_EIGHT(p) ((lki_eight)(*(const lki_eight_at *)(p)))
#define LK_EIGHT_STORE(p, v) (*(lki_eight_at *)(p) = (v))

#endif
