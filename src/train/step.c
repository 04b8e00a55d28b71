/* The step: microbatches on the workers, the ordered reduction while the last of them goes backward, the update of the own slices, and
 * the gathering of the new weights; phase by phase. Nothing here depends on ranks, workers or timing but the waiting. */
#include "train/run_int.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* ---- microbatches ---- */

/* One wave: microbatches that run at the same time, one a worker. */
typedef struct wave {
    lk_run *r;
    lki_phase *phase;
    const lk_batch *batch;
    int first, n;        /* lanes of this rank, from 0 */
    bool last;
    int stat_count;      /* microbatches of the step, on all ranks, that have samples */
    int next_bucket;     /* the last wave sends buckets from the last to the first */
    lk_status comm;      /* what the exchange said first, and why; only worker 0 touches them */
    lk_err comm_why;
    _Atomic int *done;   /* [workers] last instruction each has finished */
} wave;

static void note_comm(wave *w, lk_status st)
{
    if (st == LK_OK || w->comm != LK_OK)
        return;
    w->comm = st;
    lk_err_take(&w->comm_why);
}

/* Sends every bucket that all workers of the wave have finished. Worker 0 only: it alone talks to other ranks. */
static void send_ready(wave *w)
{
    const lk_plan *p = w->phase->trainer.plan;

    while (w->next_bucket >= 0 && w->comm == LK_OK) {
        for (int i = 0; i < w->n; i++)
            if (atomic_load_explicit(&w->done[i], memory_order_acquire) < p->ready[w->next_bucket])
                return;
        for (int i = 0; i < w->n && w->comm == LK_OK; i++)
            note_comm(w, lk_reduce_ready(w->phase->reduce, w->r->first_lane + w->first + i, w->next_bucket));
        w->next_bucket--;
    }
}

typedef struct hook {
    wave *w;
    int worker;
} hook;

static void after_instr(void *arg, int instr)
{
    hook *h = arg;

    atomic_store_explicit(&h->w->done[h->worker], instr, memory_order_release);
    if (h->worker != 0)
        return;
    send_ready(h->w);
    if (h->w->comm == LK_OK)
        note_comm(h->w, lk_reduce_poll(h->w->phase->reduce));
}

static lk_micro lane_micro(lk_run *r, const lk_batch *batch, int lane)
{
    const lk_lane_batch *b = &batch->lane[lane];

    return (lk_micro){
        .rows = r->rows,
        .valid = b->valid,
        .sample = b->sample,
        .seed = (uint64_t)r->config->run.seed,
        .step = r->cursor.step,
        .grad_scale = lki_loss_scale(r) / (double)batch->samples,
        .metrics = r->rows_sent + (int64_t)lane * LKI_COLS,
    };
}

static lk_status run_lane(void *arg, int worker, int i)
{
    wave *w = arg;
    lk_run *r = w->r;
    const int lane = w->first + i;
    const lk_micro micro = lane_micro(r, w->batch, lane);
    hook h = {w, worker};
    lk_exec_run_args args = {
        .micro = &micro,
        .slot = lane,
        .weights = r->weights,
        .packed = w->phase->trainer.packed,
        .grads = lk_reduce_leaf(w->phase->reduce, r->first_lane + lane),
        .stat_index = r->first_lane + lane, /* padding is in the last lanes, so the non-empty ones are numbered without gaps */
        .stat_count = w->stat_count,
        .after = w->last ? after_instr : NULL,
        .after_arg = &h,
    };
    lk_status st = lki_carry_lane(r, w->phase, lane, &args.carry);

    memcpy(args.input, w->batch->lane[lane].field, sizeof args.input);
    if (st == LK_OK)
        st = lk_exec_run(w->phase->trainer.exec[worker], &args);

    atomic_store_explicit(&w->done[worker], INT32_MAX, memory_order_release);
    return st;
}

/* Runs this rank's microbatches and brings every bucket on its way, also when a microbatch failed: other ranks wait for them, unless with it this
 * rank's device is lost, which ends them all. `local` and `why` get what
 * failed here first; the result is that of the exchange. */
static lk_status run_lanes(lk_run *r, lki_phase *p, const lk_batch *b, lk_status *local, lk_err *why)
{
    const int width = lk_pool_size(r->pool);
    wave w = {.r = r, .phase = p, .batch = b, .next_bucket = p->trainer.plan->n_buckets - 1, .done = r->done, .stat_count = lki_nonempty_lanes(r, b->step)};

    *local = LK_OK;
    for (w.first = 0; w.first < r->n_lanes; w.first += width) {
        w.n = r->n_lanes - w.first < width ? r->n_lanes - w.first : width;
        w.last = w.first + w.n == r->n_lanes;
        for (int i = 0; i < w.n; i++)
            atomic_store_explicit(&w.done[i], -1, memory_order_relaxed);
        const lk_status st = lk_pool_run(r->pool, w.n, run_lane, &w);
        if (st != LK_OK && *local == LK_OK) {
            *local = st;
            lk_err_take(why);
        }
        if (w.comm == LK_OK && lk_status_damage(*local) >= LK_DAMAGE_COMM)
            return lk_err_give(why);
        if (w.last) {
            if (w.comm == LK_OK)
                send_ready(&w); /* all are done: sends what is left */
            LK_TRY(w.comm == LK_OK ? LK_OK : lk_err_give(&w.comm_why));
        } else {
            for (int bucket = p->trainer.plan->n_buckets - 1; bucket >= 0; bucket--)
                for (int i = 0; i < w.n; i++)
                    LK_TRY(lk_reduce_ready(p->reduce, r->first_lane + w.first + i, bucket));
        }
    }
    return LK_OK;
}

/* What the lanes have to say: on a device they were only queued, one after the other on one worker, and have said it once their forward passes are done. */
static void finish_lanes(lk_run *r, lki_phase *p, const lk_batch *b, lk_status *local, lk_err *why)
{
    for (int lane = 0; lane < r->n_lanes && *local == LK_OK; lane++) {
        const lk_micro micro = lane_micro(r, b, lane);

        *local = lk_exec_finish(p->trainer.exec[0], lane, &micro);
        if (*local != LK_OK)
            lk_err_take(why);
    }
}

/* ---- the step ---- */

static atomic_bool stop_requested;

void lk_run_request_stop(void)
{
    atomic_store(&stop_requested, true);
}

int lki_nonempty_lanes(const lk_run *r, int64_t step_in_epoch)
{
    int n = 0;

    for (int m = 0; m < r->leaves; m++)
        n += lk_sampler_valid(&r->train_sampler, step_in_epoch, m) > 0;
    return n;
}

double lki_mean_loss(const double *sum, int n)
{
    double loss = 0;

    for (int i = 0; i < n; i++, sum += LK_MAX_METRICS)
        loss += sum[LK_METRIC_WEIGHT] > 0 ? sum[LK_METRIC_LOSS] / sum[LK_METRIC_WEIGHT] : 0; /* nothing counts: all ids are ignored ones */
    return loss;
}

/* What a rank that has no batch sends: its buckets as they are, so that nobody waits; the failure mark makes all ranks drop the step. */
static lk_status send_unfilled(lk_run *r, lki_phase *p)
{
    for (int b = p->trainer.plan->n_buckets - 1; b >= 0; b--)
        for (int i = 0; i < r->n_lanes; i++)
            LK_TRY(lk_reduce_ready(p->reduce, r->first_lane + i, b));
    return LK_OK;
}

/* Forward, backward and reduction of one phase: `sum` gets the sums of its losses and the flags. */
static lk_status run_phase(lk_run *r, lki_phase *p, const lk_batch *b, lk_status loaded, double sum[LKI_COLS])
{
    /* The number of updates: after one that was left out the weights are as they were packed. */
    const lk_plan_rounding rounding = {.seed = (uint64_t)r->config->run.seed, .update = (uint64_t)(r->cursor.step - r->watch.left_out)};
    lk_status local = loaded;
    lk_err why;

    lk_record_note(r->record, LK_PHASE_FORWARD, r->cursor.epoch, r->cursor.step + 1);
    memset(r->rows_sent, 0, (size_t)r->n_lanes * LKI_COLS * sizeof *r->rows_sent);
    if (local == LK_OK)
        local = lki_engine_pack(r, &p->trainer, r->weights, r->config->train.rounding == LK_ROUNDING_STOCHASTIC ? &rounding : NULL);
    lk_err_take(&why);
    LK_TRY(local == LK_OK ? run_lanes(r, p, b, &local, &why) : send_unfilled(r, p));
    lk_record_note(r->record, LK_PHASE_REDUCE, r->cursor.epoch, r->cursor.step + 1);
    LK_TRY(lk_reduce_finish(p->reduce));
    if (local == LK_OK)
        finish_lanes(r, p, b, &local, &why);
    r->rows_sent[LKI_COL_FAILED] = local != LK_OK;
    r->rows_sent[LKI_COL_STOP] = atomic_load(&stop_requested);
    LK_TRY(lk_reduce_small(r->comm, r->leaves, LKI_COLS, r->rows_sent, sum));
    if (sum[LKI_COL_FAILED] > 0)
        return lk_comm_agree(r->comm, local == LK_OK ? LK_OK : lk_err_give(&why));
    return LK_OK;
}

/* What the gradient is multiplied by: the division that the losses left open, and clipping. */
static lk_status scale_gradient(lk_run *r, lki_phase *p, double to_mean, double *scale, double *norm, bool *counts)
{
    const double most = r->config->train.clip_norm;
    const bool fp16 = r->config->train.precision == LK_PRECISION_FP16;

    to_mean /= lki_loss_scale(r);
    *scale = to_mean;
    *norm = 0;
    *counts = true;
    if (most <= 0 && !fp16)
        return LK_OK;
    LK_TRY(lki_phase_norm(r, p, norm));
    if (fp16)
        LK_TRY(lki_loss_scale_step(r, *norm, counts));
    if (!*counts)
        return LK_OK;
    if (!isfinite(*norm))
        return LK_FAIL(LK_E_DIVERGED, "the gradient's norm at step %" PRId64 " is %g: training diverged (try a lower train.lr.peak)", r->cursor.step + 1, *norm);
    *norm *= to_mean;
    if (most > 0 && *norm > most)
        *scale = to_mean * (most / *norm);
    return LK_OK;
}

static lk_status step_phase(lk_run *r, int k, const lk_batch *b, lk_status loaded, lki_step_result *out)
{
    lki_phase *p = &r->phase[k];
    const int n_losses = p->trainer.plan->n_losses;
    double sum[LKI_COLS], norm;

    LK_TRY(run_phase(r, p, b, loaded, sum));
    out->phase_loss[k] = lki_mean_loss(sum, n_losses);
    out->loss += out->phase_loss[k];
    out->stop |= sum[LKI_COL_STOP] > 0;
    out->samples = b->samples;
    memcpy(out->sum[k], sum, sizeof out->sum[k]);
    if (!isfinite(out->phase_loss[k]))
        return LK_FAIL(LK_E_DIVERGED, "the loss of step %" PRId64 " is %g: training diverged (try a lower train.lr.peak, or train.clip_norm)", r->cursor.step + 1, out->phase_loss[k]);
    bool counts;
    lk_optim_step s = {.lr = out->lr, .t = r->cursor.step / p->every + 1 - r->watch.left_out, .stat_count = lki_nonempty_lanes(r, b->step)};
    /* Losses scaled their gradients by 1 / samples. What the mean is really over is known now; several losses are all over samples. */
    LK_TRY(scale_gradient(r, p, n_losses == 1 && sum[LK_METRIC_WEIGHT] > 0 ? (double)b->samples / sum[LK_METRIC_WEIGHT] : 1.0, &s.grad_scale, &norm, &counts));
    if (!counts) {
        out->left_out = true;
        return LK_OK;
    }
    if (k == 0)
        out->grad_norm = norm;
    lk_record_note(r->record, LK_PHASE_UPDATE, r->cursor.epoch, r->cursor.step + 1);
    return lki_phase_update(r, p, &s);
}

lk_status lki_step(lk_run *r, const lk_batch *b, lk_status loaded, lki_step_result *out)
{
    const bool carries = r->carry != NULL && (r->cursor.step + 1) % r->phase[0].every == 0;

    LK_TRY(lki_carry_begin_step(r));
    *out = (lki_step_result){.lr = lk_schedule_lr(&r->schedule, r->cursor.step) * r->watch.lr_factor};
    for (int k = 0; k < r->n_phases; k++) {
        out->phase_loss[k] = NAN;
        if ((r->cursor.step + 1) % r->phase[k].every == 0)
            LK_TRY(step_phase(r, k, b, loaded, out));
    }
    if (carries)
        lki_carry_end_step(r);
    r->cursor.step++;
    r->cursor.epoch = b->epoch;
    r->cursor.step_in_epoch = b->step + 1;
    if (r->cursor.step_in_epoch == r->steps_per_epoch) {
        r->cursor.epoch++;
        r->cursor.step_in_epoch = 0;
    }
    return LK_OK;
}
