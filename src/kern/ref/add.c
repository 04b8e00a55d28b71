/* add: y = act(x0 + x1). Backward: dx0 = dx1 = dy act'(.). */
#include "kern/ref/ref_int.h"

static lk_status forward(const lk_call *c)
{
    const bool relu = c->spec->attr.add.act == LK_ACT_RELU;
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const x0 = c->x[0], *const x1 = c->x[1];
    double *const y = c->y;
    for (int64_t i = 0; i < n; i++)
        y[i] = relu ? ref_relu(x0[i] + x1[i]) : x0[i] + x1[i];
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const bool relu = c->spec->attr.add.act == LK_ACT_RELU;
    const int64_t n = lk_shape_count(&c->spec->out);
    const double *const y = c->y, *const dy = c->dy;
    double *const dx0 = c->dx[0], *const dx1 = c->dx[1];
    for (int64_t i = 0; i < n; i++) {
        const double g = relu ? ref_relu_back(y[i], dy[i]) : dy[i];
        if (dx0)
            dx0[i] = g;
        if (dx1)
            dx1[i] = g;
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_add = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
