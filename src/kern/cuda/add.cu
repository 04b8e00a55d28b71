/* add: y = act(x0 + x1 + ...), the sum in float from the first to the last. Backward: all dx = dy act'(.). Saved: the sum, where the slope is
 * read off what went in. */
#include "kern/cuda/elements.cuh"

/* Element i is the sum of that of `count` arrays. */
template <class T> struct summed_arrays {
    typedef T type;
    const T *at[LK_MAX_IN];
    int count;
    bool runs(int) const
    {
        bool all = true;
        for (int k = 0; k < count; k++)
            all &= aligned16(at[k]);
        return all;
    }
    template <int w> __device__ void load(int64_t i, float (&v)[w]) const
    {
        load_run<w, T>(at[0] + i, v);
        for (int k = 1; k < LK_MAX_IN; k++) { /* with constant places, so that the pointers stay in registers */
            if (k >= count)
                break;
            float more[w];
            load_run<w, T>(at[k] + i, more);
            for (int j = 0; j < w; j++)
                v[j] += more[j];
        }
    }
    template <int w> __device__ void store(int64_t, const float (&)[w]) const
    {
    }
};

/* The same to all that are not NULL. */
template <class T> struct spread_arrays {
    typedef T type;
    T *at[LK_MAX_IN];
    bool runs(int) const
    {
        bool all = true;
        for (int k = 0; k < LK_MAX_IN; k++)
            all &= aligned16(at[k]);
        return all;
    }
    template <int w> __device__ void load(int64_t, float (&v)[w]) const
    {
        for (int k = 0; k < w; k++)
            v[k] = 0.0f;
    }
    template <int w> __device__ void store(int64_t i, const float (&v)[w]) const
    {
        for (int k = 0; k < LK_MAX_IN; k++)
            if (at[k] != NULL)
                store_run(at[k] + i, v);
    }
};

template <lk_act act> struct add_forward {
    float alpha;
    __device__ void operator()(int64_t, float sum, float &saved, float &y) const
    {
        saved = sum;
        y = lki_formula_act(act, alpha, sum);
    }
};

struct add_pass {
    __device__ void operator()(int64_t, float dy, float &dx) const
    {
        dx = dy;
    }
};

template <class T> static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = lk_kern_plan{};
    if (s->training && !lki_act_by_output(s->attr.add.act))
        out->saved_bytes = (size_t)lk_shape_count(&s->out) * sizeof(T);
    return LK_OK;
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_attr_add *const a = &c->spec->attr.add;
    const int64_t n = lk_shape_count(&c->spec->out);
    summed_arrays<T> sum = {{}, c->spec->n_in};

    for (int k = 0; k < c->spec->n_in; k++)
        sum.at[k] = (const T *)c->x[k];
    return with_act(a->act, [=](auto act) {
        return elements(n, add_forward<decltype(act)::value>{(float)a->alpha}, sum, writes((T *)c->saved), writes((T *)c->y));
    });
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lk_attr_add *const a = &c->spec->attr.add;
    const int64_t n = lk_shape_count(&c->spec->out);
    spread_arrays<T> to = {};
    bool asked = false;

    for (int k = 0; k < c->spec->n_in; k++)
        if (a->act != LK_ACT_NONE || c->dx[k] != c->dy) {
            to.at[k] = (T *)c->dx[k];
            asked |= c->dx[k] != NULL;
        }
    if (!asked)
        return LK_OK;
    const auto dy = reads((const T *)c->dy);
    if (a->act == LK_ACT_NONE)
        return elements(n, add_pass(), dy, to);
    const auto v = reads((const T *)(lki_act_by_output(a->act) ? c->y : c->saved));
    return with_act(a->act, [=](auto act) {
        return elements(n, act_backward<decltype(act)::value>{(float)a->alpha}, v, dy, to);
    });
}

template <class T>
static constexpr lk_kernel kernel = {
    .in_place = true, .in_place_dx = true, .plan = plan<T>, .forward = forward<T>, .backward = backward<T>};
LKI_KERNELS(add, kernel);
