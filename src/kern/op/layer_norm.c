/* layer_norm: each vector along the last dimension to mean 0 and variance 1, then scaled and shifted. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    const lk_attr_norm *const a = &s->attr.norm;
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, ..., features]"));
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

/* The sum, the squares about the mean (3), normalizing (2), scale and shift (2). */
static double flops(const lk_opspec *s)
{
    return 8.0 * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_layer_norm = {.name = "layer_norm", .n_in = 1, .infer = infer, .needs = lki_needs_x, .flops = flops};
