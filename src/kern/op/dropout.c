/* dropout: in training, each unit (element, channel or sample) is zero with probability `rate` and scaled by 1/(1-rate) otherwise; the draw is a
 * function of seed, layer, step, sample and unit (lki_dropout_stream), so backward draws it again. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    const double rate = s->attr.dropout.rate;
    if (!(rate >= 0 && rate < 1))
        return LK_FAIL(LK_E_RANGE, "rate is %g, must be in [0, 1)", rate);
    if (s->attr.dropout.unit == LK_DROP_CHANNEL)
        LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, channels, ...]"));
    return lki_same_infer(s);
}

static double flops(const lk_opspec *s)
{
    return s->training ? (double)lk_shape_count(&s->out) : 0;
}

const lk_opinfo lk_op_dropout = {.name = "dropout", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = flops, .stream = lki_dropout_stream};
