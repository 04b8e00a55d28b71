/* reduce: the mean or the sum over axes of a sample. With a second input of whole numbers [B]: over the first so many
 * places of axis 1 only, 0 where there are none. */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    const lk_attr_reduce *const a = &s->attr.reduce;
    char x[LK_SHAPE_TEXT], l[LK_SHAPE_TEXT];
    LK_TRY(lki_input_check(s, 0, 2, LK_MAX_DIMS, "[batch, ...] of 2 dimensions at least"));
    const unsigned all = (1u << s->in[0].ndim) - 1;
    if (a->axes == 0 || (a->axes & ~all) != 0 || (a->axes & 1) != 0)
        return LK_FAIL(LK_E_SHAPE, "input %s: the axes must be some of 1 to %d", lk_shape_print(&s->in[0], x),
            s->in[0].ndim - 1);
    if (s->n_in > 1) {
        LK_TRY(lki_ids_check(s, 1, 1, 1, "lengths", "[batch]"));
        if (s->in[1].dim[0] != s->in[0].dim[0])
            return LK_FAIL(LK_E_SHAPE, "input %s and lengths %s do not fit: there must be one length a sample",
                lk_shape_print(&s->in[0], x), lk_shape_print(&s->in[1], l));
        if (a->axes != 2)
            return LK_FAIL(LK_E_SHAPE, "with lengths the axis must be 1 alone");
    }
    s->n_params = 0;
    s->out = (lk_shape){0};
    for (int i = 0; i < s->in[0].ndim; i++)
        if (!(a->axes >> i & 1) || a->keep)
            s->out.dim[s->out.ndim++] = a->axes >> i & 1 ? 1 : s->in[0].dim[i];
    return LK_OK;
}

static unsigned needs(const lk_opspec *s)
{
    return s->n_in > 1 ? LK_NEEDS_IN(1) : 0u;
}

static double flops(const lk_opspec *s)
{
    return (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_reduce = {
    .name = "reduce", .n_in = 1, .n_optional = 1, .infer = infer, .needs = needs, .flops = flops};
