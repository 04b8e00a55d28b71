/* What becomes of the cells of a table: numbers as they are or standardized, names as one input each, classes as
 * numbers. It is learned in one pass over the rows, in their order, or taken from an earlier import. */
#include "base/mem.h"
#include "data/h5.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ATTRIBUTE_BYTES = 64000 }; /* HDF5 keeps attributes of up to 64 KiB in an object's header */

static const char *const kind_names[] = {"number", "one-hot", "label", "dropped"};

void lki_encoding_fini(lki_encoding *e)
{
    for (int64_t i = 0; i < e->n; i++)
        lki_names_fini(&e->column[i].names);
    lk_free(e->column);
    lki_names_fini(&e->classes);
    lk_free(e->missing);
    *e = (lki_encoding){0};
}

/* ---- from the options ---- */

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static lk_status choose(lki_encoding *e, const lki_csv *c, const char *option, const char *text, lki_column_kind kind)
{
    int64_t k;

    LK_TRY(lki_csv_column(c, option, text, "", &k));
    if (e->column[k].kind != LKI_NUMBER && e->column[k].kind != kind)
        return LK_FAIL(LK_E_ARG, "%s %s: that column is %s already", option, text,
            e->column[k].kind == LKI_LABEL ? "the label" : "dropped");
    e->column[k].kind = kind;
    return LK_OK;
}

static lk_status choose_one_hot(lki_encoding *e, const lki_csv *c, const char *list)
{
    char *copy = NULL, *rest = NULL;
    lk_status st = LK_OK;

    LK_TRY(lk_strdup(list, &copy));
    for (char *word = strtok_r(copy, ",", &rest); word != NULL && st == LK_OK; word = strtok_r(NULL, ",", &rest))
        st = choose(e, c, "--one-hot", word, LKI_ONE_HOT);
    lk_free(copy);
    return st;
}

/* ---- from an earlier import ---- */

static lk_status take_names(const json_t *list, lki_names *out)
{
    size_t i;
    json_t *v;

    json_array_foreach(list, i, v) if (json_is_string(v))
        LK_TRY(lki_names_add(out, json_string_value(v), json_string_length(v)));
    return LK_OK;
}

static bool take_column(const json_t *o, lki_column *k)
{
    const char *kind = or_empty(json_string_value(json_object_get(o, "kind")));

    for (int i = 0; i < (int)(sizeof kind_names / sizeof kind_names[0]); i++) {
        if (strcmp(kind, kind_names[i]) != 0)
            continue;
        k->kind = (lki_column_kind)i;
        k->mean = json_number_value(json_object_get(o, "mean"));
        k->deviation = json_number_value(json_object_get(o, "deviation"));
        k->flag = json_is_true(json_object_get(o, "flag"));
        return i != LKI_NUMBER || (isfinite(k->mean) && isfinite(k->deviation) && k->deviation > 0);
    }
    return false;
}

static lk_status take_encoding(lki_encoding *e, const json_t *root, const char *path)
{
    const json_t *columns = json_object_get(root, "columns");
    const json_t *missing = json_object_get(root, "missing");
    const int64_t n = (int64_t)json_array_size(columns);

    if (n < 1)
        return LK_FAIL(LK_E_FORMAT, "%s: its encoding has no columns", path);
    LK_TRY(lk_alloc_array(n, sizeof e->column[0], "columns", &e->column));
    e->n = n;
    for (int64_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(columns, (size_t)i);
        if (!take_column(o, &e->column[i]))
            return LK_FAIL(LK_E_FORMAT, "%s: column %" PRId64 " of its encoding is damaged", path, i + 1);
        LK_TRY(take_names(json_object_get(o, "names"), &e->column[i].names));
    }
    LK_TRY(take_names(json_object_get(root, "classes"), &e->classes));
    if (json_is_string(missing))
        LK_TRY(lk_strdup(json_string_value(missing), &e->missing));
    e->standardize = json_is_true(json_object_get(root, "standardize"));
    e->fixed = true;
    return LK_OK;
}

static lk_status read_encoding(const char *path, const char *field, char **text)
{
    hid_t file = -1;
    lk_status st;

    LK_TRY(lk_h5_open(path, &file));
    if (!lk_h5_has_attr(file, field, "encoding"))
        st = LK_FAIL(LK_E_FORMAT,
            "%s: field \"%s\" has no encoding: it is not of an import with --one-hot, --missing, "
            "--standardize, --drop or --named-classes",
            path, field);
    else
        st = lk_h5_get_text(file, field, "encoding", text);
    const lk_status closed = lk_h5_close(&file, path);
    return st != LK_OK ? st : closed;
}

static lk_status init_like(lki_encoding *e, const lki_csv *c)
{
    const lk_import_csv_opts *o = c->o;
    char *text = NULL;
    json_error_t why;
    lk_status st;

    if (or_empty(o->one_hot)[0] != 0 || or_empty(o->missing)[0] != 0 || o->standardize || o->drop.n > 0)
        return LK_FAIL(
            LK_E_ARG, "--like %s: --one-hot, --missing, --standardize and --drop come from that file", o->like);
    LK_TRY(read_encoding(o->like, o->input, &text));
    json_t *root = json_loads(text, 0, &why);
    lk_free(text);
    if (root == NULL)
        return LK_FAIL(LK_E_FORMAT, "%s: its encoding is no JSON: %s", o->like, why.text);
    LK_TRY_TO(st, out, take_encoding(e, root, o->like));
    if (e->n != c->columns) {
        st = LK_FAIL(LK_E_FORMAT, "%s has %" PRId64 " columns, %s was made of %" PRId64, lki_source_name(c->source),
            c->columns, o->like, e->n);
        goto out;
    }
    for (int64_t i = 0; i < e->n; i++)
        if ((i == c->label) != (e->column[i].kind == LKI_LABEL)) {
            st = LK_FAIL(LK_E_ARG, "--like %s: column %" PRId64 " is %s there", o->like, i + 1,
                i == c->label ? "not the label" : "the label");
            goto out;
        }
    if (c->label >= 0 && o->named_classes != (e->classes.n > 0))
        st = LK_FAIL(LK_E_ARG, "--like %s: labels have %snames there", o->like, e->classes.n > 0 ? "" : "no ");
out:
    json_decref(root);
    return st;
}

lk_status lki_encoding_init(lki_encoding *e, const lki_csv *c)
{
    const lk_import_csv_opts *o = c->o;
    const char *list = or_empty(o->one_hot);

    *e = (lki_encoding){0};
    if (o->type == 0 && (or_empty(o->missing)[0] != 0 || o->standardize))
        return LK_FAIL(LK_E_ARG, "--type uint8 takes numbers as they are, without --missing and --standardize");
    if (or_empty(o->like)[0] != 0)
        return init_like(e, c);
    LK_TRY(lk_alloc_array(c->columns, sizeof e->column[0], "columns", &e->column));
    e->n = c->columns;
    e->standardize = o->standardize;
    if (or_empty(o->missing)[0] != 0)
        LK_TRY(lk_strdup(o->missing, &e->missing));
    if (c->label >= 0)
        e->column[c->label].kind = LKI_LABEL;
    for (int i = 0; i < o->drop.n; i++)
        LK_TRY(choose(e, c, "--drop", o->drop.item[i], LKI_DROPPED));
    if (strcmp(list, "auto") != 0)
        LK_TRY(choose_one_hot(e, c, list));
    return LK_OK;
}

/* ---- cells ---- */

static size_t length_of(lki_cell x)
{
    return (size_t)(x.to - x.from);
}

static bool is_missing(const lki_encoding *e, lki_cell x)
{
    if (e->missing == NULL)
        return false;
    if (strcmp(e->missing, "empty") == 0)
        return length_of(x) == 0;
    return strlen(e->missing) == length_of(x) && memcmp(e->missing, x.from, length_of(x)) == 0;
}

/* The cell as a number that the type holds. */
static lk_status take_number(const lki_csv *c, int64_t column, lk_elem type, double *v)
{
    if (!lki_cell_number(c->cell[column], v))
        return lki_csv_fail(c, column, "is not a number");
    switch (type) {
    case LK_ELEM_U8:
        if (!(*v >= 0 && *v <= 255 && *v == floor(*v)))
            return lki_csv_fail(c, column, "is not a whole number from 0 to 255, as --type uint8 takes");
        break;
    case LK_ELEM_I64:
        if (*v != floor(*v) || fabs(*v) > 0x1p53)
            return lki_csv_fail(c, column, "is not a whole number, as --classes takes for labels");
        break;
    default:
        if (isinf((float)*v))
            return lki_csv_fail(c, column, "is too large for float32");
    }
    return LK_OK;
}

/* The name of the class without what is to be stripped. */
static lk_status take_class(const lki_encoding *e, const lki_csv *c, lki_cell *out)
{
    const char *strip = or_empty(c->o->strip);
    lki_cell x = c->cell[c->label];

    if (is_missing(e, x))
        return lki_csv_fail(c, c->label, "is missing, and it is the label");
    if (length_of(x) > strlen(strip) && memcmp(x.to - strlen(strip), strip, strlen(strip)) == 0)
        x.to -= strlen(strip);
    if (length_of(x) == 0)
        return lki_csv_fail(c, c->label, "is not a name");
    *out = x;
    return LK_OK;
}

void lki_encoding_kinds(lki_encoding *e, const lki_csv *c)
{
    double v;

    for (int64_t i = 0; i < e->n; i++)
        if (e->column[i].kind == LKI_NUMBER && !is_missing(e, c->cell[i]) && !lki_cell_number(c->cell[i], &v) &&
            length_of(c->cell[i]) > 0)
            e->column[i].kind = LKI_ONE_HOT;
}

/* ---- learning ---- */

static lk_status know_name(const lki_encoding *e, const lki_csv *c, const lki_names *names, int64_t column, lki_cell x)
{
    if (!e->fixed || lki_names_find(names, x.from, length_of(x)) >= 0)
        return LK_OK;
    lk_buf text = {0};
    lk_buf_printf(&text, "is not among the %d names of this column in %s", names->n, c->o->like);
    const lk_status st = lki_csv_fail(c, column, lk_buf_text(&text));
    lk_buf_fini(&text);
    return st;
}

static lk_status learn_name(const lki_csv *c, lki_names *names, int64_t column, lki_cell x)
{
    if (memchr(x.from, 0, length_of(x)) != NULL)
        return lki_csv_fail(c, column, "is no name: it has a zero byte");
    const lk_status st = lki_names_add(names, x.from, length_of(x));
    return st == LK_OK ? st
                       : lk_err_prefix(st, "%s:%" PRId64 ": column %" PRId64 ": ", lki_source_name(c->source),
                             c->lines.line, column + 1);
}

static lk_status learn_column(lki_encoding *e, const lki_csv *c, int64_t i)
{
    lki_column *k = &e->column[i];
    lki_cell x = c->cell[i];
    double v;

    switch (k->kind) {
    case LKI_DROPPED:
        break;
    case LKI_LABEL:
        if (!c->o->named_classes)
            return take_number(c, i, lki_csv_label_type(c->o), &v);
        LK_TRY(take_class(e, c, &x));
        LK_TRY(know_name(e, c, &e->classes, i, x));
        return e->fixed ? LK_OK : learn_name(c, &e->classes, i, x);
    case LKI_ONE_HOT:
        LK_TRY(know_name(e, c, &k->names, i, x));
        return e->fixed ? LK_OK : learn_name(c, &k->names, i, x);
    case LKI_NUMBER:
        if (is_missing(e, x)) {
            k->flag = k->flag || !e->fixed;
            break;
        }
        LK_TRY(take_number(c, i, lki_csv_input_type(c->o), &v));
        if (!e->fixed) { /* Welford's update */
            const double off = v - k->mean;
            k->mean += off / (double)++k->present;
            k->squares += off * (v - k->mean);
        }
        break;
    }
    return LK_OK;
}

lk_status lki_encoding_learn(lki_encoding *e, const lki_csv *c)
{
    for (int64_t i = 0; i < e->n; i++)
        LK_TRY(learn_column(e, c, i));
    return LK_OK;
}

lk_status lki_encoding_place(lki_encoding *e, const lk_import_csv_opts *o)
{
    e->inputs = 0;
    for (int64_t i = 0; i < e->n; i++) {
        lki_column *k = &e->column[i];
        k->to = e->inputs;
        e->inputs += k->kind == LKI_NUMBER ? 1 + k->flag : k->kind == LKI_ONE_HOT ? k->names.n : 0;
        if (e->fixed)
            continue;
        const double deviation = k->present > 0 ? sqrt(k->squares / (double)k->present) : 0;
        k->deviation = e->standardize && deviation > 0 ? deviation : 1;
        if (k->kind == LKI_NUMBER && !(isfinite(k->mean) && isfinite(k->deviation)))
            return LK_FAIL(
                LK_E_ARG, "%s: the numbers of column %" PRId64 " are too large for a mean", o->source, i + 1);
    }
    if (e->inputs == 0)
        return LK_FAIL(LK_E_ARG, "%s: no column is left for the input", o->source);
    return LK_OK;
}

/* ---- writing ---- */

static void store(const lki_csv *c, void *input, int64_t at, double v)
{
    if (lki_csv_input_type(c->o) == LK_ELEM_U8)
        ((uint8_t *)input)[at] = (uint8_t)v;
    else
        ((float *)input)[at] = (float)v;
}

static lk_status put_label(const lki_encoding *e, const lki_csv *c, void *label)
{
    lki_cell x;
    double v;

    if (c->o->named_classes) {
        LK_TRY(take_class(e, c, &x));
        const int k = lki_names_find(&e->classes, x.from, length_of(x));
        if (k < 0)
            return lki_csv_fail(c, c->label, "is a new class: the file has changed while it was read");
        *(int64_t *)label = k;
        return LK_OK;
    }
    LK_TRY(take_number(c, c->label, lki_csv_label_type(c->o), &v));
    if (c->o->classes)
        *(int64_t *)label = (int64_t)v;
    else
        *(float *)label = (float)v;
    return LK_OK;
}

static lk_status put_number(const lki_encoding *e, const lki_csv *c, int64_t i, void *input)
{
    const lki_column *k = &e->column[i];
    const bool missing = is_missing(e, c->cell[i]);
    double v = k->mean;

    if (!missing)
        LK_TRY(take_number(c, i, lki_csv_input_type(c->o), &v));
    store(c, input, k->to, e->standardize ? (v - k->mean) / k->deviation : v);
    if (k->flag)
        store(c, input, k->to + 1, missing);
    return LK_OK;
}

lk_status lki_encoding_put(const lki_encoding *e, const lki_csv *c, void *input, void *label)
{
    for (int64_t i = 0; i < e->n; i++) {
        const lki_column *k = &e->column[i];
        if (k->kind == LKI_NUMBER) {
            LK_TRY(put_number(e, c, i, input));
        } else if (k->kind == LKI_LABEL) {
            LK_TRY(put_label(e, c, label));
        } else if (k->kind == LKI_ONE_HOT) {
            const int name = lki_names_find(&k->names, c->cell[i].from, length_of(c->cell[i]));
            if (name < 0)
                return lki_csv_fail(c, i, "is a new name: the file has changed while it was read");
            for (int n = 0; n < k->names.n; n++)
                store(c, input, k->to + n, n == name);
        }
    }
    return LK_OK;
}

/* ---- for --like ---- */

/* NULL out of memory, or where a name is no UTF-8. */
static json_t *names_json(const lki_names *k)
{
    json_t *list = json_array();

    for (int i = 0; i < k->n; i++)
        if (json_array_append_new(list, json_string(k->item[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *column_json(const lki_column *k)
{
    json_t *o = json_pack("{s:s}", "kind", kind_names[k->kind]);

    if (o != NULL && k->kind == LKI_NUMBER) {
        if (json_object_set_new(o, "mean", json_real(k->mean)) != 0 ||
            json_object_set_new(o, "deviation", json_real(k->deviation)) != 0 ||
            json_object_set_new(o, "flag", json_boolean(k->flag)) != 0)
            goto fail;
    } else if (o != NULL && k->kind == LKI_ONE_HOT && json_object_set_new(o, "names", names_json(&k->names)) != 0) {
        goto fail;
    }
    return o;

fail:
    json_decref(o);
    return NULL;
}

static json_t *encoding_json(const lki_encoding *e)
{
    json_t *root = json_object(), *columns = json_array();

    bool ok = json_object_set_new(root, "columns", columns) == 0;
    for (int64_t i = 0; i < e->n && ok; i++)
        ok = json_array_append_new(columns, column_json(&e->column[i])) == 0;
    ok = ok && json_object_set_new(root, "classes", names_json(&e->classes)) == 0;
    ok = ok && json_object_set_new(root, "standardize", json_boolean(e->standardize)) == 0;
    if (ok && e->missing != NULL)
        ok = json_object_set_new(root, "missing", json_string(e->missing)) == 0;
    if (!ok) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static bool is_plain(const lki_encoding *e)
{
    for (int64_t i = 0; i < e->n; i++)
        if (e->column[i].kind == LKI_ONE_HOT || e->column[i].kind == LKI_DROPPED)
            return false;
    return !e->standardize && e->missing == NULL && e->classes.n == 0;
}

lk_status lki_encoding_print(const lki_encoding *e, const lk_import_csv_opts *o, char **out)
{
    if (is_plain(e))
        return LK_OK;
    json_t *root = encoding_json(e);
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    lk_status st;

    if (text == NULL)
        st = LK_FAIL(LK_E_FORMAT, "%s: a name in it is not UTF-8 (or memory is out)", o->source);
    else if (strlen(text) > ATTRIBUTE_BYTES)
        st = LK_FAIL(LK_E_UNSUPPORTED, "%s: %zu bytes of names and means; up to %d are kept with the data", o->source,
            strlen(text), ATTRIBUTE_BYTES);
    else
        st = lk_strdup(text, out);
    json_decref(root);
    free(text);
    return st;
}
