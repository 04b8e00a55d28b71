#include "base/yaml.h"
#include "base/file.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* libyaml reads back keys of at most 1024 characters; a byte of ours may need four when printed. */
enum { FILE_BYTES_MAX = 16 << 20, KEY_BYTES_MAX = 200, FLOW_COLUMNS = 100 };

typedef struct reader {
    yaml_parser_t parser;
    const char *text, *source;
    size_t bytes;
} reader;

static void node_free(lk_yaml *n)
{
    if (n == NULL)
        return;
    for (int i = 0; i < n->n_child; i++)
        node_free(n->child[i]);
    lk_free(n->child);
    lk_free(n->text);
    lk_free(n->key);
    lk_free(n->own_source);
    lk_free(n);
}

void lk_yaml_destroy(lk_yaml **root)
{
    node_free(*root);
    *root = NULL;
}

static lk_status add_child(lk_yaml *parent, lk_yaml *child)
{
    if (parent->n_child == parent->cap_child) {
        const int cap = parent->cap_child < 4 ? 4 : parent->cap_child * 2;
        LK_TRY(lk_realloc_array(parent->cap_child, cap, sizeof(lk_yaml *), "YAML node", &parent->child));
        parent->cap_child = cap;
    }
    parent->child[parent->n_child++] = child;
    return LK_OK;
}

static lk_yaml *find(const lk_yaml *map, const char *key)
{
    if (map == NULL || map->kind != LK_YAML_MAP)
        return NULL;
    for (int i = 0; i < map->n_child; i++) {
        if (strcmp(map->child[i]->key, key) == 0)
            return map->child[i];
    }
    return NULL;
}

const lk_yaml *lk_yaml_get(const lk_yaml *map, const char *key)
{
    return find(map, key);
}

static bool is_null_text(const char *text)
{
    return text[0] == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

bool lk_yaml_is_empty(const lk_yaml *node)
{
    if (node == NULL)
        return true;
    if (node->kind == LK_YAML_SCALAR)
        return !node->quoted && is_null_text(node->text);
    return node->kind == LK_YAML_MAP && node->n_child == 0;
}

/* Text that may stand without quotes wherever we print a scalar, in a flow list too. What YAML would allow beyond this
 * is printed in quotes. */
static bool is_plain(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";

    if (strcmp(text, "~") == 0)
        return true;
    if (text[0] == 0 || strchr(letters, text[0]) == NULL)
        return false;
    if (strcmp(text, "-") == 0 || strncmp(text, "- ", 2) == 0 || strncmp(text, "---", 3) == 0 ||
        strncmp(text, "...", 3) == 0)
        return false;
    for (const char *c = text; *c != 0; c++) {
        if (strchr(letters, *c) != NULL || strchr("*^%=()<>;$@", *c) != NULL)
            continue;
        if (*c == ' ' && c[1] != 0 && c[1] != ' ')
            continue;
        return false;
    }
    return true;
}

static lk_status place_fail(const reader *r, yaml_mark_t mark, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static lk_status place_fail(const reader *r, yaml_mark_t mark, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return LK_FAIL(LK_E_CONFIG, "%s:%zu:%zu: %s", r->source, mark.line + 1, mark.column + 1, text);
}

/* libyaml's own complaint. One about bytes (not UTF-8, control characters) knows only an offset. */
static lk_status syntax_fail(const reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem != NULL ? p->problem : "syntax error";
    yaml_mark_t mark = p->problem_mark;

    if (p->error == YAML_MEMORY_ERROR)
        return LK_FAIL(LK_E_NOMEM, "%s: out of memory while reading YAML", r->source);
    if (p->error == YAML_READER_ERROR) {
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < p->problem_offset && i < r->bytes; i++) {
            mark.column++;
            if (r->text[i] == '\n') {
                mark.line++;
                mark.column = 0;
            }
        }
    }
    if (p->context != NULL && strcmp(p->context, "while scanning an alias") == 0)
        return place_fail(r, p->context_mark, "a text that begins with * must stand in quotes");
    if (p->context != NULL && p->error != YAML_READER_ERROR)
        return place_fail(r, mark, "%s (%s that begins in line %zu)", problem, p->context, p->context_mark.line + 1);
    return place_fail(r, mark, "%s", problem);
}

static lk_status next_event(reader *r, yaml_event_t *event)
{
    if (!yaml_parser_parse(&r->parser, event))
        return syntax_fail(r);
    return LK_OK;
}

static lk_status copy_text(const reader *r, const yaml_event_t *e, char **out)
{
    const char *value = (const char *)e->data.scalar.value;

    if (strlen(value) != e->data.scalar.length)
        return place_fail(r, e->start_mark, "text with a zero byte");
    return lk_strdup(value, out);
}

static lk_status refuse_decoration(
    const reader *r, const yaml_event_t *e, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL)
        return place_fail(r, e->start_mark, "anchors are not allowed (&%.80s); in front of a text, put it in quotes",
            (const char *)anchor);
    if (tag != NULL)
        return place_fail(r, e->start_mark, "tags are not allowed (%.80s)", (const char *)tag);
    return LK_OK;
}

static lk_status read_node(reader *r, yaml_event_t *event, int depth, lk_yaml **out);

static lk_status read_items(reader *r, int depth, lk_yaml *n)
{
    yaml_event_t event;
    lk_yaml *child = NULL;

    for (;;) {
        LK_TRY(next_event(r, &event));
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return LK_OK;
        }
        LK_TRY(read_node(r, &event, depth, &child));
        const lk_status st = add_child(n, child);
        if (st != LK_OK) {
            node_free(child);
            return st;
        }
    }
}

static lk_status read_key(reader *r, const yaml_event_t *e, const lk_yaml *map, char **key)
{
    if (e->type == YAML_ALIAS_EVENT)
        return place_fail(r, e->start_mark, "aliases are not allowed (*%.80s)", (const char *)e->data.alias.anchor);
    if (e->type != YAML_SCALAR_EVENT)
        return place_fail(r, e->start_mark, "a key must be plain text, not a list or a map");
    LK_TRY(refuse_decoration(r, e, e->data.scalar.anchor, e->data.scalar.tag));
    if (e->data.scalar.length > KEY_BYTES_MAX)
        return place_fail(r, e->start_mark, "the key is longer than %d bytes", KEY_BYTES_MAX);
    LK_TRY(copy_text(r, e, key));
    const lk_yaml *twin = find(map, *key);
    if (twin != NULL) {
        const lk_status st =
            place_fail(r, e->start_mark, "duplicate key \"%.80s\" (first in line %d)", *key, twin->key_line);
        lk_free(*key);
        *key = NULL;
        return st;
    }
    return LK_OK;
}

static lk_status read_entries(reader *r, int depth, lk_yaml *n)
{
    yaml_event_t event;
    lk_yaml *child = NULL;
    char *key = NULL;
    lk_status st;

    for (;;) {
        LK_TRY(next_event(r, &event));
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return LK_OK;
        }
        const yaml_mark_t at = event.start_mark;
        st = read_key(r, &event, n, &key);
        yaml_event_delete(&event);
        LK_TRY(st);
        LK_TRY_TO(st, fail, next_event(r, &event));
        LK_TRY_TO(st, fail, read_node(r, &event, depth, &child));
        child->key = key;
        child->key_line = (int)at.line + 1;
        child->key_column = (int)at.column + 1;
        key = NULL;
        LK_TRY_TO(st, fail, add_child(n, child));
        child = NULL;
    }
fail:
    lk_free(key);
    node_free(child);
    return st;
}

/* The node that starts with `event`, which is given back here. */
static lk_status read_node(reader *r, yaml_event_t *event, int depth, lk_yaml **out)
{
    lk_yaml *n = NULL;
    lk_status st;

    if (depth >= LK_YAML_DEPTH) {
        st = place_fail(r, event->start_mark, "nested deeper than %d levels", LK_YAML_DEPTH);
        goto done;
    }
    LK_TRY_TO(st, done, lk_alloc(sizeof *n, "YAML node", &n));
    n->source = r->source;
    n->line = (int)event->start_mark.line + 1;
    n->column = (int)event->start_mark.column + 1;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        n->kind = LK_YAML_SCALAR;
        LK_TRY_TO(st, done, refuse_decoration(r, event, event->data.scalar.anchor, event->data.scalar.tag));
        LK_TRY_TO(st, done, copy_text(r, event, &n->text));
        n->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || (n->text[0] != 0 && !is_plain(n->text));
        break;
    case YAML_SEQUENCE_START_EVENT:
        n->kind = LK_YAML_LIST;
        LK_TRY_TO(
            st, done, refuse_decoration(r, event, event->data.sequence_start.anchor, event->data.sequence_start.tag));
        LK_TRY_TO(st, done, read_items(r, depth + 1, n));
        break;
    case YAML_MAPPING_START_EVENT:
        n->kind = LK_YAML_MAP;
        LK_TRY_TO(
            st, done, refuse_decoration(r, event, event->data.mapping_start.anchor, event->data.mapping_start.tag));
        LK_TRY_TO(st, done, read_entries(r, depth + 1, n));
        break;
    case YAML_ALIAS_EVENT:
        st = place_fail(r, event->start_mark,
            "aliases are not allowed (*%.80s); for a text that begins with *, put it in quotes",
            (const char *)event->data.alias.anchor);
        goto done;
    default:
        st = place_fail(r, event->start_mark, "a value was expected here");
        goto done;
    }
    *out = n;
    n = NULL;
done:
    node_free(n);
    yaml_event_delete(event);
    return st;
}

static lk_status empty_scalar(const reader *r, lk_yaml **out)
{
    lk_yaml *n = NULL;

    LK_TRY(lk_alloc(sizeof *n, "YAML node", &n));
    n->kind = LK_YAML_SCALAR;
    n->source = r->source;
    n->line = n->column = 1;
    const lk_status st = lk_strdup("", &n->text);
    if (st != LK_OK) {
        node_free(n);
        return st;
    }
    *out = n;
    return LK_OK;
}

/* Stream start, at most one document, stream end. */
static lk_status read_stream(reader *r, lk_yaml **out)
{
    yaml_event_t event;
    lk_yaml *root = NULL;
    lk_status st;

    for (;;) {
        LK_TRY_TO(st, fail, next_event(r, &event));
        const yaml_event_type_t type = event.type;
        const yaml_mark_t at = event.start_mark;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            break;
        if (type != YAML_DOCUMENT_START_EVENT)
            continue;
        if (root != NULL) {
            st = place_fail(r, at, "a second document begins here; one is allowed");
            goto fail;
        }
        LK_TRY_TO(st, fail, next_event(r, &event));
        LK_TRY_TO(st, fail, read_node(r, &event, 0, &root));
    }
    if (root == NULL)
        LK_TRY(empty_scalar(r, &root));
    *out = root;
    return LK_OK;

fail:
    node_free(root);
    return st;
}

/* All nodes get their source from `source`, which the root keeps a copy of. */
static lk_status parse(const char *text, size_t bytes, const char *source, lk_yaml **out)
{
    reader r = {.text = text, .bytes = bytes};
    char *copy = NULL;
    lk_yaml *root = NULL;

    LK_TRY(lk_strdup(source, &copy));
    r.source = copy;
    if (!yaml_parser_initialize(&r.parser)) {
        lk_free(copy);
        return LK_FAIL(LK_E_NOMEM, "%s: out of memory while reading YAML", source);
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, bytes);
    const lk_status st = read_stream(&r, &root);
    yaml_parser_delete(&r.parser);
    if (st != LK_OK) {
        lk_free(copy);
        return st;
    }
    root->own_source = copy;
    *out = root;
    return LK_OK;
}

lk_status lk_yaml_parse_file(const char *path, lk_yaml **out)
{
    char *text = NULL;
    size_t bytes;

    LK_TRY(lk_file_read(path, FILE_BYTES_MAX, &text, &bytes));
    const lk_status st = parse(text, bytes, path, out);
    lk_free(text);
    return st;
}

lk_status lk_yaml_parse_text(const char *text, const char *source, lk_yaml **out)
{
    return parse(text, strlen(text), source, out);
}

static void set_place(lk_yaml *n, const char *source)
{
    n->source = source;
    n->line = n->column = n->key_line = n->key_column = 0;
    for (int i = 0; i < n->n_child; i++)
        set_place(n->child[i], source);
}

static int depth_of(const lk_yaml *n)
{
    int deepest = 0;

    for (int i = 0; i < n->n_child; i++) {
        const int d = depth_of(n->child[i]);
        if (d > deepest)
            deepest = d;
    }
    return deepest + 1;
}

/* Puts `value` in the place of `old`, with its key; what `old` held goes. */
static void replace(lk_yaml *old, lk_yaml *value)
{
    char *key = old->key;

    for (int i = 0; i < old->n_child; i++)
        node_free(old->child[i]);
    lk_free(old->child);
    lk_free(old->text);
    char *source = old->own_source;
    *old = *value;
    old->key = key;
    lk_free(value);
    lk_free(source);
}

/* An entry key: value of a map; `value` is taken over on success. */
static lk_status add_entry(lk_yaml *map, const char *key, lk_yaml *value)
{
    char *copy = NULL;

    LK_TRY(lk_strdup(key, &copy));
    const lk_status st = add_child(map, value);
    if (st != LK_OK) {
        lk_free(copy);
        return st;
    }
    value->key = copy;
    return LK_OK;
}

/* {key: value}, which takes value over on success. */
static lk_status wrap(const char *key, lk_yaml *value, lk_yaml **out)
{
    lk_yaml *map = NULL;

    LK_TRY(lk_alloc(sizeof *map, "YAML node", &map));
    map->kind = LK_YAML_MAP;
    map->source = value->source;
    const lk_status st = add_entry(map, key, value);
    if (st != LK_OK) {
        node_free(map);
        return st;
    }
    *out = map;
    return LK_OK;
}

/* The deepest node on the path that is there already, and how many parts lead to it. */
static lk_status descend(
    lk_yaml *root, const char *path, const char *const *part, int n_parts, lk_yaml **out, int *n_used)
{
    lk_yaml *at = root;
    int i = 0;

    for (; i < n_parts; i++) {
        lk_yaml *next = NULL;
        if (at->kind == LK_YAML_LIST) {
            int64_t index;
            if (!lk_parse_i64(part[i], &index) || index < 0 || index >= at->n_child)
                return LK_FAIL(
                    LK_E_USAGE, "--set %s: \"%s\" is no item of a list of %d (from 0)", path, part[i], at->n_child);
            next = at->child[index];
        } else if (at->kind == LK_YAML_MAP) {
            next = find(at, part[i]);
        } else if (!lk_yaml_is_empty(at)) {
            return LK_FAIL(LK_E_USAGE, "--set %s: there is a single value, \"%.80s\", where \"%s\" should be looked up",
                path, at->text, part[i]);
        }
        if (next == NULL)
            break;
        at = next;
    }
    *out = at;
    *n_used = i;
    return LK_OK;
}

static lk_status split_path(const char *path, char *copy, const char **part, int *n_parts)
{
    int n = 0;

    for (char *p = copy; p != NULL; n++) {
        char *dot = strchr(p, '.');
        if (dot != NULL)
            *dot++ = 0;
        if (p[0] == 0)
            return LK_FAIL(LK_E_USAGE, "--set %s: a part of the path is empty", path);
        if (strlen(p) > KEY_BYTES_MAX)
            return LK_FAIL(
                LK_E_USAGE, "--set %.80s...: a part of the path is longer than %d bytes", path, KEY_BYTES_MAX);
        if (n == LK_YAML_DEPTH - 1)
            return LK_FAIL(LK_E_USAGE, "--set %.80s...: the path is longer than %d parts", path, LK_YAML_DEPTH - 1);
        part[n] = p;
        p = dot;
    }
    *n_parts = n;
    return LK_OK;
}

lk_status lk_yaml_set(lk_yaml *root, const char *path, const char *value)
{
    const char *part[LK_YAML_DEPTH];
    char *copy = NULL;
    lk_buf source = {0};
    lk_yaml *v = NULL, *at = NULL;
    int n_parts = 0, n_used = 0;
    lk_status st;

    lk_buf_printf(&source, "--set %s", path);
    LK_TRY_TO(st, out, lk_buf_status(&source));
    LK_TRY_TO(st, out, lk_strdup(path, &copy));
    LK_TRY_TO(st, out, split_path(path, copy, part, &n_parts));
    st = lk_yaml_parse_text(value, source.text, &v);
    if (st == LK_E_CONFIG)
        st = LK_FAIL(LK_E_USAGE, "%s", lk_err_last()->message);
    if (st != LK_OK)
        goto out;
    set_place(v, v->own_source);
    if (n_parts + depth_of(v) > LK_YAML_DEPTH) {
        st = LK_FAIL(LK_E_USAGE, "%s: nested deeper than %d levels", source.text, LK_YAML_DEPTH);
        goto out;
    }
    LK_TRY_TO(st, out, descend(root, path, part, n_parts, &at, &n_used));
    /* What is missing between `at` and the value becomes maps, from the inside out; `at` changes last. */
    const int n_missing = n_parts - n_used;
    const int n_wraps = n_missing - (at->kind == LK_YAML_MAP);
    for (int i = 0; i < n_wraps; i++) {
        lk_yaml *map = NULL;
        LK_TRY_TO(st, out, wrap(part[n_parts - 1 - i], v, &map));
        map->own_source = v->own_source;
        v->own_source = NULL;
        v = map;
    }
    if (n_missing > 0 && at->kind == LK_YAML_MAP)
        LK_TRY_TO(st, out, add_entry(at, part[n_used], v));
    else
        replace(at, v);
    v = NULL;
out:
    node_free(v);
    lk_free(copy);
    lk_buf_fini(&source);
    return st;
}

lk_status lk_yaml_fail(const lk_yaml *node, const char *fmt, ...)
{
    char text[LK_ERR_MESSAGE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (node == NULL)
        return LK_FAIL(LK_E_CONFIG, "%s", text);
    if (node->line == 0)
        return LK_FAIL(LK_E_CONFIG, "%s: %s", node->source, text);
    return LK_FAIL(LK_E_CONFIG, "%s:%d:%d: %s", node->source, node->line, node->column, text);
}

/* The escape for a character that would not come through as itself, and its bytes; 0 for all others. libyaml refuses
 * control characters, and takes U+0085, U+2028 and U+2029 as line ends and U+FEFF as a byte order mark. */
static int escape(const char *c, char out[8])
{
    const unsigned char *u = (const unsigned char *)c;

    if (u[0] == '"' || u[0] == '\\') {
        snprintf(out, 8, "\\%c", u[0]);
        return 1;
    }
    if (u[0] == '\n' || u[0] == '\t') {
        snprintf(out, 8, "%s", u[0] == '\n' ? "\\n" : "\\t");
        return 1;
    }
    if (u[0] < 0x20 || u[0] == 0x7f) {
        snprintf(out, 8, "\\x%02X", u[0]);
        return 1;
    }
    if (u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0) {
        snprintf(out, 8, "\\x%02X", u[1]);
        return 2;
    }
    if ((u[0] & 0xf0) == 0xe0 && u[1] != 0 && u[2] != 0) {
        const unsigned code = (u[0] & 15u) << 12 | (u[1] & 63u) << 6 | (u[2] & 63u);
        if (code == 0x2028 || code == 0x2029 || code == 0xfeff || code >= 0xfffe) {
            snprintf(out, 8, "\\u%04X", code & 0xffffu);
            return 3;
        }
    }
    return 0;
}

void lk_yaml_print_scalar(const char *text, bool quoted, lk_buf *out)
{
    char code[8];

    if (!quoted && is_plain(text)) {
        lk_buf_add(out, text);
        return;
    }
    lk_buf_add(out, "\"");
    while (*text != 0) {
        const int n = escape(text, code);
        if (n > 0)
            lk_buf_add(out, code);
        else
            lk_buf_add_n(out, text, 1);
        text += n > 0 ? n : 1;
    }
    lk_buf_add(out, "\"");
}

static void indent_by(int indent, lk_buf *out)
{
    for (int i = 0; i < indent; i++)
        lk_buf_add(out, " ");
}

/* Columns of a node on one line, or more than FLOW_COLUMNS where it cannot stand on one: an empty scalar has no text
 * that could stand between commas, and a map below another map or a list reads badly there. */
static size_t line_width(const lk_yaml *n)
{
    if (n->kind == LK_YAML_SCALAR)
        return n->text[0] != 0 || n->quoted ? strlen(n->text) + 2 : FLOW_COLUMNS + 1;
    size_t width = 2;
    for (int i = 0; i < n->n_child && width <= FLOW_COLUMNS; i++) {
        const lk_yaml *c = n->child[i];
        width +=
            (c->kind == LK_YAML_MAP ? FLOW_COLUMNS + 1 : line_width(c)) + (c->key != NULL ? strlen(c->key) + 2 : 0) + 2;
    }
    return width;
}

/* Whether a node is printed on one line: lists of short scalars are, and below a list (layers of a model) such maps
 * too. */
static bool on_one_line(const lk_yaml *n, bool below_list)
{
    if (n->kind == LK_YAML_SCALAR || n->n_child == 0)
        return true;
    return (n->kind == LK_YAML_LIST || below_list) && line_width(n) <= FLOW_COLUMNS;
}

static void print_line(const lk_yaml *n, lk_buf *out)
{
    if (n->kind == LK_YAML_SCALAR) {
        if (n->text[0] != 0 || n->quoted)
            lk_yaml_print_scalar(n->text, n->quoted, out);
        return;
    }
    lk_buf_add(out, n->kind == LK_YAML_MAP ? "{" : "[");
    for (int i = 0; i < n->n_child; i++) {
        lk_buf_add(out, i > 0 ? ", " : "");
        if (n->kind == LK_YAML_MAP) {
            lk_yaml_print_scalar(n->child[i]->key, false, out);
            lk_buf_add(out, ": ");
        }
        print_line(n->child[i], out);
    }
    lk_buf_add(out, n->kind == LK_YAML_MAP ? "}" : "]");
}

/* The entries of a list or map, a line or more each; `begun`: the first line's indentation is there already. */
static void print_block(const lk_yaml *n, int indent, bool begun, bool below_list, lk_buf *out)
{
    below_list = below_list || n->kind == LK_YAML_LIST;
    for (int i = 0; i < n->n_child; i++) {
        const lk_yaml *c = n->child[i];
        if (i > 0 || !begun)
            indent_by(indent, out);
        if (n->kind == LK_YAML_LIST) {
            lk_buf_add(out, "-");
        } else {
            lk_yaml_print_scalar(c->key, false, out);
            lk_buf_add(out, ":");
        }
        if (c->kind == LK_YAML_SCALAR && c->text[0] == 0 && !c->quoted) {
            lk_buf_add(out, "\n");
        } else if (on_one_line(c, below_list)) {
            lk_buf_add(out, " ");
            print_line(c, out);
            lk_buf_add(out, "\n");
        } else if (n->kind == LK_YAML_LIST) {
            lk_buf_add(out, " ");
            print_block(c, indent + 2, true, below_list, out);
        } else {
            lk_buf_add(out, "\n");
            print_block(c, indent + 2, false, below_list, out);
        }
    }
}

void lk_yaml_print(const lk_yaml *node, int indent, lk_buf *out)
{
    if (on_one_line(node, false)) {
        indent_by(indent, out);
        print_line(node, out);
        lk_buf_add(out, "\n");
    } else {
        print_block(node, indent, false, false, out);
    }
}
