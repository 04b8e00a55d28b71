/* pad: y is x at the indices shifted by `before`, the value elsewhere. Backward: dx is dy at those. */
#include "kern/ref/ref_int.h"

/* Place in the output of element i of the input. */
static int64_t target(const lk_opspec *s, int64_t i)
{
    int64_t index[LK_MAX_DIMS];
    ref_indices(&s->in[0], i, index);
    for (int k = 0; k < s->in[0].ndim; k++)
        index[k] += s->attr.pad.before[k];
    return ref_place(&s->out, index);
}

static lk_status forward(const lk_call *c)
{
    double *const y = c->y;
    for (int64_t i = 0; i < lk_shape_count(&c->spec->out); i++)
        y[i] = c->spec->attr.pad.value;
    for (int64_t i = 0; i < lk_shape_count(&c->spec->in[0]); i++)
        y[target(c->spec, i)] = ((const double *)c->x[0])[i];
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    for (int64_t i = 0; c->dx[0] && i < lk_shape_count(&c->spec->in[0]); i++)
        ((double *)c->dx[0])[i] = ((const double *)c->dy)[target(c->spec, i)];
    return LK_OK;
}

const lk_kernel lk_kern_ref_pad = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
