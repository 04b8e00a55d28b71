/* noise: standard normal draws, a function of seed, layer, step, sample and element (lki_noise_stream), in training and
 * not. The input gives the number of rows, and the shape where the attribute has none; its values do not matter. */
#include "kern/kern_int.h"
#include <inttypes.h>

static lk_status infer(lk_opspec *s)
{
    const lk_attr_noise *const a = &s->attr.noise;
    LK_TRY(lki_input_check(s, 0, 1, LK_MAX_DIMS, "[batch, ...]"));
    if (a->ndim < 0 || a->ndim > LK_MAX_DIMS - 1)
        return LK_FAIL(LK_E_RANGE, "%d dimensions a sample, at most %d are possible", a->ndim, LK_MAX_DIMS - 1);
    s->n_params = 0;
    s->out = s->in[0];
    if (a->ndim == 0)
        return LK_OK;
    s->out.ndim = 1 + a->ndim;
    for (int i = 0; i < a->ndim; i++)
        s->out.dim[1 + i] = a->dim[i];
    return lk_shape_check(&s->out, "output");
}

static double flops(const lk_opspec *s)
{
    return (double)lk_shape_count(&s->out);
}

const lk_opinfo lk_op_noise = {.name = "noise", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = flops, .stream = lki_noise_stream};
