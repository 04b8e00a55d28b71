/* conv_transpose: the transpose of a convolution from [B,F,...] to [B,C,...] with weights [C,F/groups,k...], as a layer
 * from C channels to F filters. */
#include "kern/kern_int.h"
#include <inttypes.h>
#include <math.h>

/* Places along axis i: as many as that convolution takes to give the input's, and `output_pad` more. */
static lk_status places(lk_opspec *s, int i)
{
    lk_attr_conv *const a = &s->attr.conv;
    const char *const side = lki_axis_name(s->in[0].ndim, 2 + i);
    char text[LK_SHAPE_TEXT];
    int64_t one;
    a->dilation[i] = a->dilation[i] == 0 ? 1 : a->dilation[i];
    /* Sizes in range: a window of this kind somewhere. */
    const lk_shape large = {s->in[0].ndim, {1, 1, INT64_C(1) << 62, INT64_C(1) << 62, INT64_C(1) << 62}};
    LK_TRY(lki_window_count(
        &large, 2 + i, a->kernel[i], a->stride[i], a->dilation[i], a->pad_before[i], a->pad_after[i], &one));
    const int64_t more = a->stride[i] > a->dilation[i] ? a->stride[i] : a->dilation[i];
    if (a->output_pad[i] < 0 || a->output_pad[i] >= more)
        return LK_FAIL(LK_E_RANGE,
            "output padding %" PRId64 " of the %s must not be negative, and below the stride %" PRId64
            " or the dilation %" PRId64,
            a->output_pad[i], side, a->stride[i], a->dilation[i]);
    const int64_t edge =
        (a->kernel[i] - 1) * a->dilation[i] + 1 + a->output_pad[i] - a->pad_before[i] - a->pad_after[i];
    int64_t n;
    if (__builtin_mul_overflow(s->in[0].dim[2 + i] - 1, a->stride[i], &n) || __builtin_add_overflow(n, edge, &n))
        return LK_FAIL(LK_E_SHAPE, "input %s: more elements than can be counted", lk_shape_print(&s->in[0], text));
    if (n < 1)
        return LK_FAIL(LK_E_SHAPE, "input %s: padding %" PRId64 " + %" PRId64 " leaves nothing of the output's %s",
            lk_shape_print(&s->in[0], text), a->pad_before[i], a->pad_after[i], side);
    s->out.dim[2 + i] = n;
    return LK_OK;
}

static lk_status infer(lk_opspec *s)
{
    lk_attr_conv *const a = &s->attr.conv;
    LK_TRY(lki_input_check(s, 0, 3, 5, LKI_SPATIAL_FORM));
    LK_TRY(lki_act_check(a->act, 0, false));
    const lk_shape *const in = &s->in[0];
    LK_TRY(lki_groups_check(a, in->dim[1]));
    s->out = (lk_shape){in->ndim, {in->dim[0], a->filters}};
    lk_shape weight = {in->ndim, {in->dim[1], a->filters / a->groups}};
    for (int i = 0; i < in->ndim - 2; i++) {
        LK_TRY(places(s, i));
        weight.dim[2 + i] = a->kernel[i];
    }
    LK_TRY(lk_shape_check(&s->out, "output"));
    return lki_conv_params(s, &weight);
}

/* x for the weights. */
static unsigned needs(const lk_opspec *s)
{
    return LK_NEEDS_X | (s->attr.conv.act == LK_ACT_RELU ? LK_NEEDS_Y : 0u);
}

static double flops(const lk_opspec *s)
{
    return 2.0 * (double)lk_shape_count(&s->in[0]) * (double)lk_shape_row(&s->param[0].shape);
}

const lk_opinfo lk_op_conv_transpose = {
    .name = "conv_transpose", .n_in = 1, .infer = infer, .needs = needs, .flops = flops};
