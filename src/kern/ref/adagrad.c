/* adagrad (Duchi, Hazan & Singer 2011, "Adaptive subgradient methods", the diagonal form), the decay added to the
 * gradient as in PyTorch: g += wd p; s += g^2; p -= lr g / (sqrt(s) + eps). */
#include "kern/kern_int.h"
#include <math.h>

void lk_opt_ref_adagrad(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    double *const w = p, *const s = state[0];
    const double *const grad = g;
    for (int64_t i = 0; i < n; i++) {
        const double d = grad[i] * a->grad_scale + a->weight_decay * w[i];
        s[i] += d * d;
        w[i] -= a->lr * d / (sqrt(s[i]) + a->eps);
    }
}
