/* Operations that take each place from a few places around it, over one to three axes: pools and changes of size. Values are
 * [batch, D, H, W, channels], with 1 for axes that they have not; plain is channels last of one channel with more samples.
 *
 * What belongs together along an axis says a struct A:
 *     int in, out;                        places of the input and of the output
 *     range inputs(int o) const;          of the input, that output place o takes from
 *     range outputs(int i) const;         of the output, that take from input place i
 *     float share(int i, int o) const;    how much of i is in o, for those
 *     static void make(const lk_opspec *s, A axis[LK_MAX_AXES]);
 * Backward gathers, too: each place of dx sums, in D H W order, what the outputs over it give. */
#ifndef LK_KERN_CUDA_WINDOW_CUH
#define LK_KERN_CUDA_WINDOW_CUH

#include "kern/cuda/elements.cuh"

#include <inttypes.h>

/* Places of a channel, so that they and what is computed with them along an axis fit into an int. */
static inline lk_status places_check(const lk_opspec *s)
{
    const int64_t most = INT64_C(1) << 30, in = lki_shape_area(&s->in[0]), out = lki_shape_area(&s->out);

    if (in >= most || out >= most)
        return LK_FAIL(LK_E_UNSUPPORTED, "a channel of %" PRId64 " places and more than 2^30 - 1: the GPU's kernels count no further", in > out ? in : out);
    return LK_OK;
}

/* Places [from, to) of an axis. */
struct range {
    int from, to;
};

/* How many channels lie beside each other, and how often all places. */
struct places {
    int64_t batch, channels;
};
static inline places places_of(const lk_opspec *s)
{
    const int64_t *x = s->in[0].dim;

    return s->in_layout == LK_LAYOUT_NHWC ? places{x[0], x[1]} : places{x[0] * x[1], 1};
}
/* Whether a thread takes 16 bytes of neighbouring channels, and not one channel. */
template <class T> static inline bool channels_in_runs(const lk_opspec *s, const void *a, const void *b)
{
    return aligned16(a) && aligned16(b) && places_of(s).channels % vec<T>::n == 0;
}

/* ---- windows of pools ---- */
struct window_axis {
    int in, out, kernel, stride, pad;
    __device__ range inputs(int o) const
    {
        const int at = o * stride - pad;
        return {max(at, 0), min(at + kernel, in)};
    }
    __device__ range outputs(int i) const
    {
        const int before = i + pad - kernel; /* the last place of a window that ends in front of i */
        return {before < 0 ? 0 : before / stride + 1, min((i + pad) / stride + 1, out)};
    }
    /* Which of the window's places i is. */
    __device__ int tap(int i, int o) const
    {
        return i + pad - o * stride;
    }
    __device__ float share(int, int) const
    {
        return 1.0f / (float)kernel;
    }
    static void make(const lk_opspec *s, window_axis axis[LK_MAX_AXES])
    {
        const lk_attr_pool *a = &s->attr.pool;
        int64_t in[LK_MAX_AXES], out[LK_MAX_AXES], kernel[LK_MAX_AXES], stride[LK_MAX_AXES], pad[LK_MAX_AXES];

        lki_axes_size(&s->in[0], in);
        lki_axes_size(&s->out, out);
        lki_axes(&s->in[0], a->kernel, 1, kernel);
        lki_axes(&s->in[0], a->stride, 1, stride);
        lki_axes(&s->in[0], a->pad, 0, pad);
        for (int i = 0; i < LK_MAX_AXES; i++)
            axis[i] = {(int)in[i], (int)out[i], (int)kernel[i], (int)stride[i], (int)pad[i]};
    }
};

/* ---- sums of shares ---- */
/* Forward from x to y, back from dy to dx; a thread takes `width` channels of a place. */
template <class T, class A, int width, bool back> struct sum_shares {
    A axis[LK_MAX_AXES];
    int64_t runs; /* of channels */
    const T *from;
    T *to;
    __device__ range of(int k, int place) const
    {
        return back ? axis[k].outputs(place) : axis[k].inputs(place);
    }
    __device__ float share(int k, int place, int other) const
    {
        return back ? axis[k].share(place, other) : axis[k].share(other, place);
    }
    __device__ int size(int k) const
    {
        return back ? axis[k].in : axis[k].out;
    }
    __device__ int other_size(int k) const
    {
        return back ? axis[k].out : axis[k].in;
    }
    __device__ void operator()(int64_t i) const
    {
        int64_t rest = i;
        const int64_t run = digit(rest, runs), channels = runs * width;
        const int w = (int)digit(rest, size(AT_W)), h = (int)digit(rest, size(AT_H)), d = (int)digit(rest, size(AT_D));
        const range on_d = of(AT_D, d), on_h = of(AT_H, h), on_w = of(AT_W, w);
        const T *sample = from + rest * other_size(AT_D) * other_size(AT_H) * other_size(AT_W) * channels + run * width;
        float sum[width] = {};

        for (int j = on_d.from; j < on_d.to; j++)
            for (int k = on_h.from; k < on_h.to; k++) {
                const float plane = share(AT_D, d, j) * share(AT_H, h, k);
                const int64_t row = ((int64_t)j * other_size(AT_H) + k) * other_size(AT_W);
                for (int l = on_w.from; l < on_w.to; l++) {
                    const float part = plane * share(AT_W, w, l);
                    float v[width];
                    load_run(sample + (row + l) * channels, v);
                    LKI_UNROLL
                    for (int c = 0; c < width; c++)
                        sum[c] += part * v[c];
                }
            }
        store_run(to + i * width, sum);
    }
};

template <class T, class A, int width, bool back> static lk_status sum_shares_of(const lk_opspec *s, const void *from, void *to)
{
    const int64_t n = lk_shape_count(back ? &s->in[0] : &s->out);
    sum_shares<T, A, width, back> f = {{}, places_of(s).channels / width, (const T *)from, (T *)to};

    A::make(s, f.axis);
    return each(n / width, f);
}

static inline lk_status shares_plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = {};
    return places_check(s);
}

template <class T, class A> static lk_status shares_forward(const lk_call *c)
{
    const bool runs = channels_in_runs<T>(c->spec, c->x[0], c->y);

    return (runs ? sum_shares_of<T, A, vec<T>::n, false> : sum_shares_of<T, A, 1, false>)(c->spec, c->x[0], c->y);
}

template <class T, class A> static lk_status shares_backward(const lk_call *c)
{
    const bool runs = channels_in_runs<T>(c->spec, c->dy, c->dx[0]);

    return c->dx[0] ? (runs ? sum_shares_of<T, A, vec<T>::n, true> : sum_shares_of<T, A, 1, true>)(c->spec, c->dy, c->dx[0]) : LK_OK;
}

#endif
