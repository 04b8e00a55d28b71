/* activation: y = f(x), f by ref_act; backward dx = dy f'(x), read off y or x. */
#include "kern/ref/ref_int.h"

static lk_status forward(const lk_call *c)
{
    const lk_attr_activation *const a = &c->spec->attr.activation;
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const x = c->x[0];
    double *const y = c->y;
    for (int64_t i = 0; i < n; i++)
        y[i] = ref_act(a->act, a->alpha, x[i]);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_activation *const a = &c->spec->attr.activation;
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const v = lki_act_by_output(a->act) ? c->y : c->x[0], *const dy = c->dy;
    double *const dx = c->dx[0];
    for (int64_t i = 0; dx && i < n; i++)
        dx[i] = ref_act_back(a->act, a->alpha, v[i], dy[i]);
    return LK_OK;
}

const lk_kernel lk_kern_ref_activation = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
