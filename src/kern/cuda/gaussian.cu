/* gaussian: y = m + exp(v/2) e, m mean, v log variance, e the draw; not in training y = m. Backward: dm = dy, dv = dy exp(v/2) e / 2; the product is
 * saved, in float. */
#include "kern/cuda/elements.cuh"

struct gaussian_forward {
    const lk_live *live;
    const uint32_t *key;
    divisor sample; /* elements of one */
    __device__ void operator()(int64_t i, float m, float v, float &spread, float &y) const
    {
        const int64_t b = sample.quotient(i);
        spread = expf(0.5f * v) * (float)random_normal(key, (uint64_t)live->sample[b], (uint64_t)(i - b * sample.by));
        y = m + spread;
    }
};
struct gaussian_backward {
    __device__ void operator()(int64_t, float spread, float dy, float &dm, float &dv) const
    {
        dm = dy;
        dv = 0.5f * dy * spread;
    }
};

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = lk_kern_plan{};
    out->saved_bytes = s->training ? (size_t)lk_shape_count(&s->out) * sizeof(float) : 0;
    return LK_OK;
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_count(&s->out);

    if (!s->training)
        return lki_copy_cuda(sizeof(T), n, c->x[0], c->y);
    return elements(n, gaussian_forward{c->live, c->key, divisor(lk_shape_row(&s->out))}, reads((const T *)c->x[0]),
        reads((const T *)c->x[1]), writes((float *)c->saved), writes((T *)c->y));
}

template <class T> static lk_status backward(const lk_call *c)
{
    T *const dm = c->dx[0] == c->dy ? NULL : (T *)c->dx[0], *const dv = (T *)c->dx[1];

    if (dm == NULL && dv == NULL)
        return LK_OK;
    return elements(lk_shape_count(&c->spec->out), gaussian_backward(), reads((const float *)c->saved), reads((const T *)c->dy),
        writes(dm), writes(dv));
}

template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward<T>,
    .backward = backward<T>};
LKI_KERNELS(gaussian, kernel);
