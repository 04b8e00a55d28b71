/* adam, the formula of ref/adam.c. */
#include "kern/cpu/cpu_int.h"
#include <math.h>

LK_CLONES static void update(int64_t n, float *restrict p, float *restrict m, float *restrict v,
    const float *restrict g, float scale, float decay, float b1, float b2, float rest1, float rest2, float step,
    float root2, float eps)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * scale + decay * p[i];
        m[i] = b1 * m[i] + rest1 * d;
        v[i] = b2 * v[i] + rest2 * d * d;
        p[i] -= step * m[i] / (sqrtf(v[i]) * root2 + eps);
    }
}

void lk_opt_cpu_adam(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    /* The corrections by 1 - b^t go into the step and into the root: per call, not per element. */
    const double part1 = 1 - pow(a->beta1, (double)a->t), part2 = 1 - pow(a->beta2, (double)a->t);
    update(n, p, state[0], state[1], g, (float)a->grad_scale, (float)a->weight_decay, (float)a->beta1, (float)a->beta2,
        (float)(1 - a->beta1), (float)(1 - a->beta2), (float)(a->lr / part1), (float)(1 / sqrt(part2)), (float)a->eps);
}
