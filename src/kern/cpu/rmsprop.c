/* rmsprop, the formula of ref/rmsprop.c. */
#include "kern/cpu/cpu_int.h"
#include <math.h>

LK_CLONES static void update(int64_t n, float *restrict p, float *restrict v, float *restrict u,
    const float *restrict g, float scale, float decay, float b2, float rest2, float momentum, float lr, float eps)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * scale + decay * p[i];
        v[i] = b2 * v[i] + rest2 * d * d;
        u[i] = momentum * u[i] + d / (sqrtf(v[i]) + eps);
        p[i] -= lr * u[i];
    }
}

void lk_opt_cpu_rmsprop(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    update(n, p, state[0], state[1], g, (float)a->grad_scale, (float)a->weight_decay, (float)a->beta2,
        (float)(1 - a->beta2), (float)a->momentum, (float)a->lr, (float)a->eps);
}
