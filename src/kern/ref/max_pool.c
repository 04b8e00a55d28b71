/* max_pool: y[b,c,o] = max over t of x[b, c, o s + t - before], with o, t and s by axis, places outside of the input
 * left out; of equal values the first in D H W order counts, and NaN counts as the largest. Backward: each dy is added
 * to the dx of the place that won. */
#include "kern/ref/ref_int.h"
#include <math.h>
#include <string.h>

/* Saved: the winner of each output, as its place in x. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){.saved_bytes = s->training ? (size_t)lk_shape_count(&s->out) * sizeof(int64_t) : 0};
    return LK_OK;
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_pool *const a = &s->attr.pool;
    const ref_window w = ref_window_make(&s->in[0], &s->out, a->kernel, a->stride, NULL, a->pad);
    const double *const x = c->x[0];
    double *const y = c->y;
    int64_t *const saved = c->saved;

    for (int64_t i = 0; i < lk_shape_count(&s->out); i++) {
        const int64_t first = i / w.places_out * w.places_in;
        int64_t best = -1;
        for (int64_t t = 0; t < w.taps; t++) {
            const int64_t place = ref_window_place(&w, i % w.places_out, t), at = first + place;
            if (place >= 0 && (best < 0 || x[at] > x[best] || (isnan(x[at]) && !isnan(x[best]))))
                best = at;
        }
        y[i] = x[best];
        if (saved)
            saved[i] = best;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t n_in = lk_shape_count(&c->spec->in[0]), n_out = lk_shape_count(&c->spec->out);
    const double *const dy = c->dy;
    const int64_t *const saved = c->saved;
    double *const dx = c->dx[0];
    if (!dx)
        return LK_OK;
    memset(dx, 0, (size_t)n_in * sizeof *dx);
    for (int64_t o = 0; o < n_out; o++)
        dx[saved[o]] += dy[o];
    return LK_OK;
}

const lk_kernel lk_kern_ref_max_pool = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
