/* gan, the formulas of op/gan.c. Scores are few: the choice is made by element. */
#include "kern/cpu/element_loss.h"

LK_INLINE lki_element element(const float *p, float x, float t)
{
    const float sign = p[0], goal = p[1], margin = 1.0f + sign * x;
    (void)t;
    switch ((lk_gan_kind)p[2]) {
    case LK_GAN_NON_SATURATING:
        return (lki_element){.loss = lki_softplus(sign * x), .named = x, .dx = sign * lki_sigmoid(sign * x)};
    case LK_GAN_LEAST_SQUARES:
        return (lki_element){.loss = 0.5f * (x - goal) * (x - goal), .named = x, .dx = x - goal};
    case LK_GAN_WASSERSTEIN:
        return (lki_element){.loss = sign * x, .named = x, .dx = sign};
    case LK_GAN_HINGE:
        break;
    }
    return (lki_element){.loss = margin <= 0 ? 0 : margin, .named = x, .dx = margin <= 0 ? 0 : sign};
}

LKI_ELEMENT_LOSS

/* Sign of the score, goal of least_squares, kind. */
static void numbers(const lk_attr_gan *a, float p[3])
{
    const bool line = a->kind == LK_GAN_HINGE && a->role == LK_GAN_GENERATOR; /* without a bend */
    p[0] = a->role == LK_GAN_FAKE ? 1.0f : -1.0f;
    p[1] = a->role == LK_GAN_FAKE ? 0.0f : 1.0f;
    p[2] = (float)(line ? LK_GAN_WASSERSTEIN : a->kind);
}

static lk_status forward(const lk_call *c)
{
    float p[3];
    numbers(&c->spec->attr.gan, p);
    lki_element_forward(c, &loops, p, lki_or_one(c->spec->attr.gan.scale));
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    float p[3];
    numbers(&c->spec->attr.gan, p);
    lki_element_backward(c, &loops, p, lki_or_one(c->spec->attr.gan.scale));
    return LK_OK;
}

const lk_kernel lk_kern_cpu_gan = {.forward = forward, .backward = backward};
