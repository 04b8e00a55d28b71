/* The passes of losses that are a mean over elements. */
#include "kern/cpu/element_loss.h"
#include <string.h>

void lki_element_forward(const lk_call *c, const lki_element_loops *l, const float *p, double scale)
{
    const int64_t n = lk_shape_row(&c->spec->in[0]);
    const float *const x = c->x[0], *const t = c->spec->n_in > 1 ? c->x[1] : c->x[0];
    double *const metrics = c->micro->metrics;
    double loss = 0, named = 0;
    for (int64_t b = 0; b < c->micro->valid; b++) {
        double sum[2];
        l->sums(n, x + b * n, t + b * n, p, sum);
        loss += sum[0] / (double)n;
        named += sum[1] / (double)n;
    }
    metrics[LK_METRIC_LOSS] = scale * loss;
    metrics[LK_METRIC_WEIGHT] = metrics[LK_METRIC_COUNT] = (double)c->micro->valid;
    metrics[LK_METRIC_NAMED] = named;
}

void lki_element_backward(const lk_call *c, const lki_element_loops *l, const float *p, double scale)
{
    const int64_t n = lk_shape_row(&c->spec->in[0]), all = lk_shape_count(&c->spec->in[0]), valid = c->micro->valid * n;
    const float *const x = c->x[0], *const t = c->spec->n_in > 1 ? c->x[1] : c->x[0];
    const float factor = (float)(scale * c->micro->grad_scale / (double)n);
    for (int i = 0; i < c->spec->n_in; i++) {
        float *const d = c->dx[i];
        if (!d)
            continue;
        (i == 0 ? l->dx : l->dt)(valid, x, t, p, factor, d);
        memset(d + valid, 0, (size_t)(all - valid) * sizeof *d);
    }
}

LK_CLONES static bool all_shares(int64_t n, const float *t)
{
    int outside = 0;
    for (int64_t i = 0; i < n; i++)
        outside |= !(t[i] >= 0) | !(t[i] <= 1);
    return !outside;
}

lk_status lki_check_targets(const lk_call *c)
{
    const int64_t n = lk_shape_row(&c->spec->in[1]);
    const float *const t = c->x[1];
    if (all_shares(c->micro->valid * n, t))
        return LK_OK;
    int64_t i = 0;
    while (t[i] >= 0 && t[i] <= 1)
        i++;
    return lki_target_fail(c->micro, i / n, (double)t[i]);
}
