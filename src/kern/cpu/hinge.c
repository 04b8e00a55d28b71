/* hinge, the formulas of ref/hinge.c. */
#include "kern/cpu/element_loss.h"
#include <string.h>

LK_INLINE lki_element element(const float *p, float x, float t)
{
    (void)p;
    const float y = 2.0f * t - 1.0f, m = 1.0f - y * x;
    return (lki_element){.loss = m <= 0 ? 0 : m,
        .named = (x > 0) == (t > 0.5f) ? 1.0f : 0.0f,
        .dx = m <= 0 ? 0 : -y,
        .dt = m <= 0 ? 0 : -2.0f * x};
}

LKI_ELEMENT_LOSS

/* What the scores x [k] of a sample of class `id` cost; dx (may be NULL) is set to the slopes times `factor`. */
static double row(int64_t k, const float *x, int64_t id, float factor, bool *correct, float *dx)
{
    if (k == 1) {
        const lki_element e = element(NULL, x[0], (float)id);
        *correct = e.named > 0;
        if (dx)
            dx[0] = e.dx * factor;
        return (double)e.loss;
    }
    const float share = factor / (float)k;
    double loss = 0;
    int64_t best = 0, over = 0;
    for (int64_t i = 0; i < k; i++) {
        const float m = 1.0f - x[id] + x[i];
        best = x[i] > x[best] ? i : best;
        if (i == id)
            continue;
        loss += m <= 0 ? 0 : (double)m;
        over += !(m <= 0);
        if (dx)
            dx[i] = m <= 0 ? 0 : share;
    }
    *correct = best == id;
    if (dx)
        dx[id] = -share * (float)over;
    return loss / (double)k;
}

static lk_status forward(const lk_call *c)
{
    const lk_micro *const m = c->micro;
    const double scale = lki_or_one(c->spec->attr.loss.scale);
    const int64_t k = lk_shape_row(&c->spec->in[0]), classes = k == 1 ? 2 : k;
    const int64_t *const id = c->x[1];
    double loss = 0, correct = 0;
    if (c->spec->in_dtype[1] == LK_DT_REAL) {
        LK_TRY(lki_check_targets(c));
        lki_element_forward(c, &loops, NULL, scale);
        return LK_OK;
    }
    for (int64_t b = 0; b < m->valid; b++) {
        bool right;
        if (id[b] < 0 || id[b] >= classes)
            return lki_class_fail(m, b, id[b], classes);
        loss += row(k, (const float *)c->x[0] + b * k, id[b], 0, &right, NULL);
        correct += right;
    }
    m->metrics[LK_METRIC_LOSS] = scale * loss;
    m->metrics[LK_METRIC_WEIGHT] = m->metrics[LK_METRIC_COUNT] = (double)m->valid;
    m->metrics[LK_METRIC_NAMED] = correct;
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_micro *const m = c->micro;
    const double scale = lki_or_one(c->spec->attr.loss.scale);
    const int64_t k = lk_shape_row(&c->spec->in[0]), rows = c->spec->in[0].dim[0];
    float *const dx = c->dx[0];
    if (c->spec->in_dtype[1] == LK_DT_REAL) {
        lki_element_backward(c, &loops, NULL, scale);
        return LK_OK;
    }
    if (!dx)
        return LK_OK;
    for (int64_t b = 0; b < m->valid; b++) {
        bool right;
        row(k, (const float *)c->x[0] + b * k, ((const int64_t *)c->x[1])[b], (float)(scale * m->grad_scale), &right,
            dx + b * k);
    }
    memset(dx + m->valid * k, 0, (size_t)((rows - m->valid) * k) * sizeof *dx);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_hinge = {.forward = forward, .backward = backward};
