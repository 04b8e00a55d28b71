/* batch_norm (Ioffe & Szegedy 2015, "Batch normalization", algorithm 1): y = act(w (x - mean) / sqrt(var + eps) + b), a
 * channel at a time, mean and (biased) variance over the n elements of the channel in the valid rows; the same two
 * numbers normalize the padding rows. Not in training: running mean and variance in their place. The fresh statistics
 * are mean and n/(n-1) var, the unbiased variance, as in PyTorch (n = 1: var; n = 0: zeros). With `running` training does as
 * evaluation, there are no fresh statistics (zeros, at momentum 0), and dx = w / sqrt(var + eps) g. Backward (same paper,
 * section 3), h = (x - mean) / sqrt(var + eps), g = dy act'(.), sums over valid rows: db = sum g; dw = sum g h; dx = w
 * / sqrt(var + eps) (g - db/n - h dw/n), 0 in padding rows. */
#include "kern/ref/ref_int.h"
#include <math.h>

enum { WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR };

/* Saved: mean, then 1/sqrt(var + eps), of each channel. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){.saved_bytes = s->training ? 2 * (size_t)s->in[0].dim[1] * sizeof(double) : 0};
    return LK_OK;
}

/* Mean and variance of channel k in rows [0, valid). */
static void moments(const lk_call *c, int64_t k, double *mean, double *var)
{
    const int64_t channels = c->spec->in[0].dim[1], area = lki_shape_area(&c->spec->in[0]), n = c->micro->valid * area;
    const double *const x = c->x[0];
    double sum = 0, squares = 0;

    *mean = *var = 0;
    if (n == 0)
        return;
    for (int64_t b = 0; b < c->micro->valid; b++)
        for (int64_t i = 0; i < area; i++)
            sum += x[(b * channels + k) * area + i];
    *mean = sum / (double)n;
    for (int64_t b = 0; b < c->micro->valid; b++)
        for (int64_t i = 0; i < area; i++) {
            const double d = x[(b * channels + k) * area + i] - *mean;
            squares += d * d;
        }
    *var = squares / (double)n;
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_batch_norm *const a = &s->attr.batch_norm;
    const int64_t rows = s->in[0].dim[0], channels = s->in[0].dim[1], area = lki_shape_area(&s->in[0]),
                  n = c->micro->valid * area;
    const double *const x = c->x[0], *const w = c->param[WEIGHT], *const bias = c->param[BIAS];
    double *const y = c->y, *const saved = c->saved;
    double *const fresh_mean = c->dparam[RUNNING_MEAN], *const fresh_var = c->dparam[RUNNING_VAR];

    for (int64_t k = 0; k < channels; k++) {
        double mean, var;
        if (s->training && !a->running) {
            moments(c, k, &mean, &var);
            if (fresh_mean)
                fresh_mean[k] = mean;
            if (fresh_var)
                fresh_var[k] = n > 1 ? var * (double)n / (double)(n - 1) : var;
        } else {
            if (fresh_mean)
                fresh_mean[k] = 0;
            if (fresh_var)
                fresh_var[k] = 0;
            mean = ((const double *)c->param[RUNNING_MEAN])[k];
            var = ((const double *)c->param[RUNNING_VAR])[k];
        }
        const double inv = 1 / sqrt(var + a->eps);
        if (s->training) {
            saved[k] = mean;
            saved[channels + k] = inv;
        }
        for (int64_t b = 0; b < rows; b++)
            for (int64_t i = 0; i < area; i++) {
                const int64_t at = (b * channels + k) * area + i;
                const double v = w[k] * (x[at] - mean) * inv + bias[k];
                y[at] = a->act == LK_ACT_RELU ? ref_relu(v) : v;
            }
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const bool relu = s->attr.batch_norm.act == LK_ACT_RELU, running = s->attr.batch_norm.running;
    const int64_t rows = s->in[0].dim[0], channels = s->in[0].dim[1], area = lki_shape_area(&s->in[0]);
    const int64_t valid = c->micro->valid, n = valid * area;
    const double *const x = c->x[0], *const y = c->y, *const w = c->param[WEIGHT], *const dy = c->dy,
                        *const saved = c->saved;
    double *const dx = c->dx[0], *const dw = c->dparam[WEIGHT], *const dbias = c->dparam[BIAS];

    for (int64_t k = 0; k < channels; k++) {
        const double mean = saved[k], inv = saved[channels + k];
        double sum_g = 0, sum_gh = 0;
        for (int64_t b = 0; b < valid; b++)
            for (int64_t i = 0; i < area; i++) {
                const int64_t at = (b * channels + k) * area + i;
                const double g = relu ? ref_relu_back(y[at], dy[at]) : dy[at];
                sum_g += g;
                sum_gh += g * (x[at] - mean) * inv;
            }
        if (dbias)
            dbias[k] = sum_g;
        if (dw)
            dw[k] = sum_gh;
        if (!dx)
            continue;
        for (int64_t b = 0; b < rows; b++)
            for (int64_t i = 0; i < area; i++) {
                const int64_t at = (b * channels + k) * area + i;
                const double g = relu ? ref_relu_back(y[at], dy[at]) : dy[at], h = (x[at] - mean) * inv;
                if (running)
                    dx[at] = b < valid ? w[k] * inv * g : 0;
                else
                    dx[at] = b < valid ? w[k] * inv * (g - sum_g / (double)n - h * sum_gh / (double)n) : 0;
            }
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_batch_norm = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward,
    .backward = backward};
