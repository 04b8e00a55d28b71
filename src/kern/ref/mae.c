/* mae: |x - t|, with the slope 0 where the two are equal; beside it the same. */
#include "kern/ref/ref_int.h"
#include <math.h>

static ref_element element(const lk_attrs *a, double x, double t)
{
    (void)a;
    const double d = x - t, sign = d > 0 ? 1 : d < 0 ? -1 : d;
    return (ref_element){.loss = fabs(d), .named = fabs(d), .dx = sign, .dt = -sign};
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

const lk_kernel lk_kern_ref_mae = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
