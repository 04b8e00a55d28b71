/* The arithmetic of one element, in float, written once for those backends that work on floats element by element: activations and their slopes,
 * losses, what the optimizers do to a weight, and the division that finds the row of an element. C, C++ and CUDA (host and device) compile it; tests/kern/formula.c holds it against ref.
 *
 * A product that goes into a sum is written as fmaf, so that there is nothing left that one compiler contracts and another does not: the optimizers
 * give the same bits wherever they are compiled and however the elements are cut into runs, the activations but for the library's expf, erfcf,
 * tanhf, expm1f and log1pf. NaN stays NaN where it does in ref. */
#ifndef LK_KERN_FORMULA_H
#define LK_KERN_FORMULA_H

#include <math.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "kern/kern.h"
#ifdef __cplusplus
}
#endif

#ifdef __CUDACC__
#define LK_HD __host__ __device__
#else
#define LK_HD
#endif

/* ---- functions of one number ---- */

static inline LK_HD float lki_formula_relu(float x)
{
    return x <= 0.0f ? 0.0f : x;
}

/* 1 / (1 + e^-x); the exponential of what is not positive, so that both sides keep their digits. */
static inline LK_HD float lki_formula_sigmoid(float x)
{
    const float e = expf(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* log(1 + e^x) */
static inline LK_HD float lki_formula_softplus(float x)
{
    return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x)));
}

static inline LK_HD float lki_formula_silu_slope(float x)
{
    const float e = expf(-fabsf(x)), far = 1.0f / (1.0f + e), near = e * far; /* sigmoids of |x| and -|x| */
    return (x < 0.0f ? near : far) * fmaf(x, x < 0.0f ? far : near, 1.0f);
}

/* x P(X <= x), the probability as that of the tail, which does not cancel. */
static inline LK_HD float lki_formula_gelu(float x)
{
    return 0.5f * x * erfcf(-0.70710678118654752f * x);
}

static inline LK_HD float lki_formula_gelu_slope(float x)
{
    return fmaf(0.39894228040143268f * x, expf(-0.5f * x * x), 0.5f * erfcf(-0.70710678118654752f * x));
}

/* x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). This is 2u. */
static inline LK_HD float lki_formula_gelu_tanh_inner(float x)
{
    return x * fmaf(0.071354816272600296f, x * x, 1.5957691216057308f);
}

static inline LK_HD float lki_formula_gelu_tanh(float x)
{
    return x * lki_formula_sigmoid(lki_formula_gelu_tanh_inner(x));
}

static inline LK_HD float lki_formula_gelu_tanh_slope(float x)
{
    const float u = lki_formula_gelu_tanh_inner(x), s = lki_formula_sigmoid(u);
    const float slope = s * lki_formula_sigmoid(-u); /* of the sigmoid */
    if (slope == 0.0f) /* far out, where the slope of u may overflow */
        return s;
    return fmaf(x * slope, fmaf(0.21406444881780089f, x * x, 1.5957691216057308f), s);
}

/* Whether backward reads the output of `act`, or of nothing (NONE); else its input. */
static inline LK_HD bool lki_formula_by_output(lk_act act)
{
    return act != LK_ACT_GELU && act != LK_ACT_GELU_TANH && act != LK_ACT_SILU;
}

/* f(x), as ref_act. */
static inline LK_HD float lki_formula_act(lk_act act, float alpha, float x)
{
    switch (act) {
    case LK_ACT_RELU:
        return lki_formula_relu(x);
    case LK_ACT_LEAKY_RELU:
        return x <= 0.0f ? alpha * x : x;
    case LK_ACT_ELU:
        return x <= 0.0f ? alpha * expm1f(x) : x;
    case LK_ACT_GELU:
        return lki_formula_gelu(x);
    case LK_ACT_GELU_TANH:
        return lki_formula_gelu_tanh(x);
    case LK_ACT_SILU:
        return x * lki_formula_sigmoid(x);
    case LK_ACT_SIGMOID:
        return lki_formula_sigmoid(x);
    case LK_ACT_TANH:
        return tanhf(x);
    case LK_ACT_SOFTPLUS:
        return lki_formula_softplus(x);
    default:
        return x;
    }
}

/* dy f'(x), as ref_act_back; v is f(x) where lki_formula_by_output(act), else x. */
static inline LK_HD float lki_formula_act_back(lk_act act, float alpha, float v, float dy)
{
    switch (act) {
    case LK_ACT_RELU:
        return v <= 0.0f ? 0.0f : dy;
    case LK_ACT_LEAKY_RELU:
        return v <= 0.0f ? alpha * dy : dy;
    case LK_ACT_ELU: /* alpha e^x = y + alpha */
        return v <= 0.0f ? (v + alpha) * dy : dy;
    case LK_ACT_GELU:
        return lki_formula_gelu_slope(v) * dy;
    case LK_ACT_GELU_TANH:
        return lki_formula_gelu_tanh_slope(v) * dy;
    case LK_ACT_SILU:
        return lki_formula_silu_slope(v) * dy;
    case LK_ACT_SIGMOID:
        return v * (1.0f - v) * dy;
    case LK_ACT_TANH:
        return fmaf(-v, v, 1.0f) * dy;
    case LK_ACT_SOFTPLUS: /* sigmoid(x) = 1 - e^-y */
        return -expm1f(-v) * dy;
    default:
        return dy;
    }
}

/* ---- losses: formulas and sources stand in ref/NAME.c ---- */

/* What an element adds to the loss and to the number reported beside it; the slopes of the first by prediction and target. */
typedef struct lki_formula_loss {
    float loss, named, dx, dt;
} lki_formula_loss;

static inline LK_HD lki_formula_loss lki_formula_mse(float x, float t)
{
    const float d = x - t;
    const lki_formula_loss l = {d * d, fabsf(d), 2.0f * d, -2.0f * d};
    return l;
}

static inline LK_HD lki_formula_loss lki_formula_mae(float x, float t)
{
    const float d = x - t, sign = d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;
    const lki_formula_loss l = {fabsf(d), fabsf(d), sign, -sign};
    return l;
}

static inline LK_HD lki_formula_loss lki_formula_huber(float delta, float x, float t)
{
    const float d = x - t, size = fabsf(d), slope = size <= delta ? d : d > 0.0f ? delta : d < 0.0f ? -delta : d;
    const lki_formula_loss l = {size <= delta ? 0.5f * d * d : delta * fmaf(-0.5f, delta, size), size, slope, -slope};
    return l;
}

/* Whether x and t are on the same side: the accuracy of bce_logits and hinge. */
static inline LK_HD float lki_formula_same_side(float x, float t)
{
    return (x > 0.0f) == (t > 0.5f) ? 1.0f : 0.0f;
}

static inline LK_HD lki_formula_loss lki_formula_bce_logits(float positive, float x, float t)
{
    const float low = lki_formula_softplus(-x), high = lki_formula_softplus(x), rest = 1.0f - t;
    const lki_formula_loss l = {fmaf(positive * t, low, rest * high), lki_formula_same_side(x, t),
        fmaf(-positive * t, lki_formula_sigmoid(-x), rest * lki_formula_sigmoid(x)), fmaf(positive, low, -high)};
    return l;
}

static inline LK_HD lki_formula_loss lki_formula_hinge(float x, float t)
{
    const float y = fmaf(2.0f, t, -1.0f), m = fmaf(-y, x, 1.0f);
    const lki_formula_loss l = {lki_formula_relu(m), lki_formula_same_side(x, t), m <= 0.0f ? 0.0f : -y, m <= 0.0f ? 0.0f : -2.0f * x};
    return l;
}

/* Of a mean and a log variance, which stand for prediction and target. */
static inline LK_HD lki_formula_loss lki_formula_kl_normal(float mean, float variance)
{
    const float grown = expm1f(variance), kl = 0.5f * fmaf(mean, mean, grown - variance);
    const lki_formula_loss l = {kl, kl, mean, 0.5f * grown};
    return l;
}

static inline LK_HD lki_formula_loss lki_formula_gan(lk_gan_kind kind, lk_gan_role role, float x)
{
    const float sign = role == LK_GAN_FAKE ? 1.0f : -1.0f, goal = role == LK_GAN_FAKE ? 0.0f : 1.0f, margin = fmaf(sign, x, 1.0f);
    lki_formula_loss l = {sign * x, x, sign, 0.0f}; /* wasserstein, and hinge for the generator */
    if (kind == LK_GAN_NON_SATURATING) {
        l.loss = lki_formula_softplus(sign * x);
        l.dx = sign * lki_formula_sigmoid(sign * x);
    } else if (kind == LK_GAN_LEAST_SQUARES) {
        l.loss = 0.5f * (x - goal) * (x - goal);
        l.dx = x - goal;
    } else if (kind == LK_GAN_HINGE && role != LK_GAN_GENERATOR) {
        l.loss = lki_formula_relu(margin);
        l.dx = margin <= 0.0f ? 0.0f : sign;
    }
    return l;
}

/* ---- optimizers: formulas and sources stand in ref/NAME.c ---- */

/* lk_opt_args as the elements need it: what is the same for all of them is computed once, in double. */
typedef struct lki_formula_opt {
    float scale; /* of the gradient */
    float lr, decay, shrink /* lr decay */, momentum, b1, b2, rest1 /* 1 - b1 */, rest2, eps;
    float part1, root2; /* 1 / (1 - b1^t), 1 / sqrt(1 - b2^t): from the means to those without bias */
    float step;         /* lr part1 */
    bool nesterov;
} lki_formula_opt;

static inline lki_formula_opt lki_formula_opt_make(const lk_opt_args *a)
{
    const double part1 = 1.0 / (1.0 - pow(a->beta1, (double)a->t)), part2 = 1.0 / (1.0 - pow(a->beta2, (double)a->t));
    lki_formula_opt k;
    k.scale = (float)a->grad_scale;
    k.lr = (float)a->lr;
    k.decay = (float)a->weight_decay;
    k.shrink = (float)(a->lr * a->weight_decay);
    k.momentum = (float)a->momentum;
    k.b1 = (float)a->beta1;
    k.b2 = (float)a->beta2;
    k.rest1 = (float)(1.0 - a->beta1);
    k.rest2 = (float)(1.0 - a->beta2);
    k.eps = (float)a->eps;
    k.part1 = (float)part1;
    k.root2 = (float)sqrt(part2);
    k.step = (float)(a->lr * part1);
    k.nesterov = a->nesterov;
    return k;
}

/* The gradient, with the decay of those that add it there. */
static inline LK_HD float lki_formula_decayed(const lki_formula_opt *k, float g, float p)
{
    return fmaf(k->decay, p, g * k->scale);
}

/* The running means of d and of its square. */
static inline LK_HD void lki_formula_means(const lki_formula_opt *k, float d, float *m, float *v)
{
    *m = fmaf(k->b1, *m, k->rest1 * d);
    *v = fmaf(k->b2, *v, k->rest2 * d * d);
}

static inline LK_HD void lki_formula_sgd(const lki_formula_opt *k, float g, float *p, float *v)
{
    const float d = lki_formula_decayed(k, g, *p);
    *v = fmaf(k->momentum, *v, d);
    *p = fmaf(-k->lr, k->nesterov ? fmaf(k->momentum, *v, d) : *v, *p);
}

static inline LK_HD void lki_formula_adam(const lki_formula_opt *k, float g, float *p, float *m, float *v)
{
    lki_formula_means(k, lki_formula_decayed(k, g, *p), m, v);
    *p -= k->step * *m / fmaf(sqrtf(*v), k->root2, k->eps);
}

static inline LK_HD void lki_formula_adamw(const lki_formula_opt *k, float g, float *p, float *m, float *v)
{
    lki_formula_means(k, g * k->scale, m, v);
    *p -= fmaf(k->shrink, *p, k->step * *m / fmaf(sqrtf(*v), k->root2, k->eps));
}

static inline LK_HD void lki_formula_rmsprop(const lki_formula_opt *k, float g, float *p, float *v, float *u)
{
    const float d = lki_formula_decayed(k, g, *p);
    *v = fmaf(k->b2, *v, k->rest2 * d * d);
    *u = fmaf(k->momentum, *u, d / (sqrtf(*v) + k->eps));
    *p = fmaf(-k->lr, *u, *p);
}

static inline LK_HD void lki_formula_adagrad(const lki_formula_opt *k, float g, float *p, float *s)
{
    const float d = lki_formula_decayed(k, g, *p);
    *s = fmaf(d, d, *s);
    *p -= k->lr * d / (sqrtf(*s) + k->eps);
}

static inline LK_HD void lki_formula_lion(const lki_formula_opt *k, float g, float *p, float *m)
{
    const float d = g * k->scale, c = fmaf(k->b1, *m, k->rest1 * d);
    *p = fmaf(-k->shrink, *p, *p) - (c > 0.0f ? k->lr : c < 0.0f ? -k->lr : 0.0f);
    *m = fmaf(k->b2, *m, k->rest2 * d);
}

/* `rate`: lr times the ratio of the norms. */
static inline LK_HD void lki_formula_lars(const lki_formula_opt *k, float rate, float g, float *p, float *v)
{
    *v = fmaf(k->momentum, *v, rate * lki_formula_decayed(k, g, *p));
    *p -= *v;
}

/* After lki_formula_means of g scale: what p -= rate u takes as u. */
static inline LK_HD float lki_formula_lamb_direction(const lki_formula_opt *k, float p, float m, float v)
{
    return fmaf(k->decay, p, k->part1 * m / fmaf(sqrtf(v), k->root2, k->eps));
}

/* ---- rounding to 16 bits at random ---- */
/* The neighbour that is farther from 0 is taken with probability (|x| - near) / (far - near), by a word that is evenly distributed, so that the mean is x
 * (Gupta et al. 2015, "Deep learning with limited numerical precision", section 3). What is returned is a number of the narrow type; x itself where that has it,
 * and where far is no finite number: infinities, NaN, and what is beyond the largest, which rounds to nearest then. */

/* The last `dropped` bits of x (of 1 to 31), as a share of 2^dropped, are the probability. */
static inline LK_HD float lki_formula_round_bits(float x, int dropped, uint32_t word)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits += word >> (32 - dropped);
    bits &= ~(((uint32_t)1 << dropped) - 1);
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline LK_HD uint32_t lki_formula_size_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFFu;
}

/* 8 bits, among them one that is not stored; the exponents of a float. */
static inline LK_HD float lki_formula_round_bf16(float x, uint32_t word)
{
    return lki_formula_size_bits(x) > 0x7F7F0000u ? x : lki_formula_round_bits(x, 16, word);
}

/* 11 bits down to 2^-14, below that multiples of 2^-24, where 24 bits of the word decide. */
static inline LK_HD float lki_formula_round_fp16(float x, uint32_t word)
{
    const uint32_t size = lki_formula_size_bits(x);
    if (size > 0x477FE000u) /* 65504 */
        return x;
    if (size >= 0x38800000u) /* 2^-14 */
        return lki_formula_round_bits(x, 13, word);
    const float multiple = fabsf(x) * 0x1p24f, whole = floorf(multiple), part = multiple - whole;
    return copysignf(whole + ((float)(word >> 8) * 0x1p-24f < part ? 1.0f : 0.0f), x) * 0x1p-24f;
}

/* ---- division of many numbers by one ---- */

/* Numbers below 2^31 by a product (Granlund & Montgomery 1994, "Division by invariant integers using multiplication", figure 4.1). */
typedef struct lki_divisor {
    int64_t by;
    uint32_t factor;
    int shift;
} lki_divisor;

/* d is at least 1. */
static inline lki_divisor lki_divisor_make(int64_t d)
{
    lki_divisor r = {d, 0, 0};
    while (r.shift < 31 && (INT64_C(1) << r.shift) < d)
        r.shift++;
    if (d < INT64_C(1) << 31) /* 2^32 (2^shift - d) / d + 1 */
        r.factor = (uint32_t)((((uint64_t)1 << r.shift) - (uint64_t)d) * ((uint64_t)1 << 32) / (uint64_t)d + 1);
    return r;
}

/* i / d; i is not negative. */
static inline LK_HD int64_t lki_quotient(const lki_divisor *d, int64_t i)
{
    if ((uint64_t)i >> 31 != 0 || (uint64_t)d->by >> 31 != 0)
        return i / d->by;
    const uint32_t n = (uint32_t)i, high = (uint32_t)((uint64_t)n * d->factor >> 32);
    return (int64_t)((high + n) >> d->shift);
}

#endif
