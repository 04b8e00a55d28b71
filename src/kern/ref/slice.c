/* slice: y at index a of the axis is x at start + a. Backward: dx is dy there, 0 elsewhere. */
#include "kern/ref/ref_int.h"
#include <string.h>

/* Place in the input of element i of the output. */
static int64_t source(const lk_opspec *s, int64_t i)
{
    int64_t index[LK_MAX_DIMS];
    ref_indices(&s->out, i, index);
    index[s->attr.axis.axis] += s->attr.axis.start;
    return ref_place(&s->in[0], index);
}

static lk_status forward(const lk_call *c)
{
    for (int64_t i = 0; i < lk_shape_count(&c->spec->out); i++)
        ((double *)c->y)[i] = ((const double *)c->x[0])[source(c->spec, i)];
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    double *const dx = c->dx[0];
    if (!dx)
        return LK_OK;
    memset(dx, 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof *dx);
    for (int64_t i = 0; i < lk_shape_count(&c->spec->out); i++)
        dx[source(c->spec, i)] = ((const double *)c->dy)[i];
    return LK_OK;
}

const lk_kernel lk_kern_ref_slice = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
