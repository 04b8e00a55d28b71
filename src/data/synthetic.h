/* Made-up data of a given shape behind the same loader, for `bench step` and tests. */
#ifndef LK_DATA_SYNTHETIC_H
#define LK_DATA_SYNTHETIC_H

#include "data/dataset.h"

/* A dataset in memory-less form: field 0 float input of shape dim[0..ndim) with normal values, field 1 int64 class in [0, classes) (classes 0: float target [1]),
 * each value a function of (seed, sample, element). */
LK_MUST_USE lk_status lk_dataset_create_synthetic(uint64_t seed, int64_t samples, const int64_t *dim, int ndim, int64_t classes, lk_dataset **out);

#endif
