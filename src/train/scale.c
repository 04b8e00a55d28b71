/* Dynamic loss scaling (Micikevicius et al. 2018, "Mixed precision training", section 3.2). */
#include "train/run_int.h"

#include <inttypes.h>
#include <math.h>

double lki_loss_scale(const lk_run *r)
{
    return r->config->train.precision == LK_PRECISION_FP16 ? r->watch.loss_scale : 1;
}

lk_status lki_loss_scale_step(lk_run *r, double norm, bool *counts)
{
    lk_watch *w = &r->watch;

    *counts = isfinite(norm);
    if (*counts) {
        if (++w->scale_since == LKI_SCALE_STEPS && w->loss_scale < 0x1p24) {
            w->loss_scale *= 2;
            w->scale_since = 0;
        }
        return LK_OK;
    }
    w->left_out++;
    w->scale_since = 0;
    if (w->loss_scale <= 1)
        return LK_FAIL(LK_E_DIVERGED, "the gradient of step %" PRId64 " is not finite though the loss is not scaled any more: training diverged (try train.precision: bf16, or a lower train.lr.peak)", r->cursor.step + 1);
    w->loss_scale /= 2;
    return LK_OK;
}
