#include "engine/optim.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

/* Whether a loss reads what the node gives. */
static bool feeds_loss(const lk_graph *g, const lk_node *n)
{
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; lk_op_info(g->node[i].spec.op)->loss && k < g->node[i].spec.n_in; k++)
            if (g->node[i].in[k] == n->out)
                return true;
    return false;
}

lk_status lk_optim_rules(const lk_graph *g, double weight_decay, lk_opt_rule **out)
{
    lk_opt_rule *rule = NULL;

    LK_TRY(lk_alloc_array(g->n_params, sizeof *rule, "rules of parameters", &rule));
    for (int i = 0; i < g->n_params; i++) {
        const lk_param *p = &g->param[i];
        const lk_node *n = &g->node[p->node];

        rule[i] = (lk_opt_rule){
            .lr = p->lr > 0 ? p->lr : 1,
            .weight_decay = p->has_decay ? p->decay : p->info.shape.ndim >= 2 ? weight_decay : 0,
            .hidden = p->info.shape.ndim == 2 && n->spec.op != LK_OP_EMBEDDING && !feeds_loss(g, n),
        };
    }
    *out = rule;
    return LK_OK;
}

size_t lk_optim_scratch(const lk_optim *o)
{
    size_t most = 0;

    for (int i = 0; i < o->graph->n_params; i++) {
        const size_t bytes = lk_opt_scratch(o->kind, &o->graph->param[i].info.shape, o->backend->real_size);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* ---- the table ---- */

/* What parameters are updated alike. */
typedef struct group {
    bool fold;
    double momentum;         /* of statistics */
    double lr, weight_decay; /* of weights */
} group;

struct lk_optim_table {
    group *group;
    int n_groups;
    lk_flat_map map;
    int32_t *param_of;    /* what the map points to */
    lk_flat_param *param;
};

static group group_of(const lk_optim *o, int i)
{
    const lk_param *p = &o->graph->param[i];

    return p->info.kind == LK_PARAM_STATISTIC ? (group){.fold = true, .momentum = p->info.momentum} : (group){.lr = o->rule[i].lr, .weight_decay = o->rule[i].weight_decay};
}

/* Its number; it is added if it is new. */
static int32_t find_group(struct lk_optim_table *t, group want)
{
    for (int k = 0; k < t->n_groups; k++) {
        const group *g = &t->group[k];

        if (g->fold == want.fold && g->momentum == want.momentum && g->lr == want.lr && g->weight_decay == want.weight_decay)
            return k;
    }
    t->group[t->n_groups] = want;
    return t->n_groups++;
}

static lk_rng noise_stream(const lk_optim *o, const lk_param *p)
{
    return lk_rng_make(o->seed, LK_RNG_GRADIENT, lk_hash64(p->name, strlen(p->name)));
}

/* On the host, then in the space. */
static lk_status fill_table(const lk_optim *o, struct lk_optim_table *t, int32_t *param_of, lk_flat_param *param)
{
    const lk_graph *g = o->graph;
    const int64_t tiles = g->flat / LK_TILE;
    const lk_space *space = o->backend->space;

    for (int i = 0; i < g->n_params; i++) {
        const lk_param *p = &g->param[i];
        const int64_t next = i + 1 < g->n_params ? g->param[i + 1].first : g->flat;

        param[i] = (lk_flat_param){.first = p->first, .count = p->count, .group = p->frozen ? -1 : find_group(t, group_of(o, i)), .weight = p->info.kind == LK_PARAM_WEIGHT && !p->frozen, .rng = noise_stream(o, p)};
        for (int64_t tile = p->first / LK_TILE; tile < next / LK_TILE; tile++)
            param_of[tile] = i;
    }
    LK_TRY(lk_space_alloc(space, (size_t)tiles * sizeof *param_of, "places of parameters", &t->param_of));
    LK_TRY(lk_space_alloc(space, (size_t)g->n_params * sizeof *param, "places of parameters", &t->param));
    LK_TRY(lk_space_copy(space, t->param_of, param_of, (size_t)tiles * sizeof *param_of, LK_COPY_IN));
    LK_TRY(lk_space_copy(space, t->param, param, (size_t)g->n_params * sizeof *param, LK_COPY_IN));
    t->map = (lk_flat_map){.tile = LK_TILE, .param_of = t->param_of, .param = t->param};
    return LK_OK;
}

static bool has_table(const lk_optim *o)
{
    return o->backend->flat[o->kind] != NULL && o->graph->n_params > 0;
}

lk_status lk_optim_prepare(lk_optim *o)
{
    const lk_graph *g = o->graph;
    int32_t *param_of = NULL;
    lk_flat_param *param = NULL;
    lk_status st;

    if (!has_table(o))
        return LK_OK;
    LK_TRY(lk_alloc(sizeof *o->table, "table of the optimizer", &o->table));
    LK_TRY_TO(st, out, lk_alloc_array(g->n_params, sizeof *o->table->group, "table of the optimizer", &o->table->group));
    LK_TRY_TO(st, out, lk_alloc_array(g->n_params, sizeof *param, "table of the optimizer", &param));
    LK_TRY_TO(st, out, lk_alloc_array(g->flat / LK_TILE, sizeof *param_of, "table of the optimizer", &param_of));
    st = fill_table(o, o->table, param_of, param);
out:
    lk_free(param_of);
    lk_free(param);
    if (st != LK_OK)
        lk_optim_fini(o);
    return st;
}

int64_t lk_optim_table_bytes(const lk_optim *o)
{
    const lk_space *space = o->backend->space;

    if (!has_table(o))
        return 0;
    return lk_space_taken(space, o->graph->flat / LK_TILE * (int64_t)sizeof(int32_t)) + lk_space_taken(space, o->graph->n_params * (int64_t)sizeof(lk_flat_param));
}

void lk_optim_fini(lk_optim *o)
{
    struct lk_optim_table *t = o->table;

    if (t == NULL)
        return;
    lk_space_free(o->backend->space, t->param_of);
    lk_space_free(o->backend->space, t->param);
    lk_free(t->group);
    lk_free(t);
    o->table = NULL;
}

/* ---- updates ---- */

/* Parameter whose padded place holds element e (places are rising and without gaps). */
static int param_at(const lk_graph *g, int64_t e)
{
    int lo = 0, hi = g->n_params - 1;

    while (lo < hi) {
        const int mid = (lo + hi + 1) / 2;

        if (g->param[mid].first <= e)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

static void *at(const lk_optim *o, const void *base, int64_t element)
{
    return base == NULL ? NULL : (char *)base + (size_t)element * o->backend->real_size;
}

/* How the gradients of this step are changed; whose draws they are is each parameter's own. The draw of an element is a function of the
 * parameter's name, the step and the element. */
static lk_perturb gradient_change(const lk_optim *o, const lk_optim_step *s)
{
    return (lk_perturb){
        .scale = s->grad_scale,
        .clip = o->clip_value,
        .deviation = o->noise > 0 ? sqrt(o->noise / pow((double)s->t, o->noise_decay)) : 0,
        .row = (uint64_t)s->t,
    };
}

/* What is the same for all parameters. */
static lk_opt_args step_args(const lk_optim *o, const lk_optim_step *s, bool changed)
{
    return (lk_opt_args){.momentum = o->momentum, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps, .nesterov = o->nesterov, .t = s->t, .grad_scale = changed ? 1 : s->grad_scale, .trust = o->trust, .scratch = s->scratch};
}

/* Of a statistic, for the old value. */
static double kept_share(double momentum, const lk_optim_step *s)
{
    return pow(1.0 - momentum, s->stat_count);
}

static void update_flat(const lk_optim *o, const lk_optim_step *s, int64_t first, int64_t end, void *weights, void *const state[LK_MAX_OPT_STATE], void *sum)
{
    const struct lk_optim_table *t = o->table;
    const bool changed = o->clip_value > 0 || o->noise > 0;
    const lk_perturb change = gradient_change(o, s);
    lk_flat_call c = {.map = t->map, .first = first, .n = end - first, .change = changed ? &change : NULL, .weights = weights, .sum = sum};

    for (int k = 0; k < LK_MAX_OPT_STATE; k++)
        c.state[k] = state[k];
    for (; c.first_group < t->n_groups; c.first_group += LK_FLAT_GROUPS) {
        const int rest = t->n_groups - c.first_group;

        c.n_groups = rest < LK_FLAT_GROUPS ? rest : LK_FLAT_GROUPS;
        for (int k = 0; k < c.n_groups; k++) {
            const group *g = &t->group[c.first_group + k];
            lk_opt_args a = step_args(o, s, changed);

            a.lr = s->lr * g->lr;
            a.weight_decay = g->weight_decay;
            c.group[k] = (lk_flat_group){.fold = g->fold, .keep = g->fold ? kept_share(g->momentum, s) : 0, .args = a};
        }
        o->backend->flat[o->kind](&c);
    }
}

static void update_each(const lk_optim *o, const lk_optim_step *s, int64_t first, int64_t end, void *weights, void *const state[LK_MAX_OPT_STATE], void *sum)
{
    const lk_graph *g = o->graph;
    const bool changed = o->clip_value > 0 || o->noise > 0;
    lk_perturb change = gradient_change(o, s);
    lk_opt_args a = step_args(o, s, changed);

    for (int i = param_at(g, first); i < g->n_params && g->param[i].first < end; i++) {
        const lk_param *p = &g->param[i];
        const int64_t from = p->first > first ? p->first : first;
        const int64_t to = p->first + p->count < end ? p->first + p->count : end;

        if (from >= to || p->frozen)
            continue;
        if (p->info.kind == LK_PARAM_STATISTIC) {
            o->backend->fold(to - from, kept_share(p->info.momentum, s), at(o, weights, from - first), at(o, sum, from - first));
            continue;
        }
        LK_BUG_IF(lk_opt_get(o->kind)->whole && to - from != p->count, "%s is cut into pieces", p->name);
        void *const own[LK_MAX_OPT_STATE] = {at(o, state[0], from - first), at(o, state[1], from - first)};
        a.lr = s->lr * o->rule[i].lr;
        a.weight_decay = o->rule[i].weight_decay;
        a.hidden = o->rule[i].hidden;
        a.shape = &p->info.shape;
        if (changed) {
            change.rng = noise_stream(o, p);
            change.first = (uint64_t)(from - p->first);
            o->backend->perturb(to - from, &change, at(o, sum, from - first));
        }
        o->backend->optimizer[o->kind](to - from, at(o, weights, from - first), own, at(o, sum, from - first), &a);
    }
}

void lk_optim_update(const lk_optim *o, const lk_optim_step *s, int64_t first, int64_t end, void *weights, void *const state[LK_MAX_OPT_STATE], void *sum)
{
    if (first < end)
        (o->table != NULL ? update_flat : update_each)(o, s, first, end, weights, state, sum);
}

void lk_optim_average(const lk_optim *o, double decay, int64_t t, int64_t first, int64_t end, const void *weights, void *mean)
{
    const lk_graph *g = o->graph;
    const double soon = (double)t / ((double)t + 9.0), rest = 1.0 - (decay < soon ? decay : soon);

    if (first >= end)
        return;
    if (o->table != NULL) {
        o->backend->flat_average(&o->table->map, first, end - first, rest, weights, mean);
        return;
    }
    for (int i = param_at(g, first); i < g->n_params && g->param[i].first < end; i++) {
        const lk_param *p = &g->param[i];
        const int64_t from = p->first > first ? p->first : first;
        const int64_t to = p->first + p->count < end ? p->first + p->count : end;
        const double share = p->info.kind == LK_PARAM_WEIGHT && !p->frozen ? rest : 1;

        if (from < to)
            o->backend->average(to - from, share, at(o, weights, from - first), at(o, mean, from - first));
    }
}

void lk_optim_tile_squares(const lk_optim *o, int64_t first, int64_t end, const void *sum, double *tiles)
{
    if (first >= end)
        return;
    /* Padding is zero, so whole tiles can be summed. */
    o->backend->tile_squares((end - first) / LK_TILE, LK_TILE, sum, tiles);
}

void lk_optim_tile_mask(const lk_optim *o, int64_t first, int64_t end, double *tiles)
{
    const lk_graph *g = o->graph;

    if (first >= end)
        return;
    int i = param_at(g, first);
    for (int64_t e = first; e < end; e += LK_TILE, tiles++) {
        while (i + 1 < g->n_params && g->param[i + 1].first <= e)
            i++;
        if (g->param[i].info.kind != LK_PARAM_WEIGHT || g->param[i].frozen)
            *tiles = 0;
    }
}
