/* adam, the formula of ref/adam.c. */
#include "kern/cuda/optimizer.cuh"

struct adam_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &m, float &v) const
    {
        lki_formula_adam(&k, g, &p, &m, &v);
    }
};

LKI_OPTIMIZER(adam, two, adam_update)
