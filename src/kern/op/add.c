/* add: the sum of two values of the same shape. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    for (int i = 0; i < 2; i++)
        LK_TRY(lki_input_check(s, i, 1, LK_MAX_DIMS, "[batch, ...]"));
    LK_TRY(lki_act_check(s->attr.add.act, false));
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    if (!lk_shape_equal(&s->in[0], &s->in[1]))
        return LK_FAIL(LK_E_SHAPE, "cannot add %s and %s: shapes must be equal", lk_shape_print(&s->in[0], a),
            lk_shape_print(&s->in[1], b));
    s->n_params = 0;
    s->out = s->in[0];
    return LK_OK;
}

static unsigned needs(const lk_opspec *s)
{
    return s->attr.add.act == LK_ACT_RELU ? LK_NEEDS_Y : 0u;
}

static double flops(const lk_opspec *s)
{
    return (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_add = {.name = "add", .n_in = 2, .infer = infer, .needs = needs, .flops = flops};
