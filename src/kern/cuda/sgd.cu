/* sgd, the formula of ref/sgd.c. */
#include "kern/cuda/optimizer.cuh"

struct sgd_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &v) const
    {
        lki_formula_sgd(&k, g, &p, &v);
    }
};

LKI_OPTIMIZER(sgd, one, sgd_update)
