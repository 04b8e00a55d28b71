/* bce_logits, the formula of ref/bce_logits.c. */
#include "kern/cuda/element_loss.cuh"

struct bce_logits_element {
    static constexpr bool sum = false, checked = true;
    float positive;
    static bce_logits_element of(const lk_attrs *a)
    {
        return {(float)lki_or_one(a->bce_logits.positive)};
    }
    static double share(const lk_attrs *a)
    {
        return a->bce_logits.scale;
    }
    __device__ lki_formula_loss operator()(float x, float t) const
    {
        return lki_formula_bce_logits(positive, x, t);
    }
};

template <class T> static constexpr lk_kernel kernel = element_loss<T, bce_logits_element>;

LKI_KERNELS(bce_logits, kernel);
