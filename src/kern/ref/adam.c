/* adam (Kingma & Ba 2015, "Adam: a method for stochastic optimization", algorithm 1), the decay added to the gradient
 * as in PyTorch: g += wd p; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr mhat / (sqrt(vhat) + eps), mhat = m /
 * (1-b1^t), vhat = v / (1-b2^t). */
#include "kern/kern_int.h"
#include <math.h>

void lk_opt_ref_adam(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    double *const w = p, *const m = state[0], *const v = state[1];
    const double *const grad = g;
    const double fix1 = 1 - pow(a->beta1, (double)a->t), fix2 = 1 - pow(a->beta2, (double)a->t);
    for (int64_t i = 0; i < n; i++) {
        const double d = grad[i] * a->grad_scale + a->weight_decay * w[i];
        m[i] = a->beta1 * m[i] + (1 - a->beta1) * d;
        v[i] = a->beta2 * v[i] + (1 - a->beta2) * d * d;
        w[i] -= a->lr * (m[i] / fix1) / (sqrt(v[i] / fix2) + a->eps);
    }
}
