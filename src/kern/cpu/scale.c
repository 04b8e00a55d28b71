/* scale: times a constant. */
#include "kern/cpu/cpu_int.h"

LK_CLONES static void times(int64_t n, float factor, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor;
}

static lk_status forward(const lk_call *c)
{
    times(lk_shape_count(&c->spec->out), (float)c->spec->attr.scale.factor, c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        times(lk_shape_count(&c->spec->out), (float)c->spec->attr.scale.factor, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_scale = {.in_place = true, .in_place_dx = true, .forward = forward, .backward = backward};
