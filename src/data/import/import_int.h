/* Inside src/data/import: where bytes come from, the parsers on them, where samples go. */
#ifndef LK_DATA_IMPORT_IMPORT_INT_H
#define LK_DATA_IMPORT_IMPORT_INT_H

#include "data/import/import.h"

#include "data/dataset.h"

/* ---- bytes: a file, plain or gzip by its content, or memory ---- */

typedef struct lki_source lki_source;

LK_MUST_USE lk_status lki_source_open(const char *path, lki_source **out);
/* Borrows name and data; they are taken as they are, gzip or not. */
LK_MUST_USE lk_status lki_source_open_memory(const char *name, const void *data, size_t bytes, lki_source **out);
void lki_source_close(lki_source **s);
const char *lki_source_name(const lki_source *s);
/* Fills `out`; *got is less than `bytes` only at the end. A gzip stream that ends too soon is an end, too:
 * lki_source_cut tells. Errors: LK_E_IO, LK_E_FORMAT. */
LK_MUST_USE lk_status lki_source_read(lki_source *s, void *out, size_t bytes, size_t *got);
bool lki_source_cut(const lki_source *s);

/* ---- csv ---- */

typedef struct lki_csv {
    lki_source *source; /* borrowed */
    const lk_import_csv_opts *o; /* borrowed */
    char delimiter; /* ' ': runs of blanks */
    int64_t columns, label; /* of a row; the label's, or -1 */
    int64_t inputs; /* columns without it */
    int64_t line, first_line; /* number of the line at hand; of the first row */
    int64_t blank_line; /* the first of the blank ones at hand, 0: none */
    char *text; /* the line at hand, room for an end behind */
    size_t length, room;
    bool pending; /* the line at hand was not given out yet */
    char *bytes; /* read, not yet cut into lines */
    size_t at, n_bytes;
} lki_csv;

/* Reads up to the first row that is wanted, which says how many columns there are, and checks the options against it.
 * Errors: LK_E_FORMAT, LK_E_ARG. */
LK_MUST_USE lk_status lki_csv_init(lki_csv *c, lki_source *source, const lk_import_csv_opts *o);
void lki_csv_fini(lki_csv *c);
/* The next row: uint8 or float [inputs]; int64 or float label. Either may be NULL; values are checked all the same.
 * *more is false at the end. */
LK_MUST_USE lk_status lki_csv_next(lki_csv *c, void *input, void *label, bool *more);

/* ---- idx ---- */

typedef struct lki_idx {
    lki_source *source; /* borrowed */
    lk_elem type;
    uint32_t magic;
    int ndim;
    int64_t dim[LK_DATA_MAX_DIMS + 1];
    int64_t row; /* elements of a sample */
    int64_t bytes; /* that the header promises, itself included */
    int64_t done; /* read so far */
} lki_idx;

/* Reads the header. Errors: LK_E_FORMAT. */
LK_MUST_USE lk_status lki_idx_init(lki_idx *x, lki_source *source);
/* The next n samples in the machine's byte order. Errors: LK_E_FORMAT where the file ends too soon. */
LK_MUST_USE lk_status lki_idx_read(lki_idx *x, int64_t n, void *out);
/* After the last sample: nothing may follow. */
LK_MUST_USE lk_status lki_idx_end(lki_idx *x);

/* ---- samples ---- */

typedef struct lki_shards lki_shards;

typedef struct lki_out_field {
    const char *name;
    lk_elem type;
    int ndim; /* of one sample */
    int64_t dim[LK_DATA_MAX_DIMS];
} lki_out_field;

typedef struct lki_origin { /* attributes of each shard */
    const char *source, *importer;
    int64_t first; /* row of the source that comes first */
} lki_origin;

/* Plans the shards of `rows` rows; nothing is written yet. Errors: LK_E_ARG; LK_E_NOT_FOUND for a folder that is not
 * there; LK_E_UNSUPPORTED for a file in the way that is not HDF5. */
LK_MUST_USE lk_status lki_shards_create(const char *dest, const char *shard_rows, int64_t rows,
    const lki_out_field *fields, int n_fields, const lki_origin *origin, lki_shards **out);
/* The next n samples: one array a field. */
LK_MUST_USE lk_status lki_shards_add(lki_shards *s, int64_t n, const void *const *rows);
/* After the last sample: the files get their names. */
LK_MUST_USE lk_status lki_shards_finish(lki_shards *s, lk_buf *report);
/* What was not finished is removed. */
void lki_shards_destroy(lki_shards **s);

#endif
