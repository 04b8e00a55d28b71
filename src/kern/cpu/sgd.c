/* sgd, the formula of ref/sgd.c. */
#include "kern/cpu/cpu_int.h"

LK_CLONES static void update(int64_t n, float *restrict p, float *restrict v, const float *restrict g, float lr,
    float decay, float momentum, float scale, bool nesterov)
{
    if (nesterov) {
        for (int64_t i = 0; i < n; i++) {
            const float d = g[i] * scale + decay * p[i];
            v[i] = momentum * v[i] + d;
            p[i] -= lr * (d + momentum * v[i]);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        v[i] = momentum * v[i] + (g[i] * scale + decay * p[i]);
        p[i] -= lr * v[i];
    }
}

void lk_opt_cpu_sgd(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    update(
        n, p, state[0], g, (float)a->lr, (float)a->weight_decay, (float)a->momentum, (float)a->grad_scale, a->nesterov);
}
