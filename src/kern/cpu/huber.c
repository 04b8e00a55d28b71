/* huber, the formula of ref/huber.c. */
#include "kern/cpu/element_loss.h"
#include <math.h>

LK_INLINE lki_element element(const float *p, float x, float t)
{
    const float delta = p[0], d = x - t, size = fabsf(d);
    const float slope = size <= delta ? d : d > 0 ? delta : d < 0 ? -delta : d;
    return (lki_element){size <= delta ? 0.5f * d * d : delta * (size - 0.5f * delta), size, slope, -slope};
}

LKI_ELEMENT_LOSS

static lk_status forward(const lk_call *c)
{
    const float delta = (float)lki_or_one(c->spec->attr.huber.delta);
    lki_element_forward(c, &loops, &delta, lki_or_one(c->spec->attr.huber.scale));
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const float delta = (float)lki_or_one(c->spec->attr.huber.delta);
    lki_element_backward(c, &loops, &delta, lki_or_one(c->spec->attr.huber.scale));
    return LK_OK;
}

const lk_kernel lk_kern_cpu_huber = {.forward = forward, .backward = backward};
