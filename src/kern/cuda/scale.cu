/* scale: times a constant, y = factor x. Backward: dx = factor dy. */
#include "kern/cuda/elements.cuh"

struct scale_by {
    float factor;
    __device__ void operator()(int64_t, float x, float &y) const
    {
        y = factor * x;
    }
};

template <class T> static lk_status run(const lk_opspec *s, const void *from, void *to)
{
    return elements(lk_shape_count(&s->out), scale_by{(float)s->attr.scale.factor}, reads((const T *)from), writes((T *)to));
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
