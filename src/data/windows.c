#include "data/windows.h"
#include "base/mem.h"
#include "data/dataset_int.h"

#include <inttypes.h>
#include <string.h>

static void close_base(lk_dataset *base)
{
    lk_dataset_close(&base);
}

/* ---- windows ---- */

typedef struct windows {
    lk_dataset base;
    lk_dataset *series;
    int64_t stride;
    lk_field_info field[LK_WINDOWS_FIELDS];
    lk_window_field from[LK_WINDOWS_FIELDS];
} windows;

/* All rows of the windows are read into the end of `out`, then each window is moved to its place, from the first to the
 * last. That of window k ends at (k+1)*length, the rows of window k+1 begin at (n-1)*(length-stride) + (k+1)*stride,
 * which is no less, so no row is written over before its use. */
static lk_status read_overlapping(windows *d, int field, int64_t first, int64_t n, char *out)
{
    const lk_window_field *w = &d->from[field];
    const size_t row_bytes = (size_t)(d->field[field].row / w->length) * lk_elem_size(d->field[field].type);
    const int64_t span = (n - 1) * d->stride + w->length;
    char *rows = out + (size_t)(n * w->length - span) * row_bytes;

    LK_TRY(lk_dataset_read(d->series, w->field, first * d->stride + w->ahead, span, rows));
    for (int64_t k = 0; k < n && d->stride < w->length; k++)
        memmove(out + (size_t)(k * w->length) * row_bytes, rows + (size_t)(k * d->stride) * row_bytes,
            (size_t)w->length * row_bytes);
    return LK_OK;
}

static lk_status read_windows(lk_dataset *base, int field, int64_t first, int64_t n, void *out)
{
    windows *d = (windows *)base;
    const lk_window_field *w = &d->from[field];
    const size_t sample_bytes = (size_t)d->field[field].row * lk_elem_size(d->field[field].type);

    if (d->stride <= w->length)
        return read_overlapping(d, field, first, n, out);
    for (int64_t k = 0; k < n; k++)
        LK_TRY(lk_dataset_read(d->series, w->field, (first + k) * d->stride + w->ahead, w->length,
            (char *)out + (size_t)k * sample_bytes));
    return LK_OK;
}

static lk_dataset *series_of(lk_dataset *base, int *field)
{
    windows *d = (windows *)base;

    *field = d->from[*field].field;
    return lk_dataset_source(d->series, field);
}

static void close_windows(lk_dataset *base)
{
    close_base(((windows *)base)->series);
    lk_free(base);
}

static const lki_dataset_ops windows_ops = {.read = read_windows, .source = series_of, .close = close_windows};

/* Field i, and the number of its windows. */
static lk_status cut_field(windows *d, int i, int64_t *samples)
{
    const lk_window_field *w = &d->from[i];
    lk_field_info *f = &d->field[i];

    if (w->field < 0 || w->field >= d->series->n_fields || w->ahead < 0 || w->length < 1 ||
        w->ahead > INT64_MAX - w->length)
        return LK_FAIL(LK_E_ARG, "windows of field %d of %d: %" PRId64 " rows, %" PRId64 " ahead", w->field,
            d->series->n_fields, w->length, w->ahead);
    const lk_field_info *s = &d->series->field[w->field];
    if (s->ndim + 1 > LK_DATA_MAX_DIMS)
        return LK_FAIL(LK_E_SHAPE, "%s: field \"%s\": rows of rank %d cannot be cut into windows",
            d->series->shard[0].path, s->name, s->ndim);
    if (w->ahead + w->length > d->series->samples)
        return LK_FAIL(LK_E_DATA,
            "%s: field \"%s\": the series has %" PRId64 " rows, fewer than one window takes: %" PRId64
            " rows from row %" PRId64 " on",
            d->series->shard[0].path, s->name, d->series->samples, w->length, w->ahead);
    *f = (lk_field_info){.name = s->name, .type = s->type, .ndim = s->ndim + 1, .dim = {w->length}};
    memcpy(f->dim + 1, s->dim, (size_t)s->ndim * sizeof s->dim[0]);
    LK_TRY(lk_mul_i64(w->length, s->row, &f->row));
    *samples = (d->series->samples - w->ahead - w->length) / d->stride + 1;
    return LK_OK;
}

lk_status lk_dataset_create_windows(lk_dataset *base, const lk_windows_opts *o, lk_dataset **out)
{
    windows *d = NULL;
    lk_status st;

    if (o->stride < 1 || o->n_fields < 1 || o->n_fields > LK_WINDOWS_FIELDS) {
        st = LK_FAIL(LK_E_ARG, "windows: %d fields, stride %" PRId64, o->n_fields, o->stride);
        goto fail;
    }
    LK_TRY_TO(st, fail, lk_alloc(sizeof *d, "windows", &d));
    d->base = (lk_dataset){.ops = &windows_ops,
        .samples = INT64_MAX,
        .n_shards = base->n_shards,
        .n_fields = o->n_fields,
        .shard = base->shard,
        .field = d->field};
    d->series = base;
    d->stride = o->stride;
    memcpy(d->from, o->field, sizeof d->from);
    for (int i = 0; i < o->n_fields; i++) {
        int64_t samples = 0;
        LK_TRY_TO(st, fail, cut_field(d, i, &samples));
        if (samples < d->base.samples)
            d->base.samples = samples;
    }
    *out = &d->base;
    return LK_OK;

fail:
    lk_free(d);
    close_base(base);
    return st;
}

/* ---- columns ---- */

enum { PIECE_BYTES = 1 << 16 };

typedef struct columns {
    lk_dataset base;
    lk_dataset *wide;
    int narrowed; /* the field that has fewer columns */
    int64_t *column;
    lk_field_info *field;
} columns;

static void pick(const columns *d, int64_t n, const char *wide, char *out)
{
    const lk_field_info *f = &d->field[d->narrowed];
    const size_t elem = lk_elem_size(f->type);
    const size_t wide_bytes = (size_t)d->wide->field[d->narrowed].row * elem;

    for (int64_t i = 0; i < n; i++, wide += wide_bytes)
        for (int64_t c = 0; c < f->row; c++, out += elem)
            memcpy(out, wide + (size_t)d->column[c] * elem, elem);
}

static lk_status read_columns(lk_dataset *base, int field, int64_t first, int64_t n, void *out)
{
    const columns *d = (const columns *)base;
    const lk_field_info *f = &d->field[field];
    char piece[PIECE_BYTES], *large = NULL;
    lk_status st = LK_OK;

    if (field != d->narrowed)
        return lk_dataset_read(d->wide, field, first, n, out);
    const int64_t wide_bytes = d->wide->field[field].row * (int64_t)lk_elem_size(f->type);
    const int64_t at_once = wide_bytes > PIECE_BYTES ? 1 : PIECE_BYTES / wide_bytes;
    if (wide_bytes > PIECE_BYTES)
        LK_TRY(lk_alloc_array(wide_bytes, 1, "a row of columns", &large));
    char *rows = large != NULL ? large : piece;
    for (int64_t done = 0; done < n && st == LK_OK; done += at_once) {
        const int64_t here = n - done < at_once ? n - done : at_once;
        st = lk_dataset_read(d->wide, field, first + done, here, rows);
        if (st == LK_OK)
            pick(d, here, rows, (char *)out + (size_t)(done * f->row) * lk_elem_size(f->type));
    }
    lk_free(large);
    return st;
}

static lk_dataset *wide_of(lk_dataset *base, int *field)
{
    columns *d = (columns *)base;

    return *field == d->narrowed ? base : lk_dataset_source(d->wide, field);
}

static void free_columns(columns *d)
{
    if (d == NULL)
        return;
    lk_free(d->column);
    lk_free(d->field);
    lk_free(d);
}

static void close_columns(lk_dataset *base)
{
    close_base(((columns *)base)->wide);
    free_columns((columns *)base);
}

static const lki_dataset_ops columns_ops = {.read = read_columns, .source = wide_of, .close = close_columns};

static lk_status check_columns(const lk_dataset *d, int field, const int64_t *column, int n)
{
    if (field < 0 || field >= d->n_fields || n < 1)
        return LK_FAIL(LK_E_ARG, "%d columns of field %d of %d", n, field, d->n_fields);
    const lk_field_info *f = &d->field[field];
    if (f->ndim != 1)
        return LK_FAIL(LK_E_SHAPE, "%s: field \"%s\" has rank %d; columns can be picked of rank 2, [rows,columns]",
            d->shard[0].path, f->name, f->ndim + 1);
    for (int i = 0; i < n; i++)
        if (column[i] < 0 || column[i] >= f->dim[0])
            return LK_FAIL(LK_E_RANGE, "%s: field \"%s\" has no column %" PRId64 ", it has %" PRId64 ", from 0",
                d->shard[0].path, f->name, column[i], f->dim[0]);
    return LK_OK;
}

lk_status lk_dataset_create_columns(lk_dataset *base, int field, const int64_t *column, int n_columns, lk_dataset **out)
{
    columns *d = NULL;
    lk_status st;

    LK_TRY_TO(st, fail, check_columns(base, field, column, n_columns));
    LK_TRY_TO(st, fail, lk_alloc(sizeof *d, "columns", &d));
    LK_TRY_TO(st, fail, lk_alloc_array(n_columns, sizeof d->column[0], "columns", &d->column));
    LK_TRY_TO(st, fail, lk_alloc_array(base->n_fields, sizeof d->field[0], "columns", &d->field));
    memcpy(d->column, column, (size_t)n_columns * sizeof column[0]);
    memcpy(d->field, base->field, (size_t)base->n_fields * sizeof d->field[0]);
    d->field[field].dim[0] = d->field[field].row = n_columns;
    d->wide = base;
    d->narrowed = field;
    d->base = (lk_dataset){.ops = &columns_ops,
        .samples = base->samples,
        .n_shards = base->n_shards,
        .n_fields = base->n_fields,
        .shard = base->shard,
        .field = d->field};
    *out = &d->base;
    return LK_OK;

fail:
    free_columns(d);
    close_base(base);
    return st;
}
