/* The step loop, evaluation and timing of an opened run. */
#include "train/run_int.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Is something due that happens every so many steps or epochs? After a step: the cursor stands behind it. */
static bool due(const lk_run *r, lk_every every)
{
    if (every.count == 0)
        return false;
    if (!every.epochs)
        return r->cursor.step % every.count == 0;
    return r->cursor.step_in_epoch == 0 && r->cursor.epoch % every.count == 0;
}

static lk_status evaluate(lk_run *r)
{
    double sum[LKI_SUMS];
    int64_t samples;

    LK_TRY(lki_evaluate(r, sum, &samples));
    r->last_loss = lki_mean_loss(sum, r->evaluator.plan->n_losses);
    r->has_accuracy = r->classes > 0;
    r->last_accuracy = sum[LK_METRIC_NAMED] / sum[LK_METRIC_COUNT];
    return lk_comm_agree(r->comm, lki_report_eval(r->report, r, sum, samples));
}

/* The weights are still those of the last good step: they are kept before the run ends. */
static lk_status diverged(lk_run *r)
{
    lk_err why;

    lk_err_take(&why);
    if (r->cursor.step > 0)
        LK_TRY(lki_state_save(r));
    return lk_err_give(&why);
}

static lk_status train_step(lk_run *r, bool *stop)
{
    const lk_batch *b = NULL;
    lki_step_result s;
    lk_status st;

    lk_record_note(r->record, LK_PHASE_DATA, r->cursor.epoch, r->cursor.step + 1);
    st = lk_loader_map(r->loader, &b);
    st = lki_step(r, b, st, &s);
    if (b != NULL)
        lk_loader_unmap(r->loader, &b);
    if (st == LK_E_DIVERGED)
        return diverged(r);
    LK_TRY(st);
    *stop = s.stop;
    r->last_loss = s.loss;

    bool last = r->cursor.step >= r->total_steps, best = false;
    LK_TRY(lki_report_step(r->report, r, &s, due(r, r->config->train.log_every) || last));
    if (r->valid_data != NULL && (last || due(r, r->config->train.eval_every))) {
        LK_TRY(evaluate(r));
        best = lki_watch_evaluation(r, due(r, r->config->train.eval_every));
        last |= lki_watch_ended(r);
    }
    const bool wanted = (last || due(r, r->config->checkpoint.every)) && r->config->checkpoint.every.count > 0;
    if (wanted || best || *stop)
        LK_TRY(lki_state_save(r));
    return LK_OK;
}

static lk_status finish(lk_run *r, bool stopped, double start, lk_run_result *out)
{
    *out = (lk_run_result){.stopped = stopped, .epoch = r->cursor.epoch, .step = r->cursor.step, .loss = r->last_loss, .has_accuracy = r->has_accuracy, .accuracy = r->last_accuracy};
    LK_TRY(lki_state_print_digest(r, out->digest));
    out->seconds = lk_now() - start;
    LK_TRY(lk_comm_agree(r->comm, lki_report_end(r->report, r, out)));
    lk_record_note(r->record, LK_PHASE_END, r->cursor.epoch, r->cursor.step);
    lk_record_end(r->record, stopped ? LK_RECORD_STOPPED : LK_RECORD_DONE, "");
    return LK_OK;
}

lk_status lk_run_train(lk_run *r, lk_run_result *out)
{
    const double start = lk_now();
    bool stop = false;

    r->last_loss = NAN;
    if (r->finished && r->valid_data != NULL)
        LK_TRY(evaluate(r));
    while (r->cursor.step < r->total_steps && !stop && !lki_watch_ended(r))
        LK_TRY(train_step(r, &stop));
    return finish(r, stop && r->cursor.step < r->total_steps && !lki_watch_ended(r), start, out);
}

lk_status lk_run_eval(lk_run *r, lk_run_result *out)
{
    const double start = lk_now();

    LK_TRY(evaluate(r));
    *out = (lk_run_result){.epoch = r->cursor.epoch, .step = r->cursor.step, .loss = r->last_loss, .has_accuracy = r->has_accuracy, .accuracy = r->last_accuracy, .seconds = lk_now() - start};
    return LK_OK;
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

lk_status lk_run_bench(lk_run *r, int warmup, int steps, bool profile, lk_bench_step_result *out)
{
    const lk_plan *p = r->phase[0].trainer.plan;
    double *ms = NULL, *instr = NULL;
    lk_status st;

    LK_TRY_TO(st, done, lk_comm_agree(r->comm, lk_alloc_array(steps, sizeof *ms, "step times", &ms)));
    LK_TRY_TO(st, done, lk_comm_agree(r->comm, lk_alloc_array(p->n_instr, sizeof *instr, "profile", &instr)));
    for (int i = -warmup; i < steps; i++) {
        const lk_batch *b = NULL;
        lki_step_result s;

        if (i == 0 && profile)
            lk_exec_profile(r->phase[0].trainer.exec[0], instr);
        const double start = lk_now();
        st = lk_loader_map(r->loader, &b);
        st = lki_step(r, b, st, &s);
        if (b != NULL)
            lk_loader_unmap(r->loader, &b);
        if (st != LK_OK)
            goto done;
        if (i >= 0)
            ms[i] = 1e3 * (lk_now() - start);
    }
    qsort(ms, (size_t)steps, sizeof *ms, rising);
    *out = (lk_bench_step_result){
        .ms_median = steps % 2 ? ms[steps / 2] : 0.5 * (ms[steps / 2 - 1] + ms[steps / 2]),
        .ms_min = ms[0],
        .ms_max = ms[steps - 1],
        .threads = lk_pool_size(r->pool),
        .nranks = r->nranks,
    };
    out->samples_per_s = 1e3 * (double)r->config->train.batch / out->ms_median;
    out->gflops = p->flops * r->leaves / out->ms_median * 1e-6;
    if (profile) {
        out->n_instr = p->n_instr;
        for (int t = 0; t < p->n_instr; t++)
            instr[t] *= 1e3 / steps;
        out->instr_ms = instr;
        instr = NULL;
    }
done:
    if (r->phase[0].trainer.exec != NULL)
        lk_exec_profile(r->phase[0].trainer.exec[0], NULL);
    lk_free(ms);
    lk_free(instr);
    return st;
}
