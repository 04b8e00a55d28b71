/* adagrad, the formula of ref/adagrad.c. */
#include "kern/cuda/elements.cuh"

struct adagrad_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &s) const
    {
        lki_formula_adagrad(&k, g, &p, &s);
    }
};

void lk_opt_cuda_adagrad(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    lki_cuda_defer(elements(n, adagrad_update{lki_formula_opt_make(a)}, reads((const float *)g), updates((float *)p), updates((float *)state[0])));
}
