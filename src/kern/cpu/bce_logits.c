/* bce_logits, the formula of ref/bce_logits.c. */
#include "kern/cpu/element_loss.h"
#include <math.h>

LK_INLINE lki_element element(const float *p, float x, float t)
{
    const float low = lki_softplus(-x), high = lki_softplus(x), sigmoid = lki_sigmoid(x), rest = lki_sigmoid(-x);
    return (lki_element){.loss = p[0] * t * low + (1.0f - t) * high,
        .named = (x > 0) == (t > 0.5f) ? 1.0f : 0.0f,
        .dx = (1.0f - t) * sigmoid - p[0] * t * rest,
        .dt = p[0] * low - high};
}

LKI_ELEMENT_LOSS

static lk_status forward(const lk_call *c)
{
    LK_TRY(lki_check_targets(c));
    const float positive = (float)lki_or_one(c->spec->attr.bce_logits.positive);
    lki_element_forward(c, &loops, &positive, lki_or_one(c->spec->attr.bce_logits.scale));
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const float positive = (float)lki_or_one(c->spec->attr.bce_logits.positive);
    lki_element_backward(c, &loops, &positive, lki_or_one(c->spec->attr.bce_logits.scale));
    return LK_OK;
}

const lk_kernel lk_kern_cpu_bce_logits = {.forward = forward, .backward = backward};
