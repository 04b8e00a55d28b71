/* glu: y = a act(b), x = [a, b] in halves along the last dimension. Backward: da = dy act(b), db = dy a act'(b), act(b) computed again. */
#include "kern/cuda/elements.cuh"

/* Element i of the output [rows,n] stands here in one half of [rows,2n]. */
template <class T, class P> struct half_array {
    typedef T type;
    P *at; /* T or const T; that of the half's first element */
    divisor n;
    bool runs(int w) const
    {
        return aligned16(at) && n.by % w == 0;
    }
    __device__ P *place(int64_t i) const
    {
        return at + i + n.quotient(i) * n.by;
    }
    template <int w> __device__ void load(int64_t i, float (&v)[w]) const
    {
        load_run<w, T>(place(i), v);
    }
    template <int w> __device__ void store(int64_t i, const float (&v)[w]) const
    {
        if constexpr (!std::is_const_v<P>)
            store_run(place(i), v);
    }
};

template <lk_act act> struct glu_forward {
    __device__ void operator()(int64_t, float a, float b, float &y) const
    {
        y = a * lki_formula_act(act, 0.0f, b);
    }
};
template <lk_act act> struct glu_backward {
    __device__ void operator()(int64_t, float a, float b, float dy, float &da, float &db) const
    {
        const float f = lki_formula_act(act, 0.0f, b);
        da = dy * f;
        db = lki_formula_act_back(act, 0.0f, lki_formula_by_output(act) ? f : b, dy * a);
    }
};

template <class T> static lk_status forward(const lk_call *c)
{
    const int64_t count = lk_shape_count(&c->spec->out), n = lki_shape_last(&c->spec->out);
    const T *const x = (const T *)c->x[0];
    const half_array<T, const T> a = {x, divisor(n)}, b = {x + n, divisor(n)};

    return with_act(c->spec->attr.glu.act, [=](auto act) {
        return elements(count, glu_forward<decltype(act)::value>(), a, b, writes((T *)c->y));
    });
}

template <class T> static lk_status backward(const lk_call *c)
{
    const int64_t count = lk_shape_count(&c->spec->out), n = lki_shape_last(&c->spec->out);
    const T *const x = (const T *)c->x[0];
    T *const dx = (T *)c->dx[0];

    if (dx == NULL)
        return LK_OK;
    const half_array<T, const T> a = {x, divisor(n)}, b = {x + n, divisor(n)};
    const half_array<T, T> da = {dx, divisor(n)}, db = {dx + n, divisor(n)};
    return with_act(c->spec->attr.glu.act, [=](auto act) {
        return elements(count, glu_backward<decltype(act)::value>(), a, b, reads((const T *)c->dy), da, db);
    });
}

template <class T>
static constexpr lk_kernel kernel = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward<T>, .backward = backward<T>};
LKI_KERNELS(glu, kernel);
