/* last_step: y[b] = x[b,t], t = length[b] - 1, in reverse 0; zeros for a sample without steps. */
#include "kern/cuda/lengths.cuh"

namespace {

/* A thread takes `width` channels of a step. */
template <class T, int width> struct take_step {
    row_lengths lengths;
    int node;
    bool reverse;
    int64_t steps, runs; /* of channels */
    const T *x;
    T *y;
    __device__ void operator()(int64_t i) const
    {
        int64_t row = i;
        const int64_t run = digit(row, runs), n = lengths.of(row), at = reverse ? 0 : n - 1;
        vec<T, width> v;
        lengths.check(row, node);
        for (int k = 0; k < width; k++)
            v.at[k] = from_float<T>(0);
        if (n > 0)
            v = load_vec<width>(x + ((row * steps + at) * runs + run) * width);
        store_vec(y + i * width, v);
    }
};

template <class T, int width> struct give_step {
    row_lengths lengths;
    int node;
    bool reverse;
    int64_t steps, runs;
    const T *dy;
    T *dx;
    __device__ void operator()(int64_t i) const
    {
        int64_t row = i;
        const int64_t run = digit(row, runs), step = digit(row, steps), n = lengths.of(row);
        vec<T, width> v;
        lengths.check(row, node);
        for (int k = 0; k < width; k++)
            v.at[k] = from_float<T>(0);
        if (n > 0 && step == (reverse ? 0 : n - 1))
            v = load_vec<width>(dy + (row * runs + run) * width);
        store_vec(dx + i * width, v);
    }
};

/* F is take_step or give_step. */
template <template <class, int> class F, class T, int width> lk_status run(const lk_call *c, int64_t n, const void *from, void *to)
{
    const int64_t steps = c->spec->in[0].dim[1], runs = c->spec->in[0].dim[2] / width;

    return each(n / width, F<T, width>{row_lengths_of(c, 1, steps), c->node, c->spec->attr.last_step.reverse, steps, runs, (const T *)from, (T *)to});
}

template <template <class, int> class F, class T> lk_status run_in_runs(const lk_call *c, int64_t n, const void *from, void *to)
{
    const bool runs = aligned16(from) && aligned16(to) && c->spec->in[0].dim[2] % vec<T>::n == 0;

    return (runs ? run<F, T, vec<T>::n> : run<F, T, 1>)(c, n, from, to);
}

template <class T> lk_status forward(const lk_call *c)
{
    return run_in_runs<take_step, T>(c, lk_shape_count(&c->spec->out), c->x[0], c->y);
}

template <class T> lk_status backward(const lk_call *c)
{
    return c->dx[0] ? run_in_runs<give_step, T>(c, lk_shape_count(&c->spec->in[0]), c->dy, c->dx[0]) : LK_OK;
}

template <class T>
constexpr lk_kernel kernel = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward<T>, .backward = backward<T>};

} // namespace

LKI_KERNELS(last_step, kernel);
