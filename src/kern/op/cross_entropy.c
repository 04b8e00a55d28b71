/* cross_entropy: minus the log of the softmax of the logits [B,K] at the class id [B]. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 2, 2, "logits [batch, classes]"));
    const lk_shape *const logits = &s->in[0], *const id = &s->in[1];
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    LK_TRY(lk_shape_check(id, "target"));
    if (s->in_dtype[1] != LK_DT_I64)
        return LK_FAIL(LK_E_SHAPE, "target %s holds real numbers, expected one class id (whole number) a sample",
            lk_shape_print(id, b));
    if (id->ndim != 1 || id->dim[0] != logits->dim[0])
        return LK_FAIL(LK_E_SHAPE, "logits %s and target %s do not fit: the target must hold one class id a sample",
            lk_shape_print(logits, a), lk_shape_print(id, b));
    s->n_params = 0;
    s->out = (lk_shape){1, {1}};
    return LK_OK;
}

/* Largest, difference, exponential, sum. */
static double flops(const lk_opspec *s)
{
    return 4.0 * (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_cross_entropy = {.name = "cross_entropy",
    .n_in = 2,
    .loss = true,
    .metric = {"loss", "weight", "count", "accuracy"},
    .infer = infer,
    .needs = lki_needs_x,
    .flops = flops};
