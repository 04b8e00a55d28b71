/* permute: the dimensions of a sample in another order. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    const int *const order = s->attr.permute.order;
    char text[LK_SHAPE_TEXT];
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, ...] of 2 dimensions at least"));
    unsigned seen = 0;
    s->n_params = 0;
    s->out = s->in[0];
    for (int i = 0; i < s->in[0].ndim; i++) {
        if (order[i] < 0 || order[i] >= s->in[0].ndim || seen >> order[i] & 1 || (order[i] == 0) != (i == 0))
            return LK_FAIL(LK_E_SHAPE, "input %s: the order must name each of the dimensions 1 to %d once",
                lk_shape_print(&s->in[0], text), s->in[0].ndim - 1);
        seen |= 1u << order[i];
        s->out.dim[i] = s->in[0].dim[order[i]];
    }
    return LK_OK;
}

const lk_opinfo lk_op_permute = {
    .name = "permute", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = lki_flops_none};
