/* slice: a run of places along an axis. */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_axis *const a = &s->attr.axis;
    char text[LK_SHAPE_TEXT];
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, ...] of 2 dimensions at least"));
    LK_TRY(lki_axis_check(&s->in[0], a->axis));
    const int64_t size = s->in[0].dim[a->axis];
    if (a->start < 0 || a->start >= size || a->length < 1 || a->length > size - a->start)
        return LK_FAIL(LK_E_SHAPE,
            "input %s: %" PRId64 " places from %" PRId64 " on are not within axis %d, which has %" PRId64,
            lk_shape_print(&s->in[0], text), a->length, a->start, a->axis, size);
    s->n_params = 0;
    s->out = s->in[0];
    s->out.dim[a->axis] = a->length;
    return LK_OK;
}

const lk_opinfo lk_op_slice = {
    .name = "slice", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = lki_flops_none};
