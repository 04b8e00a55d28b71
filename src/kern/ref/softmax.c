/* softmax: y[i] = exp(x[i]) / sum_k exp(x[k]) along the last dimension, the largest x taken out so that no exp
 * overflows. Backward: dx[i] = y[i] (dy[i] - sum_k dy[k] y[k]). */
#include "kern/ref/ref_int.h"
#include <math.h>

static lk_status forward(const lk_call *c)
{
    const int64_t rows = lki_shape_lead(&c->spec->in[0]), n = lki_shape_last(&c->spec->in[0]);
    const double *x = c->x[0];
    double *y = c->y;
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        double top = x[0], sum = 0;
        for (int64_t i = 1; i < n; i++)
            top = fmax(top, x[i]);
        for (int64_t i = 0; i < n; i++) {
            y[i] = exp(x[i] - top);
            sum += y[i];
        }
        for (int64_t i = 0; i < n; i++)
            y[i] /= sum;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t rows = lki_shape_lead(&c->spec->in[0]), n = lki_shape_last(&c->spec->in[0]);
    const double *y = c->y, *dy = c->dy;
    double *dx = c->dx[0];
    if (!dx)
        return LK_OK;
    for (int64_t r = 0; r < rows; r++, y += n, dy += n, dx += n) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += dy[i] * y[i];
        for (int64_t i = 0; i < n; i++)
            dx[i] = y[i] * (dy[i] - sum);
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_softmax = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
