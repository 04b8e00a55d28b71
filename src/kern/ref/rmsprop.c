/* rmsprop (Tieleman & Hinton 2012, lecture 6.5 of "Neural networks for machine learning"), not centered, with momentum
 * as in PyTorch: g += wd p; v = b2 v + (1-b2) g^2; u = momentum u + g / (sqrt(v) + eps); p -= lr u. */
#include "kern/kern_int.h"
#include <math.h>

void lk_opt_ref_rmsprop(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    double *const w = p, *const v = state[0], *const u = state[1];
    const double *const grad = g;
    for (int64_t i = 0; i < n; i++) {
        const double d = grad[i] * a->grad_scale + a->weight_decay * w[i];
        v[i] = a->beta2 * v[i] + (1 - a->beta2) * d * d;
        u[i] = a->momentum * u[i] + d / (sqrt(v[i]) + a->eps);
        w[i] -= a->lr * u[i];
    }
}
