/* add: the sum of two or more values of the same shape. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_act_check(s->attr.add.act, s->attr.add.alpha, true));
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    LK_TRY(lki_input_check(s, 0, 1, LK_MAX_DIMS, "[batch, ...]"));
    for (int i = 1; i < s->n_in; i++) {
        LK_TRY(lki_input_check(s, i, 1, LK_MAX_DIMS, "[batch, ...]"));
        if (!lk_shape_equal(&s->in[0], &s->in[i]))
            return LK_FAIL(LK_E_SHAPE, "cannot add %s and %s: shapes must be equal", lk_shape_print(&s->in[0], a),
                lk_shape_print(&s->in[i], b));
    }
    s->n_params = 0;
    s->out = s->in[0];
    return LK_OK;
}

static unsigned needs(const lk_opspec *s)
{
    return lki_act_needs(s->attr.add.act);
}

static bool passes(const lk_opspec *s)
{
    return s->attr.add.act == LK_ACT_NONE;
}

static double flops(const lk_opspec *s)
{
    return (double)(s->n_in - 1) * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_add = {
    .name = "add", .n_in = 2, .n_optional = LK_MAX_IN - 2, .infer = infer, .needs = needs, .passes = passes, .flops = flops};
