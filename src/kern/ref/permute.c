/* permute: y[i_0, i_1, ...] = x[j_0, j_1, ...] with j_order[k] = i_k. Backward: the same places the other way. */
#include "kern/ref/ref_int.h"

/* Place in the input of element i of the output. */
static int64_t source(const lk_opspec *s, int64_t i)
{
    int64_t index[LK_MAX_DIMS], from[LK_MAX_DIMS];
    ref_indices(&s->out, i, index);
    for (int k = 0; k < s->out.ndim; k++)
        from[s->attr.permute.order[k]] = index[k];
    return ref_place(&s->in[0], from);
}

static lk_status forward(const lk_call *c)
{
    for (int64_t i = 0; i < lk_shape_count(&c->spec->out); i++)
        ((double *)c->y)[i] = ((const double *)c->x[0])[source(c->spec, i)];
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    for (int64_t i = 0; c->dx[0] && i < lk_shape_count(&c->spec->out); i++)
        ((double *)c->dx[0])[source(c->spec, i)] = ((const double *)c->dy)[i];
    return LK_OK;
}

const lk_kernel lk_kern_ref_permute = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
