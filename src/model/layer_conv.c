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

/* ---- transposed convolution ---- */
typedef struct conv_transpose_opts {
    LKI_LAYER_MEMBERS;
    int64_t filters, groups;
    lk_ints kernel, stride, dilation, pad, output_pad;
    bool bias;
} conv_transpose_opts;

#define CONV_TRANSPOSE_ROWS(sides_) \
    { \
        LK_FIELD(conv_transpose_opts, filters, LK_T_INT, .min = 1, .max = 1e9, .help = "Output channels."), \
            LK_FIELD(conv_transpose_opts, kernel, LK_T_INTS, .min = 1, .max = 1e9, \
                .help = "Size of the window: " sides_ "."), \
            LK_FIELD(conv_transpose_opts, stride, LK_T_INTS, .def = "1", .min = 1, .max = 1e9, \
                .help = "Distance of the windows in the output: " sides_ "."), \
            LK_FIELD(conv_transpose_opts, dilation, LK_T_INTS, .def = "1", .min = 1, .max = 1e9, \
                .help = "Distance of the kernel's elements: " sides_ "."), \
            LK_FIELD(conv_transpose_opts, groups, LK_T_INT, .def = "1", .min = 1, .max = 1e9, \
                .help = "Channels and filters in so many parts that see only each other."), \
            LK_FIELD(conv_transpose_opts, pad, LK_T_INTS, .def = "0", .min = 0, .max = 1e9, \
                .help = "What is cut off on each side of the output: " sides_ "."), \
            LK_FIELD(conv_transpose_opts, output_pad, LK_T_INTS, .def = "0", .min = 0, .max = 1e9, \
                .help = "What the output is longer at its end, below stride or dilation: " sides_ "."), \
            LK_FIELD(conv_transpose_opts, bias, LK_T_BOOL, .def = "true", \
                .help = "Adds a learned number to each channel; not needed in front of batch_norm."), \
            LKI_LAYER_ROWS(conv_transpose_opts), \
    }
static const lk_field conv_transpose1d_rows[] = CONV_TRANSPOSE_ROWS(SIDES_1),
                      conv_transpose_rows[] = CONV_TRANSPOSE_ROWS(SIDES_2),
                      conv_transpose3d_rows[] = CONV_TRANSPOSE_ROWS(SIDES_3);
static const lk_table conv_transpose1d_table = LK_TABLE(
    conv_transpose_opts, "conv_transpose1d", "As conv_transpose, of [channels, length].", conv_transpose1d_rows);
static const lk_table conv_transpose_table = LK_TABLE(conv_transpose_opts, "conv_transpose",
    "Transposed convolution of [channels, height, width]: each input adds the kernel times itself to the output, which has "
    "(in - 1) stride - 2 pad + dilation (kernel - 1) + 1 + output_pad places a side.",
    conv_transpose_rows);
static const lk_table conv_transpose3d_table = LK_TABLE(conv_transpose_opts, "conv_transpose3d",
    "As conv_transpose, of [channels, depth, height, width].", conv_transpose3d_rows);

static lk_status conv_transpose_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const conv_transpose_opts *o = LKI_OPTS(l, conv_transpose_opts);
    const int axes = axes_of(l);
    lk_attr_conv *a = &out->conv;

    (void)in;
    *a = (lk_attr_conv){.filters = o->filters, .groups = o->groups, .bias = o->bias};
    LK_TRY(lki_sides(l, "kernel", &o->kernel, axes, a->kernel));
    LK_TRY(lki_sides(l, "stride", &o->stride, axes, a->stride));
    LK_TRY(lki_sides(l, "dilation", &o->dilation, axes, a->dilation));
    LK_TRY(lki_sides(l, "pad", &o->pad, axes, a->pad_before));
    LK_TRY(lki_sides(l, "pad", &o->pad, axes, a->pad_after));
    return lki_sides(l, "output_pad", &o->output_pad, axes, a->output_pad);
}

#define CONV_TRANSPOSE_KIND(word_, input_) \
    const lki_layer_kind lki_layer_##word_ = {.table = &word_##_table, \
        .input = input_, \
        .op = LK_OP_CONV_TRANSPOSE, \
        .attrs = conv_transpose_attrs, \
        .build = build_by_axes}
CONV_TRANSPOSE_KIND(conv_transpose1d, LKI_INPUT_ROWS);
CONV_TRANSPOSE_KIND(conv_transpose, LKI_INPUT_IMAGE);
CONV_TRANSPOSE_KIND(conv_transpose3d, LKI_INPUT_ROWS);

/* ---- batch norm ---- */
typedef struct batch_norm_opts {
    LKI_LAYER_MEMBERS;
    double eps, momentum;
    bool running;
} batch_norm_opts;

static const lk_field batch_norm_rows[] = {
    LK_FIELD(batch_norm_opts, eps, LK_T_REAL, .def = "1e-5", .min = 0, .max = 1, .exclusive_min = true,
        .help = "Added to the variance."),
    LK_FIELD(batch_norm_opts, momentum, LK_T_REAL, .def = "0.1", .min = 0, .max = 1,
        .help = "Share of the fresh value in the running statistics that evaluation uses."),
    LK_FIELD(batch_norm_opts, running, LK_T_BOOL, .def = "false",
        .help = "Training, too, takes the running statistics and leaves them as they are: for layers that are kept as "
                "they were trained before."),
    LKI_LAYER_ROWS(batch_norm_opts),
};
static const lk_table batch_norm_table = LK_TABLE(batch_norm_opts, "batch_norm",
    "Each channel to mean 0 and variance 1 over a microbatch, all places together, then scaled and shifted by learned numbers.",
    batch_norm_rows);

static lk_status batch_norm_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const batch_norm_opts *o = LKI_OPTS(l, batch_norm_opts);

    if (in->ndim > 1 && lk_shape_count(in) == in->dim[1] && !o->running)
        return LK_FAIL(LK_E_CONFIG,
            "%s: layer %s (batch_norm): a microbatch of 1 row has 1 value a channel, and no variance; raise "
            "train.batch "
            "or lower train.microbatches",
            l->where, l->name);
    out->batch_norm = (lk_attr_batch_norm){.eps = o->eps, .momentum = o->momentum, .running = o->running};
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

typedef struct adaptive_opts {
    LKI_LAYER_MEMBERS;
    lk_ints size;
} adaptive_opts;

static const lk_field adaptive_rows[] = {
    LK_FIELD(adaptive_opts, size, LK_T_INTS, .min = 1, .max = 1e9, .help = "Size of the output: one number, or one for each axis."),
    LKI_LAYER_ROWS(adaptive_opts),
};
static const lk_table adaptive_avg_pool_table = LK_TABLE(adaptive_opts, "adaptive_avg_pool",
    "The mean under windows that divide the input, of one to three axes, into so many. `adaptive_avg_pool: 7` is short for "
    "`adaptive_avg_pool: {size: 7}`.",
    adaptive_rows);

/* Sizes of each axis of the input; what is wrong with an input that has none or too many, the operation says. */
static lk_status all_sides(const lki_layer *l, const char *option, const lk_ints *given, const lk_shape *in, int64_t *out)
{
    return lk_shape_spatial(in) ? lki_sides(l, option, given, in->ndim - 2, out) : LK_OK;
}

static lk_status adaptive_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    out->resize = (lk_attr_resize){0};
    return all_sides(l, "size", &LKI_OPTS(l, adaptive_opts)->size, in, out->resize.size);
}

const lki_layer_kind lki_layer_adaptive_avg_pool = {.table = &adaptive_avg_pool_table,
    .short_form = "size",
    .input = LKI_INPUT_IMAGE,
    .op = LK_OP_ADAPTIVE_AVG_POOL,
    .attrs = adaptive_attrs};

typedef struct global_pool_opts {
    LKI_LAYER_MEMBERS;
    int kind;
} global_pool_opts;

static const lk_field global_pool_rows[] = {
    LK_FIELD(global_pool_opts, kind, LK_T_ENUM, .def = "mean", .choices = "mean|max", .help = "The mean, or the largest."),
    LKI_LAYER_ROWS(global_pool_opts),
};
static const lk_table global_pool_table = LK_TABLE(global_pool_opts, "global_pool",
    "One number for each channel, over all its places: [channels, height, width] (or one axis, or three) becomes [channels]. "
    "`global_pool: max` is short for `global_pool: {kind: max}`.",
    global_pool_rows);

static lk_status build_global_pool(lki_builder *b, const lki_layer *l, int *value)
{
    const bool max = LKI_OPTS(l, global_pool_opts)->kind == 1;
    const lk_node_def def = {.name = l->name,
        .where = l->where,
        .op = max ? LK_OP_GLOBAL_MAX_POOL : LK_OP_GLOBAL_AVG_POOL,
        .in = {*value}};

    return lki_add_node(b, l, &def, value);
}

const lki_layer_kind lki_layer_global_pool = {
    .table = &global_pool_table, .short_form = "kind", .input = LKI_INPUT_IMAGE, .build = build_global_pool};

/* ---- upsampling ---- */
typedef struct upsample_opts {
    LKI_LAYER_MEMBERS;
    lk_ints factor;
    int mode;
} upsample_opts;

static const lk_field upsample_rows[] = {
    LK_FIELD(upsample_opts, factor, LK_T_INTS, .min = 1, .max = 1e9,
        .help = "How many times as large the output is: one number, or one for each axis."),
    LK_FIELD(upsample_opts, mode, LK_T_ENUM, .def = "nearest", .choices = "nearest|bilinear",
        .help = "The nearest place, or linear between the two nearest along each axis (corners not aligned)."),
    LKI_LAYER_ROWS(upsample_opts),
};
static const lk_table upsample_table = LK_TABLE(upsample_opts, "upsample",
    "Enlarges one to three axes. `upsample: 2` is short for `upsample: {factor: 2}`.", upsample_rows);

static lk_status upsample_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const upsample_opts *o = LKI_OPTS(l, upsample_opts);

    out->resize = (lk_attr_resize){.linear = o->mode == 1};
    return all_sides(l, "factor", &o->factor, in, out->resize.factor);
}

const lki_layer_kind lki_layer_upsample = {.table = &upsample_table,
    .short_form = "factor",
    .input = LKI_INPUT_IMAGE,
    .op = LK_OP_UPSAMPLE,
    .attrs = upsample_attrs};
