/* mse: a sample's loss is 1/n sum_i (x[i] - t[i])^2 over its n elements; "abs_error" sums 1/n sum_i |x[i] - t[i]|.
 * Backward: dx[i] = 2/n (x[i] - t[i]) grad_scale = -dt[i], 0 in padding rows. */
#include "kern/ref/ref_int.h"
#include <math.h>

static lk_status forward(const lk_call *c)
{
    const int64_t n = lk_shape_row(&c->spec->in[0]);
    const double *const x = c->x[0], *const t = c->x[1];
    double loss = 0, abs_error = 0;

    for (int64_t b = 0; b < c->micro->valid; b++)
        for (int64_t i = b * n; i < (b + 1) * n; i++) {
            const double d = x[i] - t[i];
            loss += d * d / (double)n;
            abs_error += fabs(d) / (double)n;
        }
    c->micro->metrics[LK_METRIC_LOSS] = loss;
    c->micro->metrics[LK_METRIC_WEIGHT] = c->micro->metrics[LK_METRIC_COUNT] = (double)c->micro->valid;
    c->micro->metrics[LK_METRIC_NAMED] = abs_error;
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t rows = c->spec->in[0].dim[0], n = lk_shape_row(&c->spec->in[0]);
    const double *const x = c->x[0], *const t = c->x[1];
    double *const dx = c->dx[0], *const dt = c->dx[1];

    for (int64_t b = 0; b < rows; b++)
        for (int64_t i = b * n; i < (b + 1) * n; i++) {
            const double g = b < c->micro->valid ? 2 * (x[i] - t[i]) / (double)n * c->micro->grad_scale : 0;
            if (dx)
                dx[i] = g;
            if (dt)
                dt[i] = -g;
        }
    return LK_OK;
}

const lk_kernel lk_kern_ref_mse = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
