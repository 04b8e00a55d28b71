/* add: the sum of values from the first to the last, with the activation that the plan fused. Saved: the sum, where the
 * activation's gradient needs it. */
#include "kern/cpu/cpu_int.h"

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){
        .saved_bytes = !lki_act_by_output(s->attr.add.act) && s->training ? lki_floats(lk_shape_count(&s->out)) : 0};
    return LK_OK;
}

LK_CLONES static void add(int64_t n, const float *a, const float *b, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

LK_CLONES static void add_relu(int64_t n, const float *a, const float *b, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const float s = a[i] + b[i];
        y[i] = s < 0 ? 0 : s;
    }
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_add *const a = &c->spec->attr.add;
    const int64_t n = lk_shape_count(&c->spec->out);
    const int last = c->spec->n_in - 1;
    const bool relu = a->act == LK_ACT_RELU;
    for (int64_t at = 0; at < n; at += LK_PIECE) {
        const int64_t m = lki_min(LK_PIECE, n - at);
        float *const y = (float *)c->y + at, *const sum = c->saved ? (float *)c->saved + at : y;
        for (int k = 1; k <= last; k++)
            (k == last && relu ? add_relu : add)(
                m, k == 1 ? (const float *)c->x[0] + at : sum, (const float *)c->x[k] + at, sum);
        if (a->act != LK_ACT_NONE && !relu)
            lki_act_forward(a->act, a->alpha, m, sum, y);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_add *const a = &c->spec->attr.add;
    const int64_t n = lk_shape_count(&c->spec->out);
    const float *const v = lki_act_by_output(a->act) ? c->y : c->saved, *dy = c->dy;
    for (int k = c->spec->n_in - 1; k >= 0; k--) { /* dx[0] may be dy, so it comes last */
        if (!c->dx[k])
            continue;
        if (a->act != LK_ACT_NONE)
            lki_act_backward(a->act, a->alpha, n, v, dy, c->dx[k]);
        else
            lki_copy(n, dy, c->dx[k]);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_add = {
    .in_place = true, .in_place_dx = true, .plan = plan, .forward = forward, .backward = backward};
