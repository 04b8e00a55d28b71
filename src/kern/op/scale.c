/* scale: times a constant. */
#include "kern/kern_int.h"
#include <math.h>

static lk_status infer(lk_opspec *s)
{
    if (!isfinite(s->attr.scale.factor))
        return LK_FAIL(LK_E_RANGE, "factor is %g, must be finite", s->attr.scale.factor);
    return lki_same_infer(s);
}

static double flops(const lk_opspec *s)
{
    return (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_scale = {.name = "scale", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = flops};
