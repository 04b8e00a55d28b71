/* global_max_pool: y[b,c] = max over all places p of x[b,c,p]; of equal values the first counts, and NaN counts as the
 * largest. Backward: dx is dy at the place that won, 0 elsewhere. */
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
    const int64_t n = lk_shape_count(&c->spec->out), area = lki_shape_area(&c->spec->in[0]);
    const double *const x = c->x[0];
    double *const y = c->y;
    int64_t *const saved = c->saved;
    for (int64_t o = 0; o < n; o++) {
        int64_t best = o * area;
        for (int64_t at = best; at < (o + 1) * area; at++)
            if (x[at] > x[best] || (isnan(x[at]) && !isnan(x[best])))
                best = at;
        y[o] = x[best];
        if (saved)
            saved[o] = best;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const double *const dy = c->dy;
    const int64_t *const saved = c->saved;
    double *const dx = c->dx[0];
    if (!dx)
        return LK_OK;
    memset(dx, 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof *dx);
    for (int64_t o = 0; o < lk_shape_count(&c->spec->out); o++)
        dx[saved[o]] = dy[o];
    return LK_OK;
}

const lk_kernel lk_kern_ref_global_max_pool = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
