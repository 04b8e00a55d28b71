/* HDF5 shards as one dataset. Rows that stand in the file as they do in memory (contiguous layout, native numbers) are
 * read with pread, outside HDF5 and its lock; all else goes through the library, slower and correct. Files are opened
 * when they are read, a few at a time. */
#include "data/dataset.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/dataset_int.h"
#include "data/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_FILES = 32, RANGE_PIECE = 1 << 20, SHAPE_TEXT = 192 };

/* Of HDF5's cache of decoded chunks: at least its default, so much that two chunks fit, at most a limit. */
enum { CHUNK_CACHE_MIN = 1 << 20, CHUNK_CACHE_MAX = 64 << 20 };

/* A shard's file as it was when the dataset was opened, and the handles on it while it is open. */
typedef struct source {
    int64_t bytes;
    ino_t inode;
    dev_t device;
    int64_t *offset; /* [n_fields] of row 0 in the file; -1: read through HDF5 */
    /* Under `lock` of the dataset; handles of a pinned source stay as they are. */
    int pins;
    uint64_t used;
    int fd;
    hid_t file;
    hid_t *dset; /* [n_fields] */
} source;

typedef struct h5_dataset {
    lk_dataset base;
    pthread_mutex_t lock;
    source *source; /* [n_shards] */
    int n_open;
    uint64_t clock;
} h5_dataset;

/* ---- reading ---- */

static lk_status shrank(int64_t bytes, int64_t before)
{
    return LK_FAIL(LK_E_IO, "the file shrank from %" PRId64 " to %" PRId64 " bytes while it was in use", before, bytes);
}

static lk_status check_size(int fd, int64_t before)
{
    struct stat s;

    if (fstat(fd, &s) != 0)
        return LK_FAIL(LK_E_IO, "stat: %s", strerror(errno));
    return (int64_t)s.st_size < before ? shrank((int64_t)s.st_size, before) : LK_OK;
}

/* *done tells how many bytes came, also on failure. */
static lk_status read_plain(const source *s, int64_t offset, size_t bytes, char *out, size_t *done)
{
    *done = 0;
    while (*done < bytes) {
        const ssize_t got = pread(s->fd, out + *done, bytes - *done, (off_t)(offset + (int64_t)*done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return LK_FAIL(LK_E_IO, "read: %s", strerror(errno));
        if (got == 0)
            return shrank(offset + (int64_t)*done, s->bytes);
        *done += (size_t)got;
    }
    return LK_OK;
}

static lk_status read_library(const source *s, const lk_field_info *f, int field, int64_t row, int64_t n, void *out)
{
    hsize_t start[LK_DATA_MAX_DIMS + 1] = {0}, count[LK_DATA_MAX_DIMS + 1];
    hid_t type = -1, mem = -1;
    lk_status st;

    start[0] = (hsize_t)row;
    count[0] = (hsize_t)n;
    for (int i = 0; i < f->ndim; i++)
        count[i + 1] = (hsize_t)f->dim[i];
    lk_h5_lock();
    LK_TRY_TO(st, out, LK_H5(type = H5Dget_type(s->dset[field])));
    LK_TRY_TO(st, out, LK_H5(mem = lki_h5_mem_type(type, f->type)));
    LK_TRY_TO(st, out, lki_h5_read_box(s->dset[field], mem, f->ndim + 1, start, count, out));
out:
    if (mem >= 0)
        H5Tclose(mem);
    if (type >= 0)
        H5Tclose(type);
    lk_h5_unlock();
    LK_TRY(st);
    return check_size(s->fd, s->bytes); /* beyond the end of a cut file HDF5 reads zeros, and says nothing */
}

static void close_source(h5_dataset *d, source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    lk_h5_lock();
    for (int f = 0; f < d->base.n_fields; f++)
        if (s->dset[f] >= 0)
            H5Dclose(s->dset[f]);
    if (s->file >= 0)
        H5Fclose(s->file);
    lk_h5_unlock();
    s->fd = -1;
    s->file = -1;
    for (int f = 0; f < d->base.n_fields; f++)
        s->dset[f] = -1;
}

/* Opens an array for reading, with room to decode its chunks. */
static lk_status open_array(hid_t file, const char *name, hid_t *dset)
{
    hid_t dcpl = -1, dapl = -1, type = -1;
    hsize_t chunk[H5S_MAX_RANK];
    lk_status st;

    LK_TRY(lki_h5_open_array(file, "field", name, H5P_DEFAULT, dset));
    LK_TRY_TO(st, out, LK_H5(dcpl = H5Dget_create_plist(*dset)));
    const int rank = H5Pget_layout(dcpl) == H5D_CHUNKED ? H5Pget_chunk(dcpl, H5S_MAX_RANK, chunk) : 0;
    if (rank <= 0)
        goto out;
    LK_TRY_TO(st, out, LK_H5(type = H5Dget_type(*dset)));
    double bytes = 2.0 * (double)H5Tget_size(type);
    for (int i = 0; i < rank; i++)
        bytes *= (double)chunk[i];
    if (bytes <= CHUNK_CACHE_MIN || bytes > CHUNK_CACHE_MAX)
        goto out;
    LK_TRY_TO(st, out, LK_H5(dapl = H5Pcreate(H5P_DATASET_ACCESS)));
    LK_TRY_TO(st, out,
        LK_H5(H5Pset_chunk_cache(dapl, H5D_CHUNK_CACHE_NSLOTS_DEFAULT, (size_t)bytes, H5D_CHUNK_CACHE_W0_DEFAULT)));
    H5Dclose(*dset);
    *dset = -1;
    LK_TRY_TO(st, out, lki_h5_open_array(file, "field", name, dapl, dset));
out:
    if (type >= 0)
        H5Tclose(type);
    if (dapl >= 0)
        H5Pclose(dapl);
    if (dcpl >= 0)
        H5Pclose(dcpl);
    return st;
}

static lk_status open_source(h5_dataset *d, source *s, const char *path)
{
    struct stat now;
    bool library = false;
    lk_status st;

    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    LK_TRY_TO(st, fail, LK_SYS(s->fd < 0, "open", path));
    LK_TRY_TO(st, fail, LK_SYS(fstat(s->fd, &now) != 0, "stat", path));
    /* Rows are where they were found at the start only if this still is that file. */
    if (now.st_ino != s->inode || now.st_dev != s->device || (int64_t)now.st_size < s->bytes) {
        st = LK_FAIL(LK_E_IO,
            "%s: not the file any more that was opened at the start: %" PRId64 " bytes then, %" PRId64 " now", path,
            s->bytes, (int64_t)now.st_size);
        goto fail;
    }
    for (int f = 0; f < d->base.n_fields; f++)
        library = library || s->offset[f] < 0;
    if (library) {
        LK_TRY_TO(st, fail, lk_h5_open(path, &s->file));
        for (int f = 0; f < d->base.n_fields; f++) {
            if (s->offset[f] >= 0)
                continue;
            lk_h5_lock();
            st = open_array(s->file, d->base.field[f].name, &s->dset[f]);
            lk_h5_unlock();
            if (st != LK_OK) {
                lk_err_prefix(st, "%s: ", path);
                goto fail;
            }
        }
    }
    return LK_OK;

fail:
    close_source(d, s);
    return st;
}

/* Closes the source that was not used for the longest time, if there is one to spare. */
static void make_room(h5_dataset *d)
{
    source *oldest = NULL;

    for (int i = 0; i < d->base.n_shards; i++) {
        source *s = &d->source[i];
        if (s->fd >= 0 && s->pins == 0 && (oldest == NULL || s->used < oldest->used))
            oldest = s;
    }
    if (oldest != NULL) {
        close_source(d, oldest);
        d->n_open--;
    }
}

static lk_status pin_source(h5_dataset *d, int shard)
{
    source *s = &d->source[shard];
    lk_status st = LK_OK;

    pthread_mutex_lock(&d->lock);
    if (s->fd < 0) {
        if (d->n_open >= OPEN_FILES)
            make_room(d);
        st = open_source(d, s, d->base.shard[shard].path);
        d->n_open += st == LK_OK;
    }
    if (st == LK_OK) {
        s->pins++;
        s->used = ++d->clock;
    }
    pthread_mutex_unlock(&d->lock);
    return st;
}

static void unpin_source(h5_dataset *d, int shard)
{
    pthread_mutex_lock(&d->lock);
    d->source[shard].pins--;
    pthread_mutex_unlock(&d->lock);
}

static lk_status read_shard(h5_dataset *d, int shard, int field, int64_t row, int64_t n, char *out)
{
    const lk_field_info *f = &d->base.field[field];
    const int64_t row_bytes = f->row * (int64_t)lk_elem_size(f->type);
    int64_t bad = row; /* the first row that did not come */
    lk_status st;

    LK_TRY(pin_source(d, shard));
    const source *s = &d->source[shard];
    if (s->offset[field] >= 0) {
        size_t done;
        st = read_plain(s, s->offset[field] + row * row_bytes, (size_t)(n * row_bytes), out, &done);
        bad = row + (int64_t)done / row_bytes;
    } else {
        st = read_library(s, f, field, row, n, out);
    }
    unpin_source(d, shard);
    if (st != LK_OK)
        lk_err_prefix(st, "%s: field \"%s\", sample %" PRId64 ": ", d->base.shard[shard].path, f->name, bad);
    return st;
}

static int find_shard(const lk_dataset *d, int64_t sample)
{
    int low = 0, high = d->n_shards - 1;

    while (
        low < high) { /* the last shard that begins at or before the sample; empty ones begin where the next one does */
        const int middle = low + (high - low + 1) / 2;
        if (d->shard[middle].first <= sample)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static lk_status read_h5(lk_dataset *base, int field, int64_t first, int64_t n, void *out)
{
    const lk_field_info *f = &base->field[field];
    const int64_t row_bytes = f->row * (int64_t)lk_elem_size(f->type);
    char *to = out;

    for (int k = find_shard(base, first); n > 0; k++) {
        const lki_shard *s = &base->shard[k];
        const int64_t row = first - s->first;
        const int64_t here = s->samples - row < n ? s->samples - row : n;
        if (here > 0)
            LK_TRY(read_shard((h5_dataset *)base, k, field, row, here, to));
        to += here * row_bytes;
        first += here;
        n -= here;
    }
    return LK_OK;
}

static void close_h5(lk_dataset *base)
{
    h5_dataset *d = (h5_dataset *)base;

    for (int i = 0; i < base->n_shards; i++) {
        if (d->source != NULL) {
            if (d->source[i].dset != NULL)
                close_source(d, &d->source[i]);
            lk_free(d->source[i].offset);
            lk_free(d->source[i].dset);
        }
        if (base->shard != NULL)
            lk_free((char *)base->shard[i].path);
    }
    for (int f = 0; f < base->n_fields && base->field != NULL; f++)
        lk_free((char *)base->field[f].name);
    lk_free(base->field);
    lk_free(base->shard);
    lk_free(d->source);
    pthread_mutex_destroy(&d->lock);
    lk_free(d);
}

static const lki_dataset_ops h5_ops = {.read = read_h5, .close = close_h5};

/* ---- opening ---- */

/* Where row 0 stands in the file, if its rows stand there as in memory; else -1. */
static lk_status plain_offset(hid_t dset, lk_elem e, int64_t *out)
{
    hid_t dcpl = -1, type = -1, mem = -1;
    lk_status st;

    *out = -1;
    LK_TRY(LK_H5(dcpl = H5Dget_create_plist(dset)));
    if (H5Pget_layout(dcpl) != H5D_CONTIGUOUS || H5Pget_external_count(dcpl) != 0) {
        st = LK_OK;
        goto out;
    }
    LK_TRY_TO(st, out, LK_H5(type = H5Dget_type(dset)));
    LK_TRY_TO(st, out, LK_H5(mem = lki_h5_mem_type(type, e)));
    if (H5Tequal(type, mem) > 0) {
        const haddr_t at = H5Dget_offset(dset); /* undefined where nothing was ever written */
        H5Eclear2(H5E_DEFAULT);
        if (at != HADDR_UNDEF && at <= (haddr_t)INT64_MAX)
            *out = (int64_t)at;
    }
out:
    if (mem >= 0)
        H5Tclose(mem);
    if (type >= 0)
        H5Tclose(type);
    H5Pclose(dcpl);
    return st;
}

static int64_t chunk_rows(hid_t dset)
{
    hsize_t chunk[H5S_MAX_RANK];
    const hid_t dcpl = H5Dget_create_plist(dset);
    int64_t rows = 0;

    if (dcpl >= 0 && H5Pget_layout(dcpl) == H5D_CHUNKED && H5Pget_chunk(dcpl, H5S_MAX_RANK, chunk) > 0)
        rows = (int64_t)chunk[0];
    if (dcpl >= 0)
        H5Pclose(dcpl);
    H5Eclear2(H5E_DEFAULT);
    return rows;
}

/* Takes type and shape over from the first shard that is opened, or compares with it. */
static lk_status agree_on_field(lk_field_info *f, const lk_h5_shape *s, const char *first_path, bool is_first)
{
    if (s->ndim == 0)
        return LK_FAIL(LK_E_SHAPE, "field \"%s\" is a single value: its first dimension must count samples", f->name);
    if (is_first) {
        f->type = s->type;
        f->ndim = s->ndim - 1;
        f->row = 1;
        for (int i = 0; i < f->ndim; i++) {
            f->dim[i] = s->dim[i + 1];
            f->row *= f->dim[i];
        }
        if (f->row == 0) {
            char is[SHAPE_TEXT];
            lki_h5_format_shape(s, false, is, sizeof is);
            return LK_FAIL(LK_E_SHAPE, "field \"%s\" has shape %s: its samples are empty", f->name, is);
        }
        return LK_OK;
    }
    if (s->ndim != f->ndim + 1)
        return LK_FAIL(
            LK_E_SHAPE, "field \"%s\" has rank %d, in %s it has rank %d", f->name, s->ndim, first_path, f->ndim + 1);
    if (memcmp(s->dim + 1, f->dim, (size_t)f->ndim * sizeof f->dim[0]) != 0) {
        char is[SHAPE_TEXT], was[SHAPE_TEXT];
        lk_h5_shape first = {.ndim = f->ndim + 1};
        memcpy(first.dim + 1, f->dim, (size_t)f->ndim * sizeof f->dim[0]);
        lki_h5_format_shape(s, true, is, sizeof is);
        lki_h5_format_shape(&first, true, was, sizeof was);
        return LK_FAIL(LK_E_SHAPE, "field \"%s\" has shape %s, in %s it has %s", f->name, is, first_path, was);
    }
    if (s->type != f->type)
        return LK_FAIL(LK_E_SHAPE, "field \"%s\" has type %s, in %s it has %s", f->name, lk_elem_name(s->type),
            first_path, lk_elem_name(f->type));
    return LK_OK;
}

/* Checks the fields of an open shard and notes where they stand. */
static lk_status examine_fields(h5_dataset *d, int shard, hid_t file)
{
    lki_shard *shape_of = &d->base.shard[shard];
    source *s = &d->source[shard];
    hid_t dset = -1;
    lk_status st = LK_OK;

    for (int f = 0; f < d->base.n_fields; f++) {
        lk_field_info *info = &d->base.field[f];
        lk_h5_shape shape;
        LK_TRY_TO(st, out, lki_h5_open_array(file, "field", info->name, H5P_DEFAULT, &dset));
        LK_TRY_TO(st, out, lki_h5_shape_of(dset, "field", info->name, &shape));
        LK_TRY_TO(st, out, agree_on_field(info, &shape, d->base.shard[0].path, shard == 0));
        if (f == 0) {
            shape_of->samples = shape.dim[0];
        } else if (shape.dim[0] != shape_of->samples) {
            st = LK_FAIL(LK_E_SHAPE, "field \"%s\" has %" PRId64 " samples, field \"%s\" has %" PRId64, info->name,
                shape.dim[0], d->base.field[0].name, shape_of->samples);
            goto out;
        }
        LK_TRY_TO(st, out, plain_offset(dset, shape.type, &s->offset[f]));
        if (shard == 0)
            info->chunk = chunk_rows(dset);
        H5Dclose(dset);
        dset = -1;
    }
out:
    if (dset >= 0)
        H5Dclose(dset);
    return st;
}

static lk_status examine_shard(h5_dataset *d, int shard)
{
    lki_shard *k = &d->base.shard[shard];
    source *s = &d->source[shard];
    struct stat now;
    hid_t file = -1;
    lk_status st;

    LK_TRY_TO(st, out, lk_h5_open(k->path, &file));
    lk_h5_lock();
    st = examine_fields(d, shard, file);
    lk_h5_unlock();
    if (st != LK_OK) {
        lk_err_prefix(st, "%s: ", k->path);
        goto out;
    }
    LK_TRY_TO(st, out, LK_SYS(stat(k->path, &now) != 0, "stat", k->path));
    s->bytes = (int64_t)now.st_size;
    s->inode = now.st_ino;
    s->device = now.st_dev;
    k->first = d->base.samples;
    if (__builtin_add_overflow(d->base.samples, k->samples, &d->base.samples))
        st = LK_FAIL(LK_E_RANGE, "%s: with this file there are more samples than 64 bits can count", k->path);
out:
    if (file >= 0) {
        lk_h5_lock();
        H5Fclose(file);
        lk_h5_unlock();
    }
    return st;
}

static bool has_wildcard(const char *text)
{
    return strpbrk(text, "*?[") != NULL;
}

/* The files of one pattern, relative to `base`. Wildcards in `base` itself are plain characters. */
static lk_status expand(const char *pattern, const char *base, char ***paths, int *n)
{
    char *plain = NULL, *full = NULL;
    lk_buf b = {0};
    lk_status st;

    LK_TRY_TO(st, out, lk_path_join(base, pattern, &plain));
    if (!has_wildcard(pattern) || lk_file_exists(plain)) {
        LK_TRY_TO(st, out, lk_alloc(sizeof **paths, "list of names", paths));
        (*paths)[0] = plain;
        plain = NULL;
        *n = 1;
        goto out;
    }
    for (const char *c = base; *c != 0; c++) {
        if (strchr("*?[]\\", *c) != NULL)
            lk_buf_add(&b, "\\");
        lk_buf_add_n(&b, c, 1);
    }
    LK_TRY_TO(st, out, lk_buf_status(&b));
    LK_TRY_TO(st, out, lk_path_join(lk_buf_text(&b), pattern, &full));
    LK_TRY_TO(st, out, lk_glob(full, paths, n));
    if (*n == 0) {
        lk_strings_free(paths, 0);
        st = LK_FAIL(LK_E_NOT_FOUND, "%s: no file matches", plain);
    }
out:
    lk_free(plain);
    lk_free(full);
    lk_buf_fini(&b);
    return st;
}

/* Adds the files of a pattern to the list of shards. */
static lk_status add_shards(h5_dataset *d, const char *pattern, const char *base)
{
    char **paths = NULL;
    int n = 0, total = 0;
    lk_status st;

    LK_TRY_TO(st, out, expand(pattern, base, &paths, &n));
    LK_TRY_TO(st, out, lk_cast_int((int64_t)d->base.n_shards + n, &total));
    LK_TRY_TO(st, out, lk_realloc_array(d->base.n_shards, total, sizeof d->base.shard[0], "shards", &d->base.shard));
    for (int i = 0; i < n; i++) {
        d->base.shard[d->base.n_shards++].path = paths[i];
        paths[i] = NULL;
    }
out:
    lk_strings_free(&paths, n);
    return st;
}

static lk_status no_samples(const lk_dataset *d)
{
    if (d->n_shards == 1)
        return LK_FAIL(LK_E_DATA, "no samples in %s", d->shard[0].path);
    return LK_FAIL(
        LK_E_DATA, "no samples in %s to %s (%d files)", d->shard[0].path, d->shard[d->n_shards - 1].path, d->n_shards);
}

lk_status lk_dataset_open(
    const lk_strings *patterns, const char *base, const char *const *fields, int n_fields, lk_dataset **out)
{
    h5_dataset *d = NULL;
    lk_status st;

    if (patterns->n < 1 || n_fields < 1)
        return LK_FAIL(LK_E_ARG, "a dataset of %d patterns and %d fields", patterns->n, n_fields);
    LK_TRY(lk_alloc(sizeof *d, "dataset", &d));
    d->base.ops = &h5_ops;
    pthread_mutex_init(&d->lock, NULL);
    for (int i = 0; i < patterns->n; i++)
        LK_TRY_TO(st, fail, add_shards(d, patterns->item[i], base != NULL ? base : ""));
    LK_TRY_TO(st, fail, lk_alloc_array(n_fields, sizeof d->base.field[0], "fields", &d->base.field));
    d->base.n_fields = n_fields;
    for (int f = 0; f < n_fields; f++)
        LK_TRY_TO(st, fail, lk_strdup(fields[f], (char **)&d->base.field[f].name));
    LK_TRY_TO(st, fail, lk_alloc_array(d->base.n_shards, sizeof d->source[0], "shards", &d->source));
    for (int i = 0; i < d->base.n_shards; i++) {
        source *s = &d->source[i];
        *s = (source){.fd = -1, .file = -1};
        LK_TRY_TO(st, fail, lk_alloc_array(n_fields, sizeof s->offset[0], "shards", &s->offset));
        LK_TRY_TO(st, fail, lk_alloc_array(n_fields, sizeof s->dset[0], "shards", &s->dset));
        for (int f = 0; f < n_fields; f++)
            s->dset[f] = -1;
        LK_TRY_TO(st, fail, examine_shard(d, i));
    }
    if (d->base.samples == 0) {
        st = no_samples(&d->base);
        goto fail;
    }
    *out = &d->base;
    return LK_OK;

fail:
    close_h5(&d->base);
    return st;
}

/* ---- what all kinds share ---- */

void lk_dataset_close(lk_dataset **d)
{
    if (*d == NULL)
        return;
    (*d)->ops->close(*d);
    *d = NULL;
}

int64_t lk_dataset_samples(const lk_dataset *d)
{
    return d->samples;
}

int lk_dataset_shards(const lk_dataset *d)
{
    return d->n_shards;
}

const char *lk_dataset_shard(const lk_dataset *d, int shard, int64_t *first, int64_t *samples)
{
    const lki_shard *s = &d->shard[shard];

    if (first != NULL)
        *first = s->first;
    if (samples != NULL)
        *samples = s->samples;
    return s->path;
}

const lk_field_info *lk_dataset_field(const lk_dataset *d, int field)
{
    return &d->field[field];
}

lk_status lk_dataset_read(lk_dataset *d, int field, int64_t first, int64_t n, void *out)
{
    if (field < 0 || field >= d->n_fields || first < 0 || n < 0 || first > d->samples || n > d->samples - first)
        return LK_FAIL(LK_E_ARG, "field %d of %d, samples %" PRId64 " to %" PRId64 " of %" PRId64, field, d->n_fields,
            first, first + n, d->samples);
    if (n == 0)
        return LK_OK;
    LK_TRY(d->ops->read(d, field, first, n, out));
    return LK_OK;
}

lk_dataset *lk_dataset_source(lk_dataset *d, int *field)
{
    return d->ops->source != NULL ? d->ops->source(d, field) : d;
}

lk_status lk_dataset_range(lk_dataset *d, int field, int64_t *min, int64_t *max, int64_t *where_min, int64_t *where_max)
{
    const lk_field_info *f = &d->field[field];
    const int64_t row_bytes = f->row * (int64_t)lk_elem_size(f->type);
    const int64_t piece = row_bytes < RANGE_PIECE ? RANGE_PIECE / row_bytes : 1;
    int64_t low = INT64_MAX, high = INT64_MIN, low_at = 0, high_at = 0;
    void *rows = NULL;
    lk_status st = LK_OK;

    if (!lk_elem_is_integer(f->type))
        return LK_FAIL(LK_E_ARG, "field \"%s\" has type %s, not whole numbers", f->name, lk_elem_name(f->type));
    LK_TRY(lk_alloc_array(piece, (size_t)row_bytes, "rows of a field", &rows));
    for (int64_t first = 0; first < d->samples; first += piece) {
        const int64_t n = d->samples - first < piece ? d->samples - first : piece;
        LK_TRY_TO(st, out, lk_dataset_read(d, field, first, n, rows));
        for (int64_t i = 0; i < n * f->row; i++) {
            const int64_t v = lki_whole_at(rows, f->type, i);
            if (v < low) {
                low = v;
                low_at = first + i / f->row;
            }
            if (v > high) {
                high = v;
                high_at = first + i / f->row;
            }
        }
    }
    *min = low;
    *max = high;
    if (where_min != NULL)
        *where_min = low_at;
    if (where_max != NULL)
        *where_max = high_at;
out:
    lk_free(rows);
    return st;
}
