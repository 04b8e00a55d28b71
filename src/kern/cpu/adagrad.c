/* adagrad, the formula of ref/adagrad.c. */
#include "kern/cpu/cpu_int.h"
#include <math.h>

LK_CLONES static void update(int64_t n, float *restrict p, float *restrict s, const float *restrict g, float scale,
    float decay, float lr, float eps)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * scale + decay * p[i];
        s[i] += d * d;
        p[i] -= lr * d / (sqrtf(s[i]) + eps);
    }
}

void lk_opt_cpu_adagrad(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    update(n, p, state[0], g, (float)a->grad_scale, (float)a->weight_decay, (float)a->lr, (float)a->eps);
}
