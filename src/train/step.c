/* The step: microbatches on the workers, the ordered reduction while the last of them goes backward, the update of the own slices, and
 * the gathering of the new weights. Nothing here depends on ranks, workers or timing but the waiting. */
#include "train/run_int.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

lk_status lki_engine_create(lk_run *r, bool training, lki_engine *e)
{
    const lk_plan_opts opts = {.training = training, .bucket_bytes = (size_t)r->config->train.bucket_bytes};

    LK_TRY(lk_plan_create(r->graph, r->backend, &opts, &e->plan));
    if (r->mode == LK_RUN_PLAN)
        return LK_OK;
    e->workers = lk_pool_size(r->pool);
    LK_TRY(lk_alloc_array(e->workers, sizeof *e->exec, "executors", &e->exec));
    for (int i = 0; i < e->workers; i++)
        LK_TRY(lk_exec_create(e->plan, &e->exec[i]));
    LK_TRY(lk_alloc_array(e->plan->packed_bytes, 1, "packed weights", &e->packed));
    e->stale = true;
    return LK_OK;
}

void lki_engine_destroy(lki_engine *e)
{
    for (int i = 0; e->exec != NULL && i < e->workers; i++)
        lk_exec_destroy(&e->exec[i]);
    lk_free(e->exec);
    lk_free(e->packed);
    lk_plan_destroy(&e->plan);
    memset(e, 0, sizeof *e);
}

typedef struct pack_job {
    lki_engine *e;
    const float *weights;
} pack_job;

static lk_status pack_part(void *arg, int worker, int i)
{
    const pack_job *j = arg;

    return lk_plan_pack(j->e->plan, j->weights, j->e->packed, lk_exec_arena(j->e->exec[worker]), i, j->e->workers);
}

lk_status lki_engine_pack(lk_run *r, lki_engine *e, const float *weights)
{
    pack_job j = {e, weights};

    if (!e->stale)
        return LK_OK;
    LK_TRY(lk_pool_run(r->pool, e->workers, pack_part, &j));
    e->stale = false;
    return LK_OK;
}

/* ---- setup ---- */

static lk_status create_state(lk_run *r)
{
    const lk_plan *p = r->trainer.plan;
    const lk_opt_info *info = lk_opt_get(r->optim.kind);
    int64_t own = 0;

    r->n_state = info->n_state;
    r->sharded = r->config->train.shard_optimizer && r->nranks > 1 && !info->whole;
    LK_TRY(lk_alloc_array(p->n_buckets + 1, sizeof *r->own_at, "slices", &r->own_at));
    for (int b = 0; b < p->n_buckets; b++) {
        int64_t first = p->bucket[b], end = p->bucket[b + 1];

        if (r->sharded)
            lk_reduce_slice(r->reduce, b, r->rank, &first, &end);
        r->own_at[b] = own;
        own += end - first;
    }
    r->own_at[p->n_buckets] = own;
    for (int i = 0; i < r->n_state; i++)
        LK_TRY(lk_alloc_array(own, sizeof(float), "optimizer state", &r->state[i]));
    if (r->config->train.ema > 0) {
        LK_TRY(lk_alloc_array(own, sizeof(float), "running mean of the weights", &r->ema));
        for (int b = 0; b < p->n_buckets; b++) {
            int64_t first = p->bucket[b], end = p->bucket[b + 1];

            if (r->sharded)
                lk_reduce_slice(r->reduce, b, r->rank, &first, &end);
            memcpy(r->ema + r->own_at[b], r->weights + first, (size_t)(end - first) * sizeof(float));
        }
    }
    if (!r->sharded)
        return LK_OK;
    if (r->rank == 0 && r->ema != NULL)
        LK_TRY(lk_alloc_array(r->graph->flat, sizeof(float), "whole running mean", &r->full.ema));
    LK_TRY(lk_alloc_array(r->graph->flat, sizeof *r->stage, "staging of the state", &r->stage));
    for (int i = 0; r->rank == 0 && i < r->n_state; i++)
        LK_TRY(lk_alloc_array(r->graph->flat, sizeof(float), "whole optimizer state", &r->full.state[i]));
    return LK_OK;
}

static lk_status prepare_local(lk_run *r)
{
    const lk_train_opts *t = &r->config->train;

    LK_TRY(lk_optim_rules(r->graph, t->weight_decay, &r->rule));
    r->optim = (lk_optim){.graph = r->graph, .backend = r->backend, .kind = (lk_opt)t->optimizer, .rule = r->rule, .momentum = t->momentum, .beta1 = t->beta1, .beta2 = t->beta2, .eps = t->eps, .trust = t->trust, .nesterov = t->nesterov, .clip_value = t->clip_value, .noise = t->gradient_noise, .noise_decay = t->gradient_noise_decay, .seed = (uint64_t)r->config->run.seed};
    r->opt_scratch_bytes = lk_optim_scratch(&r->optim);
    LK_TRY(lk_alloc_array(lk_pool_size(r->pool), r->opt_scratch_bytes, "optimizer's scratch", &r->opt_scratch));
    LK_TRY(create_state(r));
    LK_TRY(lk_alloc_array(r->graph->flat / LK_TILE, sizeof *r->tiles, "tile squares", &r->tiles));
    LK_TRY(lk_alloc_array(r->graph->flat / LK_TILE, sizeof *r->tiles_sent, "tile squares", &r->tiles_sent));
    LK_TRY(lk_alloc_array(4 * (int64_t)r->nranks, sizeof *r->exchange, "exchange of tile squares", &r->exchange));
    LK_TRY(lk_alloc_array(lk_pool_size(r->pool), sizeof *r->done, "progress of workers", &r->done));
    return lk_alloc_array((int64_t)(r->n_lanes) * LKI_COLS, sizeof *r->rows_sent, "step sums", &r->rows_sent);
}

lk_status lki_step_prepare(lk_run *r)
{
    const lk_train_opts *t = &r->config->train;
    const lk_plan *p = r->trainer.plan;
    const lk_reduce_opts opts = {
        .n = r->graph->flat,
        .type = LK_COMM_F32,
        .tile = LK_TILE,
        .n_buckets = p->n_buckets,
        .bucket = p->bucket,
        .leaves = r->leaves,
        .width = lk_pool_size(r->pool),
        .fast = t->reduction == LK_REDUCTION_FAST,
    };

    LK_TRY(lk_reduce_create(r->comm, &opts, &r->reduce));
    return lk_comm_agree(r->comm, prepare_local(r));
}

/* ---- microbatches ---- */

/* One wave: microbatches that run at the same time, one a worker. */
typedef struct wave {
    lk_run *r;
    const lk_batch *batch;
    int first, n;        /* lanes of this rank, from 0 */
    bool last;
    int stat_count;
    int next_bucket;     /* the last wave sends buckets from the last to the first */
    lk_status comm;      /* what the exchange said; only worker 0 touches it */
    _Atomic int *done;   /* [workers] last instruction each has finished */
} wave;

/* Sends every bucket that all workers of the wave have finished. Worker 0 only: it alone talks to other ranks. */
static void send_ready(wave *w)
{
    const lk_plan *p = w->r->trainer.plan;

    while (w->next_bucket >= 0 && w->comm == LK_OK) {
        for (int i = 0; i < w->n; i++)
            if (atomic_load_explicit(&w->done[i], memory_order_acquire) < p->ready[w->next_bucket])
                return;
        for (int i = 0; i < w->n && w->comm == LK_OK; i++)
            w->comm = lk_reduce_ready(w->r->reduce, w->r->first_lane + w->first + i, w->next_bucket);
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
        h->w->comm = lk_reduce_poll(h->w->r->reduce);
}

static lk_status run_lane(void *arg, int worker, int i)
{
    wave *w = arg;
    lk_run *r = w->r;
    const int lane = w->first + i;
    const lk_lane_batch *b = &w->batch->lane[lane];
    double *metrics = r->rows_sent + (int64_t)lane * LKI_COLS;
    const lk_micro micro = {
        .rows = r->rows,
        .valid = b->valid,
        .sample = b->sample,
        .seed = (uint64_t)r->config->run.seed,
        .step = r->cursor.step,
        .grad_scale = 1.0 / (double)w->batch->samples,
        .metrics = metrics,
    };
    hook h = {w, worker};
    const lk_exec_run_args args = {
        .micro = &micro,
        .input = {b->field[0], b->field[1]},
        .weights = r->weights,
        .packed = r->trainer.packed,
        .grads = lk_reduce_leaf(r->reduce, r->first_lane + lane),
        .stat_index = r->first_lane + lane, /* padding is in the last lanes, so the non-empty ones are numbered without gaps */
        .stat_count = w->stat_count,
        .after = w->last ? after_instr : NULL,
        .after_arg = &h,
    };
    const lk_status st = lk_exec_run(r->trainer.exec[worker], &args);

    atomic_store_explicit(&w->done[worker], INT32_MAX, memory_order_release);
    return st;
}

/* Runs this rank's microbatches and brings every bucket on its way, also when a microbatch failed: other ranks wait for them. `local` and `why` get what
 * failed here first; the result is that of the exchange. */
static lk_status run_lanes(lk_run *r, const lk_batch *b, lk_status *local, lk_err *why)
{
    const int width = lk_pool_size(r->pool);
    wave w = {.r = r, .batch = b, .next_bucket = r->trainer.plan->n_buckets - 1, .done = r->done};

    *local = LK_OK;
    for (int m = 0; m < r->leaves; m++)
        w.stat_count += lk_sampler_valid(&r->train_sampler, b->step, m) > 0;
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
        if (w.last) {
            LK_TRY(w.comm);
            send_ready(&w); /* all are done: sends what is left */
            LK_TRY(w.comm);
        } else {
            for (int bucket = r->trainer.plan->n_buckets - 1; bucket >= 0; bucket--)
                for (int i = 0; i < w.n; i++)
                    LK_TRY(lk_reduce_ready(r->reduce, r->first_lane + w.first + i, bucket));
        }
    }
    return LK_OK;
}

/* ---- update ---- */

/* Global norm of the gradient of the weights: squares a tile by the tile's owner, exchanged, added up by everyone in the order of tiles. */
static lk_status gradient_norm(lk_run *r, double *norm)
{
    const lk_plan *p = r->trainer.plan;
    const char *sum = lk_reduce_sum(r->reduce);
    int64_t *scount = r->exchange, *sdispl = scount + r->nranks, *rcount = sdispl + r->nranks, *rdispl = rcount + r->nranks;
    int64_t own = 0, at = 0, first, end;
    lk_comm_req *req = NULL;

    /* The own tiles of all buckets, one after the other, go to everyone. */
    double *mine = r->tiles;
    for (int b = 0; b < p->n_buckets; b++) {
        lk_reduce_slice(r->reduce, b, r->rank, &first, &end);
        lk_optim_tile_squares(&r->optim, first, end, sum, mine + own);
        own += (end - first) / LK_TILE;
    }
    if (r->nranks > 1) {
        for (int k = 0; k < r->nranks; k++) {
            int64_t tiles = 0;

            for (int b = 0; b < p->n_buckets; b++) {
                lk_reduce_slice(r->reduce, b, k, &first, &end);
                tiles += (end - first) / LK_TILE;
            }
            scount[k] = own * (int64_t)sizeof *mine;
            sdispl[k] = 0;
            rcount[k] = tiles * (int64_t)sizeof *mine;
            rdispl[k] = at;
            at += rcount[k];
        }
        LK_TRY(lk_comm_alltoallv_start(r->comm, LKI_TAG_NORM, mine, scount, sdispl, r->tiles_sent, rcount, rdispl, &req));
        LK_TRY(lk_comm_wait(r->comm, &req));
        const double *from = r->tiles_sent;
        for (int k = 0; k < r->nranks; k++)
            for (int b = 0; b < p->n_buckets; b++) {
                lk_reduce_slice(r->reduce, b, k, &first, &end);
                for (int64_t e = first; e < end; e += LK_TILE)
                    r->tiles[e / LK_TILE] = *from++;
            }
    }
    double total = 0;
    for (int64_t i = 0; i < r->graph->flat / LK_TILE; i++)
        total += r->tiles[i];
    *norm = sqrt(total);
    return LK_OK;
}

typedef struct update_job {
    lk_run *r;
    lk_optim_step step;
} update_job;

/* Every so many-th parameter, whole. */
static lk_status update_whole(void *arg, int worker, int i)
{
    const update_job *j = arg;
    lk_run *r = j->r;
    lk_optim_step step = j->step;

    step.scratch = r->opt_scratch + (size_t)worker * r->opt_scratch_bytes;
    for (int k = i; k < r->graph->n_params; k += lk_pool_size(r->pool)) {
        const lk_param *p = &r->graph->param[k];
        void *state[LK_MAX_OPT_STATE] = {NULL};

        for (int s = 0; s < r->n_state; s++)
            state[s] = r->state[s] + p->first;
        lk_optim_update(&r->optim, &step, p->first, p->first + p->count, r->weights, state, (void *)lk_reduce_sum(r->reduce));
        if (r->ema != NULL)
            lk_optim_average(&r->optim, r->config->train.ema, step.t, p->first, p->first + p->count, r->weights, r->ema + p->first);
    }
    return LK_OK;
}

/* Part i of each bucket's own slice. Element by element, so the cut is free. */
static lk_status update_part(void *arg, int worker, int i)
{
    const update_job *j = arg;
    lk_run *r = j->r;
    const lk_plan *p = r->trainer.plan;
    const int parts = lk_pool_size(r->pool);

    (void)worker;
    for (int b = 0; b < p->n_buckets; b++) {
        int64_t first = p->bucket[b], end = p->bucket[b + 1];

        if (r->sharded)
            lk_reduce_slice(r->reduce, b, r->rank, &first, &end);
        const int64_t tiles = (end - first) / LK_TILE;
        const int64_t from = first + tiles * i / parts * LK_TILE, to = first + tiles * (i + 1) / parts * LK_TILE;
        void *state[LK_MAX_OPT_STATE] = {NULL};
        for (int k = 0; k < r->n_state; k++)
            state[k] = r->state[k] + r->own_at[b] + (from - first);
        lk_optim_update(&r->optim, &j->step, from, to, r->weights, state, (void *)lk_reduce_sum(r->reduce));
        if (r->ema != NULL)
            lk_optim_average(&r->optim, r->config->train.ema, j->step.t, from, to, r->weights, r->ema + r->own_at[b] + (from - first));
    }
    return LK_OK;
}

static lk_status update(lk_run *r, const lki_step_result *s, double grad_scale, int stat_count)
{
    update_job j = {r, {.lr = s->lr, .t = r->cursor.step + 1, .grad_scale = grad_scale, .stat_count = stat_count}};

    /* Without sharding everyone needs the whole sum. */
    if (!r->sharded && r->nranks > 1)
        LK_TRY(lk_reduce_gather(r->reduce, (void *)lk_reduce_sum(r->reduce)));
    LK_TRY(lk_pool_run(r->pool, lk_pool_size(r->pool), lk_opt_get(r->optim.kind)->whole ? update_whole : update_part, &j));
    if (r->sharded)
        LK_TRY(lk_reduce_gather(r->reduce, r->weights));
    r->trainer.stale = true;
    r->evaluator.stale = true;
    return LK_OK;
}

/* ---- the step ---- */

static atomic_bool stop_requested;

void lk_run_request_stop(void)
{
    atomic_store(&stop_requested, true);
}

/* What a rank that has no batch sends: its buckets as they are, so that nobody waits; the failure mark makes all ranks drop the step. */
static lk_status send_unfilled(lk_run *r)
{
    for (int b = r->trainer.plan->n_buckets - 1; b >= 0; b--)
        for (int i = 0; i < r->n_lanes; i++)
            LK_TRY(lk_reduce_ready(r->reduce, r->first_lane + i, b));
    return LK_OK;
}

lk_status lki_step(lk_run *r, const lk_batch *b, lk_status loaded, lki_step_result *out)
{
    double sum[LKI_COLS];
    lk_status local = loaded;
    lk_err why;

    lk_record_note(r->record, LK_PHASE_FORWARD, r->cursor.epoch, r->cursor.step + 1);
    memset(r->rows_sent, 0, (size_t)r->n_lanes * LKI_COLS * sizeof *r->rows_sent);
    if (local == LK_OK)
        local = lki_engine_pack(r, &r->trainer, r->weights);
    lk_err_take(&why);
    LK_TRY(local == LK_OK ? run_lanes(r, b, &local, &why) : send_unfilled(r));
    r->rows_sent[LKI_COL_FAILED] = local != LK_OK;
    r->rows_sent[LKI_COL_STOP] = atomic_load(&stop_requested);

    lk_record_note(r->record, LK_PHASE_REDUCE, r->cursor.epoch, r->cursor.step + 1);
    LK_TRY(lk_reduce_finish(r->reduce));
    LK_TRY(lk_reduce_small(r->comm, r->leaves, LKI_COLS, r->rows_sent, sum));
    if (sum[LKI_COL_FAILED] > 0)
        return lk_comm_agree(r->comm, local == LK_OK ? LK_OK : lk_err_give(&why));

    *out = (lki_step_result){.loss = sum[LK_METRIC_LOSS] / sum[LK_METRIC_WEIGHT], .lr = lk_schedule_lr(&r->schedule, r->cursor.step) * r->watch.lr_factor, .samples = b->samples, .stop = sum[LKI_COL_STOP] > 0};
    memcpy(out->metric, sum, sizeof out->metric);
    if (!isfinite(out->loss))
        return LK_FAIL(LK_E_DIVERGED, "the loss of step %" PRId64 " is %g: training diverged (try a lower train.lr.peak, or train.clip_norm)", r->cursor.step + 1, out->loss);
    /* Losses scaled their gradients by 1 / samples; what they are really to be divided by is known now. */
    const double to_mean = (double)b->samples / sum[LK_METRIC_WEIGHT];
    double grad_scale = to_mean;
    if (r->config->train.clip_norm > 0) {
        LK_TRY(gradient_norm(r, &out->grad_norm));
        if (!isfinite(out->grad_norm))
            return LK_FAIL(LK_E_DIVERGED, "the gradient's norm at step %" PRId64 " is %g: training diverged (try a lower train.lr.peak)", r->cursor.step + 1, out->grad_norm);
        out->grad_norm *= to_mean;
        if (out->grad_norm > r->config->train.clip_norm)
            grad_scale = to_mean * (r->config->train.clip_norm / out->grad_norm);
    }
    int stat_count = 0;
    for (int m = 0; m < r->leaves; m++)
        stat_count += lk_sampler_valid(&r->train_sampler, b->step, m) > 0;
    lk_record_note(r->record, LK_PHASE_UPDATE, r->cursor.epoch, r->cursor.step + 1);
    LK_TRY(update(r, out, grad_scale, stat_count));

    r->cursor.step++;
    r->cursor.epoch = b->epoch;
    r->cursor.step_in_epoch = b->step + 1;
    if (r->cursor.step_in_epoch == r->steps_per_epoch) {
        r->cursor.epoch++;
        r->cursor.step_in_epoch = 0;
    }
    return LK_OK;
}
