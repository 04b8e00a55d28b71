/* upsample: each axis by a whole factor, from the nearest place or linear between the two nearest, corners not aligned.
 */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 3, 5, LKI_SPATIAL_FORM));
    s->n_params = 0;
    s->out = s->in[0];
    for (int i = 0; i < s->in[0].ndim - 2; i++) {
        const int64_t factor = s->attr.resize.factor[i];
        char text[LK_SHAPE_TEXT];
        if (factor < 1 || factor > INT64_C(1) << 30)
            return LK_FAIL(LK_E_RANGE, "factor %" PRId64 " of the %s must be at least 1 (and at most 2^30)", factor,
                lki_axis_name(s->in[0].ndim, 2 + i));
        if (__builtin_mul_overflow(s->in[0].dim[2 + i], factor, &s->out.dim[2 + i]))
            return LK_FAIL(LK_E_SHAPE, "input %s: more elements than can be counted", lk_shape_print(&s->in[0], text));
    }
    return lk_shape_check(&s->out, "output");
}

/* Linear: a product and a sum for each place that counts. */
static double flops(const lk_opspec *s)
{
    double n = s->attr.resize.linear ? 2.0 * (double)lk_shape_count(&s->out) : 0;
    for (int i = 0; i < s->in[0].ndim - 2; i++)
        n *= 2;
    return n;
}

const lk_opinfo lk_op_upsample = {
    .name = "upsample", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = flops};
