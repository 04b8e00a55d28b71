/* positions: adds to each place of a sequence a vector that tells it apart, learned (as GPT-2 and BERT do) or of sines and
 * cosines (lki_sinusoid). */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_positions *const a = &s->attr.positions;
    LK_TRY(lki_input_check(s, 0, 3, 3, "[batch, places, features]"));
    s->out = s->in[0];
    s->n_params = 0;
    if (a->sinusoidal)
        return LK_OK;
    if (a->max < 1)
        return LK_FAIL(LK_E_RANGE, "max is %" PRId64 ", must be at least 1", a->max);
    if (!(a->deviation >= 0 && a->deviation <= 1e6))
        return LK_FAIL(LK_E_RANGE, "deviation is %g, must be in [0, 1e6]", a->deviation);
    if (s->in[0].dim[1] > a->max)
        return LK_FAIL(LK_E_SHAPE, "a sequence of %" PRId64 " places, but there are weights for max %" PRId64,
            s->in[0].dim[1], a->max);
    return lki_param_add(s, (lk_param_info){.suffix = "weight",
                                .shape = {2, {a->max, s->in[0].dim[2]}},
                                .kind = LK_PARAM_WEIGHT,
                                .init = LK_INIT_NORMAL,
                                .value = a->deviation});
}

static double flops(const lk_opspec *s)
{
    return (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_positions = {
    .name = "positions", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = flops};
