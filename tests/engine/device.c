/* The executor on a device, where a step is queued whole before anybody can know that its data are bad. */
#include "engine/exec.h"
#include "base/mem.h"
#include "cuda/cuda.h"
#include "engine/nets.h"

#include <string.h>

/* Class 5 of 5 in the second sample, by turns: not recorded yet, then as recorded work. The error names layer, sample and class; the steps between give the same
 * gradients, bit by bit. */
Test(device, bad_class_in_a_step)
{
    enum { ROWS = 3, FEATURES = 7, STEPS = 8 };
    const lk_plan_opts opts = {.training = true, .bucket_bytes = 256};
    const lk_cuda_module *module = NULL;
    const lk_backend *be = NULL;
    const int64_t sample[ROWS] = {40, 41, 42};
    double metrics[LK_MAX_METRICS];
    lk_graph *g = net_mlp(ROWS);
    lk_plan *p = NULL;
    lk_exec *e = NULL;
    float *host = NULL, *first = NULL, *again = NULL, *input = NULL;
    int64_t *target = NULL;
    void *weights = NULL, *packed = NULL, *grads = NULL;

    OK(lk_cuda_load(&module));
    OK(module->open(0, LK_PRECISION_FP32, &be));
    const lk_space *const space = be->space;
    const size_t flat = (size_t)g->flat * sizeof *host;
    OK(lk_plan_create(g, be, &opts, &p));
    OK(lk_exec_create(p, 1, &e));
    OK(lk_alloc_array(g->flat, sizeof *host, "weights", &host));
    OK(lk_alloc_array(g->flat, sizeof *first, "gradients", &first));
    OK(lk_alloc_array(g->flat, sizeof *again, "gradients", &again));
    OK(lk_graph_init_weights(g, 3, host));
    OK(lk_space_alloc(space, flat, "weights", &weights));
    OK(lk_space_alloc(space, flat, "gradients", &grads));
    OK(lk_space_alloc(space, (size_t)p->packed_bytes, "packed weights", &packed));
    OK(lk_space_alloc_pinned(space, ROWS * FEATURES * sizeof *input, "inputs", &input));
    OK(lk_space_alloc_pinned(space, ROWS * sizeof *target, "targets", &target));
    OK(lk_space_copy(space, weights, host, flat, LK_COPY_IN));
    OK(lk_plan_pack(p, weights, packed, lk_exec_arena(e), NULL, 0, 1));
    for (int i = 0; i < ROWS * FEATURES; i++)
        input[i] = 0.1f * (float)(i % 11 - 5);

    const lk_micro micro = {.rows = ROWS, .valid = 2, .sample = sample, .seed = 5, .step = 3, .grad_scale = 1, .metrics = metrics};
    const lk_exec_run_args a = {.micro = &micro, .input = {input, target}, .weights = weights, .packed = packed, .grads = grads, .stat_count = 1};
    for (int t = 0; t < STEPS; t++) {
        const bool bad = t % 2 == 0;

        memcpy(target, (int64_t[ROWS]){1, bad ? 5 : 4, -9}, ROWS * sizeof *target); /* the last row is padding */
        OK(lk_exec_run(e, &a));
        const lk_status st = lk_exec_finish(e, 0, &micro);
        OK(lk_space_copy(space, t == 1 ? first : again, grads, flat, LK_COPY_OUT));
        if (bad) {
            cr_assert_eq(st, LK_E_DATA);
            cr_assert_str_eq(lk_err_last()->message, "layer loss: sample 41: class id 5 is outside [0, 5)");
            continue;
        }
        OK(st);
        cr_assert(metrics[LK_METRIC_COUNT] == 2);
        cr_assert(t == 1 || memcmp(again, first, flat) == 0, "step %d has other gradients", t);
    }
    lk_exec_destroy(&e);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
    lk_space_free(space, weights);
    lk_space_free(space, grads);
    lk_space_free(space, packed);
    lk_space_free_pinned(space, input);
    lk_space_free_pinned(space, target);
    lk_free(host);
    lk_free(first);
    lk_free(again);
}
