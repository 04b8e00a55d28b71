/* adam, the formula of ref/adam.c. */
#include "kern/cuda/elements.cuh"

struct adam_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &m, float &v) const
    {
        lki_formula_adam(&k, g, &p, &m, &v);
    }
};

void lk_opt_cuda_adam(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    lki_cuda_defer(elements(n, adam_update{lki_formula_opt_make(a)}, reads((const float *)g), updates((float *)p), updates((float *)state[0]), updates((float *)state[1])));
}
