/* The state of a run between its sharded form and the checkpoint: rank 0 writes and reads the file, the slices travel. */
#include "train/run_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

float **lki_state_full(lk_run *r, int i)
{
    return i < r->n_state ? &r->full.state[i] : &r->full.ema;
}

/* The members of r->full, as far as they are not this rank's to allocate. */
static void name_state(lk_run *r)
{
    const lk_opt_info *info = lk_opt_get((lk_opt)r->config->train.optimizer);

    r->full.weights = r->host;
    r->full.n_state = r->n_state;
    for (int i = 0; i < r->n_state; i++)
        r->full.state_name[i] = info->state[i];
    for (int i = 0; !r->sharded && r->backend->space->host && i < r->n_kept; i++)
        *lki_state_full(r, i) = r->kept[i];
    lki_carry_name(r);
}

lk_status lki_state_bring_in(lk_run *r)
{
    if (r->host == r->weights)
        return LK_OK;
    return lk_space_copy(r->backend->space, r->weights, r->host, (size_t)r->graph->flat * sizeof *r->host, LK_COPY_IN);
}

/* Kept array i of all ranks on rank 0, in the backend's space: in `flat`, or, without sharding, where it is. */
static lk_status collect_kept(lk_run *r, int i, float *flat)
{
    /* What no phase learns stays as it was. */
    if (i == r->n_state)
        LK_TRY(lk_space_copy(r->backend->space, flat, r->weights, (size_t)r->graph->flat * sizeof *flat, LK_COPY_WITHIN));
    for (int k = 0; k < r->n_phases; k++) {
        LK_TRY(lki_phase_copy_slices(&r->phase[k], r->rank, i, flat, true));
        LK_TRY(lk_reduce_collect(r->phase[k].reduce, 0, flat + r->phase[k].trainer.plan->grad_first));
    }
    return LK_OK;
}

lk_status lki_state_collect(lk_run *r)
{
    const lk_space *space = r->backend->space;
    const size_t bytes = (size_t)r->graph->flat * sizeof(float);

    r->full.cursor = r->cursor;
    r->full.watch = r->watch;
    name_state(r);
    for (int i = 0; i < r->n_kept; i++) {
        float *whole = *lki_state_full(r, i), *flat = !r->sharded ? r->kept[i] : space->host && r->rank == 0 ? whole : r->stage;

        if (r->sharded)
            LK_TRY(collect_kept(r, i, flat));
        if (!space->host && r->rank == 0)
            LK_TRY(lk_space_copy(space, whole, flat, bytes, LK_COPY_OUT));
    }
    if (!space->host && r->rank == 0)
        LK_TRY(lk_space_copy(space, r->host, r->weights, bytes, LK_COPY_OUT));
    return lki_carry_move(r, true);
}

lk_status lki_state_evaluated(lk_run *r, const float **weights)
{
    *weights = r->weights;
    if (r->n_kept == r->n_state)
        return LK_OK;
    *weights = r->sharded ? r->stage : r->kept[r->n_state];
    if (!r->sharded)
        return LK_OK;
    LK_TRY(lk_space_copy(r->backend->space, r->stage, r->weights, (size_t)r->graph->flat * sizeof *r->stage, LK_COPY_WITHIN));
    for (int k = 0; k < r->n_phases; k++) {
        LK_TRY(lki_phase_copy_slices(&r->phase[k], r->rank, r->n_state, r->stage, true));
        LK_TRY(lk_reduce_gather(r->phase[k].reduce, r->stage + r->phase[k].trainer.plan->grad_first));
    }
    return LK_OK;
}

/* Rank 0, to evaluate only: the running means take the weights' place. */
static lk_status read_evaluated(lk_run *r, const char *path, lk_checkpoint_meta *m)
{
    const size_t bytes = (size_t)r->graph->flat * sizeof(float);

    LK_TRY(lk_alloc(bytes, "running mean of the weights", &r->full.ema));
    const lk_status st = lk_checkpoint_read(path, r->graph, &r->full, m);
    if (st == LK_OK)
        memcpy(r->host, r->full.ema, bytes);
    lk_free(r->full.ema);
    r->full.ema = NULL;
    return st;
}

/* Rank 0: reads the checkpoint and holds it against the run; what would change the bits of a resumed run is refused. */
static lk_status read_state(lk_run *r, const char *path)
{
    const lk_train_opts *t = &r->config->train;
    lk_checkpoint_meta m = {0};

    name_state(r);
    const bool evaluates = r->mode == LK_RUN_EVAL && r->config->train.ema > 0;
    LK_TRY(evaluates ? read_evaluated(r, path, &m) : lk_checkpoint_read(path, r->graph, &r->full, &m));
    r->normalization = (char *)m.normalization;
    if (r->mode != LK_RUN_TRAIN)
        return LK_OK;
    const struct {
        const char *key;
        int64_t then, now;
    } same[] = {
        {"run.seed", (int64_t)m.seed, r->config->run.seed},
        {"train.batch", m.batch, t->batch},
        {"train.microbatches", m.microbatches, t->microbatches},
        {"the number of training samples", m.samples, lk_dataset_samples(r->train_data)},
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (same[i].then != same[i].now)
            return LK_FAIL(LK_E_CONFIG, "%s was made with %s %" PRId64 ", now it is %" PRId64 ": the run could not go on with the same bits; set it back, or start anew with another --run-dir", path, same[i].key, same[i].then, same[i].now);
    return LK_OK;
}

/* Kept array i, whole on this host, to where it is used. */
static lk_status spread_kept(lk_run *r, int i, float *flat)
{
    const lk_space *space = r->backend->space;
    float *const to = r->sharded ? r->stage : r->kept[i];

    if (!space->host) {
        LK_TRY(lk_space_copy(space, to, flat, (size_t)r->graph->flat * sizeof *flat, LK_COPY_IN));
        flat = to;
    }
    for (int k = 0; r->sharded && k < r->n_phases; k++)
        LK_TRY(lki_phase_copy_slices(&r->phase[k], r->rank, i, flat, false));
    return LK_OK;
}

lk_status lki_state_restore(lk_run *r, const char *path)
{
    const lk_space *space = r->backend->space;
    const size_t bytes = (size_t)r->graph->flat * sizeof(float);

    LK_TRY(lk_comm_agree(r->comm, r->rank == 0 ? read_state(r, path) : LK_OK));
    LK_TRY(lk_comm_bcast(r->comm, 0, &r->full.cursor, sizeof r->full.cursor));
    r->cursor = r->full.cursor;
    LK_TRY(lk_comm_bcast(r->comm, 0, &r->full.watch, sizeof r->full.watch));
    r->watch = r->full.watch;
    for (int i = 0; i < r->n_kept; i++) {
        float *flat = *lki_state_full(r, i);

        if (r->rank != 0) /* r->host is free until the weights come */
            flat = !space->host ? r->host : r->sharded ? r->stage : r->kept[i];
        LK_TRY(lk_comm_bcast(r->comm, 0, flat, bytes));
        LK_TRY(spread_kept(r, i, flat));
    }
    LK_TRY(lk_comm_bcast(r->comm, 0, r->host, bytes));
    LK_TRY(lki_state_bring_in(r));
    return lki_carry_move(r, false);
}

lk_status lki_state_save(lk_run *r)
{
    const lk_train_opts *t = &r->config->train;
    char *path = NULL;
    lk_status st = LK_OK;

    lk_record_note(r->record, LK_PHASE_CHECKPOINT, r->cursor.epoch, r->cursor.step);
    LK_TRY(lki_state_collect(r));
    if (r->rank == 0) {
        const lk_checkpoint_meta m = {
            .seed = (uint64_t)r->config->run.seed,
            .model_hash = lk_graph_hash(r->graph),
            .samples = lk_dataset_samples(r->train_data),
            .batch = t->batch,
            .microbatches = t->microbatches,
            .config = r->config_text,
            .normalization = r->normalization,
            .reduction = t->reduction == LK_REDUCTION_FAST ? "fast" : "exact",
            .backend = r->backend->name,
        };
        st = lk_checkpoint_write(r->checkpoints, r->graph, &r->full, &m, r->config->checkpoint.keep, &path);
        if (st == LK_OK)
            st = lki_report_checkpoint(r->report, r, path);
    }
    lk_free(path);
    return lk_comm_agree(r->comm, st);
}

lk_status lki_state_print_digest(lk_run *r, char text[LK_HASH_TEXT])
{
    lk_hash h = {0, 0};
    lk_status st = LK_OK;

    LK_TRY(lki_state_collect(r));
    if (r->rank == 0)
        st = lk_state_digest(r->graph, &r->full, &h);
    LK_TRY(lk_comm_agree(r->comm, st));
    LK_TRY(lk_comm_bcast(r->comm, 0, &h, sizeof h));
    lk_hash_print(h, text);
    return LK_OK;
}
