/* layer_norm: y = (x - mean) / sqrt(var + eps) w + b along the last dimension. */
#include "kern/cpu/norm_rows.h"

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    norm_rows_plan(s, out);
    return LK_OK;
}

LK_CLONES static void run_forward(const lk_call *c)
{
    norm_rows_forward(true, c);
}

LK_CLONES static void run_backward(const lk_call *c)
{
    norm_rows_backward(true, c);
}

static lk_status forward(const lk_call *c)
{
    run_forward(c);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    run_backward(c);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_layer_norm = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .residual = true,
    .plan = plan,
    .forward = forward,
    .backward = backward};
