/* Long series as samples: windows of neighbouring rows, cut out as they are read. */
#ifndef LK_DATA_WINDOWS_H
#define LK_DATA_WINDOWS_H

#include "data/dataset.h"

enum { LK_WINDOWS_FIELDS = 8 };

typedef struct lk_window_field {
    int field; /* of the series; several may be cut out of the same one */
    int64_t ahead, length; /* sample k is rows [k * stride + ahead, k * stride + ahead + length), length >= 1 */
} lk_window_field;

typedef struct lk_windows_opts {
    int64_t stride; /* >= 1; less than the length: windows overlap */
    lk_window_field field[LK_WINDOWS_FIELDS];
    int n_fields;
} lk_windows_opts;

/* The dataset of all windows that fit whole into the series of `base`, whose rows are steps in time: field i has
 * samples [length, ...] of base field field[i].field, [...] the shape of a row. A series runs through all shards; the
 * shards of the result are those of `base`, and count rows. A read of neighbouring windows reads each row once, into
 * the place where the windows go. Adopts `base`, also where it fails: then it is closed. Local. Errors: LK_E_ARG;
 * LK_E_DATA, with file and field, for a series that is shorter than a window; LK_E_SHAPE for rows of too many
 * dimensions. */
LK_MUST_USE lk_status lk_dataset_create_windows(lk_dataset *base, const lk_windows_opts *o, lk_dataset **out);

/* The same dataset with some columns of a field: samples [n] become [n_columns], in the order given. Adopts `base`,
 * also where it fails. Local. Errors, with file and field: LK_E_SHAPE for samples that are no [n]; LK_E_RANGE for a
 * column that there is not. */
LK_MUST_USE lk_status lk_dataset_create_columns(
    lk_dataset *base, int field, const int64_t *column, int n_columns, lk_dataset **out);

#endif
