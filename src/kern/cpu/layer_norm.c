/* layer_norm: y = (x - mean) / sqrt(var + eps) w + b along the last dimension. */
#include "kern/cpu/norm_rows.h"

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    norm_rows_plan(s, out);
    return LK_OK;
}

LK_CLONES static void run_forward(int64_t rows, int64_t n, double eps, const float *x, const float *w, const float *b,
    float *y, float *stat)
{
    norm_rows_forward(true, rows, n, eps, x, w, b, y, stat);
}

LK_CLONES static void run_backward(int64_t rows, int64_t n, const float *x, const float *w, const float *stat,
    const float *dy, float *dx, float *block, double *total)
{
    norm_rows_backward(true, rows, n, x, w, stat, dy, dx, block, total);
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    run_forward(lki_shape_lead(&s->in[0]), lki_shape_last(&s->in[0]), s->attr.norm.eps, c->x[0], c->param[0],
        s->attr.norm.bias ? c->param[1] : NULL, c->y, c->saved);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lki_shape_last(&s->in[0]);
    float *const dw = c->dparam[0], *const db = s->attr.norm.bias ? c->dparam[1] : NULL;
    float *const block = dw || db ? c->scratch : NULL;
    double *const total = block ? (double *)((char *)c->scratch + lki_floats(2 * n)) : NULL;
    run_backward(lki_shape_lead(&s->in[0]), n, c->x[0], c->param[0], c->saved, c->dy, c->dx[0], block, total);
    if (block) {
        norm_rows_result(n, total, dw);
        norm_rows_result(n, total + n, db);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_layer_norm = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward,
    .backward = backward};
