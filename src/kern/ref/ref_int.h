/* Inside the reference backend: places in plain arrays, and activations. Everything is double, in plain layout, on one
 * thread; the formula matters, speed does not. */
#ifndef LK_KERN_REF_REF_INT_H
#define LK_KERN_REF_REF_INT_H

#include "kern/kern_int.h"

/* Sum of squares of x [n], in rising order. */
double ref_sum_squares(int64_t n, const void *x);

/* A window that slides over D, H, W (1 for the axes that a value has not). Places and taps are numbered in D H W order. */
typedef struct ref_window {
    int64_t in[LK_MAX_AXES], out[LK_MAX_AXES];
    int64_t kernel[LK_MAX_AXES], stride[LK_MAX_AXES], dilation[LK_MAX_AXES], before[LK_MAX_AXES];
    int64_t places_in, places_out, taps;
} ref_window;

/* From `in` to `out`, lists by axis of the attributes; dilation NULL: 1. */
ref_window ref_window_make(const lk_shape *in, const lk_shape *out, const int64_t *kernel, const int64_t *stride,
    const int64_t *dilation, const int64_t *before);
/* The input's place under tap t of the window at output place o; -1 outside of the input. */
int64_t ref_window_place(const ref_window *w, int64_t o, int64_t t);

/* Place i of a plain array of shape s as indices, and back. */
static inline void ref_indices(const lk_shape *s, int64_t i, int64_t index[LK_MAX_DIMS])
{
    for (int k = s->ndim - 1; k >= 0; k--) {
        index[k] = i % s->dim[k];
        i /= s->dim[k];
    }
}
static inline int64_t ref_place(const lk_shape *s, const int64_t index[LK_MAX_DIMS])
{
    int64_t i = 0;
    for (int k = 0; k < s->ndim; k++)
        i = i * s->dim[k] + index[k];
    return i;
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

/* What a kernel with `residual` works on: its input, or, of two, their sum, which is made first. */
const double *ref_residual_forward(const lk_call *c);
const double *ref_residual_backward(const lk_call *c);

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
