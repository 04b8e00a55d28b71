/* noise: lki_noise_stream's draws, computed in double. */
#include "kern/cpu/cpu_int.h"
#include <string.h>

static lk_status forward(const lk_call *c)
{
    const int64_t rows = c->spec->out.dim[0], n = lk_shape_row(&c->spec->out);
    const lk_rng stream = lki_noise_stream(c->spec, c->micro);
    float *const y = c->y;
    for (int64_t b = 0; b < rows; b++)
        for (int64_t e = 0; e < n; e++)
            y[b * n + e] = (float)lk_rng_normal_row(stream, (uint64_t)c->micro->sample[b], (uint64_t)e);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        memset(c->dx[0], 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof(float));
    return LK_OK;
}

const lk_kernel lk_kern_cpu_noise = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
