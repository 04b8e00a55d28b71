/* Layers that hold other layers, and those that bring named values together. */
#include "model/layer.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- residual ---- */
typedef struct residual_opts {
    LKI_LAYER_MEMBERS;
    const lk_yaml *layers, *shortcut;
} residual_opts;

static const lk_field residual_rows[] = {
    LK_FIELD(residual_opts, layers, LK_T_NODE, .help = "List of layers."),
    LK_FIELD(residual_opts, shortcut, LK_T_NODE, .def = "",
        .help = "List of layers that the input goes through before it is added; unset: as it is."),
    LKI_LAYER_ROWS(residual_opts),
};
static const lk_table residual_table = LK_TABLE(residual_opts, "residual",
    "Adds its input to the output of a list of layers. `residual: [...]` is short for `residual: {layers: [...]}`.",
    residual_rows);

static lk_status build_residual(lki_builder *b, const lki_layer *l, int *value)
{
    const residual_opts *o = LKI_OPTS(l, residual_opts);
    int body = *value, beside = *value;

    LK_TRY(lki_build_layers(b, o->layers, &body));
    if (o->shortcut != NULL)
        LK_TRY(lki_build_layers(b, o->shortcut, &beside));
    const lk_shape *y = &b->graph->value[body].shape, *x = &b->graph->value[beside].shape;
    if (!lk_shape_equal(y, x)) {
        lk_buf text = {0};
        lki_describe_value(b->graph, body, &text);
        lk_buf_add(&text, ", ");
        lki_describe_value(b->graph, beside, &text);
        const lk_status st =
            LK_FAIL(LK_E_CONFIG, "%s: layer %s (residual): cannot add: %s%s", l->where, l->name, lk_buf_text(&text),
                o->shortcut == NULL ? "; give layers under \"shortcut\" that bring the input to the shape of the output"
                                    : "");
        lk_buf_fini(&text);
        return st;
    }
    const lk_node_def def = {.name = l->name, .where = l->where, .op = LK_OP_ADD, .in = {body, beside}};
    return lki_add_node(b, l, &def, value);
}

const lki_layer_kind lki_layer_residual = {.table = &residual_table, .short_form = "layers", .inner = "layers", .build = build_residual};

/* ---- repeat ---- */
typedef struct repeat_opts {
    LKI_LAYER_MEMBERS;
    int64_t times;
    const lk_yaml *layers;
} repeat_opts;

static const lk_field repeat_rows[] = {
    LK_FIELD(repeat_opts, times, LK_T_INT, .min = 1, .max = 10000, .help = "How often."),
    LK_FIELD(repeat_opts, layers, LK_T_NODE, .help = "List of layers."),
    LKI_LAYER_ROWS(repeat_opts),
};
static const lk_table repeat_table = LK_TABLE(repeat_opts, "repeat",
    "A list of layers, so many times one after the other, each time with weights of its own. A name that is given in the "
    "list gets the number of the time, from 0: `NAME.0`, `NAME.1`; inside, NAME means that of the same time.",
    repeat_rows);

static lk_status build_repeat(lki_builder *b, const lki_layer *l, int *value)
{
    const repeat_opts *o = LKI_OPTS(l, repeat_opts);
    const size_t outer = strlen(b->scope);
    lk_status st = LK_OK;

    for (int64_t i = 0; i < o->times && st == LK_OK; i++) {
        snprintf(b->scope + outer, sizeof b->scope - outer, ".%d", (int)i);
        st = lki_build_layers(b, o->layers, value);
    }
    b->scope[outer] = 0;
    return st;
}

const lki_layer_kind lki_layer_repeat = {.table = &repeat_table, .inner = "layers", .build = build_repeat};

/* ---- values brought together ---- */
typedef struct combine_opts {
    LKI_LAYER_MEMBERS;
    lk_strings with;
    int64_t axis;
} combine_opts;

/* Several values become one; more than an operation takes, in turns. */
static lk_status combine(lki_builder *b, const lki_layer *l, lk_op op, int axis, const int *in, int n, int *value)
{
    char name[2 * LKI_NAME_BYTES];
    const int most = op == LK_OP_MULTIPLY ? 2 : LK_MAX_IN;

    *value = in[0];
    for (int i = 1, turn = 0; i < n; turn++) {
        lk_node_def def = {.name = name, .where = l->where, .op = op, .n_in = 1, .in = {*value}};

        while (i < n && def.n_in < most)
            def.in[def.n_in++] = in[i++];
        snprintf(name, sizeof name, i == n ? "%s" : "%s.%d", l->name, turn);
        if (op == LK_OP_CONCAT)
            def.attr.axis.axis = axis;
        LK_TRY(lki_add_node(b, l, &def, value));
    }
    return LK_OK;
}

static lk_status build_combine(lki_builder *b, const lki_layer *l, int *value)
{
    const combine_opts *o = LKI_OPTS(l, combine_opts);
    int *in = NULL;
    lk_status st;

    LK_TRY(lk_alloc_array(o->with.n + 1, sizeof *in, "named values", &in));
    in[0] = *value;
    for (int i = 0; i < o->with.n; i++)
        LK_TRY_TO(st, out, lki_find_value(b, l, "with", o->with.item[i], &in[i + 1]));
    LK_TRY_TO(st, out, combine(b, l, l->kind->op, (int)o->axis, in, o->with.n + 1, value));
out:
    lk_free(in);
    return st;
}

#define WITH_ROW \
    LK_FIELD(combine_opts, with, LK_T_STRINGS, .help = "Names of layers or fields of the data.")

static const lk_field add_rows[] = {WITH_ROW, LKI_LAYER_ROWS(combine_opts)};
static const lk_table add_table = LK_TABLE(combine_opts, "add",
    "Adds named values to its input; all have one shape. `add: NAME` is short for `add: {with: NAME}`.", add_rows);
const lki_layer_kind lki_layer_add = {.table = &add_table, .short_form = "with", .op = LK_OP_ADD, .build = build_combine};

static const lk_field multiply_rows[] = {WITH_ROW, LKI_LAYER_ROWS(combine_opts)};
static const lk_table multiply_table = LK_TABLE(combine_opts, "multiply",
    "Multiplies its input by named values, element by element; one number a channel ([channels] or [channels, 1, 1]) "
    "scales pictures. `multiply: NAME` is short for `multiply: {with: NAME}`.",
    multiply_rows);
const lki_layer_kind lki_layer_multiply = {.table = &multiply_table, .short_form = "with", .op = LK_OP_MULTIPLY, .build = build_combine};

static const lk_field concat_rows[] = {
    WITH_ROW,
    LK_FIELD(combine_opts, axis, LK_T_INT, .def = "1", .min = 1, .max = LK_MAX_DIMS - 1,
        .help = "Dimension along which they stand one behind the other, counted from the rows, which are 0: 1 are channels of a picture."),
    LKI_LAYER_ROWS(combine_opts),
};
static const lk_table concat_table = LK_TABLE(combine_opts, "concat",
    "Its input and named values, one behind the other. `concat: NAME` is short for `concat: {with: NAME}`.", concat_rows);
const lki_layer_kind lki_layer_concat = {.table = &concat_table, .short_form = "with", .op = LK_OP_CONCAT, .build = build_combine};

/* ---- branch ---- */
typedef struct branch_opts {
    LKI_LAYER_MEMBERS;
    const lk_yaml *paths;
    int combine;
    int64_t axis;
} branch_opts;

static const lk_field branch_rows[] = {
    LK_FIELD(branch_opts, paths, LK_T_NODE, .help = "A list of lists of layers, each fed with the input; an empty one passes it on."),
    LK_FIELD(branch_opts, combine, LK_T_ENUM, .def = "concat", .choices = "concat|add|multiply", .help = "How their outputs become one."),
    LK_FIELD(branch_opts, axis, LK_T_INT, .def = "1", .min = 1, .max = LK_MAX_DIMS - 1, .help = "concat: the dimension, as in the layer concat."),
    LKI_LAYER_ROWS(branch_opts),
};
static const lk_table branch_table = LK_TABLE(branch_opts, "branch",
    "Several lists of layers side by side. `branch: [[...], [...]]` is short for `branch: {paths: [[...], [...]]}`.", branch_rows);

static lk_status build_branch(lki_builder *b, const lki_layer *l, int *value)
{
    static const lk_op ops[] = {LK_OP_CONCAT, LK_OP_ADD, LK_OP_MULTIPLY};
    const branch_opts *o = LKI_OPTS(l, branch_opts);
    int *in = NULL;
    lk_status st = LK_OK;

    if (o->paths->kind != LK_YAML_LIST || o->paths->n_child < 2)
        return lki_option_fail(l, "paths", "expected a list of at least two lists of layers");
    LK_TRY(lk_alloc_array(o->paths->n_child, sizeof *in, "branches", &in));
    for (int i = 0; i < o->paths->n_child; i++) {
        const lk_yaml *path = o->paths->child[i];

        in[i] = *value;
        if (path->kind != LK_YAML_LIST)
            LK_TRY_TO(st, out, lk_yaml_fail(path, "branch.paths: expected a list of layers"));
        if (path->n_child > 0)
            LK_TRY_TO(st, out, lki_build_layers(b, path, &in[i]));
    }
    LK_TRY_TO(st, out, combine(b, l, ops[o->combine], (int)o->axis, in, o->paths->n_child, value));
out:
    lk_free(in);
    return st;
}

const lki_layer_kind lki_layer_branch = {.table = &branch_table, .short_form = "paths", .build = build_branch};

/* ---- take ---- */
static const lk_field take_rows[] = {LKI_LAYER_ROWS(lki_layer_opts)};
static const lk_table take_table = LK_TABLE(lki_layer_opts, "take",
    "Goes on with the output of a named layer, or with a field of the data. `take: NAME` is short for `take: {from: NAME}`.", take_rows);

static lk_status build_take(lki_builder *b, const lki_layer *l, int *value)
{
    (void)b;
    (void)value;
    if (LKI_OPTS(l, lki_layer_opts)->from == NULL)
        return lki_option_fail(l, "from", "must be given: the name of a layer or of a field");
    return LK_OK;
}

const lki_layer_kind lki_layer_take = {.table = &take_table, .short_form = "from", .build = build_take};
