/* Whole networks through plan and executor: gradients of `ref` against finite differences (which a wrong place in the arena, a wrong accumulation or a
 * wrong fusion would break), `cpu` against `ref`, and what a run may not do: allocate, or depend on what was in the arena. */
#include "engine/exec.h"
#include "engine/nets.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

typedef struct machine {
    const lk_backend *backend;
    lk_graph *graph;
    lk_plan *plan;
    lk_exec *exec;
    void *weights, *grads, *packed, *input, *target, *carry;
    double metrics[LK_MAX_METRICS];
    int64_t sample[64], rows, valid;
} machine;

static void put(const lk_backend *b, void *array, int64_t i, double v)
{
    if (b->real_size == sizeof(double))
        ((double *)array)[i] = v;
    else
        ((float *)array)[i] = (float)v;
}

static double get(const lk_backend *b, const void *array, int64_t i)
{
    return b->real_size == sizeof(double) ? ((const double *)array)[i] : ((const float *)array)[i];
}

static double normal(uint64_t stream, int64_t i)
{
    /* Rounded to float, so that both backends see the same numbers. */
    return (float)lk_rng_normal(lk_rng_make(11, LK_RNG_TEST, stream), (uint64_t)i);
}

static machine build_within(const lk_backend *backend, lk_graph *g, int64_t valid, bool training, int64_t activation_bytes)
{
    machine m = {.backend = backend, .graph = g, .rows = g->rows, .valid = valid};
    const lk_plan_opts opts = {.training = training, .bucket_bytes = 1, .activation_bytes = activation_bytes};

    if (backend->thread_setup != NULL)
        backend->thread_setup();
    OK(lk_plan_create(g, backend, &opts, &m.plan));
    OK(lk_exec_create(m.plan, 1, &m.exec));
    OK(lk_alloc_array(g->flat, backend->real_size, "weights", &m.weights));
    OK(lk_alloc_array(g->flat, backend->real_size, "grads", &m.grads));
    OK(lk_alloc_array(m.plan->packed_bytes + 1, 1, "packed", &m.packed));
    OK(lk_alloc_array(m.plan->carry_bytes, 1, "carry", &m.carry));
    OK(lk_alloc_array(lk_shape_count(&g->value[0].shape), sizeof(double), "input", &m.input));
    OK(lk_alloc_array(lk_shape_count(&g->value[1].shape), sizeof(double), "target", &m.target));
    for (int i = 0; i < g->n_params; i++)
        for (int64_t e = 0; e < g->param[i].count; e++) {
            const bool variance = g->param[i].info.suffix[0] == 'r' && strcmp(g->param[i].info.suffix, "running_var") == 0;
            put(backend, m.weights, g->param[i].first + e, variance ? 1 + 0.25 * fabs(normal((uint64_t)i, e)) : 0.5 * normal((uint64_t)i, e));
        }
    for (int64_t e = 0; e < lk_shape_count(&g->value[0].shape); e++) {
        if (g->value[0].dtype == LK_DT_I64)
            ((int64_t *)m.input)[e] = lk_rng_word(lk_rng_make(4, LK_RNG_TEST, 0), (uint64_t)e) % 4;
        else
            put(backend, m.input, e, normal(100, e));
    }
    for (int64_t e = 0; e < lk_shape_count(&g->value[1].shape); e++) {
        if (g->value[1].dtype == LK_DT_I64)
            ((int64_t *)m.target)[e] = lk_rng_word(lk_rng_make(3, LK_RNG_TEST, 0), (uint64_t)e) % 4;
        else
            put(backend, m.target, e, normal(101, e));
    }
    for (int64_t i = 0; i < m.rows; i++)
        m.sample[i] = 1000 + i;
    return m;
}

static machine build(const lk_backend *backend, lk_graph *g, int64_t valid, bool training)
{
    return build_within(backend, g, valid, training, 0);
}

static void destroy(machine *m, bool graph)
{
    lk_exec_destroy(&m->exec);
    lk_plan_destroy(&m->plan);
    lk_free(m->weights);
    lk_free(m->grads);
    lk_free(m->packed);
    lk_free(m->carry);
    lk_free(m->input);
    lk_free(m->target);
    if (graph)
        lk_graph_destroy(&m->graph);
}

/* The loss over the number of samples, which is what grad_scale makes the gradients be of. */
static double run(machine *m)
{
    const lk_micro micro = {.rows = m->rows, .valid = m->valid, .sample = m->sample, .seed = 5, .step = 3, .grad_scale = 1.0 / (double)m->valid, .metrics = m->metrics};
    const lk_exec_run_args a = {.micro = &micro, .input = {m->input, m->target}, .weights = m->weights, .packed = m->packed, .grads = m->plan->training ? m->grads : NULL, .carry = m->carry, .stat_count = 1};

    OK(lk_plan_pack(m->plan, m->weights, m->packed, lk_exec_arena(m->exec), NULL, 0, 1));
    OK(lk_exec_run(m->exec, &a));
    return m->metrics[LK_METRIC_LOSS] / (double)m->valid;
}

static void check_gradients(lk_graph *g, int64_t valid)
{
    machine m = build(&lk_backend_ref, g, valid, true);

    run(&m);
    double *grads = NULL;
    OK(lk_alloc_array(g->flat, sizeof *grads, "copy", &grads));
    memcpy(grads, m.grads, (size_t)g->flat * sizeof *grads);
    for (int i = 0; i < g->n_params; i++) {
        const lk_param *p = &g->param[i];

        if (p->info.kind != LK_PARAM_WEIGHT)
            continue;
        for (int64_t e = 0; e < p->count; e += p->count > 40 ? 7 : 1) {
            double *w = (double *)m.weights + p->first + e;
            const double old = *w, step = 1e-5;

            *w = old + step;
            const double up = run(&m);
            *w = old - step;
            const double down = run(&m);
            *w = old;
            const double want = (up - down) / (2 * step), got = grads[p->first + e];
            cr_assert(fabs(want - got) <= 1e-6 * (1 + fabs(want)), "%s[%ld]: differences %.10g, backward %.10g", p->name, (long)e, want, got);
        }
    }
    lk_free(grads);
    destroy(&m, true);
}

Test(whole_graph, gradients_match_finite_differences)
{
    check_gradients(net_mlp(6), 6);
    check_gradients(net_mlp(6), 4);
    check_gradients(net_cnn(4), 4);
    check_gradients(net_cnn(4), 3);
    check_gradients(net_regress(3), 3);
    check_gradients(net_regress(3), 2);
    check_gradients(net_sequence(3), 3);
    check_gradients(net_sequence(3), 2);
    check_gradients(net_tied(3), 2);
    check_gradients(net_sums(3), 2);
    check_gradients(net_gpt(2), 2);
    check_gradients(net_norms(3), 2);
    check_gradients(net_two(3), 2);
}

static double relative_error(const machine *a, const machine *b, int64_t first, int64_t n)
{
    double diff = 0, norm = 1e-30;

    for (int64_t i = first; i < first + n; i++) {
        const double x = get(a->backend, a->grads, i), y = get(b->backend, b->grads, i);

        diff += (x - y) * (x - y);
        norm += y * y;
    }
    return sqrt(diff / norm);
}

static void check_cpu(lk_graph *(*make)(int64_t), int64_t rows, int64_t valid)
{
    lk_graph *g = make(rows);

    for (int training = 0; training < 2; training++) {
        machine cpu = build(&lk_backend_cpu, g, valid, training), ref = build(&lk_backend_ref, g, valid, training);

        /* Whatever lay in the arena must not matter. */
        memset(lk_exec_arena(cpu.exec), 0xff, (size_t)cpu.plan->arena_bytes);
        const double a = run(&cpu), b = run(&ref);
        cr_assert(fabs(a - b) <= 1e-5 * (1 + fabs(b)), "loss %.9g, ref %.9g", a, b);
        cr_assert(cpu.metrics[LK_METRIC_NAMED] == ref.metrics[LK_METRIC_NAMED] || fabs(cpu.metrics[LK_METRIC_NAMED] - ref.metrics[LK_METRIC_NAMED]) <= 1e-4 * fabs(ref.metrics[LK_METRIC_NAMED]), "metric %g, ref %g", cpu.metrics[LK_METRIC_NAMED], ref.metrics[LK_METRIC_NAMED]);
        for (int i = 0; training && i < g->n_params; i++) {
            const lk_param *p = &g->param[i];
            const double e = relative_error(&cpu, &ref, p->first, p->count);

            /* A convolution's bias before a batch norm has the gradient 0 up to rounding: nothing to compare. */
            const bool zero = strcmp(p->name, "conv1.bias") == 0 || strcmp(p->name, "conv2.bias") == 0;
            cr_assert(e < 2e-5 || zero, "%s: relative error %g", p->name, e);
        }
        /* Again: the same bits, and no allocation. */
        float *before = NULL;
        OK(lk_alloc_array(g->flat, sizeof *before, "copy", &before));
        if (training)
            memcpy(before, cpu.grads, (size_t)g->flat * sizeof *before);
        const int64_t count = lk_mem_count();
        const double again = run(&cpu);
        cr_assert_eq(lk_mem_count(), count, "a run allocated");
        cr_assert(memcmp(&a, &again, sizeof a) == 0, "the loss of a second run differs");
        cr_assert(!training || memcmp(before, cpu.grads, (size_t)g->flat * sizeof *before) == 0, "gradients of a second run differ");
        lk_free(before);
        destroy(&cpu, false);
        destroy(&ref, false);
    }
    lk_graph_destroy(&g);
}

Test(whole_graph, cpu_matches_ref)
{
    check_cpu(net_mlp, 6, 6);
    check_cpu(net_mlp, 13, 9);
    check_cpu(net_cnn, 5, 5);
    check_cpu(net_cnn, 8, 3);
    check_cpu(net_regress, 7, 5);
    check_cpu(net_sequence, 5, 4);
    check_cpu(net_tied, 5, 4);
    check_cpu(net_sums, 7, 5);
    check_cpu(net_gpt, 5, 4);
    check_cpu(net_norms, 5, 4);
    check_cpu(net_two, 5, 4);
}

/* Norms that take the sum in front of them, and the gradient beside theirs, change no bit of what comes out. */
static void check_norms_apart(const lk_backend *b, lk_graph *(*make)(int64_t), int64_t rows, int64_t valid)
{
    lk_kernel layer_norm = *b->kernel[LK_OP_LAYER_NORM], rms_norm = *b->kernel[LK_OP_RMS_NORM];
    lk_backend plain = *b;
    lk_graph *g = make(rows);

    cr_assert(layer_norm.residual && rms_norm.residual);
    layer_norm.residual = rms_norm.residual = false;
    plain.kernel[LK_OP_LAYER_NORM] = &layer_norm;
    plain.kernel[LK_OP_RMS_NORM] = &rms_norm;
    for (int training = 0; training < 2; training++) {
        machine fused = build(b, g, valid, training), apart = build(&plain, g, valid, training);

        cr_assert_lt(fused.plan->n_nodes, apart.plan->n_nodes);
        memset(lk_exec_arena(fused.exec), 0xff, (size_t)fused.plan->arena_bytes);
        run(&fused);
        run(&apart);
        cr_assert(memcmp(fused.metrics, apart.metrics, sizeof fused.metrics) == 0, "metrics differ");
        cr_assert(memcmp(fused.grads, apart.grads, (size_t)g->flat * b->real_size) == 0, "gradients differ");
        destroy(&fused, false);
        destroy(&apart, false);
    }
    lk_graph_destroy(&g);
}

Test(whole_graph, norms_of_sums_give_the_same_bits)
{
    const lk_backend *const backend[] = {&lk_backend_ref, &lk_backend_cpu};

    for (int i = 0; i < 2; i++) {
        check_norms_apart(backend[i], net_gpt, 6, 6);
        check_norms_apart(backend[i], net_gpt, 5, 3);
        check_norms_apart(backend[i], net_norms, 5, 4);
    }
}

Test(whole_graph, empty_microbatch_gives_zeros)
{
    machine m = build(&lk_backend_cpu, net_cnn(4), 4, true);

    run(&m);
    m.valid = 0;
    const lk_micro micro = {.rows = m.rows, .valid = 0, .sample = m.sample, .grad_scale = 1, .metrics = m.metrics};
    const lk_exec_run_args a = {.micro = &micro, .input = {m.input, m.target}, .weights = m.weights, .packed = m.packed, .grads = m.grads, .stat_count = 1};
    OK(lk_exec_run(m.exec, &a));
    for (int64_t i = 0; i < m.graph->flat; i++)
        cr_assert_eq(((float *)m.grads)[i], 0.0f);
    for (int i = 0; i < LK_MAX_METRICS; i++)
        cr_assert_eq(m.metrics[i], 0.0);
    destroy(&m, true);
}

/* A layer whose state is carried from step to step, between others; two losses, the first in the middle. */
static lk_graph *net_carried(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, h, a;

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){2, {6, 3}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){0, {0}}, LK_DT_I64, &t));
    h = net_add(g, "tanh1", LK_OP_ACTIVATION, ACT(TANH), x, 0);
    h = net_add(g, "lstm1", LK_OP_LSTM, (lk_attrs){.recurrent = {.units = 5, .carry = true}}, h, 0);
    h = net_add(g, "gelu1", LK_OP_ACTIVATION, ACT(GELU), h, 0);
    h = net_add(g, "flatten1", LK_OP_FLATTEN, NO_ATTR, h, 0);
    a = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(4), h, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, a, t);
    h = net_add(g, "dropout1", LK_OP_DROPOUT, DROP(0.3), h, 0);
    h = net_add(g, "gelu2", LK_OP_ACTIVATION, ACT(GELU), h, 0);
    h = net_add(g, "linear2", LK_OP_LINEAR, LINEAR(4), h, 0);
    net_add(g, "loss2", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    return g;
}

/* Many residual blocks with norms and dropout. */
static lk_graph *net_deep(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, h, a;
    char name[32];

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){3, {2, 5, 5}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){0, {0}}, LK_DT_I64, &t));
    h = net_add(g, "conv", LK_OP_CONV, CONV(4, 3, 1), x, 0);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "batch_norm%d", i);
        a = net_add(g, name, LK_OP_BATCH_NORM, NORM, h, 0);
        snprintf(name, sizeof name, "gelu%d", i);
        a = net_add(g, name, LK_OP_ACTIVATION, ACT(GELU), a, 0);
        snprintf(name, sizeof name, "conv%d", i);
        a = net_add(g, name, LK_OP_CONV, CONV(4, 3, 1), a, 0);
        snprintf(name, sizeof name, "dropout%d", i);
        a = net_add(g, name, LK_OP_DROPOUT, DROP(0.2), a, 0);
        snprintf(name, sizeof name, "add%d", i);
        h = net_add(g, name, LK_OP_ADD, NO_ATTR, h, a);
    }
    h = net_add(g, "flatten", LK_OP_FLATTEN, NO_ATTR, h, 0);
    h = net_add(g, "linear", LK_OP_LINEAR, LINEAR(4), h, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    return g;
}

/* The smallest arena, as the refusal of less says it. */
static int64_t least_arena(const lk_backend *b, const lk_graph *g)
{
    const lk_plan_opts opts = {.training = true, .bucket_bytes = 1, .activation_bytes = 1};
    lk_plan *p = NULL;
    long least = 0;

    cr_assert_eq(lk_plan_create(g, b, &opts, &p), LK_E_CONFIG);
    cr_assert_null(p);
    cr_assert_eq(sscanf(lk_err_last()->message, "activations and gradients of a microbatch need at least %ld bytes", &least), 1, "%s", lk_err_last()->message);
    return least;
}

/* With less memory the same bits: gradients, statistics, metrics and what is carried, over two steps. */
static void check_again(lk_graph *(*net)(int64_t rows), const lk_backend *b, double share, uint64_t stream)
{
    lk_graph *g = net(6);
    machine whole = build(b, g, 5, true);
    const int64_t least = least_arena(b, g), most = whole.plan->arena_bytes;
    int computed_again = 0;

    cr_assert_leq((double)least, share * (double)most, "%ld of %ld bytes", (long)least, (long)most);
    cr_assert_eq(whole.plan->n_again, 0);
    run(&whole);
    run(&whole);
    for (uint64_t i = 0; i < 12; i++) {
        const int64_t budget = i == 0 ? least : least + (int64_t)(lk_rng_word(lk_rng_make(7, LK_RNG_TEST, stream), i) % (uint64_t)(most - least + 1));
        machine m = build_within(b, g, 5, true, budget);

        cr_assert_leq(m.plan->arena_bytes, budget);
        cr_assert(budget >= most || m.plan->n_again > 0);
        computed_again += m.plan->n_again > 0;
        /* What is not written shows. */
        memset(lk_exec_arena(m.exec), 0x7f, (size_t)m.plan->arena_bytes);
        run(&m);
        run(&m);
        cr_assert(memcmp(m.grads, whole.grads, (size_t)g->flat * b->real_size) == 0, "gradients differ in %ld bytes", (long)budget);
        cr_assert(memcmp(m.metrics, whole.metrics, sizeof m.metrics) == 0, "metrics differ in %ld bytes", (long)budget);
        cr_assert(m.plan->carry_bytes == 0 || memcmp(m.carry, whole.carry, (size_t)m.plan->carry_bytes) == 0, "what is carried differs");
        /* The same budget, the same plan. */
        lk_plan *p = NULL;
        OK(lk_plan_create(g, b, &(lk_plan_opts){.training = true, .bucket_bytes = 1, .activation_bytes = budget}, &p));
        cr_assert(p->n_instr == m.plan->n_instr && p->n_again == m.plan->n_again && p->n_segments == m.plan->n_segments);
        lk_plan_destroy(&p);
        destroy(&m, false);
    }
    cr_assert(least == most || computed_again > 8, "%d", computed_again);
    destroy(&whole, true);
}

Test(whole_graph, less_memory_gives_the_same_bits)
{
    const lk_backend *const backend[] = {&lk_backend_ref, &lk_backend_cpu};

    for (int i = 0; i < 2; i++) {
        check_again(net_mlp, backend[i], 1, 1);
        check_again(net_cnn, backend[i], 1, 2);
        check_again(net_regress, backend[i], 1, 3);
        check_again(net_carried, backend[i], 1, 4);
        check_again(net_sums, backend[i], 1, 6);
        check_again(net_gpt, backend[i], 0.9, 7);
        check_again(net_norms, backend[i], 1, 8);
        check_again(net_two, backend[i], 0.95, 9);
        check_again(net_deep, backend[i], 0.35, 5);
    }
}

/* Planning without and with segments, and running out of memory at any point of it. */
Test(whole_graph, planning_without_memory_fails_cleanly)
{
    lk_graph *g = net_cnn(4);
    const int64_t least = least_arena(&lk_backend_cpu, g), bytes = lk_mem_bytes();
    bool done = false;

    for (int64_t at = 1; !done; at++) {
        lk_plan *p = NULL;

        lk_mem_fail_at(at);
        const lk_status st = lk_plan_create(g, &lk_backend_cpu, &(lk_plan_opts){.training = true, .bucket_bytes = 1, .activation_bytes = least}, &p);
        lk_mem_fail_at(0);
        done = st == LK_OK;
        cr_assert(done || st == LK_E_NOMEM, "allocation %ld: %s", (long)at, lk_err_last()->message);
        lk_plan_destroy(&p);
        cr_assert_eq(lk_mem_bytes(), bytes, "allocation %ld", (long)at);
    }
    lk_graph_destroy(&g);
}
