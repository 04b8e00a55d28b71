/* lion, the formula of ref/lion.c. */
#include "kern/cuda/elements.cuh"

struct lion_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &m) const
    {
        lki_formula_lion(&k, g, &p, &m);
    }
};

void lk_opt_cuda_lion(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    lki_cuda_defer(elements(n, lion_update{lki_formula_opt_make(a)}, reads((const float *)g), updates((float *)p), updates((float *)state[0])));
}
