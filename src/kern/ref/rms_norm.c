/* rms_norm (Zhang & Sennrich 2019, "Root mean square layer normalization"): h = x / sqrt(mean(x^2) + eps), y = w h,
 * the mean over the last dimension of n. Backward, g = dy w: dw = sum dy h over all vectors,
 * dx = (g - h mean(g h)) / sqrt(mean(x^2) + eps). */
#include "kern/ref/ref_int.h"
#include <math.h>
#include <string.h>

static double inverse(int64_t n, const double *x, double eps)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    return 1 / sqrt(squares / (double)n + eps);
}

static lk_status forward(const lk_call *c)
{
    const int64_t rows = lki_shape_lead(&c->spec->in[0]), n = lki_shape_last(&c->spec->in[0]);
    const double *x = ref_residual_forward(c), *const w = c->param[0];
    double *y = c->y;
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        const double inv = inverse(n, x, c->spec->attr.norm.eps);
        for (int64_t i = 0; i < n; i++)
            y[i] = w[i] * x[i] * inv;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t rows = lki_shape_lead(&c->spec->in[0]), n = lki_shape_last(&c->spec->in[0]);
    const double *x = ref_residual_backward(c), *const w = c->param[0], *dy = c->dy, *dsum = c->dsum;
    double *dx = c->dx[0], *const dw = c->dparam[0];
    if (dw)
        memset(dw, 0, (size_t)n * sizeof *dw);
    for (int64_t r = 0; r < rows; r++, x += n, dy += n) {
        const double inv = inverse(n, x, c->spec->attr.norm.eps);
        double gh = 0;
        for (int64_t i = 0; i < n; i++) {
            if (dw)
                dw[i] += dy[i] * x[i] * inv;
            gh += dy[i] * w[i] * x[i] * inv / (double)n;
        }
        for (int64_t i = 0; dx && i < n; i++)
            dx[i] = (dy[i] * w[i] - x[i] * inv * gh) * inv + (dsum ? dsum[i] : 0);
        dx = dx ? dx + n : NULL;
        dsum = dsum ? dsum + n : NULL;
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_rms_norm = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .residual = true,
    .forward = forward,
    .backward = backward};
