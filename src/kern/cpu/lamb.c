/* lamb, the formula of ref/lamb.c: the direction is computed twice, rather than kept. */
#include "kern/cpu/cpu_int.h"
#include <math.h>

enum { LANES = 8 };

/* The direction of an element. */
#define DIRECTION(i) (part1 * m[i] / (sqrtf(v[i]) * root2 + eps) + decay * p[i])

/* Moves the means, and sums the squares of the directions, in fixed lanes. */
LK_CLONES static double means(int64_t n, const float *restrict p, float *restrict m, float *restrict v,
    const float *restrict g, float scale, float decay, float b1, float b2, float rest1, float rest2, float part1,
    float root2, float eps)
{
    double lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * scale;
        m[i] = b1 * m[i] + rest1 * d;
        v[i] = b2 * v[i] + rest2 * d * d;
    }
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            const double u = (double)DIRECTION(i + j);
            lane[j] += u * u;
        }
    for (int j = 0; i < n; i++, j++) {
        const double u = (double)DIRECTION(i);
        lane[j] += u * u;
    }
    for (int h = LANES / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

LK_CLONES static void update(int64_t n, float *restrict p, const float *restrict m, const float *restrict v, float rate,
    float decay, float part1, float root2, float eps)
{
    for (int64_t i = 0; i < n; i++)
        p[i] -= rate * DIRECTION(i);
}

void lk_opt_cpu_lamb(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    const float part1 = (float)(1 / (1 - pow(a->beta1, (double)a->t)));
    const float root2 = (float)(1 / sqrt(1 - pow(a->beta2, (double)a->t)));
    const float decay = (float)a->weight_decay, eps = (float)a->eps;
    const double own = sqrt(lki_cpu_sum_squares(n, p));
    const double squares = means(n, p, state[0], state[1], g, (float)a->grad_scale, decay, (float)a->beta1,
        (float)a->beta2, (float)(1 - a->beta1), (float)(1 - a->beta2), part1, root2, eps);
    const bool adapts = a->shape->ndim >= 2 && own > 0 && squares > 0;
    const double rate = a->lr * (adapts ? own / sqrt(squares) : 1);
    update(n, p, state[0], state[1], (float)rate, decay, part1, root2, eps);
}
