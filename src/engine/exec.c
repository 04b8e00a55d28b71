#include "engine/exec.h"

#include "base/mem.h"
#include "base/thread.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a device must know of a microbatch ---- */

/* Recorded work is for fixed places; these are the ones that differ between runs. */
typedef struct recording {
    const void *weights, *packed, *grads, *carry;
    int slot;
    int uses; /* recorded at the second: a first run brings libraries and kernels in */
    bool recorded;
    lk_work **work; /* [n_pieces] */
} recording;

enum { MAX_RECORDINGS = 256 };

/* Device memory of one run, one copy in and one copy out; offsets in bytes, the same for all slots of an executor. */
typedef struct layout {
    size_t live, sample, key, fault, metrics; /* in: live to fault; out: fault, metrics */
    size_t bytes;
    size_t input[LK_MAX_INPUTS], raw[LK_MAX_INPUTS], inputs_bytes; /* raw: as they come, where values have another type */
} layout;

typedef struct slot {
    char *device, *pinned; /* [layout.bytes] */
    char *inputs;
    lk_mark *mark; /* metrics are back */
    lk_mark *used; /* the last run is done with the inputs */
    bool empty; /* the run had no valid rows: nothing was queued */
} slot;

struct lk_exec {
    const lk_plan *plan;
    const lk_space *space;
    char *arena;
    double *profile; /* borrowed */
    bool waits; /* after each instruction, so that a failure on the device is found in its layer */
    lk_stat_item *stat;       /* [n_stats] in the space */
    int n_stats;
    /* The rest only where the space is not the host. */
    layout at;
    slot *slot;
    int n_slots;
    int *key; /* [plan nodes] number of its stream, or -1 */
    int n_keys;
    int *piece; /* [n_pieces] instruction behind its last: forward, then up to each bucket's, then the rest */
    int n_pieces;
    recording *rec;
    int n_rec;
    lk_work **works; /* of all recordings */
    float *output; /* in the space: predictions as floats */
};

static size_t up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static size_t take(size_t *at, size_t bytes)
{
    const size_t here = *at;

    *at += up(bytes);
    return here;
}

static int count_keys(const lk_plan *p, int *key)
{
    int n = 0;

    for (int i = 0; i < p->n_nodes; i++) {
        const bool draws = lk_op_info(p->node[i].spec.op)->stream != NULL;

        if (key != NULL)
            key[i] = draws ? n : -1;
        n += draws;
    }
    return n;
}

static bool is_converted(const lk_plan *p, const lk_value *v)
{
    return v->dtype == LK_DT_REAL && p->backend->value_size != p->backend->real_size;
}

static layout lay(const lk_plan *p)
{
    const lk_graph *g = p->graph;
    layout l = {0};
    size_t at = 0, in = 0;

    l.live = take(&at, sizeof(lk_live));
    l.sample = take(&at, (size_t)g->rows * sizeof(int64_t));
    l.key = take(&at, (size_t)count_keys(p, NULL) * 2 * sizeof(uint32_t));
    l.fault = take(&at, LK_FAULT_WORDS * sizeof(int64_t));
    l.metrics = take(&at, (size_t)p->n_losses * LK_MAX_METRICS * sizeof(double));
    l.bytes = at;
    for (int i = 0; i < p->n_inputs; i++) {
        const lk_value *v = &g->value[p->input_value[i]];
        const size_t n = (size_t)lk_shape_count(&v->shape);

        l.input[i] = take(&in, n * (v->dtype == LK_DT_I64 ? sizeof(int64_t) : p->backend->value_size));
        l.raw[i] = is_converted(p, v) ? take(&in, n * p->backend->real_size) : l.input[i];
    }
    l.inputs_bytes = in;
    return l;
}

static bool reads_out(const lk_plan *p)
{
    return !p->training && p->output.kind == LK_PLACE_ARENA;
}

static int count_stats(const lk_graph *g)
{
    int n = 0;

    for (int i = 0; i < g->n_params; i++)
        n += g->param[i].info.kind == LK_PARAM_STATISTIC && !g->param[i].frozen;
    return n;
}

int64_t lk_exec_bytes(const lk_plan *p, int slots)
{
    const lk_space *space = p->backend->space;
    int64_t bytes = lk_space_taken(space, p->arena_bytes);

    if (p->training)
        bytes += lk_space_taken(space, count_stats(p->graph) * (int64_t)sizeof(lk_stat_item));
    if (space->host)
        return bytes;
    const layout l = lay(p);
    bytes += slots * (lk_space_taken(space, (int64_t)l.bytes) + lk_space_taken(space, (int64_t)l.inputs_bytes));
    if (reads_out(p) && p->backend->value_size != p->backend->real_size)
        bytes += lk_space_taken(space, lk_shape_count(&p->output_shape) * (int64_t)sizeof(float));
    return bytes;
}

/* ---- setup ---- */

static lk_status create_stats(lk_exec *e)
{
    const lk_graph *g = e->plan->graph;
    lk_stat_item *item = NULL;
    lk_status st;

    e->n_stats = count_stats(g);
    if (e->n_stats == 0)
        return LK_OK;
    LK_TRY(lk_alloc_array(e->n_stats, sizeof *item, "statistics", &item));
    for (int i = 0, n = 0; i < g->n_params; i++)
        if (g->param[i].info.kind == LK_PARAM_STATISTIC && !g->param[i].frozen)
            item[n++] = (lk_stat_item){g->param[i].first - e->plan->grad_first, g->param[i].count, g->param[i].info.momentum};
    st = lk_space_alloc(e->space, (size_t)e->n_stats * sizeof *item, "statistics", &e->stat);
    if (st == LK_OK)
        st = lk_space_copy(e->space, e->stat, item, (size_t)e->n_stats * sizeof *item, LK_COPY_IN);
    lk_free(item);
    return st;
}

/* Recorded work ends where the caller wants to know: behind the forward pass, and behind each bucket. */
static lk_status create_pieces(lk_exec *e)
{
    const lk_plan *p = e->plan;

    LK_TRY(lk_alloc_array(p->n_buckets + 2, sizeof *e->piece, "pieces of the step", &e->piece));
    e->piece[e->n_pieces++] = p->n_forward;
    for (int t = p->n_forward; t < p->n_instr; t++) {
        bool ends = t + 1 == p->n_instr;

        for (int b = 0; b < p->n_buckets; b++)
            ends |= p->ready[b] == t;
        if (ends)
            e->piece[e->n_pieces++] = t + 1;
    }
    return LK_OK;
}

static lk_status create_slots(lk_exec *e, int slots)
{
    const lk_plan *p = e->plan;

    e->at = lay(p);
    LK_TRY(lk_alloc_array(slots, sizeof *e->slot, "slots of the executor", &e->slot));
    e->n_slots = slots;
    for (int i = 0; i < slots; i++) {
        LK_TRY(lk_space_alloc(e->space, e->at.bytes, "microbatch", &e->slot[i].device));
        LK_TRY(lk_space_alloc_pinned(e->space, e->at.bytes, "microbatch", &e->slot[i].pinned));
        LK_TRY(lk_space_alloc(e->space, e->at.inputs_bytes, "inputs", &e->slot[i].inputs));
        LK_TRY(lk_mark_create(e->space, &e->slot[i].mark));
        LK_TRY(lk_mark_create(e->space, &e->slot[i].used));
        LK_TRY(lk_mark_set(e->space, e->slot[i].used)); /* new memory is filled with zeros in the order of the queue, and inputs come in beside it */
    }
    LK_TRY(lk_alloc_array(p->n_nodes, sizeof *e->key, "streams", &e->key));
    e->n_keys = count_keys(p, e->key);
    LK_TRY(create_pieces(e));
    LK_TRY(lk_alloc_array(MAX_RECORDINGS, sizeof *e->rec, "recorded work", &e->rec));
    LK_TRY(lk_alloc_array((int64_t)MAX_RECORDINGS * e->n_pieces, sizeof(lk_work *), "recorded work", &e->works));
    if (reads_out(p) && p->backend->value_size != p->backend->real_size)
        LK_TRY(lk_space_alloc(e->space, (size_t)lk_shape_count(&p->output_shape) * sizeof(float), "predictions", &e->output));
    return LK_OK;
}

lk_status lk_exec_create(const lk_plan *p, int slots, lk_exec **out)
{
    lk_exec *e = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *e, "executor", &e));
    e->plan = p;
    e->space = p->backend->space;
    e->waits = !e->space->host && getenv("LOCKSTEP_CUDA_WAIT") != NULL;
    LK_TRY_TO(st, fail, lk_space_alloc(e->space, (size_t)p->arena_bytes, "activations and gradients", &e->arena));
    if (p->training)
        LK_TRY_TO(st, fail, create_stats(e));
    if (!e->space->host)
        LK_TRY_TO(st, fail, create_slots(e, slots));
    *out = e;
    return LK_OK;

fail:
    lk_exec_destroy(&e);
    return st;
}

void lk_exec_destroy(lk_exec **ep)
{
    lk_exec *e = *ep;

    if (e == NULL)
        return;
    for (int i = 0; i < e->n_rec * e->n_pieces; i++)
        lk_work_destroy(e->space, &e->works[i]);
    for (int i = 0; i < e->n_slots; i++) {
        lk_space_free(e->space, e->slot[i].device);
        lk_space_free_pinned(e->space, e->slot[i].pinned);
        lk_space_free(e->space, e->slot[i].inputs);
        lk_mark_destroy(e->space, &e->slot[i].mark);
        lk_mark_destroy(e->space, &e->slot[i].used);
    }
    lk_space_free(e->space, e->output);
    lk_space_free(e->space, e->arena);
    lk_space_free(e->space, e->stat);
    lk_free(e->slot);
    lk_free(e->key);
    lk_free(e->piece);
    lk_free(e->rec);
    lk_free(e->works);
    lk_free(e);
    *ep = NULL;
}

/* ---- instructions ---- */

static void *resolve(const lk_exec *e, const lk_exec_run_args *a, lk_place at)
{
    switch (at.kind) {
    case LK_PLACE_ARENA:
        return e->arena + at.at;
    case LK_PLACE_INPUT:
        return e->space->host ? (void *)a->input[at.at] : e->slot[a->slot].inputs + e->at.input[at.at];
    case LK_PLACE_GRADS:
        return (char *)a->grads + (size_t)(at.at - e->plan->grad_first) * e->plan->backend->real_size;
    case LK_PLACE_NONE:
        break;
    }
    return NULL;
}

/* Adds to a gradient: values are the add operation's, weights' may have another type. */
static lk_status accumulate(const lk_exec *e, const lk_instr *in, const lk_call *c)
{
    const lk_backend *be = e->plan->backend;
    const float *const from[4] = {c->x[0], c->x[1]};

    if (in->x[0].kind == LK_PLACE_GRADS && be->value_size != be->real_size)
        return lk_space_sum(e->space, LK_SUM_2, lk_shape_count(&in->spec->out), c->y, from);
    return be->kernel[LK_OP_ADD]->forward(c);
}

static lk_status run_instr(lk_exec *e, const lk_exec_run_args *a, const lk_instr *in)
{
    const lk_plan *p = e->plan;
    lk_call c = {.spec = in->spec, .micro = a->micro, .node = in->node};
    lk_micro own = *a->micro;

    for (int k = 0; k < in->spec->n_in; k++) {
        c.x[k] = resolve(e, a, in->x[k]);
        c.dx[k] = resolve(e, a, in->dx[k]);
    }
    c.y = resolve(e, a, in->y);
    c.sum = resolve(e, a, in->sum);
    c.dy = resolve(e, a, in->dy);
    c.dsum = resolve(e, a, in->dsum);
    c.saved = resolve(e, a, in->saved);
    c.scratch = resolve(e, a, in->scratch);
    if (in->kind == LK_INSTR_ACCUMULATE)
        return accumulate(e, in, &c);

    const lk_plan_node *n = &p->node[in->node];
    c.state = n->kp.state;
    c.packed = (const char *)a->packed + n->packed_at;
    for (int k = 0; k < n->spec.n_params; k++) {
        c.param[k] = (const char *)a->weights + (size_t)p->graph->param[n->param[k]].first * p->backend->real_size;
        c.dparam[k] = resolve(e, a, in->dparam[k]);
    }
    if (a->carry != NULL && n->kp.carry_bytes > 0)
        c.carry = (char *)a->carry + n->carry_at;
    c.micro = &own;
    if (!e->space->host) {
        const char *const device = e->slot[a->slot].device;

        c.live = (const lk_live *)(device + e->at.live);
        if (e->key[in->node] >= 0)
            c.key = (const uint32_t *)(device + e->at.key) + 2 * e->key[in->node];
        own.metrics = (double *)(device + e->at.metrics);
        own.sample = NULL; /* what changes is read from `live` */
    }
    if (n->loss > 0)
        own.metrics += n->loss * LK_MAX_METRICS;
    return in->kind == LK_INSTR_FORWARD ? n->kernel->forward(&c) : n->kernel->backward(&c);
}

static lk_status run_range(lk_exec *e, const lk_exec_run_args *a, int from, int to)
{
    const lk_plan *p = e->plan;

    if (from == 0)
        for (int i = 0; i < p->n_unwritten; i++)
            LK_TRY(lk_space_zero(e->space, (char *)a->grads + (size_t)(p->unwritten[i][0] - p->grad_first) * p->backend->real_size, (size_t)(p->unwritten[i][1] - p->unwritten[i][0]) * p->backend->real_size));
    for (int t = from; t < to; t++) {
        const double start = e->profile != NULL ? lk_now() : 0;
        lk_status st = run_instr(e, a, &p->instr[t]);

        if (st == LK_OK && (e->profile != NULL || e->waits))
            st = lk_space_wait(e->space);
        if (st != LK_OK) {
            const lk_plan_node *n = p->instr[t].node >= 0 ? &p->node[p->instr[t].node] : NULL;
            return lk_err_prefix(lk_err_frame(st, __FILE__, __LINE__, __func__), "layer %s: ", n != NULL ? n->name : "accumulation");
        }
        if (e->profile != NULL)
            e->profile[t] += lk_now() - start;
        if (t == p->n_forward - 1 && p->training && e->n_stats > 0) {
            const lk_live *live = e->space->host ? NULL : (const lk_live *)(e->slot[a->slot].device + e->at.live);

            p->backend->scale_statistics(e->n_stats, e->stat, a->stat_count - 1 - a->stat_index, live, a->grads);
        }
        if (e->space->host && t >= p->n_forward && a->after != NULL)
            a->after(a->after_arg, t);
    }
    return LK_OK;
}

/* ---- on a device ---- */

/* Brings in what the queued work will read. */
static lk_status bring_in(lk_exec *e, const lk_exec_run_args *a)
{
    const lk_plan *p = e->plan;
    const lk_backend *be = p->backend;
    const lk_micro *m = a->micro;
    slot *s = &e->slot[a->slot];
    uint32_t *key = (uint32_t *)(s->pinned + e->at.key);
    const lk_live live = {
        .valid = m->valid,
        .grad_scale = m->grad_scale,
        .folds_after = a->stat_count - 1 - a->stat_index,
        .sample = (const int64_t *)(s->device + e->at.sample),
        .fault = (int64_t *)(s->device + e->at.fault),
    };

    memcpy(s->pinned + e->at.live, &live, sizeof live);
    memcpy(s->pinned + e->at.sample, m->sample, (size_t)m->rows * sizeof *m->sample);
    for (int i = 0; i < p->n_nodes; i++)
        if (e->key[i] >= 0) {
            const lk_rng r = lk_op_info(p->node[i].spec.op)->stream(&p->node[i].spec, m);

            memcpy(key + 2 * e->key[i], r.key, sizeof r.key);
        }
    memset(s->pinned + e->at.fault, 0, LK_FAULT_WORDS * sizeof(int64_t));
    LK_TRY(lk_space_copy(e->space, s->device, s->pinned, e->at.metrics, LK_COPY_IN));
    for (int i = 0; i < p->n_inputs; i++) {
        const lk_value *v = &p->graph->value[p->input_value[i]];
        const int64_t n = lk_shape_count(&v->shape);

        LK_TRY(lk_space_copy_ahead(e->space, s->inputs + e->at.raw[i], a->input[i], (size_t)n * (v->dtype == LK_DT_I64 ? sizeof(int64_t) : be->real_size), s->used));
    }
    LK_TRY(lk_space_join(e->space));
    for (int i = 0; i < p->n_inputs; i++) {
        const lk_value *v = &p->graph->value[p->input_value[i]];

        if (is_converted(p, v))
            be->from_float(lk_shape_count(&v->shape), (const float *)(s->inputs + e->at.raw[i]), s->inputs + e->at.input[i]);
    }
    return LK_OK;
}

static lk_status bring_out(lk_exec *e, const lk_exec_run_args *a)
{
    slot *s = &e->slot[a->slot];

    LK_TRY(lk_space_copy(e->space, s->pinned + e->at.fault, s->device + e->at.fault, e->at.bytes - e->at.fault, LK_COPY_LATER));
    return lk_mark_set(e->space, s->mark);
}

static recording *find_recording(lk_exec *e, const lk_exec_run_args *a)
{
    const recording want = {.weights = a->weights, .packed = a->packed, .grads = a->grads, .carry = a->carry, .slot = a->slot};

    if (e->profile != NULL || e->waits || !lk_space_records(e->space))
        return NULL;
    for (int i = 0; i < e->n_rec; i++) {
        const recording *r = &e->rec[i];

        if (r->weights == want.weights && r->packed == want.packed && r->grads == want.grads && r->carry == want.carry && r->slot == want.slot)
            return &e->rec[i];
    }
    if (e->n_rec == MAX_RECORDINGS)
        return NULL;
    e->rec[e->n_rec] = want;
    e->rec[e->n_rec].work = e->works + e->n_rec * e->n_pieces;
    return &e->rec[e->n_rec++];
}

static lk_status record(lk_exec *e, const lk_exec_run_args *a, recording *r)
{
    lk_status st = LK_OK;

    for (int k = 0, from = 0; k < e->n_pieces && st == LK_OK; from = e->piece[k++]) {
        LK_TRY(lk_space_record_begin(e->space));
        st = run_range(e, a, from, e->piece[k]);
        const lk_status ended = lk_space_record_end(e->space, &r->work[k]);
        st = st != LK_OK ? st : ended;
    }
    r->recorded = st == LK_OK;
    return st;
}

static lk_status run_device(lk_exec *e, const lk_exec_run_args *a)
{
    recording *r = find_recording(e, a);

    LK_TRY(bring_in(e, a));
    if (r != NULL && r->uses++ == 1)
        LK_TRY(record(e, a, r));
    for (int k = 0, from = 0; k < e->n_pieces; from = e->piece[k++]) {
        LK_TRY(r != NULL && r->recorded ? lk_space_replay(e->space, r->work[k]) : run_range(e, a, from, e->piece[k]));
        if (k == 0)
            LK_TRY(bring_out(e, a));
        else if (a->after != NULL)
            a->after(a->after_arg, e->piece[k] - 1);
    }
    return lk_mark_set(e->space, e->slot[a->slot].used);
}

/* ---- a run ---- */

static lk_status run_empty(lk_exec *e, const lk_exec_run_args *a)
{
    const lk_plan *p = e->plan;

    memset(a->micro->metrics, 0, (size_t)p->n_losses * LK_MAX_METRICS * sizeof(double));
    if (p->training)
        LK_TRY(lk_space_zero(e->space, a->grads, (size_t)(p->grad_end - p->grad_first) * p->backend->real_size));
    for (int t = p->n_forward; a->after != NULL && t < p->n_instr; t++)
        a->after(a->after_arg, t);
    return LK_OK;
}

lk_status lk_exec_run(lk_exec *e, const lk_exec_run_args *a)
{
    if (e->n_slots > 0)
        e->slot[a->slot].empty = a->micro->valid == 0;
    if (a->micro->valid == 0)
        return run_empty(e, a);
    return e->space->host ? run_range(e, a, 0, e->plan->n_instr) : run_device(e, a);
}

lk_status lk_exec_finish(lk_exec *e, int number, const lk_micro *micro)
{
    const lk_plan *p = e->plan;
    int64_t fault[LK_FAULT_WORDS];

    if (e->space->host || e->slot[number].empty)
        return LK_OK;
    const slot *s = &e->slot[number];
    LK_TRY(lk_mark_wait(e->space, s->mark));
    memcpy(micro->metrics, s->pinned + e->at.metrics, (size_t)p->n_losses * LK_MAX_METRICS * sizeof(double));
    memcpy(fault, s->pinned + e->at.fault, sizeof fault);
    const lk_status st = lk_fault_status(micro, fault);
    return st == LK_OK ? LK_OK : lk_err_prefix(st, "layer %s: ", p->node[fault[LK_FAULT_NODE]].name);
}

void lk_exec_profile(lk_exec *e, double *seconds)
{
    e->profile = seconds;
}

void *lk_exec_arena(lk_exec *e)
{
    return e->arena;
}

lk_status lk_exec_output(lk_exec *e, float *to)
{
    const lk_plan *p = e->plan;
    const lk_backend *be = p->backend;
    const int64_t n = lk_shape_count(&p->output_shape);
    const void *from = e->arena + p->output.at;

    LK_BUG_IF(p->output.kind != LK_PLACE_ARENA, "a plan without predictions");
    if (e->space->host) {
        be->to_float(n, from, to);
        return LK_OK;
    }
    if (e->output != NULL) {
        be->to_float(n, from, e->output);
        from = e->output;
    }
    return lk_space_copy(e->space, to, from, (size_t)n * sizeof *to, LK_COPY_OUT);
}
