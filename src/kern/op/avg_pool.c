/* avg_pool: the mean under a sliding window over one to three axes, zeros of the padding counted. */
#include "kern/kern_int.h"

static double flops(const lk_opspec *s)
{
    double n = (double)lk_shape_count(&s->out);
    for (int i = 0; i < s->in[0].ndim - 2; i++)
        n *= (double)s->attr.pool.kernel[i];
    return n;
}

const lk_opinfo lk_op_avg_pool = {
    .name = "avg_pool", .n_in = 1, .infer = lki_pool_infer, .needs = lki_needs_none, .flops = flops};
