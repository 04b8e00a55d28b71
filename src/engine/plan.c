#include "engine/place.h"
#include "engine/plan.h"

#include "base/hash.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

/* What the compiler knows of a value while it works. */
typedef struct value_info {
    lk_shape shape;
    lk_dtype dtype;
    lk_layout layout;
    int64_t pitch; /* lk_opspec.out_pitch of the producer */
    int producer; /* plan node, or -1 */
    int input;    /* number among the graph inputs, or -1 */
    bool needs_grad;
    int consumers;    /* nodes of the graph that read it */
    int buffer, grad; /* buffers, or -1; what was let go and is computed again gets another. Values whose gradient is the same share `grad` */
    bool kept;        /* not to be let go: another segment reads it */
    int reordered;    /* the same in the other layout, or -1 */
} value_info;

typedef struct compiler {
    lk_plan *plan;
    const lk_graph *graph;
    const lk_backend *backend;
    bool sums_apart; /* norms leave the sums in front of them alone */
    value_info *value;
    int n_values, cap_values;
    int *map; /* graph value -> plan value */
    int *segment;  /* [plan nodes] rising from 0; the first plan->n_segments of them let go what they alone read */
    int *saved;    /* [plan nodes] buffer, or -1 */
    bool *again;   /* [plan nodes] runs again in the backward pass */
    bool *wanted;  /* [plan values] by the backward pass, or by what runs again */
    bool *written; /* [graph parameters] an instruction writes its gradient, or its fresh statistic */
    int output; /* plan value */
    lki_buffer *buf;
    int n_bufs, cap_bufs;
    /* Buffers of each instruction's places, until offsets are known. */
    struct {
        int x[LK_MAX_IN], y, sum, dy, dsum, dx[LK_MAX_IN], dparam[LK_MAX_PARAMS], saved, scratch;
        int param; /* ACCUMULATE: of a parameter's gradient, else -1 */
    } *use;
    int cap_nodes, cap_instr;
} compiler;

static lk_status grow(int n, int *cap, size_t size, const char *what, void *array)
{
    if (n < *cap)
        return LK_OK;
    const int more = *cap == 0 ? 32 : 2 * *cap;
    LK_TRY(lk_realloc_array(*cap, more, size, what, array));
    *cap = more;
    return LK_OK;
}

static size_t dtype_size(const compiler *c, lk_dtype t)
{
    return t == LK_DT_I64 ? sizeof(int64_t) : c->backend->value_size;
}

static int64_t value_bytes(const compiler *c, int v)
{
    return lk_shape_pitched(&c->value[v].shape, c->value[v].pitch) * (int64_t)dtype_size(c, c->value[v].dtype);
}

static lk_status new_value(compiler *c, lk_shape shape, lk_dtype dtype, lk_layout layout, int producer, int *out)
{
    LK_TRY(grow(c->n_values, &c->cap_values, sizeof *c->value, "plan values", &c->value));
    c->value[c->n_values] = (value_info){.shape = shape, .dtype = dtype, .layout = layout, .producer = producer, .input = -1, .buffer = -1, .grad = -1, .reordered = -1};
    *out = c->n_values++;
    return LK_OK;
}

static lk_status new_node(compiler *c, const char *name, const char *where, const lk_opspec *spec, const int *param, lk_plan_node **out)
{
    lk_plan *p = c->plan;

    LK_TRY(grow(p->n_nodes, &c->cap_nodes, sizeof *p->node, "plan nodes", &p->node));
    lk_plan_node *n = &p->node[p->n_nodes];
    *n = (lk_plan_node){.name = name, .where = where, .spec = *spec, .kernel = c->backend->kernel[spec->op], .out = -1, .sum = -1, .loss = -1};
    if (param != NULL)
        memcpy(n->param, param, sizeof n->param);
    n->spec.training = p->training;
    if (n->kernel == NULL)
        return LK_FAIL(LK_E_UNSUPPORTED, "%s: layer %s: backend %s has no %s", where, name, c->backend->name, lk_op_info(spec->op)->name);
    p->n_nodes++;
    *out = n;
    return LK_OK;
}

/* Both layouts are the same bytes when there is one channel or one pixel. */
static bool layouts_differ(const lk_shape *s)
{
    return lk_shape_spatial(s) && s->dim[1] > 1 && lk_shape_row(s) > s->dim[1];
}

/* The value in the wanted layout: itself, or what a reorder makes of it (one reorder a value, however many ask). */
static lk_status in_layout(compiler *c, int v, lk_layout want, const char *name, const char *where, int *out)
{
    const value_info info = c->value[v];
    lk_opspec spec = {.op = LK_OP_REORDER, .n_in = 1, .in = {info.shape}, .in_layout = info.layout};
    lk_plan_node *n;

    *out = v;
    if (info.layout == want || !layouts_differ(&info.shape))
        return LK_OK;
    if (info.reordered >= 0) {
        *out = info.reordered;
        return LK_OK;
    }
    LK_TRY(lk_op_info(LK_OP_REORDER)->infer(&spec));
    spec.out_layout = want;
    LK_TRY(new_node(c, name, where, &spec, NULL, &n));
    n->in[0] = v;
    LK_TRY(new_value(c, info.shape, info.dtype, want, c->plan->n_nodes - 1, &n->out));
    c->value[v].reordered = n->out;
    *out = n->out;
    return LK_OK;
}

/* Where the operation keeps an activation; *alpha too, where it can have any, else NULL: relu alone. */
static lk_act *fusible_act(lk_opspec *s, double **alpha)
{
    *alpha = NULL;
    switch (s->op) {
    case LK_OP_LINEAR:
        *alpha = &s->attr.linear.alpha;
        return &s->attr.linear.act;
    case LK_OP_CONV:
    case LK_OP_CONV_TRANSPOSE:
        return &s->attr.conv.act;
    case LK_OP_BATCH_NORM:
        return &s->attr.batch_norm.act;
    case LK_OP_ADD:
        *alpha = &s->attr.add.alpha;
        return &s->attr.add.act;
    default:
        return NULL;
    }
}

/* The node's output is its input, which has the consumers of both. */
static void replace(compiler *c, const lk_node *n)
{
    c->map[n->out] = c->map[n->in[0]];
    c->value[c->map[n->out]].consumers += c->graph->value[n->out].consumers - 1;
}

/* An activation whose only input is the only consumer of an operation that can do it on the way becomes part of that operation. */
static bool fuse_activation(compiler *c, const lk_node *n)
{
    const lk_attr_activation *a = &n->spec.attr.activation;
    double *alpha;

    if (n->spec.op != LK_OP_ACTIVATION || c->value[c->map[n->in[0]]].producer < 0 || c->value[c->map[n->in[0]]].consumers != 1)
        return false;
    lk_plan_node *before = &c->plan->node[c->value[c->map[n->in[0]]].producer];
    lk_act *act = fusible_act(&before->spec, &alpha);
    if (act == NULL || *act != LK_ACT_NONE || (a->act != LK_ACT_RELU && alpha == NULL))
        return false;
    *act = a->act;
    if (alpha != NULL)
        *alpha = a->alpha;
    replace(c, n);
    return true;
}

/* The node in front, if it is the sum of two that `v` is and nobody has read yet: a kernel that can, adds them itself. */
static const lk_plan_node *sum_before(const compiler *c, const lk_kernel *kernel, int n_in, int v)
{
    const int last = c->plan->n_nodes - 1;

    if (c->sums_apart || !kernel->residual || n_in != 1 || last < 0 || c->value[v].producer != last)
        return NULL;
    const lk_plan_node *n = &c->plan->node[last];
    return n->spec.op == LK_OP_ADD && n->spec.n_in == 2 && n->spec.attr.add.act == LK_ACT_NONE ? n : NULL;
}

static lk_status compile_node(compiler *c, const lk_node *n)
{
    const lk_opinfo *info = lk_op_info(n->spec.op);
    lk_opspec spec = n->spec;
    lk_plan_node *node;
    int in[LK_MAX_IN];

    if (!c->plan->training && n->spec.op == LK_OP_DROPOUT) {
        replace(c, n);
        return LK_OK;
    }
    if (fuse_activation(c, n))
        return LK_OK;
    const lk_kernel *kernel = c->backend->kernel[n->spec.op];
    if (kernel == NULL)
        return LK_FAIL(LK_E_UNSUPPORTED, "%s: layer %s: backend %s has no %s", n->where, n->name, c->backend->name, info->name);

    /* A loss sees plain values, so that predictions are plain and targets need no reorder. */
    lk_layout want = LK_LAYOUT_PLAIN;
    if (!info->loss && kernel->in_rule == LK_LAYOUTS_NHWC)
        want = LK_LAYOUT_NHWC;
    else if (!info->loss && kernel->in_rule == LK_LAYOUTS_ANY)
        want = c->value[c->map[n->in[0]]].layout;
    for (int k = 0; k < spec.n_in; k++) {
        const bool spatial = lk_shape_spatial(&spec.in[k]);

        LK_TRY(in_layout(c, c->map[n->in[k]], spatial ? want : LK_LAYOUT_PLAIN, n->name, n->where, &in[k]));
    }
    spec.in_layout = lk_shape_spatial(&spec.in[0]) ? want : LK_LAYOUT_PLAIN;
    spec.out_layout = LK_LAYOUT_PLAIN;
    if (!info->loss && lk_shape_spatial(&spec.out)) {
        if (kernel->out_rule == LK_LAYOUTS_NHWC)
            spec.out_layout = LK_LAYOUT_NHWC;
        else if (kernel->out_rule == LK_LAYOUTS_ANY)
            spec.out_layout = spec.in_layout;
    }
    const lk_plan_node *added = sum_before(c, kernel, spec.n_in, in[0]);
    int sum = -1, out;
    if (added != NULL) {
        sum = added->out;
        memcpy(in, added->in, sizeof in);
        spec.n_in = 2;
        spec.in[1] = spec.in[0];
        c->plan->n_nodes--; /* the new node takes its number */
    }
    LK_TRY(new_node(c, n->name, n->where, &spec, n->param, &node));
    memcpy(node->in, in, sizeof in);
    if (info->loss) {
        if (c->plan->n_losses == LK_MAX_LOSSES)
            return LK_FAIL(LK_E_UNSUPPORTED, "%s: more than %d losses", n->where, LK_MAX_LOSSES);
        node->loss = c->plan->n_losses;
        c->plan->loss_node[c->plan->n_losses++] = c->plan->n_nodes - 1;
        return LK_OK;
    }
    if (!kernel->residual && info->needs(&spec) & LK_NEEDS_SUM)
        return LK_FAIL(LK_E_UNSUPPORTED, "%s: layer %s: %s of backend %s takes one input", n->where, n->name, info->name, c->backend->name);
    if (sum < 0 && info->needs(&spec) & LK_NEEDS_SUM)
        LK_TRY(new_value(c, spec.in[0], LK_DT_REAL, spec.in_layout, c->plan->n_nodes - 1, &sum));
    node->sum = sum;
    LK_TRY(new_value(c, spec.out, spec.out_dtype, spec.out_layout, c->plan->n_nodes - 1, &out));
    node->out = out;
    c->value[out].consumers = c->graph->value[n->out].consumers;
    c->map[n->out] = out;
    return LK_OK;
}

/* Predictions are plain, for whoever takes them out. */
static lk_status find_output(compiler *c)
{
    const lk_graph *g = c->graph;
    const lk_node *last = &g->node[g->n_nodes - 1];
    int v = g->output;

    for (int i = 0; v < 0 && i < g->n_nodes; i++)
        if (lk_op_info(g->node[i].spec.op)->loss)
            v = g->node[i].in[0];
    if (v < 0)
        v = last->out;
    LK_TRY(in_layout(c, c->map[v], LK_LAYOUT_PLAIN, last->name, last->where, &c->output));
    c->plan->output_shape = c->value[c->output].shape;
    return LK_OK;
}

/* Rows apart from each other, where the one that writes them likes that and the only one that reads them takes it. Predictions lie close. */
static void set_pitches(compiler *c)
{
    for (int i = 0; i < c->plan->n_nodes; i++) {
        lk_plan_node *to = &c->plan->node[i];

        if (to->kernel->in_pitch == NULL || c->value[to->in[0]].producer < 0 || !to->kernel->in_pitch(&to->spec))
            continue;
        lk_plan_node *from = &c->plan->node[c->value[to->in[0]].producer];
        if (from->kernel->out_pitch == NULL || c->value[from->out].consumers != 1 || (!c->plan->training && from->out == c->output))
            continue;
        c->value[from->out].pitch = from->spec.out_pitch = to->spec.in_pitch = from->kernel->out_pitch(&from->spec);
    }
}

static lk_status compile_nodes(compiler *c)
{
    const lk_graph *g = c->graph;

    for (int v = 0; v < g->n_values; v++) {
        if (g->value[v].producer >= 0)
            continue;
        if (c->plan->n_inputs == LK_MAX_INPUTS)
            return LK_FAIL(LK_E_UNSUPPORTED, "more than %d graph inputs", LK_MAX_INPUTS);
        LK_TRY(new_value(c, g->value[v].shape, g->value[v].dtype, LK_LAYOUT_PLAIN, -1, &c->map[v]));
        c->value[c->map[v]].input = c->plan->n_inputs;
        c->plan->input_value[c->plan->n_inputs++] = v;
    }
    for (int i = 0; i < g->n_nodes; i++)
        LK_TRY(compile_node(c, &g->node[i]));
    LK_TRY(find_output(c));
    set_pitches(c);
    for (int i = 0; i < c->plan->n_nodes; i++) {
        lk_plan_node *n = &c->plan->node[i];

        if (n->kernel->plan != NULL) {
            const lk_status st = n->kernel->plan(&n->spec, &n->kp);
            if (st != LK_OK)
                return lk_err_prefix(lk_err_frame(st, __FILE__, __LINE__, __func__), "%s: layer %s: ", n->where, n->name);
        }
        n->packed_at = c->plan->packed_bytes;
        c->plan->packed_bytes += (int64_t)((n->kp.packed_bytes + 63) / 64 * 64);
        n->carry_at = c->plan->carry_bytes;
        c->plan->carry_bytes += (int64_t)((n->kp.carry_bytes + 63) / 64 * 64);
    }
    return LK_OK;
}

static bool learns(const compiler *c, const lk_plan_node *n)
{
    for (int i = 0; i < n->spec.n_params; i++)
        if (n->spec.param[i].kind == LK_PARAM_WEIGHT && !c->graph->param[n->param[i]].frozen)
            return true;
    return false;
}

static lk_status new_buffer(compiler *c, int64_t bytes, int first, int last, int *out)
{
    *out = -1;
    if (bytes == 0)
        return LK_OK;
    LK_TRY(grow(c->n_bufs, &c->cap_bufs, sizeof *c->buf, "plan buffers", &c->buf));
    c->buf[c->n_bufs] = (lki_buffer){(bytes + 63) / 64 * 64, -1, -1, first, last, -1};
    *out = c->n_bufs++;
    return LK_OK;
}

/* The buffer whose place this one has. */
static const lki_buffer *place_of(const compiler *c, int b)
{
    return &c->buf[c->buf[b].alias >= 0 ? c->buf[b].alias : b];
}

static void touch(compiler *c, int b, int t)
{
    if (b >= 0 && t > c->buf[b].last)
        c->buf[b].last = t;
}

static lk_status new_instr(compiler *c, lk_instr_kind kind, int node, int *out)
{
    lk_plan *p = c->plan;
    int cap = c->cap_instr;

    LK_TRY(grow(p->n_instr, &c->cap_instr, sizeof *p->instr, "plan instructions", &p->instr));
    LK_TRY(grow(p->n_instr, &cap, sizeof *c->use, "plan uses", &c->use));
    p->instr[p->n_instr] = (lk_instr){.kind = kind, .node = node};
    memset(&c->use[p->n_instr], 0xff, sizeof *c->use); /* all -1 */
    *out = p->n_instr++;
    return LK_OK;
}

/* The specs of instructions that add are their own. */
static void free_sums(lk_plan *p)
{
    for (int t = 0; t < p->n_instr; t++)
        if (p->instr[t].kind == LK_INSTR_ACCUMULATE)
            lk_free(p->instr[t].spec);
}

/* Gives a parameter's place in the leaf to the first that asks; false: another has it, or nobody wants it. */
static bool claim_param(compiler *c, int param, lk_place *out)
{
    if (c->graph->param[param].frozen || c->written[param])
        return false;
    c->written[param] = true;
    *out = (lk_place){.kind = LK_PLACE_GRADS, .at = c->graph->param[param].first};
    return true;
}

/* A loss has said its metrics, and a carried state has gone on: neither may happen twice. What such a node saves stays. */
static bool runs_once(const lk_plan_node *n)
{
    return n->out < 0 || n->kp.carry_bytes > 0;
}

static bool let_go(const compiler *c, int v)
{
    const value_info *info = &c->value[v];

    return info->producer >= 0 && !info->kept && !runs_once(&c->plan->node[info->producer]) && c->segment[info->producer] < c->plan->n_segments;
}

/* Output v (or none: -1) of instruction t: into a new buffer, or, of what runs again, into that of an output that was kept. */
static lk_status emit_output(compiler *c, int v, bool again, int t, int *use)
{
    if (v < 0)
        return LK_OK;
    if (again && !let_go(c, v))
        touch(c, c->value[v].buffer, t);
    else
        LK_TRY(new_buffer(c, value_bytes(c, v), t, t, &c->value[v].buffer));
    *use = c->value[v].buffer;
    return LK_OK;
}

/* A node's forward pass. */
static lk_status emit_node(compiler *c, int i, bool again, int *t)
{
    lk_plan *p = c->plan;
    lk_plan_node *n = &p->node[i];

    LK_TRY(new_instr(c, LK_INSTR_FORWARD, i, t));
    for (int k = 0; k < n->spec.n_in; k++) {
        c->use[*t].x[k] = c->value[n->in[k]].buffer;
        touch(c, c->use[*t].x[k], *t);
    }
    LK_TRY(emit_output(c, n->out, again, *t, &c->use[*t].y));
    LK_TRY(emit_output(c, n->sum, again, *t, &c->use[*t].sum));
    LK_TRY(new_buffer(c, (int64_t)n->kp.saved_bytes, *t, *t, &c->saved[i]));
    c->use[*t].saved = c->saved[i];
    LK_TRY(new_buffer(c, (int64_t)n->kp.scratch_forward, *t, *t, &c->use[*t].scratch));
    p->instr[*t].spec = &n->spec;
    p->instr[*t].flops = lk_op_info(n->spec.op)->flops(&n->spec);
    return LK_OK;
}

static lk_status emit_forward(compiler *c)
{
    lk_plan *p = c->plan;

    for (int i = 0; i < p->n_nodes; i++) {
        lk_plan_node *n = &p->node[i];
        int t;

        LK_TRY(emit_node(c, i, false, &t));
        for (int k = 0; n->out >= 0 && k < n->spec.n_in; k++)
            c->value[n->out].needs_grad |= c->value[n->in[k]].needs_grad;
        for (int k = 0; n->sum >= 0 && k < n->spec.n_in; k++)
            c->value[n->sum].needs_grad |= c->value[n->in[k]].needs_grad;
        if (n->out >= 0)
            c->value[n->out].needs_grad |= learns(c, n);
        for (int k = 0; p->training && k < n->spec.n_params; k++)
            if (n->spec.param[k].kind == LK_PARAM_STATISTIC)
                claim_param(c, n->param[k], &p->instr[t].dparam[k]);
    }
    p->n_forward = p->n_instr;
    if (!p->training)
        touch(c, c->value[c->output].buffer, p->n_instr);
    return LK_OK;
}

/* An instruction that adds. Its places are the caller's to fill. */
static lk_status new_accumulate(compiler *c, lk_shape shape, lk_layout layout, int *t)
{
    lk_plan *p = c->plan;
    lk_opspec *spec = NULL;

    LK_TRY(new_instr(c, LK_INSTR_ACCUMULATE, -1, t));
    LK_TRY(lk_alloc(sizeof *spec, "accumulation", &spec));
    p->instr[*t].spec = spec;
    *spec = (lk_opspec){.op = LK_OP_ADD, .training = true, .n_in = 2, .in = {shape, shape}, .in_layout = layout, .out_layout = layout};
    LK_TRY(lk_op_info(LK_OP_ADD)->infer(spec));
    p->instr[*t].flops = lk_op_info(LK_OP_ADD)->flops(spec);
    return LK_OK;
}

/* The value gets a gradient that lies in `from`: as its own, or, when another consumer gave one already, added to it. Either may also be another
 * value's, so the sum goes elsewhere, unless neither is read any more (share_places). */
static lk_status give_gradient(compiler *c, int v, int from)
{
    value_info *info = &c->value[v];
    int t;

    if (!info->needs_grad)
        return LK_OK;
    if (info->grad < 0) {
        info->grad = from;
        return LK_OK;
    }
    LK_TRY(new_accumulate(c, info->shape, info->layout, &t));
    c->use[t].x[0] = info->grad;
    c->use[t].x[1] = from;
    touch(c, info->grad, t);
    touch(c, from, t);
    LK_TRY(new_buffer(c, value_bytes(c, v), t, t, &info->grad));
    c->use[t].y = info->grad;
    return LK_OK;
}

static lk_status accumulate_param(compiler *c, int param, int beside)
{
    const lk_param *p = &c->graph->param[param];
    const lk_place leaf = {.kind = LK_PLACE_GRADS, .at = p->first};
    int t;

    LK_TRY(new_accumulate(c, (lk_shape){1, {p->count}}, LK_LAYOUT_PLAIN, &t));
    c->plan->instr[t].x[0] = leaf;
    c->plan->instr[t].y = leaf;
    c->use[t].param = param;
    c->use[t].x[1] = beside;
    touch(c, beside, t);
    return LK_OK;
}

/* Where the gradients of a node's parameters go: to the leaf, or, for a shared one that was written before, beside it. */
static lk_status emit_param_gradients(compiler *c, lk_plan_node *n, int t, int beside[LK_MAX_PARAMS])
{
    for (int k = 0; k < n->spec.n_params; k++) {
        beside[k] = -1;
        if (n->spec.param[k].kind != LK_PARAM_WEIGHT || c->graph->param[n->param[k]].frozen)
            continue;
        if (claim_param(c, n->param[k], &c->plan->instr[t].dparam[k]))
            continue;
        LK_TRY(new_buffer(c, c->graph->param[n->param[k]].count * (int64_t)c->backend->real_size, t, t, &beside[k]));
        c->use[t].dparam[k] = beside[k];
    }
    return LK_OK;
}

/* Whether the node has a backward pass. */
static bool useful(const compiler *c, const lk_plan_node *n)
{
    bool any = learns(c, n);

    for (int k = 0; k < n->spec.n_in; k++)
        any |= c->value[n->in[k]].needs_grad;
    return any;
}

/* Runs again what the backward pass of nodes [first, end), a segment, wants and that was let go. */
static lk_status emit_again(compiler *c, int first, int end)
{
    lk_plan *p = c->plan;
    int t;

    for (int i = first; i < end; i++) {
        const lk_plan_node *n = &p->node[i];
        const unsigned needs = lk_op_info(n->spec.op)->needs(&n->spec);

        c->again[i] = useful(c, n) && n->kp.saved_bytes > 0 && !runs_once(n);
        for (int k = 0; useful(c, n) && k < n->spec.n_in; k++)
            c->wanted[n->in[k]] |= (needs & LK_NEEDS_IN(k)) != 0;
        if (n->out >= 0 && useful(c, n))
            c->wanted[n->out] |= (needs & LK_NEEDS_Y) != 0;
        if (n->sum >= 0 && useful(c, n))
            c->wanted[n->sum] = true;
    }
    for (int i = end - 1; i >= first; i--) {
        const lk_plan_node *n = &p->node[i];

        c->again[i] |= n->out >= 0 && c->wanted[n->out] && let_go(c, n->out);
        c->again[i] |= n->sum >= 0 && c->wanted[n->sum] && let_go(c, n->sum);
        for (int k = 0; c->again[i] && k < n->spec.n_in; k++)
            c->wanted[n->in[k]] = true;
    }
    for (int i = first; i < end; i++) {
        if (!c->again[i])
            continue;
        LK_TRY(emit_node(c, i, true, &t));
        p->n_again++;
    }
    return LK_OK;
}

/* The gradient of the output is that of each input: they lie in one place, and nothing is to be done. */
static bool passes_gradient(const lk_plan_node *n)
{
    const lk_opinfo *info = lk_op_info(n->spec.op);

    return info->passes != NULL && info->passes(&n->spec) && n->spec.in_layout == n->spec.out_layout;
}

/* Room for the gradients of the inputs. A kernel that can takes the gradient that is there already, and gives both together. */
static lk_status emit_input_gradients(compiler *c, const lk_plan_node *n, int t)
{
    if (n->kernel->residual) {
        const int v = n->sum >= 0 ? n->sum : n->in[0];

        c->use[t].dsum = c->value[v].grad;
        touch(c, c->value[v].grad, t);
        c->value[v].grad = -1;
        if (c->value[v].needs_grad)
            LK_TRY(new_buffer(c, value_bytes(c, v), t, t, &c->use[t].dx[0]));
        return LK_OK;
    }
    for (int k = 0; k < n->spec.n_in; k++)
        if (c->value[n->in[k]].needs_grad)
            LK_TRY(new_buffer(c, value_bytes(c, n->in[k]), t, t, &c->use[t].dx[k]));
    return LK_OK;
}

static lk_status emit_backward(compiler *c)
{
    lk_plan *p = c->plan;

    for (int i = p->n_nodes - 1, end = p->n_nodes; i >= 0; i--) {
        lk_plan_node *n = &p->node[i];
        const lk_opinfo *info = lk_op_info(n->spec.op);
        const unsigned needs = info->needs(&n->spec);
        int beside[LK_MAX_PARAMS], t;

        if (i + 1 < end && c->segment[i] != c->segment[i + 1])
            end = i + 1;
        if (i + 1 == end && c->segment[i] < p->n_segments) {
            int first = i;

            while (first > 0 && c->segment[first - 1] == c->segment[i])
                first--;
            LK_TRY(emit_again(c, first, end));
        }
        if (!useful(c, n))
            continue;
        if (!info->loss && c->value[n->out].grad < 0)
            return LK_FAIL(LK_E_CONFIG, "%s: layer %s: its output goes nowhere", n->where, n->name);
        if (passes_gradient(n)) {
            for (int k = 0; k < n->spec.n_in; k++)
                LK_TRY(give_gradient(c, n->in[k], c->value[n->out].grad));
            continue;
        }
        LK_TRY(new_instr(c, LK_INSTR_BACKWARD, i, &t));
        p->instr[t].spec = &n->spec;
        p->instr[t].flops = p->instr[i].flops * (learns(c, n) && c->value[n->in[0]].needs_grad ? 2 : 1);
        for (int k = 0; k < n->spec.n_in; k++)
            if (needs & LK_NEEDS_IN(k)) {
                c->use[t].x[k] = c->value[n->in[k]].buffer;
                touch(c, c->use[t].x[k], t);
            }
        LK_TRY(emit_input_gradients(c, n, t));
        LK_TRY(emit_param_gradients(c, n, t, beside));
        if (needs & LK_NEEDS_SUM) {
            c->use[t].sum = c->value[n->sum].buffer;
            touch(c, c->use[t].sum, t);
        }
        if (needs & LK_NEEDS_Y) {
            c->use[t].y = c->value[n->out].buffer;
            touch(c, c->use[t].y, t);
        }
        if (!info->loss) {
            c->use[t].dy = c->value[n->out].grad;
            touch(c, c->use[t].dy, t);
        }
        c->use[t].saved = c->saved[i];
        touch(c, c->saved[i], t);
        LK_TRY(new_buffer(c, (int64_t)n->kp.scratch_backward, t, t, &c->use[t].scratch));
        for (int k = 0; k < n->spec.n_in; k++)
            LK_TRY(give_gradient(c, n->in[k], c->use[t].dx[n->sum >= 0 ? 0 : k]));
        for (int k = 0; k < n->spec.n_params; k++)
            if (beside[k] >= 0)
                LK_TRY(accumulate_param(c, n->param[k], beside[k]));
    }
    return LK_OK;
}

/* `to` takes the place of `from` if it begins with instruction t, `from` ends with it, and no other input or output lies there. */
static bool share_place(compiler *c, int t, int from, int to)
{
    const int out[] = {c->use[t].y, c->use[t].sum};
    int reads = 0;

    if (from < 0 || to < 0 || c->buf[to].first != t || c->buf[to].alias >= 0 || c->buf[from].last != t || c->buf[to].bytes != c->buf[from].bytes)
        return false;
    /* The place itself, so that chains of aliases do not grow: `from` has its own already. */
    const int place = c->buf[from].alias >= 0 ? c->buf[from].alias : from;
    for (int k = 0; k < LK_MAX_IN; k++)
        reads += c->use[t].x[k] == from;
    for (int k = 0; k < 2; k++)
        reads += out[k] >= 0 && c->buf[out[k]].alias == place ? 2 : 0;
    if (reads > 1)
        return false;
    c->buf[to].alias = place;
    if (c->buf[to].last > c->buf[place].last)
        c->buf[place].last = c->buf[to].last;
    return true;
}

/* Lets an output share its input's place where the kernel allows it and the input is not used later. */
static void share_places(compiler *c)
{
    const lk_plan *p = c->plan;

    for (int t = 0; t < p->n_instr; t++) {
        const lk_instr_kind kind = p->instr[t].kind;
        const lk_kernel *kernel = kind == LK_INSTR_ACCUMULATE ? c->backend->kernel[LK_OP_ADD] : p->node[p->instr[t].node].kernel;
        const int n_in = c->use[t].sum >= 0 ? p->instr[t].spec->n_in : 1;

        for (int k = 0; kind != LK_INSTR_BACKWARD && kernel->in_place && k < n_in; k++)
            if (!share_place(c, t, c->use[t].x[k], c->use[t].sum))
                share_place(c, t, c->use[t].x[k], c->use[t].y);
        if (kind == LK_INSTR_BACKWARD && kernel->in_place_dx && !share_place(c, t, c->use[t].dsum, c->use[t].dx[0]))
            share_place(c, t, c->use[t].dy, c->use[t].dx[0]);
        if (kind == LK_INSTR_BACKWARD && kernel->in_place_x)
            share_place(c, t, c->use[t].x[0], c->use[t].dx[0]);
    }
}

static lk_place arena_place(compiler *c, int b)
{
    if (b < 0)
        return (lk_place){.kind = LK_PLACE_NONE};
    return (lk_place){.kind = LK_PLACE_ARENA, .at = place_of(c, b)->offset};
}

static lk_place value_place(compiler *c, int v)
{
    if (c->value[v].input >= 0)
        return (lk_place){.kind = LK_PLACE_INPUT, .at = c->value[v].input};
    return arena_place(c, c->value[v].buffer);
}

static size_t used_bytes(const compiler *c, int b)
{
    return b < 0 ? 0 : (size_t)c->buf[b].bytes;
}

static void resolve_places(compiler *c)
{
    lk_plan *p = c->plan;

    for (int t = 0; t < p->n_instr; t++) {
        lk_instr *in = &p->instr[t];
        const lk_plan_node *n = in->node < 0 ? NULL : &p->node[in->node];
        const unsigned reads = n == NULL ? 0 : in->kind == LK_INSTR_FORWARD ? LK_NEEDS_X : lk_op_info(n->spec.op)->needs(&n->spec);

        for (int k = 0; k < in->spec->n_in; k++) {
            if (in->x[k].kind == LK_PLACE_NONE)
                in->x[k] = reads & LK_NEEDS_IN(k) && c->value[n->in[k]].input >= 0 ? value_place(c, n->in[k]) : arena_place(c, c->use[t].x[k]);
            in->dx[k] = arena_place(c, c->use[t].dx[k]);
            in->bytes += used_bytes(c, c->use[t].x[k]) + used_bytes(c, c->use[t].dx[k]);
        }
        for (int k = 0; k < in->spec->n_params; k++)
            if (c->use[t].dparam[k] >= 0)
                in->dparam[k] = arena_place(c, c->use[t].dparam[k]);
        if (in->y.kind == LK_PLACE_NONE)
            in->y = arena_place(c, c->use[t].y);
        in->sum = arena_place(c, c->use[t].sum);
        in->dy = arena_place(c, c->use[t].dy);
        in->dsum = arena_place(c, c->use[t].dsum);
        in->saved = arena_place(c, c->use[t].saved);
        in->scratch = arena_place(c, c->use[t].scratch);
        in->bytes += used_bytes(c, c->use[t].y) + used_bytes(c, c->use[t].sum) + used_bytes(c, c->use[t].dy) + used_bytes(c, c->use[t].dsum) + used_bytes(c, c->use[t].saved);
        if (in->kind != LK_INSTR_FORWARD || t < p->n_forward)
            p->flops += in->flops;
    }
    p->output = value_place(c, c->output);
}

/* ---- segments ---- */

/* All instructions and their buffers, for the segments as they are, each in its place. */
static lk_status schedule(compiler *c)
{
    lk_plan *p = c->plan;

    free_sums(p);
    p->n_instr = p->n_forward = p->n_again = 0;
    p->arena_bytes = 0;
    c->n_bufs = 0;
    memset(c->written, 0, (size_t)(c->graph->n_params + 1) * sizeof *c->written);
    memset(c->again, 0, (size_t)(p->n_nodes + 1) * sizeof *c->again);
    memset(c->wanted, 0, (size_t)(c->n_values + 1) * sizeof *c->wanted);
    for (int v = 0; v < c->n_values; v++) {
        c->value[v].needs_grad = c->value[v].kept = false;
        c->value[v].buffer = c->value[v].grad = -1;
    }
    for (int i = 0; i < p->n_nodes; i++)
        for (int k = 0; k < p->node[i].spec.n_in; k++) {
            value_info *v = &c->value[p->node[i].in[k]];

            v->kept |= v->producer >= 0 && c->segment[v->producer] != c->segment[i];
        }
    LK_TRY(emit_forward(c));
    if (p->training)
        LK_TRY(emit_backward(c));
    share_places(c);
    return lki_place(c->buf, c->n_bufs, p->n_instr, &p->arena_bytes);
}

/* What a network keeps from its forward to its backward pass, node by node. */
typedef struct cost {
    int64_t *inside; /* [nodes + 1] kept by the nodes before this one */
    int64_t *across; /* [nodes + 1] made before this node, read by it or behind it */
    int64_t *best;   /* [nodes + 1] least bytes across the cuts of the nodes before this one */
    int *from, *queue; /* [nodes + 1] where the last segment of those begins; candidates for it, from best to latest */
} cost;

/* What the backward pass reads of it. */
static int64_t bytes_kept(const compiler *c, int b)
{
    return b >= 0 && c->buf[b].last >= c->plan->n_forward ? c->buf[b].bytes : 0;
}

/* From the schedule without segments. */
static void find_cost(compiler *c, cost *k)
{
    const lk_plan *p = c->plan;

    for (int i = 0; i < p->n_nodes; i++) {
        const lk_plan_node *n = &p->node[i];

        k->inside[i + 1] = k->inside[i] + (c->saved[i] >= 0 ? c->buf[c->saved[i]].bytes : 0);
        k->inside[i + 1] += n->out < 0 ? 0 : bytes_kept(c, c->value[n->out].buffer);
        k->inside[i + 1] += n->sum < 0 ? 0 : bytes_kept(c, c->value[n->sum].buffer);
    }
    /* Each value counts from behind its producer to its last reader. */
    for (int i = p->n_nodes - 1; i >= 0; i--)
        for (int j = 0; j < p->node[i].spec.n_in; j++) {
            value_info *v = &c->value[p->node[i].in[j]];

            if (v->producer < 0 || v->kept)
                continue;
            v->kept = true;
            k->across[v->producer + 1] += c->buf[v->buffer].bytes;
            k->across[i + 1] -= c->buf[v->buffer].bytes;
        }
    for (int i = 1; i <= p->n_nodes; i++)
        k->across[i] += k->across[i - 1];
}

/* Cuts the nodes into segments that keep at most `most` bytes each (or are one node), with the fewest bytes across the cuts; returns how many. */
static int cut(compiler *c, cost *k, int64_t most)
{
    const int n = c->plan->n_nodes;
    int head = 0, tail = 0, count = 0;

    for (int e = 1; e <= n; e++) {
        const int s = e - 1;
        /* One line more for each cut, so that one for nothing is not made. */
        const int64_t here = k->best[s] + (s > 0 ? k->across[s] + 64 : 0);

        while (tail > head && k->best[k->queue[tail - 1]] + (k->queue[tail - 1] > 0 ? k->across[k->queue[tail - 1]] + 64 : 0) > here)
            tail--;
        k->queue[tail++] = s;
        while (k->queue[head] < s && k->inside[e] - k->inside[k->queue[head]] > most)
            head++;
        k->from[e] = k->queue[head];
        k->best[e] = k->best[k->from[e]] + (k->from[e] > 0 ? k->across[k->from[e]] + 64 : 0);
    }
    for (int e = n; e > 0; e = k->from[e])
        count++;
    for (int e = n, s = count - 1; e > 0; e = k->from[e], s--)
        for (int i = k->from[e]; i < e; i++)
            c->segment[i] = s;
    return count;
}

static lk_status fail_budget(const compiler *c, int64_t budget, int64_t least, int node, int segments)
{
    const lk_plan_node *n = &c->plan->node[node];

    return LK_FAIL(LK_E_CONFIG, "activations and gradients of a microbatch need at least %" PRId64 " bytes (in %d segments), which is more than the %" PRId64 " of train.activation_memory; layer %s (%s) needs them: allow more, or make microbatches smaller", least, segments, budget, n->name, n->where);
}

/* Places everything with the first `n` segments let go; *fits tells whether the arena is small enough then. */
static lk_status try_segments(compiler *c, int n, int64_t budget, bool *fits)
{
    c->plan->n_segments = n;
    LK_TRY(schedule(c));
    *fits = c->plan->arena_bytes <= budget;
    return LK_OK;
}

static double again_flops(const lk_plan *p)
{
    double sum = 0;

    for (int t = p->n_forward; t < p->n_instr; t++)
        if (p->instr[t].kind == LK_INSTR_FORWARD)
            sum += p->instr[t].flops;
    return sum;
}

/* Of n segments all but the last are let go, and fit: the fewest that do. The backward pass begins with the last segments, so what they keep is gone
 * before the first ones come back. */
static lk_status fewest(compiler *c, int n, int64_t budget, int *out)
{
    int low = 1, high = n - 1;
    bool fits = false;

    while (low < high) {
        const int mid = (low + high) / 2;

        LK_TRY(try_segments(c, mid, budget, &fits));
        if (fits)
            high = mid;
        else
            low = mid + 1;
    }
    *out = high;
    return try_segments(c, high, budget, &fits);
}

/* The most bytes that are in use at a time, and the node at work then. */
static lk_status find_peak(const compiler *c, int64_t *bytes, int *node)
{
    const lk_plan *p = c->plan;
    int t;

    LK_TRY(lki_place_peak(c->buf, c->n_bufs, p->n_instr, bytes, &t));
    while (t > 0 && p->instr[t].node < 0)
        t--;
    *node = p->instr[t].node;
    return LK_OK;
}

/* Finer and finer segments; of those that fit, the ones that run least again. Past twice the first number that fits there is little to gain. The number
 * rises by one up to 16, then by an eighth. */
static lk_status fit(compiler *c, int64_t budget, cost *k)
{
    int64_t least = c->plan->arena_bytes, peak;
    int node = 0, segments = 1, before = 1, first = 0, best = 0, best_let_go = 0;
    double best_flops = 0;
    int best_again = 0;
    bool fits = false;

    find_cost(c, k);
    const int64_t all = k->inside[c->plan->n_nodes];
    LK_TRY(find_peak(c, &peak, &node));
    for (int want = 2; want <= c->plan->n_nodes && (first == 0 || want <= 2 * first + 8); want += want < 16 ? 1 : want / 8) {
        const int count = cut(c, k, all / want);
        int let_go = 0;

        if (count == before)
            continue;
        before = count;
        LK_TRY(try_segments(c, count - 1, budget, &fits));
        if (!fits && c->plan->arena_bytes < least) {
            least = c->plan->arena_bytes;
            segments = count;
            LK_TRY(find_peak(c, &peak, &node));
        }
        if (!fits)
            continue;
        LK_TRY(fewest(c, count, budget, &let_go));
        const double flops = again_flops(c->plan);
        if (first == 0)
            first = want;
        else if (flops > best_flops || (flops == best_flops && c->plan->n_again >= best_again))
            continue;
        best = want;
        best_let_go = let_go;
        best_flops = flops;
        best_again = c->plan->n_again;
    }
    if (best == 0)
        return fail_budget(c, budget, least, node, segments);
    cut(c, k, all / best);
    return try_segments(c, best_let_go, budget, &fits);
}

static bool within(const lk_plan *p, int64_t budget)
{
    return !p->training || budget <= 0 || p->arena_bytes <= budget;
}

static lk_status fit_budget(compiler *c, int64_t budget)
{
    const int64_t n = c->plan->n_nodes + 1;
    cost k = {0};
    lk_status st;

    if (within(c->plan, budget))
        return LK_OK;
    LK_TRY_TO(st, done, lk_alloc_array(n, sizeof *k.inside, "bytes kept", &k.inside));
    LK_TRY_TO(st, done, lk_alloc_array(n, sizeof *k.across, "bytes kept", &k.across));
    LK_TRY_TO(st, done, lk_alloc_array(n, sizeof *k.best, "bytes kept", &k.best));
    LK_TRY_TO(st, done, lk_alloc_array(n, sizeof *k.from, "segments", &k.from));
    LK_TRY_TO(st, done, lk_alloc_array(n, sizeof *k.queue, "segments", &k.queue));
    st = fit(c, budget, &k);
done:
    lk_free(k.inside);
    lk_free(k.across);
    lk_free(k.best);
    lk_free(k.from);
    lk_free(k.queue);
    return st;
}

/* The range of the flat vector that is learned, and what within it nobody writes. */
static lk_status find_range(compiler *c)
{
    lk_plan *p = c->plan;
    const lk_graph *g = c->graph;

    p->grad_first = g->flat;
    for (int i = 0; i < g->n_params; i++)
        if (c->written[i]) {
            const int64_t end = i + 1 < g->n_params ? g->param[i + 1].first : g->flat;

            if (p->grad_first > g->param[i].first)
                p->grad_first = g->param[i].first;
            p->grad_end = end;
        }
    if (p->grad_first >= p->grad_end)
        return LK_FAIL(LK_E_CONFIG, g->n_params == 0 ? "the model has no parameters to train" : "all parameters of the model are frozen: nothing is left to train");
    LK_TRY(lk_alloc_array(g->n_params, sizeof *p->unwritten, "frozen ranges", &p->unwritten));
    for (int i = 0; i < g->n_params; i++) {
        const lk_param *q = &g->param[i];

        if (c->written[i] || q->first < p->grad_first || q->first >= p->grad_end)
            continue;
        p->unwritten[p->n_unwritten][0] = q->first;
        p->unwritten[p->n_unwritten++][1] = q->first + q->count;
    }
    return LK_OK;
}

/* The last instruction that writes to each parameter's place in the leaf. */
static void find_ready(const compiler *c, int *ready_of)
{
    const lk_plan *p = c->plan;

    for (int t = 0; t < p->n_instr; t++) {
        const lk_instr *in = &p->instr[t];

        if (in->node < 0) {
            if (c->use[t].param >= 0)
                ready_of[c->use[t].param] = t;
            continue;
        }
        for (int k = 0; k < in->spec->n_params; k++)
            if (in->dparam[k].kind == LK_PLACE_GRADS)
                ready_of[p->node[in->node].param[k]] = t;
    }
}

/* Buckets from the last parameter to the first, since backward completes them in that order; boundaries at parameters. */
static lk_status make_buckets(compiler *c, size_t bucket_bytes)
{
    lk_plan *p = c->plan;
    const lk_graph *g = c->graph;
    int *ready_of = NULL; /* graph parameter -> instruction that completes it */
    lk_status st;

    LK_TRY(find_range(c));
    LK_TRY(lk_alloc_array(g->n_params, sizeof *ready_of, "bucket order", &ready_of));
    LK_TRY_TO(st, done, lk_alloc_array(g->n_params + 1, sizeof *p->bucket, "buckets", &p->bucket));
    LK_TRY_TO(st, done, lk_alloc_array(g->n_params, sizeof *p->ready, "buckets", &p->ready));
    find_ready(c, ready_of);
    /* Counted from the end into the front of the arrays, then turned round. */
    int64_t end = p->grad_end;
    int n = 0, ready = 0;
    for (int i = g->n_params - 1; i >= 0; i--) {
        if (g->param[i].first >= p->grad_end || g->param[i].first < p->grad_first)
            continue;
        if (ready_of[i] > ready)
            ready = ready_of[i];
        const int64_t bytes = (end - g->param[i].first) * (int64_t)sizeof(float);
        if (g->param[i].first > p->grad_first && bytes < (int64_t)bucket_bytes)
            continue;
        p->bucket[n] = g->param[i].first;
        p->ready[n] = ready;
        n++;
        end = g->param[i].first;
        ready = 0;
    }
    for (int a = 0, b = n - 1; a < b; a++, b--) {
        const int64_t first = p->bucket[a];
        const int r = p->ready[a];

        p->bucket[a] = p->bucket[b];
        p->bucket[b] = first;
        p->ready[a] = p->ready[b];
        p->ready[b] = r;
    }
    p->bucket[n] = p->grad_end;
    p->n_buckets = n;
done:
    lk_free(ready_of);
    return st;
}

static bool any_sum(const lk_plan *p)
{
    for (int i = 0; i < p->n_nodes; i++)
        if (p->node[i].sum >= 0)
            return true;
    return false;
}

/* NULL: must be done again with sums apart. */
static lk_status create(const lk_graph *g, const lk_backend *backend, const lk_plan_opts *o, bool sums_apart, lk_plan **out)
{
    lk_plan *p = NULL;
    compiler c = {.graph = g, .backend = backend, .sums_apart = sums_apart};
    lk_status st;

    *out = NULL;
    LK_TRY(lk_alloc(sizeof *p, "plan", &p));
    p->backend = backend;
    p->graph = g;
    p->training = o->training;
    c.plan = p;
    LK_TRY_TO(st, done, lk_alloc_array(g->n_values, sizeof *c.map, "value map", &c.map));
    LK_TRY_TO(st, done, lk_alloc_array(g->n_params + 1, sizeof *c.written, "parameters written", &c.written));
    LK_TRY_TO(st, done, compile_nodes(&c));
    LK_TRY_TO(st, done, lk_alloc_array(p->n_nodes + 1, sizeof *c.segment, "segments", &c.segment));
    LK_TRY_TO(st, done, lk_alloc_array(p->n_nodes + 1, sizeof *c.saved, "what nodes save", &c.saved));
    LK_TRY_TO(st, done, lk_alloc_array(p->n_nodes + 1, sizeof *c.again, "what runs again", &c.again));
    LK_TRY_TO(st, done, lk_alloc_array(c.n_values + 1, sizeof *c.wanted, "what is wanted again", &c.wanted));
    LK_TRY_TO(st, done, schedule(&c));
    if (!sums_apart && !within(p, o->activation_bytes) && any_sum(p))
        goto done;
    LK_TRY_TO(st, done, fit_budget(&c, o->activation_bytes));
    resolve_places(&c);
    if (p->training)
        LK_TRY_TO(st, done, make_buckets(&c, o->bucket_bytes));
    *out = p;
    p = NULL;
done:
    lk_free(c.map);
    lk_free(c.written);
    lk_free(c.segment);
    lk_free(c.saved);
    lk_free(c.again);
    lk_free(c.wanted);
    lk_free(c.value);
    lk_free(c.buf);
    lk_free(c.use);
    lk_plan_destroy(&p);
    return st;
}

/* One value crosses a cut between a sum and its norm, two cross any other in a transformer: where segments must be cut, the two stay apart. */
lk_status lk_plan_create(const lk_graph *g, const lk_backend *backend, const lk_plan_opts *o, lk_plan **out)
{
    LK_TRY(create(g, backend, o, false, out));
    return *out != NULL ? LK_OK : create(g, backend, o, true, out);
}

lk_status lk_plan_pack(const lk_plan *p, const void *weights, void *packed, void *arena, const lk_plan_rounding *rounding, int part, int parts)
{
    for (int i = part; i < p->n_nodes; i += parts) {
        const lk_plan_node *n = &p->node[i];
        lk_call call = {.spec = &n->spec, .state = n->kp.state, .packed = (char *)packed + n->packed_at};

        if (n->kernel->pack == NULL)
            continue;
        lk_rounding by[LK_MAX_PARAMS];
        for (int k = 0; k < n->spec.n_params; k++) {
            const lk_param *q = &p->graph->param[n->param[k]];

            call.param[k] = (const char *)weights + (size_t)q->first * p->backend->real_size;
            if (rounding != NULL)
                by[k] = (lk_rounding){.rng = lk_rng_make(rounding->seed, LK_RNG_ROUNDING, lk_hash64(q->name, strlen(q->name))), .row = rounding->update};
        }
        call.rounding = rounding != NULL ? by : NULL;
        if (p->instr[i].scratch.kind == LK_PLACE_ARENA)
            call.scratch = (char *)arena + p->instr[i].scratch.at;
        LK_TRY(n->kernel->pack(&call));
    }
    return LK_OK;
}

void lk_plan_destroy(lk_plan **pp)
{
    lk_plan *p = *pp;

    if (p == NULL)
        return;
    for (int i = 0; i < p->n_nodes; i++)
        if (p->node[i].kernel != NULL && p->node[i].kernel->destroy != NULL && p->node[i].kp.state != NULL)
            p->node[i].kernel->destroy(p->node[i].kp.state);
    free_sums(p);
    lk_free(p->node);
    lk_free(p->instr);
    lk_free(p->bucket);
    lk_free(p->ready);
    lk_free(p->unwritten);
    lk_free(p);
    *pp = NULL;
}
