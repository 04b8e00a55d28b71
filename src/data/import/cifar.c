/* The binary version of CIFAR-10 and CIFAR-100. Read twice in fixed memory: once to see whether all is whole and how
 * much there is, once to write it. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <string.h>

enum { LABELS_CIFAR10, LABELS_FINE, LABELS_COARSE };
enum { PIECE = 64 }; /* records at a time */

static const lk_field cifar_rows[] = {
    LK_FIELD(lk_import_cifar_opts, files, LK_T_STRINGS, .positional = true,
        .help = "The .bin files of the binary version (data_batch_1.bin ...), one after the other."),
    LK_FIELD(lk_import_cifar_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(lk_import_cifar_opts, labels, LK_T_ENUM, .def = "cifar10", .choices = "cifar10|fine|coarse",
        .help = "What the files are and which label is taken: CIFAR-10's, or of CIFAR-100 that of the 100 fine or the "
                "20 coarse classes."),
    LK_FIELD(lk_import_cifar_opts, names, LK_T_STRING, .def = "", .unit = "file",
        .help = "Names of the classes, one a line (batches.meta.txt, fine_label_names.txt)."),
    LK_FIELD(lk_import_cifar_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards, \"500,300,rest\": DEST-000.h5, DEST-001.h5 ..."),
    LK_FIELD(lk_import_cifar_opts, skip, LK_T_INT, .def = "0", .min = 0, .max = 1e18, .unit = "rows",
        .help = "Pictures to leave out at the beginning."),
    LK_FIELD(lk_import_cifar_opts, rows, LK_T_INT, .def = "0", .min = 0, .max = 1e18, .unit = "rows",
        .help = "Pictures to take; 0: all that are left."),
};
const lk_table lk_import_cifar_table = LK_TABLE(lk_import_cifar_opts, "lockstep data import cifar",
    "Brings the binary version of CIFAR-10 and CIFAR-100 into HDF5.", cifar_rows);

const lki_cifar_kind lki_cifar_10 = {.name = "CIFAR-10", .n_labels = 1, .label = {{"label", 10}}};
const lki_cifar_kind lki_cifar_100 = {
    .name = "CIFAR-100", .n_labels = 2, .label = {{"coarse label", 20}, {"fine label", 100}}};

/* ---- a file ---- */

static lk_status fail_size(lki_source *source, const lki_cifar_kind *k, int64_t bytes)
{
    const lki_cifar_kind *other = k == &lki_cifar_10 ? &lki_cifar_100 : &lki_cifar_10;
    const char *name = lki_source_name(source);

    if (bytes == 0)
        return LK_FAIL(LK_E_FORMAT, "%s: empty file", name);
    if (bytes % lki_cifar_bytes(other) == 0)
        return LK_FAIL(LK_E_FORMAT,
            "%s: %" PRId64 " bytes are not whole records of %s, %d bytes each, but of %s, %d bytes each (--labels %s)",
            name, bytes, k->name, lki_cifar_bytes(k), other->name, lki_cifar_bytes(other),
            other == &lki_cifar_10 ? "cifar10" : "fine, or coarse");
    return LK_FAIL(LK_E_FORMAT,
        "%s: %" PRId64 " bytes are whole records neither of %s, %d bytes each, nor of %s, %d bytes each; what is read "
        "is the binary version's .bin files, extracted",
        name, bytes, k->name, lki_cifar_bytes(k), other->name, lki_cifar_bytes(other));
}

/* LK_E_FORMAT with the first label of records that is beyond its classes; `first` is the number of the first record. */
static lk_status check_labels(
    lki_source *source, const lki_cifar_kind *k, const uint8_t *records, int64_t first, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < k->n_labels; c++) {
            const int label = records[i * lki_cifar_bytes(k) + c];
            if (label >= k->label[c].classes)
                return LK_FAIL(LK_E_FORMAT, "%s: record %" PRId64 " (from 0), byte %" PRId64 ": %s %d, %s has 0 to %d",
                    lki_source_name(source), first + i, (first + i) * lki_cifar_bytes(k) + c, k->label[c].name, label,
                    k->name, k->label[c].classes - 1);
        }
    return LK_OK;
}

lk_status lki_cifar_count(lki_source *source, const lki_cifar_kind *k, int64_t *records)
{
    const size_t want = (size_t)(PIECE * lki_cifar_bytes(k));
    uint8_t *piece = NULL;
    size_t got = want;
    int64_t bytes = 0;
    lk_status labels = LK_OK, st;

    LK_TRY(lk_alloc(want, "records of a CIFAR file", &piece));
    while (got == want) {
        LK_TRY_TO(st, out, lki_source_read(source, piece, want, &got));
        if (labels == LK_OK)
            labels = check_labels(source, k, piece, bytes / lki_cifar_bytes(k), (int64_t)got / lki_cifar_bytes(k));
        bytes += (int64_t)got;
    }
    /* first what makes labels look wrong */
    if (lki_source_cut(source)) {
        st = LK_FAIL(LK_E_FORMAT, "%s: truncated: its gzip stream has no end", lki_source_name(source));
        goto out;
    }
    if (bytes == 0 || bytes % lki_cifar_bytes(k) != 0) {
        st = fail_size(source, k, bytes);
        goto out;
    }
    LK_TRY_TO(st, out, labels);
    *records = bytes / lki_cifar_bytes(k);
out:
    lk_free(piece);
    return st;
}

/* ---- the import ---- */

typedef struct job {
    const lk_import_cifar_opts *o;
    const lki_cifar_kind *kind;
    int label; /* which one of a record */
    int64_t *records; /* [files] */
    int64_t total, skip, rows;
    char *classes; /* their names, or NULL */
    char *source; /* names of the files */
    uint8_t *piece; /* [PIECE] records */
    uint8_t *image; /* [PIECE, LKI_CIFAR_PIXELS] */
    int64_t *label_of; /* [PIECE] */
    lki_shards *shards;
} job;

static lk_status choose_kind(job *j)
{
    j->kind = j->o->labels == LABELS_CIFAR10 ? &lki_cifar_10 : &lki_cifar_100;
    j->label = j->o->labels == LABELS_FINE;
    const int64_t bytes = lki_cifar_bytes(j->kind);
    LK_TRY(lk_alloc_array(PIECE, (size_t)bytes, "records of a CIFAR file", &j->piece));
    LK_TRY(lk_alloc_array(PIECE, LKI_CIFAR_PIXELS, "pictures", &j->image));
    LK_TRY(lk_alloc_array(PIECE, sizeof j->label_of[0], "labels", &j->label_of));
    return LK_OK;
}

static lk_status count_records(job *j)
{
    lki_source *source = NULL;
    lk_status st = LK_OK;

    LK_TRY(lk_alloc_array(j->o->files.n, sizeof j->records[0], "files", &j->records));
    for (int i = 0; i < j->o->files.n; i++) {
        LK_TRY_TO(st, out, lki_source_open(j->o->files.item[i], &source));
        LK_TRY_TO(st, out, lki_cifar_count(source, j->kind, &j->records[i]));
        j->total += j->records[i];
        lki_source_close(&source);
    }
out:
    lki_source_close(&source);
    return st;
}

static lk_status choose_rows(job *j)
{
    j->skip = j->o->skip;
    j->rows = j->o->rows > 0 ? j->o->rows : j->total - j->skip;
    if (j->skip >= j->total || j->rows > j->total - j->skip)
        return LK_FAIL(LK_E_ARG, "%" PRId64 " pictures after %" PRId64 " were asked for, there are %" PRId64 " in all",
            j->o->rows > 0 ? j->rows : 1, j->skip, j->total);
    return LK_OK;
}

/* "data_batch_1.bin data_batch_2.bin" */
static lk_status name_source(job *j)
{
    lk_buf b = {0};
    lk_status st;

    for (int i = 0; i < j->o->files.n; i++) {
        const char *path = j->o->files.item[i], *slash = strrchr(path, '/');
        lk_buf_printf(&b, "%s%s", i > 0 ? " " : "", slash != NULL ? slash + 1 : path);
    }
    LK_TRY_TO(st, out, lk_buf_status(&b));
    LK_TRY_TO(st, out, lk_strdup(lk_buf_text(&b), &j->source));
out:
    lk_buf_fini(&b);
    return st;
}

/* A name a line; lines without one may come last. */
static lk_status join_names(job *j, lki_lines *l, lk_buf *b)
{
    const char *path = j->o->names;
    const int classes = j->kind->label[j->label].classes;
    bool more = true;
    int n = 0;

    for (;;) {
        LK_TRY(lki_lines_next(l, &more));
        if (!more)
            break;
        if (strlen(l->text) != l->length)
            return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": a zero byte, which no text has", path, l->line);
        if (l->length == 0)
            continue;
        if (n + 1 != l->line)
            return LK_FAIL(LK_E_FORMAT, "%s:%d: blank line in front of a name", path, n + 1);
        lk_buf_printf(b, "%s%s", n > 0 ? "\n" : "", l->text);
        n++;
    }
    if (n != classes)
        return LK_FAIL(LK_E_FORMAT, "%s: %d names, %s has %d classes", path, n,
            j->o->labels == LABELS_CIFAR10 ? "CIFAR-10"
            : j->o->labels == LABELS_FINE  ? "CIFAR-100 (--labels fine)"
                                           : "CIFAR-100 (--labels coarse)",
            classes);
    return LK_OK;
}

static lk_status read_names(job *j)
{
    lki_source *source = NULL;
    lki_lines l = {0};
    lk_buf b = {0};
    lk_status st;

    if (j->o->names == NULL || j->o->names[0] == 0)
        return LK_OK;
    LK_TRY_TO(st, out, lki_source_open(j->o->names, &source));
    LK_TRY_TO(st, out, lki_lines_init(&l, source));
    LK_TRY_TO(st, out, join_names(j, &l, &b));
    LK_TRY_TO(st, out, lk_buf_status(&b));
    LK_TRY_TO(st, out, lk_strdup(lk_buf_text(&b), &j->classes));
out:
    lk_buf_fini(&b);
    lki_lines_fini(&l);
    lki_source_close(&source);
    return st;
}

static lk_status plan_shards(job *j)
{
    const lki_out_field fields[] = {
        {.name = "image", .type = LK_ELEM_U8, .ndim = 3, .dim = {3, LKI_CIFAR_SIDE, LKI_CIFAR_SIDE}},
        {.name = "label", .type = LK_ELEM_I64}};
    const lki_attr attr = {.field = "label", .name = "classes", .text = j->classes};
    const lki_origin origin = {.source = j->source,
        .importer = "lockstep " LK_VERSION " data import cifar",
        .attr = &attr,
        .n_attrs = j->classes != NULL};
    const lki_dest dest = {.path = j->o->dest, .shard_rows = j->o->shard_rows, .rows = j->rows, .first = j->skip};

    LK_TRY(lki_shards_create(&dest, 1, fields, 2, &origin, &j->shards));
    return LK_OK;
}

/* The records of a file, the first of which is row `first` of all, that are in the range. */
static lk_status copy_file(job *j, lki_source *source, int64_t first, int64_t records)
{
    const int bytes = lki_cifar_bytes(j->kind);
    size_t got;

    for (int64_t at = 0; at < records; at += PIECE) {
        const int64_t n = records - at < PIECE ? records - at : PIECE;
        int64_t m = 0;
        LK_TRY(lki_source_read(source, j->piece, (size_t)(n * bytes), &got));
        if (got < (size_t)(n * bytes))
            return LK_FAIL(LK_E_IO, "%s: it has become shorter while it was read", lki_source_name(source));
        LK_TRY(check_labels(source, j->kind, j->piece, at, n));
        for (int64_t i = 0; i < n; i++) {
            const uint8_t *record = j->piece + i * bytes;
            if (first + at + i < j->skip || first + at + i >= j->skip + j->rows)
                continue;
            memcpy(j->image + m * LKI_CIFAR_PIXELS, record + j->kind->n_labels, LKI_CIFAR_PIXELS);
            j->label_of[m++] = record[j->label];
        }
        if (m > 0)
            LK_TRY(lki_shards_add(j->shards, 0, m, (const void *const[]){j->image, j->label_of}));
    }
    return LK_OK;
}

static lk_status copy_all(job *j)
{
    lki_source *source = NULL;
    int64_t first = 0;
    lk_status st = LK_OK;

    for (int i = 0; i < j->o->files.n; i++) {
        LK_TRY_TO(st, out, lki_source_open(j->o->files.item[i], &source));
        LK_TRY_TO(st, out, copy_file(j, source, first, j->records[i]));
        first += j->records[i];
        lki_source_close(&source);
    }
out:
    lki_source_close(&source);
    return st;
}

lk_status lk_import_cifar(const lk_import_cifar_opts *o, lk_buf *report)
{
    job j = {.o = o};
    lk_status st;

    LK_TRY_TO(st, out, choose_kind(&j));
    LK_TRY_TO(st, out, read_names(&j));
    LK_TRY_TO(st, out, count_records(&j));
    LK_TRY_TO(st, out, choose_rows(&j));
    LK_TRY_TO(st, out, name_source(&j));
    LK_TRY_TO(st, out, plan_shards(&j));
    LK_TRY_TO(st, out, copy_all(&j));
    LK_TRY_TO(st, out, lki_shards_finish(j.shards, report));
out:
    lki_shards_destroy(&j.shards);
    lk_free(j.label_of);
    lk_free(j.image);
    lk_free(j.piece);
    lk_free(j.source);
    lk_free(j.classes);
    lk_free(j.records);
    return st;
}
