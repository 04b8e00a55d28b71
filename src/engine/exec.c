#include "engine/exec.h"

#include "base/mem.h"
#include "base/thread.h"

#include <math.h>
#include <string.h>

struct lk_exec {
    const lk_plan *plan;
    char *arena;
    double *profile; /* borrowed */
};

lk_status lk_exec_create(const lk_plan *p, lk_exec **out)
{
    lk_exec *e = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *e, "executor", &e));
    e->plan = p;
    LK_TRY_TO(st, fail, lk_alloc_array(p->arena_bytes, 1, "activations and gradients", &e->arena));
    *out = e;
    return LK_OK;

fail:
    lk_exec_destroy(&e);
    return st;
}

static void *resolve(const lk_exec *e, const lk_exec_run_args *a, lk_place at)
{
    switch (at.kind) {
    case LK_PLACE_ARENA:
        return e->arena + at.at;
    case LK_PLACE_INPUT:
        return (void *)a->input[at.at];
    case LK_PLACE_GRADS:
        return (char *)a->grads + (size_t)(at.at - e->plan->grad_first) * e->plan->backend->real_size;
    case LK_PLACE_NONE:
        break;
    }
    return NULL;
}

static lk_status run_instr(lk_exec *e, const lk_exec_run_args *a, const lk_instr *in)
{
    const lk_plan *p = e->plan;
    lk_call c = {.spec = in->spec, .micro = a->micro};
    lk_micro own;

    for (int k = 0; k < in->spec->n_in; k++) {
        c.x[k] = resolve(e, a, in->x[k]);
        c.dx[k] = resolve(e, a, in->dx[k]);
    }
    c.y = resolve(e, a, in->y);
    c.dy = resolve(e, a, in->dy);
    c.saved = resolve(e, a, in->saved);
    c.scratch = resolve(e, a, in->scratch);
    if (in->kind == LK_INSTR_ACCUMULATE)
        return p->backend->kernel[LK_OP_ADD]->forward(&c);

    const lk_plan_node *n = &p->node[in->node];
    c.state = n->kp.state;
    c.packed = (const char *)a->packed + n->packed_at;
    for (int k = 0; k < n->spec.n_params; k++) {
        c.param[k] = (const char *)a->weights + (size_t)p->graph->param[n->param[k]].first * p->backend->real_size;
        c.dparam[k] = resolve(e, a, in->dparam[k]);
    }
    if (a->carry != NULL && n->kp.carry_bytes > 0)
        c.carry = (char *)a->carry + n->carry_at;
    if (n->loss > 0) {
        own = *a->micro;
        own.metrics += n->loss * LK_MAX_METRICS;
        c.micro = &own;
    }
    return in->kind == LK_INSTR_FORWARD ? n->kernel->forward(&c) : n->kernel->backward(&c);
}

/* A statistic of non-empty microbatch k of K enters with weight momentum * (1-momentum)^(K-1-k): the sum over microbatches is then what folding them
 * one after the other would have added (docs/exactness.md). */
static void scale_statistics(const lk_exec *e, const lk_exec_run_args *a)
{
    const lk_graph *g = e->plan->graph;

    for (int i = 0; i < g->n_params; i++) {
        const lk_param *p = &g->param[i];

        if (p->info.kind != LK_PARAM_STATISTIC || p->frozen)
            continue;
        const double w = p->info.momentum * pow(1.0 - p->info.momentum, a->stat_count - 1 - a->stat_index);
        if (e->plan->backend->real_size == sizeof(double)) {
            double *x = (double *)a->grads + (p->first - e->plan->grad_first);

            for (int64_t j = 0; j < p->count; j++)
                x[j] *= w;
        } else {
            float *x = (float *)a->grads + (p->first - e->plan->grad_first);

            for (int64_t j = 0; j < p->count; j++)
                x[j] *= (float)w;
        }
    }
}

static lk_status run_empty(lk_exec *e, const lk_exec_run_args *a)
{
    const lk_plan *p = e->plan;

    memset(a->micro->metrics, 0, (size_t)p->n_losses * LK_MAX_METRICS * sizeof(double));
    if (p->training)
        memset(a->grads, 0, (size_t)(p->grad_end - p->grad_first) * p->backend->real_size);
    for (int t = p->n_forward; a->after != NULL && t < p->n_instr; t++)
        a->after(a->after_arg, t);
    return LK_OK;
}

lk_status lk_exec_run(lk_exec *e, const lk_exec_run_args *a)
{
    const lk_plan *p = e->plan;

    if (a->micro->valid == 0)
        return run_empty(e, a);
    for (int i = 0; i < p->n_unwritten; i++)
        memset((char *)a->grads + (size_t)(p->unwritten[i][0] - p->grad_first) * p->backend->real_size, 0, (size_t)(p->unwritten[i][1] - p->unwritten[i][0]) * p->backend->real_size);
    for (int t = 0; t < p->n_instr; t++) {
        const double start = e->profile != NULL ? lk_now() : 0;
        const lk_status st = run_instr(e, a, &p->instr[t]);

        if (st != LK_OK) {
            const lk_plan_node *n = p->instr[t].node >= 0 ? &p->node[p->instr[t].node] : NULL;
            return lk_err_prefix(lk_err_frame(st, __FILE__, __LINE__, __func__), "layer %s: ", n != NULL ? n->name : "accumulation");
        }
        if (e->profile != NULL)
            e->profile[t] += lk_now() - start;
        if (t == p->n_forward - 1 && p->training)
            scale_statistics(e, a);
        if (t >= p->n_forward && a->after != NULL)
            a->after(a->after_arg, t);
    }
    return LK_OK;
}

void lk_exec_profile(lk_exec *e, double *seconds)
{
    e->profile = seconds;
}

void *lk_exec_arena(lk_exec *e)
{
    return e->arena;
}

const void *lk_exec_output(const lk_exec *e)
{
    return e->plan->output.kind == LK_PLACE_ARENA ? e->arena + e->plan->output.at : NULL;
}

void lk_exec_destroy(lk_exec **ep)
{
    if (*ep == NULL)
        return;
    lk_free((*ep)->arena);
    lk_free(*ep);
    *ep = NULL;
}
