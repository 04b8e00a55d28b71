/* The step from inside: it allocates nothing, and a rank whose batch failed leaves the weights alone. */
#include "train/run_int.h"

#include "base/mem.h"

#include <criterion/criterion.h>
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

static void open_run(void)
{
    OK(lk_config_parse(config_text, "test.yaml", ".", NULL, &config));
    OK(lk_comm_create_self(&comm));
    OK(lk_run_open(&(lk_train_args){.mode = LK_RUN_BENCH, .config = config, .comm = comm, .quiet = true}, &run));
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
