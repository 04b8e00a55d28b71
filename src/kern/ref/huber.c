/* huber: d^2/2 where |d| <= delta, d = x - t, else delta (|d| - delta/2); beside it |d|. */
#include "kern/ref/ref_int.h"
#include <math.h>

static ref_element element(const lk_attrs *a, double x, double t)
{
    const double d = x - t, delta = lki_or_one(a->huber.delta);
    if (fabs(d) <= delta)
        return (ref_element){.loss = d * d / 2, .named = fabs(d), .dx = d, .dt = -d};
    const double slope = d > 0 ? delta : d < 0 ? -delta : d; /* NaN stays NaN */
    return (ref_element){.loss = delta * (fabs(d) - delta / 2), .named = fabs(d), .dx = slope, .dt = -slope};
}

static lk_status forward(const lk_call *c)
{
    ref_elements_forward(c, lki_or_one(c->spec->attr.huber.scale), element);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    ref_elements_backward(c, lki_or_one(c->spec->attr.huber.scale), element);
    return LK_OK;
}

const lk_kernel lk_kern_ref_huber = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
