/* Opening a run: data, model, plan, run directory, checkpoint. What can be wrong with the input is found here, before anything starts; every
 * local step is closed by an agreement, so all ranks leave together. */
#include "train/run_int.h"

#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/mem.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- model and plan ---- */

/* Compiles; takes no memory but for plans. */
static lk_status open_model(lk_run *r)
{
    const lk_dataset *d = r->train_data != NULL ? r->train_data : r->valid_data;
    const lk_model_input in = lki_data_input(r);
    int workers = (int)r->config->run.threads;

    LK_TRY(lki_data_check_target(r, d));
    LK_TRY(lk_model_build(r->config, &in, &r->model));
    r->graph = r->model.phase[0].graph;
    r->classes = r->model.classes;
    r->n_phases = r->model.n_phases;
    LK_TRY(lki_data_prepare(r));
    /* More workers than microbatches would have nothing to do; a GPU has one queue. */
    if (workers > r->n_lanes)
        workers = r->n_lanes;
    if (r->on_gpu)
        workers = 1;
    LK_TRY(lk_pool_create(workers, r->backend->thread_setup, &r->pool));
    for (int k = 0; k < r->n_phases; k++) {
        lki_phase *p = &r->phase[k];

        p->name = r->model.phase[k].name;
        p->graph = r->model.phase[k].graph;
        p->every = r->model.phase[k].every;
        if (r->mode != LK_RUN_EVAL)
            LK_TRY(lki_engine_create(r, p->graph, true, &p->trainer));
    }
    if (r->valid_data != NULL)
        LK_TRY(lki_engine_create(r, r->predicts ? r->model.predicted : r->model.evaluated, false, &r->evaluator));
    if (r->config->train.precision == LK_PRECISION_FP16 && r->n_phases > 1)
        return LK_FAIL(LK_E_CONFIG, "%s: train.precision fp16 scales one loss, and this objective has %d: set it to bf16", r->config->path, r->n_phases);
    LK_TRY(lki_carry_check(r));
    r->resident = lk_resident_bytes();
    return LK_OK;
}

static lk_status open_memory(lk_run *r)
{
    for (int k = 0; k < r->n_phases; k++)
        LK_TRY(lki_engine_allocate(r, &r->phase[k].trainer));
    LK_TRY(lki_engine_allocate(r, &r->evaluator));
    LK_TRY(lki_carry_create(r));
    LK_TRY(lk_space_alloc(r->backend->space, (size_t)r->graph->flat * sizeof *r->weights, "weights", &r->weights));
    r->host = r->weights;
    if (!r->backend->space->host)
        LK_TRY(lk_alloc_array(r->graph->flat, sizeof *r->host, "weights", &r->host));
    return lk_graph_init_weights(r->graph, (uint64_t)r->config->run.seed, r->host);
}

static void plan_schedule(lk_run *r)
{
    const lk_train_opts *t = &r->config->train;

    r->steps_per_epoch = r->train_sampler.steps;
    r->total_steps = t->steps > 0 ? t->steps : t->epochs * r->steps_per_epoch;
    r->schedule = (lk_schedule){.peak = t->lr.peak, .floor = t->lr.floor, .warmup = t->lr.warmup, .decay = (lk_decay)t->lr.decay, .every = t->lr.every, .factor = t->lr.factor, .power = t->lr.power, .start = t->lr.start, .rise = t->lr.rise, .decay_share = t->lr.decay_share, .total = r->total_steps};
}

/* ---- run directory ---- */

static lk_status join(const char *a, const char *b, char **out)
{
    return lk_path_join(a, b, out);
}

static lk_status name_dir(lk_run *r)
{
    lk_buf b = {0};
    lk_status st;

    if (r->config->run.dir != NULL)
        lk_buf_add(&b, r->config->run.dir);
    else
        lk_buf_printf(&b, "runs/%s", r->config->run.name);
    st = lk_buf_status(&b);
    if (st == LK_OK)
        st = lk_strdup(lk_buf_text(&b), &r->dir);
    lk_buf_fini(&b);
    LK_TRY(st);
    LK_TRY(join(r->dir, "checkpoints", &r->checkpoints));
    lk_config_print(r->config, &b);
    st = lk_buf_status(&b);
    if (st == LK_OK)
        st = lk_strdup(lk_buf_text(&b), &r->config_text);
    lk_buf_fini(&b);
    return st;
}

/* Rank 0: finds the checkpoint to start from, *path NULL for none. */
static lk_status choose_checkpoint(const lk_run *r, const char *resume, char **path)
{
    *path = NULL;
    if (resume == NULL || strcmp(resume, "auto") == 0) {
        if (!lk_file_exists(r->checkpoints)) {
            if (r->mode == LK_RUN_EVAL)
                return LK_FAIL(LK_E_NOT_FOUND, "%s: no checkpoint to evaluate (train first, or name one with --from)", r->dir);
            return LK_OK;
        }
        LK_TRY(lk_checkpoint_find(r->checkpoints, path));
        if (*path == NULL && r->mode == LK_RUN_EVAL)
            return LK_FAIL(LK_E_NOT_FOUND, "%s: no good checkpoint there", r->checkpoints);
        return LK_OK;
    }
    if (strcmp(resume, "never") == 0) {
        if (lk_file_exists(r->checkpoints))
            LK_TRY(lk_checkpoint_find(r->checkpoints, path));
        if (*path == NULL)
            return LK_OK;
        const lk_status st = LK_FAIL(LK_E_USAGE, "%s holds checkpoints of an earlier run, and --resume never would write over them: give another --run-dir, or remove it", r->dir);
        lk_free(*path);
        *path = NULL;
        return st;
    }
    return lk_checkpoint_resolve(resume, path);
}

static lk_status prepare_dir(lk_run *r)
{
    char *path = NULL;
    lk_status st;

    LK_TRY(lk_dir_check_writable(r->dir));
    LK_TRY(lk_dir_create(r->checkpoints));
    LK_TRY(join(r->dir, "config.yaml", &path));
    st = lk_file_write_atomic(path, r->config_text, strlen(r->config_text));
    lk_free(path);
    return st;
}

/* Flight records go where the launcher looks, else into the run directory, a folder an attempt. */
static lk_status open_record(lk_run *r, int attempt)
{
    const char *records = getenv("LOCKSTEP_RECORDS");
    lk_buf b = {0};
    lk_status st;

    if (records != NULL)
        lk_buf_add(&b, records);
    else
        lk_buf_printf(&b, "%s/attempts/%04d", r->dir, attempt);
    st = lk_buf_status(&b);
    if (st == LK_OK)
        st = lk_dir_create(lk_buf_text(&b));
    lk_buf_printf(&b, "/rank-%04d.rec", r->rank);
    if (st == LK_OK)
        st = lk_buf_status(&b);
    if (st == LK_OK)
        st = lk_record_create(lk_buf_text(&b), r->rank, r->nranks, &r->record);
    lk_buf_fini(&b);
    return st;
}

/* Rank 0: number of this attempt, one more than those that left a folder. */
static lk_status next_attempt(const lk_run *r, int *attempt)
{
    char *path = NULL, **names = NULL;
    int n = 0;
    lk_status st = LK_OK;

    *attempt = 1;
    LK_TRY(join(r->dir, "attempts", &path));
    if (lk_file_exists(path)) {
        st = lk_dir_list(path, &names, &n);
        if (st == LK_OK && n > 0)
            *attempt = atoi(names[n - 1]) + 1;
        lk_strings_free(&names, n);
    }
    lk_free(path);
    return st;
}

static lk_status open_dir(lk_run *r)
{
    int attempt = 1;

    LK_TRY(lk_comm_agree(r->comm, r->rank == 0 ? prepare_dir(r) : LK_OK));
    LK_TRY(lk_comm_agree(r->comm, r->rank == 0 ? next_attempt(r, &attempt) : LK_OK));
    LK_TRY(lk_comm_bcast(r->comm, 0, &attempt, sizeof attempt));
    /* No rank has a record before all can: the launcher takes one that has for one that died. */
    LK_TRY(lk_comm_agree(r->comm, LK_OK));
    LK_TRY(lk_comm_agree(r->comm, open_record(r, attempt)));
    lk_record_note(r->record, LK_PHASE_OPEN, 0, 0);
    return LK_OK;
}

/* Goes on from a checkpoint, or, where there is none, begins. */
static lk_status resume(lk_run *r, const char *choice)
{
    char *path = NULL;
    int found;
    lk_status st;

    LK_TRY(lk_comm_agree(r->comm, r->rank == 0 ? choose_checkpoint(r, choice, &path) : LK_OK));
    found = path != NULL;
    st = lk_comm_bcast(r->comm, 0, &found, sizeof found);
    if (st == LK_OK && found) {
        st = lki_state_restore(r, path);
        if (st == LK_OK && r->mode == LK_RUN_TRAIN)
            lk_log(LK_LOG_INFO, "resuming at step %" PRId64 " (epoch %" PRId64 ") from %s", r->cursor.step, r->cursor.epoch, path != NULL ? path : "");
    }
    if (st == LK_OK && !found && r->mode == LK_RUN_TRAIN) {
        st = lki_transfer(r);
        if (st == LK_OK)
            st = lki_phases_begin(r);
    }
    lk_free(path);
    return st;
}

static lk_status open_loader(lk_run *r)
{
    const lk_loader_opts opts = lki_loader_opts(r, true);

    return lk_loader_create(&opts, &r->loader);
}

/* Each rank's GPU, for rank 0 to say. Collective. */
static lk_status say_gpus(const lk_run *r, bool aloud)
{
    typedef struct place {
        int index;
        char name[LK_CUDA_NAME], bus[LK_CUDA_BUS];
    } place;
    place mine = {.index = r->gpu_index}, *all = NULL;
    lk_status st;

    memcpy(mine.name, r->gpu.name, sizeof mine.name);
    memcpy(mine.bus, r->gpu.bus, sizeof mine.bus);
    LK_TRY(lk_comm_agree(r->comm, lk_alloc_array(r->nranks, sizeof *all, "GPUs of all ranks", &all)));
    st = lk_comm_allgather(r->comm, &mine, sizeof mine, all);
    for (int i = 0; st == LK_OK && aloud && r->rank == 0 && i < r->nranks; i++)
        lk_log(LK_LOG_INFO, "rank %d on %s: GPU %d, %s (%s)", i, lk_comm_host(r->comm, i), all[i].index, all[i].name, all[i].bus);
    lk_free(all);
    return st;
}

static void say_header(const lk_run *r)
{
    char count[32], arena[32], device[96], ranks[96];

    lk_format_count((double)lk_graph_weights(r->graph), count, sizeof count);
    lk_format_bytes((double)r->phase[0].trainer.plan->arena_bytes, arena, sizeof arena);
    snprintf(device, sizeof device, "%d thread%s, %s of activations a thread", lk_pool_size(r->pool), lk_pool_size(r->pool) == 1 ? "" : "s", arena);
    if (r->on_gpu)
        snprintf(device, sizeof device, "%s on a GPU each, %s of activations", lk_precision_name((lk_precision)r->config->train.precision), arena);
    snprintf(ranks, sizeof ranks, r->nranks == 1 ? "1 rank" : "%d ranks (%s)", r->nranks, lk_comm_way(r->wire));
    lk_log(LK_LOG_INFO, "%s: %s weights, %" PRId64 " samples, batch %" PRId64 " in %d microbatches, %s, %s, reduction %s", r->config->run.name, count, lk_dataset_samples(r->train_data), r->config->train.batch, r->leaves, ranks, device,
        r->config->train.reduction == LK_REDUCTION_FAST ? "fast (bits depend on the number of ranks)" : "exact");
    if (r->no_gpu[0] != 0)
        lk_log(LK_LOG_INFO, "training on the CPU: %s", r->no_gpu);
}

/* What is watched must be there. */
static lk_status check_watch(const lk_run *r)
{
    const struct {
        const char *key;
        bool accuracy;
    } watched[] = {
        {"train.early_stop.metric", r->config->train.early_stop.patience > 0 && r->config->train.early_stop.metric == LK_WATCH_ACCURACY},
        {"checkpoint.best_metric", r->config->checkpoint.best > 0 && r->config->checkpoint.best_metric == LK_WATCH_ACCURACY},
    };
    char where[256];

    for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++)
        if (watched[i].accuracy && r->classes == 0)
            return LK_FAIL(LK_E_CONFIG, "%s: %s is accuracy, which this model has none of: set it to loss", lk_config_where(r->config, watched[i].key, where, sizeof where), watched[i].key);
    return LK_OK;
}

static lk_status open_all(lk_run *r, const lk_train_args *a)
{
    char where[256];

    if (r->nranks > r->leaves)
        return LK_FAIL(LK_E_CONFIG, "%s: train.microbatches is %d, but %d ranks were started: raise it, or start at most %d ranks", lk_config_where(r->config, "train.microbatches", where, sizeof where), r->leaves, r->nranks, r->leaves);
    LK_TRY(lki_device_open(r));
    if (r->backend->thread_setup != NULL)
        r->backend->thread_setup();
    LK_TRY(lk_comm_agree(r->comm, lki_data_open(r)));
    LK_TRY(lk_comm_agree(r->comm, open_model(r)));
    if (r->on_gpu)
        LK_TRY(lki_memory_share(r));
    if (r->mode == LK_RUN_PLAN)
        return LK_OK;
    LK_TRY(lk_comm_agree(r->comm, lki_data_check_labels(r)));
    LK_TRY(check_watch(r));
    LK_TRY(lk_comm_agree(r->comm, lki_memory_check(r)));
    LK_TRY(lk_comm_agree(r->comm, open_memory(r)));
    if (r->mode != LK_RUN_EVAL) {
        plan_schedule(r);
        LK_TRY(lki_phases_prepare(r));
    }
    LK_TRY(lk_comm_agree(r->comm, name_dir(r)));
    if (r->mode == LK_RUN_TRAIN)
        LK_TRY(open_dir(r));
    if (r->mode != LK_RUN_BENCH)
        LK_TRY(resume(r, a->resume));
    else
        LK_TRY(lk_comm_agree(r->comm, lki_phases_begin(r)));
    LK_TRY(lki_data_normalize(r));
    r->finished = r->mode == LK_RUN_TRAIN && (r->cursor.step >= r->total_steps || lki_watch_ended(r));
    if (r->mode != LK_RUN_EVAL) {
        LK_TRY(lk_comm_agree(r->comm, open_loader(r)));
        if (!a->quiet && !a->json)
            say_header(r);
        if (r->on_gpu)
            LK_TRY(say_gpus(r, !a->quiet && !a->json));
    }
    LK_TRY(lk_comm_agree(r->comm, lki_report_create(r, a, &r->report)));
    return lk_comm_agree(r->comm, lki_report_init(r->report, r));
}

lk_status lk_run_open(const lk_train_args *a, lk_run **out)
{
    lk_run *r = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *r, "run", &r));
    r->config = a->config;
    r->comm = r->wire = a->comm;
    r->mode = a->mode;
    r->predicts = a->predict;
    r->rank = lk_comm_rank(a->comm);
    r->nranks = a->mode == LK_RUN_PLAN && a->ranks > 0 ? a->ranks : lk_comm_nranks(a->comm);
    r->leaves = (int)a->config->train.microbatches;
    r->rows = a->config->train.batch / a->config->train.microbatches;
    r->first_lane = lk_block_first(r->leaves, r->nranks, r->rank);
    r->n_lanes = lk_block_end(r->leaves, r->nranks, r->rank) - r->first_lane;
    r->backend = &lk_backend_cpu;
    r->watch = lk_watch_start();
    LK_TRY_TO(st, fail, open_all(r, a));
    *out = r;
    return LK_OK;

fail:
    lk_run_close(&r);
    return st;
}

const char *lk_run_dir(const lk_run *r)
{
    return r->dir;
}

void lk_run_close(lk_run **rp)
{
    lk_run *r = *rp;

    if (r == NULL)
        return;
    const lk_space *space = r->backend->space;
    lki_report_destroy(&r->report);
    lk_loader_destroy(&r->loader);
    for (int k = 0; k < LKI_MAX_PHASES; k++)
        lki_phase_destroy(&r->phase[k]);
    lki_engine_destroy(&r->evaluator);
    lk_pool_destroy(&r->pool);
    lk_model_fini(&r->model);
    lk_dataset_close(&r->train_data);
    lk_dataset_close(&r->valid_data);
    for (int i = 0; i < r->n_kept; i++) {
        if (r->own_full)
            lk_free(*lki_state_full(r, i));
        lk_space_free(space, r->kept[i]);
    }
    lki_carry_destroy(r);
    lk_space_free(space, r->opt_scratch);
    lk_free(r->norm);
    lk_free(r->normalization);
    if (r->host != r->weights)
        lk_free(r->host);
    lk_space_free(space, r->weights);
    lk_space_free(space, r->stage);
    lk_space_free(space, r->tiles_made);
    lk_free(r->tiles);
    lk_free(r->tiles_sent);
    lk_free(r->rows_sent);
    lk_free(r->exchange);
    lk_free((void *)r->done);
    lk_free(r->dir);
    lk_free(r->checkpoints);
    lk_free(r->config_text);
    lk_record_close(&r->record);
    lki_device_close(r);
    lk_free(r);
    *rp = NULL;
}
