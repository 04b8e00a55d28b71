/* exp, erf, tanh, logarithm and what activations need of them as straight-line float arithmetic, so that loops over them
 * vectorize and every lane and every tail computes the same operations. Errors were measured against double libm over one float in seven of
 * the whole range. */
#ifndef LK_KERN_CPU_VMATH_H
#define LK_KERN_CPU_VMATH_H

#include <stdint.h>
#include <string.h>

#define LK_INLINE static inline __attribute__((always_inline))

LK_INLINE float lki_as_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

LK_INLINE uint32_t lki_as_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* e^x = 2^n (1 + q), |ln(1 + q)| <= ln(2)/2, polynomial of Cephes' expf (Moshier); *power is 2^n. */
LK_INLINE float lki_exp_parts(float x, float *power)
{
    const float low = -87.0f, high = 88.0f;
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest whole number in the low bits */
    x = x < low ? low : x;
    x = x > high ? high : x;
    const float shifted = x * 1.44269504088896341f + round;
    const float n = shifted - round;
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f; /* ln 2 in two parts */
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    *power = lki_as_float((lki_as_bits(shifted) << 23) + 0x3f800000u);
    return p * (r * r) + r;
}

/* e^x; below -87 it stays at e^-87 (1.6e-38), above 88 at e^88. Error below 1 unit in the last place; NaN stays NaN. */
LK_INLINE float lki_exp(float x)
{
    float power;
    const float y = (lki_exp_parts(x, &power) + 1.0f) * power;
    return x == x ? y : x;
}

/* e^x - 1 for x <= 0: q itself near 0, where e^x - 1 would cancel. Error below 1.5 units in the last place. */
LK_INLINE float lki_expm1_down(float x)
{
    float power;
    const float q = lki_exp_parts(x, &power);
    const float y = power == 1.0f ? q : (q + 1.0f) * power - 1.0f;
    return x == x ? y : x;
}

/* ln(1 + t) for t in [0,1]: halved above sqrt(2), polynomial of Cephes' logf. Error below 1.5 units in the last
 * place. */
LK_INLINE float lki_log1p(float t)
{
    const int far = t > 0.41421356f;
    const float r = far ? 0.5f * (t - 1.0f) : t, s = r * r; /* (1 + t) / 2 - 1, exactly */
    float p = 7.0376836292e-2f;
    p = p * r + -1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r + -1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r + -1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r + -2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    const float y = (p * r * s - 0.5f * s) + r;
    return far ? y + 0.69314718056f : y;
}

/* Near 0 the odd polynomial of Cephes' tanhf, else 1 - 2 / (1 + e^2|x|). Error below 1.5 units in the
 * last place. */
LK_INLINE float lki_tanh(float x)
{
    const float t = lki_as_float(lki_as_bits(x) & 0x7fffffffu), s = x * x;
    float far = 1.0f - 2.0f / (1.0f + lki_exp(2.0f * t));
    far = lki_as_float(lki_as_bits(far) | (lki_as_bits(x) & 0x80000000u));
    float near = -5.70498872745e-3f;
    near = near * s + 2.06390887954e-2f;
    near = near * s + -5.37397155531e-2f;
    near = near * s + 1.33314422036e-1f;
    near = near * s + -3.33332819422e-1f;
    near = near * s * x + x;
    return t > 0.625f ? far : near;
}

/* An odd polynomial near 0, else 1 - e^(polynomial), coefficients of N. Juffa's erff. Absolute error below 7e-8. */
LK_INLINE float lki_erf(float x)
{
    const float t = lki_as_float(lki_as_bits(x) & 0x7fffffffu);
    const float s = x * x;
    float far = -1.72853470e-5f;
    far = far * t + 3.83197126e-4f;
    far = far * t + -3.88396438e-3f;
    far = far * t + 2.42546219e-2f;
    far = far * t + -1.06777877e-1f;
    far = far * t + -6.34846687e-1f;
    far = far * t + -1.28717512e-1f;
    far = 1.0f - lki_exp(far * t - t);
    far = lki_as_float(lki_as_bits(far) | (lki_as_bits(x) & 0x80000000u));
    float near = -5.96761703e-4f;
    near = near * s + 4.99119423e-3f;
    near = near * s + -2.67681349e-2f;
    near = near * s + 1.12819925e-1f;
    near = near * s + -3.76125336e-1f;
    near = near * s + 1.28379166e-1f;
    near = near * x + x;
    return t > 0.927734375f ? far : near;
}

/* 1 / (1 + e^-x). Error below 2.5 units in the last place. */
LK_INLINE float lki_sigmoid(float x)
{
    const float e = lki_exp(x < 0 ? x : -x); /* in (0,1] */
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

/* ln(1 + e^x). Error below 2 units in the last place. */
LK_INLINE float lki_softplus(float x)
{
    return (x > 0 ? x : 0) + lki_log1p(lki_exp(x > 0 ? -x : x));
}

/* s (1 + x (1 - s)), s the sigmoid; 1 - s is the sigmoid of -x, so that x does not enlarge its rounding. */
LK_INLINE float lki_silu_slope(float x)
{
    const float e = lki_exp(x < 0 ? x : -x), far = 1.0f / (1.0f + e), near = e * far; /* sigmoids of |x| and -|x| */
    return (x < 0 ? near : far) * (1.0f + x * (x < 0 ? far : near));
}

/* x times the normal distribution function. */
LK_INLINE float lki_gelu_erf(float x)
{
    return 0.5f * x * (1.0f + lki_erf(x * 0.70710678118654752f));
}

/* P + x p; the distribution function P by its tail, e^(-x^2/2) times a polynomial (Abramowitz & Stegun 7.1.26), so that one
 * exponential serves both. Absolute error below 3e-7. */
LK_INLINE float lki_gelu_erf_slope(float x)
{
    const float size = lki_as_float(lki_as_bits(x) & 0x7fffffffu);
    const float t = 1.0f / (1.0f + 0.23164189f * size); /* 0.3275911 / sqrt(2) */
    const float e = lki_exp(-0.5f * x * x);
    float tail = 1.061405429f;
    tail = tail * t + -1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t + -0.284496736f;
    tail = tail * t + 0.254829592f;
    tail = 0.5f * tail * t * e;
    return (x > 0 ? 1.0f - tail : tail) + x * 0.39894228040143268f * e;
}

/* 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
LK_INLINE float lki_gelu_tanh(float x)
{
    return x * lki_sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x));
}

LK_INLINE float lki_gelu_tanh_slope(float x)
{
    const float s = lki_sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x));
    return s + x * s * (1.0f - s) * 1.5957691216057308f * (1.0f + 0.134145f * x * x);
}

#endif
