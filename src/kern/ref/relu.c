/* relu: y = max(x, 0). Backward: dx = dy where y > 0, else 0. */
#include "kern/ref/ref_int.h"

static lk_status forward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const x = c->x[0];
    double *const y = c->y;
    for (int64_t i = 0; i < n; i++)
        y[i] = ref_relu(x[i]);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const y = c->y, *const dy = c->dy;
    double *const dx = c->dx[0];
    for (int64_t i = 0; dx && i < n; i++)
        dx[i] = ref_relu_back(y[i], dy[i]);
    return LK_OK;
}

const lk_kernel lk_kern_ref_relu = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
