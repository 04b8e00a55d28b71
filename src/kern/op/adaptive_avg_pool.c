/* adaptive_avg_pool: to a given size: along each axis output o of n is the mean over [floor(o in/n), ceil((o+1) in/n)).
 */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 3, 5, LKI_SPATIAL_FORM));
    s->n_params = 0;
    s->out = s->in[0];
    for (int i = 0; i < s->in[0].ndim - 2; i++) {
        const int64_t size = s->attr.resize.size[i];
        if (size < 1 || size > INT64_C(1) << 30)
            return LK_FAIL(LK_E_RANGE, "%s of the output is %" PRId64 ", must be at least 1 (and at most 2^30)",
                lki_axis_name(s->in[0].ndim, 2 + i), size);
        s->out.dim[2 + i] = size;
    }
    return lk_shape_check(&s->out, "output");
}

/* Each input counts about once. */
static double flops(const lk_opspec *s)
{
    return (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_adaptive_avg_pool = {
    .name = "adaptive_avg_pool", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = flops};
