/* add: y = act(x0 + x1 + ...). Backward: all dx = dy act'(.). */
#include "kern/ref/ref_int.h"

/* Some activations' slopes need what went into them. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){0};
    if (!lki_act_by_output(s->attr.add.act) && s->training)
        out->saved_bytes = (size_t)lk_shape_count(&s->out) * sizeof(double);
    return LK_OK;
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_add *const a = &c->spec->attr.add;
    const int64_t n = lk_shape_count(&c->spec->out);
    double *const y = c->y, *const saved = c->saved;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < c->spec->n_in; k++)
            sum += ((const double *)c->x[k])[i];
        if (saved)
            saved[i] = sum;
        y[i] = ref_act(a->act, a->alpha, sum);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_add *const a = &c->spec->attr.add;
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const v = lki_act_by_output(a->act) ? c->y : c->saved, *const dy = c->dy;
    for (int64_t i = 0; i < n; i++) {
        const double g = a->act == LK_ACT_NONE ? dy[i] : ref_act_back(a->act, a->alpha, v[i], dy[i]);
        for (int k = 0; k < c->spec->n_in; k++)
            if (c->dx[k])
                ((double *)c->dx[k])[i] = g;
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_add = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward,
    .backward = backward};
