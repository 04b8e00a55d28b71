/* concat: y at index a of the axis is x_k at a - (sizes of the inputs before k). Backward: dx_k is that part of dy. */
#include "kern/ref/ref_int.h"

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    int64_t first = 0;
    for (int k = 0; k < s->n_in; first += s->in[k].dim[s->attr.axis.axis], k++)
        for (int64_t i = 0; i < lk_shape_count(&s->in[k]); i++) {
            int64_t index[LK_MAX_DIMS];
            ref_indices(&s->in[k], i, index);
            index[s->attr.axis.axis] += first;
            ((double *)c->y)[ref_place(&s->out, index)] = ((const double *)c->x[k])[i];
        }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    int64_t first = 0;
    for (int k = 0; k < s->n_in; first += s->in[k].dim[s->attr.axis.axis], k++)
        for (int64_t i = 0; c->dx[k] && i < lk_shape_count(&s->in[k]); i++) {
            int64_t index[LK_MAX_DIMS];
            ref_indices(&s->in[k], i, index);
            index[s->attr.axis.axis] += first;
            ((double *)c->dx[k])[i] = ((const double *)c->dy)[ref_place(&s->out, index)];
        }
    return LK_OK;
}

const lk_kernel lk_kern_ref_concat = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
