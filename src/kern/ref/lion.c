/* lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2): c = b1 m + (1-b1) g; p -= lr
 * (sign(c) + wd p); m = b2 m + (1-b2) g. */
#include "kern/kern_int.h"

void lk_opt_ref_lion(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    double *const w = p, *const m = state[0];
    const double *const grad = g;
    for (int64_t i = 0; i < n; i++) {
        const double d = grad[i] * a->grad_scale, c = a->beta1 * m[i] + (1 - a->beta1) * d;
        w[i] -= a->lr * ((c > 0) - (c < 0) + a->weight_decay * w[i]);
        m[i] = a->beta2 * m[i] + (1 - a->beta2) * d;
    }
}
