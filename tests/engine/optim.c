/* Optimizer over slices, folding of statistics, schedules. */
#include "engine/nets.h"
#include "engine/optim.h"
#include "engine/schedule.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *noise(int64_t n, uint64_t stream)
{
    float *x = malloc((size_t)n * sizeof *x);

    for (int64_t i = 0; i < n; i++)
        x[i] = (float)lk_rng_normal(lk_rng_make(1, LK_RNG_TEST, stream), (uint64_t)i);
    return x;
}

Test(optim, any_cut_into_slices_gives_the_same_bits)
{
    lk_graph *g = net_cnn(2);
    const int64_t n = g->flat;

    for (lk_opt kind = 0; kind < LK_OPT_COUNT; kind++) {
        lk_opt_rule *rule = NULL;
        if (lk_opt_get(kind)->whole)
            continue;
        cr_assert_eq(lk_optim_rules(g, 0.1, &rule), LK_OK);
        const lk_optim o = {.graph = g, .backend = &lk_backend_cpu, .kind = kind, .rule = rule, .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};
        float *sum = noise(n, 1), *w[2], *s[2][2];

        for (int v = 0; v < 2; v++) {
            w[v] = noise(n, 2);
            for (int k = 0; k < 2; k++)
                s[v][k] = calloc((size_t)n, sizeof(float));
        }
        for (int64_t t = 1; t <= 3; t++) {
            const lk_optim_step step = {.lr = 0.01, .t = t, .grad_scale = 0.5, .stat_count = 8};

            lk_optim_update(&o, &step, 0, n, w[0], (void *const[]){s[0][0], s[0][1]}, sum);
            for (int64_t first = 0, end; first < n; first = end) {
                end = first + LK_TILE * (1 + first / LK_TILE % 3);
                if (end > n)
                    end = n;
                lk_optim_update(&o, &step, first, end, w[1] + first, (void *const[]){s[1][0] + first, s[1][1] + first}, sum + first);
            }
        }
        cr_assert_eq(memcmp(w[0], w[1], (size_t)n * sizeof(float)), 0);
        for (int k = 0; k < lk_opt_get(kind)->n_state; k++)
            cr_assert_eq(memcmp(s[0][k], s[1][k], (size_t)n * sizeof(float)), 0);
        free(sum);
        lk_free(rule);
        for (int v = 0; v < 2; v++) {
            free(w[v]);
            free(s[v][0]);
            free(s[v][1]);
        }
    }
    lk_graph_destroy(&g);
}

Test(optim, statistics_fold_as_one_after_the_other)
{
    lk_graph *g = net_cnn(2);
    lk_opt_rule *rule = NULL;
    cr_assert_eq(lk_optim_rules(g, 0, &rule), LK_OK);
    const lk_optim o = {.graph = g, .backend = &lk_backend_ref, .rule = rule};
    const lk_param *p = NULL;
    double *w = calloc((size_t)g->flat, sizeof *w), *sum = calloc((size_t)g->flat, sizeof *sum), *state = calloc((size_t)g->flat, sizeof *state);
    double want = 0.7;

    for (int i = 0; i < g->n_params; i++)
        if (g->param[i].info.kind == LK_PARAM_STATISTIC)
            p = &g->param[i];
    cr_assert_not_null(p);
    const double mu = p->info.momentum, fresh[] = {0.3, -1.5, 2.25, 0.1, 7};
    const int n = (int)(sizeof fresh / sizeof fresh[0]);
    w[p->first] = want;
    for (int k = 0; k < n; k++) {
        want = (1 - mu) * want + mu * fresh[k];
        sum[p->first] += mu * pow(1 - mu, n - 1 - k) * fresh[k]; /* as the executor scales it */
    }
    lk_optim_update(&o, &(lk_optim_step){.lr = 1, .t = 1, .grad_scale = 0.1, .stat_count = n}, 0, g->flat, w, (void *const[]){state, NULL}, sum);
    cr_assert_float_eq(w[p->first], want, 1e-14);
    lk_free(rule);
    free(w);
    free(state);
    free(sum);
    lk_graph_destroy(&g);
}

/* Of three linear layers the last feeds the loss; biases are no matrices. */
Test(optim, rules)
{
    lk_graph *g = net_mlp(2);
    lk_opt_rule *rule = NULL;

    OK(lk_optim_rules(g, 0.25, &rule));
    for (int i = 0; i < g->n_params; i++) {
        const bool matrix = g->param[i].info.shape.ndim == 2;

        cr_assert(rule[i].lr == 1 && rule[i].weight_decay == (matrix ? 0.25 : 0));
        cr_assert_eq(rule[i].hidden, matrix && strcmp(g->param[i].name, "linear3.weight") != 0, "%s", g->param[i].name);
    }
    lk_free(rule);
    lk_graph_destroy(&g);
}

Test(optim, squares_leave_statistics_out)
{
    lk_graph *g = net_cnn(2);
    const lk_optim o = {.graph = g, .backend = &lk_backend_cpu};
    float *sum = calloc((size_t)g->flat, sizeof *sum);
    double *tiles = calloc((size_t)(g->flat / LK_TILE), sizeof *tiles), want = 0, got = 0;

    for (int i = 0; i < g->n_params; i++)
        for (int64_t e = 0; e < g->param[i].count; e++) {
            const float x = (float)(i + 1) * 0.1f;

            sum[g->param[i].first + e] = x;
            if (g->param[i].info.kind == LK_PARAM_WEIGHT)
                want += (double)x * x;
        }
    lk_optim_tile_squares(&o, 0, g->flat, sum, tiles);
    lk_optim_tile_mask(&o, 0, g->flat, tiles);
    for (int64_t i = 0; i < g->flat / LK_TILE; i++)
        got += tiles[i];
    cr_assert_float_eq(got, want, 1e-9 * want);
    free(sum);
    free(tiles);
    lk_graph_destroy(&g);
}

/* Clipping by value first, then noise; the noise of an element is a function of parameter, step and element, of the stated deviation. */
Test(optim, clipping_by_value_and_noise)
{
    lk_graph *g = net_mlp(2);
    lk_opt_rule *rule = NULL;
    const int64_t n = g->flat;
    double *w[3], *state = calloc((size_t)n, sizeof *state), *sum = malloc((size_t)n * sizeof *sum);

    OK(lk_optim_rules(g, 0, &rule));
    lk_optim o = {.graph = g, .backend = &lk_backend_ref, .kind = LK_OPT_SGD, .rule = rule, .clip_value = 0.5, .seed = 3, .noise_decay = 0.5};
    const lk_param *p = &g->param[0];

    /* At rate -1 and without momentum the weights become the gradient: 4 halved and clipped, -0.6 halved. */
    for (int v = 0; v < 3; v++) {
        w[v] = calloc((size_t)n, sizeof *w[v]);
        for (int64_t e = 0; e < n; e++)
            sum[e] = e % 2 ? 4 : -0.6;
        o.noise = v == 0 ? 0 : 0.09;
        lk_optim_update(&o, &(lk_optim_step){.lr = -1, .t = v == 2 ? 16 : 1, .grad_scale = 0.5}, 0, n, w[v], (void *const[]){state, NULL}, sum);
    }
    double squares = 0;
    for (int64_t e = 0; e < p->count; e++) {
        cr_assert_float_eq(w[0][p->first + e], (p->first + e) % 2 ? 0.5 : -0.3, 1e-15);
        const double first = w[1][p->first + e] - w[0][p->first + e], later = w[2][p->first + e] - w[0][p->first + e];
        const double draw = lk_rng_normal_row(lk_rng_make(3, LK_RNG_GRADIENT, lk_hash64(p->name, strlen(p->name))), 1, (uint64_t)e);

        cr_assert_float_eq(first, 0.3 * draw, 1e-14);
        squares += later * later;
    }
    /* At step 16 the variance is 0.09 / 4: five deviations of its estimate. */
    cr_assert(fabs(squares / (double)p->count - 0.0225) < 5 * 0.0225 * sqrt(2.0 / (double)p->count), "%g", squares / (double)p->count);
    for (int v = 0; v < 3; v++)
        free(w[v]);
    free(state);
    free(sum);
    lk_free(rule);
    lk_graph_destroy(&g);
}

/* Weights 10 and then 20, from a mean of 0: 1/10 stays at step 1 and 2/11 at step 2, then `decay`. Any cut gives the same. */
Test(optim, running_mean)
{
    lk_graph *g = net_cnn(2);
    const lk_optim o = {.graph = g, .backend = &lk_backend_cpu};
    float *w = calloc((size_t)g->flat, sizeof *w), *m[2];
    const float value[] = {10, 20, -5};

    for (int v = 0; v < 2; v++)
        m[v] = calloc((size_t)g->flat, sizeof *m[v]);
    for (int t = 1; t <= 3; t++) {
        for (int64_t e = 0; e < g->flat; e++)
            w[e] = value[t - 1];
        lk_optim_average(&o, 0.15, t, 0, g->flat, w, m[0]);
        for (int64_t first = 0; first < g->flat; first += 3 * LK_TILE)
            lk_optim_average(&o, 0.15, t, first, first + 3 * LK_TILE < g->flat ? first + 3 * LK_TILE : g->flat, w, m[1] + first);
    }
    cr_assert_eq(memcmp(m[0], m[1], (size_t)g->flat * sizeof *w), 0);
    const double first = 9, second = first + 0.85 * (20 - first), want = second + 0.85 * (-5 - second); /* 2/11 is above 0.15 */
    for (int i = 0; i < g->n_params; i++)
        cr_assert_float_eq(m[0][g->param[i].first], g->param[i].info.kind == LK_PARAM_WEIGHT ? want : -5, 1e-5);
    for (int v = 0; v < 2; v++)
        free(m[v]);
    free(w);
    lk_graph_destroy(&g);
}

/* Against PyTorch 1.13's OneCycleLR(max_lr=2, total_steps=10, pct_start=0.4, div_factor=25, final_div_factor=4). */
Test(schedule, one_cycle)
{
    const lk_schedule s = {.peak = 2, .decay = LK_DECAY_ONE_CYCLE, .start = 0.04, .rise = 0.4, .floor = 0.01, .total = 10};
    const double want[] = {0.08, 0.56, 1.52, 2, 1.86736514974659, 1.505, 1.01, 0.515, 0.152634850253406, 0.02};

    for (int i = 0; i < 10; i++)
        cr_assert_float_eq(lk_schedule_lr(&s, i), want[i], 1e-14, "step %d: %.15g", i, lk_schedule_lr(&s, i));
    const lk_schedule down = {.peak = 2, .decay = LK_DECAY_ONE_CYCLE, .start = 0.04, .floor = 0.5, .total = 5};
    cr_assert_float_eq(lk_schedule_lr(&down, 4), 1, 1e-14);
    cr_assert_float_eq(lk_schedule_lr(&down, 9), 1, 1e-14);
}

Test(schedule, polynomial_and_wsd)
{
    lk_schedule s = {.peak = 2, .warmup = 4, .total = 105, .floor = 0.1, .decay = LK_DECAY_POLYNOMIAL, .power = 3};

    cr_assert_float_eq(lk_schedule_lr(&s, 1), 1, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 4), 2, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 54), 2 * (0.1 + 0.9 * 0.125), 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 104), 0.2, 1e-12);
    s = (lk_schedule){.peak = 2, .warmup = 2, .total = 101, .floor = 0.5, .decay = LK_DECAY_WSD, .decay_share = 20.0 / 101};
    cr_assert_float_eq(lk_schedule_lr(&s, 0), 1, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 80), 2, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 90), 1.5, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 100), 1, 1e-12);
}

Test(schedule, shapes)
{
    lk_schedule s = {.peak = 2, .warmup = 4, .total = 104, .every = 10, .factor = 0.5, .floor = 0.1};

    cr_assert_float_eq(lk_schedule_lr(&s, 0), 0.5, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 3), 2, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 103), 2, 1e-12);
    s.decay = LK_DECAY_STEP;
    cr_assert_float_eq(lk_schedule_lr(&s, 13), 2, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 14), 1, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 24), 0.5, 1e-12);
    s.decay = LK_DECAY_COSINE;
    cr_assert_float_eq(lk_schedule_lr(&s, 4), 2, 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 103), 0.2, 1e-12);
    s.total = 105;
    cr_assert_float_eq(lk_schedule_lr(&s, 54), 2 * (0.1 + 0.9 * 0.5), 1e-12);
    s.decay = LK_DECAY_LINEAR;
    cr_assert_float_eq(lk_schedule_lr(&s, 54), 2 * (0.1 + 0.9 * 0.5), 1e-12);
    cr_assert_float_eq(lk_schedule_lr(&s, 1000), 0.2, 1e-12);
}
