/* reshape: the same elements of a sample, in their order, in another shape. */
#include "kern/kern_int.h"
#include <inttypes.h>
#include <string.h>

static lk_status infer(lk_opspec *s)
{
    const lk_shape *const to = &s->attr.reshape.sample;
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    LK_TRY(lki_input_check(s, 0, 1, LK_MAX_DIMS, "[batch, ...]"));
    if (to->ndim < 1 || to->ndim >= LK_MAX_DIMS)
        return LK_FAIL(LK_E_SHAPE, "a sample of %d dimensions, at least 1 and at most %d are possible", to->ndim, LK_MAX_DIMS - 1);
    s->n_params = 0;
    s->out = (lk_shape){.ndim = to->ndim + 1, .dim = {s->in[0].dim[0]}};
    memcpy(s->out.dim + 1, to->dim, (size_t)to->ndim * sizeof to->dim[0]);
    LK_TRY(lk_shape_check(&s->out, "output"));
    if (lk_shape_count(&s->out) != lk_shape_count(&s->in[0]))
        return LK_FAIL(LK_E_SHAPE, "input %s has %" PRId64 " elements a sample, %s has %" PRId64,
            lk_shape_print(&s->in[0], a), lk_shape_row(&s->in[0]), lk_shape_print(&s->out, b), lk_shape_row(&s->out));
    return LK_OK;
}

const lk_opinfo lk_op_reshape = {
    .name = "reshape", .n_in = 1, .infer = infer, .needs = lki_needs_none, .flops = lki_flops_none};
