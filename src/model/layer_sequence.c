/* Layers of sequences: ids to vectors, places, attention. */
#include "model/layer.h"

#include <inttypes.h>
#include <stdio.h>

#define DEVIATION_ROW(type_) \
    LK_FIELD(type_, deviation, LK_T_REAL, .def = "1", .min = 0, .max = 1e6, \
        .help = "Standard deviation of the first weights; PyTorch's is 1, GPT-2's 0.02.")

/* ---- embedding ---- */
typedef struct embedding_opts {
    LKI_LAYER_MEMBERS;
    int64_t size, units;
    double deviation;
} embedding_opts;

static const lk_field embedding_rows[] = {
    LK_FIELD(embedding_opts, size, LK_T_INT, .min = 1, .max = 1e9, .help = "Number of ids: they are 0 to size - 1."),
    LK_FIELD(embedding_opts, units, LK_T_INT, .min = 1, .max = 1e9, .help = "Numbers that stand for an id."),
    DEVIATION_ROW(embedding_opts),
    LKI_LAYER_ROWS(embedding_opts),
};
static const lk_table embedding_table = LK_TABLE(embedding_opts, "embedding",
    "A learned vector for each id (whole number) of the input: [places] becomes [places, units].", embedding_rows);

static lk_status embedding_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const embedding_opts *o = LKI_OPTS(l, embedding_opts);

    (void)in;
    out->embedding = (lk_attr_embedding){.size = o->size, .units = o->units, .deviation = o->deviation};
    return LK_OK;
}

const lki_layer_kind lki_layer_embedding = {
    .table = &embedding_table, .input = LKI_INPUT_IDS, .op = LK_OP_EMBEDDING, .attrs = embedding_attrs};

/* ---- positions ---- */
typedef struct positions_opts {
    LKI_LAYER_MEMBERS;
    int kind;
    int64_t max;
    double deviation;
} positions_opts;

static const lk_field positions_rows[] = {
    LK_FIELD(positions_opts, kind, LK_T_ENUM, .def = "learned", .choices = "learned|sinusoidal",
        .help = "Learned vectors, or sines and cosines of falling frequencies without weights (Vaswani et al. 2017)."),
    LK_FIELD(positions_opts, max, LK_T_INT, .unit = "places", .def = "0", .min = 0, .max = 1e9,
        .help = "learned: longest sequence that has weights; 0: as long as the input."),
    DEVIATION_ROW(positions_opts),
    LKI_LAYER_ROWS(positions_opts),
};
static const lk_table positions_table = LK_TABLE(positions_opts, "positions",
    "Adds to each place of a sequence [places, features] a vector that tells it apart. `positions: sinusoidal` is short "
    "for `positions: {kind: sinusoidal}`.",
    positions_rows);

static lk_status positions_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const positions_opts *o = LKI_OPTS(l, positions_opts);

    out->positions = (lk_attr_positions){.sinusoidal = o->kind == 1, .max = o->max, .deviation = o->deviation};
    if (o->max == 0 && in->ndim > 1)
        out->positions.max = in->dim[1];
    return LK_OK;
}

const lki_layer_kind lki_layer_positions = {.table = &positions_table,
    .short_form = "kind",
    .input = LKI_INPUT_ROWS,
    .op = LK_OP_POSITIONS,
    .attrs = positions_attrs};

/* ---- attention ---- */
typedef struct attention_opts {
    LKI_LAYER_MEMBERS;
    int64_t heads, kv_heads;
    bool causal, rotary, bias;
    double dropout;
    char *context, *lengths;
} attention_opts;

static const lk_field attention_rows[] = {
    LK_FIELD(attention_opts, heads, LK_T_INT, .min = 1, .max = 1e6, .help = "Heads of queries, which divide the features."),
    LK_FIELD(attention_opts, kv_heads, LK_T_INT, .def = "0", .min = 0, .max = 1e6,
        .help = "Heads of keys and values, which divide `heads`: neighbouring heads of queries share one (grouped queries); 0: "
                "as many as `heads`."),
    LK_FIELD(attention_opts, causal, LK_T_BOOL, .def = "false", .help = "A place sees itself and the places before it only."),
    LK_FIELD(attention_opts, rotary, LK_T_BOOL, .def = "false",
        .help = "Turns queries and keys by their places (rotary positions, base 10000): element c and element c + half of a "
                "head are a point in the plane."),
    LK_FIELD(attention_opts, bias, LK_T_BOOL, .def = "true", .help = "Adds learned numbers in both linear maps."),
    LK_FIELD(attention_opts, dropout, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Share of the probabilities that is dropped in a training step, below 1."),
    LK_FIELD(attention_opts, context, LK_T_STRING, .def = "",
        .help = "Keys and values come from this layer or field [places, features] (cross attention); unset: from the input."),
    LK_FIELD(attention_opts, lengths, LK_T_STRING, .def = "",
        .help = "Field of one whole number a sample: keys at that place and beyond are not seen; unset: all are."),
    LKI_LAYER_ROWS(attention_opts),
};
static const lk_table attention_table = LK_TABLE(attention_opts, "attention",
    "softmax(q k^T / sqrt(size of a head)) v of a sequence [places, features] in several heads, between two linear maps: "
    "`NAME.qkv` makes queries, keys and values, in this order, each head by head, and `NAME.out` brings the heads back to "
    "[places, features]; with `context`, `NAME.q` and `NAME.kv` stand for `NAME.qkv`. Memory grows linearly with the "
    "places. `attention: 8` is short for `attention: {heads: 8}`.",
    attention_rows);

/* The input, or the context, as [places, features]. */
static lk_status check_sequence(lki_builder *b, const lki_layer *l, int value)
{
    lk_buf text = {0};

    if (b->graph->value[value].shape.ndim == 3 && b->graph->value[value].dtype == LK_DT_REAL)
        return LK_OK;
    lki_describe_value(b->graph, value, &text);
    const lk_status st = LK_FAIL(LK_E_CONFIG, "%s: layer %s (attention): %s%s, expected [batch, places, features]", l->where,
        l->name, lk_buf_text(&text), b->graph->value[value].dtype == LK_DT_I64 ? " of whole numbers" : "");
    lk_buf_fini(&text);
    return st;
}

static lk_status build_attention(lki_builder *b, const lki_layer *l, int *value)
{
    const attention_opts *o = LKI_OPTS(l, attention_opts);
    const int64_t kv_heads = o->kv_heads > 0 ? o->kv_heads : o->heads;
    lk_node_def def = {.name = l->name, .where = l->where, .op = LK_OP_ATTENTION, .n_in = 1, .in = {*value}};
    lk_attrs linear = {.linear = {.bias = o->bias}};
    char text[160];

    LK_TRY(check_sequence(b, l, *value));
    const int64_t features = b->graph->value[*value].shape.dim[2], size = features / o->heads;
    if (features % o->heads != 0) {
        snprintf(text, sizeof text, "%" PRId64 " heads do not divide the input's %" PRId64 " features", o->heads, features);
        return lki_option_fail(l, "heads", text);
    }
    if (o->heads % kv_heads != 0) {
        snprintf(text, sizeof text, "%" PRId64 " do not divide the %" PRId64 " heads", kv_heads, o->heads);
        return lki_option_fail(l, "kv_heads", text);
    }
    if (o->context != NULL) {
        int context;
        LK_TRY(lki_find_value(b, l, "context", o->context, &context));
        LK_TRY(check_sequence(b, l, context));
        linear.linear.units = features;
        LK_TRY(lki_build_part(b, l, "q", LK_OP_LINEAR, &linear, &def.in[0]));
        linear.linear.units = 2 * kv_heads * size;
        LK_TRY(lki_build_part(b, l, "kv", LK_OP_LINEAR, &linear, &context));
        def.in[def.n_in++] = context;
    } else {
        linear.linear.units = features + 2 * kv_heads * size;
        LK_TRY(lki_build_part(b, l, "qkv", LK_OP_LINEAR, &linear, &def.in[0]));
    }
    if (o->lengths != NULL) {
        LK_TRY(lki_find_value(b, l, "lengths", o->lengths, &def.in[def.n_in]));
        if (b->graph->value[def.in[def.n_in++]].dtype != LK_DT_I64)
            return lki_option_fail(l, "lengths", "expected whole numbers, one a sample");
    }
    def.attr.attention = (lk_attr_attention){
        .heads = o->heads, .kv_heads = kv_heads, .causal = o->causal, .rotary = o->rotary, .rate = o->dropout};
    LK_TRY(lki_add_node(b, l, &def, value));
    linear.linear.units = features;
    return lki_build_part(b, l, "out", LK_OP_LINEAR, &linear, value);
}

const lki_layer_kind lki_layer_attention = {.table = &attention_table,
    .short_form = "heads",
    .input = LKI_INPUT_ROWS,
    .op = LK_OP_ATTENTION,
    .build = build_attention};
