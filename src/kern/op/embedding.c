/* embedding: a learned vector for each id. */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_embedding *const a = &s->attr.embedding;
    LK_TRY(lki_ids_check(s, 0, 1, LK_MAX_DIMS - 1, "input", "ids [batch, ...]"));
    if (a->size < 1 || a->units < 1)
        return LK_FAIL(LK_E_RANGE, "size %" PRId64 " and units %" PRId64 " must be at least 1", a->size, a->units);
    if (!(a->deviation >= 0 && a->deviation <= 1e6))
        return LK_FAIL(LK_E_RANGE, "deviation is %g, must be in [0, 1e6]", a->deviation);
    s->out = s->in[0];
    s->out.dim[s->out.ndim++] = a->units;
    LK_TRY(lk_shape_check(&s->out, "output"));
    s->n_params = 0;
    return lki_param_add(s, (lk_param_info){.suffix = "weight",
                                .shape = {2, {a->size, a->units}},
                                .kind = LK_PARAM_WEIGHT,
                                .init = LK_INIT_NORMAL,
                                .value = a->deviation});
}

const lk_opinfo lk_op_embedding = {
    .name = "embedding", .n_in = 1, .infer = infer, .needs = lki_needs_x, .flops = lki_flops_none};
