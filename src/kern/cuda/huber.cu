/* huber, the formula of ref/huber.c. */
#include "kern/cuda/element_loss.cuh"

struct huber_element {
    static constexpr bool sum = false, checked = false;
    float delta;
    static huber_element of(const lk_attrs *a)
    {
        return {(float)lki_or_one(a->huber.delta)};
    }
    static double share(const lk_attrs *a)
    {
        return a->huber.scale;
    }
    __device__ lki_formula_loss operator()(float x, float t) const
    {
        return lki_formula_huber(delta, x, t);
    }
};

template <class T> static constexpr lk_kernel kernel = element_loss<T, huber_element>;

LKI_KERNELS(huber, kernel);
