/* The cases that every kernel is tested on: for each row of ops.h one array cases_NAME. An operation without one does
 * not compile.
 *
 * Sizes: 1, primes, below, at and above 16; batches with padding rows; strides and paddings that differ by axis and
 * side; kernels as large as the padded input; a few cases of the size that networks have. Inputs keep below 2000 values
 * where those are not `large`. */
#ifndef LK_TESTS_KERN_CASES_H
#define LK_TESTS_KERN_CASES_H

#include "kern/kern.h"

typedef struct kern_case {
    lk_attrs attr;
    lk_shape in[LK_MAX_IN]; /* optional inputs that are absent have no dimensions */
    struct {
        int64_t low, high;
    } ids[LK_MAX_IN]; /* high above 0: the input holds whole numbers in [low, high) */
    struct {
        double low, high;
    } real[LK_MAX_IN]; /* high above low: the input holds a shuffled grid over [low, high]; else over [-2, 2] */
    int64_t padding; /* rows at the end that are not samples */
    bool ties; /* input 0 from five values only, so that there are equal ones; no finite differences then */
    double offset; /* added to input 0 */
    bool large; /* finite differences along one direction only */
} kern_case;

/* S(2,3): the shape [2,3]. */
#define S(...) \
    { \
        sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), \
        { \
            __VA_ARGS__ \
        } \
    }

static const kern_case cases_linear[] = {
    {.attr.linear = {.units = 1, .bias = true}, .in = {S(1, 1)}},
    {.attr.linear = {.units = 10, .bias = true}, .in = {S(8, 64)}},
    {.attr.linear = {.units = 7}, .in = {S(5, 13)}, .padding = 2},
    {.attr.linear = {.units = 17, .bias = true, .act = LK_ACT_RELU}, .in = {S(7, 31)}},
    {.attr.linear = {.units = 16, .act = LK_ACT_RELU}, .in = {S(16, 16)}, .padding = 16},
    {.attr.linear = {.units = 19, .bias = true, .act = LK_ACT_GELU}, .in = {S(4, 11)}, .padding = 1},
    {.attr.linear = {.units = 3, .act = LK_ACT_GELU}, .in = {S(2, 5)}},
    {.attr.linear = {.units = 6, .bias = true}, .in = {S(2, 3, 5)}, .padding = 1},
    {.attr.linear = {.units = 4, .bias = true, .act = LK_ACT_GELU}, .in = {S(2, 3, 2, 5)}},
    {.attr.linear = {.units = 33, .bias = true, .act = LK_ACT_RELU}, .in = {S(3, 2, 1, 2, 17)}},
    {.attr.linear = {.units = 18, .bias = true, .act = LK_ACT_LEAKY_RELU, .alpha = 0.2}, .in = {S(5, 12)}},
    {.attr.linear = {.units = 5, .act = LK_ACT_ELU, .alpha = 0.7}, .in = {S(6, 7)}, .padding = 2},
    {.attr.linear = {.units = 21, .bias = true, .act = LK_ACT_GELU_TANH}, .in = {S(3, 8)}},
    {.attr.linear = {.units = 17, .act = LK_ACT_SILU}, .in = {S(2, 3, 9)}, .padding = 1},
    {.attr.linear = {.units = 16, .bias = true, .act = LK_ACT_SIGMOID}, .in = {S(4, 6)}},
    {.attr.linear = {.units = 1, .bias = true, .act = LK_ACT_TANH}, .in = {S(9, 5)}},
    {.attr.linear = {.units = 7, .bias = true, .act = LK_ACT_SOFTPLUS}, .in = {S(1, 31)}},
    {.attr.linear = {.units = 100, .bias = true, .act = LK_ACT_RELU}, .in = {S(32, 784)}, .padding = 5, .large = true},
    {.attr.linear = {.units = 257, .bias = true, .act = LK_ACT_GELU}, .in = {S(2, 9, 64)}, .large = true},
};

static const kern_case cases_conv[] = {
    {.attr.conv = {.filters = 1, .kernel = {1, 1}, .stride = {1, 1}}, .in = {S(1, 1, 1, 1)}},
    {.attr.conv =
            {.filters = 8, .kernel = {3, 3}, .stride = {1, 1}, .pad_before = {1, 1}, .pad_after = {1, 1}, .bias = true},
        .in = {S(2, 3, 8, 8)}},
    {.attr.conv = {.filters = 16,
         .kernel = {3, 3},
         .stride = {1, 1},
         .pad_before = {1, 1},
         .pad_after = {1, 1},
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 16, 5, 6)}},
    {.attr.conv = {.filters = 7, .kernel = {3, 2}, .stride = {2, 3}, .pad_before = {0, 1}, .pad_after = {2, 0}},
        .in = {S(3, 5, 7, 11)},
        .padding = 1},
    {.attr.conv = {.filters = 5,
         .kernel = {5, 4},
         .stride = {1, 2},
         .pad_before = {3, 0},
         .pad_after = {1, 2},
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 2, 6, 5)}},
    {.attr.conv = {.filters = 17, .kernel = {1, 1}, .stride = {2, 2}, .bias = true}, .in = {S(2, 13, 5, 4)}},
    {.attr.conv = {.filters = 3, .kernel = {7, 7}, .stride = {2, 2}, .pad_before = {3, 3}, .pad_after = {3, 3}},
        .in = {S(1, 3, 13, 9)}},
    {.attr.conv =
            {.filters = 4, .kernel = {5, 5}, .stride = {1, 1}, .pad_before = {2, 1}, .pad_after = {1, 2}, .bias = true},
        .in = {S(2, 2, 2, 2)}},
    {.attr.conv = {.filters = 2, .kernel = {2, 2}, .stride = {1, 1}, .pad_before = {3, 2}, .pad_after = {2, 3}},
        .in = {S(2, 3, 1, 2)}},
    {.attr.conv = {.filters = 2, .kernel = {2, 1}, .stride = {3, 5}, .bias = true},
        .in = {S(2, 3, 4, 4)},
        .padding = 2},
    {.attr.conv = {.filters = 48,
         .kernel = {3, 3},
         .stride = {1, 1},
         .pad_before = {1, 1},
         .pad_after = {1, 1},
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 32, 14, 14)},
        .padding = 1,
        .large = true},
    {.attr.conv = {.filters = 64, .kernel = {3, 3}, .stride = {2, 2}, .pad_before = {0, 1}, .pad_after = {1, 0}},
        .in = {S(2, 32, 12, 16)},
        .large = true},
    {.attr.conv = {.filters = 80, .kernel = {1, 1}, .stride = {1, 1}, .bias = true},
        .in = {S(3, 64, 7, 7)},
        .large = true},
    {.attr.conv = {.filters = 16, .kernel = {5, 5}, .stride = {1, 1}, .bias = true, .act = LK_ACT_RELU},
        .in = {S(4, 1, 28, 28)},
        .large = true},
    /* one axis and three */
    {.attr.conv = {.filters = 4, .kernel = {3}, .stride = {1}, .pad_before = {1}, .pad_after = {1}, .bias = true},
        .in = {S(2, 3, 9)}},
    {.attr.conv = {.filters = 17, .kernel = {4}, .stride = {3}, .dilation = {2}, .pad_before = {5}, .pad_after = {2}},
        .in = {S(3, 5, 14)},
        .padding = 1},
    {.attr.conv =
            {.filters = 16, .kernel = {5}, .stride = {2}, .pad_before = {2}, .pad_after = {2}, .act = LK_ACT_RELU},
        .in = {S(9, 16, 11)}},
    {.attr.conv = {.filters = 3,
         .kernel = {2, 3, 3},
         .stride = {1, 1, 1},
         .pad_before = {1, 1, 1},
         .pad_after = {0, 1, 1},
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 2, 3, 4, 5)}},
    {.attr.conv =
            {.filters = 5, .kernel = {3, 2, 3}, .stride = {2, 1, 2}, .pad_before = {1, 0, 2}, .pad_after = {2, 1, 0}},
        .in = {S(2, 17, 4, 3, 4)},
        .padding = 1},
    {.attr.conv = {.filters = 2,
         .kernel = {3, 1, 2},
         .stride = {1, 2, 3},
         .dilation = {2, 3, 2},
         .pad_before = {4, 0, 1},
         .pad_after = {4, 1, 2},
         .bias = true},
        .in = {S(2, 3, 2, 3, 5)}},
    {.attr.conv =
            {.filters = 1, .kernel = {3, 3, 3}, .stride = {3, 2, 1}, .pad_before = {2, 2, 2}, .pad_after = {2, 2, 2}},
        .in = {S(8, 16, 1, 1, 1)}},
    {.attr.conv = {.filters = 24,
         .kernel = {3, 3, 3},
         .stride = {1, 1, 1},
         .pad_before = {1, 1, 1},
         .pad_after = {1, 1, 1},
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 16, 5, 6, 7)},
        .large = true},
    /* dilation: odd with the stride, even with it, the multiple of it */
    {.attr.conv = {.filters = 5,
         .kernel = {3, 3},
         .stride = {1, 1},
         .dilation = {2, 3},
         .pad_before = {2, 3},
         .pad_after = {2, 3},
         .bias = true},
        .in = {S(2, 3, 7, 8)}},
    {.attr.conv = {.filters = 18,
         .kernel = {3, 4},
         .stride = {2, 4},
         .dilation = {3, 2},
         .pad_before = {3, 1},
         .pad_after = {2, 4},
         .act = LK_ACT_RELU},
        .in = {S(2, 4, 9, 10)}},
    {.attr.conv = {.filters = 3,
         .kernel = {4, 3},
         .stride = {2, 3},
         .dilation = {4, 3},
         .pad_before = {5, 4},
         .pad_after = {5, 3}},
        .in = {S(8, 5, 5, 6)},
        .padding = 2},
    {.attr.conv = {.filters = 32,
         .kernel = {3, 3},
         .stride = {1, 1},
         .dilation = {2, 2},
         .pad_before = {2, 2},
         .pad_after = {2, 2}},
        .in = {S(9, 32, 8, 8)},
        .large = true},
    /* groups */
    {.attr.conv = {.filters = 6,
         .kernel = {3, 3},
         .stride = {1, 1},
         .groups = 2,
         .pad_before = {1, 1},
         .pad_after = {1, 1},
         .bias = true},
        .in = {S(2, 4, 5, 4)}},
    {.attr.conv = {.filters = 9, .kernel = {2, 3}, .stride = {2, 1}, .groups = 3, .bias = true, .act = LK_ACT_RELU},
        .in = {S(2, 3, 6, 5)},
        .padding = 1},
    {.attr.conv = {.filters = 34,
         .kernel = {3, 3},
         .stride = {2, 2},
         .dilation = {1, 2},
         .groups = 2,
         .pad_before = {1, 2},
         .pad_after = {1, 2}},
        .in = {S(8, 34, 5, 5)},
        .large = true},
    {.attr.conv = {.filters = 8, .kernel = {1}, .stride = {1}, .groups = 4, .bias = true}, .in = {S(2, 8, 6)}},
    {.attr.conv = {.filters = 128,
         .kernel = {3, 3},
         .stride = {1, 1},
         .groups = 32,
         .pad_before = {1, 1},
         .pad_after = {1, 1}},
        .in = {S(2, 128, 7, 7)},
        .large = true},
    /* depthwise: below, at and above a vector of channels; strides */
    {.attr.conv = {.filters = 3,
         .kernel = {3, 3},
         .stride = {1, 1},
         .groups = 3,
         .pad_before = {1, 1},
         .pad_after = {1, 1},
         .bias = true},
        .in = {S(2, 3, 6, 5)}},
    {.attr.conv =
            {.filters = 8, .kernel = {3, 2}, .stride = {2, 1}, .groups = 8, .pad_before = {1, 1}, .pad_after = {0, 0}},
        .in = {S(2, 8, 5, 6)},
        .padding = 1},
    {.attr.conv = {.filters = 21,
         .kernel = {5, 3},
         .stride = {2, 3},
         .dilation = {1, 2},
         .groups = 21,
         .pad_before = {2, 2},
         .pad_after = {2, 2},
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 21, 5, 7)}},
    {.attr.conv = {.filters = 5,
         .kernel = {3},
         .stride = {1},
         .dilation = {3},
         .groups = 5,
         .pad_before = {4},
         .pad_after = {1}},
        .in = {S(2, 5, 11)}},
    {.attr.conv = {.filters = 9,
         .kernel = {3, 3, 3},
         .stride = {1, 1, 2},
         .groups = 9,
         .pad_before = {1, 1, 1},
         .pad_after = {1, 1, 1},
         .bias = true},
        .in = {S(1, 9, 3, 4, 5)}},
    {.attr.conv = {.filters = 77,
         .kernel = {3, 3},
         .stride = {1, 1},
         .groups = 77,
         .pad_before = {1, 1},
         .pad_after = {1, 1},
         .act = LK_ACT_RELU},
        .in = {S(3, 77, 9, 8)},
        .padding = 1,
        .large = true},
    /* 3 x 3 by tiles of 2 x 2: odd sizes, several blocks of tiles, paddings that differ, channels below and above a
       panel */
    {.attr.conv = {.filters = 24, .kernel = {3, 3}, .stride = {1, 1}, .bias = true, .act = LK_ACT_RELU},
        .in = {S(2, 16, 9, 11)},
        .padding = 1,
        .large = true},
    {.attr.conv = {.filters = 56,
         .kernel = {3, 3},
         .stride = {1, 1},
         .pad_before = {2, 0},
         .pad_after = {0, 2},
         .bias = true},
        .in = {S(3, 40, 12, 7)},
        .large = true},
    {.attr.conv = {.filters = 136, .kernel = {3, 3}, .stride = {1, 1}, .pad_before = {1, 1}, .pad_after = {1, 1}},
        .in = {S(5, 72, 16, 15)},
        .padding = 2,
        .large = true},
};

static const kern_case cases_conv_transpose[] = {
    {.attr.conv = {.filters = 1, .kernel = {1, 1}, .stride = {1, 1}}, .in = {S(1, 1, 1, 1)}},
    {.attr.conv = {.filters = 3,
         .kernel = {3, 3},
         .stride = {2, 2},
         .pad_before = {1, 1},
         .pad_after = {1, 1},
         .output_pad = {1, 0},
         .bias = true},
        .in = {S(2, 5, 4, 3)}},
    {.attr.conv = {.filters = 17,
         .kernel = {4, 4},
         .stride = {2, 2},
         .pad_before = {1, 1},
         .pad_after = {1, 1},
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 16, 3, 4)},
        .padding = 1},
    {.attr.conv = {.filters = 2,
         .kernel = {2, 3},
         .stride = {3, 5},
         .output_pad = {2, 4},
         .bias = true,
         .act = LK_ACT_RELU}, /* gaps */
        .in = {S(9, 3, 3, 2)}},
    {.attr.conv = {.filters = 4, .kernel = {1, 2}, .stride = {3, 2}, .pad_before = {0, 1}, .pad_after = {0, 0}},
        .in = {S(2, 2, 3, 4)}},
    {.attr.conv = {.filters = 6,
         .kernel = {3, 2},
         .stride = {2, 1},
         .dilation = {2, 3},
         .pad_before = {2, 0},
         .pad_after = {1, 1},
         .output_pad = {1, 2},
         .groups = 2},
        .in = {S(2, 4, 4, 5)}},
    {.attr.conv = {.filters = 5,
         .kernel = {3, 3},
         .stride = {1, 1},
         .pad_before = {2, 1},
         .pad_after = {1, 2},
         .groups = 5,
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 5, 5, 4)}},
    {.attr.conv = {.filters = 11,
         .kernel = {3, 2},
         .stride = {2, 3},
         .pad_before = {1, 0},
         .pad_after = {0, 0},
         .groups = 11,
         .bias = true,
         .act = LK_ACT_RELU},
        .in = {S(2, 11, 3, 4)},
        .padding = 1},
    {.attr.conv = {.filters = 3, .kernel = {4}, .stride = {2}, .pad_before = {1}, .pad_after = {1}},
        .in = {S(3, 4, 6)}},
    {.attr.conv = {.filters = 2,
         .kernel = {2, 2, 3},
         .stride = {2, 1, 2},
         .pad_before = {0, 1, 1},
         .pad_after = {1, 0, 1},
         .output_pad = {1, 0, 1},
         .bias = true},
        .in = {S(2, 3, 2, 3, 3)}},
    {.attr.conv = {.filters = 32,
         .kernel = {4, 4},
         .stride = {2, 2},
         .pad_before = {1, 1},
         .pad_after = {1, 1},
         .bias = true},
        .in = {S(9, 64, 4, 4)},
        .padding = 1,
        .large = true},
};

static const kern_case cases_batch_norm[] = {
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1, .running = true}, .in = {S(3, 5, 2, 3)}, .padding = 1},
    {.attr.batch_norm = {.eps = 1e-3, .momentum = 0.1, .running = true, .act = LK_ACT_RELU}, .in = {S(4, 17, 6)}},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1, .running = true}, .in = {S(1, 7)}},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1}, .in = {S(8, 5)}},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1, .act = LK_ACT_RELU}, .in = {S(7, 17)}, .padding = 2},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1}, .in = {S(4, 3, 5, 3)}},
    {.attr.batch_norm = {.eps = 1e-3, .momentum = 0.01, .act = LK_ACT_RELU}, .in = {S(3, 16, 4, 4)}},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1, .act = LK_ACT_RELU}, .in = {S(5, 13, 3, 2)}, .padding = 3},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1}, .in = {S(2, 1, 1, 1)}},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1}, .in = {S(3, 4)}, .padding = 2}, /* variance of one row */
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1}, .in = {S(3, 4, 2, 2)}, .padding = 3}, /* of none */
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 1}, .in = {S(1, 33, 3, 7)}},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1, .act = LK_ACT_RELU}, .in = {S(4, 5, 7)}, .padding = 1},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1}, .in = {S(3, 3, 2, 3, 4)}},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1, .act = LK_ACT_RELU},
        .in = {S(16, 32, 7, 9)},
        .padding = 1,
        .large = true},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1}, .in = {S(64, 300)}, .large = true},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1},
        .in = {S(9, 17, 4, 3)},
        .offset = 100}, /* a mean far above the deviation */
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1, .act = LK_ACT_RELU}, .in = {S(37, 6)}, .offset = -100},
    {.attr.batch_norm = {.eps = 1e-5, .momentum = 0.1},
        .in = {S(13, 40, 7, 10)},
        .offset = 100,
        .padding = 1,
        .large = true}, /* above 512 elements a channel */
};

static const kern_case cases_activation[] = {
    {.attr.activation = {.act = LK_ACT_RELU}, .in = {S(1)}},
    {.attr.activation = {.act = LK_ACT_RELU}, .in = {S(3, 17)}, .padding = 1},
    {.attr.activation = {.act = LK_ACT_RELU}, .in = {S(2, 3, 5, 7)}},
    {.attr.activation = {.act = LK_ACT_RELU}, .in = {S(4, 16, 2, 2)}},
    {.attr.activation = {.act = LK_ACT_RELU}, .in = {S(2, 3, 2, 2, 3)}},
    {.attr.activation = {.act = LK_ACT_RELU}, .in = {S(8, 16, 10, 10)}, .large = true},
    {.attr.activation = {.act = LK_ACT_LEAKY_RELU, .alpha = 0.01}, .in = {S(3, 67)}, .padding = 1},
    {.attr.activation = {.act = LK_ACT_LEAKY_RELU, .alpha = 1.5}, .in = {S(2, 16, 3, 5)}},
    {.attr.activation = {.act = LK_ACT_ELU, .alpha = 1}, .in = {S(3, 67)}, .padding = 1},
    {.attr.activation = {.act = LK_ACT_ELU, .alpha = 0.3}, .in = {S(2, 3, 5, 7)}},
    {.attr.activation = {.act = LK_ACT_GELU}, .in = {S(1, 1)}},
    {.attr.activation = {.act = LK_ACT_GELU}, .in = {S(3, 67)}, .padding = 1},
    {.attr.activation = {.act = LK_ACT_GELU_TANH}, .in = {S(3, 67)}},
    {.attr.activation = {.act = LK_ACT_GELU}, .in = {S(2, 3, 5, 7)}},
    {.attr.activation = {.act = LK_ACT_GELU_TANH}, .in = {S(2, 16, 3, 1)}},
    {.attr.activation = {.act = LK_ACT_GELU}, .in = {S(16, 1003)}, .large = true},
    {.attr.activation = {.act = LK_ACT_SILU}, .in = {S(3, 67)}, .padding = 1},
    {.attr.activation = {.act = LK_ACT_SILU}, .in = {S(5, 33)}, .offset = 20},
    {.attr.activation = {.act = LK_ACT_SIGMOID}, .in = {S(3, 67)}, .padding = 1},
    {.attr.activation = {.act = LK_ACT_SIGMOID}, .in = {S(5, 33)}, .offset = -3},
    {.attr.activation = {.act = LK_ACT_TANH}, .in = {S(3, 67)}, .padding = 1},
    {.attr.activation = {.act = LK_ACT_TANH}, .in = {S(2, 5, 3, 7)}, .offset = 2},
    {.attr.activation = {.act = LK_ACT_SOFTPLUS}, .in = {S(3, 67)}, .padding = 1},
    {.attr.activation = {.act = LK_ACT_SOFTPLUS}, .in = {S(2, 3, 5, 7)}, .offset = 30},
    {.attr.activation = {.act = LK_ACT_SOFTPLUS}, .in = {S(16, 203)}, .large = true},
};

static const kern_case cases_layer_norm[] = {
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(1, 1)}},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(5, 8)}},
    {.attr.norm = {.eps = 1e-3}, .in = {S(7, 17)}, .padding = 2},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(3, 4, 13)}, .padding = 1},
    {.attr.norm = {.eps = 1e-5}, .in = {S(2, 3, 2, 33)}},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(2, 48)}, .padding = 2},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(4, 67)}, .offset = 100}, /* a mean far above the deviation */
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(9, 17, 96)}, .padding = 1, .large = true}, /* above 64 rows */
    {.attr.norm = {.eps = 1e-5}, .in = {S(3, 1027)}, .large = true},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(2, 8200)}, .padding = 1, .large = true},
    /* of a sum */
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(1, 1), S(1, 1)}},
    {.attr.norm = {.eps = 1e-5}, .in = {S(5, 8), S(5, 8)}},
    {.attr.norm = {.eps = 1e-3, .bias = true}, .in = {S(7, 17), S(7, 17)}, .padding = 2},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(2, 3, 2, 33), S(2, 3, 2, 33)}, .padding = 1},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(9, 17, 96), S(9, 17, 96)}, .padding = 1, .large = true},
    {.attr.norm = {.eps = 1e-5}, .in = {S(3, 1027), S(3, 1027)}, .large = true},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(2, 8200), S(2, 8200)}, .large = true},
    {.attr.norm = {.eps = 1e-5, .bias = true}, .in = {S(2, 8195), S(2, 8195)}, .padding = 1, .large = true},
};

static const kern_case cases_rms_norm[] = {
    {.attr.norm = {.eps = 1e-2}, .in = {S(1, 1)}},
    {.attr.norm = {.eps = 1e-5}, .in = {S(5, 8)}},
    {.attr.norm = {.eps = 1e-3}, .in = {S(7, 17)}, .padding = 2},
    {.attr.norm = {.eps = 1e-5}, .in = {S(3, 4, 13)}, .padding = 1},
    {.attr.norm = {.eps = 1e-5}, .in = {S(2, 3, 2, 33)}, .offset = 3},
    {.attr.norm = {.eps = 1e-6}, .in = {S(9, 17, 96)}, .padding = 1, .large = true},
    {.attr.norm = {.eps = 1e-6}, .in = {S(3, 1027)}, .large = true},
    {.attr.norm = {.eps = 1e-6}, .in = {S(2, 8195)}, .large = true},
    {.attr.norm = {.eps = 1e-6}, .in = {S(13, 40, 35)}, .padding = 2, .large = true}, /* above 512 rows */
    /* of a sum */
    {.attr.norm = {.eps = 1e-2}, .in = {S(1, 1), S(1, 1)}},
    {.attr.norm = {.eps = 1e-5}, .in = {S(5, 8), S(5, 8)}},
    {.attr.norm = {.eps = 1e-3}, .in = {S(7, 17), S(7, 17)}, .padding = 2},
    {.attr.norm = {.eps = 1e-5}, .in = {S(2, 3, 2, 33), S(2, 3, 2, 33)}, .offset = 3},
    {.attr.norm = {.eps = 1e-6}, .in = {S(9, 17, 96), S(9, 17, 96)}, .padding = 1, .large = true},
    {.attr.norm = {.eps = 1e-6}, .in = {S(2, 8200), S(2, 8200)}, .large = true},
    {.attr.norm = {.eps = 1e-6}, .in = {S(2, 8195), S(2, 8195)}, .large = true},
};

static const kern_case cases_group_norm[] = {
    {.attr.norm = {.eps = 1e-3, .groups = 1}, .in = {S(1, 1)}},
    {.attr.norm = {.eps = 1e-5, .groups = 2}, .in = {S(5, 12)}, .padding = 1},
    {.attr.norm = {.eps = 1e-5, .groups = 1}, .in = {S(2, 3, 5, 3)}},
    {.attr.norm = {.eps = 1e-3, .groups = 5}, .in = {S(3, 5, 4, 3)}, .padding = 1}, /* instance norm */
    {.attr.norm = {.eps = 1e-5, .groups = 3}, .in = {S(2, 6, 7)}},
    {.attr.norm = {.eps = 1e-5, .groups = 2}, .in = {S(2, 4, 2, 3, 2)}, .padding = 2},
    {.attr.norm = {.eps = 1e-5, .groups = 8}, .in = {S(2, 16, 1, 9)}},
    {.attr.norm = {.eps = 1e-5, .groups = 2}, .in = {S(3, 34, 3, 2)}, .offset = -100},
    {.attr.norm = {.eps = 1e-5, .groups = 4}, .in = {S(4, 32, 9, 10)}, .padding = 1, .large = true},
    {.attr.norm = {.eps = 1e-5, .groups = 66}, .in = {S(2, 66, 8, 12)}, .large = true},
    {.attr.norm = {.eps = 1e-5, .groups = 2}, .in = {S(2, 4, 2, 3, 1, 2)}}, /* no places in the sense of layouts */
    {.attr.norm = {.eps = 1e-5, .groups = 1}, .in = {S(2, 40, 17, 33)}, .offset = 100, .large = true}, /* above 512 places */
};

static const kern_case cases_softmax[] = {
    {.in = {S(1, 1)}},
    {.in = {S(4, 2)}, .padding = 1},
    {.in = {S(7, 17)}, .padding = 3},
    {.in = {S(2, 3, 31)}},
    {.in = {S(2, 3, 2, 5)}},
    {.in = {S(3, 16)}, .offset = 1000},
    {.in = {S(3, 12)}, .ties = true},
    {.in = {S(3, 5, 131)}, .padding = 1, .large = true},
    {.in = {S(3, 2048)}, .large = true},
    {.in = {S(2, 8203)}, .large = true},
};

static const kern_case cases_glu[] = {
    {.attr.glu = {.act = LK_ACT_SIGMOID}, .in = {S(1, 2)}},
    {.attr.glu = {.act = LK_ACT_SIGMOID}, .in = {S(5, 26)}, .padding = 2},
    {.attr.glu = {.act = LK_ACT_SILU}, .in = {S(3, 4, 34)}, .padding = 1},
    {.attr.glu = {.act = LK_ACT_GELU}, .in = {S(2, 3, 2, 16)}},
    {.attr.glu = {.act = LK_ACT_GELU_TANH}, .in = {S(2, 6)}},
    {.attr.glu = {.act = LK_ACT_SILU}, .in = {S(2, 4402)}, .large = true},
};

static const kern_case cases_max_pool[] = {
    {.attr.pool = {.kernel = {1, 1}, .stride = {1, 1}}, .in = {S(1, 1, 1, 1)}},
    {.attr.pool = {.kernel = {2, 2}, .stride = {2, 2}}, .in = {S(2, 3, 8, 8)}},
    {.attr.pool = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}, .in = {S(2, 5, 7, 9)}, .padding = 1},
    {.attr.pool = {.kernel = {3, 2}, .stride = {1, 3}, .pad = {1, 0}}, .in = {S(2, 17, 5, 5)}},
    {.attr.pool = {.kernel = {5, 3}, .stride = {1, 1}, .pad = {2, 1}}, .in = {S(3, 16, 1, 2)}},
    {.attr.pool = {.kernel = {2, 4}, .stride = {3, 2}, .pad = {0, 1}}, .in = {S(2, 7, 6, 5)}},
    {.attr.pool = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}, .in = {S(2, 5, 7, 9)}, .ties = true},
    {.attr.pool = {.kernel = {2, 2}, .stride = {2, 2}}, .in = {S(3, 16, 6, 4)}, .ties = true},
    {.attr.pool = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}, .in = {S(4, 32, 14, 10)}, .large = true},
    {.attr.pool = {.kernel = {3}, .stride = {2}, .pad = {1}}, .in = {S(2, 5, 9)}, .padding = 1},
    {.attr.pool = {.kernel = {2}, .stride = {2}}, .in = {S(3, 16, 8)}},
    {.attr.pool = {.kernel = {2, 2, 2}, .stride = {2, 2, 2}}, .in = {S(2, 3, 4, 4, 6)}},
    {.attr.pool = {.kernel = {3, 2, 3}, .stride = {1, 3, 2}, .pad = {1, 0, 1}}, .in = {S(2, 17, 3, 5, 3)}},
    {.attr.pool = {.kernel = {7, 7, 7}, .stride = {2, 1, 2}, .pad = {3, 2, 3}},
        .in = {S(2, 3, 5, 6, 4)}}, /* more than 256 taps */
    {.attr.pool = {.kernel = {17, 16}, .stride = {2, 3}, .pad = {8, 7}}, .in = {S(1, 9, 11, 9)}, .ties = true},
    {.attr.pool = {.kernel = {17, 16}, .stride = {2, 3}, .pad = {8, 7}}, .in = {S(1, 16, 5, 6)}, .ties = true},
};

static const kern_case cases_avg_pool[] = {
    {.attr.pool = {.kernel = {1, 1}, .stride = {1, 1}}, .in = {S(1, 1, 1, 1)}},
    {.attr.pool = {.kernel = {2, 2}, .stride = {2, 2}}, .in = {S(2, 3, 8, 8)}},
    {.attr.pool = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}, .in = {S(2, 5, 7, 9)}, .padding = 1},
    {.attr.pool = {.kernel = {3, 2}, .stride = {1, 3}, .pad = {1, 0}}, .in = {S(2, 17, 5, 5)}},
    {.attr.pool = {.kernel = {5, 3}, .stride = {1, 1}, .pad = {2, 1}}, .in = {S(3, 16, 1, 2)}},
    {.attr.pool = {.kernel = {2, 4}, .stride = {3, 2}, .pad = {0, 1}}, .in = {S(2, 7, 6, 5)}},
    {.attr.pool = {.kernel = {2, 2}, .stride = {2, 2}}, .in = {S(4, 32, 14, 10)}, .large = true},
    {.attr.pool = {.kernel = {3}, .stride = {2}, .pad = {1}}, .in = {S(2, 5, 9)}, .padding = 1},
    {.attr.pool = {.kernel = {2}, .stride = {2}}, .in = {S(3, 16, 8)}},
    {.attr.pool = {.kernel = {2, 2, 2}, .stride = {2, 2, 2}}, .in = {S(2, 3, 4, 4, 6)}},
    {.attr.pool = {.kernel = {3, 2, 3}, .stride = {1, 3, 2}, .pad = {1, 0, 1}}, .in = {S(2, 17, 3, 5, 3)}},
};

static const kern_case cases_adaptive_avg_pool[] = {
    {.attr.resize = {.size = {1, 1}}, .in = {S(1, 1, 1, 1)}},
    {.attr.resize = {.size = {3, 2}}, .in = {S(2, 3, 7, 4)}},
    {.attr.resize = {.size = {5, 7}}, .in = {S(2, 17, 3, 7)}, .padding = 1}, /* larger than the input */
    {.attr.resize = {.size = {4}}, .in = {S(3, 5, 9)}},
    {.attr.resize = {.size = {2, 3, 1}}, .in = {S(2, 4, 3, 4, 5)}},
    {.attr.resize = {.size = {7, 7}}, .in = {S(4, 32, 10, 12)}, .large = true},
};

static const kern_case cases_global_max_pool[] = {
    {.in = {S(1, 1, 1, 1)}},
    {.in = {S(2, 3, 4, 4)}, .ties = true},
    {.in = {S(5, 17, 7, 3)}, .padding = 2},
    {.in = {S(3, 5, 9)}},
    {.in = {S(2, 16, 2, 3, 4)}},
    {.in = {S(4, 64, 9, 8)}, .ties = true, .large = true},
    {.in = {S(1, 3, 71, 70)}, .ties = true, .large = true}, /* in several parts */
};

static const kern_case cases_upsample[] = {
    {.attr.resize = {.factor = {1, 1}}, .in = {S(1, 1, 1, 1)}},
    {.attr.resize = {.factor = {2, 2}}, .in = {S(2, 3, 3, 4)}},
    {.attr.resize = {.factor = {3, 1}}, .in = {S(2, 17, 2, 3)}, .padding = 1},
    {.attr.resize = {.factor = {2, 2}, .linear = true}, .in = {S(2, 3, 3, 4)}},
    {.attr.resize = {.factor = {3, 4}, .linear = true}, .in = {S(2, 9, 2, 1)}, .padding = 1},
    {.attr.resize = {.factor = {5}, .linear = true}, .in = {S(3, 4, 3)}},
    {.attr.resize = {.factor = {2}}, .in = {S(3, 4, 3)}},
    {.attr.resize = {.factor = {2, 3}}, .in = {S(2, 8, 2, 3)}},
    {.attr.resize = {.factor = {2, 1, 3}, .linear = true}, .in = {S(2, 3, 2, 3, 2)}},
    {.attr.resize = {.factor = {2, 2}, .linear = true}, .in = {S(4, 32, 7, 6)}, .large = true},
};

static const kern_case cases_global_avg_pool[] = {
    {.in = {S(1, 1, 1, 1)}},
    {.in = {S(2, 3, 4, 4)}},
    {.in = {S(5, 17, 7, 3)}, .padding = 2},
    {.in = {S(2, 16, 1, 13)}},
    {.in = {S(4, 64, 14, 14)}, .large = true},
    {.in = {S(3, 5, 7)}, .padding = 1},
    {.in = {S(2, 17, 2, 3, 4)}},
};

static const kern_case cases_flatten[] = {
    {.in = {S(3)}},
    {.in = {S(3, 5)}},
    {.in = {S(2, 3, 4, 5)}, .padding = 1},
    {.in = {S(3, 16, 2, 2)}},
    {.in = {S(2, 17, 1, 3)}},
    {.in = {S(2, 3, 2, 2, 2)}},
    {.in = {S(2, 5, 7)}},
};

static const kern_case cases_dropout[] = {
    {.attr.dropout = {.rate = 0.5}, .in = {S(1, 1)}},
    {.attr.dropout = {.rate = 0}, .in = {S(3, 7)}},
    {.attr.dropout = {.rate = 0.1}, .in = {S(5, 67)}, .padding = 2},
    {.attr.dropout = {.rate = 0.75}, .in = {S(2, 5, 3, 7)}},
    {.attr.dropout = {.rate = 0.3}, .in = {S(3, 16, 4, 2)}},
    {.attr.dropout = {.rate = 0.5}, .in = {S(2, 3, 2, 2, 3)}},
    {.attr.dropout = {.rate = 0.2}, .in = {S(7, 33, 6, 9)}, .large = true},
    {.attr.dropout = {.rate = 0.4}, .in = {S(2, 3, 17)}},
    {.attr.dropout = {.rate = 0.4, .unit = LK_DROP_CHANNEL}, .in = {S(3, 7)}, .padding = 1},
    {.attr.dropout = {.rate = 0.5, .unit = LK_DROP_CHANNEL}, .in = {S(3, 5, 4, 3)}, .padding = 1},
    {.attr.dropout = {.rate = 0.3, .unit = LK_DROP_CHANNEL}, .in = {S(2, 17, 9)}},
    {.attr.dropout = {.rate = 0.3, .unit = LK_DROP_CHANNEL}, .in = {S(2, 3, 2, 3, 2)}},
    {.attr.dropout = {.rate = 0.5, .unit = LK_DROP_SAMPLE}, .in = {S(9)}},
    {.attr.dropout = {.rate = 0.5, .unit = LK_DROP_SAMPLE}, .in = {S(11, 3, 2, 4)}, .padding = 2},
    {.attr.dropout = {.rate = 0.2, .unit = LK_DROP_SAMPLE}, .in = {S(7, 33)}},
};

static const kern_case cases_add[] = {
    {.in = {S(1), S(1)}},
    {.in = {S(3, 17), S(3, 17)}, .padding = 1},
    {.attr.add = {.act = LK_ACT_RELU}, .in = {S(3, 17), S(3, 17)}},
    {.in = {S(2, 3, 5, 7), S(2, 3, 5, 7)}},
    {.attr.add = {.act = LK_ACT_RELU}, .in = {S(2, 16, 3, 5), S(2, 16, 3, 5)}},
    {.in = {S(3, 19), S(3, 19), S(3, 19)}, .padding = 1},
    {.attr.add = {.act = LK_ACT_RELU}, .in = {S(2, 9), S(2, 9), S(2, 9), S(2, 9), S(2, 9), S(2, 9)}},
    {.attr.add = {.act = LK_ACT_LEAKY_RELU, .alpha = 0.1}, .in = {S(3, 5, 2), S(3, 5, 2)}},
    {.attr.add = {.act = LK_ACT_TANH}, .in = {S(5, 7), S(5, 7), S(5, 7)}, .padding = 3},
    {.attr.add = {.act = LK_ACT_SILU}, .in = {S(2, 3, 4, 5), S(2, 3, 4, 5)}, .padding = 1},
    {.attr.add = {.act = LK_ACT_GELU}, .in = {S(3, 2100), S(3, 2100), S(3, 2100)}, .large = true},
    {.attr.add = {.act = LK_ACT_RELU}, .in = {S(4, 64, 7, 7), S(4, 64, 7, 7)}, .large = true},
};

static const kern_case cases_multiply[] = {
    {.in = {S(1), S(1)}},
    {.in = {S(3, 17), S(3, 17)}, .padding = 1},
    {.in = {S(2, 3, 5, 7), S(2, 3, 5, 7)}},
    {.in = {S(3, 5, 4, 2), S(3, 5)}, .padding = 1},
    {.in = {S(2, 17, 3, 3), S(2, 17, 1, 1)}},
    {.in = {S(2, 3, 33), S(2, 3)}},
    {.in = {S(2, 1, 1, 5), S(2, 1)}},
    {.in = {S(2, 4, 2, 3, 2), S(2, 4, 1, 1, 1)}},
    {.in = {S(3, 66, 9, 9), S(3, 66)}, .padding = 1, .large = true},
};

#define SPECTRAL(axis_, ...) .attr.spectral_norm = {.weight = S(__VA_ARGS__), .axis = axis_}
static const kern_case cases_spectral_norm[] = {
    {SPECTRAL(1, 1, 1), .in = {S(1, 1)}},
    {SPECTRAL(1, 7, 5), .in = {S(3, 7)}, .padding = 1},
    {SPECTRAL(2, 17, 33), .in = {S(2, 3, 17)}},
    {SPECTRAL(1, 5, 3, 3, 2), .in = {S(2, 5, 4, 3)}, .padding = 1},
    {SPECTRAL(1, 16, 2, 3, 3), .in = {S(3, 16, 2, 5)}},
    {SPECTRAL(1, 64, 48, 3, 3), .in = {S(2, 64, 7, 7)}, .large = true},
};
#undef SPECTRAL

static const kern_case cases_scale[] = {
    {.attr.scale = {.factor = 0.25}, .in = {S(1)}},
    {.attr.scale = {.factor = -3}, .in = {S(5, 17)}, .padding = 2},
    {.attr.scale = {.factor = 0}, .in = {S(2, 3, 5, 7)}},
};

static const kern_case cases_concat[] = {
    {.attr.axis = {.axis = 1}, .in = {S(1, 1), S(1, 1)}},
    {.attr.axis = {.axis = 1}, .in = {S(3, 5), S(3, 17), S(3, 1)}, .padding = 1},
    {.attr.axis = {.axis = 1}, .in = {S(2, 3, 4, 5), S(2, 2, 4, 5)}, .padding = 1},
    {.attr.axis = {.axis = 2}, .in = {S(2, 3, 1, 5), S(2, 3, 4, 5), S(2, 3, 2, 5)}},
    {.attr.axis = {.axis = 3}, .in = {S(2, 3, 4, 3), S(2, 3, 4, 2)}},
    {.attr.axis = {.axis = 2}, .in = {S(2, 4, 7), S(2, 4, 6)}},
    {.attr.axis = {.axis = 1}, .in = {S(2, 3), S(2, 1), S(2, 2), S(2, 3), S(2, 5), S(2, 1)}},
    {.attr.axis = {.axis = 1}, .in = {S(4, 32, 6, 7), S(4, 17, 6, 7)}, .large = true},
    {.attr.axis = {.axis = 1}, .in = {S(2, 16, 3, 2), S(2, 8, 3, 2)}},
};

static const kern_case cases_slice[] = {
    {.attr.axis = {.axis = 1, .length = 1}, .in = {S(1, 1)}},
    {.attr.axis = {.axis = 1, .start = 2, .length = 11}, .in = {S(3, 17)}, .padding = 1},
    {.attr.axis = {.axis = 1, .start = 1, .length = 2}, .in = {S(2, 5, 3, 4)}},
    {.attr.axis = {.axis = 2, .start = 3, .length = 1}, .in = {S(2, 3, 4, 5)}, .padding = 1},
    {.attr.axis = {.axis = 3, .start = 0, .length = 4}, .in = {S(2, 3, 2, 5)}},
    {.attr.axis = {.axis = 4, .start = 1, .length = 2}, .in = {S(2, 3, 2, 2, 3)}},
    {.attr.axis = {.axis = 2, .start = 1, .length = 2}, .in = {S(2, 16, 4, 3)}},
    {.attr.axis = {.axis = 1, .start = 4, .length = 2}, .in = {S(2, 8, 5)}},
};

static const kern_case cases_reshape[] = {
    {.attr.reshape.sample = S(1), .in = {S(3)}},
    {.attr.reshape.sample = S(4, 3), .in = {S(3, 12)}, .padding = 1},
    {.attr.reshape.sample = S(10, 6), .in = {S(2, 3, 4, 5)}},
    {.attr.reshape.sample = S(2, 3, 2, 2, 2), .in = {S(2, 48)}},
    {.attr.reshape.sample = S(3, 4, 5), .in = {S(2, 60)}},
};

static const kern_case cases_permute[] = {
    {.attr.permute.order = {0, 1}, .in = {S(1, 1)}},
    {.attr.permute.order = {0, 2, 1}, .in = {S(2, 5, 7)}, .padding = 1},
    {.attr.permute.order = {0, 2, 1}, .in = {S(2, 33, 17)}},
    {.attr.permute.order = {0, 3, 1, 2}, .in = {S(2, 3, 4, 5)}},
    {.attr.permute.order = {0, 2, 3, 1}, .in = {S(2, 3, 4, 5)}, .padding = 1},
    {.attr.permute.order = {0, 2, 1, 3}, .in = {S(2, 3, 4, 5)}},
    {.attr.permute.order = {0, 3, 2, 1}, .in = {S(2, 3, 1, 5)}},
    {.attr.permute.order = {0, 1, 3, 2}, .in = {S(2, 3, 4, 5)}},
    {.attr.permute.order = {0, 4, 2, 1, 3}, .in = {S(2, 3, 2, 3, 4)}},
    {.attr.permute.order = {0, 5, 4, 3, 2, 1}, .in = {S(2, 3, 2, 3, 2, 3)}},
    {.attr.permute.order = {0, 2, 1, 3}, .in = {S(2, 3, 5, 16)}},
    {.attr.permute.order = {0, 3, 2, 1}, .in = {S(2, 18, 3, 17)}},
    {.attr.permute.order = {0, 2, 1}, .in = {S(3, 70, 65)}, .large = true},
};

static const kern_case cases_pad[] = {
    {.attr.pad = {.value = 2}, .in = {S(1, 1)}},
    {.attr.pad = {.before = {0, 2}, .after = {0, 3}, .value = -1}, .in = {S(3, 5)}, .padding = 1},
    {.attr.pad = {.before = {0, 0, 1, 2}, .after = {0, 0, 2, 0}}, .in = {S(2, 3, 4, 5)}},
    {.attr.pad = {.before = {0, 1, 0, 0}, .after = {0, 2, 0, 1}, .value = 0.5}, .in = {S(2, 3, 4, 5)}, .padding = 1},
    {.attr.pad = {.before = {0, 0, 1, 0, 1}, .after = {0, 1, 0, 2, 0}}, .in = {S(2, 2, 3, 2, 3)}},
    {.attr.pad = {.before = {0, 0, 1, 2}, .after = {0, 0, 1, 0}, .value = -0.75}, .in = {S(2, 16, 3, 4)}, .padding = 1},
    {.attr.pad = {.before = {0, 2}, .after = {0, 4}, .value = 1.5}, .in = {S(3, 10)}},
};

static const kern_case cases_reduce[] = {
    {.attr.reduce = {.mean = true, .axes = 2}, .in = {S(1, 1)}},
    {.attr.reduce = {.mean = true, .axes = 2}, .in = {S(3, 37)}, .padding = 1},
    {.attr.reduce = {.axes = 2}, .in = {S(3, 7, 5)}, .padding = 1},
    {.attr.reduce = {.mean = true, .axes = 2, .keep = true}, .in = {S(2, 9, 33)}},
    {.attr.reduce = {.mean = true, .axes = 4}, .in = {S(2, 9, 33)}},
    {.attr.reduce = {.mean = true, .axes = 6}, .in = {S(2, 9, 5)}},
    {.attr.reduce = {.mean = true, .axes = 10}, .in = {S(2, 3, 4, 5)}, .padding = 1},
    {.attr.reduce = {.axes = 10, .keep = true}, .in = {S(2, 3, 4, 5)}},
    {.attr.reduce = {.mean = true, .axes = 42}, .in = {S(2, 3, 2, 3, 2, 3)}},
    {.attr.reduce = {.mean = true, .axes = 20}, .in = {S(2, 3, 4, 2, 5)}},
    {.attr.reduce = {.axes = 4}, .in = {S(2, 2, 1500)}, .large = true},
    {.attr.reduce = {.mean = true, .axes = 2}, .in = {S(1, 9000, 3)}, .large = true}, /* in several parts */
    {.attr.reduce = {.mean = true, .axes = 10}, .in = {S(2, 3, 8, 24)}},
    {.attr.reduce = {.mean = true, .axes = 2}, .in = {S(6, 5, 7), S(6)}, .ids[1] = {0, 6}, .padding = 2},
    {.attr.reduce = {.axes = 2, .keep = true}, .in = {S(7, 4), S(7)}, .ids[1] = {0, 5}},
    {.attr.reduce = {.mean = true, .axes = 2}, .in = {S(4, 6, 2, 3), S(4)}, .ids[1] = {1, 7}},
    {.attr.reduce = {.mean = true, .axes = 2}, .in = {S(4, 24), S(4)}, .ids[1] = {0, 25}, .padding = 1},
    {.attr.reduce = {.mean = true, .axes = 2}, .in = {S(5, 100, 48), S(5)}, .ids[1] = {1, 101}, .large = true},
    {.attr.reduce = {.mean = true, .axes = 12}, .in = {S(4, 16, 14, 13)}, .large = true},
};

static const kern_case cases_embedding[] = {
    {.attr.embedding = {.size = 1, .units = 1, .deviation = 1}, .in = {S(1)}, .ids[0] = {0, 1}},
    {.attr.embedding = {.size = 11, .units = 7, .deviation = 1}, .in = {S(5)}, .ids[0] = {0, 11}, .padding = 2},
    {.attr.embedding = {.size = 5, .units = 16, .deviation = 1}, .in = {S(3, 9)}, .ids[0] = {0, 5}, .padding = 1},
    {.attr.embedding = {.size = 6, .units = 3, .deviation = 1}, .in = {S(2, 3, 4)}, .ids[0] = {2, 6}},
    {.attr.embedding = {.size = 300, .units = 65, .deviation = 1},
        .in = {S(4, 37)},
        .ids[0] = {0, 300},
        .padding = 1,
        .large = true},
    /* More ids than 16 bits tell apart, most of which do not occur; few that occur often. */
    {.attr.embedding = {.size = 66000, .units = 2, .deviation = 1}, .in = {S(2, 1100)}, .ids[0] = {0, 66000}, .large = true},
    {.attr.embedding = {.size = 3, .units = 40, .deviation = 1},
        .in = {S(3, 500)},
        .ids[0] = {0, 3},
        .padding = 1,
        .large = true},
};

static const kern_case cases_positions[] = {
    {.attr.positions = {.max = 1, .deviation = 1}, .in = {S(1, 1, 1)}},
    {.attr.positions = {.max = 9, .deviation = 1}, .in = {S(3, 7, 5)}, .padding = 1},
    {.attr.positions = {.max = 4, .deviation = 1}, .in = {S(5, 4, 16)}, .padding = 2},
    {.attr.positions = {.sinusoidal = true}, .in = {S(2, 5, 7)}, .padding = 1},
    {.attr.positions = {.sinusoidal = true}, .in = {S(3, 33, 16)}},
    {.attr.positions = {.max = 130, .deviation = 1}, .in = {S(4, 128, 33)}, .large = true},
};

/* Blocks of the cpu kernel: 32 queries, 256 keys; of cuda's: 128 queries, or 32 of each and heads of up to 32 or 64. */
static const kern_case cases_attention[] = {
    {.attr.attention = {.heads = 1}, .in = {S(1, 1, 3)}},
    {.attr.attention = {.heads = 2}, .in = {S(3, 5, 18)}, .padding = 1},
    {.attr.attention = {.heads = 2, .causal = true}, .in = {S(2, 7, 24)}},
    {.attr.attention = {.heads = 4, .kv_heads = 2, .causal = true, .rotary = true}, .in = {S(2, 5, 48)}, .padding = 1},
    {.attr.attention = {.heads = 3, .kv_heads = 1, .scale = 0.3}, .in = {S(2, 4, 25)}},
    {.attr.attention = {.heads = 2, .rotary = true}, .in = {S(4, 6, 24), S(4)}, .ids[1] = {0, 7}, .padding = 1},
    {.attr.attention = {.heads = 2, .causal = true}, .in = {S(3, 9, 12), S(3)}, .ids[1] = {0, 10}},
    {.attr.attention = {.heads = 2}, .in = {S(2, 5, 6), S(2, 7, 12)}, .padding = 1},
    {.attr.attention = {.heads = 4, .kv_heads = 2, .rotary = true}, .in = {S(2, 3, 16), S(2, 9, 16)}},
    {.attr.attention = {.heads = 1}, .in = {S(3, 4, 5), S(3, 6, 10), S(3)}, .ids[2] = {1, 7}},
    {.attr.attention = {.heads = 2}, .in = {S(2, 5, 12), S(2)}, .ids[1] = {0, 1}}, /* no key at all */
    {.attr.attention = {.heads = 2, .rate = 0.3}, .in = {S(3, 6, 18)}, .padding = 1},
    {.attr.attention = {.heads = 2, .kv_heads = 1, .causal = true, .rate = 0.5},
        .in = {S(2, 7, 20), S(2)},
        .ids[1] = {3, 8}},
    {.attr.attention = {.heads = 2, .causal = true}, .in = {S(2, 33, 96)}, .large = true},
    {.attr.attention = {.heads = 2, .rate = 0.1}, .in = {S(2, 31, 102), S(2)}, .ids[1] = {20, 32}, .large = true},
    {.attr.attention = {.heads = 1, .causal = true, .rotary = true, .rate = 0.2}, .in = {S(1, 300, 24)}, .large = true},
    {.attr.attention = {.heads = 2, .kv_heads = 1}, .in = {S(1, 40, 32), S(1, 523, 32)}, .large = true},
    {.attr.attention = {.heads = 2, .causal = true}, .in = {S(2, 5, 12), S(2, 20, 24)}}, /* keys that no query sees */
    {.attr.attention = {.heads = 2, .kv_heads = 1, .causal = true}, .in = {S(2, 30, 6), S(2, 11, 6)}, .padding = 1},
    {.attr.attention = {.heads = 4, .kv_heads = 2, .causal = true, .rate = 0.2},
        .in = {S(2, 140, 32), S(2)},
        .ids[1] = {60, 141},
        .large = true},
    {.attr.attention = {.heads = 1, .rotary = true, .rate = 0.1}, .in = {S(2, 34, 120)}, .large = true},
    {.attr.attention = {.heads = 2, .kv_heads = 1, .causal = true}, .in = {S(1, 37, 172)}, .large = true},
    {.attr.attention = {.heads = 1, .causal = true}, .in = {S(2, 19, 216)}, .large = true},
    /* Widths that cuDNN takes. */
    {.attr.attention = {.heads = 2, .kv_heads = 1, .causal = true}, .in = {S(3, 9, 32)}, .padding = 1},
    {.attr.attention = {.heads = 2, .kv_heads = 1, .causal = true, .rotary = true}, .in = {S(3, 6, 32)}, .padding = 1},
    {.attr.attention = {.heads = 2, .scale = 0.3}, .in = {S(3, 5, 16), S(3, 7, 32)}, .padding = 1},
    {.attr.attention = {.heads = 4, .kv_heads = 2, .rotary = true}, .in = {S(2, 3, 32), S(2, 9, 32)}},
    {.attr.attention = {.heads = 2, .causal = true}, .in = {S(2, 5, 16), S(2, 20, 32)}},
};

static const kern_case cases_reorder[] = {
    {.in = {S(1, 1, 1, 1)}},
    {.in = {S(2, 3, 4, 5)}, .padding = 1},
    {.in = {S(3, 16, 4, 4)}},
    {.in = {S(2, 33, 5, 3)}},
    {.in = {S(2, 1, 9, 7)}},
    {.in = {S(3, 70, 15, 17)}, .large = true},
    {.in = {S(3, 5, 7)}},
    {.in = {S(2, 17, 2, 3, 4)}, .padding = 1},
};

/* Lengths from 0 to all steps; more rows than one tile of a product has; panels with a rest. */
static const kern_case cases_lstm[] = {
    {.attr.recurrent = {.units = 1}, .in = {S(1, 1, 1)}},
    {.attr.recurrent = {.units = 4}, .in = {S(2, 5, 3)}},
    {.attr.recurrent = {.units = 3, .reverse = true, .layer = 1}, .in = {S(3, 4, 5)}, .padding = 1},
    {.attr.recurrent = {.units = 5}, .in = {S(4, 3, 2), S(4)}, .ids[1] = {0, 4}},
    {.attr.recurrent = {.units = 5, .reverse = true}, .in = {S(5, 4, 2), S(5)}, .ids[1] = {0, 5}, .padding = 1},
    {.attr.recurrent = {.units = 3, .carry = true}, .in = {S(3, 3, 4)}},
    {.attr.recurrent = {.units = 4, .carry = true}, .in = {S(4, 3, 3), S(4)}, .ids[1] = {0, 4}, .padding = 1},
    {.attr.recurrent = {.units = 3}, .in = {S(2, 2, 2)}, .padding = 2},
    {.attr.recurrent = {.units = 17}, .in = {S(7, 6, 19), S(7)}, .ids[1] = {1, 7}, .padding = 2, .large = true},
    {.attr.recurrent = {.units = 40, .carry = true}, .in = {S(17, 9, 33)}, .large = true},
    {.attr.recurrent = {.units = 130, .reverse = true}, .in = {S(37, 5, 70)}, .padding = 3, .large = true},
};

static const kern_case cases_last_step[] = {
    {.in = {S(1, 1, 1)}},
    {.in = {S(3, 4, 5)}, .padding = 1},
    {.attr.last_step = {.reverse = true}, .in = {S(3, 4, 5)}, .padding = 1},
    {.in = {S(6, 3, 17), S(6)}, .ids[1] = {0, 4}, .padding = 1},
    {.attr.last_step = {.reverse = true}, .in = {S(6, 3, 17), S(6)}, .ids[1] = {0, 4}},
    {.in = {S(4, 5, 16), S(4)}, .ids[1] = {0, 6}},
};

static const kern_case cases_gru[] = {
    {.attr.recurrent = {.units = 1}, .in = {S(1, 1, 1)}},
    {.attr.recurrent = {.units = 4}, .in = {S(2, 5, 3)}},
    {.attr.recurrent = {.units = 3, .reverse = true, .layer = 1}, .in = {S(3, 4, 5)}, .padding = 1},
    {.attr.recurrent = {.units = 5}, .in = {S(4, 3, 2), S(4)}, .ids[1] = {0, 4}},
    {.attr.recurrent = {.units = 5, .reverse = true}, .in = {S(5, 4, 2), S(5)}, .ids[1] = {0, 5}, .padding = 1},
    {.attr.recurrent = {.units = 3, .carry = true}, .in = {S(3, 3, 4)}},
    {.attr.recurrent = {.units = 4, .carry = true}, .in = {S(4, 3, 3), S(4)}, .ids[1] = {0, 4}, .padding = 1},
    {.attr.recurrent = {.units = 3}, .in = {S(2, 2, 2)}, .padding = 2},
    {.attr.recurrent = {.units = 17}, .in = {S(7, 6, 19), S(7)}, .ids[1] = {1, 7}, .padding = 2, .large = true},
    {.attr.recurrent = {.units = 40, .carry = true}, .in = {S(17, 9, 33)}, .large = true},
    {.attr.recurrent = {.units = 150, .reverse = true}, .in = {S(37, 5, 70)}, .padding = 3, .large = true},
};

static const kern_case cases_rnn[] = {
    {.attr.recurrent = {.units = 1}, .in = {S(1, 1, 1)}},
    {.attr.recurrent = {.units = 4}, .in = {S(2, 5, 3)}},
    {.attr.recurrent = {.units = 4, .relu = true}, .in = {S(2, 4, 3)}},
    {.attr.recurrent = {.units = 3, .reverse = true, .layer = 1}, .in = {S(3, 4, 5)}, .padding = 1},
    {.attr.recurrent = {.units = 5, .relu = true}, .in = {S(4, 3, 2), S(4)}, .ids[1] = {0, 4}},
    {.attr.recurrent = {.units = 5, .reverse = true}, .in = {S(5, 4, 2), S(5)}, .ids[1] = {0, 5}, .padding = 1},
    {.attr.recurrent = {.units = 3, .carry = true}, .in = {S(3, 3, 4)}},
    {.attr.recurrent = {.units = 4, .carry = true}, .in = {S(4, 3, 3), S(4)}, .ids[1] = {0, 4}, .padding = 1},
    {.attr.recurrent = {.units = 3}, .in = {S(2, 2, 2)}, .padding = 2},
    {.attr.recurrent = {.units = 17}, .in = {S(7, 6, 19), S(7)}, .ids[1] = {1, 7}, .padding = 2, .large = true},
    {.attr.recurrent = {.units = 40, .carry = true}, .in = {S(17, 9, 33)}, .large = true},
    {.attr.recurrent = {.units = 530, .reverse = true}, .in = {S(37, 4, 70)}, .padding = 3, .large = true},
};

static const kern_case cases_cross_entropy[] = {
    {.in = {S(1, 1), S(1)}, .ids[1] = {0, 1}},
    {.in = {S(8, 10), S(8)}, .ids[1] = {0, 10}},
    {.in = {S(7, 17), S(7)}, .ids[1] = {0, 17}, .padding = 3},
    {.in = {S(4, 3), S(4)}, .ids[1] = {0, 3}, .padding = 4},
    {.in = {S(3, 131), S(3)}, .ids[1] = {0, 131}},
    {.in = {S(16, 12), S(16)}, .ids[1] = {0, 12}, .padding = 1, .ties = true},
    {.in = {S(17, 1000), S(17)}, .ids[1] = {0, 1000}, .padding = 1, .large = true},
    {.in = {S(3, 2500), S(3)}, .ids[1] = {0, 2500}, .large = true},
    {.in = {S(3, 5, 7), S(3, 5)}, .ids[1] = {0, 7}, .padding = 1},
    {.in = {S(2, 4, 3, 5), S(2, 3, 5)}, .ids[1] = {0, 4}},
    {.attr.cross_entropy = {.has_ignored = true, .ignored = -1},
        .in = {S(3, 3, 4, 2), S(3, 4, 2)},
        .ids[1] = {-1, 3},
        .padding = 1},
    {.attr.cross_entropy = {.has_ignored = true, .ignored = 2}, .in = {S(6, 4), S(6)}, .ids[1] = {2, 3}},
    {.attr.cross_entropy = {.scale = 0.3, .smoothing = 0.1}, .in = {S(5, 7), S(5)}, .ids[1] = {0, 7}},
    {.attr.cross_entropy = {.n_weights = 5, .weight = {1, 0.5, 0, 3, 2}, .has_ignored = true, .ignored = 4},
        .in = {S(4, 6, 5), S(4, 6)},
        .ids[1] = {0, 5},
        .padding = 1},
    {.attr.cross_entropy = {.smoothing = 0.3, .n_weights = 3, .weight = {1, 0.25, 4}},
        .in = {S(2, 3, 2, 3), S(2, 2, 3)},
        .ids[1] = {0, 3}},
    {.in = {S(5, 7), S(5, 7)}, .real[1] = {0, 1}, .padding = 2},
    {.attr.cross_entropy = {.scale = 2, .smoothing = 0.1}, .in = {S(3, 2, 9), S(3, 2, 9)}, .real[1] = {0, 1}},
    {.attr.cross_entropy = {.smoothing = 0.2, .n_weights = 4, .weight = {1, 0.5, 0, 2}},
        .in = {S(3, 4, 2, 3), S(3, 4, 2, 3)},
        .real[1] = {0, 1},
        .padding = 1},
    {.attr.cross_entropy = {.smoothing = 0.1}, .in = {S(4, 1030), S(4)}, .ids[1] = {0, 1030}, .large = true},
};

static const kern_case cases_gaussian[] = {
    {.in = {S(1, 1), S(1, 1)}},
    {.in = {S(5, 17), S(5, 17)}, .padding = 2},
    {.in = {S(3), S(3)}},
    {.in = {S(2, 3, 5, 2), S(2, 3, 5, 2)}},
    {.in = {S(16, 130), S(16, 130)}, .padding = 1, .large = true},
};

static const kern_case cases_noise[] = {
    {.in = {S(1, 1)}},
    {.in = {S(4, 17)}, .padding = 1},
    {.attr.noise = {.ndim = 1, .dim = {9}}, .in = {S(3, 2, 2, 2)}},
    {.attr.noise = {.ndim = 3, .dim = {3, 4, 5}}, .in = {S(2)}},
};

static const kern_case cases_bce_logits[] = {
    {.in = {S(1, 1), S(1, 1)}, .real[1] = {0.1, 0.9}},
    {.in = {S(9), S(9)}, .real[1] = {0.1, 0.9}, .padding = 2},
    {.attr.bce_logits = {.scale = 0.3, .positive = 4}, .in = {S(7, 13), S(7, 13)}, .real[1] = {0.1, 0.9}, .padding = 3},
    {.in = {S(2, 3, 5, 7), S(2, 3, 5, 7)}, .real[1] = {0.1, 0.9}, .offset = 8},
    {.attr.bce_logits = {.positive = 0.5}, .in = {S(19, 257), S(19, 257)}, .real[1] = {0.1, 0.9}, .large = true},
};

static const kern_case cases_mae[] = {
    /* offset: half a step of the grid, so that no prediction meets its target */
    {.in = {S(1, 1), S(1, 1)}, .offset = 2},
    {.in = {S(5), S(5)}, .padding = 1, .offset = 0.4},
    {.attr.loss = {.scale = 3}, .in = {S(7, 13), S(7, 13)}, .padding = 2, .offset = 2.0 / 91},
    {.in = {S(2, 3, 5, 7), S(2, 3, 5, 7)}, .offset = 2.0 / 210},
    {.in = {S(19, 100), S(19, 100)}, .padding = 1, .offset = 2.0 / 1900, .large = true},
};

static const kern_case cases_huber[] = {
    {.in = {S(1, 1), S(1, 1)}},
    {.attr.huber = {.delta = 0.7}, .in = {S(5), S(5)}, .padding = 1, .offset = 0.4},
    {.attr.huber = {.scale = 3, .delta = 0.53}, .in = {S(7, 13), S(7, 13)}, .padding = 2, .offset = 2.0 / 91},
    {.attr.huber = {.delta = 2}, .in = {S(2, 3, 5, 7), S(2, 3, 5, 7)}, .offset = 1.0 / 210},
    {.in = {S(19, 100), S(19, 100)}, .padding = 1, .offset = 1.0 / 1900, .large = true},
};

static const kern_case cases_hinge[] = {
    /* numbers of elements with no grid point at a margin of 0 */
    {.in = {S(1), S(1)}, .ids[1] = {0, 2}, .offset = 0.3},
    {.in = {S(7), S(7)}, .ids[1] = {0, 2}, .padding = 2},
    {.attr.loss = {.scale = 0.3}, .in = {S(5, 1), S(5)}, .ids[1] = {0, 2}},
    {.in = {S(5, 3), S(5)}, .ids[1] = {0, 3}},
    {.attr.loss = {.scale = 2}, .in = {S(7, 5), S(7)}, .ids[1] = {0, 5}, .padding = 1},
    {.in = {S(16, 12), S(16)}, .ids[1] = {0, 12}, .ties = true},
    {.in = {S(9), S(9)}, .real[1] = {0.8, 1}},
    {.in = {S(3, 15), S(3, 15)}, .real[1] = {0, 0.4}, .padding = 1, .offset = 0.02},
};

static const kern_case cases_kl_normal[] = {
    {.in = {S(1, 1), S(1, 1)}},
    {.in = {S(6), S(6)}},
    {.attr.loss = {.scale = 4}, .in = {S(7, 13), S(7, 13)}, .padding = 2},
    {.in = {S(2, 3, 5, 7), S(2, 3, 5, 7)}},
    {.in = {S(16, 130), S(16, 130)}, .padding = 1, .large = true},
};

#define GAN(kind_, role_) .attr.gan = {.kind = LK_GAN_##kind_, .role = LK_GAN_##role_}
static const kern_case cases_gan[] = {
    {GAN(NON_SATURATING, REAL), .in = {S(1)}},
    {GAN(NON_SATURATING, FAKE), .in = {S(7)}, .padding = 2},
    {GAN(NON_SATURATING, GENERATOR), .in = {S(5, 1)}},
    {GAN(LEAST_SQUARES, REAL), .in = {S(7)}},
    {GAN(LEAST_SQUARES, FAKE), .in = {S(5, 1)}, .padding = 1},
    {GAN(LEAST_SQUARES, GENERATOR), .in = {S(7)}},
    {GAN(WASSERSTEIN, REAL), .in = {S(7, 3)}},
    {GAN(WASSERSTEIN, FAKE), .in = {S(7)}},
    {GAN(WASSERSTEIN, GENERATOR), .in = {S(7)}, .padding = 7},
    {GAN(HINGE, REAL), .in = {S(17)}},
    {GAN(HINGE, FAKE), .in = {S(3, 1, 3, 3)}, .padding = 1},
    {GAN(HINGE, GENERATOR), .in = {S(17)}},
    {.attr.gan = {.scale = 0.25, .kind = LK_GAN_HINGE, .role = LK_GAN_FAKE}, .in = {S(9, 1)}},
};
#undef GAN

static const kern_case cases_mse[] = {
    {.attr.loss = {.scale = 0.3}, .in = {S(7, 13), S(7, 13)}, .padding = 2},
    {.in = {S(1, 1), S(1, 1)}},
    {.in = {S(5), S(5)}, .padding = 1},
    {.in = {S(7, 13), S(7, 13)}, .padding = 2},
    {.in = {S(3, 16), S(3, 16)}, .padding = 3},
    {.in = {S(2, 3, 5, 7), S(2, 3, 5, 7)}},
    {.in = {S(19, 257), S(19, 257)}, .padding = 1, .large = true},
};

typedef struct kern_case_list {
    const kern_case *item;
    int n;
} kern_case_list;

static const kern_case_list kern_cases[LK_OP_COUNT] = {
#define X(NAME, name) [LK_OP_##NAME] = {cases_##name, (int)(sizeof cases_##name / sizeof cases_##name[0])},
    LK_OP_LIST(X)
#undef X
};

#undef S
#endif
