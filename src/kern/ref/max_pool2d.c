/* max_pool2d: y[b,c,p,q] = max over i, j of x[b, c, p sh + i - top, q sw + j - left], places outside of the input left
 * out; of equal values the first in H W order counts, and NaN counts as the largest. Backward: each dy is added to the
 * dx of the place that won. */
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
    const lk_attr_pool2d *const a = &c->spec->attr.pool2d;
    const lk_shape *const in = &c->spec->in[0], *const out = &c->spec->out;
    const double *const x = c->x[0];
    double *const y = c->y;
    int64_t *const saved = c->saved;

    for (int64_t b = 0; b < out->dim[0]; b++)
        for (int64_t k = 0; k < out->dim[1]; k++)
            for (int64_t p = 0; p < out->dim[2]; p++)
                for (int64_t q = 0; q < out->dim[3]; q++) {
                    int64_t best = -1;
                    for (int64_t i = 0; i < a->kernel[0]; i++)
                        for (int64_t j = 0; j < a->kernel[1]; j++) {
                            const int64_t h = p * a->stride[0] - a->pad[0] + i, w = q * a->stride[1] - a->pad[1] + j;
                            if (h < 0 || h >= in->dim[2] || w < 0 || w >= in->dim[3])
                                continue;
                            const int64_t at = ref_at(in, b, k, h, w);
                            if (best < 0 || x[at] > x[best] || (isnan(x[at]) && !isnan(x[best])))
                                best = at;
                        }
                    const int64_t o = ref_at(out, b, k, p, q);
                    y[o] = x[best];
                    if (saved)
                        saved[o] = best;
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

const lk_kernel lk_kern_ref_max_pool2d = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
