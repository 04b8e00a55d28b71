/* reorder: the same [B,C,...] in another layout, put in by the plan. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 3, 5, LKI_SPATIAL_FORM));
    s->n_params = 0;
    s->out = s->in[0];
    return LK_OK;
}

const lk_opinfo lk_op_reorder = {
    .name = "reorder", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = lki_flops_none};
