/* Layers of one operation that nearly every network has. */
#include "model/layer.h"

/* ---- linear ---- */
typedef struct linear_opts {
    LKI_LAYER_MEMBERS;
    int64_t units;
    bool bias;
    char *tie;
} linear_opts;

static const lk_field linear_rows[] = {
    LK_FIELD(linear_opts, units, LK_T_INT, .min = 1, .max = 1e9, .help = "Outputs."),
    LK_FIELD(linear_opts, bias, LK_T_BOOL, .def = "true", .help = "Adds a learned number to each output."),
    LK_FIELD(linear_opts, tie, LK_T_STRING, .def = "",
        .help = "Name of an earlier embedding whose weight [units, features] is this layer's, too (weight tying); unset: a "
                "weight of its own."),
    LKI_LAYER_ROWS(linear_opts),
};
static const lk_table linear_table = LK_TABLE(linear_opts, "linear",
    "y = x W^T + b over the last dimension. `linear: 10` is short for `linear: {units: 10}`.", linear_rows);

static lk_status linear_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->linear = (lk_attr_linear){.units = LKI_OPTS(l, linear_opts)->units, .bias = LKI_OPTS(l, linear_opts)->bias};
    return LK_OK;
}

/* The layer with the weight of an embedding. */
static lk_status build_tied(lki_builder *b, const lki_layer *l, int *value)
{
    lk_node_def def = {.name = l->name, .where = l->where, .op = LK_OP_LINEAR, .in = {*value}};
    int other;

    LK_TRY(linear_attrs(l, NULL, &def.attr));
    LK_TRY(lki_find_value(b, l, "tie", LKI_OPTS(l, linear_opts)->tie, &other));
    const int producer = b->graph->value[other].producer;
    const lk_node *n = producer < 0 ? NULL : &b->graph->node[producer];
    if (n == NULL || n->spec.op != LK_OP_EMBEDDING)
        return lki_option_fail(l, "tie", "expected the name of an embedding");
    def.share = n->name;
    return lki_add_node(b, l, &def, value);
}

static lk_status build_linear(lki_builder *b, const lki_layer *l, int *value)
{
    lk_buf in = {0};

    if (b->graph->value[*value].shape.ndim != 4)
        return LKI_OPTS(l, linear_opts)->tie != NULL ? build_tied(b, l, value) : lki_build_node(b, l, value);
    lki_describe_value(b->graph, *value, &in);
    const lk_status st =
        LK_FAIL(LK_E_CONFIG, "%s: layer %s (linear): %s, with height and width; put \"- flatten\" in front", l->where,
            l->name, lk_buf_text(&in));
    lk_buf_fini(&in);
    return st;
}

const lki_layer_kind lki_layer_linear = {.table = &linear_table,
    .short_form = "units",
    .input = LKI_INPUT_ROWS,
    .op = LK_OP_LINEAR,
    .attrs = linear_attrs,
    .build = build_linear};

/* ---- flatten ---- */
static const lk_field flatten_rows[] = {LKI_LAYER_ROWS(lki_layer_opts)};
static const lk_table flatten_table =
    LK_TABLE(lki_layer_opts, "flatten", "All dimensions of a sample as one.", flatten_rows);

const lki_layer_kind lki_layer_flatten = {.table = &flatten_table, .input = LKI_INPUT_ROWS, .op = LK_OP_FLATTEN};

/* ---- dropout ---- */
typedef struct dropout_opts {
    LKI_LAYER_MEMBERS;
    double rate;
} dropout_opts;

static const lk_field dropout_rows[] = {
    LK_FIELD(dropout_opts, rate, LK_T_REAL, .def = "0.5", .min = 0, .max = 1,
        .help = "Share of the values that are zero in a training step, below 1; the others are scaled up."),
    LKI_LAYER_ROWS(dropout_opts),
};
static const lk_table dropout_table = LK_TABLE(dropout_opts, "dropout",
    "Drops values at random in training. `dropout: 0.2` is short for `dropout: {rate: 0.2}`.", dropout_rows);

static lk_status dropout_unit(const lki_layer *l, lk_drop_unit unit, lk_attrs *out)
{
    out->dropout = (lk_attr_dropout){.rate = LKI_OPTS(l, dropout_opts)->rate, .unit = unit};
    return LK_OK;
}

static lk_status dropout_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    return dropout_unit(l, LK_DROP_ELEMENT, out);
}

static lk_status spatial_dropout_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    return dropout_unit(l, LK_DROP_CHANNEL, out);
}

static lk_status drop_path_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    return dropout_unit(l, LK_DROP_SAMPLE, out);
}

static const lk_table spatial_dropout_table = LK_TABLE(dropout_opts, "spatial_dropout",
    "Drops whole channels of [channels, ...] at random in training. `spatial_dropout: 0.2` is short for "
    "`spatial_dropout: {rate: 0.2}`.",
    dropout_rows);
static const lk_table drop_path_table = LK_TABLE(dropout_opts, "drop_path",
    "Drops all values of a sample at random in training: as the last layer of a residual it leaves out the branch "
    "(stochastic depth). `drop_path: 0.2` is short for `drop_path: {rate: 0.2}`.",
    dropout_rows);

const lki_layer_kind lki_layer_dropout = {
    .table = &dropout_table, .short_form = "rate", .op = LK_OP_DROPOUT, .attrs = dropout_attrs};
const lki_layer_kind lki_layer_spatial_dropout = {
    .table = &spatial_dropout_table, .short_form = "rate", .op = LK_OP_DROPOUT, .attrs = spatial_dropout_attrs};
const lki_layer_kind lki_layer_drop_path = {
    .table = &drop_path_table, .short_form = "rate", .op = LK_OP_DROPOUT, .attrs = drop_path_attrs};
