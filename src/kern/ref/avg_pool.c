/* avg_pool: y[b,c,o] = 1/k sum over the k taps t of x[b, c, o s + t - before], with o, t and s by axis, zero outside of
 * the input. Backward: dy / k is added to each dx under the window. */
#include "kern/ref/ref_int.h"
#include <string.h>

static ref_window window(const lk_opspec *s)
{
    const lk_attr_pool *const a = &s->attr.pool;
    return ref_window_make(&s->in[0], &s->out, a->kernel, a->stride, NULL, a->pad);
}

static lk_status forward(const lk_call *c)
{
    const ref_window w = window(c->spec);
    const double *const x = c->x[0];
    double *const y = c->y;

    for (int64_t i = 0; i < lk_shape_count(&c->spec->out); i++) {
        double sum = 0;
        for (int64_t t = 0; t < w.taps; t++) {
            const int64_t place = ref_window_place(&w, i % w.places_out, t);
            if (place >= 0)
                sum += x[i / w.places_out * w.places_in + place];
        }
        y[i] = sum / (double)w.taps;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const ref_window w = window(c->spec);
    const double *const dy = c->dy;
    double *const dx = c->dx[0];

    if (!dx)
        return LK_OK;
    memset(dx, 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof *dx);
    for (int64_t i = 0; i < lk_shape_count(&c->spec->out); i++)
        for (int64_t t = 0; t < w.taps; t++) {
            const int64_t place = ref_window_place(&w, i % w.places_out, t);
            if (place >= 0)
                dx[i / w.places_out * w.places_in + place] += dy[i] / (double)w.taps;
        }
    return LK_OK;
}

const lk_kernel lk_kern_ref_avg_pool = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
