/* rms_norm: each vector along the last dimension to mean square 1, then scaled. Of two inputs: their sum,
 * which is a second output, as the plan fuses them from an add in front. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_residual_check(s, 2, "[batch, ..., features]"));
    if (!(s->attr.norm.eps > 0))
        return LK_FAIL(LK_E_RANGE, "eps is %g, must be above 0", s->attr.norm.eps);
    s->out = s->in[0];
    s->n_params = 0;
    return lki_param_add(s, (lk_param_info){.suffix = "weight",
                                .shape = {1, {lki_shape_last(&s->in[0])}},
                                .kind = LK_PARAM_WEIGHT,
                                .init = LK_INIT_CONSTANT,
                                .value = 1});
}

/* The squares (2), normalizing, scale; what is added first. */
static double flops(const lk_opspec *s)
{
    return (4.0 + s->n_in - 1) * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_rms_norm = {.name = "rms_norm", .n_in = 1, .n_optional = 1, .infer = infer, .needs = lki_needs_sum, .flops = flops};
