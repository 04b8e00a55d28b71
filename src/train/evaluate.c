/* Evaluation: every validation sample once at any number of ranks, summed along the same tree as the loss of a step. */
#include "train/run_int.h"

#include "base/mem.h"

#include <string.h>

typedef struct eval_wave {
    lk_run *r;
    const lki_eval_batch *e;
    int first, n;
} eval_wave;

static lk_micro lane_micro(const lk_run *r, const lki_eval_batch *e, int lane)
{
    const lk_lane_batch *b = &e->batch->lane[lane];

    return (lk_micro){
        .rows = r->rows,
        .valid = b->valid,
        .sample = b->sample,
        .seed = (uint64_t)r->config->run.seed,
        .grad_scale = 1.0,
        .metrics = e->sums + lane * e->lane_sums,
    };
}

static lk_status eval_lane(void *arg, int worker, int i)
{
    const eval_wave *w = arg;
    const lki_eval_batch *e = w->e;
    const int lane = w->first + i;
    lk_run *r = w->r;
    lk_exec *exec = r->evaluator.exec[worker];
    const lk_micro micro = lane_micro(r, e, lane);
    lk_exec_run_args args = {.micro = &micro, .slot = lane, .weights = e->weights, .packed = r->evaluator.packed};

    if (r->eval_carry != NULL)
        args.carry = r->eval_carry + lane * r->evaluator.plan->carry_bytes;
    memcpy(args.input, e->batch->lane[lane].field, sizeof args.input);
    LK_TRY(lk_exec_run(exec, &args));
    if (e->output != NULL && micro.valid > 0)
        LK_TRY(lk_exec_output(exec, e->output + lane * e->lane_output));
    return LK_OK;
}

/* On a device the lanes of a wave are only queued by then, one after the other on one worker. */
static lk_status finish_lanes(lk_run *r, const lki_eval_batch *e)
{
    lk_status st = LK_OK;

    for (int lane = 0; lane < r->n_lanes; lane++) {
        const lk_micro micro = lane_micro(r, e, lane);
        const lk_status one = lk_exec_finish(r->evaluator.exec[0], lane, &micro);

        if (st == LK_OK)
            st = one;
    }
    return st;
}

lk_status lki_evaluate_begin(lk_run *r, const float *weights)
{
    if (r->eval_carry != NULL)
        LK_TRY(lk_space_zero(r->backend->space, r->eval_carry, (size_t)(r->n_lanes * r->evaluator.plan->carry_bytes)));
    return lki_engine_pack(r, &r->evaluator, weights, NULL);
}

lk_status lki_evaluate_batch(lk_run *r, const lki_eval_batch *e)
{
    const int width = lk_pool_size(r->pool);
    eval_wave w = {.r = r, .e = e};

    for (w.first = 0; w.first < r->n_lanes; w.first += width) {
        w.n = r->n_lanes - w.first < width ? r->n_lanes - w.first : width;
        LK_TRY(lk_pool_run(r->pool, w.n, eval_lane, &w));
    }
    return finish_lanes(r, e);
}

/* sums [n_lanes][steps][LKI_SUMS] */
static lk_status eval_lanes(lk_run *r, const float *weights, double *sums)
{
    const lk_loader_opts opts = lki_loader_opts(r, false);
    lk_loader *loader = NULL;
    const lk_batch *b = NULL;
    lk_status st;

    LK_TRY(lki_evaluate_begin(r, weights));
    LK_TRY(lk_loader_create(&opts, &loader));
    for (;;) {
        LK_TRY_TO(st, done, lk_loader_map(loader, &b));
        if (b == NULL)
            break;
        st = lki_evaluate_batch(r, &(lki_eval_batch){.weights = weights, .batch = b, .sums = sums + b->step * LKI_SUMS, .lane_sums = r->valid_sampler.steps * LKI_SUMS});
        lk_loader_unmap(loader, &b);
        if (st != LK_OK)
            break;
    }
done:
    lk_loader_destroy(&loader);
    return st;
}

lk_status lki_evaluate(lk_run *r, double sum[LKI_SUMS], int64_t *samples)
{
    const int64_t steps = r->valid_sampler.steps;
    double *mine = NULL, *all = NULL;
    const float *weights = NULL;
    lk_status st;

    lk_record_note(r->record, LK_PHASE_EVAL, r->cursor.epoch, r->cursor.step);
    LK_TRY(lki_state_evaluated(r, &weights));
    st = lk_alloc_array(r->n_lanes * steps * LKI_SUMS, sizeof *mine, "evaluation sums", &mine);
    if (st == LK_OK)
        st = lk_alloc_array(steps * LKI_SUMS, sizeof *all, "evaluation sums", &all);
    if (st == LK_OK)
        st = eval_lanes(r, weights, mine);
    LK_TRY_TO(st, done, lk_comm_agree(r->comm, st));
    LK_TRY_TO(st, done, lk_reduce_small(r->comm, r->leaves, (int)(steps * LKI_SUMS), mine, all));
    memset(sum, 0, LKI_SUMS * sizeof *sum);
    for (int64_t s = 0; s < steps; s++)
        for (int k = 0; k < LKI_SUMS; k++)
            sum[k] += all[s * LKI_SUMS + k];
    *samples = r->valid_sampler.used;
done:
    lk_free(mine);
    lk_free(all);
    return st;
}
