/* kl_normal: for each sample the Kullback-Leibler divergence from the standard normal distribution of the one with this
 * mean and log variance, summed over the elements (Kingma & Welling 2014, "Auto-encoding variational Bayes", appendix
 * B). */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    return lki_pair_loss_infer(s, &s->attr.loss.scale, "mean", "log variance");
}

static double flops(const lk_opspec *s)
{
    return 6.0 * (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_kl_normal = {.name = "kl_normal",
    .n_in = 2,
    .loss = true,
    .metric = {"loss", "weight", "count", "kl"},
    .infer = infer,
    .needs = lki_needs_x,
    .flops = flops};
