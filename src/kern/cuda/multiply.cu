/* multiply: y = x0 x1 of one shape, or of [B,C,...] and a number for each channel of each sample. Backward: dx0 = dy x1, dx1 = dy x0, in the second
 * form summed over a channel's places, in float, in an order fixed by the shape. */
#include "kern/cuda/fold.cuh"

/* Where the channel of element i of [B,C,places] stands in [B,C]. */
struct gate_places {
    bool last; /* channels are: [B,places,C] */
    divisor places, channels, sample;
    __device__ int64_t of(int64_t i) const
    {
        if (!last)
            return places.quotient(i);
        const int64_t b = sample.quotient(i), place = channels.quotient(i);
        return b * channels.by + (i - place * channels.by);
    }
};

template <class T> struct gate_array {
    typedef T type;
    const T *at;
    gate_places where;
    bool runs(int) const
    {
        return true;
    }
    template <int w> __device__ void load(int64_t i, float (&v)[w]) const
    {
        for (int k = 0; k < w; k++)
            v[k] = to_float(at[where.of(i + k)]);
    }
    template <int w> __device__ void store(int64_t, const float (&)[w]) const
    {
    }
};

struct multiply_forward {
    __device__ void operator()(int64_t, float a, float b, float &y) const
    {
        y = a * b;
    }
};
struct multiply_backward {
    __device__ void operator()(int64_t, float x0, float x1, float dy, float &dx0, float &dx1) const
    {
        dx0 = dy * x1;
        dx1 = dy * x0;
    }
};

/* ---- sums of a channel's places ---- */
template <class T> struct gate_product {
    const fold_groups *g;
    const T *x, *dy; /* at the first place */
    __device__ float value(int64_t r) const
    {
        const int64_t at = g->of_place(r);
        return to_float(x[at]) * to_float(dy[at]);
    }
};
template <class T> struct gate_sums {
    typedef one_sum gathered;
    fold_groups g;
    const T *x, *dy;
    T *out;
    __device__ one_sum take(int64_t output, int64_t first, int64_t end, int64_t step) const
    {
        const int64_t at = g.of_output(output);
        return sum_values(gate_product<T>{&g, x + at, dy + at}, first, end, step);
    }
    __device__ void store(int64_t output, const one_sum &v) const
    {
        out[output] = from_float<T>((float)v.sum);
    }
};

/* ---- the operation ---- */
static bool by_channel(const lk_opspec *s)
{
    return lk_shape_count(&s->in[0]) > lk_shape_count(&s->in[1]);
}

static gate_places gates_of(const lk_opspec *s)
{
    const int64_t channels = s->in[0].dim[1], sample = lk_shape_row(&s->in[0]);
    return {lk_shape_spatial(&s->in[0]) && s->in_layout == LK_LAYOUT_NHWC, divisor(sample / channels), divisor(channels), divisor(sample)};
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = lk_kern_plan{};
    if (s->training && by_channel(s)) {
        const fold_groups g = fold_places(s);
        out->scratch_backward = fold_scratch<one_sum>(&g);
    }
    return LK_OK;
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_count(&s->out);
    const T *const x1 = (const T *)c->x[1];

    if (!by_channel(s))
        return elements(n, multiply_forward(), reads((const T *)c->x[0]), reads(x1), writes((T *)c->y));
    return elements(n, multiply_forward(), reads((const T *)c->x[0]), gate_array<T>{x1, gates_of(s)}, writes((T *)c->y));
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_count(&s->out);
    const T *const x0 = (const T *)c->x[0], *const x1 = (const T *)c->x[1], *const dy = (const T *)c->dy;
    T *const dx0 = (T *)c->dx[0], *const dx1 = (T *)c->dx[1];

    if (!by_channel(s))
        return dx0 == NULL && dx1 == NULL ? LK_OK : elements(n, multiply_backward(), reads(x0), reads(x1), reads(dy), writes(dx0), writes(dx1));
    if (dx1 != NULL) { /* first: dx0 may be dy */
        const fold_groups g = fold_places(s);
        LK_TRY(fold(&g, gate_sums<T>{g, x0, dy, dx1}, c->scratch));
    }
    return dx0 == NULL ? LK_OK : elements(n, multiply_forward(), reads(dy), gate_array<T>{x1, gates_of(s)}, writes(dx0));
}

template <class T>
static constexpr lk_kernel kernel = {
    .in_place = true, .in_place_dx = true, .plan = plan, .forward = forward<T>, .backward = backward<T>};
LKI_KERNELS(multiply, kernel);
