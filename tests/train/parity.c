/* Training against PyTorch, step by step, from the same weights on the same data: tests/parity/NAME.yaml and what
 * make_reference.py wrote there. PyTorch is not needed here. */
#include "train/run_int.h"

#include "base/file.h"
#include "base/mem.h"
#include "data/h5.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The references are computed in double, so these bound lockstep's own rounding: of one backward pass (sums of some
 * hundred to thousand floats), and of 100 updates that each start from the one before. */
#define GRADIENT_TOLERANCE 1e-5
#define LOSS_TOLERANCE 1e-4

enum { STEPS = 100 };

#define OK(expr) \
    do { \
        const lk_status st_ = (expr); \
        cr_assert(st_ == LK_OK, "%s: %s", lk_status_name(st_), lk_err_last()->message); \
    } while (0)

typedef struct parity {
    lk_config *config;
    lk_comm *comm;
    lk_run *run;
    hid_t file;
    char path[512];
} parity;

/* "weights/conv1/weight" of conv1.weight */
static const char *array_path(const char *group, const lk_param *w, char out[512])
{
    snprintf(out, 512, "%s/%s", group, w->name);
    *strrchr(out, '.') = '/';
    return out;
}

/* What the reference has of a parameter; to be freed. */
static float *read_array(const parity *p, const char *group, const lk_param *w)
{
    lk_h5_shape shape = {.type = LK_ELEM_F32, .ndim = w->info.shape.ndim};
    char name[512];
    float *v = NULL;

    memcpy(shape.dim, w->info.shape.dim, (size_t)shape.ndim * sizeof shape.dim[0]);
    OK(lk_alloc_array(w->count, sizeof *v, "reference", &v));
    OK(lk_h5_read_array(p->file, array_path(group, w, name), &shape, v));
    return v;
}

static void open_parity(parity *p, const char *name, int threads)
{
    char set_text[64];
    char *set = set_text;
    char **in_file = NULL;
    int n = 0, weights = 0;

    memset(p, 0, sizeof *p);
    snprintf(p->path, sizeof p->path, "%s/parity/%s.yaml", LK_TEST_DIR, name);
    snprintf(set_text, sizeof set_text, "run.threads=%d", threads);
    OK(lk_config_load(p->path, &(lk_strings){.item = &set, .n = 1}, &p->config));
    OK(lk_comm_create_self(&p->comm));
    OK(lk_run_open(
        &(lk_train_args){.mode = LK_RUN_BENCH, .config = p->config, .comm = p->comm, .quiet = true}, &p->run));
    snprintf(p->path, sizeof p->path, "%s/parity/%s.h5", LK_TEST_DIR, name);
    OK(lk_h5_open(p->path, &p->file));
    for (int i = 0; i < p->run->graph->n_params; i++) {
        const lk_param *w = &p->run->graph->param[i];
        float *v = read_array(p, "weights", w);
        memcpy(p->run->weights + w->first, v, (size_t)w->count * sizeof *v);
        lk_free(v);
    }
    /* And the reference has no weight that this network lacks. */
    OK(lk_h5_list(p->file, &in_file, &n));
    for (int i = 0; i < n; i++)
        weights += strncmp(in_file[i], "weights/", 8) == 0;
    lk_strings_free(&in_file, n);
    cr_expect(
        weights == p->run->graph->n_params, "%d parameters in %s, %d here", weights, p->path, p->run->graph->n_params);
}

static void close_parity(parity *p)
{
    OK(lk_h5_close(&p->file, p->path));
    lk_run_close(&p->run);
    lk_comm_destroy(&p->comm);
    lk_config_destroy(&p->config);
}

/* |scale a - b| / |b| */
static double off(int64_t n, double scale, const float *a, const float *b)
{
    double difference = 0, norm = 0;

    for (int64_t i = 0; i < n; i++) {
        difference += (scale * a[i] - b[i]) * (scale * a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / norm);
}

/* After the first step: the mean gradient of each weight, and each running statistic. The reduction holds the gradient
 * over the number of samples; a loss may count otherwise, a language model's by places. */
static void check_first_step(const parity *p, const lki_step_result *s)
{
    const double to_mean = (double)s->samples / s->sum[0][LK_METRIC_WEIGHT];
    const lki_phase *phase = &p->run->phase[0];

    for (int i = 0; i < p->run->graph->n_params; i++) {
        const lk_param *w = &p->run->graph->param[i];
        const bool statistic = w->info.kind == LK_PARAM_STATISTIC;
        float *expected = read_array(p, statistic ? "statistics" : "gradients", w);
        const float *got = p->run->weights + w->first;
        if (!statistic)
            got = (const float *)lk_reduce_sum(phase->reduce) + (w->first - phase->trainer.plan->grad_first);
        const double d = off(w->count, statistic ? 1 : to_mean, got, expected);
        cr_expect(d < GRADIENT_TOLERANCE, "%s: %s of the first step is off by %.2e", w->name,
            statistic ? "running statistic" : "gradient", d);
        lk_free(expected);
    }
}

static void check(const char *name, int threads)
{
    parity p;
    lki_step_result s;
    double loss[STEPS], worst = 0;

    open_parity(&p, name, threads);
    OK(lk_h5_read_array(p.file, "loss", &(lk_h5_shape){.type = LK_ELEM_F64, .ndim = 1, .dim = {STEPS}}, loss));
    for (int i = 0; i < STEPS; i++) {
        const lk_batch *b = NULL;
        OK(lk_loader_map(p.run->loader, &b));
        OK(lki_step(p.run, b, LK_OK, &s));
        lk_loader_unmap(p.run->loader, &b);
        if (i == 0)
            check_first_step(&p, &s);
        const double d = fabs(s.loss - loss[i]) / loss[i];
        cr_expect(
            d < LOSS_TOLERANCE, "%s, step %d: loss %.9g, PyTorch's %.9g: off by %.2e", name, i + 1, s.loss, loss[i], d);
        worst = d > worst ? d : worst;
    }
    cr_log_info("%s: losses of %d steps are off by at most %.2e", name, STEPS, worst);
    close_parity(&p);
}

Test(parity, mlp)
{
    check("mlp", 2);
}

Test(parity, cnn)
{
    check("cnn", 1);
}

Test(parity, vit)
{
    check("vit", 2);
}

Test(parity, gpt)
{
    check("gpt", 2);
}

Test(parity, lstm)
{
    check("lstm", 2);
}
