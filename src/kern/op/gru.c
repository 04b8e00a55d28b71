/* gru: one layer in one direction of torch.nn.GRU. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    return lki_recurrent_infer(s, 3);
}

const lk_opinfo lk_op_gru = {
    .name = "gru", .n_in = 1, .n_optional = 1, .infer = infer, .needs = lki_needs_x, .flops = lki_recurrent_flops};
