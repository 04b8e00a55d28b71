/* kl_normal: a sample's loss is 1/2 sum_i (exp(v[i]) + m[i]^2 - 1 - v[i]), m mean, v log variance; "kl" is the same
 * without the loss's share. Backward: dm = m grad_scale, dv = 1/2 (exp(v) - 1) grad_scale. */
#include "kern/ref/ref_int.h"
#include <math.h>

static lk_status forward(const lk_call *c)
{
    const int64_t n = lk_shape_row(&c->spec->in[0]);
    const double *const m = c->x[0], *const v = c->x[1];
    double kl = 0;

    for (int64_t i = 0; i < c->micro->valid * n; i++)
        kl += 0.5 * (exp(v[i]) + m[i] * m[i] - 1 - v[i]);
    c->micro->metrics[LK_METRIC_LOSS] = lki_or_one(c->spec->attr.loss.scale) * kl;
    c->micro->metrics[LK_METRIC_WEIGHT] = c->micro->metrics[LK_METRIC_COUNT] = (double)c->micro->valid;
    c->micro->metrics[LK_METRIC_NAMED] = kl;
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t n = lk_shape_row(&c->spec->in[0]), count = c->spec->in[0].dim[0] * n;
    const double *const m = c->x[0], *const v = c->x[1];
    double *const dm = c->dx[0], *const dv = c->dx[1];

    for (int64_t i = 0; i < count; i++) {
        const double g = i < c->micro->valid * n ? lki_or_one(c->spec->attr.loss.scale) * c->micro->grad_scale : 0;
        if (dm)
            dm[i] = g * m[i];
        if (dv)
            dv[i] = g * 0.5 * (exp(v[i]) - 1);
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_kl_normal = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
