/* batch_norm: each channel to mean 0 and variance 1 over the valid rows (and places) of the microbatch, then scaled and
 * shifted. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    const lk_attr_batch_norm *const a = &s->attr.batch_norm;
    LK_TRY(lki_input_check(s, 0, 2, 5, "[batch, channels] or [batch, channels, ...] with one to three axes"));
    LK_TRY(lki_act_check(a->act, 0, false));
    if (!(a->eps > 0) || !(a->momentum >= 0 && a->momentum <= 1))
        return LK_FAIL(
            LK_E_RANGE, "eps is %g, must be above 0; momentum is %g, must be in [0, 1]", a->eps, a->momentum);
    s->out = s->in[0];

    const lk_shape channels = {1, {s->in[0].dim[1]}};
    s->n_params = 0;
    LK_TRY(lki_param_add(
        s, (lk_param_info){
               .suffix = "weight", .shape = channels, .kind = LK_PARAM_WEIGHT, .init = LK_INIT_CONSTANT, .value = 1}));
    LK_TRY(lki_param_add(
        s, (lk_param_info){
               .suffix = "bias", .shape = channels, .kind = LK_PARAM_WEIGHT, .init = LK_INIT_CONSTANT, .value = 0}));
    LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "running_mean",
                                .shape = channels,
                                .kind = LK_PARAM_STATISTIC,
                                .init = LK_INIT_CONSTANT,
                                .value = 0,
                                .momentum = a->running ? 0 : a->momentum}));
    LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "running_var",
                                .shape = channels,
                                .kind = LK_PARAM_STATISTIC,
                                .init = LK_INIT_CONSTANT,
                                .value = 1,
                                .momentum = a->running ? 0 : a->momentum}));
    return LK_OK;
}

static unsigned needs(const lk_opspec *s)
{
    return LK_NEEDS_X | (s->attr.batch_norm.act == LK_ACT_RELU ? LK_NEEDS_Y : 0u);
}

/* Training: the sum, the squares about the mean (3), scale and shift (3). Else the last alone. */
static double flops(const lk_opspec *s)
{
    return (s->training ? 7.0 : 3.0) * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_batch_norm = {.name = "batch_norm", .n_in = 1, .infer = infer, .needs = needs, .flops = flops};
