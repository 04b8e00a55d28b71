/* The layer list of a config becomes a graph here: one table a kind of layer names its options, one function turns
 * them into the attributes of an operation. Shapes are the operations' own business; what they say of a mistake is
 * passed on with the layer's name and place. */
#include "model/model.h"
#include "base/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* LAYERS_MAX keeps the graph's search for equal names short; ELEMENTS_MAX is beyond any memory, and its sums are far
 * from overflow. */
enum { LAYERS_MAX = 10000, WHERE_BYTES = 512, NAME_BYTES = 128, KNOWN_BYTES = 256 };
#define ELEMENTS_MAX (INT64_C(1) << 48)

typedef struct layer_kind layer_kind;

/* Options, one struct a kind; all begin with the name. */
typedef struct plain_opts {
    char *name;
} plain_opts;
typedef struct linear_opts {
    char *name;
    int64_t units;
    bool bias;
} linear_opts;
typedef struct conv_opts {
    char *name;
    int64_t filters;
    lk_ints kernel, stride;
    lk_strings pad;
    bool bias;
} conv_opts;
typedef struct batch_norm_opts {
    char *name;
    double eps, momentum;
} batch_norm_opts;
typedef struct gelu_opts {
    char *name;
    int form;
} gelu_opts;
typedef struct pool_opts {
    char *name;
    lk_ints size, stride, pad;
} pool_opts;
typedef struct dropout_opts {
    char *name;
    double rate;
} dropout_opts;
typedef struct residual_opts {
    char *name;
    const lk_yaml *layers, *shortcut;
} residual_opts;

typedef union layer_opts {
    char *name;
    plain_opts plain;
    linear_opts linear;
    conv_opts conv;
    batch_norm_opts batch_norm;
    gelu_opts gelu;
    pool_opts pool;
    dropout_opts dropout;
    residual_opts residual;
} layer_opts;

/* One layer on its way into the graph. */
typedef struct layer {
    const layer_kind *kind;
    const lk_yaml *map; /* options: as written, or `made` */
    lk_yaml made, made_value; /* a map for what was written without one: `- relu`, `- linear: 10` */
    lk_yaml *made_child;
    layer_opts o;
    char name[NAME_BYTES], where[WHERE_BYTES];
} layer;

typedef struct builder {
    lk_graph *graph;
    int *count; /* [n_kinds] layers of each kind so far */
    int n_layers;
} builder;

/* What a layer takes an input of two dimensions a sample for. */
typedef enum layer_input {
    INPUT_ANY /* does not mind */,
    INPUT_IMAGE /* height, width */,
    INPUT_ROWS /* as it is */
} layer_input;

struct layer_kind {
    const lk_table *table; /* its name is the layer's word */
    const char *short_form; /* option that a value other than a map gives (`linear: 10`); NULL: none */
    layer_input input;
    lk_op op;
    /* Optional: attributes from options and the input's shape; NULL: the operation has none. */
    lk_status (*attrs)(const layer *l, const lk_shape *in, lk_attrs *out);
    /* Optional: adds the layer, *value going from its input to its output; NULL: one node of `op`. */
    lk_status (*build)(builder *b, const layer *l, int *value);
};

static lk_status build_layers(builder *b, const lk_yaml *list, int *value);

/* "run.yaml:12:5", or "--set model" */
static void where_text(const lk_yaml *node, char out[WHERE_BYTES])
{
    if (node->line == 0)
        snprintf(out, WHERE_BYTES, "%s", node->source);
    else
        snprintf(out, WHERE_BYTES, "%s:%d:%d", node->source, node->line, node->column);
}

/* "conv1 (run.yaml:12:5) gives [8,64,4,4]" */
static void describe_value(const lk_graph *g, int value, lk_buf *out)
{
    const lk_value *v = &g->value[value];
    char shape[LK_SHAPE_TEXT];

    lk_shape_print(&v->shape, shape);
    if (v->producer < 0)
        lk_buf_printf(out, "\"%s\" is %s", v->name, shape);
    else
        lk_buf_printf(out, "%s (%s) gives %s", g->node[v->producer].name, g->node[v->producer].where, shape);
}

/* ---- options to attributes ---- */
static lk_status option_fail(const layer *l, const char *option, const char *text)
{
    const lk_yaml *node = lk_yaml_get(l->map, option);

    return lk_yaml_fail(node != NULL ? node : l->map, "%s.%s: %s", l->kind->table->name, option, text);
}

/* One number for both sides, or two: height, width. */
static lk_status pair(const layer *l, const char *option, const lk_ints *given, int64_t out[2])
{
    char text[96];

    if (given->n != 1 && given->n != 2) {
        snprintf(text, sizeof text, "expected one number or two (height, width), got %d", given->n);
        return option_fail(l, option, text);
    }
    out[0] = given->item[0];
    out[1] = given->item[given->n - 1];
    return LK_OK;
}

static lk_status linear_attrs(const layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->linear = (lk_attr_linear){.units = l->o.linear.units, .bias = l->o.linear.bias};
    return LK_OK;
}

/* `same`: ceil(in / stride) outputs; an odd row of padding goes to the bottom, a column to the right, as in TensorFlow.
 */
static void pad_same(const lk_shape *in, lk_attr_conv2d *a)
{
    for (int i = 0; i < 2 && in->ndim == 4; i++) {
        const int64_t size = in->dim[2 + i];
        const int64_t outputs = (size - 1) / a->stride[i] + 1;
        int64_t total = (outputs - 1) * a->stride[i] + a->kernel[i] - size;
        if (total < 0)
            total = 0;
        a->pad_before[i] = total / 2;
        a->pad_after[i] = total - total / 2;
    }
}

static lk_status conv_pad(const layer *l, const lk_shape *in, lk_attr_conv2d *a)
{
    const lk_strings *pad = &l->o.conv.pad;
    char text[160];

    if (pad->n == 1 && strcmp(pad->item[0], "valid") == 0)
        return LK_OK;
    if (pad->n == 1 && strcmp(pad->item[0], "same") == 0) {
        pad_same(in, a);
        return LK_OK;
    }
    if (pad->n != 1 && pad->n != 2) {
        snprintf(text, sizeof text, "expected same, valid, one number or two (height, width), got %d", pad->n);
        return option_fail(l, "pad", text);
    }
    for (int i = 0; i < 2; i++) {
        const char *given = pad->item[i < pad->n ? i : 0];
        int64_t n;
        if (!lk_parse_i64(given, &n) || n < 0 || n > 1000000000) {
            snprintf(text, sizeof text, "expected same, valid, or whole numbers from 0 to 1e+09, got \"%.60s\"", given);
            return option_fail(l, "pad", text);
        }
        a->pad_before[i] = a->pad_after[i] = n;
    }
    return LK_OK;
}

static lk_status conv_attrs(const layer *l, const lk_shape *in, lk_attrs *out)
{
    const conv_opts *o = &l->o.conv;

    out->conv2d = (lk_attr_conv2d){.filters = o->filters, .bias = o->bias};
    LK_TRY(pair(l, "kernel", &o->kernel, out->conv2d.kernel));
    LK_TRY(pair(l, "stride", &o->stride, out->conv2d.stride));
    return conv_pad(l, in, &out->conv2d);
}

static lk_status batch_norm_attrs(const layer *l, const lk_shape *in, lk_attrs *out)
{
    if (in->ndim > 1 && lk_shape_count(in) == in->dim[1])
        return LK_FAIL(LK_E_CONFIG,
            "%s: layer %s (batch_norm): a microbatch of 1 row has 1 value a channel, and no variance; raise "
            "train.batch "
            "or lower train.microbatches",
            l->where, l->name);
    out->batch_norm = (lk_attr_batch_norm){.eps = l->o.batch_norm.eps, .momentum = l->o.batch_norm.momentum};
    return LK_OK;
}

static lk_status gelu_attrs(const layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->gelu.tanh = l->o.gelu.form == 1;
    return LK_OK;
}

static lk_status pool_attrs(const layer *l, const lk_shape *in, lk_attrs *out)
{
    const pool_opts *o = &l->o.pool;

    (void)in;
    out->pool2d = (lk_attr_pool2d){0};
    LK_TRY(pair(l, "size", &o->size, out->pool2d.kernel));
    LK_TRY(pair(l, "stride", o->stride.n > 0 ? &o->stride : &o->size, out->pool2d.stride));
    return pair(l, "pad", &o->pad, out->pool2d.pad);
}

static lk_status dropout_attrs(const layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->dropout.rate = l->o.dropout.rate;
    return LK_OK;
}

/* ---- layers to nodes ---- */
static lk_status add_node(builder *b, const layer *l, const lk_node_def *def, int *value)
{
    const lk_graph *g = b->graph;

    LK_TRY(lk_graph_add(b->graph, def, value));
    const int64_t n = lk_shape_count(&g->value[*value].shape);
    if (n > ELEMENTS_MAX || g->flat > ELEMENTS_MAX)
        return LK_FAIL(LK_E_CONFIG,
            "%s: layer %s: %" PRId64 " elements of output and %" PRId64
            " of parameters up to here are more than any memory holds",
            l->where, l->name, n, g->flat);
    return LK_OK;
}

static lk_status build_node(builder *b, const layer *l, int *value)
{
    const lk_shape in = b->graph->value[*value].shape;
    lk_node_def def = {.name = l->name, .where = l->where, .op = l->kind->op, .in = {*value}};

    if (l->kind->attrs != NULL)
        LK_TRY(l->kind->attrs(l, &in, &def.attr));
    return add_node(b, l, &def, value);
}

static lk_status build_linear(builder *b, const layer *l, int *value)
{
    lk_buf in = {0};

    if (b->graph->value[*value].shape.ndim != 4)
        return build_node(b, l, value);
    describe_value(b->graph, *value, &in);
    const lk_status st =
        LK_FAIL(LK_E_CONFIG, "%s: layer %s (linear): %s, with height and width; put \"- flatten\" in front", l->where,
            l->name, lk_buf_text(&in));
    lk_buf_fini(&in);
    return st;
}

static lk_status build_residual(builder *b, const layer *l, int *value)
{
    const residual_opts *o = &l->o.residual;
    int body = *value, beside = *value;

    LK_TRY(build_layers(b, o->layers, &body));
    if (o->shortcut != NULL)
        LK_TRY(build_layers(b, o->shortcut, &beside));
    const lk_shape *y = &b->graph->value[body].shape, *x = &b->graph->value[beside].shape;
    if (!lk_shape_equal(y, x)) {
        lk_buf text = {0};
        describe_value(b->graph, body, &text);
        lk_buf_add(&text, ", ");
        describe_value(b->graph, beside, &text);
        const lk_status st =
            LK_FAIL(LK_E_CONFIG, "%s: layer %s (residual): cannot add: %s%s", l->where, l->name, lk_buf_text(&text),
                o->shortcut == NULL ? "; give layers under \"shortcut\" that bring the input to the shape of the output"
                                    : "");
        lk_buf_fini(&text);
        return st;
    }
    const lk_node_def def = {.name = l->name, .where = l->where, .op = LK_OP_ADD, .in = {body, beside}};
    return add_node(b, l, &def, value);
}

/* ---- the layer table ---- */
#define NAME_ROW(type_)                                                                                                \
    LK_FIELD(type_, name, LK_T_STRING, .def = "", .help = "Name of the layer and its weights; unset: kind and number.")

static const lk_field linear_rows[] = {
    LK_FIELD(linear_opts, units, LK_T_INT, .min = 1, .max = 1e9, .help = "Outputs."),
    LK_FIELD(linear_opts, bias, LK_T_BOOL, .def = "true", .help = "Adds a learned number to each output."),
    NAME_ROW(linear_opts),
};
static const lk_table linear_table = LK_TABLE(linear_opts, "linear",
    "y = x W^T + b over the last dimension. `linear: 10` is short for `linear: {units: 10}`.", linear_rows);

static const lk_field conv_rows[] = {
    LK_FIELD(conv_opts, filters, LK_T_INT, .min = 1, .max = 1e9, .help = "Output channels."),
    LK_FIELD(conv_opts, kernel, LK_T_INTS, .min = 1, .max = 1e9,
        .help = "Size of the window: one number, or height and width."),
    LK_FIELD(conv_opts, stride, LK_T_INTS, .def = "1", .min = 1, .max = 1e9,
        .help = "Step of the window: one number, or height and width."),
    LK_FIELD(conv_opts, pad, LK_T_STRINGS, .def = "0",
        .help = "Zeros on each side: one number, or height and width; `valid`: none; `same`: so many that the output "
                "has the input's size (over the stride, rounded up; an odd one goes to bottom and right)."),
    LK_FIELD(conv_opts, bias, LK_T_BOOL, .def = "true",
        .help = "Adds a learned number to each channel; not needed in front of batch_norm."),
    NAME_ROW(conv_opts),
};
static const lk_table conv_table = LK_TABLE(conv_opts, "conv",
    "Convolution of [channels, height, width]; an input of [height, width] counts as one channel.", conv_rows);

static const lk_field batch_norm_rows[] = {
    LK_FIELD(batch_norm_opts, eps, LK_T_REAL, .def = "1e-5", .min = 0, .max = 1, .exclusive_min = true,
        .help = "Added to the variance."),
    LK_FIELD(batch_norm_opts, momentum, LK_T_REAL, .def = "0.1", .min = 0, .max = 1,
        .help = "Share of the fresh value in the running statistics that evaluation uses."),
    NAME_ROW(batch_norm_opts),
};
static const lk_table batch_norm_table = LK_TABLE(batch_norm_opts, "batch_norm",
    "Each channel to mean 0 and variance 1 over a microbatch, then scaled and shifted by learned numbers.",
    batch_norm_rows);

static const lk_field relu_rows[] = {NAME_ROW(plain_opts)};
static const lk_table relu_table = LK_TABLE(plain_opts, "relu", "max(x, 0).", relu_rows);

static const lk_field gelu_rows[] = {
    LK_FIELD(gelu_opts, form, LK_T_ENUM, .def = "erf", .choices = "erf|tanh", .help = "Exact, or by tanh."),
    NAME_ROW(gelu_opts),
};
static const lk_table gelu_table = LK_TABLE(gelu_opts, "gelu",
    "x times the normal distribution function at x. `gelu: tanh` is short for `gelu: {form: tanh}`.", gelu_rows);

static const lk_field pool_rows[] = {
    LK_FIELD(pool_opts, size, LK_T_INTS, .min = 1, .max = 1e9,
        .help = "Size of the window: one number, or height and width."),
    LK_FIELD(pool_opts, stride, LK_T_INTS, .def = "", .min = 1, .max = 1e9,
        .help = "Step of the window: one number, or height and width; unset: the size."),
    LK_FIELD(pool_opts, pad, LK_T_INTS, .def = "0", .min = 0, .max = 1e9,
        .help = "Padding on each side, smaller than the size: one number, or height and width."),
    NAME_ROW(pool_opts),
};
static const lk_table max_pool_table = LK_TABLE(pool_opts, "max_pool",
    "The largest value under a window; padding never is. `max_pool: 2` is short for `max_pool: {size: 2}`.", pool_rows);
static const lk_table avg_pool_table = LK_TABLE(pool_opts, "avg_pool",
    "The mean under a window, padding counted as zeros. `avg_pool: 2` is short for `avg_pool: {size: 2}`.", pool_rows);

static const lk_field global_pool_rows[] = {NAME_ROW(plain_opts)};
static const lk_table global_pool_table = LK_TABLE(plain_opts, "global_pool",
    "The mean of each channel: [channels, height, width] becomes [channels].", global_pool_rows);

static const lk_field flatten_rows[] = {NAME_ROW(plain_opts)};
static const lk_table flatten_table =
    LK_TABLE(plain_opts, "flatten", "All dimensions of a sample as one.", flatten_rows);

static const lk_field dropout_rows[] = {
    LK_FIELD(dropout_opts, rate, LK_T_REAL, .def = "0.5", .min = 0, .max = 1,
        .help = "Share of the values that are zero in a training step, below 1; the others are scaled up."),
    NAME_ROW(dropout_opts),
};
static const lk_table dropout_table = LK_TABLE(dropout_opts, "dropout",
    "Drops values at random in training. `dropout: 0.2` is short for `dropout: {rate: 0.2}`.", dropout_rows);

static const lk_field residual_rows[] = {
    LK_FIELD(residual_opts, layers, LK_T_NODE, .help = "List of layers."),
    LK_FIELD(residual_opts, shortcut, LK_T_NODE, .def = "",
        .help = "List of layers that the input goes through before it is added; unset: as it is."),
    NAME_ROW(residual_opts),
};
static const lk_table residual_table = LK_TABLE(residual_opts, "residual",
    "Adds its input to the output of a list of layers. `residual: [...]` is short for `residual: {layers: [...]}`.",
    residual_rows);

/* A new layer is a row here. */
static const layer_kind kinds[] = {
    {.table = &linear_table,
        .short_form = "units",
        .input = INPUT_ROWS,
        .op = LK_OP_LINEAR,
        .attrs = linear_attrs,
        .build = build_linear},
    {.table = &conv_table, .input = INPUT_IMAGE, .op = LK_OP_CONV2D, .attrs = conv_attrs},
    {.table = &batch_norm_table, .input = INPUT_IMAGE, .op = LK_OP_BATCH_NORM, .attrs = batch_norm_attrs},
    {.table = &relu_table, .op = LK_OP_RELU},
    {.table = &gelu_table, .short_form = "form", .op = LK_OP_GELU, .attrs = gelu_attrs},
    {.table = &max_pool_table, .short_form = "size", .input = INPUT_IMAGE, .op = LK_OP_MAX_POOL2D, .attrs = pool_attrs},
    {.table = &avg_pool_table, .short_form = "size", .input = INPUT_IMAGE, .op = LK_OP_AVG_POOL2D, .attrs = pool_attrs},
    {.table = &global_pool_table, .input = INPUT_IMAGE, .op = LK_OP_GLOBAL_AVG_POOL},
    {.table = &flatten_table, .input = INPUT_ROWS, .op = LK_OP_FLATTEN},
    {.table = &dropout_table, .short_form = "rate", .op = LK_OP_DROPOUT, .attrs = dropout_attrs},
    {.table = &residual_table, .short_form = "layers", .build = build_residual},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- the layer list ---- */
static const layer_kind *find_kind(const char *word)
{
    for (int k = 0; k < N_KINDS; k++) {
        if (strcmp(kinds[k].table->name, word) == 0)
            return &kinds[k];
    }
    return NULL;
}

static lk_status unknown_layer(const lk_yaml *item, const char *word)
{
    const char *names[N_KINDS];
    char known[KNOWN_BYTES];
    size_t used = 0;

    for (int k = 0; k < N_KINDS; k++) {
        names[k] = kinds[k].table->name;
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", k > 0 ? ", " : "", names[k]);
    }
    const char *near = lk_nearest(word, names, N_KINDS);
    if (near != NULL)
        return lk_yaml_fail(item, "unknown layer \"%.80s\" (did you mean \"%s\"?)", word, near);
    return lk_yaml_fail(item, "unknown layer \"%.80s\" (there are %s)", word, known);
}

/* The word of a layer and its value, which is NULL for a bare word. */
static lk_status layer_word(const lk_yaml *item, const char **word, const lk_yaml **value)
{
    if (item->kind == LK_YAML_SCALAR && !lk_yaml_is_empty(item)) {
        *word = item->text;
        *value = NULL;
        return LK_OK;
    }
    if (item->kind != LK_YAML_MAP || item->n_child == 0)
        return lk_yaml_fail(item, "expected a layer, one word or one key with its options, got %s",
            item->kind == LK_YAML_LIST ? "a list" : "nothing");
    if (item->n_child > 1)
        return lk_yaml_fail(item,
            "expected one layer, got the keys \"%.80s\" and \"%.80s\"; options stand in a map below the layer, layers "
            "each behind a dash",
            item->child[0]->key, item->child[1]->key);
    *word = item->child[0]->key;
    *value = item->child[0];
    return LK_OK;
}

/* Gives l->map a map: what was written, or one made of a bare word or of the option that a value stands for. */
static void layer_map(layer *l, const lk_yaml *item, const lk_yaml *value)
{
    l->map = value;
    if (value != NULL && value->kind == LK_YAML_MAP)
        return;
    l->made = (lk_yaml){.kind = LK_YAML_MAP,
        .source = item->source,
        .line = item->line,
        .column = item->column,
        .key = (char *)l->kind->table->name};
    l->map = &l->made;
    if (value == NULL || lk_yaml_is_empty(value))
        return;
    l->made_value = *value;
    l->made_value.key = (char *)l->kind->short_form;
    l->made_child = &l->made_value;
    l->made.child = &l->made_child;
    l->made.n_child = 1;
}

/* A name is part of the names of weights, and a group in checkpoints. */
static lk_status layer_name(builder *b, layer *l)
{
    const char *name = l->o.name;
    const int number = ++b->count[l->kind - kinds];

    if (name == NULL) {
        snprintf(l->name, sizeof l->name, "%s%d", l->kind->table->name, number);
        return LK_OK;
    }
    bool fits = isalpha((unsigned char)name[0]) && strlen(name) < sizeof l->name;
    for (const char *c = name; *c != 0; c++)
        fits = fits && (isalnum((unsigned char)*c) || *c == '_' || *c == '-' || *c == '.');
    if (!fits || strcmp(name, "loss") == 0) {
        char text[2 * NAME_BYTES];
        snprintf(text, sizeof text,
            "\"%.80s\" cannot name a layer; a letter, then letters, digits, _ - and ., fewer than %d in all, and not "
            "\"loss\"",
            name, NAME_BYTES);
        return option_fail(l, "name", text);
    }
    snprintf(l->name, sizeof l->name, "%s", name);
    return LK_OK;
}

static lk_status build_layer(builder *b, const lk_yaml *item, int *value)
{
    layer l = {0};
    const lk_yaml *written = NULL;
    const char *word = NULL;
    lk_status st;

    if (++b->n_layers > LAYERS_MAX)
        return lk_yaml_fail(item, "more than %d layers", LAYERS_MAX);
    LK_TRY(layer_word(item, &word, &written));
    l.kind = find_kind(word);
    if (l.kind == NULL)
        return unknown_layer(item, word);
    if (written != NULL && written->kind != LK_YAML_MAP && !lk_yaml_is_empty(written) && l.kind->short_form == NULL)
        return lk_yaml_fail(written, "%s: expected a map of options", word);
    where_text(item, l.where);
    layer_map(&l, item, written);
    LK_TRY(lk_table_parse(l.kind->table, l.map, &l.o));
    LK_TRY_TO(st, out, layer_name(b, &l));
    if (l.kind->build != NULL)
        LK_TRY_TO(st, out, l.kind->build(b, &l, value));
    else
        LK_TRY_TO(st, out, build_node(b, &l, value));
out:
    lk_table_fini(l.kind->table, &l.o);
    return st;
}

static lk_status build_layers(builder *b, const lk_yaml *list, int *value)
{
    if (list->kind != LK_YAML_LIST)
        return lk_yaml_fail(list, "%s: expected a list of layers, got %s", list->key,
            list->kind == LK_YAML_MAP ? "a map" : "a single value");
    if (list->n_child == 0)
        return lk_yaml_fail(list, "%s: the list of layers is empty", list->key);
    for (int i = 0; i < list->n_child; i++)
        LK_TRY(build_layer(b, list->child[i], value));
    return LK_OK;
}

/* What the first layer that minds takes its input for. Mistakes in the list are left to build_layers. */
static layer_input first_input(const lk_yaml *list)
{
    for (int i = 0; list != NULL && list->kind == LK_YAML_LIST && i < list->n_child; i++) {
        const lk_yaml *item = list->child[i];
        const lk_yaml *value = item->kind == LK_YAML_MAP && item->n_child == 1 ? item->child[0] : NULL;
        const layer_kind *kind = find_kind(value != NULL ? value->key : item->kind == LK_YAML_SCALAR ? item->text : "");
        if (kind == NULL)
            break;
        layer_input input = kind->input;
        if (kind->build == build_residual && value != NULL)
            input = first_input(value->kind == LK_YAML_MAP ? lk_yaml_get(value, "layers") : value);
        if (input != INPUT_ANY)
            return input;
    }
    return INPUT_ANY;
}

/* ---- the loss ---- */
/* The sizes of a sample without those of 1. */
static int bare_sizes(const lk_shape *s, int64_t out[LK_MAX_DIMS])
{
    int n = 0;

    for (int i = 1; i < s->ndim; i++) {
        if (s->dim[i] != 1)
            out[n++] = s->dim[i];
    }
    return n;
}

/* Whether a target's elements are the output's in the same order: equal but for sizes of 1, or one of the two
 * flattened. */
static bool same_elements(const lk_shape *a, const lk_shape *b)
{
    int64_t sa[LK_MAX_DIMS], sb[LK_MAX_DIMS];
    const int na = bare_sizes(a, sa), nb = bare_sizes(b, sb);

    if (lk_shape_row(a) != lk_shape_row(b))
        return false;
    return na <= 1 || nb <= 1 || (na == nb && memcmp(sa, sb, (size_t)na * sizeof sa[0]) == 0);
}

static lk_status add_loss(builder *b, const lk_config *c, int output, int target, int64_t *classes)
{
    lk_graph *g = b->graph;
    const lk_shape y = g->value[output].shape;
    char where[WHERE_BYTES];
    lk_node_def def = {
        .name = "loss", .where = lk_config_where(c, "train.objective", where, sizeof where), .in = {output, target}};

    if (c->train.objective == LK_OBJECTIVE_REGRESS) {
        if (same_elements(&y, &g->value[target].shape))
            g->value[target].shape = y;
        def.op = LK_OP_MSE;
        LK_TRY(lk_graph_add(g, &def, NULL));
        *classes = 0;
        return LK_OK;
    }
    if (y.ndim != 2 || y.dim[1] < 2) {
        lk_buf last = {0};
        describe_value(g, output, &last);
        const lk_status st = lk_yaml_fail(c->model,
            "model: %s, but objective classify needs [rows, classes] with at least 2 classes; end the list with %s\"- "
            "linear: CLASSES\"",
            lk_buf_text(&last), y.ndim == 2 ? "" : "\"- flatten\" and ");
        lk_buf_fini(&last);
        return st;
    }
    def.op = LK_OP_CROSS_ENTROPY;
    LK_TRY(lk_graph_add(g, &def, NULL));
    *classes = y.dim[1];
    return LK_OK;
}

lk_status lk_model_build(const lk_config *c, const lk_model_input *in, lk_graph **out, int64_t *classes)
{
    const bool regress = c->train.objective == LK_OBJECTIVE_REGRESS;
    lk_shape sample = in->sample;
    const lk_shape target_sample = regress ? in->target_sample : (lk_shape){0};
    int count[N_KINDS] = {0};
    builder b = {.count = count};
    int value, target;
    char where[WHERE_BYTES];
    lk_status st;

    if (sample.ndim == 2 && first_input(c->model) == INPUT_IMAGE)
        sample = (lk_shape){3, {1, sample.dim[0], sample.dim[1]}};
    LK_TRY(lk_graph_create(c->train.batch / c->train.microbatches, &b.graph));
    st = lk_graph_input(b.graph, "input", &sample, LK_DT_REAL, &value);
    if (st != LK_OK) {
        lk_err_prefix(st, "%s: data.input: ", lk_config_where(c, "data.input", where, sizeof where));
        goto fail;
    }
    st = lk_graph_input(b.graph, "target", &target_sample, regress ? LK_DT_REAL : LK_DT_I64, &target);
    if (st != LK_OK) {
        lk_err_prefix(st, "%s: data.target: ", lk_config_where(c, "data.target", where, sizeof where));
        goto fail;
    }
    LK_TRY_TO(st, fail, build_layers(&b, c->model, &value));
    LK_TRY_TO(st, fail, add_loss(&b, c, value, target, classes));
    *out = b.graph;
    return LK_OK;

fail:
    lk_graph_destroy(&b.graph);
    return st;
}

void lk_model_document(lk_buf *out)
{
    lk_buf_add(out, "## Layers\n\n"
                    "`model` is a list of layers, each fed by the one before. A layer is a word (`- relu`), or a key "
                    "with a map of options\n"
                    "(`- conv: {filters: 32, kernel: 3}`); where a layer says so, a plain value stands for its main "
                    "option (`- linear: 10`). A layer\n"
                    "without a name is called after its kind and its number among the layers of that kind, counted "
                    "through the whole list and the\n"
                    "lists in it: `conv1`, `conv2`, `linear1`. Weights are called after the layer: `conv1.weight`, "
                    "`conv1.bias`, with PyTorch's shapes.\n\n"
                    "What comes out of the last layer goes into the loss of `train.objective`: `classify` takes "
                    "`[rows, classes]`; `regress` takes\n"
                    "the target's shape.\n\n");
    for (int k = 0; k < N_KINDS; k++) {
        lk_buf_printf(out, "### `%s`\n\n", kinds[k].table->name);
        lk_table_document(kinds[k].table, "", out);
    }
}
