/* noise: y[b,e] is draw e of row `sample id` of the stream. Nothing flows back. */
#include "kern/ref/ref_int.h"
#include <string.h>

static lk_status forward(const lk_call *c)
{
    const int64_t rows = c->spec->out.dim[0], n = lk_shape_row(&c->spec->out);
    const lk_rng stream = lki_noise_stream(c->spec, c->micro);
    double *const y = c->y;

    for (int64_t b = 0; b < rows; b++)
        for (int64_t e = 0; e < n; e++)
            y[b * n + e] = lk_rng_normal_row(stream, (uint64_t)c->micro->sample[b], (uint64_t)e);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        memset(c->dx[0], 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof(double));
    return LK_OK;
}

const lk_kernel lk_kern_ref_noise = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
