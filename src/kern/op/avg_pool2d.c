/* avg_pool2d: the mean under a sliding window, zeros of the padding counted. */
#include "kern/kern_int.h"

static double flops(const lk_opspec *s)
{
    const lk_attr_pool2d *const a = &s->attr.pool2d;
    return (double)lk_shape_count(&s->out) * (double)a->kernel[0] * (double)a->kernel[1];
}

const lk_opinfo lk_op_avg_pool2d = {
    .name = "avg_pool2d", .n_in = 1, .infer = lki_pool2d_infer, .needs = lki_needs_none, .flops = flops};
