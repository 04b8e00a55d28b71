/* Rules for parameters by patterns of their names: which one counts, what it sets, and every error. */
#include "engine/nets.h"
#include "model/support.h"

#include <math.h>

static lk_status apply(const char *train, lk_graph *const *g, int n)
{
    lk_buf text = {0};
    lk_config *c = NULL;

    lk_buf_printf(&text, DATA MODEL "train:\n  batch: 64\n  lr: 1\n%s", train);
    lk_status st = parse(lk_buf_text(&text), &c);
    if (st == LK_OK)
        st = lk_model_rules(c, g, n);
    lk_buf_fini(&text);
    lk_config_destroy(&c);
    return st;
}

static const lk_param *find(const lk_graph *g, const char *name)
{
    for (int i = 0; i < g->n_params; i++)
        if (strcmp(g->param[i].name, name) == 0)
            return &g->param[i];
    cr_assert_fail("%s", name);
    return NULL;
}

Test(rules, groups)
{
    lk_graph *g = net_cnn(2);

    EXPECT_OK(apply("  groups:\n"
                    "    - {match: conv1.*, frozen: true}\n"
                    "    - {match: \"*.bias\", lr: 2, weight_decay: 0.5}\n"
                    "    - {match: \"conv?.weight\", lr: 0.1}\n",
        &g, 1));
    const struct {
        const char *name;
        bool frozen, has_decay;
        double lr, decay;
    } want[] = {
        {"conv1.weight", true, false, 1, 0},
        {"conv1.bias", true, false, 1, 0}, /* the first rule that matches */
        {"conv2.weight", false, false, 0.1, 0},
        {"conv2.bias", false, true, 2, 0.5},
        {"batch_norm1.bias", false, true, 2, 0.5},
        {"batch_norm1.weight", false, false, 0, 0}, /* none */
        {"linear1.weight", false, false, 0, 0},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const lk_param *p = find(g, want[i].name);
        cr_expect(p->frozen == want[i].frozen && p->has_decay == want[i].has_decay && p->lr == want[i].lr &&
                      p->decay == want[i].decay,
            "%s: %d %d %g %g", p->name, p->frozen, p->has_decay, p->lr, p->decay);
    }
    lk_graph_destroy(&g);
}

/* batch_norm takes its running statistics in training once both of them are frozen, and only then. */
Test(rules, frozen_batch_norm)
{
    static const struct {
        const char *groups;
        bool running;
    } cases[] = {
        {"  groups: [{match: conv1.*, frozen: true}]\n", false},
        {"  groups: [{match: batch_norm1.weight, frozen: true}, {match: batch_norm1.bias, frozen: true}]\n", false},
        {"  groups: [{match: batch_norm1.running_mean, frozen: true}]\n", false},
        {"  groups: [{match: batch_norm1.*, frozen: false}, {match: \"*\", frozen: true}]\n", false},
        {"  groups: [{match: batch_norm1.running_*, frozen: true}]\n", true},
        {"  groups: [{match: \"*\", frozen: true}]\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lk_graph *g = net_cnn(2);

        EXPECT_OK(apply(cases[i].groups, &g, 1));
        const int n = lk_graph_find(g, "batch_norm1");
        cr_assert(n >= 0);
        cr_expect(g->node[n].spec.attr.batch_norm.running == cases[i].running, "%s", cases[i].groups);
        lk_graph_destroy(&g);
    }
}

/* conv1 is [5,3,3,3]: 27 inputs, 45 outputs; linear1 [4,20]. */
Test(rules, init)
{
    lk_graph *g = net_cnn(2), *other = net_mlp(2);
    lk_graph *const both[] = {g, other};
    const struct {
        const char *kind;
        lk_init_kind init;
        double value;
    } want[] = {
        {"constant, value: -3", LK_INIT_CONSTANT, -3},
        {"constant", LK_INIT_CONSTANT, 0},
        {"uniform, value: 0.5", LK_INIT_UNIFORM, 0.5},
        {"normal, value: 0.5", LK_INIT_NORMAL, 0.5},
        {"truncated_normal, value: 0.02", LK_INIT_TRUNCATED_NORMAL, 0.02},
        {"glorot_uniform", LK_INIT_UNIFORM, sqrt(6.0 / 72)},
        {"glorot_normal, gain: 3", LK_INIT_NORMAL, 3 * sqrt(2.0 / 72)},
        {"he_uniform", LK_INIT_UNIFORM, sqrt(6.0 / 27)},
        {"he_normal, gain: 0.5", LK_INIT_NORMAL, 0.5 * sqrt(2.0 / 27)},
        {"orthogonal, gain: 2", LK_INIT_ORTHOGONAL, 2},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char text[200];

        snprintf(text, sizeof text, "  init: [{match: \"conv1*\", kind: %s}]\n", want[i].kind);
        EXPECT_OK(apply(text, both, 2)); /* a name in one of the graphs is enough */
        const lk_param_info *p = &find(g, "conv1.weight")->info, *bias = &find(g, "conv1.bias")->info;
        cr_expect(p->init == want[i].init && fabs(p->value - want[i].value) < 1e-15, "%s: %d %.17g", want[i].kind,
            (int)p->init, p->value);
        /* Kinds by numbers of inputs leave vectors alone; they were set by the case before. */
        cr_expect(bias->init == (i < 5 ? want[i].init : LK_INIT_TRUNCATED_NORMAL), "%s", want[i].kind);
    }
    cr_expect_eq(
        apply(
            "  init: [{match: \"batch_norm1.running_mean\", kind: constant}, {match: \"*\", kind: normal, value: 1}]\n",
            both, 2),
        LK_E_CONFIG); /* statistics are no matter of first values */
    cr_expect_str_eq(lk_err_last()->message,
        "run.yaml:6:10: train.init: no parameter that this kind is for is called like \"batch_norm1.running_mean\"; "
        "`lockstep checkpoint show` lists their names");
    EXPECT_OK(apply("  init: [{match: \"*\", kind: normal, value: 1}]\n", both, 2));
    cr_expect(find(g, "batch_norm1.running_var")->info.init == LK_INIT_CONSTANT);
    cr_expect(find(other, "linear3.bias")->info.init == LK_INIT_NORMAL);
    lk_graph_destroy(&g);
    lk_graph_destroy(&other);
}

Test(rules, errors)
{
    static const struct {
        const char *train, *message;
    } faults[] = {
        {"  groups: [{match: conv9.*, lr: 2}]\n", "run.yaml:6:12: train.groups: no parameter is called like "
                                                  "\"conv9.*\"; `lockstep checkpoint show` lists their names"},
        {"  groups: [{match: \"*\", lr: 0}]\n", "run.yaml:6:29: lr: 0 is out of range (above 0, at most 1e+06)"},
        {"  groups: [{lr: 2}]\n", "run.yaml:6:12: section \"train.groups\" lacks \"match\""},
        {"  groups: {match: \"*\"}\n", "run.yaml:6:11: train.groups: expected a list of maps"},
        {"  groups: [linear1]\n",
            "run.yaml:6:12: train.groups: expected a map, for instance {match: \"*.weight\", ...}"},
        {"  init: [{match: \"*\", kind: normal}]\n",
            "run.yaml:6:10: train.init: match \"*\": value must be given, and above 0"},
        {"  init: [{match: \"*.bias\", kind: orthogonal}]\n",
            "run.yaml:6:10: train.init: no parameter that this kind is for is called like \"*.bias\"; `lockstep "
            "checkpoint show` lists "
            "their names"},
    };
    lk_graph *g = net_cnn(2);

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const int64_t bytes = lk_mem_bytes();

        cr_expect_eq(apply(faults[i].train, &g, 1), LK_E_CONFIG);
        cr_expect(strcmp(lk_err_last()->message, faults[i].message) == 0, "says  %s\nnot   %s", lk_err_last()->message,
            faults[i].message);
        cr_expect_eq(lk_mem_bytes(), bytes);
    }
    lk_graph_destroy(&g);
}
