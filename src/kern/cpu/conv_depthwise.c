/* Depthwise convolution: a filter for each channel, so there is nothing for tiles to share. Vectors run over channels,
 * eight and four times eight at a time; the last ones overlap those before, to the same bits. */
#include "kern/cpu/conv_pass.h"
#include <string.h>

typedef float eight __attribute__((vector_size(32)));
typedef float eight_at __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t eight_mask __attribute__((vector_size(32)));
#define AT(p) ((eight)(*(const eight_at *)(p)))
#define STORE(p, v) (*(eight_at *)(p) = (v))
enum { EIGHT = 8, WIDE = 32 };
#define INLINE static inline __attribute__((always_inline))

/* The weights [tap][c] of C channels, and behind them those with the taps turned round: a transpose of stride 1 is a
 * convolution with them. */
size_t lki_depthwise_packed_bytes(const lki_conv *g)
{
    return lki_floats(2 * g->c * lki_product(g->kernel));
}

void lki_depthwise_pack(const lki_conv *g, const float *w, float *packed)
{
    const int64_t taps = lki_product(g->kernel);
    for (int64_t t = 0; t < taps; t++)
        for (int64_t c = 0; c < g->c; c++)
            packed[t * g->c + c] = packed[(2 * taps - 1 - t) * g->c + c] = w[c * taps + t];
}

/* The taps of a window that lie inside. */
typedef struct window {
    int64_t first[LK_MAX_AXES]; /* of the window's corner, may lie outside */
    int64_t from[LK_MAX_AXES], to[LK_MAX_AXES];
} window;

INLINE void window_set(const lki_conv *g, int axis, int64_t place, window *v)
{
    v->first[axis] = place * g->stride[axis] - g->before[axis];
    lki_taps_inside(v->first[axis], g->kernel[axis], g->dilation[axis], g->in[axis], &v->from[axis], &v->to[axis]);
}

/* The loop over the taps of a window: `x_` the input's place, `w_` the tap's weights, of C channels. */
#define EACH_TAP(g, v, x, w, x_, w_) \
    for (int64_t i_ = (v)->from[AT_D]; i_ < (v)->to[AT_D]; i_++) \
        for (int64_t j_ = (v)->from[AT_H]; j_ < (v)->to[AT_H]; j_++) \
            for (int64_t k_ = (v)->from[AT_W], at_ = (((v)->first[AT_D] + i_ * (g)->dilation[AT_D]) * (g)->in[AT_H] + \
                                                         (v)->first[AT_H] + j_ * (g)->dilation[AT_H]) * \
                                                         (g)->in[AT_W] + \
                                                     (v)->first[AT_W]; \
                 k_ < (v)->to[AT_W]; k_++) \
                for (const float *x_ = (x) + (at_ + k_ * (g)->dilation[AT_W]) * (g)->c, \
                                 *w_ = (w) + ((i_ * (g)->kernel[AT_H] + j_) * (g)->kernel[AT_W] + k_) * (g)->c; \
                     x_; x_ = NULL)

/* n eights of channels of one place. */
INLINE void place_eights(
    int n, const lki_conv *g, const window *v, const float *x, const float *w, const float *bias, bool relu, float *y)
{
    const eight zero = {0};
    eight sum[WIDE / EIGHT];
    for (int e = 0; e < n; e++)
        sum[e] = bias ? AT(bias + e * EIGHT) : zero;
    EACH_TAP(g, v, x, w, from, weight)
    for (int e = 0; e < n; e++)
        sum[e] += AT(from + e * EIGHT) * AT(weight + e * EIGHT);
    for (int e = 0; e < n; e++)
        STORE(y + e * EIGHT, relu ? (eight)((eight_mask)sum[e] & ~(sum[e] < zero)) : sum[e]);
}

INLINE void place_one(
    const lki_conv *g, const window *v, const float *x, const float *w, const float *bias, bool relu, float *y)
{
    float sum = bias ? *bias : 0;
    EACH_TAP(g, v, x, w, from, weight)
    sum += *from * *weight;
    *y = relu && sum < 0 ? 0 : sum;
}

LK_CLONES static void down(const lki_conv *g, const float *x, const float *w, const float *bias, bool relu, float *y)
{
    const int64_t c = g->c;
    window v;
    for (int64_t b = 0; b < g->batch; b++, x += lki_product(g->in) * c)
        for (int64_t d = 0; d < g->out[AT_D]; d++) {
            window_set(g, AT_D, d, &v);
            for (int64_t h = 0; h < g->out[AT_H]; h++) {
                window_set(g, AT_H, h, &v);
                for (int64_t k = 0; k < g->out[AT_W]; k++, y += c) {
                    window_set(g, AT_W, k, &v);
                    int64_t i = 0;
                    for (; i + WIDE <= c; i += WIDE)
                        place_eights(WIDE / EIGHT, g, &v, x + i, w + i, bias ? bias + i : NULL, relu, y + i);
                    for (; i < c && c >= EIGHT; i += EIGHT) {
                        const int64_t at = lki_min(i, c - EIGHT);
                        place_eights(1, g, &v, x + at, w + at, bias ? bias + at : NULL, relu, y + at);
                    }
                    for (; i < c; i++)
                        place_one(g, &v, x + i, w + i, bias ? bias + i : NULL, relu, y + i);
                }
            }
        }
}

void lki_depthwise_down(const lki_conv *g, const float *x, const float *packed, const float *bias, bool relu, float *y)
{
    down(g, x, packed, bias, relu, y);
}

/* Each place of y added to those of x under its window. x holds the bias, or zeros. */
LK_CLONES static void scatter(const lki_conv *g, const float *restrict y, const float *restrict w, float *restrict x)
{
    window v;
    for (int64_t b = 0; b < g->batch; b++, x += lki_product(g->in) * g->c)
        for (int64_t d = 0; d < g->out[AT_D]; d++) {
            window_set(g, AT_D, d, &v);
            for (int64_t h = 0; h < g->out[AT_H]; h++) {
                window_set(g, AT_H, h, &v);
                for (int64_t k = 0; k < g->out[AT_W]; k++, y += g->c) {
                    window_set(g, AT_W, k, &v);
                    EACH_TAP(g, &v, x, w, from, weight)
                    {
                        float *const to = x + (from - x);
                        for (int64_t i = 0; i < g->c; i++)
                            to[i] += y[i] * weight[i];
                    }
                }
            }
        }
}

void lki_depthwise_up(const lki_conv *g, const float *y, const float *packed, const float *bias, bool relu, float *x)
{
    const int64_t taps = lki_product(g->kernel), places = g->batch * lki_product(g->in);
    if (g->stride[AT_D] == 1 && g->stride[AT_H] == 1 && g->stride[AT_W] == 1) {
        lki_conv turned = *g;
        for (int i = 0; i < LK_MAX_AXES; i++) {
            turned.in[i] = g->out[i];
            turned.out[i] = g->in[i];
            turned.before[i] = (g->kernel[i] - 1) * g->dilation[i] - g->before[i];
        }
        down(&turned, y, packed + taps * g->c, bias, relu, x);
        return;
    }
    if (bias)
        for (int64_t i = 0; i < places; i++)
            memcpy(x + i * g->c, bias, (size_t)g->c * sizeof *x);
    else
        memset(x, 0, (size_t)(places * g->c) * sizeof *x);
    scatter(g, y, packed, x);
    if (relu)
        lki_relu(places * g->c, x, x);
}

/* ---- the gradient of the weights: row by row of the output in registers, then in memory ---- */
size_t lki_depthwise_scratch_bytes(const lki_conv *g)
{
    return lki_floats(g->c * lki_product(g->kernel));
}

/* sum[.] += over the places of a row dy[.] x[.], n eights of channels. */
INLINE void row_eights(
    int n, int64_t places, const float *dy, const float *x, int64_t dy_step, int64_t x_step, float *sum)
{
    eight s[WIDE / EIGHT] = {{0}};
    for (int64_t p = 0; p < places; p++, dy += dy_step, x += x_step)
        for (int e = 0; e < n; e++)
            s[e] += AT(dy + e * EIGHT) * AT(x + e * EIGHT);
    for (int e = 0; e < n; e++)
        STORE(sum + e * EIGHT, AT(sum + e * EIGHT) + s[e]);
}

INLINE void row_one(int64_t places, const float *dy, const float *x, int64_t dy_step, int64_t x_step, float *sum)
{
    float s = 0;
    for (int64_t p = 0; p < places; p++, dy += dy_step, x += x_step)
        s += *dy * *x;
    *sum += s;
}

/* One row of the output under one kernel row: a tap after the other. */
LK_CLONES static void row_gradient(const lki_conv *g, const float *x, const float *dy, float *sum)
{
    const int64_t c = g->c, x_step = g->stride[AT_W] * c;
    for (int64_t k = 0; k < g->kernel[AT_W]; k++, sum += c) {
        const int64_t tap = k * g->dilation[AT_W];
        int64_t from, to, i = 0;
        lki_places_inside(g->out[AT_W], g->stride[AT_W], g->before[AT_W], tap, g->in[AT_W], &from, &to);
        if (to <= from)
            continue;
        const float *const u = dy + from * c, *const v = x + (from * g->stride[AT_W] - g->before[AT_W] + tap) * c;
        for (; i + WIDE <= c; i += WIDE)
            row_eights(WIDE / EIGHT, to - from, u + i, v + i, c, x_step, sum + i);
        for (; i + EIGHT <= c; i += EIGHT)
            row_eights(1, to - from, u + i, v + i, c, x_step, sum + i);
        for (; i < c; i++)
            row_one(to - from, u + i, v + i, c, x_step, sum + i);
    }
}

void lki_depthwise_weights(const lki_conv *g, const float *x, const float *dy, float *dw, void *scratch)
{
    const int64_t taps = lki_product(g->kernel), row = g->in[AT_W] * g->c;
    float *const sum = scratch;
    window v;
    memset(sum, 0, (size_t)(g->c * taps) * sizeof *sum);
    for (int64_t b = 0; b < g->batch; b++, x += lki_product(g->in) * g->c)
        for (int64_t d = 0; d < g->out[AT_D]; d++) {
            window_set(g, AT_D, d, &v);
            for (int64_t h = 0; h < g->out[AT_H]; h++, dy += g->out[AT_W] * g->c) {
                window_set(g, AT_H, h, &v);
                for (int64_t i = v.from[AT_D]; i < v.to[AT_D]; i++)
                    for (int64_t j = v.from[AT_H]; j < v.to[AT_H]; j++)
                        row_gradient(g,
                            x + ((v.first[AT_D] + i * g->dilation[AT_D]) * g->in[AT_H] + v.first[AT_H] +
                                    j * g->dilation[AT_H]) *
                                    row,
                            dy, sum + (i * g->kernel[AT_H] + j) * g->kernel[AT_W] * g->c);
            }
        }
    lki_transpose(taps, g->c, sum, dw);
}
