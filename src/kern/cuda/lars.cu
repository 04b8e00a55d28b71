/* lars, the formula of ref/lars.c: the norms, the rate that follows from them, the update. */
#include "kern/cuda/whole.cuh"

struct lars_squares {
    const float *p, *g;
    __device__ void operator()(int64_t i, double &own, double &slope) const
    {
        own += (double)p[i] * (double)p[i];
        slope += (double)g[i] * (double)g[i];
    }
};
struct lars_rate {
    double lr, trust, decay, scale;
    __device__ float operator()(double own_squares, double slope_squares) const
    {
        const double own = sqrt(own_squares), slope = scale * sqrt(slope_squares);
        return (float)(lr * (own > 0 && slope > 0 ? trust * own / (slope + decay * own) : 1));
    }
};
struct lars_update {
    lki_formula_opt k;
    const float *rate; /* NULL: lr */
    __device__ void operator()(int64_t, float g, float &p, float &v) const
    {
        lki_formula_lars(&k, rate != NULL ? *rate : k.lr, g, &p, &v);
    }
};

static lk_status update(int64_t n, float *p, float *v, const float *g, const lk_opt_args *a)
{
    const float *rate = NULL;
    if (n > 0 && a->shape->ndim >= 2)
        LK_TRY(pair_of_sums(n, lars_squares{p, g}, lars_rate{a->lr, a->trust, a->weight_decay, a->grad_scale}, a->scratch, &rate));
    return elements(n, lars_update{lki_formula_opt_make(a), rate}, reads(g), updates(p), updates(v));
}

void lk_opt_cuda_lars(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    lki_cuda_defer(update(n, (float *)p, (float *)state[0], (const float *)g, a));
}
