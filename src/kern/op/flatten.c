/* flatten: [B,...] -> [B,n], in C H W order whatever the layout. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 1, LK_MAX_DIMS, "[batch, ...]"));
    s->n_params = 0;
    s->out = (lk_shape){2, {s->in[0].dim[0], lk_shape_row(&s->in[0])}};
    return LK_OK;
}

const lk_opinfo lk_op_flatten = {
    .name = "flatten", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = lki_flops_none};
