/* bce_logits: for each sample the mean over its elements of the cross-entropy between a target in [0,1] and the
 * logistic function of the logit; positive targets may count more. */
#include "kern/kern_int.h"
#include <math.h>

static lk_status infer(lk_opspec *s)
{
    const double positive = s->attr.bce_logits.positive;
    LK_TRY(lki_pair_loss_infer(s, &s->attr.bce_logits.scale, "logits", "target"));
    if (!(positive >= 0 && positive < INFINITY))
        return LK_FAIL(LK_E_RANGE, "the weight of positive targets is %g, must be above 0", positive);
    return LK_OK;
}

static double flops(const lk_opspec *s)
{
    return 6.0 * (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_bce_logits = {.name = "bce_logits",
    .n_in = 2,
    .loss = true,
    .metric = {"loss", "weight", "count", "accuracy"},
    .infer = infer,
    .needs = lki_needs_x,
    .flops = flops};
