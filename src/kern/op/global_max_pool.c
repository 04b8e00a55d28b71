/* global_max_pool: the largest of all places of a channel, the first in D H W order where several are equal, [B,C,...]
 * -> [B,C]. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 3, 5, LKI_SPATIAL_FORM));
    s->n_params = 0;
    s->out = (lk_shape){2, {s->in[0].dim[0], s->in[0].dim[1]}};
    return LK_OK;
}

const lk_opinfo lk_op_global_max_pool = {
    .name = "global_max_pool", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = lki_flops_none};
