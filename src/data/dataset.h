/* A dataset: HDF5 shards of uneven sizes whose fields share their first dimension; sample ids count through the shards
 * in the order of the list. hdf5.h stays inside this folder (and the checkpoint), see h5.h. */
#ifndef LK_DATA_DATASET_H
#define LK_DATA_DATASET_H

#include "base/status.h"
#include "base/table.h"

#define LK_DATA_MAX_DIMS 6

typedef struct lk_dataset lk_dataset;

typedef enum lk_elem {
    LK_ELEM_U8,
    LK_ELEM_I8,
    LK_ELEM_I16,
    LK_ELEM_U16,
    LK_ELEM_I32,
    LK_ELEM_U32,
    LK_ELEM_I64,
    LK_ELEM_F32,
    LK_ELEM_F64
} lk_elem;
size_t lk_elem_size(lk_elem e);
const char *lk_elem_name(lk_elem e); /* "uint8" */
bool lk_elem_is_integer(lk_elem e);

typedef struct lk_field_info {
    const char *name;
    lk_elem type; /* as stored in the first shard; the same in all */
    int ndim; /* of one sample: the field's rank less one */
    int64_t dim[LK_DATA_MAX_DIMS];
    int64_t row; /* elements of one sample, at least 1 */
    int64_t chunk; /* samples that a stored chunk of the first shard holds; 0: not in chunks, any run of samples is read
                      alike */
} lk_field_info;

/* Opens all shards of the patterns (each a path or a glob, `base` is the folder that relative ones start at, NULL: the
 * current one; the matches of one pattern are sorted by name; a pattern that is the name of a file is that file) and
 * checks the named fields in each. Any HDF5 numbers will do: whole numbers of either byte order (uint64 as int64),
 * floats (16 bits wide as float32), enumerations (as their numbers). Errors, each naming the file and the field:
 * LK_E_NOT_FOUND for a missing file, a pattern without a match, an absent field (with the names there are); LK_E_FORMAT
 * for what is not HDF5 or no numbers; LK_E_SHAPE for another rank, shape or type than in the first shard, and for
 * fields whose first dimensions differ; LK_E_DATA for zero samples in total; LK_E_IO for damaged files. Keeps few files
 * open, whatever the number of shards. Local. */
LK_MUST_USE lk_status lk_dataset_open(
    const lk_strings *patterns, const char *base, const char *const *fields, int n_fields, lk_dataset **out);
void lk_dataset_close(lk_dataset **d);

int64_t lk_dataset_samples(const lk_dataset *d);
int lk_dataset_shards(const lk_dataset *d);
const char *lk_dataset_shard(const lk_dataset *d, int shard, int64_t *first, int64_t *samples);
const lk_field_info *lk_dataset_field(const lk_dataset *d, int field);
/* Reads samples [first, first+n) of a field as stored type into out [n * row * elem size]; crosses shards. Any thread,
 * several at once. Errors: LK_E_ARG outside of the dataset; LK_E_IO with file, field and sample (counted in that file,
 * from 0), also for a file that shrank or was replaced since it was opened. `out` is undefined then. */
LK_MUST_USE lk_status lk_dataset_read(lk_dataset *d, int field, int64_t first, int64_t n, void *out);
/* Where each value of a field is once: `d` itself, or the series that windows are cut out of (windows.h), with its
 * number of the field. Not to be closed. */
lk_dataset *lk_dataset_source(lk_dataset *d, int *field);
/* Smallest and largest value of an integer field over all samples, read in pieces, and the first samples that have them
 * (either may be NULL). Errors: LK_E_ARG for a float field; those of lk_dataset_read. */
LK_MUST_USE lk_status lk_dataset_range(
    lk_dataset *d, int field, int64_t *min, int64_t *max, int64_t *where_min, int64_t *where_max);

#endif
