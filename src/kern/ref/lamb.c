/* lamb (You et al. 2020, "Large batch optimization for deep learning", algorithm 2): m, v, mhat, vhat as adam; u = mhat
 * / (sqrt(vhat) + eps) + wd p; p -= lr l u with l = |p| / |u| over the whole parameter, 1 where either is 0. As usual,
 * parameters of one dimension take l = 1. */
#include "kern/ref/ref_int.h"
#include <math.h>

void lk_opt_ref_lamb(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    double *const w = p, *const m = state[0], *const v = state[1];
    const double *const grad = g;
    const double fix1 = 1 - pow(a->beta1, (double)a->t), fix2 = 1 - pow(a->beta2, (double)a->t);
    const double own = sqrt(ref_sum_squares(n, p));
    double squares = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = grad[i] * a->grad_scale;
        m[i] = a->beta1 * m[i] + (1 - a->beta1) * d;
        v[i] = a->beta2 * v[i] + (1 - a->beta2) * d * d;
        const double u = (m[i] / fix1) / (sqrt(v[i] / fix2) + a->eps) + a->weight_decay * w[i];
        squares += u * u;
    }
    const bool adapts = a->shape->ndim >= 2 && own > 0 && squares > 0;
    const double rate = a->lr * (adapts ? own / sqrt(squares) : 1);
    for (int64_t i = 0; i < n; i++)
        w[i] -= rate * ((m[i] / fix1) / (sqrt(v[i] / fix2) + a->eps) + a->weight_decay * w[i]);
}
