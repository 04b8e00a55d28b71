/* A dataset: HDF5 shards of uneven sizes whose fields share their first dimension; sample ids count through the shards in the
 * order of the list. hdf5.h stays inside this folder (and the checkpoint). The HDF5 library is not thread safe: one lock here guards it. */
#ifndef LK_DATA_DATASET_H
#define LK_DATA_DATASET_H

#include "base/status.h"
#include "base/table.h"

#define LK_DATA_MAX_DIMS 6

typedef struct lk_dataset lk_dataset;

typedef enum lk_elem { LK_ELEM_U8, LK_ELEM_I8, LK_ELEM_I16, LK_ELEM_U16, LK_ELEM_I32, LK_ELEM_U32, LK_ELEM_I64, LK_ELEM_F32, LK_ELEM_F64 } lk_elem;
size_t lk_elem_size(lk_elem e);
const char *lk_elem_name(lk_elem e); /* "uint8" */
bool lk_elem_is_integer(lk_elem e);

typedef struct lk_field_info {
    const char *name;
    lk_elem type;   /* as stored in the first shard; the same in all */
    int ndim;       /* of one sample: the field's rank less one */
    int64_t dim[LK_DATA_MAX_DIMS];
    int64_t row;    /* elements of one sample */
} lk_field_info;

/* Opens all shards of the patterns (each a path or a glob, `base` is the folder that relative ones start at; the matches of one pattern are
 * sorted by name) and checks the named fields in each. Errors, each naming the file and the field: missing file, a pattern without a match, not HDF5,
 * field absent (with the names there are), another rank, shape or type than in the first shard, not a number type, first dimensions of fields
 * that differ, zero samples in total. Local. */
LK_MUST_USE lk_status lk_dataset_open(const lk_strings *patterns, const char *base, const char *const *fields, int n_fields, lk_dataset **out);
void lk_dataset_close(lk_dataset **d);

int64_t lk_dataset_samples(const lk_dataset *d);
int lk_dataset_shards(const lk_dataset *d);
const char *lk_dataset_shard(const lk_dataset *d, int shard, int64_t *first, int64_t *samples);
const lk_field_info *lk_dataset_field(const lk_dataset *d, int field);
/* Reads samples [first, first+n) of a field as stored type into out [n * row * elem size]; crosses shards. Any thread. Errors: LK_E_IO / LK_E_DATA with file, field, sample. */
LK_MUST_USE lk_status lk_dataset_read(lk_dataset *d, int field, int64_t first, int64_t n, void *out);
/* Smallest and largest value of an integer field over all samples, read in pieces. */
LK_MUST_USE lk_status lk_dataset_range(lk_dataset *d, int field, int64_t *min, int64_t *max, int64_t *where_min, int64_t *where_max);

#endif
