/* lstm: one layer in one direction of torch.nn.LSTM. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    return lki_recurrent_infer(s, 4);
}

const lk_opinfo lk_op_lstm = {
    .name = "lstm", .n_in = 1, .n_optional = 1, .infer = infer, .needs = lki_needs_x, .flops = lki_recurrent_flops};
