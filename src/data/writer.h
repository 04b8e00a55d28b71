/* Writes one HDF5 file of fields that share their first dimension, rows in any order: what this folder reads as a shard. */
#ifndef LK_DATA_WRITER_H
#define LK_DATA_WRITER_H

#include "data/dataset.h"

typedef struct lk_writer lk_writer;

typedef struct lk_writer_field {
    const char *name;
    lk_elem type;
    int ndim; /* of one sample */
    int64_t dim[LK_DATA_MAX_DIMS];
} lk_writer_field;

/* Begins a file beside `path` with n fields of `samples` rows. Local. Errors: LK_E_IO, LK_E_NOT_FOUND with the system's
 * reason, nothing is left behind. */
LK_MUST_USE lk_status lk_writer_create(
    const char *path, int64_t samples, const lk_writer_field *field, int n, lk_writer **out);
/* Rows [first, first + n) of a field, of its type. */
LK_MUST_USE lk_status lk_writer_rows(lk_writer *w, int field, int64_t first, int64_t n, const void *data);
/* Syncs, and puts the file in the place of what is at `path`. Rows that were not written are 0. */
LK_MUST_USE lk_status lk_writer_finish(lk_writer *w);
/* Removes what was not finished. */
void lk_writer_destroy(lk_writer **w);

#endif
