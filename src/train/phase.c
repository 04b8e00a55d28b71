/* A phase: its engine, its optimizer and its share of the flat vector. The reduction counts elements from the first learned one; all else here counts
 * them in the flat vector. */
#include "train/run_int.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

lk_status lki_engine_create(lk_run *r, const lk_graph *g, bool training, lki_engine *e)
{
    const lk_train_opts *t = &r->config->train;
    const lk_plan_opts opts = {.training = training, .bucket_bytes = (size_t)t->bucket_bytes, .activation_bytes = t->activation_memory};

    return lk_plan_create(g, r->backend, &opts, &e->plan);
}

lk_status lki_engine_allocate(lk_run *r, lki_engine *e)
{
    if (e->plan == NULL)
        return LK_OK;
    e->workers = lk_pool_size(r->pool);
    LK_TRY(lk_alloc_array(e->workers, sizeof *e->exec, "executors", &e->exec));
    for (int i = 0; i < e->workers; i++)
        LK_TRY(lk_exec_create(e->plan, r->n_lanes, &e->exec[i]));
    e->space = r->backend->space;
    LK_TRY(lk_space_alloc(e->space, (size_t)e->plan->packed_bytes, "packed weights", &e->packed));
    e->stale = true;
    return LK_OK;
}

void lki_engine_destroy(lki_engine *e)
{
    for (int i = 0; e->exec != NULL && i < e->workers; i++)
        lk_exec_destroy(&e->exec[i]);
    lk_free(e->exec);
    if (e->space != NULL)
        lk_space_free(e->space, e->packed);
    lk_plan_destroy(&e->plan);
    memset(e, 0, sizeof *e);
}

typedef struct pack_job {
    lki_engine *e;
    const float *weights;
    const lk_plan_rounding *rounding;
} pack_job;

static lk_status pack_part(void *arg, int worker, int i)
{
    const pack_job *j = arg;

    return lk_plan_pack(j->e->plan, j->weights, j->e->packed, lk_exec_arena(j->e->exec[worker]), j->rounding, i, j->e->workers);
}

lk_status lki_engine_pack(lk_run *r, lki_engine *e, const float *weights, const lk_plan_rounding *rounding)
{
    pack_job j = {e, weights, rounding};

    if (!e->stale)
        return LK_OK;
    LK_TRY(lk_pool_run(r->pool, e->workers, pack_part, &j));
    e->stale = false;
    return LK_OK;
}

/* ---- slices, in the flat vector ---- */

static void slice(const lki_phase *p, int b, int rank, int64_t *first, int64_t *end)
{
    lk_reduce_slice(p->reduce, b, rank, first, end);
    *first += p->trainer.plan->grad_first;
    *end += p->trainer.plan->grad_first;
}

/* Place of element e of the flat vector in the summed gradient. */
static float *sum_at(const lki_phase *p, int64_t e)
{
    return (float *)lk_reduce_sum(p->reduce) + (e - p->trainer.plan->grad_first);
}

lk_status lki_phase_copy_slices(const lki_phase *p, int rank, int i, float *flat, bool to_flat)
{
    for (int b = 0; b < p->trainer.plan->n_buckets; b++) {
        int64_t first, end;

        slice(p, b, rank, &first, &end);
        float *c = p->kept[i] + p->own_at[b], *f = flat + first;
        LK_TRY(lk_space_copy(p->optim.backend->space, to_flat ? f : c, to_flat ? c : f, (size_t)(end - first) * sizeof *f, LK_COPY_WITHIN));
    }
    return LK_OK;
}

/* ---- setup ---- */

static lk_status create_state(lk_run *r, lki_phase *p)
{
    const lk_plan *plan = p->trainer.plan;
    int64_t own = 0;

    p->sharded = r->sharded;
    LK_TRY(lk_alloc_array(plan->n_buckets + 1, sizeof *p->own_at, "slices", &p->own_at));
    for (int b = 0; b < plan->n_buckets; b++) {
        int64_t first = plan->bucket[b], end = plan->bucket[b + 1];

        p->own_at[b] = first;
        if (!p->sharded)
            continue;
        slice(p, b, r->rank, &first, &end);
        p->own_at[b] = own;
        own += end - first;
    }
    for (int i = 0; i < r->n_kept; i++) {
        if (p->sharded)
            LK_TRY(lk_space_alloc(r->backend->space, (size_t)own * sizeof(float), "optimizer state", &p->kept[i]));
        else
            p->kept[i] = r->kept[i];
    }
    return LK_OK;
}

lk_status lki_phases_begin(lk_run *r)
{
    LK_TRY(lki_state_bring_in(r));
    if (r->n_kept == r->n_state)
        return LK_OK;
    if (!r->sharded)
        return lk_space_copy(r->backend->space, r->kept[r->n_state], r->weights, (size_t)r->graph->flat * sizeof(float), LK_COPY_WITHIN);
    for (int k = 0; k < r->n_phases; k++)
        LK_TRY(lki_phase_copy_slices(&r->phase[k], r->rank, r->n_state, r->weights, false));
    return LK_OK;
}

lk_optim lki_optim_of(const lk_run *r, const lki_phase *p)
{
    const lk_train_opts *t = &r->config->train;

    return (lk_optim){.graph = p->graph, .backend = r->backend, .kind = (lk_opt)t->optimizer, .momentum = t->momentum, .beta1 = t->beta1, .beta2 = t->beta2, .eps = t->eps, .trust = t->trust, .nesterov = t->nesterov, .clip_value = t->clip_value, .noise = t->gradient_noise, .noise_decay = t->gradient_noise_decay, .seed = (uint64_t)r->config->run.seed};
}

static lk_status prepare_phase(lk_run *r, lki_phase *p)
{
    LK_TRY(lk_optim_rules(p->graph, r->config->train.weight_decay, &p->rule));
    p->optim = lki_optim_of(r, p);
    p->optim.rule = p->rule;
    const size_t scratch = lk_optim_scratch(&p->optim);
    if (scratch > r->opt_scratch_bytes)
        r->opt_scratch_bytes = scratch;
    LK_TRY(lk_optim_prepare(&p->optim));
    return create_state(r, p);
}

static lk_status prepare_local(lk_run *r)
{
    const lk_opt_info *info = lk_opt_get((lk_opt)r->config->train.optimizer);
    const lk_space *space = r->backend->space;
    const size_t flat = (size_t)r->graph->flat * sizeof(float);
    const int64_t tiles = r->graph->flat / LK_TILE;

    r->n_state = info->n_state;
    r->n_kept = r->n_state + (r->config->train.ema > 0);
    r->sharded = r->config->train.shard_optimizer && r->nranks > 1 && !info->whole;
    for (int i = 0; !r->sharded && i < r->n_kept; i++)
        LK_TRY(lk_space_alloc(space, flat, "optimizer state", &r->kept[i]));
    for (int k = 0; k < r->n_phases; k++)
        LK_TRY(prepare_phase(r, &r->phase[k]));
    if (r->sharded)
        LK_TRY(lk_space_alloc(space, flat, "staging of the state", &r->stage));
    r->own_full = r->rank == 0 && (r->sharded || !space->host);
    for (int i = 0; r->own_full && i < r->n_kept; i++)
        LK_TRY(lk_alloc(flat, "whole optimizer state", lki_state_full(r, i)));
    LK_TRY(lk_space_alloc(space, (size_t)lk_pool_size(r->pool) * r->opt_scratch_bytes, "optimizer's scratch", &r->opt_scratch));
    LK_TRY(lk_alloc_array(tiles, sizeof *r->tiles, "tile squares", &r->tiles));
    if (!space->host)
        LK_TRY(lk_space_alloc(space, (size_t)tiles * sizeof *r->tiles, "tile squares", &r->tiles_made));
    LK_TRY(lk_alloc_array(tiles, sizeof *r->tiles_sent, "tile squares", &r->tiles_sent));
    LK_TRY(lk_alloc_array(4 * (int64_t)r->nranks, sizeof *r->exchange, "exchange of tile squares", &r->exchange));
    LK_TRY(lk_alloc_array(lk_pool_size(r->pool), sizeof *r->done, "progress of workers", &r->done));
    return lk_alloc_array((int64_t)(r->n_lanes) * LKI_COLS, sizeof *r->rows_sent, "step sums", &r->rows_sent);
}

lk_status lki_reduce_opts(const lk_run *r, const lki_phase *p, int workers, int64_t **bucket, lk_reduce_opts *out)
{
    const lk_plan *plan = p->trainer.plan;

    LK_TRY(lk_alloc_array(plan->n_buckets + 1, sizeof **bucket, "buckets", bucket));
    for (int b = 0; b <= plan->n_buckets; b++)
        (*bucket)[b] = plan->bucket[b] - plan->grad_first;
    *out = (lk_reduce_opts){
        .n = plan->grad_end - plan->grad_first,
        .type = LK_COMM_F32,
        .tile = LK_TILE,
        .n_buckets = plan->n_buckets,
        .bucket = *bucket,
        .leaves = r->leaves,
        .width = workers,
        .fast = r->config->train.reduction == LK_REDUCTION_FAST,
    };
    return LK_OK;
}

/* Collective. */
static lk_status create_reduction(lk_run *r, lki_phase *p)
{
    int64_t *bucket = NULL;
    lk_reduce_opts opts;
    lk_status st;

    LK_TRY(lk_comm_agree(r->comm, lki_reduce_opts(r, p, lk_pool_size(r->pool), &bucket, &opts)));
    st = lk_reduce_create(r->wire, &opts, &p->reduce);
    lk_free(bucket);
    return st;
}

lk_status lki_phases_prepare(lk_run *r)
{
    for (int k = 0; k < r->n_phases; k++)
        LK_TRY(create_reduction(r, &r->phase[k]));
    return lk_comm_agree(r->comm, prepare_local(r));
}

void lki_phase_destroy(lki_phase *p)
{
    lki_engine_destroy(&p->trainer);
    lk_reduce_destroy(&p->reduce);
    for (int i = 0; p->sharded && i < LKI_MAX_KEPT; i++)
        lk_space_free(p->optim.backend->space, p->kept[i]);
    lk_optim_fini(&p->optim);
    lk_free(p->rule);
    lk_free(p->own_at);
    memset(p, 0, sizeof *p);
}

/* ---- update ---- */

/* Squares a tile by the tile's owner, exchanged, added up by everyone in the order of tiles. */
lk_status lki_phase_norm(lk_run *r, lki_phase *p, double *norm)
{
    const lk_plan *plan = p->trainer.plan;
    int64_t *scount = r->exchange, *sdispl = scount + r->nranks, *rcount = sdispl + r->nranks, *rdispl = rcount + r->nranks;
    int64_t own = 0, at = 0, first, end;
    lk_comm_req *req = NULL;

    /* The own tiles of all buckets, one after the other, go to everyone; on a single rank they are in their places by that. */
    double *mine = r->tiles + plan->grad_first / LK_TILE, *made = r->tiles_made != NULL ? r->tiles_made : mine;
    for (int b = 0; b < plan->n_buckets; b++) {
        slice(p, b, r->rank, &first, &end);
        lk_optim_tile_squares(&p->optim, first, end, sum_at(p, first), made + own);
        own += (end - first) / LK_TILE;
    }
    if (made != mine)
        LK_TRY(lk_space_copy(r->backend->space, mine, made, (size_t)own * sizeof *mine, LK_COPY_OUT));
    own = 0;
    for (int b = 0; b < plan->n_buckets; b++) {
        slice(p, b, r->rank, &first, &end);
        lk_optim_tile_mask(&p->optim, first, end, mine + own);
        own += (end - first) / LK_TILE;
    }
    if (r->nranks > 1) {
        for (int k = 0; k < r->nranks; k++) {
            int64_t tiles = 0;

            for (int b = 0; b < plan->n_buckets; b++) {
                slice(p, b, k, &first, &end);
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
            for (int b = 0; b < plan->n_buckets; b++) {
                slice(p, b, k, &first, &end);
                for (int64_t e = first; e < end; e += LK_TILE)
                    r->tiles[e / LK_TILE] = *from++;
            }
    }
    double total = 0;
    for (int64_t i = plan->grad_first / LK_TILE; i < plan->grad_end / LK_TILE; i++)
        total += r->tiles[i];
    *norm = sqrt(total);
    return LK_OK;
}

typedef struct update_job {
    lk_run *r;
    lki_phase *phase;
    lk_optim_step step;
} update_job;

/* Every so many-th parameter, whole. */
static lk_status update_whole(void *arg, int worker, int i)
{
    const update_job *j = arg;
    lk_run *r = j->r;
    lki_phase *p = j->phase;
    lk_optim_step step = j->step;

    step.scratch = r->opt_scratch + (size_t)worker * r->opt_scratch_bytes;
    for (int k = i; k < p->graph->n_params; k += lk_pool_size(r->pool)) {
        const lk_param *q = &p->graph->param[k];
        void *state[LK_MAX_OPT_STATE] = {NULL};

        for (int s = 0; s < r->n_state; s++)
            state[s] = p->kept[s] + q->first;
        if (q->frozen)
            continue;
        lk_optim_update(&p->optim, &step, q->first, q->first + q->count, r->weights + q->first, state, sum_at(p, q->first));
        if (r->n_kept > r->n_state)
            lk_optim_average(&p->optim, r->config->train.ema, step.t, q->first, q->first + q->count, r->weights + q->first, p->kept[r->n_state] + q->first);
    }
    return LK_OK;
}

/* Part i of each bucket's own slice. Element by element, so the cut is free. */
static lk_status update_part(void *arg, int worker, int i)
{
    const update_job *j = arg;
    lk_run *r = j->r;
    lki_phase *p = j->phase;
    const lk_plan *plan = p->trainer.plan;
    const int parts = lk_pool_size(r->pool);

    (void)worker;
    for (int b = 0; b < plan->n_buckets; b++) {
        int64_t first = plan->bucket[b], end = plan->bucket[b + 1];

        if (p->sharded)
            slice(p, b, r->rank, &first, &end);
        const int64_t tiles = (end - first) / LK_TILE;
        const int64_t from = first + tiles * i / parts * LK_TILE, to = first + tiles * (i + 1) / parts * LK_TILE;
        void *state[LK_MAX_OPT_STATE] = {NULL};
        for (int k = 0; k < r->n_state; k++)
            state[k] = p->kept[k] + p->own_at[b] + (from - first);
        lk_optim_update(&p->optim, &j->step, from, to, r->weights + from, state, sum_at(p, from));
        if (r->n_kept > r->n_state)
            lk_optim_average(&p->optim, r->config->train.ema, j->step.t, from, to, r->weights + from, p->kept[r->n_state] + p->own_at[b] + (from - first));
    }
    return LK_OK;
}

lk_status lki_phase_update(lk_run *r, lki_phase *p, const lk_optim_step *step)
{
    const int64_t first = p->trainer.plan->grad_first;
    update_job j = {r, p, *step};

    /* Without sharding everyone needs the whole sum. */
    if (!p->sharded && r->nranks > 1)
        LK_TRY(lk_reduce_gather(p->reduce, (void *)lk_reduce_sum(p->reduce)));
    LK_TRY(lk_pool_run(r->pool, lk_pool_size(r->pool), lk_opt_get(p->optim.kind)->whole ? update_whole : update_part, &j));
    if (p->sharded)
        LK_TRY(lk_reduce_gather(p->reduce, r->weights + first));
    for (int k = 0; k < r->n_phases; k++)
        r->phase[k].trainer.stale = true;
    r->evaluator.stale = true;
    return LK_OK;
}
