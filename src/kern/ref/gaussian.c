/* gaussian: y = m + exp(v/2) e, m mean, v log variance, e the draw; not in training y = m. Backward: dm = dy,
 * dv = dy exp(v/2) e / 2, drawn again. */
#include "kern/ref/ref_int.h"
#include <math.h>

static lk_status forward(const lk_call *c)
{
    const int64_t rows = c->spec->in[0].dim[0], n = lk_shape_row(&c->spec->in[0]);
    const lk_rng stream = lki_noise_stream(c->spec, c->micro);
    const double *const m = c->x[0], *const v = c->x[1];
    double *const y = c->y;

    for (int64_t b = 0; b < rows; b++)
        for (int64_t e = 0; e < n; e++) {
            const int64_t i = b * n + e;
            y[i] = m[i];
            if (c->spec->training)
                y[i] += exp(v[i] / 2) * lk_rng_normal_row(stream, (uint64_t)c->micro->sample[b], (uint64_t)e);
        }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t rows = c->spec->in[0].dim[0], n = lk_shape_row(&c->spec->in[0]);
    const lk_rng stream = lki_noise_stream(c->spec, c->micro);
    const double *const v = c->x[1], *const dy = c->dy;
    double *const dm = c->dx[0], *const dv = c->dx[1];

    for (int64_t b = 0; dv && b < rows; b++)
        for (int64_t e = 0; e < n; e++) {
            const int64_t i = b * n + e;
            dv[i] = dy[i] * exp(v[i] / 2) / 2 * lk_rng_normal_row(stream, (uint64_t)c->micro->sample[b], (uint64_t)e);
        }
    if (dm)
        ref_copy(rows * n, dy, dm);
    return LK_OK;
}

const lk_kernel lk_kern_ref_gaussian = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
