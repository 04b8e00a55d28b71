/* bce_logits: p t log(1 + e^-x) + (1 - t) log(1 + e^x), p the weight of positive targets; beside it, whether x > 0
 * where t > 1/2 and nowhere else. */
#include "kern/ref/ref_int.h"
#include <math.h>

static ref_element element(const lk_attrs *a, double x, double t)
{
    const double p = lki_or_one(a->bce_logits.positive), low = ref_softplus(-x), high = ref_softplus(x);
    const double sigmoid = 1 / (1 + exp(-x));
    return (ref_element){.loss = p * t * low + (1 - t) * high,
        .named = (x > 0) == (t > 0.5),
        .dx = p * t * (sigmoid - 1) + (1 - t) * sigmoid,
        .dt = p * low - high};
}

static lk_status forward(const lk_call *c)
{
    LK_TRY(ref_check_targets(c));
    ref_elements_forward(c, lki_or_one(c->spec->attr.bce_logits.scale), element);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    ref_elements_backward(c, lki_or_one(c->spec->attr.bce_logits.scale), element);
    return LK_OK;
}

const lk_kernel lk_kern_ref_bce_logits = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
