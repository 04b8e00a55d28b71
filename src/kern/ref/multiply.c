/* multiply: y[b,c,i] = x0[b,c,i] x1[b,c,i], or x0[b,c,i] x1[b,c]. Backward: dx0 = dy x1; dx1 = dy x0, summed over i in the
 * second form. */
#include "kern/ref/ref_int.h"
#include <string.h>

static lk_status forward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->in[0]), size = n / lk_shape_count(&c->spec->in[1]);
    const double *const x0 = c->x[0], *const x1 = c->x[1];
    double *const y = c->y;
    for (int64_t i = 0; i < n; i++)
        y[i] = x0[i] * x1[i / size];
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->in[0]), gates = lk_shape_count(&c->spec->in[1]), size = n / gates;
    const double *const x0 = c->x[0], *const x1 = c->x[1], *const dy = c->dy;
    double *const dx0 = c->dx[0], *const dx1 = c->dx[1];
    if (dx1)
        memset(dx1, 0, (size_t)gates * sizeof *dx1);
    for (int64_t i = 0; i < n; i++) {
        if (dx1)
            dx1[i / size] += dy[i] * x0[i];
        if (dx0)
            dx0[i] = dy[i] * x1[i / size];
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_multiply = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
