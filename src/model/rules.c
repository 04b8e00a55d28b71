/* Rules for parameters by patterns of their names: train.groups (rate, decay, frozen) and train.init (first values). The first rule that matches
 * a parameter is the one that counts for it. */
#include "model/model.h"
#include "base/mem.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct group_opts {
    char *match;
    double lr, weight_decay;
    bool frozen;
} group_opts;

typedef enum init_word {
    CONSTANT,
    UNIFORM,
    NORMAL,
    TRUNCATED_NORMAL,
    GLOROT_UNIFORM,
    GLOROT_NORMAL,
    HE_UNIFORM,
    HE_NORMAL,
    ORTHOGONAL
} init_word;

typedef struct init_opts {
    char *match;
    int kind; /* init_word */
    double value, gain;
} init_opts;

static const lk_field group_rows[] = {
    LK_FIELD(group_opts, match, LK_T_STRING,
        .help = "Names of parameters: *, ? and [...] stand for characters, as in names of files, for instance "
                "`conv*.weight`."),
    LK_FIELD(group_opts, lr, LK_T_REAL, .def = "1", .min = 0, .max = 1e6, .exclusive_min = true,
        .help = "The learning rate is multiplied by this."),
    LK_FIELD(group_opts, weight_decay, LK_T_REAL, .def = "", .min = 0, .max = 1e6,
        .help = "Weight decay, whatever the dimensions; unset: by train.weight_decay and its rule."),
    LK_FIELD(group_opts, frozen, LK_T_BOOL, .def = "false",
        .help = "They keep their first values. A batch_norm whose running statistics are frozen normalizes by them in training, too."),
};
static const lk_table group_table = LK_TABLE(group_opts, "train.groups",
    "A list of maps: how parameters are learned, by patterns of their names. The first that matches a name counts; each must match one.",
    group_rows);

static const lk_field init_rows[] = {
    LK_FIELD(init_opts, match, LK_T_STRING, .help = "Names of parameters, as in train.groups."),
    LK_FIELD(init_opts, kind, LK_T_ENUM,
        .choices = "constant|uniform|normal|truncated_normal|glorot_uniform|glorot_normal|he_uniform|he_normal|orthogonal",
        .help = "constant; uniform in [-value, value]; normal of deviation value, truncated: drawn again beyond two deviations; "
                "glorot and he by the numbers of inputs and outputs; orthogonal rows or columns, whichever are fewer, of all "
                "dimensions after the first as one. The last five leave parameters of one dimension as they are."),
    LK_FIELD(init_opts, value, LK_T_REAL, .def = "", .min = -1e30, .max = 1e30,
        .help = "constant: the number (unset: 0); uniform, normal, truncated_normal: must be given."),
    LK_FIELD(init_opts, gain, LK_T_REAL, .def = "1", .min = 0, .max = 1e6, .exclusive_min = true,
        .help = "glorot, he, orthogonal: values are multiplied by this (he has the factor sqrt(2) of relu already)."),
};
static const lk_table init_table = LK_TABLE(init_opts, "train.init",
    "A list of maps: first values of parameters, by patterns of their names. What no pattern matches starts as its layer says. The first "
    "that matches a name counts; each must match one.",
    init_rows);

typedef union rule_opts {
    group_opts group;
    init_opts init;
} rule_opts;

/* Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", equation 16; He et al. 2015, "Delving
 * deep into rectifiers", equation 10 (over inputs). A uniform draw in [-a, a] has the deviation a / sqrt(3). */
static void set_init(const init_opts *o, lk_param_info *p)
{
    const double taps = p->shape.ndim < 2 ? 1 : (double)lk_shape_row(&p->shape) / (double)p->shape.dim[1];
    const double inputs = p->shape.ndim < 2 ? 1 : (double)p->shape.dim[1] * taps, outputs = (double)p->shape.dim[0] * taps;
    const double glorot = o->gain * sqrt(2 / (inputs + outputs)), he = o->gain * sqrt(2 / inputs);

    switch ((init_word)o->kind) {
    case CONSTANT:
        p->init = LK_INIT_CONSTANT;
        p->value = o->value;
        return;
    case UNIFORM:
        p->init = LK_INIT_UNIFORM;
        p->value = o->value;
        return;
    case NORMAL:
        p->init = LK_INIT_NORMAL;
        p->value = o->value;
        return;
    case TRUNCATED_NORMAL:
        p->init = LK_INIT_TRUNCATED_NORMAL;
        p->value = o->value;
        return;
    case GLOROT_UNIFORM:
    case HE_UNIFORM:
        p->init = LK_INIT_UNIFORM;
        p->value = sqrt(3) * (o->kind == HE_UNIFORM ? he : glorot);
        return;
    case GLOROT_NORMAL:
    case HE_NORMAL:
        p->init = LK_INIT_NORMAL;
        p->value = o->kind == HE_NORMAL ? he : glorot;
        return;
    case ORTHOGONAL:
        p->init = LK_INIT_ORTHOGONAL;
        p->value = o->gain;
        return;
    }
}

/* Whether the rule is about a parameter of its name. */
static bool applies(const lk_table *t, const rule_opts *o, const lk_param_info *p)
{
    if (t == &group_table)
        return true;
    return p->kind == LK_PARAM_WEIGHT && (o->init.kind < GLOROT_UNIFORM || p->shape.ndim >= 2);
}

/* A batch_norm whose statistics stay as they are normalizes by them, in training as in evaluation: weights that were learned with them
 * would meet other inputs else. */
static void use_frozen_statistics(lk_graph *g, int param)
{
    for (int n = 0; n < g->n_nodes; n++) {
        lk_node *node = &g->node[n];
        bool uses = false, all = true;

        for (int k = 0; k < node->spec.n_params; k++) {
            uses |= node->param[k] == param;
            all &= node->spec.param[k].kind != LK_PARAM_STATISTIC || g->param[node->param[k]].frozen;
        }
        if (node->spec.op == LK_OP_BATCH_NORM && uses && all)
            node->spec.attr.batch_norm.running = true;
    }
}

static void apply(const lk_table *t, const rule_opts *o, bool has_decay, lk_graph *g, int param)
{
    lk_param *p = &g->param[param];

    if (t == &init_table) {
        set_init(&o->init, &p->info);
        return;
    }
    p->lr = o->group.lr;
    p->has_decay = has_decay;
    p->decay = o->group.weight_decay;
    p->frozen = o->group.frozen;
    if (p->frozen && p->info.kind == LK_PARAM_STATISTIC)
        use_frozen_statistics(g, param);
}

static lk_status check_rule(const lk_table *t, const lk_yaml *item, const rule_opts *o)
{
    if (t == &init_table && o->init.kind >= UNIFORM && o->init.kind <= TRUNCATED_NORMAL && !(o->init.value > 0))
        return lk_yaml_fail(item, "%s: match \"%.80s\": value must be given, and above 0", t->name, o->init.match);
    return LK_OK;
}

/* One rule of a list, for all graphs; `done` [graphs][parameters] are those that an earlier one matched. Without graphs it is only checked. */
static lk_status run_rule(const lk_table *t, const lk_yaml *item, lk_graph *const *graph, int n, bool *const *done)
{
    rule_opts o = {0};
    bool matched = false;

    LK_TRY(lk_table_parse(t, item, &o));
    const char *match = t == &group_table ? o.group.match : o.init.match;
    lk_status st = check_rule(t, item, &o);
    for (int k = 0; st == LK_OK && k < n; k++)
        for (int i = 0; i < graph[k]->n_params; i++) {
            lk_param *p = &graph[k]->param[i];

            if (fnmatch(match, p->name, 0) != 0 || !applies(t, &o, &p->info))
                continue;
            matched = true;
            if (!done[k][i])
                apply(t, &o, lk_yaml_get(item, "weight_decay") != NULL, graph[k], i);
            done[k][i] = true;
        }
    if (st == LK_OK && n > 0 && !matched)
        st = lk_yaml_fail(item, "%s: no %s is called like \"%.80s\"; `lockstep checkpoint show` lists their names", t->name,
            t == &init_table ? "parameter that this kind is for" : "parameter", match);
    lk_table_fini(t, &o);
    return st;
}

static lk_status run_list(const lk_table *t, const lk_yaml *list, lk_graph *const *graph, int n)
{
    bool **done = NULL;
    lk_status st = LK_OK;

    if (list == NULL || lk_yaml_is_empty(list))
        return LK_OK;
    if (list->kind != LK_YAML_LIST)
        return lk_yaml_fail(list, "%s: expected a list of maps", t->name);
    LK_TRY(lk_alloc_array(n, sizeof *done, "matched parameters", &done));
    for (int k = 0; k < n; k++)
        LK_TRY_TO(st, out, lk_alloc_array(graph[k]->n_params, sizeof **done, "matched parameters", &done[k]));
    for (int i = 0; i < list->n_child; i++) {
        if (list->child[i]->kind != LK_YAML_MAP) {
            st = lk_yaml_fail(list->child[i], "%s: expected a map, for instance {match: \"*.weight\", ...}", t->name);
            goto out;
        }
        LK_TRY_TO(st, out, run_rule(t, list->child[i], graph, n, done));
    }
out:
    for (int k = 0; done != NULL && k < n; k++)
        lk_free(done[k]);
    lk_free(done);
    return st;
}

lk_status lk_model_rules(const lk_config *c, lk_graph *const *graph, int n)
{
    LK_TRY(run_list(&group_table, c->train.groups, graph, n));
    return run_list(&init_table, c->train.init, graph, n);
}

void lk_model_rules_document(lk_buf *out)
{
    lk_table_document(&group_table, group_table.name, out);
    lk_table_document(&init_table, init_table.name, out);
}
