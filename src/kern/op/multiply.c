/* multiply: the product of two values of the same shape, or of [B,C,...] with a number for each channel of each sample:
 * [B,C] or [B,C,1,...]. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    for (int i = 0; i < 2; i++)
        LK_TRY(lki_input_check(s, i, 1, LK_MAX_DIMS, "[batch, ...]"));
    const lk_shape *const x = &s->in[0], *const gate = &s->in[1];
    const bool channels = x->ndim >= 2 && gate->ndim >= 2 && (gate->ndim == 2 || gate->ndim == x->ndim) &&
                          gate->dim[0] == x->dim[0] && gate->dim[1] == x->dim[1] &&
                          lk_shape_count(gate) == x->dim[0] * x->dim[1];
    if (!lk_shape_equal(x, gate) && !channels)
        return LK_FAIL(LK_E_SHAPE,
            "cannot multiply %s and %s: shapes must be equal, or the second [batch, channels] of the first",
            lk_shape_print(x, a), lk_shape_print(gate, b));
    s->n_params = 0;
    s->out = *x;
    return LK_OK;
}

static double flops(const lk_opspec *s)
{
    return (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_multiply = {.name = "multiply", .n_in = 2, .infer = infer, .needs = lki_needs_x, .flops = flops};
