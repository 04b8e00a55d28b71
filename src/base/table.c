#include "base/table.h"
#include "base/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 256, PATH_BYTES = 256, MANY_FIELDS = 512, HELP_COLUMNS = 100, HELP_INDENT_MAX = 34 };

/* A value on its way into a member: where it was written, for messages. */
typedef struct origin {
    const lk_yaml *node; /* from YAML */
    const char *path; /* "train.batch" */
    const lk_table *table; /* from the command line: */
    const char *option; /* "--batch" or "CONFIG" */
} origin;

static void *member(const lk_field *f, void *obj)
{
    return (char *)obj + f->offset;
}

static const void *member_const(const lk_field *f, const void *obj)
{
    return (const char *)obj + f->offset;
}

/* Choices: words with | between them. */

static const char *choice_at(const char *choices, int index, size_t *len)
{
    const char *c = choices;

    for (; index > 0; index--) {
        c = strchr(c, '|');
        if (c == NULL)
            return NULL;
        c++;
    }
    *len = strcspn(c, "|");
    return c;
}

static int choice_index(const char *choices, const char *word)
{
    size_t len;
    const char *c;

    for (int i = 0; (c = choice_at(choices, i, &len)) != NULL; i++) {
        if (strlen(word) == len && strncmp(c, word, len) == 0)
            return i;
    }
    return -1;
}

const char *lk_choice_text(const char *choices, int index, char *out, size_t cap)
{
    size_t len = 0;
    const char *c = index >= 0 ? choice_at(choices, index, &len) : NULL;

    snprintf(out, cap, "%.*s", c != NULL ? (int)len : 1, c != NULL ? c : "?");
    return out;
}

/* Messages. */

static bool has_range(const lk_field *f)
{
    return f->min != f->max && (!isinf(f->min) || !isinf(f->max));
}

static void format_bound(double v, char *out, size_t cap)
{
    if (fabs(v) < 1e6)
        lk_format_f64(v, out, cap);
    else
        snprintf(out, cap, "%.6g", v);
}

/* "1 to 1e+09", "at least 0", "above 0, at most 1". */
static const char *range_text(const lk_field *f, char *out, size_t cap)
{
    char lo[32], hi[32];

    format_bound(f->min, lo, sizeof lo);
    format_bound(f->max, hi, sizeof hi);
    if (isinf(f->min))
        snprintf(out, cap, "at most %s", hi);
    else if (isinf(f->max))
        snprintf(out, cap, "%s %s", f->exclusive_min ? "above" : "at least", lo);
    else if (f->exclusive_min)
        snprintf(out, cap, "above %s, at most %s", lo, hi);
    else
        snprintf(out, cap, "%s to %s", lo, hi);
    return out;
}

static const char *expected_text(const lk_field *f, char *out, size_t cap)
{
    switch (f->type) {
    case LK_T_BOOL:
        return "true or false";
    case LK_T_INT:
        return "a whole number";
    case LK_T_REAL:
        return "a number";
    case LK_T_STRING:
        return "text";
    case LK_T_STRINGS:
        return "text or a list of texts";
    case LK_T_REALS:
        return "a number or a list of numbers";
    case LK_T_INTS:
        return "a whole number or a list of whole numbers";
    case LK_T_EVERY:
        return "\"200 steps\", \"1 epoch\" or \"never\"";
    case LK_T_TABLE:
        return "a map";
    case LK_T_NODE:
        return "a value";
    case LK_T_ENUM:
        break;
    }
    size_t used = (size_t)snprintf(out, cap, "one of "), len;
    const char *c;
    for (int i = 0; (c = choice_at(f->choices, i, &len)) != NULL && used < cap; i++)
        used += (size_t)snprintf(out + used, cap - used, "%s%.*s", i > 0 ? ", " : "", (int)len, c);
    return out;
}

static lk_status value_fail(const origin *o, const char *text)
{
    if (o->table != NULL)
        return LK_FAIL(LK_E_USAGE, "%s: %s: %s", o->table->name, o->option, text);
    /* "--set train.batch: train.batch: ..." says it twice. */
    if (o->node->line == 0 && strncmp(o->node->source, "--set ", 6) == 0 && strcmp(o->node->source + 6, o->path) == 0)
        return lk_yaml_fail(o->node, "%s", text);
    return lk_yaml_fail(o->node, "%s: %s", o->path, text);
}

static lk_status type_fail(const lk_field *f, const lk_yaml *node, const char *got, const origin *o)
{
    char expected[TEXT_BYTES], text[2 * TEXT_BYTES];
    const char *what = expected_text(f, expected, sizeof expected);

    if (node != NULL && node->kind != LK_YAML_SCALAR)
        snprintf(text, sizeof text, "expected %s, got a %s", what, node->kind == LK_YAML_MAP ? "map" : "list");
    else if (node != NULL && lk_yaml_is_empty(node))
        snprintf(text, sizeof text, "expected %s, got nothing", what);
    else
        snprintf(text, sizeof text, "expected %s, got \"%.80s\"%s", what, got,
            node != NULL && node->quoted && f->type != LK_T_ENUM ? " in quotes" : "");
    return value_fail(o, text);
}

static lk_status choice_fail(const lk_field *f, const char *got, const origin *o)
{
    char words[TEXT_BYTES], expected[TEXT_BYTES], text[3 * TEXT_BYTES];
    const char *word[32];
    int n = 0;

    snprintf(words, sizeof words, "%s", f->choices);
    for (char *w = words; w != NULL && n < 32; n++) {
        word[n] = w;
        w = strchr(w, '|');
        if (w != NULL)
            *w++ = 0;
    }
    const char *near = lk_nearest(got, word, n);
    snprintf(text, sizeof text, "expected %s, got \"%.80s\"", expected_text(f, expected, sizeof expected), got);
    if (near != NULL)
        snprintf(text + strlen(text), sizeof text - strlen(text), " (did you mean \"%s\"?)", near);
    return value_fail(o, text);
}

static lk_status check_range(const lk_field *f, double v, const char *got, const origin *o)
{
    char range[TEXT_BYTES], text[2 * TEXT_BYTES];

    if (!has_range(f) || (v > f->min && v <= f->max) || (v == f->min && !f->exclusive_min))
        return LK_OK;
    snprintf(text, sizeof text, "%.80s is out of range (%s)", got, range_text(f, range, sizeof range));
    return value_fail(o, text);
}

/* Values. */

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};

    for (int i = 0; i < 6; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return true;
        }
    }
    return false;
}

static bool parse_every(const char *text, lk_every *out)
{
    char number[32];
    const size_t n = strcspn(text, " ");
    lk_every e = {0};

    if (strcmp(text, "never") == 0) {
        *out = e;
        return true;
    }
    if (n >= sizeof number)
        return false;
    memcpy(number, text, n);
    number[n] = 0;
    if (!lk_parse_i64(number, &e.count) || e.count == 0)
        return false;
    const char *unit = text + n + strspn(text + n, " ");
    if (strcmp(unit, "epoch") == 0 || strcmp(unit, "epochs") == 0)
        e.epochs = true;
    else if (strcmp(unit, "step") != 0 && strcmp(unit, "steps") != 0 && text[n] != 0)
        return false;
    *out = e;
    return e.count > 0;
}

/* One scalar as a value of the row's type, or of one item of it, into *to (which holds nothing that is owned). */
static lk_status set_item(const lk_field *f, const char *text, const lk_yaml *node, const origin *o, void *to)
{
    const bool quoted = node != NULL && node->quoted;
    double real;
    int64_t whole;

    switch (f->type) {
    case LK_T_BOOL:
        return !quoted && parse_bool(text, to) ? LK_OK : type_fail(f, node, text, o);
    case LK_T_INT:
    case LK_T_INTS:
        if (quoted || !lk_parse_i64(text, &whole))
            return type_fail(f, node, text, o);
        LK_TRY(check_range(f, (double)whole, text, o));
        *(int64_t *)to = whole;
        return LK_OK;
    case LK_T_REAL:
    case LK_T_REALS:
        if (quoted || !lk_parse_f64(text, &real))
            return type_fail(f, node, text, o);
        LK_TRY(check_range(f, real, text, o));
        *(double *)to = real;
        return LK_OK;
    case LK_T_STRING:
    case LK_T_STRINGS:
        return lk_strdup(text, to);
    case LK_T_ENUM: {
        const int index = choice_index(f->choices, text);
        if (index < 0)
            return choice_fail(f, text, o);
        *(int *)to = index;
        return LK_OK;
    }
    case LK_T_EVERY: {
        lk_every e;
        if (!parse_every(text, &e))
            return type_fail(f, node, text, o);
        if (e.count > 0)
            LK_TRY(check_range(f, (double)e.count, text, o));
        *(lk_every *)to = e;
        return LK_OK;
    }
    case LK_T_TABLE:
    case LK_T_NODE:
        break;
    }
    lk_bug(__FILE__, __LINE__, "row \"%s\" has no scalar type", f->name);
}

/* The three list types have the same shape: a pointer and a count. */

static bool is_list(const lk_field *f)
{
    return f->type == LK_T_STRINGS || f->type == LK_T_REALS || f->type == LK_T_INTS;
}

static size_t item_size(const lk_field *f)
{
    return f->type == LK_T_STRINGS ? sizeof(char *) : f->type == LK_T_REALS ? sizeof(double) : sizeof(int64_t);
}

static void *list_get(const lk_field *f, const void *list, int *n)
{
    if (f->type == LK_T_STRINGS) {
        *n = ((const lk_strings *)list)->n;
        return ((const lk_strings *)list)->item;
    }
    if (f->type == LK_T_REALS) {
        *n = ((const lk_reals *)list)->n;
        return ((const lk_reals *)list)->item;
    }
    *n = ((const lk_ints *)list)->n;
    return ((const lk_ints *)list)->item;
}

static void list_set(const lk_field *f, void *list, void *items, int n)
{
    if (f->type == LK_T_STRINGS)
        *(lk_strings *)list = (lk_strings){.item = items, .n = n};
    else if (f->type == LK_T_REALS)
        *(lk_reals *)list = (lk_reals){.item = items, .n = n};
    else
        *(lk_ints *)list = (lk_ints){.item = items, .n = n};
}

static void list_free(const lk_field *f, void *list)
{
    int n;
    void *items = list_get(f, list, &n);

    for (int i = 0; i < n && f->type == LK_T_STRINGS; i++)
        lk_free(((char **)items)[i]);
    lk_free(items);
    list_set(f, list, NULL, 0);
}

/* Adds one item at the end; lists in options are short. */
static lk_status list_add(const lk_field *f, const char *text, const lk_yaml *node, const origin *o, void *list)
{
    int n;
    void *items = list_get(f, list, &n);

    LK_TRY(lk_realloc_array(n, (int64_t)n + 1, item_size(f), f->name, &items));
    list_set(f, list, items, n);
    LK_TRY(set_item(f, text, node, o, (char *)items + (size_t)n * item_size(f)));
    list_set(f, list, items, n + 1);
    return LK_OK;
}

static void field_free(const lk_field *f, void *obj)
{
    void *m = member(f, obj);

    if (f->type == LK_T_STRING) {
        lk_free(*(char **)m);
        *(char **)m = NULL;
    } else if (is_list(f)) {
        list_free(f, m);
    } else if (f->type == LK_T_TABLE) {
        lk_table_fini(f->sub, m);
    }
}

void lk_table_fini(const lk_table *t, void *obj)
{
    for (int i = 0; i < t->n_fields; i++)
        field_free(&t->field[i], obj);
    memset(obj, 0, t->size);
}

static bool may_be_unset(const lk_field *f)
{
    return f->def != NULL && f->def[0] == 0;
}

static void set_empty(const lk_field *f, void *m)
{
    switch (f->type) {
    case LK_T_BOOL:
        *(bool *)m = false;
        break;
    case LK_T_INT:
        *(int64_t *)m = 0;
        break;
    case LK_T_REAL:
        *(double *)m = 0;
        break;
    case LK_T_ENUM:
        *(int *)m = 0;
        break;
    case LK_T_EVERY:
        *(lk_every *)m = (lk_every){0};
        break;
    case LK_T_NODE:
        *(const lk_yaml **)m = NULL;
        break;
    case LK_T_STRING:
    case LK_T_STRINGS:
    case LK_T_REALS:
    case LK_T_INTS:
    case LK_T_TABLE:
        break; /* freed by now, which leaves them empty */
    }
}

static lk_status parse_into(const lk_table *t, const lk_yaml *map, const char *path, void *obj);
static lk_status set_defaults(const lk_table *t, void *obj);

/* A list member from a list node, or from a scalar as a list of one. */
static lk_status set_list(const lk_field *f, const lk_yaml *node, const char *path, void *m)
{
    origin o = {.node = node, .path = path};

    if (node->kind == LK_YAML_SCALAR)
        return list_add(f, node->text, node, &o, m);
    if (node->kind == LK_YAML_MAP)
        return type_fail(f, node, NULL, &o);
    if (node->n_child == 0 && f->def == NULL)
        return value_fail(&o, "the list is empty");
    for (int i = 0; i < node->n_child; i++) {
        o.node = node->child[i];
        if (o.node->kind != LK_YAML_SCALAR || (lk_yaml_is_empty(o.node) && f->type == LK_T_STRINGS))
            return type_fail(f, o.node, NULL, &o);
        LK_TRY(list_add(f, o.node->text, o.node, &o, m));
    }
    return LK_OK;
}

/* A member from the node that gives it; what it held before is freed. */
static lk_status set_node(const lk_field *f, const lk_yaml *node, const char *path, void *obj)
{
    const origin o = {.node = node, .path = path};
    void *m = member(f, obj);

    if (f->type == LK_T_TABLE) {
        if (node->kind != LK_YAML_MAP && !lk_yaml_is_empty(node))
            return type_fail(f, node, node->text, &o);
        return parse_into(f->sub, node, path, m);
    }
    field_free(f, obj);
    if (lk_yaml_is_empty(node) && node->kind == LK_YAML_SCALAR) {
        if (!may_be_unset(f))
            return type_fail(f, node, node->text, &o);
        set_empty(f, m);
        return LK_OK;
    }
    if (f->type == LK_T_NODE) {
        *(const lk_yaml **)m = node;
        return LK_OK;
    }
    if (is_list(f))
        return set_list(f, node, path, m);
    if (node->kind != LK_YAML_SCALAR)
        return type_fail(f, node, NULL, &o);
    return set_item(f, node->text, node, &o, m);
}

const char *lk_table_missing(const lk_table *t)
{
    for (int i = 0; i < t->n_fields; i++) {
        const lk_field *f = &t->field[i];
        if (f->def == NULL && (f->type != LK_T_TABLE || lk_table_missing(f->sub) != NULL))
            return f->name;
    }
    return NULL;
}

static const char *nearest_row(const lk_table *t, const char *word)
{
    const char *names[MANY_FIELDS];
    int n = 0;

    for (int i = 0; i < t->n_fields && n < MANY_FIELDS; i++)
        names[n++] = t->field[i].name;
    return lk_nearest(word, names, n);
}

static const lk_field *find_row(const lk_table *t, const char *key)
{
    for (int i = 0; i < t->n_fields; i++) {
        if (strcmp(t->field[i].name, key) == 0)
            return &t->field[i];
    }
    return NULL;
}

static lk_status unknown_key(const lk_table *t, const lk_yaml *child, const char *where)
{
    const char *near = nearest_row(t, child->key);
    lk_yaml at = *child;

    at.line = child->key_line;
    at.column = child->key_column;
    if (near != NULL)
        return lk_yaml_fail(&at, "unknown key \"%.80s\" in %s (did you mean \"%s\"?)", child->key, where, near);
    return lk_yaml_fail(&at, "unknown key \"%.80s\" in %s", child->key, where);
}

static void join_path(const char *path, const char *name, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s%s%s", path, path[0] != 0 ? "." : "", name);
}

/* The entries of a map over the defaults that obj holds. */
static lk_status parse_into(const lk_table *t, const lk_yaml *map, const char *path, void *obj)
{
    const char *where = path[0] != 0 ? path : t->name;
    char below[PATH_BYTES];

    if (map->kind == LK_YAML_LIST)
        return lk_yaml_fail(map, "%s: expected a map, got a list", where);
    if (map->kind == LK_YAML_SCALAR && !lk_yaml_is_empty(map))
        return lk_yaml_fail(map, "%s: expected a map, got \"%.80s\"", where, map->text);
    for (int i = 0; i < map->n_child; i++) {
        const lk_yaml *child = map->child[i];
        const lk_field *f = find_row(t, child->key);
        if (f == NULL)
            return unknown_key(t, child, where);
        join_path(path, f->name, below);
        LK_TRY(set_node(f, child, below, obj));
    }
    for (int i = 0; i < t->n_fields; i++) {
        const lk_field *f = &t->field[i];
        if (f->def != NULL || lk_yaml_get(map, f->name) != NULL)
            continue;
        if (f->type != LK_T_TABLE || lk_table_missing(f->sub) != NULL)
            return lk_yaml_fail(map, "section \"%s\" lacks \"%s\"", where, f->name);
    }
    return LK_OK;
}

/* Defaults are ours: one that its own row refuses is a mistake in the program. */
static lk_status set_default(const lk_field *f, void *obj)
{
    const bool as_yaml = is_list(f) || f->type == LK_T_TABLE;
    lk_yaml *node = NULL;
    lk_yaml scalar = {.kind = LK_YAML_SCALAR, .source = "default"};
    lk_status st;

    if (f->type == LK_T_TABLE)
        LK_TRY(set_defaults(f->sub, member(f, obj)));
    if (f->def == NULL || f->def[0] == 0 || f->type == LK_T_NODE)
        return LK_OK;
    if (as_yaml) {
        LK_TRY_TO(st, out, lk_yaml_parse_text(f->def, "default", &node));
        LK_TRY_TO(st, out, set_node(f, node, f->name, obj));
    } else {
        const origin o = {.node = &scalar, .path = f->name};
        LK_TRY_TO(st, out, lk_strdup(f->def, &scalar.text));
        LK_TRY_TO(st, out, set_item(f, f->def, &scalar, &o, member(f, obj)));
    }
out:
    lk_free(scalar.text);
    lk_yaml_destroy(&node);
    LK_BUG_IF(st != LK_OK && st != LK_E_NOMEM, "%s", lk_err_last()->message);
    return st;
}

static lk_status set_defaults(const lk_table *t, void *obj)
{
    memset(obj, 0, t->size);
    for (int i = 0; i < t->n_fields; i++)
        LK_TRY(set_default(&t->field[i], obj));
    return LK_OK;
}

lk_status lk_table_parse(const lk_table *t, const lk_yaml *map, void *obj)
{
    lk_status st;

    memset(obj, 0, t->size);
    LK_TRY_TO(st, fail, set_defaults(t, obj));
    if (map != NULL)
        LK_TRY_TO(st, fail, parse_into(t, map, map->key != NULL ? t->name : "", obj));
    return LK_OK;

fail:
    lk_table_fini(t, obj);
    return st;
}

/* Command lines. */

static bool on_command_line(const lk_field *f)
{
    return f->type != LK_T_TABLE && f->type != LK_T_NODE;
}

/* Equal but for - and _. */
static bool same_option(const char *word, size_t len, const char *name)
{
    if (strlen(name) != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (word[i] != name[i] && !(word[i] == '-' && name[i] == '_'))
            return false;
    }
    return true;
}

static const lk_field *find_option(const lk_table *t, const char *word, size_t len)
{
    for (int i = 0; i < t->n_fields; i++) {
        const lk_field *f = &t->field[i];
        if (on_command_line(f) && !f->positional && same_option(word, len, f->name))
            return f;
    }
    return NULL;
}

static const lk_field *find_short(const lk_table *t, char c)
{
    for (int i = 0; i < t->n_fields; i++) {
        const lk_field *f = &t->field[i];
        if (on_command_line(f) && !f->positional && f->short_name == c && c != 0)
            return f;
    }
    return NULL;
}

/* "--max-restarts" for an option, "CONFIG" for a positional. */
static const char *shown_name(const lk_field *f, char *out, size_t cap)
{
    snprintf(out, cap, "%s%s", f->positional ? "" : "--", f->name);
    for (char *c = out; *c != 0; c++) {
        if (f->positional)
            *c = (char)toupper((unsigned char)*c);
        else if (*c == '_')
            *c = '-';
    }
    return out;
}

static lk_status unknown_option(const lk_table *t, const char *word)
{
    char name[64], shown[80];
    const lk_field *near_row = NULL;

    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    const char *bare = name + strspn(name, "-");
    for (char *c = name + strspn(name, "-"); *c != 0; c++)
        *c = *c == '-' ? '_' : *c;
    const char *names[MANY_FIELDS];
    int n = 0;
    for (int i = 0; i < t->n_fields && n < MANY_FIELDS; i++) {
        if (on_command_line(&t->field[i]) && !t->field[i].positional)
            names[n++] = t->field[i].name;
    }
    const char *near = strlen(bare) > 1 ? lk_nearest(bare, names, n) : NULL;
    if (near != NULL)
        near_row = find_row(t, near);
    if (near_row != NULL)
        return LK_FAIL(LK_E_USAGE, "%s: unknown option \"%.80s\" (did you mean \"%s\"?)", t->name, word,
            shown_name(near_row, shown, sizeof shown));
    return LK_FAIL(LK_E_USAGE, "%s: unknown option \"%.80s\"", t->name, word);
}

/* "1,2,3" as items of a list of numbers. */
static lk_status add_numbers(const lk_field *f, const char *text, const origin *o, void *m)
{
    char item[64];

    for (;;) {
        const size_t n = strcspn(text, ",");
        if (n >= sizeof item)
            return type_fail(f, NULL, text, o);
        memcpy(item, text, n);
        item[n] = 0;
        LK_TRY(list_add(f, item, NULL, o, m));
        if (text[n] == 0)
            return LK_OK;
        text += n + 1;
    }
}

/* A value from the command line. A list's first value takes the place of the default, the next ones are added. */
static lk_status set_arg(const lk_table *t, const lk_field *f, const char *text, bool *seen, void *obj)
{
    char name[80];
    const origin o = {.table = t, .option = shown_name(f, name, sizeof name)};
    void *m = member(f, obj);
    bool *given = &seen[f - t->field];

    if (!*given || !is_list(f))
        field_free(f, obj);
    *given = true;
    if (f->type == LK_T_STRINGS)
        return list_add(f, text, NULL, &o, m);
    if (is_list(f))
        return add_numbers(f, text, &o, m);
    return set_item(f, text, NULL, &o, m);
}

/* The next positional row that still takes a word. */
static const lk_field *next_positional(const lk_table *t, const bool *seen)
{
    for (int i = 0; i < t->n_fields; i++) {
        const lk_field *f = &t->field[i];
        if (on_command_line(f) && f->positional && (!seen[i] || f->type == LK_T_STRINGS))
            return f;
    }
    return NULL;
}

/* Something that begins like an option is no value, but for a single dash and a negative number. */
static bool looks_like_option(const char *word)
{
    return word[0] == '-' && word[1] != 0 && !isdigit((unsigned char)word[1]) && word[1] != '.';
}

/* One option at argv[*i]; *i moves to its last word. */
static lk_status take_option(const lk_table *t, int argc, char **argv, int *i, bool *seen, void *obj)
{
    const char *word = argv[*i];
    const char *value = NULL;
    const lk_field *f;
    char name[80];
    bool negated = false;

    if (word[1] == '-') {
        const size_t len = strcspn(word + 2, "=");
        f = find_option(t, word + 2, len);
        if (f == NULL && len > 3 && (strncmp(word + 2, "no-", 3) == 0 || strncmp(word + 2, "no_", 3) == 0)) {
            f = find_option(t, word + 5, len - 3);
            negated = f != NULL && f->type == LK_T_BOOL;
            f = negated ? f : NULL;
        }
        value = word[2 + len] == '=' ? word + 3 + len : NULL;
    } else {
        f = find_short(t, word[1]);
        if (f != NULL && word[2] != 0) {
            if (f->type == LK_T_BOOL)
                f = NULL;
            else
                value = word + 2;
        }
    }
    if (f == NULL)
        return unknown_option(t, word);
    if (negated && value != NULL)
        return LK_FAIL(LK_E_USAGE, "%s: \"%.80s\" takes no value", t->name, word);
    if (f->type == LK_T_BOOL)
        return set_arg(t, f, negated ? "false" : value != NULL ? value : "true", seen, obj);
    if (value == NULL) {
        if (*i + 1 >= argc || looks_like_option(argv[*i + 1]))
            return LK_FAIL(LK_E_USAGE, "%s: %s needs a value", t->name, shown_name(f, name, sizeof name));
        value = argv[++*i];
    }
    return set_arg(t, f, value, seen, obj);
}

/* A list has taken all words that were left: the rows behind it get the last ones, but for one that is the list's. */
static lk_status share_list(const lk_table *t, bool *seen, void *obj)
{
    const lk_field *list = next_positional(t, seen);
    lk_status st = LK_OK;

    if (list == NULL || list->type != LK_T_STRINGS)
        return LK_OK;
    lk_strings *words = member(list, obj);
    for (const lk_field *f = t->field + t->n_fields - 1; f > list && words->n > 1 && st == LK_OK; f--) {
        if (!on_command_line(f) || !f->positional)
            continue;
        char *word = words->item[--words->n];
        st = set_arg(t, f, word, seen, obj);
        lk_free(word);
    }
    return st;
}

static lk_status parse_words(
    const lk_table *t, int argc, char **argv, bool stop_at_positional, bool *seen, void *obj, int *used, bool *help)
{
    bool options = true;
    int i = 0;

    for (; i < argc; i++) {
        const char *word = argv[i];
        const bool is_option = options && looks_like_option(word);
        if (is_option && (strcmp(word, "--help") == 0 || (strcmp(word, "-h") == 0 && find_short(t, 'h') == NULL))) {
            *help = true;
            *used = i + 1;
            return LK_OK;
        }
        if (options && strcmp(word, "--") == 0) {
            options = false;
            if (stop_at_positional) {
                i++;
                break;
            }
            continue;
        }
        if (is_option) {
            LK_TRY(take_option(t, argc, argv, &i, seen, obj));
            continue;
        }
        if (stop_at_positional)
            break;
        const lk_field *f = next_positional(t, seen);
        if (f == NULL)
            return LK_FAIL(LK_E_USAGE, "%s: unexpected \"%.80s\"", t->name, word);
        LK_TRY(set_arg(t, f, word, seen, obj));
    }
    LK_TRY(share_list(t, seen, obj));
    for (int k = 0; k < t->n_fields; k++) {
        const lk_field *f = &t->field[k];
        char name[80];
        if (on_command_line(f) && f->def == NULL && !seen[k])
            return LK_FAIL(LK_E_USAGE, "%s: %s is missing", t->name, shown_name(f, name, sizeof name));
    }
    *used = i;
    return LK_OK;
}

lk_status lk_table_parse_args(
    const lk_table *t, int argc, char **argv, bool stop_at_positional, void *obj, int *used, bool *help)
{
    bool *seen = NULL;
    int n_used = 0;
    bool wants_help = false;
    lk_status st;

    memset(obj, 0, t->size);
    LK_TRY_TO(st, out, set_defaults(t, obj));
    LK_TRY_TO(st, out, lk_alloc_array(t->n_fields, sizeof *seen, "options seen", &seen));
    LK_TRY_TO(st, out, parse_words(t, argc, argv, stop_at_positional, seen, obj, &n_used, &wants_help));
    if (used != NULL)
        *used = n_used;
    if (help != NULL)
        *help = wants_help;
out:
    lk_free(seen);
    if (st != LK_OK)
        lk_table_fini(t, obj);
    return st;
}

/* Printing. */

static void add_text(const char *text, lk_buf *out)
{
    bool flag;
    double number;
    /* Read back by other YAML readers too: what would become another type there goes into quotes. */
    const bool nothing = strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
    lk_yaml_print_scalar(text, nothing || parse_bool(text, &flag) || lk_parse_f64(text, &number), out);
}

static void add_item(const lk_field *f, const void *item, lk_buf *out)
{
    char text[32];

    if (f->type == LK_T_STRINGS) {
        add_text(*(char *const *)item, out);
    } else if (f->type == LK_T_REALS) {
        lk_format_f64(*(const double *)item, text, sizeof text);
        lk_buf_add(out, text);
    } else {
        lk_buf_printf(out, "%" PRId64, *(const int64_t *)item);
    }
}

/* Zero that stands for "not given": a row whose default is to be unset, and whose range has no zero. */
static bool zero_is_unset(const lk_field *f, double v)
{
    return v == 0 && may_be_unset(f) && has_range(f) && (f->min > 0 || f->max < 0 || (f->min == 0 && f->exclusive_min));
}

static void add_value(const lk_field *f, const void *m, lk_buf *out)
{
    char text[TEXT_BYTES];
    int n;

    switch (f->type) {
    case LK_T_BOOL:
        lk_buf_add(out, *(const bool *)m ? "true" : "false");
        break;
    case LK_T_INT:
        if (zero_is_unset(f, (double)*(const int64_t *)m))
            lk_buf_add(out, "null");
        else
            lk_buf_printf(out, "%" PRId64, *(const int64_t *)m);
        break;
    case LK_T_REAL:
        lk_format_f64(*(const double *)m, text, sizeof text);
        lk_buf_add(out, zero_is_unset(f, *(const double *)m) ? "null" : text);
        break;
    case LK_T_STRING:
        if (*(char *const *)m == NULL)
            lk_buf_add(out, "null");
        else
            add_text(*(char *const *)m, out);
        break;
    case LK_T_ENUM:
        lk_buf_add(out, lk_choice_text(f->choices, *(const int *)m, text, sizeof text));
        break;
    case LK_T_EVERY: {
        const lk_every e = *(const lk_every *)m;
        if (e.count == 0)
            lk_buf_add(out, "never");
        else
            lk_buf_printf(out, "%" PRId64 " %s%s", e.count, e.epochs ? "epoch" : "step", e.count == 1 ? "" : "s");
        break;
    }
    case LK_T_STRINGS:
    case LK_T_REALS:
    case LK_T_INTS: {
        const char *items = list_get(f, m, &n);
        lk_buf_add(out, "[");
        for (int i = 0; i < n; i++) {
            lk_buf_add(out, i > 0 ? ", " : "");
            add_item(f, items + (size_t)i * item_size(f), out);
        }
        lk_buf_add(out, "]");
        break;
    }
    case LK_T_TABLE:
    case LK_T_NODE:
        break;
    }
}

static void indent_by(int indent, lk_buf *out)
{
    for (int i = 0; i < indent; i++)
        lk_buf_add(out, " ");
}

void lk_table_print(const lk_table *t, const void *obj, int indent, lk_buf *out)
{
    for (int i = 0; i < t->n_fields; i++) {
        const lk_field *f = &t->field[i];
        const void *m = member_const(f, obj);
        indent_by(indent, out);
        lk_buf_printf(out, "%s:", f->name);
        if (f->type == LK_T_TABLE) {
            lk_buf_add(out, f->sub->n_fields > 0 ? "\n" : " {}\n");
            lk_table_print(f->sub, m, indent + 2, out);
            continue;
        }
        const lk_yaml *node = f->type == LK_T_NODE ? *(const lk_yaml *const *)m : NULL;
        if (node != NULL && node->kind != LK_YAML_SCALAR && node->n_child > 0) {
            lk_buf_add(out, "\n");
            lk_yaml_print(node, indent + 2, out);
            continue;
        }
        lk_buf_add(out, " ");
        if (node != NULL) {
            lk_yaml_print(node, 0, out);
        } else {
            if (f->type == LK_T_NODE)
                lk_buf_add(out, "null");
            add_value(f, m, out);
            lk_buf_add(out, "\n");
        }
    }
}

/* Documentation. */

static const char *type_text(const lk_field *f)
{
    static const char *const text[] = {
        [LK_T_BOOL] = "true or false",
        [LK_T_INT] = "whole number",
        [LK_T_REAL] = "number",
        [LK_T_STRING] = "text",
        [LK_T_ENUM] = "choice",
        [LK_T_STRINGS] = "text or list",
        [LK_T_REALS] = "number or list",
        [LK_T_INTS] = "whole number or list",
        [LK_T_EVERY] = "interval",
        [LK_T_TABLE] = "section",
        [LK_T_NODE] = "see below",
    };
    return text[f->type];
}

/* Text in a cell of a Markdown table, where | would end the cell. */
static void add_cell(const char *text, bool code, lk_buf *out)
{
    lk_buf_add(out, code && text[0] != 0 ? " `" : " ");
    for (; *text != 0; text++) {
        if (*text == '|')
            lk_buf_add(out, "\\|");
        else if (*text == '\n')
            lk_buf_add(out, " ");
        else
            lk_buf_add_n(out, text, 1);
    }
    lk_buf_add(out, code ? "` |" : " |");
}

static void add_choices(const lk_field *f, lk_buf *out)
{
    size_t len;
    const char *c;

    for (int i = 0; (c = choice_at(f->choices, i, &len)) != NULL; i++)
        lk_buf_printf(out, "%s`%.*s`", i > 0 ? ", " : "", (int)len, c);
}

static void document_row(const lk_field *f, lk_buf *out)
{
    char range[TEXT_BYTES];

    lk_buf_add(out, "|");
    add_cell(f->name, true, out);
    add_cell(type_text(f), false, out);
    add_cell(f->unit != NULL ? f->unit : "", false, out);
    if (f->type == LK_T_TABLE)
        add_cell(f->def == NULL && lk_table_missing(f->sub) != NULL ? "required" : "", false, out);
    else if (f->def == NULL)
        add_cell("required", false, out);
    else if (f->def[0] == 0 && (f->type == LK_T_BOOL || f->type == LK_T_EVERY))
        add_cell(f->type == LK_T_BOOL ? "false" : "never", true, out);
    else if (f->def[0] == 0)
        add_cell("unset", false, out);
    else
        add_cell(f->def, true, out);
    lk_buf_add(out, " ");
    if (f->type == LK_T_ENUM)
        add_choices(f, out);
    else if (has_range(f))
        lk_buf_add(out, range_text(f, range, sizeof range));
    lk_buf_add(out, " |");
    add_cell(f->help != NULL ? f->help : "", false, out);
    lk_buf_add(out, "\n");
}

void lk_table_document(const lk_table *t, const char *prefix, lk_buf *out)
{
    char below[PATH_BYTES];
    int n_rows = 0;

    prefix = prefix != NULL ? prefix : "";
    if (prefix[0] != 0)
        lk_buf_printf(out, "## `%s`\n\n", prefix);
    if (t->help != NULL)
        lk_buf_printf(out, "%s\n\n", t->help);
    for (int i = 0; i < t->n_fields; i++, n_rows++) {
        if (n_rows == 0)
            lk_buf_add(
                out, "| key | type | unit | default | range | meaning |\n| --- | --- | --- | --- | --- | --- |\n");
        document_row(&t->field[i], out);
    }
    if (n_rows > 0)
        lk_buf_add(out, "\n");
    for (int i = 0; i < t->n_fields; i++) {
        const lk_field *f = &t->field[i];
        if (f->type != LK_T_TABLE)
            continue;
        join_path(prefix, f->name, below);
        lk_table_document(f->sub, below, out);
    }
}

/* What stands for the value of an option: its unit, else its type. */
static void add_placeholder(const lk_field *f, lk_buf *out)
{
    static const char *const by_type[] = {
        [LK_T_INT] = "N",
        [LK_T_REAL] = "X",
        [LK_T_INTS] = "N,...",
        [LK_T_REALS] = "X,...",
        [LK_T_EVERY] = "INTERVAL",
        [LK_T_STRING] = "TEXT",
        [LK_T_STRINGS] = "TEXT",
    };

    if (f->type == LK_T_ENUM) {
        lk_buf_add(out, f->choices);
        return;
    }
    const char *word = f->unit != NULL ? f->unit : by_type[f->type];
    for (; *word != 0; word++)
        lk_buf_printf(out, "%c", toupper((unsigned char)*word));
}

static void add_left(const lk_field *f, lk_buf *out)
{
    char name[80];
    bool on;

    lk_buf_add(out, "  ");
    if (!f->positional) {
        if (f->short_name != 0)
            lk_buf_printf(out, "-%c, ", f->short_name);
        else
            lk_buf_add(out, "    ");
    }
    lk_buf_add(out, shown_name(f, name, sizeof name));
    if (f->type == LK_T_BOOL && f->def != NULL && parse_bool(f->def, &on) && on) {
        lk_buf_printf(out, ", --no-%s", name + 2);
    } else if (!f->positional && f->type != LK_T_BOOL) {
        lk_buf_add(out, " ");
        add_placeholder(f, out);
    }
}

/* Words from column `indent` on, wrapped; the line begins with `*column` characters in it. */
static void add_wrapped(const char *text, int indent, int *column, lk_buf *out)
{
    while (*text != 0) {
        const size_t word = strcspn(text, " \n");
        if (*column > indent && *column + 1 + (int)word > HELP_COLUMNS) {
            lk_buf_add(out, "\n");
            *column = 0;
        }
        if (*column < indent) {
            indent_by(indent - *column, out);
            *column = indent;
        } else if (*column > indent) {
            lk_buf_add(out, " ");
            ++*column;
        }
        lk_buf_add_n(out, text, word);
        *column += (int)word;
        text += word;
        text += strspn(text, " \n");
    }
}

/* "; a" or " (a": notes behind the help of an option. */
static void add_note(const char *note, int *n_notes, lk_buf *out)
{
    lk_buf_printf(out, "%s%s", (*n_notes)++ == 0 ? " (" : "; ", note);
}

static void usage_row(const lk_field *f, int indent, lk_buf *out)
{
    lk_buf left = {0}, text = {0};
    char range[TEXT_BYTES], def[TEXT_BYTES];
    int n_notes = 0;

    add_left(f, &left);
    lk_buf_add(&text, f->help != NULL ? f->help : "");
    if (f->def == NULL && !f->positional)
        add_note("required", &n_notes, &text);
    if (has_range(f))
        add_note(range_text(f, range, sizeof range), &n_notes, &text);
    if (f->def != NULL && f->def[0] != 0 && !(f->type == LK_T_BOOL && strcmp(f->def, "false") == 0)) {
        snprintf(def, sizeof def, "default: %s", f->def);
        add_note(def, &n_notes, &text);
    }
    if (is_list(f) && !f->positional)
        add_note("may be repeated", &n_notes, &text);
    lk_buf_add(&text, n_notes > 0 ? ")" : "");
    lk_buf_add(out, lk_buf_text(&left));
    int column = (int)left.len;
    if (column > indent - 2) {
        lk_buf_add(out, "\n");
        column = 0;
    }
    add_wrapped(lk_buf_text(&text), indent, &column, out);
    lk_buf_add(out, "\n");
    out->failed |= left.failed || text.failed;
    lk_buf_fini(&left);
    lk_buf_fini(&text);
}

static int usage_indent(const lk_table *t)
{
    int widest = (int)strlen("  -h, --help");

    for (int i = 0; i < t->n_fields; i++) {
        lk_buf left = {0};
        if (!on_command_line(&t->field[i]))
            continue;
        add_left(&t->field[i], &left);
        if ((int)left.len > widest && (int)left.len + 2 <= HELP_INDENT_MAX)
            widest = (int)left.len;
        lk_buf_fini(&left);
    }
    return widest + 2;
}

void lk_table_usage(const lk_table *t, lk_buf *out)
{
    const int indent = usage_indent(t);
    lk_buf line = {0};
    char name[80];
    int column = 0, n_positional = 0;

    lk_buf_printf(&line, "usage: %s [options]", t->name);
    for (int i = 0; i < t->n_fields; i++) {
        const lk_field *f = &t->field[i];
        if (!on_command_line(f) || !f->positional)
            continue;
        n_positional++;
        shown_name(f, name, sizeof name);
        lk_buf_printf(&line, f->def == NULL ? " %s%s" : " [%s%s]", name, f->type == LK_T_STRINGS ? "..." : "");
    }
    lk_buf_add(out, lk_buf_text(&line));
    lk_buf_add(out, "\n");
    if (t->help != NULL) {
        add_wrapped(t->help, 0, &column, out);
        lk_buf_add(out, "\n");
    }
    if (n_positional > 0)
        lk_buf_add(out, "\n");
    for (int i = 0; i < t->n_fields; i++) {
        if (on_command_line(&t->field[i]) && t->field[i].positional)
            usage_row(&t->field[i], indent, out);
    }
    lk_buf_add(out, "\noptions:\n");
    for (int i = 0; i < t->n_fields; i++) {
        if (on_command_line(&t->field[i]) && !t->field[i].positional)
            usage_row(&t->field[i], indent, out);
    }
    column = (int)strlen("  -h, --help");
    lk_buf_add(out, find_short(t, 'h') != NULL ? "      --help" : "  -h, --help");
    add_wrapped("Shows this text.", indent, &column, out);
    lk_buf_add(out, "\n");
    out->failed |= line.failed;
    lk_buf_fini(&line);
}
