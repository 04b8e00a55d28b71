/* rmsprop, the formula of ref/rmsprop.c. */
#include "kern/cuda/optimizer.cuh"

struct rmsprop_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &v, float &u) const
    {
        lki_formula_rmsprop(&k, g, &p, &v, &u);
    }
};

LKI_OPTIMIZER(rmsprop, two, rmsprop_update)
