/* The layer list of a config becomes nodes of a graph here: words, options, names. What a kind of layer is made of stands
 * in the file of its family (layer.h). */
#include "model/layer.h"
#include "base/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* LAYERS_MAX bounds the work of a mistaken `repeat`; ELEMENTS_MAX is beyond any memory, and its sums are far from
 * overflow. */
enum { LAYERS_MAX = 10000 };
#define ELEMENTS_MAX (INT64_C(1) << 48)

static const lki_layer_kind *const kinds[] = {
#define X(word) &lki_layer_##word,
    LKI_LAYER_LIST(X)
#undef X
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- for the builders ---- */
void lki_where_text(const lk_yaml *node, char out[LKI_WHERE_BYTES])
{
    if (node->line == 0)
        snprintf(out, LKI_WHERE_BYTES, "%s", node->source);
    else
        snprintf(out, LKI_WHERE_BYTES, "%s:%d:%d", node->source, node->line, node->column);
}

void lki_describe_value(const lk_graph *g, int value, lk_buf *out)
{
    const lk_value *v = &g->value[value];
    char shape[LK_SHAPE_TEXT];

    lk_shape_print(&v->shape, shape);
    if (v->producer < 0)
        lk_buf_printf(out, "\"%s\" is %s", v->name, shape);
    else
        lk_buf_printf(out, "%s (%s) gives %s", g->node[v->producer].name, g->node[v->producer].where, shape);
}

lk_status lki_option_fail(const lki_layer *l, const char *option, const char *text)
{
    const lk_yaml *node = lk_yaml_get(l->map, option);

    return lk_yaml_fail(node != NULL ? node : l->map, "%s.%s: %s", l->kind->table->name, option, text);
}

lk_status lki_sides(const lki_layer *l, const char *option, const lk_ints *given, int n, int64_t *out)
{
    static const char *const sides[] = {"", "", " or two (height, width)", " or three (depth, height, width)"};
    char text[96];

    if (given->n != 1 && given->n != n) {
        snprintf(text, sizeof text, "expected one number%s, got %d", sides[n], given->n);
        return lki_option_fail(l, option, text);
    }
    for (int i = 0; i < n; i++)
        out[i] = given->item[given->n == 1 ? 0 : i];
    return LK_OK;
}

lk_status lki_add_node(lki_builder *b, const lki_layer *l, const lk_node_def *def, int *value)
{
    const lk_graph *g = b->graph;
    lk_node_def d = *def;
    char again[2 * LKI_NAME_BYTES + 16];

    if (b->again > 0) {
        snprintf(again, sizeof again, "%s@%d", def->name, b->again + 1);
        d.name = again;
        if (g->node[lk_graph_find(g, def->name)].spec.n_params > 0)
            d.share = def->name;
    }
    LK_TRY(lk_graph_add(b->graph, &d, value));
    const int64_t n = lk_shape_count(&g->value[*value].shape);
    if (n > ELEMENTS_MAX || g->flat > ELEMENTS_MAX)
        return LK_FAIL(LK_E_CONFIG,
            "%s: layer %s: %" PRId64 " elements of output and %" PRId64
            " of parameters up to here are more than any memory holds",
            l->where, l->name, n, g->flat);
    return LK_OK;
}

lk_status lki_build_node(lki_builder *b, const lki_layer *l, int *value)
{
    const lk_shape in = b->graph->value[*value].shape;
    lk_node_def def = {.name = l->name, .where = l->where, .op = l->kind->op, .in = {*value}};

    if (l->kind->attrs != NULL)
        LK_TRY(l->kind->attrs(l, &in, &def.attr));
    return lki_add_node(b, l, &def, value);
}

lk_status lki_build_part(lki_builder *b, const lki_layer *l, const char *suffix, lk_op op, const lk_attrs *attr, int *value)
{
    char name[2 * LKI_NAME_BYTES];

    snprintf(name, sizeof name, "%s.%s", l->name, suffix);
    const lk_node_def def = {.name = name, .where = l->where, .op = op, .attr = *attr, .in = {*value}};
    return lki_add_node(b, l, &def, value);
}

/* ---- named values ---- */
lk_status lki_builder_init(lki_builder *b, lk_graph *g)
{
    *b = (lki_builder){.graph = g, .prefix = ""};
    return lk_alloc_array(N_KINDS, sizeof *b->count, "layer counts", &b->count);
}

void lki_builder_fini(lki_builder *b)
{
    lk_free(b->count);
    lk_free(b->named);
}

void lki_builder_again(lki_builder *b)
{
    b->again++;
}

void lki_builder_restart(lki_builder *b)
{
    memset(b->count, 0, N_KINDS * sizeof *b->count);
}

lk_status lki_name_value(lki_builder *b, const char *name, int value)
{
    if (b->n_named == b->cap_named) {
        const int more = b->cap_named == 0 ? 32 : 2 * b->cap_named;
        LK_TRY(lk_realloc_array(b->cap_named, more, sizeof *b->named, "named values", &b->named));
        b->cap_named = more;
    }
    lki_named *n = &b->named[b->n_named++];
    snprintf(n->name, sizeof n->name, "%s", name);
    n->value = value;
    return LK_OK;
}

lk_status lki_find_value(lki_builder *b, const lki_layer *l, const char *option, const char *name, int *value)
{
    char full[2 * LKI_NAME_BYTES], scope[LKI_NAME_BYTES], text[3 * LKI_NAME_BYTES];

    snprintf(scope, sizeof scope, "%s", b->scope);
    for (;;) {
        snprintf(full, sizeof full, "%s%s", name, scope);
        for (int i = b->n_named - 1; i >= 0; i--) {
            if (strcmp(b->named[i].name, full) == 0) {
                *value = b->named[i].value;
                return LK_OK;
            }
        }
        char *last = strrchr(scope, '.');
        if (last == NULL)
            break;
        *last = 0;
    }
    const char **names = NULL;
    LK_TRY(lk_alloc_array(b->n_named + 1, sizeof *names, "names", &names));
    for (int i = 0; i < b->n_named; i++)
        names[i] = b->named[i].name;
    const char *near = lk_nearest(name, names, b->n_named);
    snprintf(text, sizeof text, "no earlier layer and no field of the data is called \"%.80s\"%s%.80s%s", name,
        near != NULL ? " (did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?)" : "");
    lk_free(names);
    return lki_option_fail(l, option, text);
}

/* ---- the layer list ---- */
static int find_kind(const char *word)
{
    for (int k = 0; k < N_KINDS; k++) {
        if (strcmp(kinds[k]->table->name, word) == 0)
            return k;
    }
    return -1;
}

static lk_status unknown_layer(const lk_yaml *item, const char *word)
{
    const char *names[N_KINDS];

    for (int k = 0; k < N_KINDS; k++)
        names[k] = kinds[k]->table->name;
    const char *near = lk_nearest(word, names, N_KINDS);
    if (near != NULL)
        return lk_yaml_fail(item, "unknown layer \"%.80s\" (did you mean \"%s\"?)", word, near);
    return lk_yaml_fail(item, "unknown layer \"%.80s\" (docs/config.md lists what there is)", word);
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
static void layer_map(lki_layer *l, const lk_yaml *item, const lk_yaml *value)
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
static lk_status layer_name(lki_builder *b, lki_layer *l, int kind)
{
    const char *name = LKI_OPTS(l, lki_layer_opts)->name;
    const int number = ++b->count[kind];

    if (name == NULL) {
        snprintf(l->name, sizeof l->name, "%s%s%d", b->prefix, l->kind->table->name, number);
        return LK_OK;
    }
    bool fits = isalpha((unsigned char)name[0]) && strlen(b->prefix) + strlen(name) + strlen(b->scope) < sizeof l->name / 2;
    for (const char *c = name; *c != 0; c++)
        fits = fits && (isalnum((unsigned char)*c) || *c == '_' || *c == '-' || *c == '.');
    if (!fits || strcmp(name, "loss") == 0) {
        char text[2 * LKI_NAME_BYTES];
        snprintf(text, sizeof text,
            "\"%.80s\" cannot name a layer; a letter, then letters, digits, _ - and ., fewer than %d in all, and not "
            "\"loss\"",
            name, LKI_NAME_BYTES / 2);
        return lki_option_fail(l, "name", text);
    }
    snprintf(l->name, sizeof l->name, "%s%s%s", b->prefix, name, b->scope);
    return LK_OK;
}

/* What the layer's output is called by others: its name without the prefix of the network. */
static lk_status layer_output(lki_builder *b, const lki_layer *l, int value)
{
    return lki_name_value(b, l->name + strlen(b->prefix), value);
}

static lk_status build_layer(lki_builder *b, const lk_yaml *item, int *value)
{
    lki_layer l = {0};
    const lk_yaml *written = NULL;
    const char *word = NULL;
    lk_status st;

    if (++b->n_layers > LAYERS_MAX)
        return lk_yaml_fail(item, "more than %d layers", LAYERS_MAX);
    LK_TRY(layer_word(item, &word, &written));
    const int kind = find_kind(word);
    if (kind < 0)
        return unknown_layer(item, word);
    l.kind = kinds[kind];
    if (written != NULL && written->kind != LK_YAML_MAP && !lk_yaml_is_empty(written) && l.kind->short_form == NULL)
        return lk_yaml_fail(written, "%s: expected a map of options", word);
    lki_where_text(item, l.where);
    layer_map(&l, item, written);
    LK_BUG_IF(l.kind->table->size > sizeof l.opts, "options of %s take %zu bytes", word, l.kind->table->size);
    LK_TRY(lk_table_parse(l.kind->table, l.map, l.opts));
    LK_TRY_TO(st, out, layer_name(b, &l, kind));
    const char *from = LKI_OPTS(&l, lki_layer_opts)->from;
    if (from != NULL)
        LK_TRY_TO(st, out, lki_find_value(b, &l, "from", from, value));
    if (l.kind->build != NULL)
        LK_TRY_TO(st, out, l.kind->build(b, &l, value));
    else
        LK_TRY_TO(st, out, lki_build_node(b, &l, value));
    LK_TRY_TO(st, out, layer_output(b, &l, *value));
out:
    lk_table_fini(l.kind->table, l.opts);
    return st;
}

lk_status lki_build_layers(lki_builder *b, const lk_yaml *list, int *value)
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

lki_layer_input lki_first_input(const lk_yaml *list)
{
    for (int i = 0; list != NULL && list->kind == LK_YAML_LIST && i < list->n_child; i++) {
        const lk_yaml *item = list->child[i];
        const lk_yaml *value = item->kind == LK_YAML_MAP && item->n_child == 1 ? item->child[0] : NULL;
        const int kind = find_kind(value != NULL ? value->key : item->kind == LK_YAML_SCALAR ? item->text : "");
        if (kind < 0)
            break;
        lki_layer_input input = kinds[kind]->input;
        if (kinds[kind]->inner != NULL && value != NULL)
            input = lki_first_input(value->kind == LK_YAML_MAP ? lk_yaml_get(value, kinds[kind]->inner) : value);
        if (input != LKI_INPUT_ANY)
            return input;
    }
    return LKI_INPUT_ANY;
}

void lki_layers_document(lk_buf *out)
{
    for (int k = 0; k < N_KINDS; k++) {
        lk_buf_printf(out, "### `%s`\n\n", kinds[k]->table->name);
        lk_table_document(kinds[k]->table, "", out);
    }
}
