/* last_step: the state that a recurrent layer ended with, [batch, steps, channels] -> [batch, channels]: each sample's last
 * valid step, or in reverse its first. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 3, 3, "[batch, steps, channels]"));
    LK_TRY(lki_lengths_check(s, 1));
    s->n_params = 0;
    s->out = (lk_shape){2, {s->in[0].dim[0], s->in[0].dim[2]}};
    return LK_OK;
}

static unsigned needs(const lk_opspec *s)
{
    return s->n_in > 1 ? LK_NEEDS_IN(1) : 0;
}

const lk_opinfo lk_op_last_step = {
    .name = "last_step", .n_in = 1, .n_optional = 1, .infer = infer, .needs = needs, .flops = lki_flops_none};
