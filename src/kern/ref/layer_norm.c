/* layer_norm (Ba, Kiros & Hinton 2016, "Layer normalization"): h = (x - mean) / sqrt(var + eps), y = w h + b, mean and
 * (biased) variance over the last dimension of n. Backward, g = dy w: dw = sum dy h, db = sum dy over all vectors,
 * dx = (g - mean(g) - h mean(g h)) / sqrt(var + eps). */
#include "kern/ref/ref_int.h"
#include <math.h>
#include <string.h>

static void moments(int64_t n, const double *x, double eps, double *mean, double *inv)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *inv = 1 / sqrt(squares / (double)n + eps);
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_norm *const a = &c->spec->attr.norm;
    const int64_t rows = lki_shape_lead(&c->spec->in[0]), n = lki_shape_last(&c->spec->in[0]);
    const double *x = ref_residual_forward(c), *const w = c->param[0], *const b = a->bias ? c->param[1] : NULL;
    double *y = c->y;
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        double mean, inv;
        moments(n, x, a->eps, &mean, &inv);
        for (int64_t i = 0; i < n; i++)
            y[i] = w[i] * (x[i] - mean) * inv + (b ? b[i] : 0);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_norm *const a = &c->spec->attr.norm;
    const int64_t rows = lki_shape_lead(&c->spec->in[0]), n = lki_shape_last(&c->spec->in[0]);
    const double *x = ref_residual_backward(c), *const w = c->param[0], *dy = c->dy, *dsum = c->dsum;
    double *dx = c->dx[0], *const dw = c->dparam[0], *const db = a->bias ? c->dparam[1] : NULL;
    if (dw)
        memset(dw, 0, (size_t)n * sizeof *dw);
    if (db)
        memset(db, 0, (size_t)n * sizeof *db);
    for (int64_t r = 0; r < rows; r++, x += n, dy += n) {
        double mean, inv, g = 0, gh = 0;
        moments(n, x, a->eps, &mean, &inv);
        for (int64_t i = 0; i < n; i++) {
            const double h = (x[i] - mean) * inv;
            if (dw)
                dw[i] += dy[i] * h;
            if (db)
                db[i] += dy[i];
            g += dy[i] * w[i] / (double)n;
            gh += dy[i] * w[i] * h / (double)n;
        }
        for (int64_t i = 0; dx && i < n; i++)
            dx[i] = (dy[i] * w[i] - g - (x[i] - mean) * inv * gh) * inv + (dsum ? dsum[i] : 0);
        dx = dx ? dx + n : NULL;
        dsum = dsum ? dsum + n : NULL;
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_layer_norm = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .residual = true,
    .forward = forward,
    .backward = backward};
