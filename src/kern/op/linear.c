/* linear: y = x W^T + b over the last dimension, with any dimensions in front. */
#include "kern/kern_int.h"
#include <inttypes.h>
#include <math.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_linear *const a = &s->attr.linear;
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, features] or [batch, ..., features]"));
    LK_TRY(lki_act_check(a->act, a->alpha, true));
    if (a->units < 1)
        return LK_FAIL(LK_E_RANGE, "units is %" PRId64 ", must be at least 1", a->units);
    s->out = s->in[0];
    s->out.dim[s->out.ndim - 1] = a->units;
    LK_TRY(lk_shape_check(&s->out, "output"));

    const int64_t features = lki_shape_last(&s->in[0]);
    const double bound = 1 / sqrt((double)features);
    s->n_params = 0;
    LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "weight",
                                .shape = {2, {a->units, features}},
                                .kind = LK_PARAM_WEIGHT,
                                .init = LK_INIT_UNIFORM,
                                .value = bound}));
    if (a->bias)
        LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "bias",
                                    .shape = {1, {a->units}},
                                    .kind = LK_PARAM_WEIGHT,
                                    .init = LK_INIT_UNIFORM,
                                    .value = bound}));
    return LK_OK;
}

/* x for the weights; the activation's gradient is read off y or off what the kernel saved. */
static unsigned needs(const lk_opspec *s)
{
    return LK_NEEDS_X | lki_act_needs(s->attr.linear.act);
}

static double flops(const lk_opspec *s)
{
    return 2.0 * (double)lk_shape_count(&s->out) * (double)lki_shape_last(&s->in[0]);
}

const lk_opinfo lk_op_linear = {.name = "linear", .n_in = 1, .infer = infer, .needs = needs, .flops = flops};
