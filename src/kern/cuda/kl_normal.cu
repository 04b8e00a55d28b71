/* kl_normal, the formula of ref/kl_normal.c: a sum over the elements of a sample. */
#include "kern/cuda/element_loss.cuh"

struct kl_normal_element {
    static constexpr bool sum = true, checked = false;
    static kl_normal_element of(const lk_attrs *)
    {
        return {};
    }
    static double share(const lk_attrs *a)
    {
        return a->loss.scale;
    }
    __device__ lki_formula_loss operator()(float mean, float variance) const
    {
        return lki_formula_kl_normal(mean, variance);
    }
};

template <class T> static constexpr lk_kernel kernel = element_loss<T, kl_normal_element>;

LKI_KERNELS(kl_normal, kernel);
