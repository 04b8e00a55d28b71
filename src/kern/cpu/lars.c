/* lars, the formula of ref/lars.c. */
#include "kern/cpu/cpu_int.h"
#include <math.h>

LK_CLONES static void update(int64_t n, float *restrict p, float *restrict v, const float *restrict g, float scale,
    float decay, float momentum, float rate)
{
    for (int64_t i = 0; i < n; i++) {
        v[i] = momentum * v[i] + rate * (g[i] * scale + decay * p[i]);
        p[i] -= v[i];
    }
}

void lk_opt_cpu_lars(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    const double own = sqrt(lki_cpu_sum_squares(n, p)), slope = a->grad_scale * sqrt(lki_cpu_sum_squares(n, g));
    const bool adapts = a->shape->ndim >= 2 && own > 0 && slope > 0;
    const double rate = a->lr * (adapts ? a->trust * own / (slope + a->weight_decay * own) : 1);
    update(n, p, state[0], g, (float)a->grad_scale, (float)a->weight_decay, (float)a->momentum, (float)rate);
}
