/* idx: two zero bytes, an element type, the number of dimensions, the dimensions as 32-bit numbers, then the elements;
 * all big-endian. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20 };

static const lk_field idx_rows[] = {
    LK_FIELD(lk_import_idx_opts, images, LK_T_STRING, .positional = true,
        .help = "File of images (train-images-idx3-ubyte.gz)."),
    LK_FIELD(lk_import_idx_opts, labels, LK_T_STRING, .positional = true, .help = "File of labels, or \"none\"."),
    LK_FIELD(lk_import_idx_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(lk_import_idx_opts, input, LK_T_STRING, .def = "image", .help = "Name of the field of the images."),
    LK_FIELD(lk_import_idx_opts, label, LK_T_STRING, .def = "label", .help = "Name of the field of the labels."),
    LK_FIELD(lk_import_idx_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards, \"500,300,rest\": DEST-000.h5, DEST-001.h5 ..."),
    LK_FIELD(lk_import_idx_opts, skip, LK_T_INT, .def = "0", .min = 0, .max = 1e18, .unit = "rows",
        .help = "Samples to leave out at the beginning."),
    LK_FIELD(lk_import_idx_opts, rows, LK_T_INT, .def = "0", .min = 0, .max = 1e18, .unit = "rows",
        .help = "Samples to take; 0: all that are left."),
};
const lk_table lk_import_idx_table = LK_TABLE(
    lk_import_idx_opts, "lockstep data import idx", "Brings idx files (MNIST and its kin) into HDF5.", idx_rows);

static bool element_type(uint32_t code, lk_elem *out)
{
    switch (code) {
    case 0x08:
        *out = LK_ELEM_U8;
        return true;
    case 0x09:
        *out = LK_ELEM_I8;
        return true;
    case 0x0B:
        *out = LK_ELEM_I16;
        return true;
    case 0x0C:
        *out = LK_ELEM_I32;
        return true;
    case 0x0D:
        *out = LK_ELEM_F32;
        return true;
    case 0x0E:
        *out = LK_ELEM_F64;
        return true;
    default:
        return false;
    }
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

lk_status lki_idx_init(lki_idx *x, lki_source *source)
{
    const char *name = lki_source_name(source);
    unsigned char header[4 * (LK_DATA_MAX_DIMS + 2)];
    size_t got;

    *x = (lki_idx){.source = source, .row = 1};
    LK_TRY(lki_source_read(source, header, 4, &got));
    if (got < 4)
        return LK_FAIL(LK_E_FORMAT, "%s: truncated: %zu bytes, an idx header has 8 or more", name, got);
    x->magic = big_endian(header);
    x->ndim = (int)(x->magic & 255);
    if (x->magic >> 16 != 0 || !element_type(x->magic >> 8 & 255, &x->type) || x->ndim == 0)
        return LK_FAIL(LK_E_FORMAT,
            "%s: not an idx file: it begins with 0x%08" PRIx32 ", images with 0x00000803, labels with 0x00000801", name,
            x->magic);
    if (x->ndim > LK_DATA_MAX_DIMS + 1)
        return LK_FAIL(
            LK_E_FORMAT, "%s: idx of %d dimensions, up to %d are possible", name, x->ndim, LK_DATA_MAX_DIMS + 1);
    LK_TRY(lki_source_read(source, header + 4, (size_t)(4 * x->ndim), &got));
    if (got < (size_t)(4 * x->ndim))
        return LK_FAIL(LK_E_FORMAT, "%s: truncated: %zu bytes, an idx header of %d dimensions has %d", name, got + 4,
            x->ndim, 4 + 4 * x->ndim);
    for (int i = 0; i < x->ndim; i++) {
        x->dim[i] = big_endian(header + 4 + 4 * i);
        if (x->dim[i] == 0)
            return LK_FAIL(LK_E_FORMAT, i == 0 ? "no samples in %s" : "%s: dimension %d is 0", name, i + 1);
        if (i > 0 && __builtin_mul_overflow(x->row, x->dim[i], &x->row))
            return LK_FAIL(LK_E_FORMAT, "%s: more elements than 64 bits can count", name);
    }
    const int64_t head = 4 + 4 * x->ndim;
    if (__builtin_mul_overflow(x->row, (int64_t)lk_elem_size(x->type), &x->bytes) ||
        __builtin_mul_overflow(x->bytes, x->dim[0], &x->bytes) || __builtin_add_overflow(x->bytes, head, &x->bytes))
        return LK_FAIL(LK_E_FORMAT, "%s: more bytes than 64 bits can count", name);
    x->done = head;
    return LK_OK;
}

/* From big-endian to the machine's order. */
static void swap(void *data, size_t size, int64_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    unsigned char *p = data;

    for (int64_t i = 0; i < n && size > 1; i++, p += size) {
        for (size_t k = 0; k < size / 2; k++) {
            const unsigned char t = p[k];
            p[k] = p[size - 1 - k];
            p[size - 1 - k] = t;
        }
    }
#else
    (void)data, (void)size, (void)n;
#endif
}

lk_status lki_idx_read(lki_idx *x, int64_t n, void *out)
{
    const size_t size = lk_elem_size(x->type);
    const size_t want = (size_t)(n * x->row) * size;
    size_t got;

    LK_TRY(lki_source_read(x->source, out, want, &got));
    x->done += (int64_t)got;
    if (got < want)
        return LK_FAIL(LK_E_FORMAT, "%s: truncated: header promises %" PRId64 " bytes, %" PRId64 " are there",
            lki_source_name(x->source), x->bytes, x->done);
    swap(out, size, n * x->row);
    return LK_OK;
}

lk_status lki_idx_end(lki_idx *x)
{
    char more;
    size_t got;

    LK_TRY(lki_source_read(x->source, &more, 1, &got));
    if (got > 0)
        return LK_FAIL(
            LK_E_FORMAT, "%s: header promises %" PRId64 " bytes, there are more", lki_source_name(x->source), x->bytes);
    if (lki_source_cut(x->source))
        return LK_FAIL(LK_E_FORMAT, "%s: truncated: its gzip stream has no end", lki_source_name(x->source));
    return LK_OK;
}

/* ---- the import ---- */

/* What is open at one time; close_all works on half of it. */
typedef struct job {
    lki_source *source[2];
    lki_idx idx[2]; /* images, labels */
    int n; /* 1: no labels */
    void *rows[2];
    int64_t piece; /* samples at a time */
    lki_shards *shards;
} job;

static lk_status open_files(job *j, const lk_import_idx_opts *o)
{
    const char *path[2] = {o->images, o->labels};

    j->n = strcmp(o->labels, "none") == 0 ? 1 : 2;
    for (int k = 0; k < j->n; k++) {
        LK_TRY(lki_source_open(path[k], &j->source[k]));
        LK_TRY(lki_idx_init(&j->idx[k], j->source[k]));
    }
    const lki_idx *images = &j->idx[0], *labels = &j->idx[1];
    if (images->ndim < 2)
        return LK_FAIL(LK_E_FORMAT,
            "%s: 0x%08" PRIx32 " is idx of one value a sample (labels?), images have two dimensions or more", o->images,
            images->magic);
    if (j->n == 2 && (labels->ndim != 1 || !lk_elem_is_integer(labels->type)))
        return LK_FAIL(LK_E_FORMAT, "%s: 0x%08" PRIx32 " is not idx of labels: one whole number a sample (0x00000801)",
            o->labels, labels->magic);
    if (j->n == 2 && images->dim[0] != labels->dim[0])
        return LK_FAIL(LK_E_FORMAT, "%s has %" PRId64 " images, %s has %" PRId64 " labels", o->images, images->dim[0],
            o->labels, labels->dim[0]);
    return LK_OK;
}

static lk_status plan_shards(job *j, const lk_import_idx_opts *o, int64_t rows)
{
    lki_out_field field[2] = {{.name = o->input, .type = j->idx[0].type}, {.name = o->label, .type = j->idx[1].type}};
    const lki_origin origin = {.source = o->images, .importer = "lockstep " LK_VERSION " data import idx"};
    const lki_dest dest = {.path = o->dest, .shard_rows = o->shard_rows, .rows = rows, .first = o->skip};

    if (j->idx[0].ndim == 3) /* height and width: one channel */
        field[0].dim[field[0].ndim++] = 1;
    if (j->idx[0].ndim - 1 + field[0].ndim > LK_DATA_MAX_DIMS)
        return LK_FAIL(LK_E_FORMAT, "%s: idx of %d dimensions, up to %d are possible", o->images, j->idx[0].ndim,
            LK_DATA_MAX_DIMS + 1);
    for (int i = 1; i < j->idx[0].ndim; i++)
        field[0].dim[field[0].ndim++] = j->idx[0].dim[i];
    LK_TRY(lki_shards_create(&dest, 1, field, j->n, &origin, &j->shards));
    return LK_OK;
}

/* All samples are read, so that a damaged file is found out; those of the range are written. */
static lk_status copy_samples(job *j, int64_t skip, int64_t rows)
{
    const int64_t total = j->idx[0].dim[0];

    for (int64_t first = 0; first < total; first += j->piece) {
        const int64_t n = total - first < j->piece ? total - first : j->piece;
        const void *from[2] = {NULL, NULL};
        const int64_t a = skip > first ? skip : first, b = skip + rows < first + n ? skip + rows : first + n;
        for (int k = 0; k < j->n; k++) {
            LK_TRY(lki_idx_read(&j->idx[k], n, j->rows[k]));
            if (a < b)
                from[k] = (char *)j->rows[k] + (size_t)((a - first) * j->idx[k].row) * lk_elem_size(j->idx[k].type);
        }
        if (a < b)
            LK_TRY(lki_shards_add(j->shards, 0, b - a, from));
    }
    for (int k = 0; k < j->n; k++)
        LK_TRY(lki_idx_end(&j->idx[k]));
    return LK_OK;
}

lk_status lk_import_idx(const lk_import_idx_opts *o, lk_buf *report)
{
    job j = {0};
    lk_status st;

    LK_TRY_TO(st, out, open_files(&j, o));
    const int64_t total = j.idx[0].dim[0];
    const int64_t rows = o->rows > 0 ? o->rows : total - o->skip;
    if (o->skip >= total || rows > total - o->skip) {
        st = LK_FAIL(LK_E_ARG, "%s: %" PRId64 " samples after %" PRId64 " were asked for, there are %" PRId64 " in all",
            o->images, o->rows > 0 ? rows : 1, o->skip, total);
        goto out;
    }
    LK_TRY_TO(st, out, plan_shards(&j, o, rows));
    const int64_t row_bytes = j.idx[0].row * (int64_t)lk_elem_size(j.idx[0].type);
    j.piece = row_bytes < PIECE_BYTES ? PIECE_BYTES / row_bytes : 1;
    for (int k = 0; k < j.n; k++)
        LK_TRY_TO(st, out,
            lk_alloc_array(j.piece * j.idx[k].row, lk_elem_size(j.idx[k].type), "samples of an idx file", &j.rows[k]));
    LK_TRY_TO(st, out, copy_samples(&j, o->skip, rows));
    LK_TRY_TO(st, out, lki_shards_finish(j.shards, report));
out:
    lki_shards_destroy(&j.shards);
    for (int k = 0; k < 2; k++) {
        lk_free(j.rows[k]);
        lki_source_close(&j.source[k]);
    }
    return st;
}
