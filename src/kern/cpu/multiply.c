/* multiply: two values of one shape, or [B,C,...] with a number for each channel of each sample. */
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/lanes.h"
#include <string.h>

/* The second input is one number a channel, and that for more than one place. */
static bool by_channel(const lk_opspec *s)
{
    return lk_shape_count(&s->in[0]) > lk_shape_count(&s->in[1]);
}

/* Sums of a sample's places, in float in blocks. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){.scratch_backward = by_channel(s) ? lki_floats(s->in[0].dim[1]) : 0};
    return LK_OK;
}

LK_CLONES static void product(int64_t n, const float *a, const float *b, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] * b[i];
}

/* One sample's x [places][channels] (nhwc) or [channels][places] times gate [channels]. */
LK_CLONES static void gated(
    int64_t channels, int64_t places, bool nhwc, const float *x, const float *restrict gate, float *y)
{
    if (nhwc) {
        for (int64_t p = 0; p < places; p++, x += channels, y += channels) {
            LK_INDEPENDENT
            for (int64_t i = 0; i < channels; i++)
                y[i] = x[i] * gate[i];
        }
        return;
    }
    for (int64_t i = 0; i < channels; i++, x += places, y += places) {
        const float g = gate[i];
        LK_INDEPENDENT
        for (int64_t p = 0; p < places; p++)
            y[p] = x[p] * g;
    }
}

/* out [channels] = sums over places of dy x. */
LK_CLONES static void gate_gradient(int64_t channels, int64_t places, bool nhwc, const float *x, const float *dy,
    float *restrict block, float *restrict out)
{
    enum { BLOCK = 64 };
    if (!nhwc) {
        for (int64_t k = 0; k < channels; k++, x += places, dy += places) {
            LKI_RUN_SUM(out[k], places, LKI_VEC(x + i) * LKI_VEC(dy + i), x[i] * dy[i]);
        }
        return;
    }
    memset(out, 0, (size_t)channels * sizeof *out);
    for (int64_t p0 = 0; p0 < places; p0 += BLOCK) {
        const int64_t p1 = lki_min(p0 + BLOCK, places);
        memset(block, 0, (size_t)channels * sizeof *block);
        for (int64_t p = p0; p < p1; p++, x += channels, dy += channels)
            for (int64_t i = 0; i < channels; i++)
                block[i] += x[i] * dy[i];
        for (int64_t i = 0; i < channels; i++)
            out[i] += block[i];
    }
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    if (!by_channel(s)) {
        product(lk_shape_count(&s->out), c->x[0], c->x[1], c->y);
        return LK_OK;
    }
    const int64_t channels = s->in[0].dim[1], sample = lk_shape_row(&s->in[0]);
    for (int64_t b = 0; b < s->in[0].dim[0]; b++)
        gated(channels, sample / channels, lki_is_nhwc(&s->in[0], s->in_layout), (const float *)c->x[0] + b * sample,
            (const float *)c->x[1] + b * channels, (float *)c->y + b * sample);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    if (!by_channel(s)) {
        const int64_t n = lk_shape_count(&s->out);
        for (int k = 1; k >= 0; k--) /* dx[0] may be dy, so it comes last */
            if (c->dx[k])
                product(n, c->dy, c->x[1 - k], c->dx[k]);
        return LK_OK;
    }
    const int64_t channels = s->in[0].dim[1], sample = lk_shape_row(&s->in[0]), places = sample / channels;
    const bool nhwc = lki_is_nhwc(&s->in[0], s->in_layout);
    for (int64_t b = 0; b < s->in[0].dim[0]; b++) {
        const float *const dy = (const float *)c->dy + b * sample;
        if (c->dx[1])
            gate_gradient(channels, places, nhwc, (const float *)c->x[0] + b * sample, dy, c->scratch,
                (float *)c->dx[1] + b * channels);
        if (c->dx[0])
            gated(channels, places, nhwc, dy, (const float *)c->x[1] + b * channels, (float *)c->dx[0] + b * sample);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_multiply = {
    .in_place = true, .in_place_dx = true, .plan = plan, .forward = forward, .backward = backward};
