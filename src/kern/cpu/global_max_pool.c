/* global_max_pool: the largest of all places of a channel. Saved: which, as its number. */
#include "kern/cpu/cpu_int.h"
#include <string.h>

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const size_t bytes = (size_t)lk_shape_count(&s->out) * sizeof(int32_t);
    *out = (lk_kern_plan){.saved_bytes = s->training ? bytes : 0, .scratch_forward = s->training ? 0 : bytes};
    if (lki_shape_area(&s->in[0]) > INT32_MAX)
        return LK_FAIL(LK_E_UNSUPPORTED, "more than 2^31 - 1 places in a channel");
    return LK_OK;
}

/* The next place of n channels: takes what is larger, or the first NaN. */
LK_CLONES static void take(int64_t n, int32_t p, const float *restrict x, float *restrict y, int32_t *restrict place)
{
    for (int64_t i = 0; i < n; i++) {
        const bool more = !(x[i] <= y[i]) & (y[i] == y[i]);
        y[i] = more ? x[i] : y[i];
        place[i] = more ? p : place[i];
    }
}

static lk_status forward(const lk_call *c)
{
    const lk_shape *const s = &c->spec->in[0];
    const bool last = c->spec->in_layout == LK_LAYOUT_NHWC;
    const int64_t batch = s->dim[0] * (last ? 1 : s->dim[1]), channels = last ? s->dim[1] : 1, area = lki_shape_area(s);
    const float *x = c->x[0];
    float *y = c->y;
    int32_t *place = c->saved ? c->saved : c->scratch;
    for (int64_t b = 0; b < batch; b++, x += area * channels, y += channels, place += channels) {
        lki_copy(channels, x, y);
        memset(place, 0, (size_t)channels * sizeof *place);
        for (int64_t p = 1; p < area; p++)
            take(channels, (int32_t)p, x + p * channels, y, place);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_shape *const s = &c->spec->in[0];
    const bool last = c->spec->in_layout == LK_LAYOUT_NHWC;
    const int64_t channels = s->dim[1], area = lki_shape_area(s);
    const float *const dy = c->dy;
    const int32_t *const place = c->saved;
    float *const dx = c->dx[0];
    if (!dx)
        return LK_OK;
    memset(dx, 0, (size_t)lk_shape_count(s) * sizeof *dx);
    for (int64_t o = 0; o < s->dim[0] * channels; o++)
        dx[last ? (o / channels * area + place[o]) * channels + o % channels : o * area + place[o]] = dy[o];
    return LK_OK;
}

const lk_kernel lk_kern_cpu_global_max_pool = {
    .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
