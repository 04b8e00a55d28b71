/* relu: max(x, 0), in place where the plan likes. NaN stays NaN. */
#include "kern/cpu/cpu_int.h"

static lk_status forward(const lk_call *c)
{
    lki_relu(lk_shape_count(&c->spec->out), c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        lki_relu_backward(lk_shape_count(&c->spec->out), c->y, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_relu = {.in_place = true, .in_place_dx = true, .forward = forward, .backward = backward};
