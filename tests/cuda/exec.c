/* The executor on a device: a first run right behind its making, while the memory that it took is still being filled with zeros. */
#include "cuda/cuda.h"
#include "engine/exec.h"
#include "engine/nets.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 6 };

/* Of a step on this backend: the loss, over the number of samples. */
static double loss_on(const lk_backend *b, lk_graph *g, const float *start, const float *x, const int64_t *target)
{
    const lk_space *s = b->space;
    const lk_plan_opts opts = {.training = true, .bucket_bytes = 1};
    const size_t flat = (size_t)g->flat * sizeof(float), bytes[] = {ROWS * 7 * sizeof *x, ROWS * sizeof *target};
    float *weights = NULL, *grads = NULL;
    void *packed = NULL, *input[2] = {NULL, NULL};
    double metrics[LK_MAX_METRICS] = {0};
    int64_t sample[ROWS];
    lk_plan *plan = NULL;
    lk_exec *exec = NULL;

    for (int i = 0; i < ROWS; i++)
        sample[i] = 1000 + i;
    OK(lk_plan_create(g, b, &opts, &plan));
    OK(lk_space_alloc(s, flat, "weights", &weights));
    OK(lk_space_alloc(s, flat, "grads", &grads));
    OK(lk_space_alloc(s, (size_t)plan->packed_bytes + 1, "packed", &packed));
    OK(lk_space_copy(s, weights, start, flat, LK_COPY_IN));
    for (int i = 0; i < 2; i++) {
        OK(lk_space_alloc_pinned(s, bytes[i], "input", &input[i]));
        memcpy(input[i], i == 0 ? (const void *)x : (const void *)target, bytes[i]);
    }
    const lk_micro micro = {.rows = ROWS, .valid = ROWS, .sample = sample, .seed = 5, .step = 3, .grad_scale = 1.0 / ROWS, .metrics = metrics};
    const lk_exec_run_args a = {.micro = &micro, .input = {input[0], input[1]}, .weights = weights, .packed = packed, .grads = grads, .stat_count = 1};
    OK(lk_exec_create(plan, 1, &exec));
    OK(lk_plan_pack(plan, weights, packed, lk_exec_arena(exec), NULL, 0, 1));
    OK(lk_exec_run(exec, &a));
    OK(lk_exec_finish(exec, 0, &micro));

    lk_exec_destroy(&exec);
    lk_plan_destroy(&plan);
    lk_space_free(s, weights);
    lk_space_free(s, grads);
    lk_space_free(s, packed);
    for (int i = 0; i < 2; i++)
        lk_space_free_pinned(s, input[i]);
    return metrics[LK_METRIC_LOSS] / ROWS;
}

/* The stand-in has the inputs' stream as far ahead as nothing keeps it back. */
static void ahead(void)
{
    setenv("STANDIN_AHEAD", "1", 1);
}

Test(exec, inputs_come_behind_the_zeros, .init = ahead)
{
    const lk_cuda_module *m;
    const lk_backend *device;
    lk_graph *g = net_mlp(ROWS);
    float *start = NULL, x[ROWS * 7];
    int64_t target[ROWS];

    OK(lk_cuda_load(&m));
    OK(m->open(0, LK_PRECISION_FP32, &device));
    OK(lk_alloc_array(g->flat, sizeof *start, "weights", &start));
    for (int64_t i = 0; i < g->flat; i++)
        start[i] = (float)(0.5 * lk_rng_normal(lk_rng_make(11, LK_RNG_TEST, 0), (uint64_t)i));
    for (int i = 0; i < ROWS * 7; i++)
        x[i] = (float)lk_rng_normal(lk_rng_make(11, LK_RNG_TEST, 1), (uint64_t)i);
    for (int i = 0; i < ROWS; i++)
        target[i] = i % 5;
    const double want = loss_on(&lk_backend_cpu, g, start, x, target), got = loss_on(device, g, start, x, target);
    cr_assert(fabs(got - want) <= 1e-5 * fabs(want), "loss %.9g, on the CPU %.9g", got, want);
    lk_free(start);
    lk_graph_destroy(&g);
}
