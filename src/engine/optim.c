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

/* The gradient of elements [from, to) of a parameter, in place. The draw of an element is a function of the parameter's name, the step and
 * the element. */
static void change_gradient(const lk_optim *o, const lk_optim_step *s, const lk_param *p, int64_t from, int64_t to, void *sum)
{
    const lk_perturb change = {
        .scale = s->grad_scale,
        .clip = o->clip_value,
        .deviation = o->noise > 0 ? sqrt(o->noise / pow((double)s->t, o->noise_decay)) : 0,
        .rng = lk_rng_make(o->seed, LK_RNG_GRADIENT, lk_hash64(p->name, strlen(p->name))),
        .row = (uint64_t)s->t,
        .first = (uint64_t)(from - p->first),
    };

    o->backend->perturb(to - from, &change, sum);
}

void lk_optim_update(const lk_optim *o, const lk_optim_step *s, int64_t first, int64_t end, void *weights, void *const state[LK_MAX_OPT_STATE], void *sum)
{
    const lk_graph *g = o->graph;
    lk_opt_args a = {.momentum = o->momentum, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps, .nesterov = o->nesterov, .t = s->t, .grad_scale = s->grad_scale, .trust = o->trust, .scratch = s->scratch};

    if (first >= end)
        return;
    for (int i = param_at(g, first); i < g->n_params && g->param[i].first < end; i++) {
        const lk_param *p = &g->param[i];
        const int64_t from = p->first > first ? p->first : first;
        const int64_t to = p->first + p->count < end ? p->first + p->count : end;

        if (from >= to || p->frozen)
            continue;
        if (p->info.kind == LK_PARAM_STATISTIC) {
            o->backend->fold(to - from, pow(1.0 - p->info.momentum, s->stat_count), at(o, weights, from - first), at(o, sum, from - first));
            continue;
        }
        LK_BUG_IF(lk_opt_get(o->kind)->whole && to - from != p->count, "%s is cut into pieces", p->name);
        void *const own[LK_MAX_OPT_STATE] = {at(o, state[0], from - first), at(o, state[1], from - first)};
        a.lr = s->lr * o->rule[i].lr;
        a.weight_decay = o->rule[i].weight_decay;
        a.hidden = o->rule[i].hidden;
        a.shape = &p->info.shape;
        if (o->clip_value > 0 || o->noise > 0) {
            change_gradient(o, s, p, from, to, at(o, sum, from - first));
            a.grad_scale = 1;
        }
        o->backend->optimizer[o->kind](to - from, at(o, weights, from - first), own, at(o, sum, from - first), &a);
    }
}

void lk_optim_average(const lk_optim *o, double decay, int64_t t, int64_t first, int64_t end, const void *weights, void *mean)
{
    const lk_graph *g = o->graph;
    const double soon = (double)t / ((double)t + 9.0), rest = 1.0 - (decay < soon ? decay : soon);

    if (first >= end)
        return;
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
