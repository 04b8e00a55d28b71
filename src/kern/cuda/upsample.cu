/* upsample: the nearest place, i = floor(o / factor); or linear between the two around p = (o + 1/2) / factor - 1/2, with shares by distance,
 * and beyond the first and the last place that one alone. */
#include "kern/cuda/window.cuh"

namespace {

struct upsample_axis {
    int in, out, factor;
    template <class A> static void make(const lk_opspec *s, A axis[LK_MAX_AXES])
    {
        int64_t in[LK_MAX_AXES], out[LK_MAX_AXES];

        lki_axes_size(&s->in[0], in);
        lki_axes_size(&s->out, out);
        for (int i = 0; i < LK_MAX_AXES; i++) {
            axis[i].in = (int)in[i];
            axis[i].out = (int)out[i];
            axis[i].factor = (int)(out[i] / in[i]);
        }
    }
};

struct nearest_axis : upsample_axis {
    __device__ range inputs(int o) const
    {
        return {o / factor, o / factor + 1};
    }
    __device__ range outputs(int i) const
    {
        return {i * factor, (i + 1) * factor};
    }
    __device__ float share(int, int) const
    {
        return 1.0f;
    }
};

/* p is kept as the whole number 2 factor p, so that shares are exact and a place without a share is none. */
struct linear_axis : upsample_axis {
    /* The first of the two places, and 2 factor times the share of the second. */
    __device__ int first(int o, int *second) const
    {
        const int at = 2 * o + 1 - factor, i = at < 0 ? 0 : at / (2 * factor);
        *second = at < 0 || i == in - 1 ? 0 : at - 2 * factor * i;
        return i;
    }
    __device__ range inputs(int o) const
    {
        int second;
        const int i = first(o, &second);
        return {i, i + (second > 0 ? 2 : 1)};
    }
    /* All with p between i - 1 and i + 1, and those at the ends. */
    __device__ range outputs(int i) const
    {
        return {i == 0 ? 0 : factor * (i - 1) + (factor + 1) / 2, i == in - 1 ? out : factor * (i + 1) + factor / 2};
    }
    __device__ float share(int i, int o) const
    {
        int second;
        const bool is_first = first(o, &second) == i;
        return (float)(is_first ? 2 * factor - second : second) / (float)(2 * factor);
    }
};

template <class T> lk_status forward(const lk_call *c)
{
    return (c->spec->attr.resize.linear ? shares_forward<T, linear_axis> : shares_forward<T, nearest_axis>)(c);
}

template <class T> lk_status backward(const lk_call *c)
{
    return (c->spec->attr.resize.linear ? shares_backward<T, linear_axis> : shares_backward<T, nearest_axis>)(c);
}

template <class T> constexpr lk_kernel kernel = {.plan = shares_plan, .forward = forward<T>, .backward = backward<T>};

} // namespace

LKI_KERNELS(upsample, kernel);
