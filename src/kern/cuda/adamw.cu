/* adamw, the formula of ref/adamw.c. */
#include "kern/cuda/optimizer.cuh"

struct adamw_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &m, float &v) const
    {
        lki_formula_adamw(&k, g, &p, &m, &v);
    }
};

LKI_OPTIMIZER(adamw, two, adamw_update)
