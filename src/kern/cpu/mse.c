/* mse: a row's loss is the mean over its elements of the squared difference; the second metric likewise of its size. */
#include "kern/cpu/cpu_int.h"
#include <math.h>
#include <string.h>

/* Sums of squares and of sizes, in fixed lanes. */
LK_CLONES static void differences(
    int64_t n, const float *restrict x, const float *restrict t, double *square, double *size)
{
    enum { LANES = 8 };
    double s[LANES] = {0}, a[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            const double d = (double)x[i + j] - (double)t[i + j];
            s[j] += d * d;
            a[j] += fabs(d);
        }
    for (int j = 0; i < n; i++, j++) {
        const double d = (double)x[i] - (double)t[i];
        s[j] += d * d;
        a[j] += fabs(d);
    }
    for (int h = LANES / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++) {
            s[j] += s[j + h];
            a[j] += a[j + h];
        }
    *square = s[0];
    *size = a[0];
}

static lk_status forward(const lk_call *c)
{
    const lk_micro *const m = c->micro;
    const int64_t n = lk_shape_row(&c->spec->in[0]);
    const float *const x = c->x[0], *const t = c->x[1];
    double loss = 0, error = 0;
    for (int64_t b = 0; b < m->valid; b++) {
        double square, size;
        differences(n, x + b * n, t + b * n, &square, &size);
        loss += square / (double)n;
        error += size / (double)n;
    }
    m->metrics[LK_METRIC_LOSS] = lki_or_one(c->spec->attr.loss.scale) * loss;
    m->metrics[LK_METRIC_WEIGHT] = m->metrics[LK_METRIC_COUNT] = (double)m->valid;
    m->metrics[LK_METRIC_NAMED] = error;
    return LK_OK;
}

LK_CLONES static void gradient(
    int64_t n, float factor, const float *restrict x, const float *restrict t, float *restrict dx)
{
    for (int64_t i = 0; i < n; i++)
        dx[i] = (x[i] - t[i]) * factor;
}

static lk_status backward(const lk_call *c)
{
    const lk_micro *const m = c->micro;
    const int64_t n = lk_shape_row(&c->spec->in[0]), rows = c->spec->in[0].dim[0], valid = m->valid * n;
    const double factor = 2 * lki_or_one(c->spec->attr.loss.scale) * m->grad_scale / (double)n;
    for (int i = 0; i < 2; i++) {
        float *const dx = c->dx[i];
        if (!dx)
            continue;
        gradient(valid, (float)(i == 0 ? factor : -factor), c->x[0], c->x[1], dx);
        memset(dx + valid, 0, (size_t)(rows * n - valid) * sizeof *dx);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_mse = {.forward = forward, .backward = backward};
