/* gaussian: draws from normal distributions of this mean and log variance, as mean + deviation times a standard normal
 * draw, so that gradients pass (Kingma & Welling 2014, "Auto-encoding variational Bayes", section 2.4). The draw is a
 * function of seed, layer, step, sample and element (lki_noise_stream). Not in training: the mean. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    for (int i = 0; i < 2; i++)
        LK_TRY(lki_input_check(s, i, 1, LK_MAX_DIMS, "[batch, ...]"));
    if (!lk_shape_equal(&s->in[0], &s->in[1]))
        return LK_FAIL(LK_E_SHAPE, "mean %s and log variance %s do not fit: shapes must be equal",
            lk_shape_print(&s->in[0], a), lk_shape_print(&s->in[1], b));
    s->n_params = 0;
    s->out = s->in[0];
    return LK_OK;
}

static unsigned needs(const lk_opspec *s)
{
    return s->training ? LK_NEEDS_IN(1) : 0;
}

static double flops(const lk_opspec *s)
{
    return s->training ? 4.0 * (double)lk_shape_count(&s->out) : 0;
}

const lk_opinfo lk_op_gaussian = {.name = "gaussian", .n_in = 2, .infer = infer, .needs = needs, .flops = flops, .stream = lki_noise_stream};
