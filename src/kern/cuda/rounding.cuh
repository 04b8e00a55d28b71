/* Weights in the type of values, to nearest or at random (lk_call.rounding). */
#ifndef LK_KERN_CUDA_ROUNDING_CUH
#define LK_KERN_CUDA_ROUNDING_CUH

#include "kern/cuda/cuda_int.h"
#include "kern/formula.h"

/* The narrow number as a float. */
template <class T> static __device__ inline float round_by(float x, uint32_t word);
template <> __device__ inline float round_by<float>(float x, uint32_t)
{
    return x;
}
template <> __device__ inline float round_by<bf16>(float x, uint32_t word)
{
    return lki_formula_round_bf16(x, word);
}
template <> __device__ inline float round_by<f16>(float x, uint32_t word)
{
    return lki_formula_round_fp16(x, word);
}

/* Of one parameter, in a kernel; element e is x. */
template <class T> struct rounder {
    bool random;
    lk_rounding how;
    explicit rounder(const lk_rounding *r) : random(r != NULL), how(r != NULL ? *r : lk_rounding{})
    {
    }
    __device__ T operator()(int64_t e, float x) const
    {
        return from_float<T>(random ? round_by<T>(x, random_word(how.rng.key, how.row, (uint64_t)e)) : x);
    }
};

/* How parameter i of a call is rounded; NULL: to nearest. */
static inline const lk_rounding *rounding_of(const lk_call *c, int i)
{
    return c->rounding != NULL ? &c->rounding[i] : NULL;
}

#endif
