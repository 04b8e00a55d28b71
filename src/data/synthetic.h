/* Made-up data of a given shape behind the same loader, for `bench step` and tests. */
#ifndef LK_DATA_SYNTHETIC_H
#define LK_DATA_SYNTHETIC_H

#include "data/dataset.h"

typedef struct lk_synthetic_data {
    uint64_t seed;
    int64_t samples;
    const int64_t *dim; /* [ndim] of an input */
    int ndim;
    int64_t classes;    /* 0: the target is a real number */
    bool each;          /* a class for each element of the input, in place of one a sample */
    int64_t vocabulary; /* above 0: inputs are ids in [0, vocabulary) */
} lk_synthetic_data;

/* A dataset that is computed as it is read: field 0 "input" float32 (or int64) of that shape, field 1 "label" int64 class
 * in [0, classes), uniform (classes 0: field 1 "target" float32 [1]). Each value is a function of (seed, sample,
 * element), the same bits on every machine. Floats are nearly normal with mean 0 and variance 1: the sum of the four
 * bytes of a random word, scaled; none is beyond 3.46. The label tells nothing about the input. Closed with
 * lk_dataset_close. Errors: LK_E_ARG. */
LK_MUST_USE lk_status lk_dataset_create_synthetic(const lk_synthetic_data *o, lk_dataset **out);

#endif
