/* conv2d: cross-correlation of [B,C,H,W] with filters [F,C,kh,kw], zeros around. */
#include "kern/kern_int.h"
#include <inttypes.h>
#include <math.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_conv2d *const a = &s->attr.conv2d;
    LK_TRY(lki_input_check(s, 0, 4, 4, "[batch, channels, height, width]"));
    LK_TRY(lki_act_check(a->act, 0, false));
    if (a->filters < 1)
        return LK_FAIL(LK_E_RANGE, "filters is %" PRId64 ", must be at least 1", a->filters);
    s->out = (lk_shape){4, {s->in[0].dim[0], a->filters}};
    for (int i = 0; i < 2; i++)
        LK_TRY(lki_window_count(
            &s->in[0], 2 + i, a->kernel[i], a->stride[i], a->pad_before[i], a->pad_after[i], &s->out.dim[2 + i]));
    LK_TRY(lk_shape_check(&s->out, "output"));

    const lk_shape weight = {4, {a->filters, s->in[0].dim[1], a->kernel[0], a->kernel[1]}};
    LK_TRY(lk_shape_check(&weight, "weight"));
    const double bound = 1 / sqrt((double)lk_shape_row(&weight));
    s->n_params = 0;
    LK_TRY(lki_param_add(
        s, (lk_param_info){
               .suffix = "weight", .shape = weight, .kind = LK_PARAM_WEIGHT, .init = LK_INIT_UNIFORM, .value = bound}));
    if (a->bias)
        LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "bias",
                                    .shape = {1, {a->filters}},
                                    .kind = LK_PARAM_WEIGHT,
                                    .init = LK_INIT_UNIFORM,
                                    .value = bound}));
    return LK_OK;
}

static unsigned needs(const lk_opspec *s)
{
    return LK_NEEDS_X | (s->attr.conv2d.act == LK_ACT_RELU ? LK_NEEDS_Y : 0u);
}

static double flops(const lk_opspec *s)
{
    return 2.0 * (double)lk_shape_count(&s->out) * (double)lk_shape_row(&s->param[0].shape);
}

const lk_opinfo lk_op_conv2d = {.name = "conv2d", .n_in = 1, .infer = infer, .needs = needs, .flops = flops};
