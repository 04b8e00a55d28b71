/* huber (Huber 1964, "Robust estimation of a location parameter"): for each sample the mean over its elements of d^2/2
 * where the difference d is at most delta in size, else of delta (|d| - delta/2). */
#include "kern/kern_int.h"
#include <math.h>

static lk_status infer(lk_opspec *s)
{
    const double delta = s->attr.huber.delta;
    LK_TRY(lki_pair_loss_infer(s, &s->attr.huber.scale, "prediction", "target"));
    if (!(delta >= 0 && delta < INFINITY))
        return LK_FAIL(LK_E_RANGE, "delta is %g, must be above 0", delta);
    return LK_OK;
}

static double flops(const lk_opspec *s)
{
    return 4.0 * (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_huber = {.name = "huber",
    .n_in = 2,
    .loss = true,
    .metric = {"loss", "weight", "count", "mean_absolute_error"},
    .infer = infer,
    .needs = lki_needs_x,
    .flops = flops};
