/* global_avg_pool: the mean over all places of a channel, [B,C,...] -> [B,C]. */
#include "kern/cpu/cpu_int.h"

/* Sum in fixed lanes. */
LK_CLONES static float sum(int64_t n, const float *x)
{
    enum { LANES = 16 };
    float lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += x[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += x[i];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

LK_CLONES static void scale(int64_t n, float factor, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
}

static lk_status forward(const lk_call *c)
{
    const lk_shape *const s = &c->spec->in[0];
    const int64_t channels = s->dim[1], area = lki_shape_area(s);
    const float *x = c->x[0];
    float *y = c->y;
    const float share = 1 / (float)area;
    for (int64_t b = 0; b < s->dim[0]; b++, x += channels * area, y += channels) {
        if (c->spec->in_layout == LK_LAYOUT_NHWC)
            lki_column_sums(area, channels, x, y);
        else
            for (int64_t i = 0; i < channels; i++)
                y[i] = sum(area, x + i * area);
        scale(channels, share, y);
    }
    return LK_OK;
}

LK_CLONES static void spread(
    int64_t channels, int64_t area, bool nhwc, float share, const float *restrict dy, float *restrict dx)
{
    if (nhwc) {
        for (int64_t p = 0; p < area; p++)
            for (int64_t i = 0; i < channels; i++)
                dx[p * channels + i] = dy[i] * share;
        return;
    }
    for (int64_t i = 0; i < channels; i++)
        for (int64_t p = 0; p < area; p++)
            dx[i * area + p] = dy[i] * share;
}

static lk_status backward(const lk_call *c)
{
    const lk_shape *const s = &c->spec->in[0];
    const int64_t channels = s->dim[1], area = lki_shape_area(s);
    const float *dy = c->dy;
    float *dx = c->dx[0];
    if (!dx)
        return LK_OK;
    for (int64_t b = 0; b < s->dim[0]; b++, dx += channels * area, dy += channels)
        spread(channels, area, c->spec->in_layout == LK_LAYOUT_NHWC, 1 / (float)area, dy, dx);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_global_avg_pool = {.out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
