/* How far a backend of floats may be from ref. */
#ifndef LK_TESTS_KERN_TOLERANCE_H
#define LK_TESTS_KERN_TOLERANCE_H

#include "kern/kern.h"

/* Largest difference over the largest value. Both backends start from the same floats (24 bits, 6e-8).
 * Moving, comparing: the same numbers. One or two roundings: 2e-7. Functions of one number (2 ulp of exp or erf, and
 * the products around it) and sums of up to a few dozen terms: 1e-6. Sums of products of up to 1000 terms, whose error
 * grows like sqrt(n) 6e-8 at random signs: 4e-6. Batch norm at a mean of 100 and a deviation of 1: a float mean is good
 * to 4e-6, and so is x - mean: 1e-5. */
static const double tolerance[LK_OP_COUNT] = {
    [LK_OP_LINEAR] = 4e-6,
    [LK_OP_CONV] = 4e-6,
    [LK_OP_CONV_TRANSPOSE] = 4e-6,
    [LK_OP_BATCH_NORM] = 1e-5,
    [LK_OP_SPECTRAL_NORM] = 4e-6,
    [LK_OP_ACTIVATION] = 1e-6,
    [LK_OP_LAYER_NORM] = 1e-5, /* as batch norm */
    [LK_OP_RMS_NORM] = 4e-6,   /* sums of up to 1000 products, and over rows */
    [LK_OP_GROUP_NORM] = 1e-5, /* as batch norm */
    [LK_OP_SOFTMAX] = 1e-6,
    [LK_OP_GLU] = 1e-6,
    [LK_OP_MAX_POOL] = 1e-6, /* sums of gradients under overlapping windows; y is exact */
    [LK_OP_AVG_POOL] = 1e-6,
    [LK_OP_ADAPTIVE_AVG_POOL] = 1e-6,
    [LK_OP_GLOBAL_AVG_POOL] = 1e-6,
    [LK_OP_GLOBAL_MAX_POOL] = 0,
    [LK_OP_UPSAMPLE] = 1e-6,
    [LK_OP_FLATTEN] = 0,
    [LK_OP_DROPOUT] = 2e-7,
    [LK_OP_ADD] = 1e-6, /* with any activation behind it */
    [LK_OP_MULTIPLY] = 1e-6,
    [LK_OP_SCALE] = 2e-7,
    [LK_OP_CONCAT] = 0,
    [LK_OP_SLICE] = 0,
    [LK_OP_RESHAPE] = 0,
    [LK_OP_PERMUTE] = 0,
    [LK_OP_PAD] = 0,
    [LK_OP_REDUCE] = 1e-6,
    [LK_OP_EMBEDDING] = 1e-6,
    [LK_OP_POSITIONS] = 1e-6,
    [LK_OP_ATTENTION] = 4e-6,
    [LK_OP_REORDER] = 0,
    [LK_OP_LSTM] = 4e-6,
    [LK_OP_GRU] = 4e-6,
    [LK_OP_RNN] = 4e-6,
    [LK_OP_LAST_STEP] = 0,
    [LK_OP_GAUSSIAN] = 1e-6,
    [LK_OP_NOISE] = 2e-7,
    [LK_OP_CROSS_ENTROPY] = 1e-6,
    [LK_OP_BCE_LOGITS] = 1e-6,
    [LK_OP_MSE] = 1e-6,
    [LK_OP_MAE] = 1e-6,
    [LK_OP_HUBER] = 1e-6,
    [LK_OP_HINGE] = 1e-6,
    [LK_OP_KL_NORMAL] = 1e-6,
    [LK_OP_GAN] = 1e-6,
};

#endif
