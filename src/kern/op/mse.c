/* mse: for each sample the mean over its elements of the squared difference. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    return lki_pair_loss_infer(s, &s->attr.loss.scale, "prediction", "target");
}

static double flops(const lk_opspec *s)
{
    return 3.0 * (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_mse = {.name = "mse",
    .n_in = 2,
    .loss = true,
    .metric = {"loss", "weight", "count", "mean_absolute_error"},
    .infer = infer,
    .needs = lki_needs_x,
    .flops = flops};
