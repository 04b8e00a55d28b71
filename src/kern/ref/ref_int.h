/* Inside the reference backend: places in plain arrays, and activations. Everything is double, in plain layout, on one
 * thread; the formula matters, speed does not. */
#ifndef LK_KERN_REF_REF_INT_H
#define LK_KERN_REF_REF_INT_H

#include "kern/kern_int.h"

/* Place of [b,c,h,w] in a plain array of shape s. */
static inline int64_t ref_at(const lk_shape *s, int64_t b, int64_t c, int64_t h, int64_t w)
{
    return ((b * s->dim[1] + c) * s->dim[2] + h) * s->dim[3] + w;
}

/* Written so that NaN stays NaN: a run that diverges must show it. */
static inline double ref_relu(double x)
{
    return x <= 0 ? 0 : x;
}

/* dy where the output y of a relu is positive. */
static inline double ref_relu_back(double y, double dy)
{
    return y <= 0 ? 0 : dy;
}

/* x P(X <= x) for standard normal X (Hendrycks & Gimpel 2016, "Gaussian error linear units"), and its derivative P + x
 * p. */
double ref_gelu(double x);
double ref_gelu_slope(double x);

/* n numbers from x to y, which may be the same place. */
void ref_copy(int64_t n, const double *x, double *y);

#endif
