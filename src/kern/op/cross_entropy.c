/* cross_entropy: minus the log of the softmax of the logits at the class id, or at all classes by their share. Logits
 * [B,K] or [B,T,K] have their classes last, [B,K,H,W] second; class ids have the shape without K, shares that of the
 * logits. Smoothing, an ignored id and weights of classes as PyTorch's CrossEntropyLoss defines them: weighted losses
 * are divided by the weights of the targets they are for; with shares, by the number of places. */
#include "kern/kern_int.h"
#include <inttypes.h>
#include <math.h>

static lk_status check_attr(const lk_attr_cross_entropy *a, int64_t classes, bool ids)
{
    if (!(a->smoothing >= 0 && a->smoothing < 1))
        return LK_FAIL(LK_E_RANGE, "smoothing is %g, must be in [0, 1)", a->smoothing);
    if (a->has_ignored && !ids)
        return LK_FAIL(LK_E_RANGE, "an ignored class id has no meaning where targets are shares of classes");
    if (a->n_weights < 0 || a->n_weights > LK_MAX_CLASS_WEIGHTS || (a->n_weights > 0 && a->n_weights != classes))
        return LK_FAIL(LK_E_RANGE, "%d weights of classes for %" PRId64 " classes (at most %d are possible)",
            a->n_weights, classes, LK_MAX_CLASS_WEIGHTS);
    for (int i = 0; i < a->n_weights; i++)
        if (!(a->weight[i] >= 0 && a->weight[i] < INFINITY))
            return LK_FAIL(LK_E_RANGE, "the weight of class %d is %g, must not be negative", i, a->weight[i]);
    return LK_OK;
}

static lk_status infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(
        s, 0, 2, 4, "logits [batch, classes], [batch, places, classes] or [batch, classes, height, width]"));
    const lk_shape *const logits = &s->in[0], *const target = &s->in[1];
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    const bool ids = s->in_dtype[1] == LK_DT_I64;
    const int at = logits->ndim == 4 ? 1 : logits->ndim - 1; /* of the classes */
    LK_TRY(lk_shape_check(target, "target"));
    if (!ids && !lk_shape_equal(logits, target))
        return LK_FAIL(LK_E_SHAPE,
            "logits %s and target %s do not fit: a target of real numbers holds the share of each class, in the shape "
            "of the logits; class ids are whole numbers",
            lk_shape_print(logits, a), lk_shape_print(target, b));
    bool fits = !ids || target->ndim == logits->ndim - 1;
    for (int i = 0; ids && fits && i < target->ndim; i++)
        fits = target->dim[i] == logits->dim[i < at ? i : i + 1];
    if (!fits)
        return LK_FAIL(LK_E_SHAPE, "logits %s and target %s do not fit: the target must hold one class id a %s",
            lk_shape_print(logits, a), lk_shape_print(target, b), logits->ndim == 2 ? "sample" : "place");
    LK_TRY(check_attr(&s->attr.cross_entropy, logits->dim[at], ids));
    return lki_loss_infer(s, &s->attr.cross_entropy.scale);
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
