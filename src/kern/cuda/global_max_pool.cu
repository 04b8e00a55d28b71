/* global_max_pool: the largest of all places of a channel, the first of equal ones; NaN counts as the largest. Saved: which, as its number. */
#include "kern/cuda/fold.cuh"

#include <inttypes.h>

namespace {

struct largest {
    float value;
    int place; /* -1: none yet */
    static __device__ largest none()
    {
        return {0, -1};
    }
    __device__ void add(const largest &o)
    {
        const bool nan = value != value, o_nan = o.value != o.value;
        const bool same = nan ? o_nan : value == o.value;
        if (o.place >= 0 && (place < 0 || (same ? o.place < place : o_nan || (!nan && o.value > value))))
            *this = o;
    }
};

template <class T> struct largest_of_all {
    typedef largest gathered;
    fold_groups g;
    const T *x;
    T *y;
    int *saved; /* or NULL */
    __device__ largest take(int64_t output, int64_t first, int64_t end, int64_t step) const
    {
        const T *from = x + g.of_output(output);
        largest best = largest::none();
        for (int64_t r = first; r < end; r += step)
            best.add({to_float(from[g.of_place(r)]), (int)r});
        return best;
    }
    __device__ void store(int64_t output, const largest &v) const
    {
        y[output] = from_float<T>(v.value);
        if (saved != NULL)
            saved[output] = v.place;
    }
};

template <class T> struct back_to_largest {
    fold_groups g;
    const T *dy;
    const int *saved;
    T *dx;
    __device__ void operator()(int64_t i) const
    {
        int64_t row, place;
        const int64_t output = g.output_of(i, &row, &place);
        dx[i] = place == saved[output] ? dy[output] : from_float<T>(0);
    }
};

lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const fold_groups g = fold_places(s);

    if (g.count > INT32_MAX)
        return LK_FAIL(LK_E_UNSUPPORTED, "a channel of %" PRId64 " places and more than 2^31 - 1: the GPU's kernel counts no further", g.count);
    *out = {};
    out->scratch_forward = fold_scratch<largest>(&g);
    out->saved_bytes = s->training ? (size_t)g.outputs * sizeof(int) : 0;
    return LK_OK;
}

template <class T> lk_status forward(const lk_call *c)
{
    const fold_groups g = fold_places(c->spec);

    return fold(&g, largest_of_all<T>{g, (const T *)c->x[0], (T *)c->y, (int *)c->saved}, c->scratch);
}

template <class T> lk_status backward(const lk_call *c)
{
    const fold_groups g = fold_places(c->spec);

    return c->dx[0] ? each(g.outputs * g.count, back_to_largest<T>{g, (const T *)c->dy, (const int *)c->saved, (T *)c->dx[0]}) : LK_OK;
}

template <class T>
constexpr lk_kernel kernel = {
    .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward<T>, .backward = backward<T>};

} // namespace

LKI_KERNELS(global_max_pool, kernel);
