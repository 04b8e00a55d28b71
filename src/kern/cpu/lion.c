/* lion, the formula of ref/lion.c. */
#include "kern/cpu/cpu_int.h"

LK_CLONES static void update(int64_t n, float *restrict p, float *restrict m, const float *restrict g, float scale,
    float keep, float lr, float b1, float rest1, float b2, float rest2)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * scale, c = b1 * m[i] + rest1 * d;
        p[i] = keep * p[i] - (c > 0 ? lr : c < 0 ? -lr : 0);
        m[i] = b2 * m[i] + rest2 * d;
    }
}

void lk_opt_cpu_lion(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    update(n, p, state[0], g, (float)a->grad_scale, (float)(1 - a->lr * a->weight_decay), (float)a->lr, (float)a->beta1,
        (float)(1 - a->beta1), (float)a->beta2, (float)(1 - a->beta2));
}
