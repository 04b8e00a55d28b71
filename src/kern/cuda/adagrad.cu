/* adagrad, the formula of ref/adagrad.c. */
#include "kern/cuda/optimizer.cuh"

struct adagrad_update {
    lki_formula_opt k;
    __device__ void operator()(int64_t, float g, float &p, float &s) const
    {
        lki_formula_adagrad(&k, g, &p, &s);
    }
};

LKI_OPTIMIZER(adagrad, one, adagrad_update)
