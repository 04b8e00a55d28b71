/* Element by element over arrays of n numbers, 128 bits at a time where they lie so, and what such kernels share.
 *
 *     struct product {
 *         __device__ void operator()(int64_t i, float a, float b, float &y) { y = a * b; }
 *     };
 *     elements(n, product(), reads(a), reads(b), writes(y));
 *
 * calls it for each i in [0, n), a few neighbours in a thread. The arrays may be of any of the types of values; the function gets floats. An
 * array that is written may be one that is read, at the same elements. writes(NULL) drops what is written there. */
#ifndef LK_KERN_CUDA_ELEMENTS_CUH
#define LK_KERN_CUDA_ELEMENTS_CUH

#include "kern/cuda/cuda_int.h"
#include "kern/formula.h"

/* ---- runs of w elements; w = 1, or whole vectors that are aligned ---- */
template <int w, class T> static __device__ inline void load_run(const T *from, float (&v)[w])
{
    if constexpr (w == 1) {
        v[0] = to_float(*from);
    } else {
        for (int k = 0; k < w; k += vec<T>::n) {
            const vec<T> part = load_vec(from + k);
            for (int j = 0; j < vec<T>::n; j++)
                v[k + j] = to_float(part.at[j]);
        }
    }
}
template <int w, class T> static __device__ inline void store_run(T *to, const float (&v)[w])
{
    if constexpr (w == 1) {
        *to = from_float<T>(v[0]);
    } else {
        for (int k = 0; k < w; k += vec<T>::n) {
            vec<T> part;
            for (int j = 0; j < vec<T>::n; j++)
                part.at[j] = from_float<T>(v[k + j]);
            store_vec(to + k, part);
        }
    }
}

/* The same as store_run, whole vectors in one access each whatever stands around it: nvcc makes four of some of those in loops. Of global memory. */
template <int w, class T> static __device__ inline void store_run_whole(T *to, const float (&v)[w])
{
    if constexpr (w == 1) {
        store_run(to, v);
    } else {
        for (int k = 0; k < w; k += vec<T>::n) {
            vec<T> part;
            uint4 words;
            for (int j = 0; j < vec<T>::n; j++)
                part.at[j] = from_float<T>(v[k + j]);
            memcpy(&words, &part, sizeof words);
            __stwb(vec_at<uint4>(to + k), words);
        }
    }
}

/* ---- arrays. Others may be made like these: the type of their elements; on the host, whether a run of w elements from a multiple of w on lies
 * in whole vectors; on the device, to take such a run, or one element, and to give it back. ---- */
template <class T> struct read_array {
    typedef T type;
    const T *at;
    bool runs(int) const
    {
        return aligned16(at);
    }
    template <int w> __device__ void load(int64_t i, float (&v)[w]) const
    {
        load_run(at + i, v);
    }
    template <int w> __device__ void store(int64_t, const float (&)[w]) const
    {
    }
};
template <class T> struct write_array {
    typedef T type;
    T *at; /* NULL: nobody asks */
    bool runs(int) const
    {
        return aligned16(at);
    }
    template <int w> __device__ void load(int64_t, float (&v)[w]) const
    {
        for (int k = 0; k < w; k++)
            v[k] = 0.0f;
    }
    template <int w> __device__ void store(int64_t i, const float (&v)[w]) const
    {
        if (at != NULL)
            store_run(at + i, v);
    }
};
template <class T> struct update_array {
    typedef T type;
    T *at;
    bool runs(int) const
    {
        return aligned16(at);
    }
    template <int w> __device__ void load(int64_t i, float (&v)[w]) const
    {
        load_run<w, T>(at + i, v);
    }
    template <int w> __device__ void store(int64_t i, const float (&v)[w]) const
    {
        store_run(at + i, v);
    }
};
/* Element i is number i % row. */
template <class T> struct repeat_array {
    typedef T type;
    const T *at;
    int64_t row;
    bool runs(int w) const
    {
        return aligned16(at) && row % w == 0;
    }
    template <int w> __device__ void load(int64_t i, float (&v)[w]) const
    {
        load_run(at + i % row, v);
    }
    template <int w> __device__ void store(int64_t, const float (&)[w]) const
    {
    }
};
template <class T> static inline read_array<T> reads(const T *p)
{
    return {p};
}
template <class T> static inline write_array<T> writes(T *p)
{
    return {p};
}
template <class T> static inline update_array<T> updates(T *p)
{
    return {p};
}
template <class T> static inline repeat_array<T> repeats(const T *p, int64_t row)
{
    return {p, row};
}

/* ---- the kernel ---- */
template <int w, class A> struct held_run {
    A a;
    float v[w];
    __device__ held_run(const A &from, int64_t i) : a(from)
    {
        a.load(i, v);
    }
};
template <int w, class F, class... H> static __device__ inline void work_run(int64_t i, F &f, H... held)
{
    LKI_UNROLL
    for (int k = 0; k < w; k++)
        f(i + k, held.v[k]...);
    (held.a.store(i, held.v), ...);
}
template <int w, class F, class... A> static __global__ void elements_kernel(int64_t n, bool runs, F f, A... a)
{
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * w;

    if (runs && first + w <= n) {
        work_run<w>(first, f, held_run<w, A>(a, first)...);
        return;
    }
    for (int64_t i = first; i < n && i < first + w; i++)
        work_run<1>(i, f, held_run<1, A>(a, i)...);
}

/* A copy of `f` works on a few neighbours, in rising order: it may keep what it found for the last one. */
template <class F, class... A> static lk_status elements(int64_t n, F f, A... a)
{
    constexpr int w = ((sizeof(typename A::type) == 2) || ...) ? 8 : 4; /* 16 bytes of the narrowest */
    const bool runs = (a.runs(w) && ...);

    return n > 0 ? launch(elements_kernel<w, F, A...>, dim3(grid_of(div_up(n, (int64_t)w * LKI_BLOCK))), dim3(LKI_BLOCK), 0, n, runs, f, a...)
                 : LK_OK;
}

/* ---- division ---- */
/* By a number that is the same for all threads. */
struct divisor : lki_divisor {
    explicit divisor(int64_t d) : lki_divisor(lki_divisor_make(d))
    {
    }
    __device__ int64_t quotient(int64_t i) const
    {
        return lki_quotient(this, i);
    }
};

/* ---- activations ---- */
template <lk_act act> struct act_constant {
    static constexpr lk_act value = act;
};
/* go(act_constant<act>()), so that kernels have the function as a constant. */
template <class G> static lk_status with_act(lk_act act, G go)
{
    switch (act) {
    case LK_ACT_RELU:
        return go(act_constant<LK_ACT_RELU>());
    case LK_ACT_LEAKY_RELU:
        return go(act_constant<LK_ACT_LEAKY_RELU>());
    case LK_ACT_ELU:
        return go(act_constant<LK_ACT_ELU>());
    case LK_ACT_GELU:
        return go(act_constant<LK_ACT_GELU>());
    case LK_ACT_GELU_TANH:
        return go(act_constant<LK_ACT_GELU_TANH>());
    case LK_ACT_SILU:
        return go(act_constant<LK_ACT_SILU>());
    case LK_ACT_SIGMOID:
        return go(act_constant<LK_ACT_SIGMOID>());
    case LK_ACT_TANH:
        return go(act_constant<LK_ACT_TANH>());
    case LK_ACT_SOFTPLUS:
        return go(act_constant<LK_ACT_SOFTPLUS>());
    default:
        return go(act_constant<LK_ACT_NONE>());
    }
}

/* y = f(x) */
template <lk_act act> struct act_forward {
    float alpha;
    __device__ void operator()(int64_t, float x, float &y) const
    {
        y = lki_formula_act(act, alpha, x);
    }
};
/* dx = dy f'(x); v is y where lki_act_by_output(act), else x. */
template <lk_act act> struct act_backward {
    float alpha;
    __device__ void operator()(int64_t, float v, float dy, float &dx) const
    {
        dx = lki_formula_act_back(act, alpha, v, dy);
    }
};

#endif
