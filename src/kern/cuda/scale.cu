/* scale: times a constant, y = factor x. Backward: dx = factor dy. */
#include "kern/cuda/cuda_int.h"

template <class T> struct times {
    float factor;
    const T *x;
    T *y;
    __device__ void operator()(int64_t i) const
    {
        y[i] = from_float<T>(factor * to_float(x[i]));
    }
};

template <class T> struct times_vec {
    float factor;
    const T *x;
    T *y;
    __device__ void operator()(int64_t i) const
    {
        vec<T> v = load_vec(x + i * vec<T>::n);
        for (int k = 0; k < vec<T>::n; k++)
            v.at[k] = from_float<T>(factor * to_float(v.at[k]));
        store_vec(y + i * vec<T>::n, v);
    }
};

template <class T> static lk_status run(const lk_opspec *s, const void *from, void *to)
{
    const int64_t n = lk_shape_count(&s->out), whole = aligned16(from) && aligned16(to) ? n / vec<T>::n : 0, rest = whole * vec<T>::n;
    const T *x = (const T *)from;
    T *y = (T *)to;

    LK_TRY(each(whole, times_vec<T>{(float)s->attr.scale.factor, x, y}));
    return each(n - rest, times<T>{(float)s->attr.scale.factor, x + rest, y + rest});
}

template <class T> static lk_status forward(const lk_call *c)
{
    return run<T>(c->spec, c->x[0], c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    return c->dx[0] ? run<T>(c->spec, c->dy, c->dx[0]) : LK_OK;
}

template <class T>
static constexpr lk_kernel kernel = {
    .in_place = true, .in_place_dx = true, .forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(scale, kernel);
