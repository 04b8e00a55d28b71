/* glu: the first half of the last dimension times an activation of the second. */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, ..., features]"));
    LK_BUG_IF(s->attr.glu.act == LK_ACT_NONE, "a gate without a function");
    LK_TRY(lki_act_check(s->attr.glu.act, 0, true));
    const int64_t last = lki_shape_last(&s->in[0]);
    char text[LK_SHAPE_TEXT];
    if (last % 2 != 0)
        return LK_FAIL(LK_E_SHAPE, "input %s: its last dimension, %" PRId64 ", has no halves",
            lk_shape_print(&s->in[0], text), last);
    s->n_params = 0;
    s->out = s->in[0];
    s->out.dim[s->out.ndim - 1] = last / 2;
    return LK_OK;
}

static double flops(const lk_opspec *s)
{
    return (1 + lki_act_flops(s->attr.glu.act)) * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_glu = {.name = "glu", .n_in = 1, .infer = infer, .needs = lki_needs_x, .flops = flops};
