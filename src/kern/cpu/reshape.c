/* reshape: the same numbers in the same order, in place where the plan likes. */
#include "kern/cpu/cpu_int.h"

static lk_status forward(const lk_call *c)
{
    lki_copy(lk_shape_count(&c->spec->out), c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        lki_copy(lk_shape_count(&c->spec->out), c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_reshape = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
