/* concat: values one behind the other along an axis; all other sizes are equal. */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    const int axis = s->attr.axis.axis;
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, ...] of 2 dimensions at least"));
    LK_TRY(lki_axis_check(&s->in[0], axis));
    s->out = s->in[0];
    for (int i = 1; i < s->n_in; i++) {
        LK_TRY(lki_input_check(s, i, 2, LK_MAX_DIMS, "[batch, ...] of 2 dimensions at least"));
        lk_shape same = s->in[i];
        if (same.ndim == s->in[0].ndim)
            same.dim[axis] = s->in[0].dim[axis];
        if (!lk_shape_equal(&same, &s->in[0]))
            return LK_FAIL(LK_E_SHAPE, "cannot join %s and %s along axis %d: all other sizes must be equal",
                lk_shape_print(&s->in[0], a), lk_shape_print(&s->in[i], b), axis);
        s->out.dim[axis] += s->in[i].dim[axis];
        LK_TRY(lk_shape_check(&s->out, "output"));
    }
    s->n_params = 0;
    return LK_OK;
}

const lk_opinfo lk_op_concat = {.name = "concat",
    .n_in = 2,
    .n_optional = LK_MAX_IN - 2,
    .infer = infer,
    .needs = lki_needs_none,
    .flops = lki_flops_none};
