/* lamb, the formula of ref/lamb.c: the means and, as they move, the norms; the rate that follows from them; the update, whose direction is
 * computed again rather than kept. */
#include "kern/cuda/whole.cuh"

/* Moves the means of element i, and adds up squares of the weight and of the direction. */
struct lamb_means {
    lki_formula_opt k;
    const float *p, *g;
    float *m, *v;
    __device__ void operator()(int64_t i, double &own, double &way) const
    {
        lki_formula_means(&k, g[i] * k.scale, &m[i], &v[i]);
        const double u = (double)lki_formula_lamb_direction(&k, p[i], m[i], v[i]);
        own += (double)p[i] * (double)p[i];
        way += u * u;
    }
};
struct lamb_rate {
    double lr;
    __device__ float operator()(double own, double way) const
    {
        return (float)(lr * (own > 0 && way > 0 ? sqrt(own) / sqrt(way) : 1));
    }
};
struct lamb_update {
    lki_formula_opt k;
    const float *rate;
    __device__ void operator()(int64_t, float m, float v, float &p) const
    {
        p = fmaf(-*rate, lki_formula_lamb_direction(&k, p, m, v), p);
    }
};
/* Of parameters of one dimension, which take the learning rate alone. */
struct lamb_plain {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &m, float &v) const
    {
        lki_formula_means(&k, g * k.scale, &m, &v);
        p = fmaf(-k.lr, lki_formula_lamb_direction(&k, p, m, v), p);
    }
};

static lk_status update(int64_t n, float *p, float *m, float *v, const float *g, const lk_opt_args *a)
{
    const lki_formula_opt k = lki_formula_opt_make(a);
    const float *rate = NULL;

    if (n == 0 || a->shape->ndim < 2)
        return elements(n, lamb_plain{k}, reads(g), updates(p), updates(m), updates(v));
    LK_TRY(pair_of_sums(n, lamb_means{k, p, g, m, v}, lamb_rate{a->lr}, a->scratch, &rate));
    return elements(n, lamb_update{k, rate}, reads((const float *)m), reads((const float *)v), updates(p));
}

void lk_opt_cuda_lamb(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    lki_cuda_defer(update(n, (float *)p, (float *)state[0], (float *)state[1], (const float *)g, a));
}
