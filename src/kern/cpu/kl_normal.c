/* kl_normal, the formula of ref/kl_normal.c: exponentials in float, sums in double. */
#include "kern/cpu/element_loss.h"
#include <string.h>

LK_CLONES static double divergence(int64_t n, const float *m, const float *v)
{
    double lane[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            lane[j] += (double)(lki_exp(v[i + j]) - 1.0f - v[i + j]) + (double)m[i + j] * (double)m[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)(lki_exp(v[i]) - 1.0f - v[i]) + (double)m[i] * (double)m[i];
    return 0.5 * lki_fold_lanes(lane);
}

LK_CLONES static void times(int64_t n, float factor, const float *restrict m, float *restrict dm)
{
    for (int64_t i = 0; i < n; i++)
        dm[i] = m[i] * factor;
}

LK_CLONES static void spread(int64_t n, float factor, const float *restrict v, float *restrict dv)
{
    for (int64_t i = 0; i < n; i++)
        dv[i] = 0.5f * factor * (lki_exp(v[i]) - 1.0f);
}

static lk_status forward(const lk_call *c)
{
    const lk_micro *const m = c->micro;
    const int64_t n = lk_shape_row(&c->spec->in[0]);
    double kl = 0;
    for (int64_t b = 0; b < m->valid; b++)
        kl += divergence(n, (const float *)c->x[0] + b * n, (const float *)c->x[1] + b * n);
    m->metrics[LK_METRIC_LOSS] = lki_or_one(c->spec->attr.loss.scale) * kl;
    m->metrics[LK_METRIC_WEIGHT] = m->metrics[LK_METRIC_COUNT] = (double)m->valid;
    m->metrics[LK_METRIC_NAMED] = kl;
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t all = lk_shape_count(&c->spec->in[0]), valid = c->micro->valid * lk_shape_row(&c->spec->in[0]);
    const float factor = (float)(lki_or_one(c->spec->attr.loss.scale) * c->micro->grad_scale);
    for (int i = 0; i < 2; i++) {
        float *const d = c->dx[i];
        if (!d)
            continue;
        (i == 0 ? times : spread)(valid, factor, c->x[i], d);
        memset(d + valid, 0, (size_t)(all - valid) * sizeof *d);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_kl_normal = {.forward = forward, .backward = backward};
