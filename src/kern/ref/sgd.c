/* sgd with momentum (Sutskever et al. 2013) and weight decay as PyTorch does it: g += wd p; v = momentum v + g;
 * p -= lr v, or lr (g + momentum v) with nesterov. v starts at 0, so that the first v is g, as there. */
#include "kern/kern_int.h"

void lk_opt_ref_sgd(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    double *const w = p, *const v = state[0];
    const double *const grad = g;
    for (int64_t i = 0; i < n; i++) {
        const double d = grad[i] * a->grad_scale + a->weight_decay * w[i];
        v[i] = a->momentum * v[i] + d;
        w[i] -= a->lr * (a->nesterov ? d + a->momentum * v[i] : v[i]);
    }
}
