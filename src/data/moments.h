/* Mean and standard deviation of a field, to normalize inputs by. */
#ifndef LK_DATA_MOMENTS_H
#define LK_DATA_MOMENTS_H

#include "data/dataset.h"

typedef enum lk_normalize {
    LK_NORMALIZE_NONE,
    LK_NORMALIZE_CHANNEL, /* one number for each channel of samples [C,H,W] */
    LK_NORMALIZE_FEATURE, /* one for each place of the last dimension; of a series: for each column */
    LK_NORMALIZE_ALL /* one for all values */
} lk_normalize;
#define LK_NORMALIZE_CHOICES "none|channel|feature|all"

/* How many numbers that is: *n, 0 for LK_NORMALIZE_NONE. Local. Errors: LK_E_SHAPE, with file and field, for channels
 * of what is no [C,H,W]. */
LK_MUST_USE lk_status lk_dataset_moments_count(lk_dataset *d, int field, lk_normalize how, int *n);
/* mean [n] and std [n] of value * scale over all samples (windows: over all rows of the series, each once), in double,
 * in the order in which values are stored; std is the root of the mean square distance, or 1 where that is 0. Reads the
 * field once, in pieces. Local. Errors: LK_E_DATA, with file and field, for values that are not finite; those of
 * lk_dataset_read. */
LK_MUST_USE lk_status lk_dataset_moments(
    lk_dataset *d, int field, lk_normalize how, double scale, double *mean, double *std);

#endif
