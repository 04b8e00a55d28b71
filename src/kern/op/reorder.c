/* reorder: the same [B,C,H,W] in another layout, put in by the plan. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 4, 4, "[batch, channels, height, width]"));
    s->n_params = 0;
    s->out = s->in[0];
    return LK_OK;
}

const lk_opinfo lk_op_reorder = {
    .name = "reorder", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = lki_flops_none};
