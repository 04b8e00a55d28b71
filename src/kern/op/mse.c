/* mse: for each sample the mean over its elements of the squared difference. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    for (int i = 0; i < 2; i++)
        LK_TRY(lki_input_check(s, i, 1, LK_MAX_DIMS, "[batch, ...]"));
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    if (!lk_shape_equal(&s->in[0], &s->in[1]))
        return LK_FAIL(LK_E_SHAPE, "prediction %s and target %s do not fit: shapes must be equal",
            lk_shape_print(&s->in[0], a), lk_shape_print(&s->in[1], b));
    s->n_params = 0;
    s->out = (lk_shape){1, {1}};
    return LK_OK;
}

static double flops(const lk_opspec *s)
{
    return 3.0 * (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_mse = {.name = "mse",
    .n_in = 2,
    .loss = true,
    .metric = {"loss", "weight", "count", "mean_absolute_error"},
    .infer = infer,
    .needs = lki_needs_x,
    .flops = flops};
