/* mse, the formula of ref/mse.c. */
#include "kern/cuda/element_loss.cuh"

struct mse_element {
    static constexpr bool sum = false, checked = false;
    static mse_element of(const lk_attrs *)
    {
        return {};
    }
    static double share(const lk_attrs *a)
    {
        return a->loss.scale;
    }
    __device__ lki_formula_loss operator()(float x, float t) const
    {
        return lki_formula_mse(x, t);
    }
};

template <class T> static constexpr lk_kernel kernel = element_loss<T, mse_element>;

LKI_KERNELS(mse, kernel);
