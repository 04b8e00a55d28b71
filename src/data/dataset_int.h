/* Inside src/data: what every kind of dataset has in common. */
#ifndef LK_DATA_DATASET_INT_H
#define LK_DATA_DATASET_INT_H

#include "data/dataset.h"

/* Value i of whole numbers as they are stored. */
static inline int64_t lki_whole_at(const void *p, lk_elem type, int64_t i)
{
    switch (type) {
    case LK_ELEM_U8:
        return ((const uint8_t *)p)[i];
    case LK_ELEM_I8:
        return ((const int8_t *)p)[i];
    case LK_ELEM_I16:
        return ((const int16_t *)p)[i];
    case LK_ELEM_U16:
        return ((const uint16_t *)p)[i];
    case LK_ELEM_I32:
        return ((const int32_t *)p)[i];
    case LK_ELEM_U32:
        return ((const uint32_t *)p)[i];
    default:
        return ((const int64_t *)p)[i];
    }
}

typedef struct lki_dataset_ops {
    /* Samples [first, first+n), n >= 1, of a field; the range was checked. Any thread, several at once. */
    lk_status (*read)(lk_dataset *d, int field, int64_t first, int64_t n, void *out);
    /* Optional: the dataset whose samples are the rows that a field's samples are cut out of, and the field there;
     * NULL: samples are stored as they are. */
    lk_dataset *(*source)(lk_dataset *d, int *field);
    void (*close)(lk_dataset *d); /* frees the whole object */
} lki_dataset_ops;

typedef struct lki_shard {
    const char *path;
    int64_t first, samples;
} lki_shard;

/* First member of each kind. */
struct lk_dataset {
    const lki_dataset_ops *ops;
    int64_t samples;
    int n_shards, n_fields;
    lki_shard *shard; /* [n_shards], owned by the kind, paths too */
    lk_field_info *field; /* [n_fields], owned by the kind, names too */
};

#endif
