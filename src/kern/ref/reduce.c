/* reduce: y = sum of x over the axes, divided by their number n for the mean; with lengths over index < length of axis 1
 * and n = length, y = 0 for length 0. Backward: dx = dy, or dy / n, at every place that was summed, 0 elsewhere. */
#include "kern/ref/ref_int.h"
#include <string.h>

/* Place in the output of element i of the input; false if its step is beyond the length. *n: places of the mean. */
static lk_status target(const lk_call *c, int64_t i, int64_t *at, double *n, bool *inside)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_reduce *const a = &s->attr.reduce;
    int64_t index[LK_MAX_DIMS], length;
    ref_indices(&s->in[0], i, index);
    LK_TRY(lki_length(c, index[0], &length));
    *inside = s->n_in < 2 || index[1] < length;
    *at = 0;
    *n = 1;
    for (int k = 0; k < s->in[0].ndim; k++) {
        if (a->axes >> k & 1)
            *n *= (double)(s->n_in > 1 ? length : s->in[0].dim[k]);
        else
            *at = *at * s->in[0].dim[k] + index[k];
    }
    if (!a->mean)
        *n = 1;
    return LK_OK;
}

static lk_status forward(const lk_call *c)
{
    double *const y = c->y;
    memset(y, 0, (size_t)lk_shape_count(&c->spec->out) * sizeof *y);
    for (int64_t i = 0; i < lk_shape_count(&c->spec->in[0]); i++) {
        int64_t at;
        double n;
        bool inside;
        LK_TRY(target(c, i, &at, &n, &inside));
        if (inside)
            y[at] += ((const double *)c->x[0])[i] / n;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    for (int64_t i = 0; c->dx[0] && i < lk_shape_count(&c->spec->in[0]); i++) {
        int64_t at;
        double n;
        bool inside;
        LK_TRY(target(c, i, &at, &n, &inside));
        ((double *)c->dx[0])[i] = inside ? ((const double *)c->dy)[at] / n : 0;
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_reduce = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
