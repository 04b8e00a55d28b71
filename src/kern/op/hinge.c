/* hinge: for each sample the mean over its elements of max(0, 1 - (2t - 1) x), t the target in [0,1]. With a class id y
 * for scores [B,K] of two and more classes: 1/K times the sum over the other classes k of max(0, 1 - x[y] + x[k])
 * (Weston & Watkins 1999, "Support vector machines for multi-class pattern recognition"; PyTorch's MultiMarginLoss). */
#include "kern/kern_int.h"

static lk_status infer(lk_opspec *s)
{
    if (s->n_in != 2 || s->in_dtype[1] != LK_DT_I64)
        return lki_pair_loss_infer(s, &s->attr.loss.scale, "scores", "target");
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    LK_TRY(lki_input_check(s, 0, 1, 2, "scores [batch] or [batch, classes]"));
    LK_TRY(lk_shape_check(&s->in[1], "target"));
    if (s->in[1].ndim != 1 || s->in[1].dim[0] != s->in[0].dim[0])
        return LK_FAIL(LK_E_SHAPE, "scores %s and target %s do not fit: the target must hold one class id a sample",
            lk_shape_print(&s->in[0], a), lk_shape_print(&s->in[1], b));
    return lki_loss_infer(s, &s->attr.loss.scale);
}

static double flops(const lk_opspec *s)
{
    return 3.0 * (double)lk_shape_count(&s->in[0]);
}

const lk_opinfo lk_op_hinge = {.name = "hinge",
    .n_in = 2,
    .loss = true,
    .metric = {"loss", "weight", "count", "accuracy"},
    .infer = infer,
    .needs = lki_needs_x,
    .flops = flops};
