/* spectral_norm: behind a linear layer or a convolution without bias: y = x / s + bias, s the largest singular value of that layer's weight W
 * (as a matrix [outputs, rest]), which this operation shares; so the layer computes with W / s (Miyato et al. 2018, "Spectral normalization for
 * generative adversarial networks"). One step of the power iteration a use: v = W^T u / |W^T u|, s = |W v|, and W v / s is the next u. The
 * gradient is that of s as it is computed, with the change of v in it, which vanishes as u settles. Not in training: u as it is. */
#include "kern/kern_int.h"
#include <math.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_spectral_norm *const a = &s->attr.spectral_norm;
    char text[LK_SHAPE_TEXT], weight[LK_SHAPE_TEXT];
    LK_TRY(lki_input_check(s, 0, 2, 5, "[batch, features] or [batch, channels, ...]"));
    LK_TRY(lk_shape_check(&a->weight, "weight"));
    if (a->axis < 1 || a->axis >= s->in[0].ndim || s->in[0].dim[a->axis] != a->weight.dim[0])
        return LK_FAIL(LK_E_SHAPE, "input %s is not what a weight %s gives", lk_shape_print(&s->in[0], text),
            lk_shape_print(&a->weight, weight));
    s->out = s->in[0];
    s->n_params = 0;
    const lk_shape outputs = {1, {a->weight.dim[0]}};
    LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "weight",
                                .shape = a->weight,
                                .kind = LK_PARAM_WEIGHT,
                                .init = LK_INIT_UNIFORM,
                                .value = 1 / sqrt((double)lk_shape_row(&a->weight))}));
    LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "u",
                                .shape = outputs,
                                .kind = LK_PARAM_STATISTIC,
                                .init = LK_INIT_NORMAL,
                                .value = 1,
                                .momentum = 1}));
    return lki_param_add(s, (lk_param_info){.suffix = "bias",
                                .shape = outputs,
                                .kind = LK_PARAM_WEIGHT,
                                .init = LK_INIT_CONSTANT,
                                .value = 0});
}

static unsigned needs(const lk_opspec *s)
{
    (void)s;
    return LK_NEEDS_IN(0);
}

/* Two products of a matrix and a vector, and what is done to each element. */
static double flops(const lk_opspec *s)
{
    return 4.0 * (double)lk_shape_count(&s->attr.spectral_norm.weight) + 2.0 * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_spectral_norm = {
    .name = "spectral_norm", .n_in = 1, .infer = infer, .needs = needs, .flops = flops};
