/* What is in a checkpoint, and how two differ: for people, and as JSON for scripts. */
#include "train/checkpoint_int.h"

#include "base/mem.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NOTE_TEXT = 192 };

static lk_status open_named(const char *path, char **folder, lki_file **out)
{
    LK_TRY(lki_checkpoint_folder(path, folder));
    const lk_status st = lki_checkpoint_open(*folder, out);
    return st == LK_OK ? LK_OK : lki_checkpoint_fail(st, *folder);
}

/* Takes the object. jansson reports by NULL, here or earlier. */
static lk_status add_json(json_t *object, lk_buf *out)
{
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

    json_decref(object);
    if (text == NULL)
        return LK_FAIL(LK_E_NOMEM, "the report cannot be made: out of memory, or a path that is not UTF-8");
    lk_buf_add(out, text);
    lk_buf_add(out, "\n");
    free(text);
    return lk_buf_status(out);
}

static json_t *json_shape(const lk_shape *s)
{
    json_t *list = json_array();

    for (int i = 0; i < s->ndim; i++)
        json_array_append_new(list, json_integer(s->dim[i]));
    return list;
}

/* JSON has no infinity: null then. */
static json_t *json_number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

/* A table of two aligned columns and a note. */
static void add_row(
    lk_buf *out, int name_width, const char *name, const lk_shape *shape, int shape_width, const char *note)
{
    char text[LK_SHAPE_TEXT];

    lk_buf_printf(out, "  %-*s  %-*s  %s\n", name_width, name, shape_width, lk_shape_print(shape, text), note);
}

static void widths(const lki_arrays *a, int *name, int *shape)
{
    char text[LK_SHAPE_TEXT];

    for (int i = 0; i < a->n; i++) {
        const int n = (int)strlen(a->item[i].name), s = (int)strlen(lk_shape_print(&a->item[i].shape, text));
        *name = n > *name ? n : *name;
        *shape = s > *shape ? s : *shape;
    }
}

/* ---- show ---- */

typedef struct array_stats {
    float min, max;
    int64_t finite, other;
} array_stats;

static void note_values(void *arg, int array, const float *data, int64_t count)
{
    array_stats *s = (array_stats *)arg + array;

    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(data[i])) {
            s->other++;
            continue;
        }
        s->min = s->finite == 0 || data[i] < s->min ? data[i] : s->min;
        s->max = s->finite == 0 || data[i] > s->max ? data[i] : s->max;
        s->finite++;
    }
}

static int64_t count_weights(const lki_arrays *a)
{
    int64_t n = 0;

    for (int i = 0; i < a->n; i++)
        n += strncmp(a->item[i].name, "weights/", 8) == 0 ? a->item[i].count : 0;
    return n;
}

static lk_status show_text(const char *folder, const lki_file *f, const array_stats *stats, int64_t bytes, lk_buf *out)
{
    const lk_checkpoint_meta *m = &f->meta;
    char digest[LK_HASH_TEXT], size[32], count[32];
    int name_width = 0, shape_width = 0;

    lk_hash_print(f->digest, digest);
    lk_format_bytes((double)bytes, size, sizeof size);
    lk_format_count((double)count_weights(&f->arrays), count, sizeof count);
    widths(&f->arrays, &name_width, &shape_width);
    lk_buf_printf(out, "checkpoint %s: good\n", folder);
    lk_buf_printf(out, "  step        %" PRId64 " (%" PRId64 " of epoch %" PRId64 ")\n", f->cursor.step,
        f->cursor.step_in_epoch, f->cursor.epoch);
    lk_buf_printf(out, "  digest      %s\n", digest);
    lk_buf_printf(out, "  seed        %" PRIu64 "\n", m->seed);
    lk_buf_printf(out, "  batch       %" PRId64 " in %" PRId64 " microbatches, of %" PRId64 " samples\n", m->batch,
        m->microbatches, m->samples);
    lk_buf_printf(out, "  reduction   %s\n", m->reduction);
    lk_buf_printf(out, "  model       %016" PRIx64 "\n", m->model_hash);
    if (m->normalization != NULL)
        lk_buf_printf(
            out, "  inputs      %.60s%s\n", m->normalization, strlen(m->normalization) > 60 ? " ..." : "");
    lk_buf_printf(out, "  written by  lockstep %s\n", f->version);
    lk_buf_printf(out, "  holds       %d arrays, %s weights, %s\n\n", f->arrays.n, count, size);
    for (int i = 0; i < f->arrays.n; i++) {
        const array_stats *s = &stats[i];
        char note[NOTE_TEXT] = "";
        int used = 0;
        if (s->finite > 0)
            used = snprintf(note, sizeof note, "%.6g to %.6g", (double)s->min, (double)s->max);
        if (s->other > 0)
            snprintf(
                note + used, sizeof note - (size_t)used, "%s%" PRId64 " not finite", used > 0 ? ", " : "", s->other);
        add_row(out, name_width, f->arrays.item[i].name, &f->arrays.item[i].shape, shape_width, note);
    }
    return lk_buf_status(out);
}

static lk_status show_json(const char *folder, const lki_file *f, const array_stats *stats, int64_t bytes, lk_buf *out)
{
    const lk_checkpoint_meta *m = &f->meta;
    char digest[LK_HASH_TEXT], model[17], hash[LK_HASH_TEXT];
    json_t *arrays = json_array();

    for (int i = 0; i < f->arrays.n; i++) {
        const lki_array *a = &f->arrays.item[i];
        const array_stats *s = &stats[i];
        lk_hash_print(a->hash, hash);
        json_array_append_new(arrays,
            json_pack("{s:s, s:o, s:I, s:s, s:o, s:o, s:I}", "name", a->name, "shape", json_shape(&a->shape), "count",
                (json_int_t)a->count, "xxh3", hash, "min", json_number(s->finite > 0 ? (double)s->min : NAN), "max",
                json_number(s->finite > 0 ? (double)s->max : NAN), "not_finite", (json_int_t)s->other));
    }
    lk_hash_print(f->digest, digest);
    snprintf(model, sizeof model, "%016" PRIx64, m->model_hash);
    return add_json(
        json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:s, s:s*, s:o}", "checkpoint",
            folder, "step", (json_int_t)f->cursor.step, "epoch", (json_int_t)f->cursor.epoch, "step_in_epoch",
            (json_int_t)f->cursor.step_in_epoch, "digest", digest, "seed", (json_int_t)m->seed, "batch",
            (json_int_t)m->batch, "microbatches", (json_int_t)m->microbatches, "samples", (json_int_t)m->samples,
            "reduction", m->reduction, "model_hash", model, "lockstep", f->version, "bytes", (json_int_t)bytes,
            "weights", (json_int_t)count_weights(&f->arrays), "config", m->config, "normalization", m->normalization, "arrays", arrays),
        out);
}

lk_status lk_checkpoint_show(const char *path, bool json, lk_buf *out)
{
    char *folder = NULL;
    lki_file *f = NULL;
    array_stats *stats = NULL;
    struct stat s;
    lk_status st;

    LK_TRY_TO(st, out, open_named(path, &folder, &f));
    LK_TRY_TO(st, out, LK_SYS(stat(f->path, &s) != 0, "stat", f->path));
    LK_TRY_TO(st, out, lk_alloc_array(f->arrays.n, sizeof *stats, "statistics of arrays", &stats));
    st = lki_file_pass(f, note_values, stats);
    if (st != LK_OK) {
        lki_checkpoint_fail(st, folder);
        goto out;
    }
    st = (json ? show_json : show_text)(folder, f, stats, s.st_size, out);
out:
    lk_free(stats);
    lki_file_close(&f);
    lk_free(folder);
    return st;
}

/* ---- diff ---- */

typedef struct array_diff {
    const lki_array *a, *b; /* NULL: only in the other */
    int64_t differ; /* elements with other bits */
    double largest; /* absolute difference; infinite where one of the two is not finite */
} array_diff;

static bool is_same(const array_diff *d)
{
    return d->a != NULL && d->b != NULL && lk_shape_equal(&d->a->shape, &d->b->shape) && d->differ == 0;
}

static void compare_values(array_diff *d, const float *x, const float *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&x[i], &y[i], sizeof x[i]) == 0)
            continue;
        const double by = fabs((double)x[i] - (double)y[i]);
        d->differ++;
        d->largest = isnan(by) ? INFINITY : by > d->largest ? by : d->largest;
    }
}

/* Array i of a and array k of b, of the same shape. */
static lk_status compare_arrays(const lki_file *a, int i, const lki_file *b, int k, array_diff *d)
{
    const lki_array *x = &a->arrays.item[i];
    const int64_t rows = lki_array_rows(x), step = lki_array_step(x), row = rows > 0 ? x->count / rows : 0;
    float *piece[2] = {NULL, NULL};
    lk_status st;

    LK_TRY_TO(st, out, lk_alloc_array(step * row, sizeof(float), "piece of a checkpoint", &piece[0]));
    LK_TRY_TO(st, out, lk_alloc_array(step * row, sizeof(float), "piece of a checkpoint", &piece[1]));
    for (int64_t first = 0; first < rows; first += step) {
        const int64_t n = rows - first < step ? rows - first : step;
        LK_TRY_TO(st, out, lki_file_read_rows(a, i, first, n, piece[0]));
        LK_TRY_TO(st, out, lki_file_read_rows(b, k, first, n, piece[1]));
        compare_values(d, piece[0], piece[1], n * row);
    }
out:
    lk_free(piece[0]);
    lk_free(piece[1]);
    return st;
}

/* Walks both sorted lists; diff has room for all names of both. */
static lk_status compare_files(const lki_file *a, const lki_file *b, array_diff *diff, int *n)
{
    int i = 0, k = 0;

    *n = 0;
    while (i < a->arrays.n || k < b->arrays.n) {
        array_diff *d = &diff[(*n)++];
        const lki_array *x = i < a->arrays.n ? &a->arrays.item[i] : NULL,
                        *y = k < b->arrays.n ? &b->arrays.item[k] : NULL;
        const int order = x == NULL ? 1 : y == NULL ? -1 : strcmp(x->name, y->name);
        *d = (array_diff){.a = order <= 0 ? x : NULL, .b = order >= 0 ? y : NULL};
        if (order == 0 && lk_shape_equal(&x->shape, &y->shape))
            LK_TRY(compare_arrays(a, i, b, k, d));
        i += order <= 0;
        k += order >= 0;
    }
    return LK_OK;
}

static lk_status diff_text(const lki_file *a, const lki_file *b, const array_diff *diff, int n, bool same, lk_buf *out)
{
    int name_width = 0, shape_width = 0, differ = 0;
    char digest[LK_HASH_TEXT];

    widths(&a->arrays, &name_width, &shape_width);
    widths(&b->arrays, &name_width, &shape_width);
    if (a->cursor.step != b->cursor.step || a->cursor.epoch != b->cursor.epoch)
        lk_buf_printf(out, "step %" PRId64 ", epoch %" PRId64 " against step %" PRId64 ", epoch %" PRId64 "\n",
            a->cursor.step, a->cursor.epoch, b->cursor.step, b->cursor.epoch);
    for (int i = 0; i < n; i++) {
        const array_diff *d = &diff[i];
        const lki_array *one = d->a != NULL ? d->a : d->b;
        char note[NOTE_TEXT], shape[LK_SHAPE_TEXT];
        if (is_same(d))
            continue;
        differ++;
        if (d->a == NULL || d->b == NULL)
            snprintf(note, sizeof note, "only in the %s", d->a != NULL ? "first" : "second");
        else if (!lk_shape_equal(&d->a->shape, &d->b->shape))
            snprintf(note, sizeof note, "against %s", lk_shape_print(&d->b->shape, shape));
        else
            snprintf(note, sizeof note, "%" PRId64 " of %" PRId64 " elements differ, by up to %.6g", d->differ,
                one->count, d->largest);
        add_row(out, name_width, one->name, &one->shape, shape_width, note);
    }
    if (same) {
        lk_hash_print(a->digest, digest);
        lk_buf_printf(out, "the same: %d arrays, step %" PRId64 ", digest %s\n", n, a->cursor.step, digest);
    } else {
        lk_buf_printf(out, "%d of %d arrays differ\n", differ, n);
    }
    return lk_buf_status(out);
}

static lk_status diff_json(const lki_file *a, const lki_file *b, const array_diff *diff, int n, bool same, lk_buf *out)
{
    json_t *list = json_array();

    for (int i = 0; i < n; i++) {
        const array_diff *d = &diff[i];
        if (is_same(d))
            continue;
        json_t *row = json_pack("{s:s, s:o, s:o}", "name", (d->a != NULL ? d->a : d->b)->name, "a",
            d->a != NULL ? json_shape(&d->a->shape) : json_null(), "b",
            d->b != NULL ? json_shape(&d->b->shape) : json_null());
        if (d->a != NULL && d->b != NULL && lk_shape_equal(&d->a->shape, &d->b->shape)) {
            json_object_set_new(row, "elements", json_integer(d->differ));
            json_object_set_new(row, "largest", json_number(d->largest));
        }
        json_array_append_new(list, row);
    }
    return add_json(json_pack("{s:b, s:[I,I], s:[I,I], s:i, s:o}", "same", same, "step", (json_int_t)a->cursor.step,
                        (json_int_t)b->cursor.step, "epoch", (json_int_t)a->cursor.epoch, (json_int_t)b->cursor.epoch,
                        "arrays", n, "differ", list),
        out);
}

lk_status lk_checkpoint_diff(const char *a, const char *b, bool json, lk_buf *out, bool *same)
{
    char *folder[2] = {NULL, NULL};
    lki_file *f[2] = {NULL, NULL};
    array_diff *diff = NULL;
    int n;
    lk_status st;

    LK_TRY_TO(st, out, open_named(a, &folder[0], &f[0]));
    LK_TRY_TO(st, out, open_named(b, &folder[1], &f[1]));
    LK_TRY_TO(st, out, lk_alloc_array((int64_t)f[0]->arrays.n + f[1]->arrays.n, sizeof *diff, "differences", &diff));
    LK_TRY_TO(st, out, compare_files(f[0], f[1], diff, &n));
    bool equal = f[0]->cursor.step == f[1]->cursor.step && f[0]->cursor.epoch == f[1]->cursor.epoch;
    for (int i = 0; i < n; i++)
        equal = equal && is_same(&diff[i]);
    LK_TRY_TO(st, out, (json ? diff_json : diff_text)(f[0], f[1], diff, n, equal, out));
    *same = equal;
out:
    lk_free(diff);
    for (int i = 0; i < 2; i++) {
        lki_file_close(&f[i]);
        lk_free(folder[i]);
    }
    return st;
}
