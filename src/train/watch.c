/* What a run decides by its evaluations: when the rate falls (decay plateau), when it ends early, which checkpoints are the best. All ranks
 * decide alike, from numbers that all have; what was decided is part of a checkpoint. */
#include "train/run_int.h"

#include "base/log.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

_Static_assert(LK_MAX_BEST_CHECKPOINTS == LK_MAX_BEST, "the config may ask for as many as a state holds");

lk_watch lk_watch_start(void)
{
    return (lk_watch){.lr_factor = 1, .lr_best = INFINITY, .stop_best = INFINITY, .loss_scale = LKI_LOSS_SCALE};
}

/* Counts an evaluation; true when it was the `patience`-th in a row that did not come below *best by more than `margin`. */
static bool count_stale(double score, double margin, int64_t patience, double *best, int64_t *since)
{
    if (score < *best - margin || (*best == INFINITY && score < *best)) {
        *best = score;
        *since = 0;
        return false;
    }
    return ++*since >= patience;
}

/* Accuracy is turned round: lower is better. */
static double score_of(const lk_run *r, int metric)
{
    return metric == LK_WATCH_ACCURACY ? -r->last_accuracy : r->last_loss;
}

/* Puts this step among the best `keep`; false if it is none of them. Of equal ones the earlier stays in front. */
static bool enter_best(lk_watch *w, int keep, int64_t step, double score)
{
    int at = w->n_best;

    while (at > 0 && score < w->best[at - 1].score)
        at--;
    if (at >= keep || isnan(score))
        return false;
    if (w->n_best < keep)
        w->n_best++;
    memmove(w->best + at + 1, w->best + at, (size_t)(w->n_best - at - 1) * sizeof w->best[0]);
    w->best[at].step = step;
    w->best[at].score = score;
    return true;
}

bool lki_watch_ended(const lk_run *r)
{
    const int64_t patience = r->config->train.early_stop.patience;

    return patience > 0 && r->watch.stop_since >= patience;
}

bool lki_watch_evaluation(lk_run *r, bool due)
{
    const lk_train_opts *t = &r->config->train;
    const lk_checkpoint_opts *c = &r->config->checkpoint;
    lk_watch *w = &r->watch;

    if (due && t->lr.decay == LK_DECAY_PLATEAU) {
        const double margin = isfinite(w->lr_best) ? t->lr.threshold * fabs(w->lr_best) : 0;

        if (count_stale(r->last_loss, margin, t->lr.patience, &w->lr_best, &w->lr_since)) {
            w->lr_since = 0;
            w->lr_factor = fmax(w->lr_factor * t->lr.factor, t->lr.floor);
        }
    }
    if (due && t->early_stop.patience > 0) {
        const double score = score_of(r, t->early_stop.metric);

        if (count_stale(score, t->early_stop.delta, t->early_stop.patience, &w->stop_best, &w->stop_since) && r->rank == 0)
            lk_log(LK_LOG_INFO, "stops early at step %" PRId64 ": %" PRId64 " evaluations without a better %s than %g", r->cursor.step, w->stop_since, t->early_stop.metric == LK_WATCH_ACCURACY ? "accuracy" : "loss", fabs(w->stop_best));
    }
    return c->best > 0 && enter_best(w, (int)c->best, r->cursor.step, score_of(r, c->best_metric));
}
