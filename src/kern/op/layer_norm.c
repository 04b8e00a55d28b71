/* layer_norm: each vector along the last dimension to mean 0 and variance 1, then scaled and shifted. Of two inputs: their sum,
 * which is a second output, as the plan fuses them from an add in front. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    const lk_attr_norm *const a = &s->attr.norm;
    LK_TRY(lki_residual_check(s, 2, "[batch, ..., features]"));
    if (!(a->eps > 0))
        return LK_FAIL(LK_E_RANGE, "eps is %g, must be above 0", a->eps);
    const lk_shape features = {1, {lki_shape_last(&s->in[0])}};
    s->out = s->in[0];
    s->n_params = 0;
    LK_TRY(lki_param_add(
        s, (lk_param_info){
               .suffix = "weight", .shape = features, .kind = LK_PARAM_WEIGHT, .init = LK_INIT_CONSTANT, .value = 1}));
    if (a->bias)
        LK_TRY(lki_param_add(
            s, (lk_param_info){
                   .suffix = "bias", .shape = features, .kind = LK_PARAM_WEIGHT, .init = LK_INIT_CONSTANT, .value = 0}));
    return LK_OK;
}

/* The sum, the squares about the mean (3), normalizing (2), scale and shift (2); what is added first. */
static double flops(const lk_opspec *s)
{
    return (8.0 + s->n_in - 1) * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_layer_norm = {.name = "layer_norm", .n_in = 1, .n_optional = 1, .infer = infer, .needs = lki_needs_sum, .flops = flops};
