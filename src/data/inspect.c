#include "data/inspect.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/dataset_int.h"
#include "data/h5.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE_VALUES = 1 << 17, MAX_CLASSES = 100, MAX_FILTERS = 8 };

/* What the values of an array are like. */
typedef struct summary {
    int64_t n, not_finite;
    double min, max, sum; /* of the finite ones */
    int64_t min_whole, max_whole;
    bool classes; /* few different values so far */
    int n_classes;
    int64_t class[MAX_CLASSES], count[MAX_CLASSES]; /* in rising order */
} summary;

/* ---- values ---- */

static void count_class(summary *s, int64_t v)
{
    int i = s->n_classes;

    while (i > 0 && s->class[i - 1] > v)
        i--;
    if (i > 0 && s->class[i - 1] == v) {
        s->count[i - 1]++;
        return;
    }
    if (s->n_classes == MAX_CLASSES) {
        s->classes = false;
        return;
    }
    memmove(s->class + i + 1, s->class + i, (size_t)(s->n_classes - i) * sizeof s->class[0]);
    memmove(s->count + i + 1, s->count + i, (size_t)(s->n_classes - i) * sizeof s->count[0]);
    s->class[i] = v;
    s->count[i] = 1;
    s->n_classes++;
}

static void add_wholes(summary *s, const int64_t *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (s->n == 0 || v[i] < s->min_whole)
            s->min_whole = v[i];
        if (s->n == 0 || v[i] > s->max_whole)
            s->max_whole = v[i];
        s->sum += (double)v[i];
        s->n++;
        if (s->classes)
            count_class(s, v[i]);
    }
}

static void add_reals(summary *s, const double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            s->not_finite++;
            continue;
        }
        if (s->n == 0 || v[i] < s->min)
            s->min = v[i];
        if (s->n == 0 || v[i] > s->max)
            s->max = v[i];
        s->sum += v[i];
        s->n++;
    }
}

/* Reads a box and adds its values. Enumerations come as their numbers; else HDF5 converts. */
static lk_status add_box(summary *s, hid_t dset, hid_t enum_type, const lk_h5_shape *shape, const hsize_t *start,
    const hsize_t *count, void *values)
{
    const bool whole = lk_elem_is_integer(shape->type);
    int64_t n = 1;

    for (int i = 0; i < shape->ndim; i++)
        n *= (int64_t)count[i];
    if (enum_type >= 0) {
        LK_TRY(lki_h5_read_box(dset, enum_type, shape->ndim, start, count, values));
        for (int64_t i = n - 1; i >= 0; i--) /* widened in place, from behind */
            ((int64_t *)values)[i] = lki_whole_at(values, shape->type, i);
    } else {
        LK_TRY(lki_h5_read_box(dset, whole ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE, shape->ndim, start, count, values));
    }
    if (whole)
        add_wholes(s, values, n);
    else
        add_reals(s, values, n);
    return LK_OK;
}

/* All values in boxes of at most PIECE_VALUES: whole inner dimensions, a run of one, single indices of those outside of
 * it. */
static lk_status summarize(hid_t dset, const lk_h5_shape *shape, summary *s)
{
    hsize_t start[LK_DATA_MAX_DIMS + 1] = {0}, count[LK_DATA_MAX_DIMS + 1] = {0};
    hid_t type = -1, enum_type = -1;
    void *values = NULL;
    int64_t inner = 1;
    int run = shape->ndim - 1; /* the dimension that is cut into runs */
    lk_status st;

    *s = (summary){.classes = shape->ndim == 1 && lk_elem_is_integer(shape->type)};
    for (int i = 0; i < shape->ndim; i++)
        if (shape->dim[i] == 0)
            return LK_OK;
    while (run > 0 && shape->dim[run] <= PIECE_VALUES / inner)
        inner *= shape->dim[run--];
    for (int i = 0; i < shape->ndim; i++)
        count[i] = i <= run ? 1 : (hsize_t)shape->dim[i];
    const int64_t step = PIECE_VALUES / inner;

    LK_TRY_TO(st, out, LK_H5(type = H5Dget_type(dset)));
    if (H5Tget_class(type) == H5T_ENUM)
        LK_TRY_TO(st, out, LK_H5(enum_type = lki_h5_mem_type(type, shape->type)));
    LK_TRY_TO(st, out, lk_alloc_array(PIECE_VALUES, sizeof(int64_t), "values of an array", &values));
    for (;;) {
        if (run >= 0) {
            const int64_t left = shape->dim[run] - (int64_t)start[run];
            count[run] = (hsize_t)(left < step ? left : step);
        }
        LK_TRY_TO(st, out, add_box(s, dset, enum_type, shape, start, count, values));
        int i = run;
        for (; i >= 0; i--) {
            start[i] += count[i];
            if ((int64_t)start[i] < shape->dim[i])
                break;
            start[i] = 0;
        }
        if (i < 0)
            break;
    }
out:
    lk_free(values);
    if (enum_type >= 0)
        H5Tclose(enum_type);
    if (type >= 0)
        H5Tclose(type);
    return st;
}

/* ---- one array ---- */

typedef struct array_info {
    const char *name;
    char type[40];
    bool numbers;
    int ndim;
    hsize_t dim[H5S_MAX_RANK], chunk[H5S_MAX_RANK];
    const char *layout;
    bool chunked;
    int n_filters;
    char filter[MAX_FILTERS][32];
    double bytes;
    int64_t stored_bytes;
    lk_h5_shape shape; /* of numbers */
    summary s;
} array_info;

static const char *layout_name(H5D_layout_t layout)
{
    switch (layout) {
    case H5D_COMPACT:
        return "compact";
    case H5D_CONTIGUOUS:
        return "contiguous";
    case H5D_CHUNKED:
        return "chunked";
    case H5D_VIRTUAL:
        return "virtual";
    default:
        return "unknown";
    }
}

static lk_status describe_storage(hid_t dset, array_info *a)
{
    hid_t dcpl = -1;

    LK_TRY(LK_H5(dcpl = H5Dget_create_plist(dset)));
    const H5D_layout_t layout = H5Pget_layout(dcpl);
    a->layout = layout_name(layout);
    a->chunked = layout == H5D_CHUNKED && H5Pget_chunk(dcpl, H5S_MAX_RANK, a->chunk) == a->ndim;
    const int n = layout == H5D_CHUNKED ? H5Pget_nfilters(dcpl) : 0;
    for (int i = 0; i < n && i < MAX_FILTERS; i++) {
        unsigned flags, config, values[1] = {0};
        size_t n_values = 1;
        char name[24] = "";
        const H5Z_filter_t id =
            H5Pget_filter2(dcpl, (unsigned)i, &flags, &n_values, values, sizeof name - 1, name, &config);
        if (id == H5Z_FILTER_DEFLATE)
            snprintf(a->filter[i], sizeof a->filter[i], "gzip(%u)", values[0]);
        else if (name[0] != 0)
            snprintf(a->filter[i], sizeof a->filter[i], "%s", name);
        else
            snprintf(a->filter[i], sizeof a->filter[i], "filter %d", (int)id);
        a->n_filters++;
    }
    H5Pclose(dcpl);
    a->stored_bytes = (int64_t)H5Dget_storage_size(dset);
    return LK_OK;
}

static lk_status describe(hid_t file, const char *name, array_info *a)
{
    hid_t dset = -1, type = -1, space = -1;
    lk_elem e;
    lk_status st;

    *a = (array_info){.name = name};
    LK_TRY_TO(st, out, lki_h5_open_array(file, "field", name, H5P_DEFAULT, &dset));
    LK_TRY_TO(st, out, LK_H5(type = H5Dget_type(dset)));
    LK_TRY_TO(st, out, LK_H5(space = H5Dget_space(dset)));
    if (H5Sget_simple_extent_type(space) != H5S_NULL)
        LK_TRY_TO(st, out, LK_H5(a->ndim = H5Sget_simple_extent_dims(space, a->dim, NULL)));
    a->numbers =
        lki_h5_elem(type, &e) && H5Sget_simple_extent_type(space) != H5S_NULL && a->ndim <= LK_DATA_MAX_DIMS + 1;
    snprintf(a->type, sizeof a->type, "%s", lki_h5_elem(type, &e) ? lk_elem_name(e) : lki_h5_class_name(type));
    a->bytes = H5Sget_simple_extent_type(space) != H5S_NULL ? (double)H5Tget_size(type) : 0;
    for (int i = 0; i < a->ndim; i++)
        a->bytes *= (double)a->dim[i];
    LK_TRY_TO(st, out, describe_storage(dset, a));
    if (a->numbers) {
        LK_TRY_TO(st, out, lki_h5_shape_of(dset, "field", name, &a->shape));
        st = summarize(dset, &a->shape, &a->s);
        if (st != LK_OK)
            lk_err_prefix(st, "field \"%s\": ", name);
    }
out:
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (dset >= 0)
        H5Dclose(dset);
    return st;
}

static void shape_text(int ndim, const hsize_t *dim, lk_buf *out)
{
    lk_buf_add(out, "[");
    for (int i = 0; i < ndim; i++)
        lk_buf_printf(out, "%s%" PRIu64, i > 0 ? "," : "", (uint64_t)dim[i]);
    lk_buf_add(out, "]");
}

static void array_as_text(const array_info *a, lk_buf *out)
{
    char bytes[32];

    lk_buf_printf(out, "  %s: %s ", a->name, a->type);
    shape_text(a->ndim, a->dim, out);
    lk_buf_printf(out, ", %s", a->layout);
    if (a->chunked) {
        lk_buf_add(out, " ");
        shape_text(a->ndim, a->chunk, out);
    }
    for (int i = 0; i < a->n_filters; i++)
        lk_buf_printf(out, " %s", a->filter[i]);
    lk_format_bytes(a->bytes, bytes, sizeof bytes);
    lk_buf_printf(out, ", %s", bytes);
    if ((double)a->stored_bytes != a->bytes) {
        lk_format_bytes((double)a->stored_bytes, bytes, sizeof bytes);
        lk_buf_printf(out, " (%s stored)", bytes);
    }
    const summary *s = &a->s;
    if (a->numbers && s->n > 0) {
        if (lk_elem_is_integer(a->shape.type))
            lk_buf_printf(out, ", min %" PRId64 ", max %" PRId64, s->min_whole, s->max_whole);
        else
            lk_buf_printf(out, ", min %.6g, max %.6g", s->min, s->max);
        lk_buf_printf(out, ", mean %.6g", s->sum / (double)s->n);
    }
    if (s->not_finite > 0)
        lk_buf_printf(out, ", %" PRId64 " not finite", s->not_finite);
    lk_buf_add(out, "\n");
    if (s->classes && s->n_classes > 0) {
        lk_buf_add(out, "   ");
        for (int i = 0; i < s->n_classes; i++)
            lk_buf_printf(
                out, " %" PRId64 ": %" PRId64 "%s", s->class[i], s -> count[i], i + 1 < s -> n_classes ? "," : "\n");
    }
}

static json_t *sizes_as_json(int n, const hsize_t *v)
{
    json_t *list = json_array();

    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_integer((json_int_t)v[i]));
    return list;
}

static json_t *array_as_json(const array_info *a)
{
    const summary *s = &a->s;
    json_t *o = json_object();

    json_object_set_new(o, "name", json_string(a->name));
    json_object_set_new(o, "type", json_string(a->type));
    json_object_set_new(o, "shape", sizes_as_json(a->ndim, a->dim));
    json_object_set_new(o, "layout", json_string(a->layout));
    if (a->chunked) {
        json_t *filters = json_array();
        json_object_set_new(o, "chunk", sizes_as_json(a->ndim, a->chunk));
        for (int i = 0; i < a->n_filters; i++)
            json_array_append_new(filters, json_string(a->filter[i]));
        json_object_set_new(o, "filters", filters);
    }
    json_object_set_new(o, "bytes", a->bytes < 0x1p63 ? json_integer((json_int_t)a->bytes) : json_real(a->bytes));
    json_object_set_new(o, "stored_bytes", json_integer(a->stored_bytes));
    if (a->numbers && s->n > 0) {
        const bool whole = lk_elem_is_integer(a->shape.type);
        json_object_set_new(o, "min", whole ? json_integer(s->min_whole) : json_real(s->min));
        json_object_set_new(o, "max", whole ? json_integer(s->max_whole) : json_real(s->max));
        json_object_set_new(o, "mean", json_real(s->sum / (double)s->n));
    }
    if (a->numbers && !lk_elem_is_integer(a->shape.type))
        json_object_set_new(o, "not_finite", json_integer(s->not_finite));
    if (s->classes && s->n_classes > 0) {
        json_t *classes = json_object();
        for (int i = 0; i < s->n_classes; i++) {
            char key[24];
            snprintf(key, sizeof key, "%" PRId64, s->class[i]);
            json_object_set_new(classes, key, json_integer(s->count[i]));
        }
        json_object_set_new(o, "classes", classes);
    }
    return o;
}

/* ---- the file ---- */

/* Attributes of the file itself that are a text or a number; others are left out. */
typedef struct attr_list {
    lk_buf *text; /* or */
    json_t *json;
} attr_list;

static herr_t on_attr(hid_t at, const char *name, const H5A_info_t *info, void *arg)
{
    attr_list *l = arg;
    char *text = NULL;
    int64_t whole;
    double real;

    (void)info;
    if (lk_h5_get_text(at, ".", name, &text) == LK_OK) {
        if (l->text != NULL)
            lk_buf_printf(l->text, "  %s = \"%s\"\n", name, text);
        else
            json_object_set_new(l->json, name, json_string(text));
        lk_free(text);
    } else if (lk_h5_get_i64(at, ".", name, &whole) == LK_OK) {
        if (l->text != NULL)
            lk_buf_printf(l->text, "  %s = %" PRId64 "\n", name, whole);
        else
            json_object_set_new(l->json, name, json_integer(whole));
    } else if (lk_h5_get_f64(at, ".", name, &real) == LK_OK) {
        if (l->text != NULL)
            lk_buf_printf(l->text, "  %s = %.17g\n", name, real);
        else
            json_object_set_new(l->json, name, json_real(real));
    }
    return 0;
}

static lk_status list_attributes(hid_t file, attr_list *l)
{
    return LK_H5(H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_INC, NULL, on_attr, l));
}

static lk_status inspect_as_text(
    hid_t file, const char *path, int64_t bytes, char **names, int n, array_info *a, lk_buf *out)
{
    attr_list attrs = {.text = out};
    char size[32];

    lk_format_bytes((double)bytes, size, sizeof size);
    lk_buf_printf(out, "%s: %s, %d field%s\n", path, size, n, n == 1 ? "" : "s");
    for (int i = 0; i < n; i++) {
        LK_TRY(describe(file, names[i], a));
        array_as_text(a, out);
    }
    LK_TRY(list_attributes(file, &attrs));
    return lk_buf_status(out);
}

static lk_status inspect_as_json(
    hid_t file, const char *path, int64_t bytes, char **names, int n, array_info *a, lk_buf *out)
{
    json_t *o = json_object(), *fields = json_array();
    attr_list attrs = {.json = json_object()};
    char *text = NULL;
    lk_status st;

    json_object_set_new(o, "file", json_string(path));
    json_object_set_new(o, "bytes", json_integer(bytes));
    json_object_set_new(o, "attributes", attrs.json);
    json_object_set_new(o, "fields", fields);
    LK_TRY_TO(st, out, list_attributes(file, &attrs));
    for (int i = 0; i < n; i++) {
        LK_TRY_TO(st, out, describe(file, names[i], a));
        json_array_append_new(fields, array_as_json(a));
    }
    text = json_dumps(o, JSON_COMPACT);
    if (text == NULL) {
        st = LK_FAIL(LK_E_NOMEM, "out of memory for a description");
        goto out;
    }
    lk_buf_add(out, text);
    lk_buf_add(out, "\n");
    st = lk_buf_status(out);
out:
    free(text);
    json_decref(o);
    return st;
}

lk_status lk_data_inspect(const char *path, bool json, lk_buf *out)
{
    array_info *a = NULL;
    char **names = NULL;
    struct stat s = {0};
    lk_buf text = {0};
    hid_t file = -1;
    int n = 0;
    lk_status st;

    LK_TRY(lk_h5_open(path, &file));
    lk_h5_lock();
    LK_TRY_TO(st, out, LK_SYS(stat(path, &s) != 0, "stat", path));
    LK_TRY_TO(st, name, lk_alloc(sizeof *a, "description of an array", &a));
    LK_TRY_TO(st, name, lk_h5_list(file, &names, &n));
    LK_TRY_TO(st, name, (json ? inspect_as_json : inspect_as_text)(file, path, (int64_t)s.st_size, names, n, a, &text));
    lk_buf_add(out, lk_buf_text(&text));
    st = lk_buf_status(out);
    goto out;

name:
    lk_err_prefix(st, "%s: ", path);
out:
    H5Fclose(file);
    lk_h5_unlock();
    lk_buf_fini(&text);
    lk_strings_free(&names, n);
    lk_free(a);
    return st;
}

lk_status lk_data_verify(const char *path, lk_buf *out)
{
    array_info *a = NULL;
    char **names = NULL;
    hid_t file = -1;
    int n = 0;
    int64_t samples = -1;
    lk_status st;

    LK_TRY(lk_h5_open(path, &file));
    lk_h5_lock();
    LK_TRY_TO(st, out, lk_alloc(sizeof *a, "description of an array", &a));
    LK_TRY_TO(st, out, lk_h5_list(file, &names, &n));
    if (n == 0) {
        st = LK_FAIL(LK_E_NOT_FOUND, "no fields");
        goto out;
    }
    for (int i = 0; i < n; i++) {
        LK_TRY_TO(st, out, describe(file, names[i], a));
        const int64_t here = a->ndim > 0 ? (int64_t)a->dim[0] : 0;
        if (a->ndim == 0)
            st =
                LK_FAIL(LK_E_SHAPE, "field \"%s\" is a single value: its first dimension must count samples", names[i]);
        else if (i > 0 && here != samples)
            st = LK_FAIL(LK_E_SHAPE, "field \"%s\" has %" PRId64 " samples, field \"%s\" has %" PRId64, names[i], here,
                names[0], samples);
        if (st != LK_OK)
            goto out;
        samples = here;
    }
    lk_buf_printf(out, "%s: %" PRId64 " samples in %d field%s, all readable\n", path, samples, n, n == 1 ? "" : "s");
    st = lk_buf_status(out);
out:
    if (st != LK_OK)
        lk_err_prefix(st, "%s: ", path);
    H5Fclose(file);
    lk_h5_unlock();
    lk_strings_free(&names, n);
    lk_free(a);
    return st;
}
