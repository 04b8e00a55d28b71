/* gelu, erf and tanh form. */
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/vmath.h"

LK_CLONES static void forward_erf(int64_t n, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = lki_gelu_erf(x[i]);
}

LK_CLONES static void forward_tanh(int64_t n, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = lki_gelu_tanh(x[i]);
}

LK_CLONES static void backward_erf(int64_t n, const float *x, const float *dy, float *dx)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] * lki_gelu_erf_slope(x[i]);
}

LK_CLONES static void backward_tanh(int64_t n, const float *x, const float *dy, float *dx)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] * lki_gelu_tanh_slope(x[i]);
}

void lki_gelu_forward(int64_t n, const float *x, float *y)
{
    forward_erf(n, x, y);
}

void lki_gelu_backward(int64_t n, const float *x, const float *dy, float *dx)
{
    backward_erf(n, x, dy, dx);
}

static lk_status forward(const lk_call *c)
{
    (c->spec->attr.gelu.tanh ? forward_tanh : forward_erf)(lk_shape_count(&c->spec->out), c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        (c->spec->attr.gelu.tanh ? backward_tanh : backward_erf)(
            lk_shape_count(&c->spec->out), c->x[0], c->dy, c->dx[0]);
    return LK_OK;
}

/* Not in place: backward reads the input. */
const lk_kernel lk_kern_cpu_gelu = {.in_place_dx = true, .forward = forward, .backward = backward};
