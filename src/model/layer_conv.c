/* Layers over pictures: convolution, pooling, and the norm that goes with them. */
#include "model/layer.h"

#include <stdio.h>
#include <string.h>

/* ---- convolution ---- */
typedef struct conv_opts {
    LKI_LAYER_MEMBERS;
    int64_t filters;
    lk_ints kernel, stride;
    lk_strings pad;
    bool bias;
} conv_opts;

static const lk_field conv_rows[] = {
    LK_FIELD(conv_opts, filters, LK_T_INT, .min = 1, .max = 1e9, .help = "Output channels."),
    LK_FIELD(conv_opts, kernel, LK_T_INTS, .min = 1, .max = 1e9,
        .help = "Size of the window: one number, or height and width."),
    LK_FIELD(conv_opts, stride, LK_T_INTS, .def = "1", .min = 1, .max = 1e9,
        .help = "Step of the window: one number, or height and width."),
    LK_FIELD(conv_opts, pad, LK_T_STRINGS, .def = "0",
        .help = "Zeros on each side: one number, or height and width; `valid`: none; `same`: so many that the output "
                "has the input's size (over the stride, rounded up; an odd one goes to bottom and right)."),
    LK_FIELD(conv_opts, bias, LK_T_BOOL, .def = "true",
        .help = "Adds a learned number to each channel; not needed in front of batch_norm."),
    LKI_LAYER_ROWS(conv_opts),
};
static const lk_table conv_table = LK_TABLE(conv_opts, "conv",
    "Convolution of [channels, height, width]; an input of [height, width] counts as one channel.", conv_rows);

/* `same`: ceil(in / stride) outputs; an odd row of padding goes to the bottom, a column to the right, as in TensorFlow.
 */
static void pad_same(const lk_shape *in, lk_attr_conv *a)
{
    for (int i = 0; i < 2 && in->ndim == 4; i++) {
        const int64_t size = in->dim[2 + i];
        const int64_t outputs = (size - 1) / a->stride[i] + 1;
        int64_t total = (outputs - 1) * a->stride[i] + a->kernel[i] - size;
        if (total < 0)
            total = 0;
        a->pad_before[i] = total / 2;
        a->pad_after[i] = total - total / 2;
    }
}

static lk_status conv_pad(const lki_layer *l, const lk_shape *in, lk_attr_conv *a)
{
    const lk_strings *pad = &LKI_OPTS(l, conv_opts)->pad;
    char text[160];

    if (pad->n == 1 && strcmp(pad->item[0], "valid") == 0)
        return LK_OK;
    if (pad->n == 1 && strcmp(pad->item[0], "same") == 0) {
        pad_same(in, a);
        return LK_OK;
    }
    if (pad->n != 1 && pad->n != 2) {
        snprintf(text, sizeof text, "expected same, valid, one number or two (height, width), got %d", pad->n);
        return lki_option_fail(l, "pad", text);
    }
    for (int i = 0; i < 2; i++) {
        const char *given = pad->item[i < pad->n ? i : 0];
        int64_t n;
        if (!lk_parse_i64(given, &n) || n < 0 || n > 1000000000) {
            snprintf(text, sizeof text, "expected same, valid, or whole numbers from 0 to 1e+09, got \"%.60s\"", given);
            return lki_option_fail(l, "pad", text);
        }
        a->pad_before[i] = a->pad_after[i] = n;
    }
    return LK_OK;
}

static lk_status conv_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const conv_opts *o = LKI_OPTS(l, conv_opts);

    out->conv = (lk_attr_conv){.filters = o->filters, .bias = o->bias};
    LK_TRY(lki_sides(l, "kernel", &o->kernel, 2, out->conv.kernel));
    LK_TRY(lki_sides(l, "stride", &o->stride, 2, out->conv.stride));
    return conv_pad(l, in, &out->conv);
}

const lki_layer_kind lki_layer_conv = {.table = &conv_table, .input = LKI_INPUT_IMAGE, .op = LK_OP_CONV, .attrs = conv_attrs};

/* ---- batch norm ---- */
typedef struct batch_norm_opts {
    LKI_LAYER_MEMBERS;
    double eps, momentum;
} batch_norm_opts;

static const lk_field batch_norm_rows[] = {
    LK_FIELD(batch_norm_opts, eps, LK_T_REAL, .def = "1e-5", .min = 0, .max = 1, .exclusive_min = true,
        .help = "Added to the variance."),
    LK_FIELD(batch_norm_opts, momentum, LK_T_REAL, .def = "0.1", .min = 0, .max = 1,
        .help = "Share of the fresh value in the running statistics that evaluation uses."),
    LKI_LAYER_ROWS(batch_norm_opts),
};
static const lk_table batch_norm_table = LK_TABLE(batch_norm_opts, "batch_norm",
    "Each channel to mean 0 and variance 1 over a microbatch, then scaled and shifted by learned numbers.",
    batch_norm_rows);

static lk_status batch_norm_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    if (in->ndim > 1 && lk_shape_count(in) == in->dim[1])
        return LK_FAIL(LK_E_CONFIG,
            "%s: layer %s (batch_norm): a microbatch of 1 row has 1 value a channel, and no variance; raise "
            "train.batch "
            "or lower train.microbatches",
            l->where, l->name);
    out->batch_norm = (lk_attr_batch_norm){.eps = LKI_OPTS(l, batch_norm_opts)->eps, .momentum = LKI_OPTS(l, batch_norm_opts)->momentum};
    return LK_OK;
}

const lki_layer_kind lki_layer_batch_norm = {.table = &batch_norm_table, .input = LKI_INPUT_IMAGE, .op = LK_OP_BATCH_NORM, .attrs = batch_norm_attrs};

/* ---- pooling ---- */
typedef struct pool_opts {
    LKI_LAYER_MEMBERS;
    lk_ints size, stride, pad;
} pool_opts;

static const lk_field pool_rows[] = {
    LK_FIELD(pool_opts, size, LK_T_INTS, .min = 1, .max = 1e9,
        .help = "Size of the window: one number, or height and width."),
    LK_FIELD(pool_opts, stride, LK_T_INTS, .def = "", .min = 1, .max = 1e9,
        .help = "Step of the window: one number, or height and width; unset: the size."),
    LK_FIELD(pool_opts, pad, LK_T_INTS, .def = "0", .min = 0, .max = 1e9,
        .help = "Padding on each side, smaller than the size: one number, or height and width."),
    LKI_LAYER_ROWS(pool_opts),
};
static const lk_table max_pool_table = LK_TABLE(pool_opts, "max_pool",
    "The largest value under a window; padding never is. `max_pool: 2` is short for `max_pool: {size: 2}`.", pool_rows);
static const lk_table avg_pool_table = LK_TABLE(pool_opts, "avg_pool",
    "The mean under a window, padding counted as zeros. `avg_pool: 2` is short for `avg_pool: {size: 2}`.", pool_rows);

static lk_status pool_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const pool_opts *o = LKI_OPTS(l, pool_opts);

    (void)in;
    out->pool = (lk_attr_pool){0};
    LK_TRY(lki_sides(l, "size", &o->size, 2, out->pool.kernel));
    LK_TRY(lki_sides(l, "stride", o->stride.n > 0 ? &o->stride : &o->size, 2, out->pool.stride));
    return lki_sides(l, "pad", &o->pad, 2, out->pool.pad);
}

const lki_layer_kind lki_layer_max_pool = {.table = &max_pool_table,
    .short_form = "size",
    .input = LKI_INPUT_IMAGE,
    .op = LK_OP_MAX_POOL,
    .attrs = pool_attrs};
const lki_layer_kind lki_layer_avg_pool = {.table = &avg_pool_table,
    .short_form = "size",
    .input = LKI_INPUT_IMAGE,
    .op = LK_OP_AVG_POOL,
    .attrs = pool_attrs};

static const lk_field global_pool_rows[] = {LKI_LAYER_ROWS(lki_layer_opts)};
static const lk_table global_pool_table = LK_TABLE(lki_layer_opts, "global_pool",
    "The mean of each channel: [channels, height, width] becomes [channels].", global_pool_rows);

const lki_layer_kind lki_layer_global_pool = {.table = &global_pool_table, .input = LKI_INPUT_IMAGE, .op = LK_OP_GLOBAL_AVG_POOL};
