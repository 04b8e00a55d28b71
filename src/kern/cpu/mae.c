/* mae, the formula of ref/mae.c. */
#include "kern/cpu/element_loss.h"
#include <math.h>

LK_INLINE lki_element element(const float *p, float x, float t)
{
    (void)p;
    const float d = x - t, size = fabsf(d), sign = d > 0 ? 1.0f : d < 0 ? -1.0f : d;
    return (lki_element){size, size, sign, -sign};
}

LKI_ELEMENT_LOSS

static lk_status forward(const lk_call *c)
{
    lki_element_forward(c, &loops, NULL, lki_or_one(c->spec->attr.loss.scale));
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    lki_element_backward(c, &loops, NULL, lki_or_one(c->spec->attr.loss.scale));
    return LK_OK;
}

const lk_kernel lk_kern_cpu_mae = {.forward = forward, .backward = backward};
