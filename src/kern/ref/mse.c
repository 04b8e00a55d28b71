/* mse: (x - t)^2; beside it |x - t|. */
#include "kern/ref/ref_int.h"
#include <math.h>

static ref_element element(const lk_attrs *a, double x, double t)
{
    (void)a;
    const double d = x - t;
    return (ref_element){.loss = d * d, .named = fabs(d), .dx = 2 * d, .dt = -2 * d};
}

static lk_status forward(const lk_call *c)
{
    ref_elements_forward(c, lki_or_one(c->spec->attr.loss.scale), element);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    ref_elements_backward(c, lki_or_one(c->spec->attr.loss.scale), element);
    return LK_OK;
}

const lk_kernel lk_kern_ref_mse = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
