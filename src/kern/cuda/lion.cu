/* lion, the formula of ref/lion.c. */
#include "kern/cuda/optimizer.cuh"

struct lion_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &m) const
    {
        lki_formula_lion(&k, g, &p, &m);
    }
};

LKI_OPTIMIZER(lion, one, lion_update)
