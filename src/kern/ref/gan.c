/* gan: the formulas of op/gan.c; beside them the score. Real and generator are fake with the sign turned, but for
 * least_squares, and for the generator's hinge, which has no bend. */
#include "kern/ref/ref_int.h"
#include <math.h>

static ref_element element(const lk_attrs *a, double x, double t)
{
    const double sign = a->gan.role == LK_GAN_FAKE ? 1 : -1; /* of what the score should not have */
    ref_element e = {.named = x};
    (void)t;
    switch (a->gan.kind) {
    case LK_GAN_NON_SATURATING:
        e.loss = ref_softplus(sign * x);
        e.dx = sign / (1 + exp(-sign * x));
        break;
    case LK_GAN_LEAST_SQUARES: {
        const double d = x - (a->gan.role == LK_GAN_FAKE ? 0 : 1);
        e.loss = d * d / 2;
        e.dx = d;
        break;
    }
    case LK_GAN_WASSERSTEIN:
        e.loss = sign * x;
        e.dx = sign;
        break;
    case LK_GAN_HINGE: {
        const bool bends = a->gan.role != LK_GAN_GENERATOR;
        e.loss = !bends ? -x : 1 + sign * x <= 0 ? 0 : 1 + sign * x; /* NaN stays NaN */
        e.dx = bends && 1 + sign * x <= 0 ? 0 : sign;
        break;
    }
    }
    return e;
}

static lk_status forward(const lk_call *c)
{
    ref_elements_forward(c, lki_or_one(c->spec->attr.gan.scale), element);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    ref_elements_backward(c, lki_or_one(c->spec->attr.gan.scale), element);
    return LK_OK;
}

const lk_kernel lk_kern_ref_gan = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
