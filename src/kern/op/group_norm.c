/* group_norm: in each sample, each group of neighbouring channels to mean 0 and variance 1, then scaled and shifted by
 * channel. As many groups as channels: instance norm. */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_norm *const a = &s->attr.norm;
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, channels, ...]"));
    const lk_shape channels = {1, {s->in[0].dim[1]}};
    if (!(a->eps > 0))
        return LK_FAIL(LK_E_RANGE, "eps is %g, must be above 0", a->eps);
    char text[LK_SHAPE_TEXT];
    if (a->groups < 1 || channels.dim[0] % a->groups != 0)
        return LK_FAIL(LK_E_SHAPE, "input %s: its %" PRId64 " channels do not make %" PRId64 " groups of equal size",
            lk_shape_print(&s->in[0], text), channels.dim[0], a->groups);
    s->out = s->in[0];
    s->n_params = 0;
    LK_TRY(lki_param_add(
        s, (lk_param_info){
               .suffix = "weight", .shape = channels, .kind = LK_PARAM_WEIGHT, .init = LK_INIT_CONSTANT, .value = 1}));
    return lki_param_add(
        s, (lk_param_info){
               .suffix = "bias", .shape = channels, .kind = LK_PARAM_WEIGHT, .init = LK_INIT_CONSTANT, .value = 0});
}

/* The sum, the squares about the mean (3), normalizing, scale and shift (3). */
static double flops(const lk_opspec *s)
{
    return 7.0 * (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_group_norm = {.name = "group_norm", .n_in = 1, .infer = infer, .needs = lki_needs_x, .flops = flops};
