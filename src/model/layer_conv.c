/* Layers over one to three axes (series, pictures, volumes): convolution, pooling, and the norm that goes with them. */
#include "model/layer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- words of one to three axes ---- */
/* What sizes by axis are, in the words of the help, and the value that a word takes. */
#define SIDES_1 "one number"
#define SIDES_2 "one number, or height and width"
#define SIDES_3 "one number, or depth, height and width"

/* conv1d: 1, conv: 2, conv3d: 3. */
static int axes_of(const lki_layer *l)
{
    const char *word = l->kind->table->name;
    const size_t n = strlen(word);

    return n > 2 && word[n - 1] == 'd' && word[n - 2] >= '1' && word[n - 2] <= '3' ? word[n - 2] - '0' : 2;
}

/* One node, after a look at the number of the input's dimensions: the operation takes all that have one to three axes. */
static lk_status build_by_axes(lki_builder *b, const lki_layer *l, int *value)
{
    static const char *const forms[] = {"", "length", "height, width", "depth, height, width"};
    const lk_shape *in = &b->graph->value[*value].shape;
    const int axes = axes_of(l);
    char shape[LK_SHAPE_TEXT];
    lk_buf from = {0};

    if (in->ndim == 2 + axes)
        return lki_build_node(b, l, value);
    lki_describe_value(b->graph, *value, &from);
    const lk_status st = LK_FAIL(LK_E_CONFIG,
        "%s: layer %s (%s): input %s has %d dimension%s, expected [batch, channels, %s]; %s", l->where, l->name,
        l->kind->table->name, lk_shape_print(in, shape), in->ndim, in->ndim == 1 ? "" : "s", forms[axes],
        lk_buf_text(&from));
    lk_buf_fini(&from);
    return st;
}

/* ---- convolution ---- */
typedef struct conv_opts {
    LKI_LAYER_MEMBERS;
    int64_t filters, groups;
    lk_ints kernel, stride, dilation;
    lk_strings pad;
    bool depthwise, bias;
} conv_opts;

#define CONV_ROWS(sides_) \
    { \
        LK_FIELD(conv_opts, filters, LK_T_INT, .def = "", .min = 1, .max = 1e9, \
            .help = "Output channels; unset (depthwise only): the input's."), \
            LK_FIELD(conv_opts, kernel, LK_T_INTS, .min = 1, .max = 1e9, .help = "Size of the window: " sides_ "."), \
            LK_FIELD(conv_opts, stride, LK_T_INTS, .def = "1", .min = 1, .max = 1e9, \
                .help = "Step of the window: " sides_ "."), \
            LK_FIELD(conv_opts, dilation, LK_T_INTS, .def = "1", .min = 1, .max = 1e9, \
                .help = "Distance of the kernel's elements: " sides_ "."), \
            LK_FIELD(conv_opts, groups, LK_T_INT, .def = "1", .min = 1, .max = 1e9, \
                .help = "Channels and filters in so many parts that see only each other."), \
            LK_FIELD(conv_opts, depthwise, LK_T_BOOL, .def = "false", \
                .help = "A group for each input channel; filters must be a multiple of them."), \
            LK_FIELD(conv_opts, pad, LK_T_STRINGS, .def = "0", \
                .help = "Zeros on each side: " sides_ "; `valid`: none; `same`: so many that the output has the " \
                        "input's size (over the stride, rounded up; an odd one goes to the end, bottom or right)."), \
            LK_FIELD(conv_opts, bias, LK_T_BOOL, .def = "true", \
                .help = "Adds a learned number to each channel; not needed in front of batch_norm."), \
            LKI_LAYER_ROWS(conv_opts), \
    }
static const lk_field conv1d_rows[] = CONV_ROWS(SIDES_1), conv_rows[] = CONV_ROWS(SIDES_2),
                      conv3d_rows[] = CONV_ROWS(SIDES_3);
static const lk_table conv1d_table = LK_TABLE(conv_opts, "conv1d", "Convolution of [channels, length].", conv1d_rows);
static const lk_table conv_table = LK_TABLE(conv_opts, "conv",
    "Convolution of [channels, height, width]; an input of [height, width] counts as one channel.", conv_rows);
static const lk_table conv3d_table =
    LK_TABLE(conv_opts, "conv3d", "Convolution of [channels, depth, height, width].", conv3d_rows);

/* `same`: ceil(in / stride) outputs; an odd row of padding goes to the end of its axis, as in TensorFlow. */
static void pad_same(const lk_shape *in, int axes, lk_attr_conv *a)
{
    for (int i = 0; i < axes; i++) {
        const int64_t size = in->dim[2 + i];
        const int64_t outputs = (size - 1) / a->stride[i] + 1;
        int64_t total = (outputs - 1) * a->stride[i] + (a->kernel[i] - 1) * a->dilation[i] + 1 - size;
        if (total < 0)
            total = 0;
        a->pad_before[i] = total / 2;
        a->pad_after[i] = total - total / 2;
    }
}

static lk_status conv_pad(const lki_layer *l, const lk_shape *in, lk_attr_conv *a)
{
    static const char *const forms[] = {
        "", "one number", "one number or two (height, width)", "one number or three (depth, height, width)"};
    const lk_strings *pad = &LKI_OPTS(l, conv_opts)->pad;
    const int axes = axes_of(l);
    char text[160];

    if (pad->n == 1 && strcmp(pad->item[0], "valid") == 0)
        return LK_OK;
    if (pad->n == 1 && strcmp(pad->item[0], "same") == 0) {
        pad_same(in, axes, a);
        return LK_OK;
    }
    if (pad->n != 1 && pad->n != axes) {
        snprintf(text, sizeof text, "expected same, valid, %s, got %d", forms[axes], pad->n);
        return lki_option_fail(l, "pad", text);
    }
    for (int i = 0; i < axes; i++) {
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

/* Filters and groups, of an input with so many channels. */
static lk_status conv_groups(const lki_layer *l, int64_t channels, lk_attr_conv *a)
{
    const conv_opts *o = LKI_OPTS(l, conv_opts);
    char text[160];

    a->groups = o->depthwise ? channels : o->groups;
    a->filters = o->filters > 0 ? o->filters : channels;
    if (o->filters == 0 && !o->depthwise)
        return lki_option_fail(l, "filters", "is needed unless depthwise is true");
    if (o->depthwise && o->groups != 1)
        return lki_option_fail(l, "groups", "is the number of channels where depthwise is true; leave one of them out");
    if (channels % a->groups != 0 || a->filters % a->groups != 0) {
        snprintf(text, sizeof text,
            "the input's %" PRId64 " channels and the %" PRId64 " filters must be multiples of the %" PRId64 " groups",
            channels, a->filters, a->groups);
        return lki_option_fail(l, o->depthwise ? "filters" : "groups", text);
    }
    return LK_OK;
}

static lk_status conv_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const conv_opts *o = LKI_OPTS(l, conv_opts);
    const int axes = axes_of(l);

    out->conv = (lk_attr_conv){.bias = o->bias};
    LK_TRY(conv_groups(l, in->dim[1], &out->conv));
    LK_TRY(lki_sides(l, "kernel", &o->kernel, axes, out->conv.kernel));
    LK_TRY(lki_sides(l, "stride", &o->stride, axes, out->conv.stride));
    LK_TRY(lki_sides(l, "dilation", &o->dilation, axes, out->conv.dilation));
    return conv_pad(l, in, &out->conv);
}

const lki_layer_kind lki_layer_conv1d = {
    .table = &conv1d_table, .input = LKI_INPUT_ROWS, .op = LK_OP_CONV, .attrs = conv_attrs, .build = build_by_axes};
const lki_layer_kind lki_layer_conv = {
    .table = &conv_table, .input = LKI_INPUT_IMAGE, .op = LK_OP_CONV, .attrs = conv_attrs, .build = build_by_axes};
const lki_layer_kind lki_layer_conv3d = {
    .table = &conv3d_table, .input = LKI_INPUT_ROWS, .op = LK_OP_CONV, .attrs = conv_attrs, .build = build_by_axes};

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
    "Each channel to mean 0 and variance 1 over a microbatch, all places together, then scaled and shifted by learned numbers.",
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

#define POOL_ROWS(sides_) \
    { \
        LK_FIELD(pool_opts, size, LK_T_INTS, .min = 1, .max = 1e9, .help = "Size of the window: " sides_ "."), \
            LK_FIELD(pool_opts, stride, LK_T_INTS, .def = "", .min = 1, .max = 1e9, \
                .help = "Step of the window: " sides_ "; unset: the size."), \
            LK_FIELD(pool_opts, pad, LK_T_INTS, .def = "0", .min = 0, .max = 1e9, \
                .help = "Padding on each side, smaller than the size: " sides_ "."), \
            LKI_LAYER_ROWS(pool_opts), \
    }
static const lk_field pool1d_rows[] = POOL_ROWS(SIDES_1), pool_rows[] = POOL_ROWS(SIDES_2),
                      pool3d_rows[] = POOL_ROWS(SIDES_3);
static const lk_table max_pool1d_table =
    LK_TABLE(pool_opts, "max_pool1d", "As max_pool, of [channels, length].", pool1d_rows);
static const lk_table max_pool_table = LK_TABLE(pool_opts, "max_pool",
    "The largest value under a window; padding never is. `max_pool: 2` is short for `max_pool: {size: 2}`.", pool_rows);
static const lk_table max_pool3d_table =
    LK_TABLE(pool_opts, "max_pool3d", "As max_pool, of [channels, depth, height, width].", pool3d_rows);
static const lk_table avg_pool1d_table =
    LK_TABLE(pool_opts, "avg_pool1d", "As avg_pool, of [channels, length].", pool1d_rows);
static const lk_table avg_pool_table = LK_TABLE(pool_opts, "avg_pool",
    "The mean under a window, padding counted as zeros. `avg_pool: 2` is short for `avg_pool: {size: 2}`.", pool_rows);
static const lk_table avg_pool3d_table =
    LK_TABLE(pool_opts, "avg_pool3d", "As avg_pool, of [channels, depth, height, width].", pool3d_rows);

static lk_status pool_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const pool_opts *o = LKI_OPTS(l, pool_opts);
    const int axes = axes_of(l);

    (void)in;
    out->pool = (lk_attr_pool){0};
    LK_TRY(lki_sides(l, "size", &o->size, axes, out->pool.kernel));
    LK_TRY(lki_sides(l, "stride", o->stride.n > 0 ? &o->stride : &o->size, axes, out->pool.stride));
    return lki_sides(l, "pad", &o->pad, axes, out->pool.pad);
}

#define POOL_KIND(word_, input_, op_) \
    const lki_layer_kind lki_layer_##word_ = {.table = &word_##_table, \
        .short_form = "size", \
        .input = input_, \
        .op = op_, \
        .attrs = pool_attrs, \
        .build = build_by_axes}
POOL_KIND(max_pool1d, LKI_INPUT_ROWS, LK_OP_MAX_POOL);
POOL_KIND(max_pool, LKI_INPUT_IMAGE, LK_OP_MAX_POOL);
POOL_KIND(max_pool3d, LKI_INPUT_ROWS, LK_OP_MAX_POOL);
POOL_KIND(avg_pool1d, LKI_INPUT_ROWS, LK_OP_AVG_POOL);
POOL_KIND(avg_pool, LKI_INPUT_IMAGE, LK_OP_AVG_POOL);
POOL_KIND(avg_pool3d, LKI_INPUT_ROWS, LK_OP_AVG_POOL);

static const lk_field global_pool_rows[] = {LKI_LAYER_ROWS(lki_layer_opts)};
static const lk_table global_pool_table = LK_TABLE(lki_layer_opts, "global_pool",
    "The mean of each channel over all its places: [channels, height, width] (or one axis, or three) becomes [channels].", global_pool_rows);

const lki_layer_kind lki_layer_global_pool = {.table = &global_pool_table, .input = LKI_INPUT_IMAGE, .op = LK_OP_GLOBAL_AVG_POOL};
