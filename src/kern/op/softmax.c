/* softmax: exponentials along the last dimension over their sum. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, ..., classes]"));
    s->n_params = 0;
    s->out = s->in[0];
    return LK_OK;
}

/* Largest, difference, exponential, sum, quotient. */
static double flops(const lk_opspec *s)
{
    return 5.0 * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_softmax = {.name = "softmax", .n_in = 1, .infer = infer, .needs = lki_needs_y, .flops = flops};
