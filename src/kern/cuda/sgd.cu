/* sgd, the formula of ref/sgd.c. */
#include "kern/cuda/elements.cuh"

struct sgd_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &v) const
    {
        lki_formula_sgd(&k, g, &p, &v);
    }
};

void lk_opt_cuda_sgd(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    lki_cuda_defer(elements(n, sgd_update{lki_formula_opt_make(a)}, reads((const float *)g), updates((float *)p), updates((float *)state[0])));
}
