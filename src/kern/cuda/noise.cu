/* noise: draw e of row `sample id` of the operation's stream, computed in double. Nothing flows back. */
#include "kern/cuda/elements.cuh"

struct noise_draws {
    const lk_live *live;
    const uint32_t *key;
    divisor sample; /* elements of one */
    __device__ void operator()(int64_t i, float &y) const
    {
        const int64_t b = sample.quotient(i);
        y = (float)random_normal(key, (uint64_t)live->sample[b], (uint64_t)(i - b * sample.by));
    }
};

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_shape *const out = &c->spec->out;
    return elements(lk_shape_count(out), noise_draws{c->live, c->key, divisor(lk_shape_row(out))}, writes((T *)c->y));
}

template <class T> static lk_status backward(const lk_call *c)
{
    return c->dx[0] == NULL ? LK_OK : lk_space_zero(&lki_space_cuda, c->dx[0], (size_t)lk_shape_count(&c->spec->in[0]) * sizeof(T));
}

template <class T>
static constexpr lk_kernel kernel = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward<T>, .backward = backward<T>};
LKI_KERNELS(noise, kernel);
