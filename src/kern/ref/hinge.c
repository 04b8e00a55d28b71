/* hinge: by element max(0, 1 - (2t - 1) x); with class ids, for two and more classes, 1/K sum over k != y of max(0, 1 -
 * x[y] + x[k]). Beside it whether x > 0 where t > 1/2 and nowhere else; whether the largest score is that of the class.
 */
#include "kern/ref/ref_int.h"

static ref_element element(const lk_attrs *a, double x, double t)
{
    (void)a;
    const double y = 2 * t - 1, m = 1 - y * x;
    if (m <= 0)
        return (ref_element){.named = (x > 0) == (t > 0.5)};
    return (ref_element){.loss = m, .named = (x > 0) == (t > 0.5), .dx = -y, .dt = -2 * x};
}

/* What the row of sample b costs; dx (may be NULL) is set to the slopes times `factor`. */
static lk_status row(const lk_call *c, int64_t b, double factor, double *loss, double *correct, double *dx)
{
    const int64_t k = lk_shape_row(&c->spec->in[0]), id = ((const int64_t *)c->x[1])[b];
    const double *const x = (const double *)c->x[0] + b * k;

    if (id < 0 || id >= (k == 1 ? 2 : k))
        return lki_class_fail(c->micro, b, id, k == 1 ? 2 : k);
    if (k == 1) {
        const ref_element e = element(NULL, x[0], (double)id);
        *loss += e.loss;
        *correct += e.named;
        if (dx)
            dx[0] = e.dx * factor;
        return LK_OK;
    }
    int64_t best = 0;
    if (dx)
        dx[id] = 0;
    for (int64_t i = 0; i < k; i++) {
        const double m = 1 - x[id] + x[i];
        if (x[i] > x[best])
            best = i;
        if (i == id)
            continue;
        *loss += m <= 0 ? 0 : m / (double)k;
        if (!dx)
            continue;
        dx[i] = m <= 0 ? 0 : factor / (double)k;
        dx[id] -= dx[i];
    }
    *correct += best == id;
    return LK_OK;
}

static lk_status forward(const lk_call *c)
{
    double loss = 0, correct = 0;

    if (c->spec->in_dtype[1] == LK_DT_REAL) {
        LK_TRY(ref_check_targets(c));
        ref_elements_forward(c, lki_or_one(c->spec->attr.loss.scale), element);
        return LK_OK;
    }
    for (int64_t b = 0; b < c->micro->valid; b++)
        LK_TRY(row(c, b, 0, &loss, &correct, NULL));
    c->micro->metrics[LK_METRIC_LOSS] = lki_or_one(c->spec->attr.loss.scale) * loss;
    c->micro->metrics[LK_METRIC_WEIGHT] = c->micro->metrics[LK_METRIC_COUNT] = (double)c->micro->valid;
    c->micro->metrics[LK_METRIC_NAMED] = correct;
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const double scale = lki_or_one(c->spec->attr.loss.scale);
    const int64_t rows = c->spec->in[0].dim[0], k = lk_shape_row(&c->spec->in[0]);
    double *const dx = c->dx[0];

    if (c->spec->in_dtype[1] == LK_DT_REAL) {
        ref_elements_backward(c, scale, element);
        return LK_OK;
    }
    for (int64_t b = 0; dx && b < rows; b++) {
        double loss = 0, correct = 0;
        for (int64_t i = 0; b >= c->micro->valid && i < k; i++)
            dx[b * k + i] = 0;
        if (b < c->micro->valid)
            LK_TRY(row(c, b, scale * c->micro->grad_scale, &loss, &correct, dx + b * k));
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_hinge = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
