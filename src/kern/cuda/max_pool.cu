/* max_pool: the largest under a window, the first in D H W order of equal ones; NaN counts as the largest. Saved: which of the window's places
 * won, one byte an output where that fits, else four. Backward: each place of the input sums dy of the windows over it that it won. */
#include "kern/cuda/window.cuh"

namespace {

enum { BYTE_TAPS = 256 };

/* Places of a window; numbered in D H W order. */
int64_t taps_of(const lk_opspec *s)
{
    int64_t n = 1;

    for (int i = 0; i < s->in[0].ndim - 2; i++)
        n = n > INT32_MAX ? n : n * s->attr.pool.kernel[i];
    return n;
}

template <class T, class S, int width> struct largest_under {
    window_axis axis[LK_MAX_AXES];
    int64_t runs; /* of channels */
    const T *x;
    T *y;
    S *saved; /* or NULL */
    __device__ void operator()(int64_t i) const
    {
        int64_t rest = i;
        const int64_t run = digit(rest, runs), channels = runs * width;
        const int w = (int)digit(rest, axis[AT_W].out), h = (int)digit(rest, axis[AT_H].out), d = (int)digit(rest, axis[AT_D].out);
        const range on_d = axis[AT_D].inputs(d), on_h = axis[AT_H].inputs(h), on_w = axis[AT_W].inputs(w);
        const T *sample = x + rest * axis[AT_D].in * axis[AT_H].in * axis[AT_W].in * channels + run * width;
        float best[width];
        int place[width];

        LKI_UNROLL
        for (int c = 0; c < width; c++) {
            best[c] = 0;
            place[c] = -1;
        }
        for (int j = on_d.from; j < on_d.to; j++)
            for (int k = on_h.from; k < on_h.to; k++) {
                const int64_t row = ((int64_t)j * axis[AT_H].in + k) * axis[AT_W].in;
                const int tap = (axis[AT_D].tap(j, d) * axis[AT_H].kernel + axis[AT_H].tap(k, h)) * axis[AT_W].kernel;
                for (int l = on_w.from; l < on_w.to; l++) {
                    float v[width];
                    load_run(sample + (row + l) * channels, v);
                    const int at = tap + axis[AT_W].tap(l, w);
                    LKI_UNROLL
                    for (int c = 0; c < width; c++) {
                        const bool more = place[c] < 0 || (!(v[c] <= best[c]) && best[c] == best[c]);
                        best[c] = more ? v[c] : best[c];
                        place[c] = more ? at : place[c];
                    }
                }
            }
        store_run(y + i * width, best);
        if (saved == NULL)
            return;
        vec<S, width> out;
        LKI_UNROLL
        for (int c = 0; c < width; c++)
            out.at[c] = (S)place[c];
        store_vec(saved + i * width, out);
    }
};

template <class T, class S, int width> struct back_to_largest_under {
    window_axis axis[LK_MAX_AXES];
    int64_t runs;
    const T *dy;
    const S *saved;
    T *dx;
    __device__ void operator()(int64_t i) const
    {
        int64_t rest = i;
        const int64_t run = digit(rest, runs), channels = runs * width;
        const int w = (int)digit(rest, axis[AT_W].in), h = (int)digit(rest, axis[AT_H].in), d = (int)digit(rest, axis[AT_D].in);
        const range on_d = axis[AT_D].outputs(d), on_h = axis[AT_H].outputs(h), on_w = axis[AT_W].outputs(w);
        const int64_t sample = rest * axis[AT_D].out * axis[AT_H].out * axis[AT_W].out * channels + run * width;
        float sum[width] = {};

        for (int j = on_d.from; j < on_d.to; j++)
            for (int k = on_h.from; k < on_h.to; k++) {
                const int64_t row = ((int64_t)j * axis[AT_H].out + k) * axis[AT_W].out;
                const int tap = (axis[AT_D].tap(d, j) * axis[AT_H].kernel + axis[AT_H].tap(h, k)) * axis[AT_W].kernel;
                for (int l = on_w.from; l < on_w.to; l++) {
                    const int64_t from = sample + (row + l) * channels;
                    const vec<S, width> won = load_vec<width>(saved + from);
                    float v[width];
                    load_run(dy + from, v);
                    const int at = tap + axis[AT_W].tap(w, l);
                    LKI_UNROLL
                    for (int c = 0; c < width; c++)
                        sum[c] += (int)won.at[c] == at ? v[c] : 0.0f;
                }
            }
        store_run(dx + i * width, sum);
    }
};

template <class T, class S, int width> lk_status forward_of(const lk_call *c)
{
    largest_under<T, S, width> f = {{}, places_of(c->spec).channels / width, (const T *)c->x[0], (T *)c->y, (S *)c->saved};

    window_axis::make(c->spec, f.axis);
    return each(lk_shape_count(&c->spec->out) / width, f);
}

template <class T, class S, int width> lk_status backward_of(const lk_call *c)
{
    back_to_largest_under<T, S, width> f = {{}, places_of(c->spec).channels / width, (const T *)c->dy, (const S *)c->saved, (T *)c->dx[0]};

    window_axis::make(c->spec, f.axis);
    return each(lk_shape_count(&c->spec->in[0]) / width, f);
}

lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t taps = taps_of(s);

    LK_TRY(places_check(s));
    if (taps > INT32_MAX)
        return LK_FAIL(LK_E_UNSUPPORTED, "a window of more than 2^31 - 1 places: the GPU's kernels count no further");
    *out = {};
    out->saved_bytes = s->training ? (size_t)lk_shape_count(&s->out) * (taps <= BYTE_TAPS ? 1 : sizeof(int32_t)) : 0;
    return LK_OK;
}

template <class T> lk_status forward(const lk_call *c)
{
    const bool runs = channels_in_runs<T>(c->spec, c->x[0], c->y);

    if (taps_of(c->spec) <= BYTE_TAPS)
        return (runs ? forward_of<T, uint8_t, vec<T>::n> : forward_of<T, uint8_t, 1>)(c);
    return (runs ? forward_of<T, int32_t, vec<T>::n> : forward_of<T, int32_t, 1>)(c);
}

template <class T> lk_status backward(const lk_call *c)
{
    const bool runs = channels_in_runs<T>(c->spec, c->dy, c->dx[0]);

    if (!c->dx[0])
        return LK_OK;
    if (taps_of(c->spec) <= BYTE_TAPS)
        return (runs ? backward_of<T, uint8_t, vec<T>::n> : backward_of<T, uint8_t, 1>)(c);
    return (runs ? backward_of<T, int32_t, vec<T>::n> : backward_of<T, int32_t, 1>)(c);
}

template <class T> constexpr lk_kernel kernel = {.plan = plan, .forward = forward<T>, .backward = backward<T>};

} // namespace

LKI_KERNELS(max_pool, kernel);
