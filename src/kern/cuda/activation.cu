/* activation: y = f(x), dx = dy f'(x), f of kern/formula.h; also those that stand behind another operation. */
#include "kern/cuda/elements.cuh"

template <class T> static lk_status act_forward_of(lk_act act, double alpha, int64_t n, const void *x, void *y)
{
    return with_act(act, [=](auto a) {
        return elements(n, act_forward<decltype(a)::value>{(float)alpha}, reads((const T *)x), writes((T *)y));
    });
}

template <class T>
static lk_status act_backward_of(lk_act act, double alpha, int64_t n, const void *v, const void *dy, void *dx)
{
    return with_act(act, [=](auto a) {
        return elements(
            n, act_backward<decltype(a)::value>{(float)alpha}, reads((const T *)v), reads((const T *)dy), writes((T *)dx));
    });
}

lk_status lki_act_forward_cuda(lki_type t, lk_act act, double alpha, int64_t n, const void *x, void *y)
{
    return (t == LKI_F32 ? act_forward_of<float> : t == LKI_BF16 ? act_forward_of<bf16> : act_forward_of<f16>)(act, alpha, n, x, y);
}

lk_status lki_act_backward_cuda(lki_type t, lk_act act, double alpha, int64_t n, const void *v, const void *dy, void *dx)
{
    return (t == LKI_F32 ? act_backward_of<float> : t == LKI_BF16 ? act_backward_of<bf16> : act_backward_of<f16>)(
        act, alpha, n, v, dy, dx);
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_attr_activation *const a = &c->spec->attr.activation;
    return act_forward_of<T>(a->act, a->alpha, lk_shape_count(&c->spec->out), c->x[0], c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lk_attr_activation *const a = &c->spec->attr.activation;
    if (c->dx[0] == NULL)
        return LK_OK;
    return act_backward_of<T>(a->act, a->alpha, lk_shape_count(&c->spec->out), lki_act_by_output(a->act) ? c->y : c->x[0],
        c->dy, c->dx[0]);
}

/* Where backward reads the input, the plan keeps it. */
template <class T>
static constexpr lk_kernel kernel = {
    .in_place = true, .in_place_dx = true, .forward = forward<T>, .backward = backward<T>};
LKI_KERNELS(activation, kernel);
