/* What the plan decides: fusion, memory, buckets, and its refusals. */
#include "engine/exec.h"
#include "base/mem.h"
#include "engine/nets.h"

#include "base/thread.h"

#include <math.h>
#include <string.h>

static lk_plan *plan_of(const lk_graph *g, bool training, size_t bucket_bytes)
{
    const lk_plan_opts opts = {.training = training, .bucket_bytes = bucket_bytes};
    lk_plan *p = NULL;

    OK(lk_plan_create(g, &lk_backend_ref, &opts, &p));
    return p;
}

/* ---- what lies where ---- */
/* The arena in pieces of 64 bytes, each with a word for what was written there last. */
typedef struct arena {
    const lk_plan *plan;
    int64_t *word, next;
    /* Of each plan value: whether it has a gradient, and the word of that, or 0. Values may have the same one. */
    bool *needs;
    int64_t *grad;
    int back; /* the backward pass was followed to this plan node */
    /* Gradients of values that had one already: what the next sums must be of. */
    struct {
        int value;
        int64_t word;
    } pending[2 * LK_MAX_IN];
    int n_pending, n_added;
} arena;

enum { SCRATCH = 1, PARAM_GRADIENT = 2, FIRST_NODE = 16, KINDS = 2 };
#define VALUE(v) (FIRST_NODE + KINDS * (int64_t)(v))
#define SAVED(n) (VALUE(n) + 1)

static void put(arena *a, lk_place at, size_t bytes, int64_t word)
{
    if (at.kind != LK_PLACE_ARENA || bytes == 0)
        return;
    cr_assert(at.at % 64 == 0 && at.at + (int64_t)bytes <= a->plan->arena_bytes);
    for (int64_t i = at.at / 64; i * 64 < at.at + (int64_t)bytes; i++)
        a->word[i] = word;
}

static void look(const arena *a, lk_place at, size_t bytes, int64_t word, int t, const char *what)
{
    for (int64_t i = at.at / 64; at.kind == LK_PLACE_ARENA && i * 64 < at.at + (int64_t)bytes; i++)
        cr_assert_eq(a->word[i], word, "instruction %d: %s is overwritten", t, what);
}

static void give(arena *a, int v, int64_t word)
{
    if (!a->needs[v])
        return;
    if (a->grad[v] == 0) {
        a->grad[v] = word;
        return;
    }
    cr_assert_lt(a->n_pending, 2 * LK_MAX_IN);
    a->pending[a->n_pending].value = v;
    a->pending[a->n_pending++].word = word;
}

/* Nodes behind `node` without an instruction: their inputs have the gradient of their output. */
static void pass_gradients(arena *a, int node)
{
    for (int i = a->back - 1; i > node; i--) {
        const lk_plan_node *n = &a->plan->node[i];

        for (int k = 0; n->out >= 0 && a->grad[n->out] != 0 && k < n->spec.n_in; k++) {
            cr_assert(!a->needs[n->in[k]] || lk_op_info(n->spec.op)->passes(&n->spec), "%s has no backward pass", n->name);
            give(a, n->in[k], a->grad[n->out]);
        }
    }
    a->back = node + 1;
}

static size_t size_of(const lk_shape *s, lk_dtype t)
{
    return (size_t)lk_shape_count(s) * (t == LK_DT_I64 ? sizeof(int64_t) : sizeof(double));
}

static void follow_accumulate(arena *a, const lk_instr *in, int t)
{
    const size_t bytes = size_of(&in->spec->out, LK_DT_REAL);

    if (a->word[in->x[1].at / 64] == PARAM_GRADIENT) {
        look(a, in->x[1], bytes, PARAM_GRADIENT, t, "what is added");
        return;
    }
    while (a->n_added == a->n_pending && a->back > 0)
        pass_gradients(a, a->back - 2);
    cr_assert_lt(a->n_added, a->n_pending, "instruction %d adds what is no gradient", t);
    const int v = a->pending[a->n_added].value;
    look(a, in->x[0], bytes, a->grad[v], t, "a sum");
    look(a, in->x[1], bytes, a->pending[a->n_added++].word, t, "what is added");
    put(a, in->y, bytes, a->grad[v] = a->next++);
    if (a->n_added == a->n_pending)
        a->n_added = a->n_pending = 0;
}

static void follow(arena *a, const lk_instr *in, int t)
{
    const lk_plan_node *n = &a->plan->node[in->node];
    const bool forward = in->kind == LK_INSTR_FORWARD;
    size_t in_bytes[LK_MAX_IN];
    int64_t given[LK_MAX_IN];
    const size_t out_bytes = n->out < 0 ? 0 : size_of(&n->spec.out, n->spec.out_dtype);
    const int summed = n->sum >= 0 ? n->sum : n->in[0]; /* what a gradient from elsewhere is of */

    put(a, in->scratch, forward ? n->kp.scratch_forward : n->kp.scratch_backward, SCRATCH);
    for (int k = 0; k < n->spec.n_in; k++) {
        in_bytes[k] = size_of(&n->spec.in[k], n->spec.in_dtype[k]);
        cr_assert(!forward || in->x[k].kind != LK_PLACE_NONE);
        look(a, in->x[k], in_bytes[k], VALUE(n->in[k]), t, "an input");
    }
    if (forward) {
        put(a, in->y, out_bytes, VALUE(n->out));
        put(a, in->sum, out_bytes, VALUE(n->sum));
        put(a, in->saved, n->kp.saved_bytes, SAVED(in->node));
        look(a, in->y, out_bytes, VALUE(n->out), t, "the output");
        look(a, in->sum, out_bytes, VALUE(n->sum), t, "the sum");
        for (int k = 0; k < n->spec.n_in; k++)
            if (in->x[k].at != in->y.at && (n->sum < 0 || in->x[k].at != in->sum.at))
                look(a, in->x[k], in_bytes[k], VALUE(n->in[k]), t, "an input in use");
        return;
    }
    pass_gradients(a, in->node);
    cr_assert_eq(a->n_added, a->n_pending, "instruction %d: a gradient was not added", t);
    a->n_added = a->n_pending = 0;
    a->back = in->node;
    look(a, in->y, out_bytes, VALUE(n->out), t, "the output");
    if (n->out >= 0)
        look(a, in->dy, out_bytes, a->grad[n->out], t, "the gradient");
    look(a, in->saved, n->kp.saved_bytes, SAVED(in->node), t, "what was saved");
    look(a, in->sum, out_bytes, VALUE(n->sum), t, "the sum");
    if (n->kernel->residual) {
        cr_assert_eq(in->dsum.kind != LK_PLACE_NONE, a->grad[summed] != 0);
        look(a, in->dsum, out_bytes, a->grad[summed], t, "the gradient from elsewhere");
        a->grad[summed] = 0;
    }
    for (int k = 0; k < n->spec.n_in; k++) {
        cr_assert_eq(in->dx[k].kind != LK_PLACE_NONE, n->sum < 0 ? a->needs[n->in[k]] : k == 0 && a->needs[n->sum]);
        put(a, in->dx[k], in_bytes[k], given[k] = a->next++);
    }
    for (int k = 0; k < n->spec.n_params; k++)
        put(a, in->dparam[k], size_of(&n->spec.param[k].shape, LK_DT_REAL), PARAM_GRADIENT);
    for (int k = 0; k < n->spec.n_in; k++) {
        look(a, in->dx[k], in_bytes[k], given[k], t, "the gradient of an input");
        look(a, in->x[k], in_bytes[k], VALUE(n->in[k]), t, "an input in use");
        give(a, n->in[k], given[n->sum < 0 ? k : 0]);
    }
    look(a, in->sum, out_bytes, VALUE(n->sum), t, "the sum");
    look(a, in->saved, n->kp.saved_bytes, SAVED(in->node), t, "what was saved");
}

/* Each instruction finds what it reads where the one that made it left it. */
static void check_places(const lk_plan *p)
{
    arena a = {.plan = p, .back = p->n_nodes};
    int n_values = 0;

    for (int i = 0; i < p->n_nodes; i++) {
        const lk_plan_node *n = &p->node[i];

        for (int k = 0; k < n->spec.n_in; k++)
            n_values = n->in[k] >= n_values ? n->in[k] + 1 : n_values;
        n_values = n->out >= n_values ? n->out + 1 : n_values;
        n_values = n->sum >= n_values ? n->sum + 1 : n_values;
    }
    a.next = VALUE(p->n_nodes > n_values ? p->n_nodes : n_values);
    OK(lk_alloc_array(p->arena_bytes / 64 + 1, sizeof *a.word, "arena", &a.word));
    OK(lk_alloc_array(n_values, sizeof *a.needs, "values", &a.needs));
    OK(lk_alloc_array(n_values, sizeof *a.grad, "values", &a.grad));
    for (int i = 0; p->training && i < p->n_nodes; i++) {
        const lk_plan_node *n = &p->node[i];
        bool needs = false;

        for (int k = 0; k < n->spec.n_in; k++)
            needs |= a.needs[n->in[k]];
        if (n->sum >= 0)
            a.needs[n->sum] = needs;
        for (int k = 0; k < n->spec.n_params; k++)
            needs |= n->spec.param[k].kind == LK_PARAM_WEIGHT && !p->graph->param[n->param[k]].frozen;
        if (n->out >= 0)
            a.needs[n->out] = needs;
    }
    for (int t = 0; t < p->n_instr; t++)
        if (p->instr[t].kind == LK_INSTR_ACCUMULATE)
            follow_accumulate(&a, &p->instr[t], t);
        else
            follow(&a, &p->instr[t], t);
    cr_assert_eq(a.n_added, a.n_pending);
    lk_free(a.word);
    lk_free(a.needs);
    lk_free(a.grad);
}

typedef struct operand {
    lk_place at;
    size_t bytes;
    bool written;
} operand;

enum { MAX_OPERANDS = 2 * LK_MAX_IN + LK_MAX_PARAMS + 6 };

static int operands_of(const lk_plan *p, const lk_instr *in, operand out[MAX_OPERANDS])
{
    const size_t real = p->backend->real_size;
    const lk_plan_node *n = in->node < 0 ? NULL : &p->node[in->node];
    const bool forward = in->kind != LK_INSTR_BACKWARD;
    const size_t y = in->spec->out.ndim == 0 ? 0 : (size_t)lk_shape_count(&in->spec->out) * real;
    int count = 0;

    for (int k = 0; k < in->spec->n_in; k++) {
        const size_t x = (size_t)lk_shape_count(&in->spec->in[k]) * real;

        out[count++] = (operand){in->x[k], x, false};
        out[count++] = (operand){in->dx[k], x, true};
    }
    out[count++] = (operand){in->y, y, forward};
    out[count++] = (operand){in->dy, y, false};
    out[count++] = (operand){in->sum, y, forward};
    out[count++] = (operand){in->dsum, y, false};
    for (int k = 0; n != NULL && k < in->spec->n_params; k++)
        out[count++] = (operand){in->dparam[k], (size_t)lk_shape_count(&in->spec->param[k].shape) * real, true};
    if (n != NULL) {
        out[count++] = (operand){in->saved, n->kp.saved_bytes, forward};
        out[count++] = (operand){in->scratch, forward ? n->kp.scratch_forward : n->kp.scratch_backward, true};
    }
    return count;
}

static void mark(char *piece, const operand *o, char value)
{
    for (int64_t i = o->at.at / 64; o->at.kind == LK_PLACE_ARENA && i * 64 < o->at.at + (int64_t)o->bytes; i++)
        piece[i] = value;
}

/* The most bytes of the arena that hold, at a time, what is at work or will be read: found from the last instruction to the first. */
static int64_t most_in_use(const lk_plan *p)
{
    const int64_t n = p->arena_bytes / 64;
    operand o[MAX_OPERANDS];
    int64_t most = 0;
    char *later = NULL, *now = NULL;

    OK(lk_alloc_array(n, 1, "pieces", &later));
    OK(lk_alloc_array(n, 1, "pieces", &now));
    for (int t = p->n_instr - 1; t >= 0; t--) {
        const int count = operands_of(p, &p->instr[t], o);
        int64_t used = 0;

        memcpy(now, later, (size_t)n);
        for (int i = 0; i < count; i++)
            mark(now, &o[i], 1);
        for (int64_t i = 0; i < n; i++)
            used += now[i];
        most = used > most ? used : most;
        for (int i = 0; i < count; i++)
            if (o[i].written)
                mark(later, &o[i], 0);
        for (int i = 0; i < count; i++)
            if (!o[i].written)
                mark(later, &o[i], 1);
    }
    lk_free(later);
    lk_free(now);
    return 64 * most;
}

static const lk_plan_node *find(const lk_plan *p, const char *name)
{
    for (int i = 0; i < p->n_nodes; i++)
        if (strcmp(p->node[i].name, name) == 0)
            return &p->node[i];
    return NULL;
}

Test(plan, fuses_an_activation_into_its_only_source)
{
    lk_graph *g = net_cnn(2);
    lk_plan *p = plan_of(g, true, 1);

    cr_assert_null(find(p, "relu1"));
    cr_assert_eq(find(p, "batch_norm1")->spec.attr.batch_norm.act, LK_ACT_RELU);
    cr_assert_eq(find(p, "conv2")->spec.attr.conv.act, LK_ACT_RELU);
    cr_assert_eq(find(p, "add1")->spec.attr.add.act, LK_ACT_RELU);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);

    g = net_mlp(2);
    p = plan_of(g, true, 1);
    cr_assert_eq(find(p, "linear1")->spec.attr.linear.act, LK_ACT_GELU);
    cr_assert_null(find(p, "gelu2"));
    cr_assert_eq(find(p, "linear2")->spec.attr.linear.act, LK_ACT_GELU_TANH);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);

    g = net_regress(2);
    p = plan_of(g, true, 1);
    cr_assert_not_null(find(p, "gelu1"), "batch_norm takes relu alone");
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
}

Test(plan, fuses_with_alpha)
{
    lk_graph *g = NULL;
    int x, t, h;

    OK(lk_graph_create(2, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {3}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {3}}, LK_DT_REAL, &t));
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(3), x, 0);
    h = net_add(g, "elu1", LK_OP_ACTIVATION, (lk_attrs){.activation = {.act = LK_ACT_ELU, .alpha = 0.5}}, h, 0);
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, h, t);
    lk_plan *p = plan_of(g, true, 1);
    cr_assert_null(find(p, "elu1"));
    cr_assert_eq(find(p, "linear1")->spec.attr.linear.act, LK_ACT_ELU);
    cr_assert_eq(find(p, "linear1")->spec.attr.linear.alpha, 0.5);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
}

Test(plan, does_not_fuse_where_the_plain_value_is_used_too)
{
    lk_graph *g = NULL;
    int x, t, h, r;

    OK(lk_graph_create(2, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {3}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {3}}, LK_DT_REAL, &t));
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(3), x, 0);
    r = net_add(g, "relu1", LK_OP_ACTIVATION, ACT(RELU), h, 0);
    r = net_add(g, "add1", LK_OP_ADD, NO_ATTR, h, r);
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, r, t);
    lk_plan *p = plan_of(g, true, 1);
    cr_assert_not_null(find(p, "relu1"));
    cr_assert_eq(find(p, "linear1")->spec.attr.linear.act, LK_ACT_NONE);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
}

/* With the dropout gone, both read what the linear layer gives. */
Test(plan, keeps_an_activation_beside_a_dropout_that_is_gone)
{
    lk_graph *g = NULL;
    int x, t, h, r;

    OK(lk_graph_create(2, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {3}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {3}}, LK_DT_REAL, &t));
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(3), x, 0);
    r = net_add(g, "dropout1", LK_OP_DROPOUT, DROP(0.5), h, 0);
    r = net_add(g, "relu1", LK_OP_ACTIVATION, ACT(RELU), r, 0);
    r = net_add(g, "add1", LK_OP_ADD, NO_ATTR, h, r);
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, r, t);
    lk_plan *p = plan_of(g, false, 0);
    cr_assert_null(find(p, "dropout1"));
    cr_assert_not_null(find(p, "relu1"));
    cr_assert_eq(find(p, "linear1")->spec.attr.linear.act, LK_ACT_NONE);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
}

static int count_instr(const lk_plan *p, lk_instr_kind kind, lk_op op)
{
    int n = 0;

    for (int t = 0; t < p->n_instr; t++)
        n += p->instr[t].kind == kind && p->instr[t].spec->op == op;
    return n;
}

/* The gradient of a sum is that of what it adds: nothing is copied. */
Test(plan, sums_pass_their_gradient)
{
    lk_graph *g = net_sums(2);
    lk_plan *p = plan_of(g, true, 1);

    cr_assert_eq(count_instr(p, LK_INSTR_FORWARD, LK_OP_ADD), 4);
    cr_assert_eq(count_instr(p, LK_INSTR_BACKWARD, LK_OP_ADD), 1, "the one with an activation");
    cr_assert_eq(count_instr(p, LK_INSTR_ACCUMULATE, LK_OP_ADD), 5);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
}

static size_t bytes_moved(const lk_plan *p)
{
    size_t bytes = 0;

    for (int t = 0; t < p->n_instr; t++)
        bytes += p->instr[t].bytes;
    return bytes;
}

/* A backend whose norms can do nothing beside. */
typedef struct apart {
    lk_backend backend;
    lk_kernel layer_norm, rms_norm;
} apart;

static const lk_backend *norms_apart(const lk_backend *b, apart *a)
{
    *a = (apart){*b, *b->kernel[LK_OP_LAYER_NORM], *b->kernel[LK_OP_RMS_NORM]};
    a->layer_norm.residual = a->rms_norm.residual = false;
    a->backend.kernel[LK_OP_LAYER_NORM] = &a->layer_norm;
    a->backend.kernel[LK_OP_RMS_NORM] = &a->rms_norm;
    return &a->backend;
}

static int count_sums(const lk_plan *p)
{
    int n = 0;

    for (int i = 0; i < p->n_nodes; i++)
        n += p->node[i].sum >= 0;
    return n;
}

/* Two sums a block, each with the norm behind it; their gradients meet there. */
Test(plan, fuses_a_sum_into_the_norm_behind_it)
{
    const lk_backend *const backend[] = {&lk_backend_ref, &lk_backend_cpu};
    enum { SUMS = 2 * NET_GPT_BLOCKS };
    lk_graph *g = net_gpt(4);

    for (int i = 0; i < 2; i++)
        for (int training = 0; training < 2; training++) {
            const lk_plan_opts opts = {.training = training, .bucket_bytes = 1};
            lk_plan *p = NULL, *plain = NULL;
            apart a;

            OK(lk_plan_create(g, backend[i], &opts, &p));
            OK(lk_plan_create(g, norms_apart(backend[i], &a), &opts, &plain));
            cr_assert_eq(count_sums(p), SUMS);
            cr_assert_eq(count_sums(plain), 0);
            cr_assert_eq(p->n_nodes, plain->n_nodes - SUMS);
            cr_assert_null(find(p, "add0"));
            cr_assert_not_null(find(p, "norm_of_units0"));
            cr_assert_eq(count_instr(p, LK_INSTR_FORWARD, LK_OP_ADD), 0);
            cr_assert_eq(count_instr(p, LK_INSTR_ACCUMULATE, LK_OP_ADD), 0);
            cr_assert_eq(count_instr(plain, LK_INSTR_ACCUMULATE, LK_OP_ADD), training ? SUMS : 0);
            /* A sum is read once less, and of a gradient from elsewhere and its own, the latter is neither written nor read. */
            const size_t value = 4 * 6 * 8 * backend[i]->value_size;
            cr_assert_eq(bytes_moved(p), bytes_moved(plain) - SUMS * value * (training ? 3 : 1), "%zu of %zu", bytes_moved(p), bytes_moved(plain));
            cr_assert_leq(p->arena_bytes, plain->arena_bytes);
            lk_plan_destroy(&p);
            lk_plan_destroy(&plain);
        }
    lk_graph_destroy(&g);
}

Test(plan, refuses_two_inputs_where_a_norm_takes_one)
{
    lk_graph *g = net_two(2);
    lk_plan *p = NULL;
    apart a;

    cr_assert_eq(lk_plan_create(g, norms_apart(&lk_backend_cpu, &a), &(lk_plan_opts){.training = true}, &p), LK_E_UNSUPPORTED);
    cr_assert_str_eq(lk_err_last()->message, "net:1:1: layer norm0: layer_norm of backend cpu takes one input");
    cr_assert_null(p);
    lk_graph_destroy(&g);
}

/* Where something must be computed again, it is cut between a sum and its norm: the least memory is that without fusion, or less. */
Test(plan, keeps_sums_and_norms_apart_where_memory_is_short)
{
    lk_graph *g = net_gpt(4);
    int64_t least[2];

    for (int i = 0; i < 2; i++) {
        lk_plan *p = NULL;
        apart a;
        const lk_backend *const b = i == 0 ? &lk_backend_cpu : norms_apart(&lk_backend_cpu, &a);
        long bytes = 0;

        cr_assert_eq(lk_plan_create(g, b, &(lk_plan_opts){.training = true, .activation_bytes = 1}, &p), LK_E_CONFIG);
        cr_assert_eq(sscanf(lk_err_last()->message, "activations and gradients of a microbatch need at least %ld bytes", &bytes), 1);
        OK(lk_plan_create(g, b, &(lk_plan_opts){.training = true, .activation_bytes = bytes}, &p));
        cr_assert_gt(p->n_again, 0);
        cr_assert_eq(count_sums(p), 0);
        least[i] = bytes;
        lk_plan_destroy(&p);
    }
    cr_assert_leq(least[0], least[1]);
    lk_graph_destroy(&g);
}

/* A sum with an activation, of three, in another layout, or read by another before, stays as it is. */
Test(plan, keeps_a_sum_that_no_norm_can_take)
{
    lk_graph *g = net_norms(2);
    lk_plan *p = NULL;

    OK(lk_plan_create(g, &lk_backend_cpu, &(lk_plan_opts){.training = true, .bucket_bytes = 1}, &p));
    cr_assert_eq(count_sums(p), 4);
    cr_assert(find(p, "rms_norm1")->sum >= 0 && find(p, "layer_norm2")->sum >= 0 && find(p, "rms_norm3")->sum >= 0 && find(p, "layer_norm4")->sum >= 0);
    cr_assert(find(p, "add4") && find(p, "add6"));
    lk_plan_destroy(&p);
    OK(lk_plan_create(g, &lk_backend_cpu, &(lk_plan_opts){.training = false}, &p));
    cr_assert(find(p, "add4") && !find(p, "add6") && find(p, "rms_norm4")->sum >= 0);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);

    for (int three = 0; three < 2; three++) {
        int x, t, h;

        OK(lk_graph_create(2, &g));
        OK(lk_graph_input(g, "input", &(lk_shape){1, {3}}, LK_DT_REAL, &x));
        OK(lk_graph_input(g, "target", &(lk_shape){1, {3}}, LK_DT_REAL, &t));
        h = net_add(g, "linear", LK_OP_LINEAR, LINEAR(3), x, 0);
        const lk_node_def sum = {.name = "add", .where = "net:1:1", .op = LK_OP_ADD, .n_in = three ? 3 : 2, .in = {h, x, x}};
        OK(lk_graph_add(g, &sum, &h));
        if (!three)
            h = net_add(g, "relu", LK_OP_ACTIVATION, ACT(RELU), h, 0);
        h = net_add(g, "norm", LK_OP_LAYER_NORM, LAYER_NORM(true), h, 0);
        net_add(g, "loss", LK_OP_MSE, NO_ATTR, h, t);
        p = plan_of(g, true, 1);
        cr_assert(find(p, "add") && find(p, "norm")->sum < 0);
        lk_plan_destroy(&p);
        lk_graph_destroy(&g);
    }
}

static const lk_instr *backward_of(const lk_plan *p, const char *name)
{
    for (int t = p->n_forward; t < p->n_instr; t++)
        if (p->instr[t].kind == LK_INSTR_BACKWARD && strcmp(p->node[p->instr[t].node].name, name) == 0)
            return &p->instr[t];
    return NULL;
}

/* The logits of a large vocabulary are the largest of all values: their gradient takes their place, where nobody reads them later. */
Test(plan, a_loss_writes_over_what_it_read)
{
    const lk_plan_opts opts = {.training = true, .bucket_bytes = 1};

    for (int losses = 1; losses <= 2; losses++) {
        lk_graph *g = NULL;
        lk_plan *p = NULL;
        int x, t, h;

        OK(lk_graph_create(2, &g));
        OK(lk_graph_input(g, "input", &(lk_shape){1, {3}}, LK_DT_REAL, &x));
        OK(lk_graph_input(g, "target", &(lk_shape){0}, LK_DT_I64, &t));
        h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(100), x, 0);
        for (int i = 0; i < losses; i++)
            net_add(g, i == 0 ? "first" : "second", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
        OK(lk_plan_create(g, &lk_backend_cpu, &opts, &p));
        const lk_instr *first = backward_of(p, "first"), *second = backward_of(p, "second");
        cr_assert_eq(first->dx[0].kind, LK_PLACE_ARENA);
        cr_assert_eq(first->dx[0].at, first->x[0].at, "the last that reads the logits");
        if (losses == 2)
            cr_assert_neq(second->dx[0].at, second->x[0].at);
        lk_plan_destroy(&p);
        lk_graph_destroy(&g);
    }
}

static int64_t pitch_of_eight(const lk_opspec *s)
{
    return (s->attr.linear.units + 7) / 8 * 8;
}

static bool takes_a_pitch(const lk_opspec *s)
{
    return s->in_dtype[1] == LK_DT_I64;
}

/* Between one that likes it and one that takes it, if nobody else reads; predictions lie close. */
Test(plan, rows_have_a_pitch_where_both_sides_know_it)
{
    static lk_kernel linear, loss;
    lk_backend b = lk_backend_ref;

    linear = *b.kernel[LK_OP_LINEAR];
    linear.out_pitch = pitch_of_eight;
    loss = *b.kernel[LK_OP_CROSS_ENTROPY];
    loss.in_pitch = takes_a_pitch;
    b.kernel[LK_OP_LINEAR] = &linear;
    b.kernel[LK_OP_CROSS_ENTROPY] = &loss;
    for (int training = 0; training < 2; training++)
        for (int readers = 1; readers <= 2; readers++) {
            const lk_plan_opts opts = {.training = training != 0, .bucket_bytes = 1};
            const int64_t want = training != 0 && readers == 1 ? 8 : 0;
            lk_graph *g = NULL;
            lk_plan *p = NULL;
            int x, t, h;

            OK(lk_graph_create(2, &g));
            OK(lk_graph_input(g, "input", &(lk_shape){1, {3}}, LK_DT_REAL, &x));
            OK(lk_graph_input(g, "target", &(lk_shape){0}, LK_DT_I64, &t));
            h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(11), x, 0);
            h = net_add(g, "linear2", LK_OP_LINEAR, LINEAR(5), h, 0);
            for (int i = 0; i < readers; i++)
                net_add(g, i == 0 ? "first" : "second", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
            OK(lk_plan_create(g, &b, &opts, &p));
            cr_assert_eq(find(p, "linear1")->spec.out_pitch, 0, "another linear layer does not take it");
            cr_assert_eq(find(p, "linear2")->spec.out_pitch, want);
            cr_assert_eq(find(p, "first")->spec.in_pitch, want);
            lk_plan_destroy(&p);
            lk_graph_destroy(&g);
        }
}

Test(plan, drops_dropout_when_not_training)
{
    lk_graph *g = net_mlp(2);
    lk_plan *p = plan_of(g, false, 0);

    cr_assert_null(find(p, "dropout1"));
    cr_assert_eq(p->n_instr, p->n_forward);
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
}

Test(plan, buckets_cover_the_flat_vector_and_are_ready_from_the_end)
{
    lk_graph *g = net_cnn(2);

    for (size_t bytes = 1; bytes < 100000; bytes *= 10) {
        lk_plan *p = plan_of(g, true, bytes);

        cr_assert_eq(p->bucket[0], 0);
        cr_assert_eq(p->bucket[p->n_buckets], g->flat);
        for (int b = 0; b < p->n_buckets; b++) {
            cr_assert_lt(p->bucket[b], p->bucket[b + 1]);
            cr_assert_eq(p->bucket[b] % LK_TILE, 0);
            /* Nothing writes to the bucket later. */
            for (int t = p->ready[b] + 1; t < p->n_instr; t++)
                for (int k = 0; k < p->instr[t].spec->n_params; k++) {
                    const lk_place *at = &p->instr[t].dparam[k];
                    cr_assert(at->kind != LK_PLACE_GRADS || at->at < p->bucket[b] || at->at >= p->bucket[b + 1]);
                }
        }
        cr_assert(bytes > 1 || p->n_buckets == g->n_params);
        lk_plan_destroy(&p);
    }
    lk_graph_destroy(&g);
}

Test(plan, memory_is_reused)
{
    /* A chain of 50 equal layers needs its activations once and a few gradients, not 50 of each. */
    lk_graph *g = NULL;
    int x, t, h;
    char name[32];

    OK(lk_graph_create(16, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {64}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {64}}, LK_DT_REAL, &t));
    h = x;
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "linear%d", i);
        h = net_add(g, name, LK_OP_LINEAR, LINEAR(64), h, 0);
    }
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, h, t);
    const int64_t value = 16 * 64 * (int64_t)sizeof(double);
    lk_plan *p = plan_of(g, true, 1), *e = plan_of(g, false, 0);
    cr_assert_leq(p->arena_bytes, 54 * value, "%ld bytes for training, a value has %ld", (long)p->arena_bytes, (long)value);
    cr_assert_leq(e->arena_bytes, 3 * value, "%ld bytes for evaluation, a value has %ld", (long)e->arena_bytes, (long)value);
    lk_plan_destroy(&p);
    lk_plan_destroy(&e);
    lk_graph_destroy(&g);
}

/* Residual blocks of 4 nodes. */
static lk_graph *deep(int blocks, int64_t units)
{
    lk_graph *g = NULL;
    int x, t, h, a;
    char name[32];

    OK(lk_graph_create(4, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {units}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {units}}, LK_DT_REAL, &t));
    h = x;
    for (int i = 0; i < blocks; i++) {
        snprintf(name, sizeof name, "batch_norm%d", i);
        a = net_add(g, name, LK_OP_BATCH_NORM, NORM, h, 0);
        snprintf(name, sizeof name, "relu%d", i);
        a = net_add(g, name, LK_OP_ACTIVATION, ACT(RELU), a, 0);
        snprintf(name, sizeof name, "linear%d", i);
        a = net_add(g, name, LK_OP_LINEAR, LINEAR(units), a, 0);
        snprintf(name, sizeof name, "add%d", i);
        h = net_add(g, name, LK_OP_ADD, NO_ATTR, h, a);
    }
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, h, t);
    return g;
}

/* Work that grows with the square of the nodes would not end within the time of a test; each name is still found. */
Test(plan, many_nodes, .timeout = 60)
{
    enum { BLOCKS = 10000 };
    lk_graph *g = deep(BLOCKS, 8);
    char name[32];

    for (int i = 0; i < BLOCKS; i += 7) {
        snprintf(name, sizeof name, "relu%d", i);
        cr_assert_eq(lk_graph_find(g, name), 4 * i + 1);
    }
    cr_assert_eq(lk_graph_find(g, "relu"), -1);
    lk_plan *p = plan_of(g, true, 1 << 20), *e = plan_of(g, false, 0);
    /* Training keeps what enters a norm, what enters a layer, and what the norm saves; the rest comes and goes. */
    int64_t saved = 0;
    for (int i = 0; i < p->n_nodes; i++)
        saved += (int64_t)(p->node[i].kp.saved_bytes + 63) / 64 * 64;
    const int64_t value = 4 * 8 * (int64_t)sizeof(double);
    cr_assert_leq(p->arena_bytes, (2 * BLOCKS + 16) * value + saved, "%ld bytes", (long)p->arena_bytes);
    cr_assert_leq(e->arena_bytes, 8 * value, "%ld bytes", (long)e->arena_bytes);
    check_places(p);
    check_places(e);
    lk_plan_destroy(&p);
    lk_plan_destroy(&e);
    lk_graph_destroy(&g);
}

Test(plan, nothing_is_overwritten_before_it_is_read)
{
    lk_graph *(*const net[])(int64_t rows) = {net_mlp, net_cnn, net_regress, net_sequence, net_sums, net_gpt, net_norms, net_two};

    for (size_t i = 0; i < sizeof net / sizeof net[0]; i++)
        for (int training = 0; training < 2; training++) {
            lk_graph *g = net[i](4);
            lk_plan *p = plan_of(g, training, 1);

            check_places(p);
            lk_plan_destroy(&p);
            lk_graph_destroy(&g);
        }
}

static lk_plan *plan_within(const lk_graph *g, int64_t activation_bytes)
{
    const lk_plan_opts opts = {.training = true, .bucket_bytes = 1, .activation_bytes = activation_bytes};
    lk_plan *p = NULL;

    OK(lk_plan_create(g, &lk_backend_ref, &opts, &p));
    return p;
}

/* A network of n blocks needs about the square root of its memory if it may compute once more: segments are cut between blocks. */
Test(plan, segments_fit_the_budget)
{
    enum { BLOCKS = 400 };
    lk_graph *g = deep(BLOCKS, 32);
    lk_plan *whole = plan_within(g, 0), *before = NULL;

    cr_assert(whole->n_segments == 0 && whole->n_again == 0);
    for (int64_t part = 2; part <= 8; part *= 2) {
        lk_plan *p = plan_within(g, whole->arena_bytes / part);

        check_places(p);
        cr_assert_leq(p->arena_bytes, whole->arena_bytes / part);
        /* What is kept of the others fills the budget: no more runs twice than must. */
        cr_assert(p->n_again > 0 && p->n_again < p->n_nodes * (part - 1) / part + p->n_nodes / 8, "%d of %d run twice", p->n_again, p->n_nodes);
        cr_assert(before == NULL || p->n_again > before->n_again);
        cr_assert_eq(p->n_instr, whole->n_instr + p->n_again);
        cr_assert_float_eq(p->flops, whole->flops, 1, "what runs again counts once");
        /* The bucket of each parameter is complete after its last gradient. */
        cr_assert_eq(p->n_buckets, whole->n_buckets);
        /* Statistics are written once. */
        for (int t = p->n_forward; t < p->n_instr; t++)
            for (int k = 0; p->instr[t].kind == LK_INSTR_FORWARD && k < LK_MAX_PARAMS; k++)
                cr_assert_eq(p->instr[t].dparam[k].kind, LK_PLACE_NONE);
        lk_plan_destroy(&before);
        before = p;
    }
    lk_plan_destroy(&before);
    lk_plan_destroy(&whole);
    lk_graph_destroy(&g);
}

/* A network like LeNet-5, whose buffers the order of their sizes alone does not pack tightly: no byte more than are in use at the worst time. */
Test(plan, memory_is_packed)
{
    lk_graph *g = NULL;
    int x, t, h;

    OK(lk_graph_create(16, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){3, {1, 28, 28}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){0, {0}}, LK_DT_I64, &t));
    h = net_add(g, "conv1", LK_OP_CONV, CONV(6, 5, 2), x, 0);
    h = net_add(g, "relu1", LK_OP_ACTIVATION, ACT(RELU), h, 0);
    h = net_add(g, "max_pool1", LK_OP_MAX_POOL, POOL(2), h, 0);
    h = net_add(g, "conv2", LK_OP_CONV, CONV(16, 5, 0), h, 0);
    h = net_add(g, "relu2", LK_OP_ACTIVATION, ACT(RELU), h, 0);
    h = net_add(g, "max_pool2", LK_OP_MAX_POOL, POOL(2), h, 0);
    h = net_add(g, "flatten", LK_OP_FLATTEN, NO_ATTR, h, 0);
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(120), h, 0);
    h = net_add(g, "linear2", LK_OP_LINEAR, LINEAR(10), h, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    lk_plan *p = NULL;
    OK(lk_plan_create(g, &lk_backend_cpu, &(lk_plan_opts){.training = true, .bucket_bytes = 1}, &p));
    cr_assert_eq(p->arena_bytes, most_in_use(p), "%ld bytes, %ld in use", (long)p->arena_bytes, (long)most_in_use(p));
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
}

Test(plan, refuses_a_budget_that_cannot_be_reached)
{
    lk_graph *g = deep(20, 32);
    lk_plan *p = NULL;
    long least;

    cr_assert_eq(lk_plan_create(g, &lk_backend_ref, &(lk_plan_opts){.training = true, .bucket_bytes = 1, .activation_bytes = 100}, &p), LK_E_CONFIG);
    cr_assert_null(p);
    const char *m = lk_err_last()->message;
    cr_assert_eq(sscanf(m, "activations and gradients of a microbatch need at least %ld bytes (in ", &least), 1, "%s", m);
    cr_assert(strstr(m, " segments), which is more than the 100 of train.activation_memory; layer ") && strstr(m, "(net:1:1) needs them: allow more, or make microbatches smaller"), "%s", m);
    p = plan_within(g, least);
    cr_assert_eq(p->arena_bytes, least);
    lk_plan_destroy(&p);
    /* Plans that do not train have no backward pass to compute anything again in. */
    OK(lk_plan_create(g, &lk_backend_ref, &(lk_plan_opts){.activation_bytes = 100}, &p));
    lk_plan_destroy(&p);
    lk_graph_destroy(&g);
}

Test(plan, refuses_an_output_that_goes_nowhere)
{
    lk_graph *g = NULL;
    int x, t, h;
    lk_plan *p = NULL;

    OK(lk_graph_create(2, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {3}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {3}}, LK_DT_REAL, &t));
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(3), x, 0);
    net_add(g, "linear2", LK_OP_LINEAR, LINEAR(3), x, 0);
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, h, t);
    const lk_status st = lk_plan_create(g, &lk_backend_ref, &(lk_plan_opts){.training = true}, &p);
    cr_assert_eq(st, LK_E_CONFIG);
    cr_assert_str_eq(lk_err_last()->message, "net:1:1: layer linear2: its output goes nowhere");
    cr_assert_null(p);
    lk_graph_destroy(&g);
}

Test(graph, names_both_layers_where_shapes_do_not_fit)
{
    lk_graph *g = net_mlp(2);
    const lk_node_def d = {.name = "add9", .where = "run.yaml:20:5", .op = LK_OP_ADD, .in = {2, g->n_values - 1}};

    cr_assert_eq(lk_graph_add(g, &d, NULL), LK_E_CONFIG);
    const char *m = lk_err_last()->message;
    cr_assert(strstr(m, "run.yaml:20:5: layer add9 (add)") == m && strstr(m, "linear1 (net:1:1) gives [2,11]") && strstr(m, "linear3 (net:1:1) gives [2,5]"), "%s", m);
    const lk_node_def twice = {.name = "linear1", .where = "run.yaml:21:5", .op = LK_OP_ACTIVATION, .attr = ACT(RELU), .in = {2}};
    cr_assert_eq(lk_graph_add(g, &twice, NULL), LK_E_CONFIG);
    cr_assert_str_eq(lk_err_last()->message, "run.yaml:21:5: layer name \"linear1\" is taken by the layer at net:1:1");
    lk_graph_destroy(&g);
}

Test(graph, initial_weights_depend_on_seed_and_name_alone)
{
    lk_graph *g = net_cnn(2), *h = net_cnn(16);
    float *a = malloc((size_t)g->flat * sizeof *a), *b = malloc((size_t)g->flat * sizeof *b);

    OK(lk_graph_init_weights(g, 1, a));
    OK(lk_graph_init_weights(h, 1, b));
    cr_assert_eq(memcmp(a, b, (size_t)g->flat * sizeof *a), 0);
    cr_assert_eq(lk_graph_hash(g), lk_graph_hash(h), "rows are not part of the model");
    OK(lk_graph_init_weights(h, 2, b));
    cr_assert_neq(memcmp(a, b, (size_t)g->flat * sizeof *a), 0);
    free(a);
    free(b);
    lk_graph_destroy(&g);
    lk_graph_destroy(&h);
}

/* Orthonormal rows, or columns, times the gain; the same for every layout of the same elements. */
Test(graph, orthogonal_weights)
{
    lk_graph *g = net_mlp(2); /* linear1 [11,7], linear2 [11,11], linear3 [5,11] */
    float *w = malloc((size_t)g->flat * sizeof *w);

    for (int i = 0; i < g->n_params; i++)
        if (g->param[i].info.shape.ndim == 2) {
            g->param[i].info.init = LK_INIT_ORTHOGONAL;
            g->param[i].info.value = 3;
        }
    OK(lk_graph_init_weights(g, 1, w));
    for (int i = 0; i < g->n_params; i++) {
        const lk_param *p = &g->param[i];
        const int64_t rows = p->info.shape.dim[0], cols = p->count / rows;
        const bool tall = rows > cols;

        if (p->info.shape.ndim != 2)
            continue;
        for (int64_t a = 0; a < (tall ? cols : rows); a++)
            for (int64_t b = 0; b <= a; b++) {
                double sum = 0;

                for (int64_t k = 0; k < (tall ? rows : cols); k++)
                    sum += (double)w[p->first + (tall ? k * cols + a : a * cols + k)] * (double)w[p->first + (tall ? k * cols + b : b * cols + k)];
                cr_assert_float_eq(sum, a == b ? 9 : 0, 1e-5, "%s: %ld %ld: %g", p->name, (long)a, (long)b, sum);
            }
    }
    lk_mem_fail_at(1);
    cr_assert_eq(lk_graph_init_weights(g, 1, w), LK_E_NOMEM);
    lk_mem_fail_at(0);
    free(w);
    lk_graph_destroy(&g);
}

/* No draw beyond two deviations, and the deviation that such a normal distribution has: 0.8796 of the whole one's. */
Test(graph, truncated_normal_weights)
{
    lk_graph *g = net_cnn(2);
    double squares = 0;
    int64_t n = 0;
    float *w = malloc((size_t)g->flat * sizeof *w);

    for (int i = 0; i < g->n_params; i++) {
        g->param[i].info.init = LK_INIT_TRUNCATED_NORMAL;
        g->param[i].info.value = 0.1;
    }
    OK(lk_graph_init_weights(g, 1, w));
    for (int i = 0; i < g->n_params; i++)
        for (int64_t e = 0; e < g->param[i].count; e++, n++) {
            const double x = (double)w[g->param[i].first + e];

            cr_assert(fabs(x) <= 0.2000001);
            squares += x * x;
        }
    cr_assert(fabs(sqrt(squares / (double)n) - 0.08796) < 5 * 0.08796 / sqrt(2.0 * (double)n), "%g of %ld", sqrt(squares / (double)n), (long)n);
    free(w);
    lk_graph_destroy(&g);
}
