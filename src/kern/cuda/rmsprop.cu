/* rmsprop, the formula of ref/rmsprop.c. */
#include "kern/cuda/elements.cuh"

struct rmsprop_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &v, float &u) const
    {
        lki_formula_rmsprop(&k, g, &p, &v, &u);
    }
};

void lk_opt_cuda_rmsprop(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    lki_cuda_defer(elements(n, rmsprop_update{lki_formula_opt_make(a)}, reads((const float *)g), updates((float *)p), updates((float *)state[0]), updates((float *)state[1])));
}
