/* gelu: x times the normal distribution function, or the tanh form of it. */
#include "kern/kern_int.h"

/* The polynomial inside and the product outside; erf or tanh counted as one. */
static double flops(const lk_opspec *s)
{
    return (s->attr.gelu.tanh ? 8.0 : 5.0) * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_gelu = {.name = "gelu", .n_in = 1, .infer = lki_same_infer, .needs = lki_needs_x, .flops = flops};
