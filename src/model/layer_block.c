/* Layers that hold other layers, and those that bring named values together. */
#include "model/layer.h"

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

/* ---- add ---- */
typedef struct add_opts {
    LKI_LAYER_MEMBERS;
    lk_strings with;
} add_opts;

static const lk_field add_rows[] = {
    LK_FIELD(add_opts, with, LK_T_STRINGS, .help = "Names of the layers whose outputs are added."),
    LKI_LAYER_ROWS(add_opts),
};
static const lk_table add_table = LK_TABLE(add_opts, "add",
    "Adds the outputs of named layers to its input; all have one shape. `add: NAME` is short for `add: {with: NAME}`.", add_rows);

static lk_status build_add(lki_builder *b, const lki_layer *l, int *value)
{
    const add_opts *o = LKI_OPTS(l, add_opts);
    char name[2 * LKI_NAME_BYTES];

    for (int i = 0; i < o->with.n; i++) {
        int other;
        LK_TRY(lki_find_value(b, l, "with", o->with.item[i], &other));
        snprintf(name, sizeof name, i == o->with.n - 1 ? "%s" : "%s.%d", l->name, i);
        const lk_node_def def = {.name = name, .where = l->where, .op = LK_OP_ADD, .in = {*value, other}};
        LK_TRY(lki_add_node(b, l, &def, value));
    }
    return LK_OK;
}

const lki_layer_kind lki_layer_add = {.table = &add_table, .short_form = "with", .build = build_add};

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
