/* pad: places of a constant in front of and behind each axis but the first. */
#include "kern/kern_int.h"
#include <inttypes.h>
#include <math.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_pad *const a = &s->attr.pad;
    const int64_t limit = INT64_C(1) << 30;
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, ...] of 2 dimensions at least"));
    s->n_params = 0;
    s->out = s->in[0];
    for (int i = 0; i < s->in[0].ndim; i++) {
        if (a->before[i] < 0 || a->after[i] < 0 || a->before[i] > limit || a->after[i] > limit)
            return LK_FAIL(LK_E_RANGE, "padding %" PRId64 " and %" PRId64 " of axis %d must not be negative (or above 2^30)",
                a->before[i], a->after[i], i);
        LK_BUG_IF(i == 0 && (a->before[i] > 0 || a->after[i] > 0), "padding of the batch");
        s->out.dim[i] += a->before[i] + a->after[i];
    }
    if (!isfinite(a->value))
        return LK_FAIL(LK_E_RANGE, "value is %g, must be finite", a->value);
    return lk_shape_check(&s->out, "output");
}

const lk_opinfo lk_op_pad = {
    .name = "pad", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = lki_flops_none};
