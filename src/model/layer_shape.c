/* Layers that change the shape of a sample, or take parts and sums of it. The dimensions of a sample are counted from 1:
 * 0 are the rows, which no layer touches. */
#include "model/layer.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- reshape ---- */
typedef struct reshape_opts {
    LKI_LAYER_MEMBERS;
    lk_ints to;
} reshape_opts;

static const lk_field reshape_rows[] = {
    LK_FIELD(reshape_opts, to, LK_T_INTS, .min = -1, .max = 1e9,
        .help = "Sizes of a sample; one of them may be -1: what is left over."),
    LKI_LAYER_ROWS(reshape_opts),
};
static const lk_table reshape_table = LK_TABLE(reshape_opts, "reshape",
    "The elements of a sample, in their order, in another shape. `reshape: [4, -1]` is short for `reshape: {to: [4, -1]}`.",
    reshape_rows);

static lk_status reshape_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const lk_ints *to = &LKI_OPTS(l, reshape_opts)->to;
    lk_shape *s = &out->reshape.sample;
    int64_t known = 1;
    int open = -1;
    char text[160];

    if (to->n >= LK_MAX_DIMS) {
        snprintf(text, sizeof text, "%d sizes, at most %d are possible", to->n, LK_MAX_DIMS - 1);
        return lki_option_fail(l, "to", text);
    }
    *s = (lk_shape){.ndim = to->n};
    for (int i = 0; i < to->n; i++) {
        s->dim[i] = to->item[i];
        if (to->item[i] == 0 || (to->item[i] < 0 && open >= 0))
            return lki_option_fail(l, "to", "sizes must be at least 1, and -1 may stand once");
        if (to->item[i] < 0)
            open = i;
        else if (__builtin_mul_overflow(known, to->item[i], &known))
            return lki_option_fail(l, "to", "more elements than can be counted");
    }
    if (open < 0)
        return LK_OK;
    const int64_t row = lk_shape_row(in);
    if (row % known != 0) {
        snprintf(text, sizeof text, "%" PRId64 " elements a sample are no multiple of %" PRId64, row, known);
        return lki_option_fail(l, "to", text);
    }
    s->dim[open] = row / known;
    return LK_OK;
}

const lki_layer_kind lki_layer_reshape = {
    .table = &reshape_table, .short_form = "to", .input = LKI_INPUT_ROWS, .op = LK_OP_RESHAPE, .attrs = reshape_attrs};

/* ---- permute ---- */
typedef struct permute_opts {
    LKI_LAYER_MEMBERS;
    lk_ints order;
} permute_opts;

static const lk_field permute_rows[] = {
    LK_FIELD(permute_opts, order, LK_T_INTS, .min = 1, .max = LK_MAX_DIMS,
        .help = "The dimensions of a sample, counted from 1, in their new order."),
    LKI_LAYER_ROWS(permute_opts),
};
static const lk_table permute_table = LK_TABLE(permute_opts, "permute",
    "The dimensions of a sample in another order. `permute: [2, 1]` is short for `permute: {order: [2, 1]}`.",
    permute_rows);

static lk_status permute_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const lk_ints *order = &LKI_OPTS(l, permute_opts)->order;
    char text[96];

    if (order->n != in->ndim - 1) {
        snprintf(text, sizeof text, "a sample has %d dimensions, got %d", in->ndim - 1, order->n);
        return lki_option_fail(l, "order", text);
    }
    out->permute = (lk_attr_permute){0};
    for (int i = 0; i < order->n; i++)
        out->permute.order[1 + i] = (int)order->item[i];
    return LK_OK;
}

const lki_layer_kind lki_layer_permute = {
    .table = &permute_table, .short_form = "order", .input = LKI_INPUT_ROWS, .op = LK_OP_PERMUTE, .attrs = permute_attrs};

/* ---- pad ---- */
typedef struct pad_opts {
    LKI_LAYER_MEMBERS;
    lk_ints before, after;
    double value;
} pad_opts;

static const lk_field pad_rows[] = {
    LK_FIELD(pad_opts, before, LK_T_INTS, .def = "0", .min = 0, .max = 1e9,
        .help = "Places in front of each dimension of a sample, the first one first; fewer numbers: none of the others."),
    LK_FIELD(pad_opts, after, LK_T_INTS, .def = "0", .min = 0, .max = 1e9, .help = "Places behind them."),
    LK_FIELD(pad_opts, value, LK_T_REAL, .def = "0", .help = "What stands there."),
    LKI_LAYER_ROWS(pad_opts),
};
static const lk_table pad_table = LK_TABLE(pad_opts, "pad",
    "Puts a constant around a sample. Rows and columns of zeros around [channels, height, width]: `pad: {before: [0, 1, "
    "1], after: [0, 1, 1]}`.",
    pad_rows);

static lk_status pad_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const pad_opts *o = LKI_OPTS(l, pad_opts);
    const lk_ints *sides[2] = {&o->before, &o->after};
    char text[96];

    out->pad = (lk_attr_pad){.value = o->value};
    for (int k = 0; k < 2; k++) {
        if (sides[k]->n > in->ndim - 1) {
            snprintf(text, sizeof text, "a sample has %d dimensions, got %d", in->ndim - 1, sides[k]->n);
            return lki_option_fail(l, k == 0 ? "before" : "after", text);
        }
        for (int i = 0; i < sides[k]->n; i++)
            (k == 0 ? out->pad.before : out->pad.after)[1 + i] = sides[k]->item[i];
    }
    return LK_OK;
}

const lki_layer_kind lki_layer_pad = {.table = &pad_table, .input = LKI_INPUT_ROWS, .op = LK_OP_PAD, .attrs = pad_attrs};

/* ---- slice ---- */
typedef struct slice_opts {
    LKI_LAYER_MEMBERS;
    int64_t axis, start, length;
} slice_opts;

static const lk_field slice_rows[] = {
    LK_FIELD(slice_opts, axis, LK_T_INT, .def = "1", .min = 1, .max = LK_MAX_DIMS,
        .help = "Dimension of a sample, counted from 1."),
    LK_FIELD(slice_opts, start, LK_T_INT, .def = "0", .min = -1e15, .max = 1e15,
        .help = "First place; below 0: counted from the end, -1 the last."),
    LK_FIELD(slice_opts, length, LK_T_INT, .def = "0", .min = 0, .max = 1e15, .help = "Places; 0: all to the end."),
    LKI_LAYER_ROWS(slice_opts),
};
static const lk_table slice_table = LK_TABLE(slice_opts, "slice",
    "A run of places along a dimension of a sample. The last step of a sequence: `slice: {start: -1}`, and `flatten`.", slice_rows);

static lk_status slice_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    const slice_opts *o = LKI_OPTS(l, slice_opts);
    const int64_t size = o->axis < in->ndim ? in->dim[o->axis] : 0;
    const int64_t start = o->start < 0 ? size + o->start : o->start;

    out->axis = (lk_attr_axis){.axis = (int)o->axis, .start = start, .length = o->length > 0 ? o->length : size - start};
    return LK_OK;
}

const lki_layer_kind lki_layer_slice = {
    .table = &slice_table, .input = LKI_INPUT_ROWS, .op = LK_OP_SLICE, .attrs = slice_attrs};

/* ---- scale ---- */
typedef struct scale_opts {
    LKI_LAYER_MEMBERS;
    double by;
} scale_opts;

static const lk_field scale_rows[] = {
    LK_FIELD(scale_opts, by, LK_T_REAL, .help = "Factor."),
    LKI_LAYER_ROWS(scale_opts),
};
static const lk_table scale_table =
    LK_TABLE(scale_opts, "scale", "Times a constant. `scale: 0.5` is short for `scale: {by: 0.5}`.", scale_rows);

static lk_status scale_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->scale.factor = LKI_OPTS(l, scale_opts)->by;
    return LK_OK;
}

const lki_layer_kind lki_layer_scale = {
    .table = &scale_table, .short_form = "by", .op = LK_OP_SCALE, .attrs = scale_attrs};

/* ---- mean, sum ---- */
typedef struct reduce_opts {
    LKI_LAYER_MEMBERS;
    lk_ints axes;
    bool keep;
    char *lengths;
} reduce_opts;

static const lk_field reduce_rows[] = {
    LK_FIELD(reduce_opts, axes, LK_T_INTS, .min = 1, .max = LK_MAX_DIMS,
        .help = "Dimensions of a sample, counted from 1."),
    LK_FIELD(reduce_opts, keep, LK_T_BOOL, .def = "false", .help = "Keeps them with size 1."),
    LK_FIELD(reduce_opts, lengths, LK_T_STRING, .def = "",
        .help = "Field of the data with the number of places that count in dimension 1, from its start; unset: all."),
    LKI_LAYER_ROWS(reduce_opts),
};
static const lk_table mean_table = LK_TABLE(reduce_opts, "mean",
    "The mean over dimensions of a sample. `mean: 1` is short for `mean: {axes: 1}`: of a sequence [steps, features] the "
    "mean over the steps.",
    reduce_rows);
static const lk_table sum_table = LK_TABLE(reduce_opts, "sum",
    "The sum over dimensions of a sample. `sum: 1` is short for `sum: {axes: 1}`.", reduce_rows);

static lk_status build_reduce(lki_builder *b, const lki_layer *l, int *value)
{
    const reduce_opts *o = LKI_OPTS(l, reduce_opts);
    lk_node_def def = {.name = l->name, .where = l->where, .op = LK_OP_REDUCE, .in = {*value}};

    def.attr.reduce = (lk_attr_reduce){.mean = l->kind->table == &mean_table, .keep = o->keep};
    for (int i = 0; i < o->axes.n; i++)
        def.attr.reduce.axes |= 1u << o->axes.item[i];
    if (o->lengths != NULL) {
        LK_TRY(lki_find_value(b, l, "lengths", o->lengths, &def.in[1]));
        def.n_in = 2;
    }
    return lki_add_node(b, l, &def, value);
}

const lki_layer_kind lki_layer_mean = {
    .table = &mean_table, .short_form = "axes", .input = LKI_INPUT_ROWS, .build = build_reduce};
const lki_layer_kind lki_layer_sum = {
    .table = &sum_table, .short_form = "axes", .input = LKI_INPUT_ROWS, .build = build_reduce};
