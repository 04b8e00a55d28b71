/* Made-up data of a given shape behind the same loader, for `bench step` and tests. */
#ifndef LK_DATA_SYNTHETIC_H
#define LK_DATA_SYNTHETIC_H

#include "data/dataset.h"

/* A dataset that is computed as it is read: field 0 "input" float32 of shape dim[0..ndim), field 1 "label" int64 class
 * in [0, classes), uniform (classes 0: field 1 "target" float32 [1]). Each value is a function of (seed, sample,
 * element), the same bits on every machine. Floats are nearly normal with mean 0 and variance 1: the sum of the four
 * bytes of a random word, scaled; none is beyond 3.46. The label tells nothing about the input. Closed with
 * lk_dataset_close. Errors: LK_E_ARG. */
LK_MUST_USE lk_status lk_dataset_create_synthetic(
    uint64_t seed, int64_t samples, const int64_t *dim, int ndim, int64_t classes, lk_dataset **out);

#endif
