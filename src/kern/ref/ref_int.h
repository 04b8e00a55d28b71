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

/* f(x): relu max(x, 0); leaky_relu x or alpha x; elu x or alpha (e^x - 1) (Clevert et al. 2016); gelu x P(X <= x) for
 * standard normal X, and gelu_tanh x/2 (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3) (Hendrycks & Gimpel 2016,
 * section 2); silu x sigmoid(x) (Elfwing et al. 2018); sigmoid 1/(1 + e^-x); tanh; softplus log(1 + e^x). NONE: x. */
double ref_act(lk_act act, double alpha, double x);
/* dy f'(x); v is f(x) where lki_act_by_output(act), else x. */
double ref_act_back(lk_act act, double alpha, double v, double dy);

/* n numbers from x to y, which may be the same place. */
void ref_copy(int64_t n, const double *x, double *y);

/* Losses that are for each sample the mean over its elements: what an element adds to the mean and to the number that is
 * reported beside it, and the slopes of the first by prediction and target. `t` is 0 for a loss without a target. */
typedef struct ref_element {
    double loss, named, dx, dt;
} ref_element;
typedef ref_element ref_element_fn(const lk_attrs *a, double x, double t);
/* The whole of a forward or backward pass of such a loss, times `scale`; 0 in padding rows. */
void ref_elements_forward(const lk_call *c, double scale, ref_element_fn *f);
void ref_elements_backward(const lk_call *c, double scale, ref_element_fn *f);
/* log(1 + e^x). */
double ref_softplus(double x);
/* LK_E_DATA for a target x[1] of a sample that is outside [0,1]. */
LK_MUST_USE lk_status ref_check_targets(const lk_call *c);

#endif
