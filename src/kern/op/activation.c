/* activation: a function of one number, element by element. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_BUG_IF(s->attr.activation.act == LK_ACT_NONE, "an activation without a function");
    LK_TRY(lki_act_check(s->attr.activation.act, s->attr.activation.alpha, true));
    return lki_same_infer(s);
}

static unsigned needs(const lk_opspec *s)
{
    return lki_act_by_output(s->attr.activation.act) ? LK_NEEDS_Y : LK_NEEDS_X;
}

static double flops(const lk_opspec *s)
{
    return lki_act_flops(s->attr.activation.act) * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_activation = {.name = "activation", .n_in = 1, .infer = infer, .needs = needs, .flops = flops};
