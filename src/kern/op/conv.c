/* conv: cross-correlation of [B,C,...] with filters [F,C/groups,k...] over one to three axes, zeros around. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    lk_attr_conv *const a = &s->attr.conv;
    LK_TRY(lki_input_check(s, 0, 3, 5, LKI_SPATIAL_FORM));
    LK_TRY(lki_act_check(a->act, 0, false));
    const lk_shape *const in = &s->in[0];
    LK_TRY(lki_groups_check(a, in->dim[1]));
    s->out = (lk_shape){in->ndim, {in->dim[0], a->filters}};
    lk_shape weight = {in->ndim, {a->filters, in->dim[1] / a->groups}};
    for (int i = 0; i < in->ndim - 2; i++) {
        a->dilation[i] = a->dilation[i] == 0 ? 1 : a->dilation[i];
        LK_TRY(lki_window_count(in, 2 + i, a->kernel[i], a->stride[i], a->dilation[i], a->pad_before[i],
            a->pad_after[i], &s->out.dim[2 + i]));
        weight.dim[2 + i] = a->kernel[i];
    }
    LK_TRY(lk_shape_check(&s->out, "output"));
    return lki_conv_params(s, &weight);
}

static unsigned needs(const lk_opspec *s)
{
    return LK_NEEDS_X | (s->attr.conv.act == LK_ACT_RELU ? LK_NEEDS_Y : 0u);
}

static double flops(const lk_opspec *s)
{
    return 2.0 * (double)lk_shape_count(&s->out) * (double)lk_shape_row(&s->param[0].shape);
}

const lk_opinfo lk_op_conv = {.name = "conv", .n_in = 1, .infer = infer, .needs = needs, .flops = flops};
