/* What a run tells: log.jsonl, JSON events on standard output, a progress bar on a terminal, plain lines in a pipe. Rank 0 only. The clock here
 * measures; nothing that touches numbers looks at it. */
#include "train/run_int.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPE_SECONDS 5.0 /* between lines in a pipe */
#define BAR_SECONDS 0.1  /* between redraws */

struct lki_report {
    FILE *log;
    bool json, quiet, terminal;
    bool drawn; /* a bar stands in the last line */
    int64_t samples;
    double start, since, shown;
    double data_wait, comm_wait; /* at `since` */
    char eval[96];               /* last evaluation, for the bar */
};

/* Keeps the lines of a log whose step is not beyond `step`: what a lost attempt logged after its last checkpoint comes again. */
static lk_status cut_log(const char *path, int64_t step)
{
    char *text = NULL;
    size_t bytes = 0;
    lk_buf keep = {0};
    lk_status st;

    if (!lk_file_exists(path))
        return LK_OK;
    LK_TRY(lk_file_read(path, 0, &text, &bytes));
    for (char *line = text; *line != 0;) {
        char *end = strchr(line, '\n');

        if (end == NULL)
            break; /* a line that was being written when the process died */
        json_t *o = json_loadb(line, (size_t)(end - line), 0, NULL);
        const json_t *at = json_object_get(o, "step");
        const char *event = json_string_value(json_object_get(o, "event"));
        const bool again = event == NULL || strcmp(event, "end") == 0 || (step == 0 && strcmp(event, "init") == 0);
        if (json_is_integer(at) && json_integer_value(at) <= step && !again)
            lk_buf_add_n(&keep, line, (size_t)(end + 1 - line));
        json_decref(o);
        line = end + 1;
    }
    st = lk_buf_status(&keep);
    if (st == LK_OK)
        st = lk_file_write_atomic(path, lk_buf_text(&keep), keep.len);
    lk_buf_fini(&keep);
    lk_free(text);
    return st;
}

lk_status lki_report_create(lk_run *r, const lk_train_args *a, lki_report **out)
{
    lki_report *p = NULL;
    char *path = NULL;
    lk_status st = LK_OK;

    *out = NULL;
    if (r->rank != 0)
        return LK_OK;
    LK_TRY(lk_alloc(sizeof *p, "report", &p));
    p->json = a->json;
    p->quiet = a->quiet;
    p->terminal = isatty(STDERR_FILENO) || getenv("LOCKSTEP_TTY") != NULL;
    p->start = p->since = p->shown = lk_now();
    if (r->mode == LK_RUN_TRAIN) {
        LK_TRY_TO(st, fail, lk_path_join(r->dir, "log.jsonl", &path));
        LK_TRY_TO(st, fail, cut_log(path, r->cursor.step));
        p->log = fopen(path, "ae");
        LK_TRY_TO(st, fail, LK_SYS(p->log == NULL, "open", path));
    }
    lk_free(path);
    *out = p;
    return LK_OK;

fail:
    lk_free(path);
    lki_report_destroy(&p);
    return st;
}

/* One event: a line of the log, and of standard output with --json. Takes the object. */
static lk_status emit(lki_report *p, json_t *o, bool log)
{
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(17);
    bool ok = o != NULL;

    if (ok && log && p->log != NULL)
        ok = json_dumpf(o, p->log, flags) == 0 && fputc('\n', p->log) != EOF && fflush(p->log) == 0;
    if (ok && p->json)
        ok = json_dumpf(o, stdout, flags) == 0 && fputc('\n', stdout) != EOF && fflush(stdout) == 0;
    json_decref(o);
    if (!ok)
        return LK_FAIL(LK_E_IO, "an event could not be written to log.jsonl or standard output (disk full, or the reader has gone)");
    return LK_OK;
}

static void clear_bar(lki_report *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

/* The share of right answers, or NaN where the first loss does not count them. */
static double accuracy_of(const lk_plan *p, const double *sum)
{
    const char *const *name = lk_op_info(p->node[p->loss_node[0]].spec.op)->metric;

    if (name[LK_METRIC_NAMED] == NULL || strcmp(name[LK_METRIC_NAMED], "accuracy") != 0)
        return NAN;
    return sum[LK_METRIC_NAMED] / sum[LK_METRIC_COUNT];
}

static double seconds_waited(const lk_run *r)
{
    double s = 0;

    for (int k = 0; k < r->n_phases; k++)
        s += lk_reduce_wait_seconds(r->phase[k].reduce);
    return s;
}

/* JSON has no NaN: values that are not finite are left out. */
static void set_real(json_t *o, const char *key, double v)
{
    if (isfinite(v))
        json_object_set_new(o, key, json_real(v));
}

/* What a phase's losses counted: "accuracy", "mean_absolute_error"; of several losses the mean of each, "kl_loss"; of several phases with the
 * phase's name in front. */
static void set_metrics(json_t *o, const lk_plan *p, const char *phase, const double *sum)
{
    char key[128];

    for (int k = 0; k < p->n_losses; k++, sum += LK_MAX_METRICS) {
        const lk_plan_node *n = &p->node[p->loss_node[k]];
        const char *const *name = lk_op_info(n->spec.op)->metric;

        if (p->n_losses > 1) {
            snprintf(key, sizeof key, "%s%s%s_loss", phase, phase[0] != 0 ? "_" : "", n->name);
            set_real(o, key, sum[LK_METRIC_LOSS] / sum[LK_METRIC_WEIGHT]);
        }
        for (int i = LK_METRIC_NAMED; i < LK_MAX_METRICS && name[i] != NULL; i++) {
            snprintf(key, sizeof key, "%s%s%s%s%s", phase, phase[0] != 0 ? "_" : "", k > 0 ? n->name : "", k > 0 ? "_" : "", name[i]);
            set_real(o, key, sum[i] / sum[LK_METRIC_COUNT]);
        }
    }
}

static void draw(lki_report *p, const lk_run *r, const lki_step_result *s, double rate, double data, double comm, double elapsed)
{
    const double share = (double)r->cursor.step / (double)r->total_steps;
    const double left = rate > 0 ? (double)(r->total_steps - r->cursor.step) * (double)r->config->train.batch / rate : 0;
    char time[32], per_s[32], metric[48] = "", bar[25];

    lk_format_seconds(left, time, sizeof time);
    lk_format_count(rate, per_s, sizeof per_s);
    const double accuracy = accuracy_of(r->phase[0].trainer.plan, s->sum[0]);
    if (isfinite(accuracy))
        snprintf(metric, sizeof metric, "  accuracy %.1f %%", 100.0 * accuracy);
    if (!p->terminal) {
        fprintf(stderr, "step %" PRId64 "/%" PRId64 "  epoch %" PRId64 "  loss %.4f%s%s  %s samples/s  waiting for data %.0f %%, ranks %.0f %%  left %s\n", r->cursor.step, r->total_steps, r->cursor.epoch, s->loss, metric, p->eval, per_s, 100 * data / elapsed, 100 * comm / elapsed, time);
        return;
    }
    const int width = (int)sizeof bar - 1;
    for (int i = 0; i < width; i++)
        bar[i] = i < (int)(share * width) ? '#' : '.';
    bar[width] = 0;
    fprintf(stderr, "\r\033[K[%s] %3.0f %%  step %" PRId64 "/%" PRId64 "  loss %.4f%s%s  %s samples/s  data %.0f %%  ranks %.0f %%  left %s", bar, 100 * share, r->cursor.step, r->total_steps, s->loss, metric, p->eval, per_s, 100 * data / elapsed, 100 * comm / elapsed, time);
    p->drawn = true;
}

lk_status lki_report_init(lki_report *p, lk_run *r)
{
    if (p == NULL || r->loaded == 0)
        return LK_OK;
    return emit(p, json_pack("{s:s, s:I, s:I, s:s, s:I, s:I}", "event", "init", "step", (json_int_t)r->cursor.step, "epoch", (json_int_t)r->cursor.epoch, "checkpoint", r->config->train.init_from.checkpoint, "loaded", (json_int_t)r->loaded, "skipped", (json_int_t)r->skipped), true);
}

lk_status lki_report_step(lki_report *p, lk_run *r, const lki_step_result *s, bool log)
{
    if (p == NULL)
        return LK_OK;
    const double now = lk_now(), elapsed = now - p->since;
    const double data = lk_loader_wait_seconds(r->loader) - p->data_wait, comm = seconds_waited(r) - p->comm_wait;

    p->samples += s->samples;
    const double rate = elapsed > 0 ? (double)p->samples / elapsed : 0;
    if (log) {
        json_t *o = json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "event", "step", "step", (json_int_t)r->cursor.step, "epoch", (json_int_t)r->cursor.epoch, "loss", s->loss, "lr", s->lr, "samples_per_s", rate, "data_wait_s", data, "comm_wait_s", comm);

        for (int k = 0; k < r->n_phases; k++) {
            char key[64];

            if (!isfinite(s->phase_loss[k]))
                continue;
            snprintf(key, sizeof key, "%s_loss", r->phase[k].name);
            if (r->n_phases > 1)
                set_real(o, key, s->phase_loss[k]);
            set_metrics(o, r->phase[k].trainer.plan, r->phase[k].name, s->sum[k]);
        }
        if (r->config->train.clip_norm > 0)
            set_real(o, "grad_norm", s->grad_norm);
        LK_TRY(emit(p, o, true));
    }
    if (!p->quiet && !p->json && now - p->shown >= (p->terminal ? BAR_SECONDS : PIPE_SECONDS)) {
        draw(p, r, s, rate, data, comm, elapsed);
        p->shown = now;
    }
    if (log && elapsed > 0.5) {
        p->since = now;
        p->samples = 0;
        p->data_wait += data;
        p->comm_wait += comm;
    }
    return LK_OK;
}

lk_status lki_report_eval(lki_report *p, lk_run *r, const double sum[LKI_SUMS], int64_t samples)
{
    if (p == NULL)
        return LK_OK;
    const lk_plan *plan = r->evaluator.plan;
    const double accuracy = accuracy_of(plan, sum), loss = lki_mean_loss(sum, plan->n_losses);
    json_t *o = json_pack("{s:s, s:I, s:I, s:f, s:I}", "event", "eval", "step", (json_int_t)r->cursor.step, "epoch", (json_int_t)r->cursor.epoch, "loss", loss, "samples", (json_int_t)samples);

    set_metrics(o, plan, "", sum);
    LK_TRY(emit(p, o, true));
    if (p->quiet || p->json)
        return LK_OK;
    clear_bar(p);
    if (isfinite(accuracy)) {
        snprintf(p->eval, sizeof p->eval, "  (valid %.2f %%)", 100 * accuracy);
        fprintf(stderr, "epoch %-3" PRId64 " step %-6" PRId64 " validation loss %.4f  accuracy %.2f %%\n", r->cursor.epoch, r->cursor.step, loss, 100 * accuracy);
    } else {
        snprintf(p->eval, sizeof p->eval, "  (valid %.4f)", loss);
        fprintf(stderr, "epoch %-3" PRId64 " step %-6" PRId64 " validation loss %.6f\n", r->cursor.epoch, r->cursor.step, loss);
    }
    return LK_OK;
}

lk_status lki_report_checkpoint(lki_report *p, lk_run *r, const char *path)
{
    if (p == NULL)
        return LK_OK;
    clear_bar(p);
    return emit(p, json_pack("{s:s, s:I, s:I, s:s}", "event", "checkpoint", "step", (json_int_t)r->cursor.step, "epoch", (json_int_t)r->cursor.epoch, "path", path), false);
}

lk_status lki_report_predict(lki_report *p, lk_run *r, const char *path, const lk_predict_result *result)
{
    if (p == NULL)
        return LK_OK;
    json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:s}", "event", "predict", "step", (json_int_t)r->cursor.step, "epoch", (json_int_t)r->cursor.epoch, "samples", (json_int_t)result->samples, "path", path);

    if (result->classes > 0) {
        json_t *classes = json_array();

        for (int64_t k = 0; k < result->classes; k++)
            json_array_append_new(classes, json_real(result->share[k]));
        set_real(o, "confidence", result->confidence);
        json_object_set_new(o, "classes", classes);
    }
    return emit(p, o, false);
}

lk_status lki_report_end(lki_report *p, lk_run *r, const lk_run_result *result)
{
    if (p == NULL)
        return LK_OK;
    json_t *o = json_pack("{s:s, s:I, s:I, s:s, s:f, s:b}", "event", "end", "step", (json_int_t)r->cursor.step, "epoch", (json_int_t)r->cursor.epoch, "digest", result->digest, "seconds", result->seconds, "stopped", result->stopped);
    char time[32];

    if (r->config->train.early_stop.patience > 0)
        json_object_set_new(o, "stopped_early", json_boolean(lki_watch_ended(r)));
    if (result->has_accuracy)
        set_real(o, "accuracy", result->accuracy);
    LK_TRY(emit(p, o, true));
    clear_bar(p);
    if (p->json)
        return LK_OK;
    lk_format_seconds(result->seconds, time, sizeof time);
    lk_buf line = {0};
    lk_buf_printf(&line, "%s at step %" PRId64 " after %s: ", result->stopped ? "stopped on request" : "done", r->cursor.step, time);
    if (result->has_accuracy)
        lk_buf_printf(&line, "validation accuracy %.2f %%, ", 100 * result->accuracy);
    else if (isfinite(result->loss))
        lk_buf_printf(&line, "loss %.6g, ", result->loss);
    lk_buf_printf(&line, "digest %s, run %s\n", result->digest, r->dir);
    fputs(lk_buf_text(&line), stdout);
    fflush(stdout);
    lk_buf_fini(&line);
    return LK_OK;
}

void lki_report_destroy(lki_report **pp)
{
    if (*pp == NULL)
        return;
    clear_bar(*pp);
    if ((*pp)->log != NULL)
        fclose((*pp)->log);
    lk_free(*pp);
    *pp = NULL;
}
