/* adaptive_avg_pool: the mean over the places that belong to an output o: along each axis those from floor(o in / out) up to
 * ceil((o + 1) in / out), that one not included. So i belongs to the outputs from floor(i out / in) up to ceil((i + 1) out / in). */
#include "kern/cuda/window.cuh"

namespace {

struct adaptive_axis {
    int in, out;
    /* floor(a b / c) */
    static __device__ int part(int a, int b, int c)
    {
        int64_t i = (int64_t)a * b;
        digit(i, c);
        return (int)i;
    }
    /* Of `b` places, that belong to place a of c. */
    static __device__ range belongs(int a, int b, int c)
    {
        int64_t end = (int64_t)(a + 1) * b + c - 1;
        digit(end, c);
        return {part(a, b, c), (int)end};
    }
    __device__ range inputs(int o) const
    {
        return belongs(o, in, out);
    }
    __device__ range outputs(int i) const
    {
        return belongs(i, out, in);
    }
    __device__ float share(int, int o) const
    {
        const range r = inputs(o);
        return 1.0f / (float)(r.to - r.from);
    }
    static void make(const lk_opspec *s, adaptive_axis axis[LK_MAX_AXES])
    {
        int64_t in[LK_MAX_AXES], out[LK_MAX_AXES];

        lki_axes_size(&s->in[0], in);
        lki_axes_size(&s->out, out);
        for (int i = 0; i < LK_MAX_AXES; i++)
            axis[i] = {(int)in[i], (int)out[i]};
    }
};

template <class T>
constexpr lk_kernel kernel = {
    .plan = shares_plan, .forward = shares_forward<T, adaptive_axis>, .backward = shares_backward<T, adaptive_axis>};

} // namespace

LKI_KERNELS(adaptive_avg_pool, kernel);
