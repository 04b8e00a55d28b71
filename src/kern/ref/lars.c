/* lars (You, Gitman & Ginsburg 2017, "Large batch training of convolutional networks", algorithm 1): v = momentum v +
 * lr l (g + wd p); p -= v; with l = trust |p| / (|g| + wd |p|) over the whole parameter. As usual, and unlike the
 * paper, parameters of one dimension take l = 1; so do those of norm 0. */
#include "kern/ref/ref_int.h"
#include <math.h>

void lk_opt_ref_lars(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    double *const w = p, *const v = state[0];
    const double *const grad = g;
    const double own = sqrt(ref_sum_squares(n, p));
    const double slope = a->grad_scale * sqrt(ref_sum_squares(n, g));
    const bool adapts = a->shape->ndim >= 2 && own > 0 && slope > 0;
    const double rate = a->lr * (adapts ? a->trust * own / (slope + a->weight_decay * own) : 1);
    for (int64_t i = 0; i < n; i++) {
        v[i] = a->momentum * v[i] + rate * (grad[i] * a->grad_scale + a->weight_decay * w[i]);
        w[i] -= v[i];
    }
}
