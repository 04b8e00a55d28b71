/* The compiled step for people and scripts: `lockstep plan`. */
#include "train/run_int.h"

#include "base/buf.h"
#include "base/machine.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

enum { OP_TEXT = 48 };

/* "again": what was let go, on its way through the backward pass. */
static const char *pass_text(const lk_plan *p, int t)
{
    static const char *const text[] = {"forward", "backward", "accumulate"};
    const lk_instr_kind k = p->instr[t].kind;

    return k == LK_INSTR_FORWARD && t >= p->n_forward ? "again" : text[k];
}

/* The activation that the plan fused behind the operation. */
static lk_act fused_act(const lk_opspec *s)
{
    switch (s->op) {
    case LK_OP_LINEAR:
        return s->attr.linear.act;
    case LK_OP_CONV:
    case LK_OP_CONV_TRANSPOSE:
        return s->attr.conv.act;
    case LK_OP_BATCH_NORM:
        return s->attr.batch_norm.act;
    case LK_OP_ADD:
        return s->attr.add.act;
    default:
        return LK_ACT_NONE;
    }
}

/* "linear+gelu", "add+layer_norm"; an activation by its own name. */
static const char *op_text(const lk_opspec *s, char text[OP_TEXT])
{
    const lk_act act = fused_act(s);

    if (s->op == LK_OP_ACTIVATION)
        return lk_act_name(s->attr.activation.act);
    snprintf(text, OP_TEXT, "%s%s%s%s", lk_op_info(s->op)->needs(s) & LK_NEEDS_SUM ? "add+" : "", lk_op_info(s->op)->name, act != LK_ACT_NONE ? "+" : "", lk_act_name(act));
    return text;
}

static const char *instr_name(const lk_plan *p, const lk_instr *in)
{
    return in->node < 0 ? "gradient" : p->node[in->node].name;
}

static json_t *shape_json(const lk_shape *s)
{
    json_t *a = json_array();

    for (int i = 0; i < s->ndim; i++)
        json_array_append_new(a, json_integer(s->dim[i]));
    return a;
}

static void add_kinds(json_t *o, const int64_t bytes[LKI_MEMORY_KINDS])
{
    for (int k = 0; k < LKI_MEMORY_KINDS; k++)
        json_object_set_new(o, lki_memory_key(k), json_integer(bytes[k]));
}

static json_t *gpu_json(const lk_run *r, const lki_memory *m)
{
    const lki_gpu_share *s = &r->share;
    json_t *o = json_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:i, s:I, s:I}", "gpu", r->gpu_index, "name", r->gpu.name, "bus", r->gpu.bus, "memory_bytes", (json_int_t)s->total, "free_bytes", (json_int_t)s->free, "workspace_bytes", (json_int_t)LK_CUDA_WORKSPACE_BYTES, "ranks", s->ranks, "wanted_bytes", (json_int_t)s->wanted, "total_bytes", (json_int_t)lki_memory_total_device(m));

    add_kinds(o, m->device);
    return o;
}

static json_t *memory_json(const lk_run *r, int rank, const lki_memory *m)
{
    char by[LK_AVAILABLE_TEXT];
    json_t *o = json_pack("{s:i, s:i, s:I, s:I}", "ranks", r->nranks, "rank", rank, "total_bytes", (json_int_t)lki_memory_total(m), "available_bytes", (json_int_t)lk_available_bytes("", by));

    add_kinds(o, m->bytes);
    if (r->on_gpu)
        json_object_set_new(o, "device", gpu_json(r, m));
    return o;
}

static void describe_json(const lk_run *r, int rank, const lki_memory *m, lk_buf *out)
{
    const lk_plan *p = r->phase[0].trainer.plan;
    json_t *ops = json_array(), *buckets = json_array();

    for (int t = 0; t < p->n_instr; t++) {
        const lk_instr *in = &p->instr[t];
        char text[OP_TEXT];

        json_array_append_new(ops, json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:I, s:f}", "pass", pass_text(p, t), "layer", instr_name(p, in), "op", op_text(in->spec, text), "in", shape_json(&in->spec->in[0]), "out", shape_json(&in->spec->out), "layout", in->spec->out_layout == LK_LAYOUT_NHWC ? "nhwc" : "plain", "bytes", (json_int_t)in->bytes, "flops", in->flops));
    }
    for (int b = 0; b < p->n_buckets; b++)
        json_array_append_new(buckets, json_pack("{s:I, s:I, s:i}", "first", (json_int_t)p->bucket[b], "elements", (json_int_t)(p->bucket[b + 1] - p->bucket[b]), "ready", p->ready[b]));
    const lk_shape *in = &r->graph->value[p->input_value[0]].shape;
    json_t *o = json_pack("{s:s, s:s, s:I, s:i, s:I, s:o, s:I, s:f, s:I, s:I, s:I, s:o, s:o, s:i, s:o}", "name", r->config->run.name, "backend", p->backend->name, "batch", (json_int_t)r->config->train.batch, "microbatches", r->leaves, "rows", (json_int_t)r->rows, "input", shape_json(in), "weights", (json_int_t)lk_graph_weights(r->graph), "flops_per_step", p->flops * r->leaves,
        "activation_bytes", (json_int_t)p->arena_bytes, "packed_bytes", (json_int_t)p->packed_bytes, "flat_bytes", (json_int_t)(r->graph->flat * (int64_t)sizeof(float)), "operations", ops, "buckets", buckets, "again", p->n_again, "memory", memory_json(r, rank, m));
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
    lk_buf_add(out, text != NULL ? text : "{}");
    lk_buf_add(out, "\n");
    free(text);
    json_decref(o);
}

static void add_row(lk_buf *out, const char *name, int64_t bytes, const char *more)
{
    char text[32];

    lk_format_bytes((double)bytes, text, sizeof text);
    lk_buf_printf(out, "  %-26s %10s%s\n", name, text, more);
}

/* Those that take something, and their sum. */
static void add_rows(const lk_run *r, const int64_t bytes[LKI_MEMORY_KINDS], int64_t total, lk_buf *out)
{
    char arena[32], more[96];

    lk_format_bytes((double)r->phase[0].trainer.plan->arena_bytes, arena, sizeof arena);
    snprintf(more, sizeof more, " (%s %swhile it trains)", arena, r->on_gpu ? "" : "a thread ");
    for (int k = 0; k < LKI_MEMORY_KINDS; k++)
        if (bytes[k] > 0)
            add_row(out, lki_memory_text(k), bytes[k], k == LKI_MEMORY_ACTIVATIONS ? more : "");
    add_row(out, "together", total, "");
}

static void describe_memory(const lk_run *r, int rank, const lki_memory *m, lk_buf *out)
{
    const lki_gpu_share *s = &r->share;
    char total[32], by[LK_AVAILABLE_TEXT], which[64] = "", more[LK_AVAILABLE_TEXT + 64];

    if (r->nranks > 1)
        snprintf(which, sizeof which, " of rank %d of %d, which takes most", rank, r->nranks);
    if (r->on_gpu) {
        lk_buf_printf(out, "\nmemory of GPU %d (%s)%s\n", r->gpu_index, r->gpu.name, which);
        add_rows(r, m->device, lki_memory_total_device(m), out);
        snprintf(more, sizeof more, "%d ranks on this GPU", s->ranks);
        if (s->ranks > 1)
            add_row(out, more, s->wanted, "");
        lk_format_bytes((double)s->total, total, sizeof total);
        snprintf(more, sizeof more, " of %s%s", total, s->wanted > s->free ? ": the run would be refused" : "");
        add_row(out, "free there", s->free, more);
        add_row(out, "taken already", s->total - s->free, " (CUDA, workspace of products, tables of the plan, others)");
    }
    lk_buf_printf(out, "\nmemory%s%s\n", r->on_gpu ? " of the host" : "", which);
    add_rows(r, m->bytes, lki_memory_total(m), out);
    const int64_t available = lk_available_bytes("", by);
    snprintf(more, sizeof more, " (%s)", by);
    if (by[0] != 0)
        add_row(out, "available here", available, more);
}

static void describe_text(const lk_run *r, int rank, const lki_memory *m, lk_buf *out)
{
    const lk_plan *p = r->phase[0].trainer.plan;
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT], bytes[32], flops[32];

    lk_format_count((double)lk_graph_weights(r->graph), a, sizeof a);
    lk_format_count(p->flops * r->leaves, flops, sizeof flops);
    lk_buf_printf(out, "%s on %s: %s weights, batch %" PRId64 " = %d microbatches of %" PRId64 ", %sFLOP a step\n", r->config->run.name, p->backend->name, a, r->config->train.batch, r->leaves, r->rows, flops);
    if (r->no_gpu[0] != 0)
        lk_buf_printf(out, "not on a GPU: %s\n", r->no_gpu);
    lk_buf_printf(out, "\n%-4s %-10s %-20s %-18s %-20s %-20s %-6s %10s %10s\n", "", "pass", "layer", "operation", "in", "out", "layout", "bytes", "FLOP");
    for (int t = 0; t < p->n_instr; t++) {
        const lk_instr *in = &p->instr[t];
        char text[OP_TEXT];
        const char *op = op_text(in->spec, text);

        lk_format_bytes((double)in->bytes, bytes, sizeof bytes);
        lk_format_count(in->flops, flops, sizeof flops);
        lk_buf_printf(out, "%-4d %-10s %-20s %-18s %-20s %-20s %-6s %10s %10s\n", t, pass_text(p, t), instr_name(p, in), op, lk_shape_print(&in->spec->in[0], a), lk_shape_print(&in->spec->out, b), in->spec->out_layout == LK_LAYOUT_NHWC ? "nhwc" : "plain", bytes, flops);
    }
    if (p->n_again > 0)
        lk_buf_printf(out, "\n%d of %d operations run twice, in %d segments, to keep within train.activation_memory\n", p->n_again, p->n_forward, p->n_segments);
    describe_memory(r, rank, m, out);
    lk_buf_printf(out, "\nbuckets (in the order they go out)\n");
    for (int k = p->n_buckets - 1; k >= 0; k--) {
        lk_format_bytes((double)(p->bucket[k + 1] - p->bucket[k]) * sizeof(float), bytes, sizeof bytes);
        lk_buf_printf(out, "  %d: %s, complete after operation %d of %d\n", k, bytes, p->ready[k], p->n_instr);
    }
}

lk_status lk_run_describe(const lk_run *r, bool json, lk_buf *out)
{
    lki_memory m = {.bytes = {0}};
    int rank = 0;

    LK_TRY(lki_memory_largest(r, &rank, &m));
    if (json)
        describe_json(r, rank, &m, out);
    else
        describe_text(r, rank, &m, out);
    return lk_buf_status(out);
}
