/* scale: y = factor x. Backward: dx = factor dy. */
#include "kern/ref/ref_int.h"

static void times(const lk_opspec *s, const double *x, double *y)
{
    for (int64_t i = 0; i < lk_shape_count(&s->out); i++)
        y[i] = s->attr.scale.factor * x[i];
}

static lk_status forward(const lk_call *c)
{
    times(c->spec, c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        times(c->spec, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_ref_scale = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
