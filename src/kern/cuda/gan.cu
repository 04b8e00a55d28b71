/* gan, the formulas of op/gan.c. */
#include "kern/cuda/element_loss.cuh"

struct gan_element {
    static constexpr bool sum = false, checked = false;
    lk_gan_kind kind;
    lk_gan_role role;
    static gan_element of(const lk_attrs *a)
    {
        return {a->gan.kind, a->gan.role};
    }
    static double share(const lk_attrs *a)
    {
        return a->gan.scale;
    }
    __device__ lki_formula_loss operator()(float x, float) const
    {
        return lki_formula_gan(kind, role, x);
    }
};

template <class T> static constexpr lk_kernel kernel = element_loss<T, gan_element>;

LKI_KERNELS(gan, kernel);
