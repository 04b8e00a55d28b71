/* The step from inside: it allocates nothing, and a rank whose batch failed leaves the weights alone. */
#include "train/run_int.h"

#include "base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const char config_text[] = "data: {synthetic: {input: [1, 8, 8], classes: 10, samples: 160}}\n"
                                  "model:\n"
                                  "  - conv: {filters: 8, kernel: 3, pad: same}\n"
                                  "  - batch_norm\n"
                                  "  - relu\n"
                                  "  - dropout: {rate: 0.2}\n"
                                  "  - flatten\n"
                                  "  - linear: {units: 10}\n"
                                  "train: {batch: 48, microbatches: 4, clip_norm: 1, lr: {peak: 1e-3}}\n";

#define OK(expr) \
    do { \
        const lk_status st_ = (expr); \
        cr_assert(st_ == LK_OK, "%s: %s", lk_status_name(st_), lk_err_last()->message); \
    } while (0)

static lk_config *config;
static lk_comm *comm;
static lk_run *run;

static const char carrying_text[] = "data: {order: streams, synthetic: {input: [4, 3], classes: 10, samples: 160}}\n"
                                    "model:\n"
                                    "  - lstm: {units: 5, carry: true, output: last}\n"
                                    "  - linear: {units: 10}\n"
                                    "train: {batch: 16, microbatches: 4, lr: 1e-3}\n";

static void open_text(const char *text)
{
    OK(lk_config_parse(text, "test.yaml", ".", NULL, &config));
    OK(lk_comm_create_self(&comm));
    OK(lk_run_open(&(lk_train_args){.mode = LK_RUN_BENCH, .config = config, .comm = comm, .quiet = true}, &run));
}

static void open_run(void)
{
    open_text(config_text);
}

static void open_carrying(void)
{
    open_text(carrying_text);
}

static void close_run(void)
{
    lk_run_close(&run);
    lk_comm_destroy(&comm);
    lk_config_destroy(&config);
}

static lk_status step(lk_status loaded, lki_step_result *s)
{
    const lk_batch *b = NULL;

    OK(lk_loader_map(run->loader, &b));
    const lk_status st = lki_step(run, loaded == LK_OK ? b : NULL, loaded, s);
    lk_loader_unmap(run->loader, &b);
    return st;
}

Test(step, allocates_nothing, .init = open_run, .fini = close_run)
{
    lki_step_result s;

    OK(step(LK_OK, &s));
    const int64_t count = lk_mem_count();
    /* Across the end of an epoch (160 samples are 3 batches and a short one). */
    for (int i = 0; i < 9; i++)
        OK(step(LK_OK, &s));
    cr_assert_eq(lk_mem_count(), count, "%ld allocations in 9 steps", (long)(lk_mem_count() - count));
    cr_assert_eq(run->cursor.epoch, 2);
    cr_assert_eq(run->cursor.step_in_epoch, 2);
}

Test(step, a_failed_batch_changes_nothing, .init = open_run, .fini = close_run)
{
    lki_step_result s;
    float *before = malloc((size_t)run->graph->flat * sizeof *before);

    OK(step(LK_OK, &s));
    memcpy(before, run->weights, (size_t)run->graph->flat * sizeof *before);
    const lk_cursor at = run->cursor;
    const lk_status st = step(LK_FAIL(LK_E_IO, "shard.h5: field \"image\": sample 7: gone"), &s);
    cr_assert_eq(st, LK_E_IO);
    cr_assert_str_eq(lk_err_last()->message, "shard.h5: field \"image\": sample 7: gone");
    cr_assert_eq(memcmp(before, run->weights, (size_t)run->graph->flat * sizeof *before), 0);
    cr_assert_eq(run->cursor.step, at.step);
    /* And the run can go on. */
    OK(step(LK_OK, &s));
    cr_assert_eq(run->cursor.step, at.step + 1);
    free(before);
}

/* A step that does not count leaves the carried state where the last one ended; an epoch begins at zero. */
Test(step, a_step_that_diverged_carries_nothing_on, .init = open_carrying, .fini = close_run)
{
    lki_step_result s;
    const size_t bytes = (size_t)(run->n_lanes * run->carry_bytes);
    char *before = malloc(bytes), *first = malloc(bytes);

    cr_assert(run->carry_bytes > 0);
    OK(step(LK_OK, &s));
    memcpy(first, run->carry, bytes);
    OK(step(LK_OK, &s));
    memcpy(before, run->carry, bytes);
    cr_assert_neq(memcmp(before, first, bytes), 0);
    const float weight = run->weights[0];
    run->weights[0] = NAN;
    run->phase[0].trainer.stale = true;
    cr_assert_eq(step(LK_OK, &s), LK_E_DIVERGED);
    cr_assert_eq(memcmp(before, run->carry, bytes), 0);
    run->weights[0] = weight;
    run->phase[0].trainer.stale = true;
    const int64_t count = lk_mem_count();
    OK(step(LK_OK, &s));
    cr_assert_neq(memcmp(before, run->carry, bytes), 0);
    cr_assert_eq(lk_mem_count(), count);
    free(before);
    free(first);
}
