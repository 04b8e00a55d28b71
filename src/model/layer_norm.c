/* Layers that normalize within a sample. */
#include "model/layer.h"

#define EPS_ROW(type_, def_) \
    LK_FIELD(type_, eps, LK_T_REAL, .def = def_, .min = 0, .max = 1, .exclusive_min = true, .help = "Added to the variance.")

/* ---- layer_norm ---- */
typedef struct layer_norm_opts {
    LKI_LAYER_MEMBERS;
    double eps;
    bool bias;
} layer_norm_opts;

static const lk_field layer_norm_rows[] = {
    EPS_ROW(layer_norm_opts, "1e-5"),
    LK_FIELD(layer_norm_opts, bias, LK_T_BOOL, .def = "true", .help = "Adds a learned number to each output."),
    LKI_LAYER_ROWS(layer_norm_opts),
};
static const lk_table layer_norm_table = LK_TABLE(layer_norm_opts, "layer_norm",
    "Each vector along the last dimension to mean 0 and variance 1, then scaled and shifted by learned numbers.",
    layer_norm_rows);

static lk_status layer_norm_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->norm = (lk_attr_norm){.eps = LKI_OPTS(l, layer_norm_opts)->eps, .bias = LKI_OPTS(l, layer_norm_opts)->bias};
    return LK_OK;
}

const lki_layer_kind lki_layer_layer_norm = {
    .table = &layer_norm_table, .input = LKI_INPUT_ROWS, .op = LK_OP_LAYER_NORM, .attrs = layer_norm_attrs};

/* ---- rms_norm, instance_norm ---- */
typedef struct eps_opts {
    LKI_LAYER_MEMBERS;
    double eps;
} eps_opts;

static const lk_field rms_norm_rows[] = {
    LK_FIELD(eps_opts, eps, LK_T_REAL, .def = "1e-6", .min = 0, .max = 1, .exclusive_min = true,
        .help = "Added to the mean square."),
    LKI_LAYER_ROWS(eps_opts),
};
static const lk_table rms_norm_table = LK_TABLE(eps_opts, "rms_norm",
    "Each vector along the last dimension to mean square 1, then scaled by learned numbers.", rms_norm_rows);

static lk_status rms_norm_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->norm = (lk_attr_norm){.eps = LKI_OPTS(l, eps_opts)->eps};
    return LK_OK;
}

const lki_layer_kind lki_layer_rms_norm = {
    .table = &rms_norm_table, .input = LKI_INPUT_ROWS, .op = LK_OP_RMS_NORM, .attrs = rms_norm_attrs};

static const lk_field instance_norm_rows[] = {
    EPS_ROW(eps_opts, "1e-5"),
    LKI_LAYER_ROWS(eps_opts),
};
static const lk_table instance_norm_table = LK_TABLE(eps_opts, "instance_norm",
    "Each channel of each sample of [channels, ...] to mean 0 and variance 1, then scaled and shifted by learned numbers.",
    instance_norm_rows);

static lk_status instance_norm_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    out->norm = (lk_attr_norm){.eps = LKI_OPTS(l, eps_opts)->eps, .groups = in->ndim > 1 ? in->dim[1] : 1};
    return LK_OK;
}

const lki_layer_kind lki_layer_instance_norm = {
    .table = &instance_norm_table, .op = LK_OP_GROUP_NORM, .attrs = instance_norm_attrs};

/* ---- group_norm ---- */
typedef struct group_norm_opts {
    LKI_LAYER_MEMBERS;
    int64_t groups;
    double eps;
} group_norm_opts;

static const lk_field group_norm_rows[] = {
    LK_FIELD(group_norm_opts, groups, LK_T_INT, .min = 1, .max = 1e9,
        .help = "Groups of neighbouring channels; divides their number."),
    EPS_ROW(group_norm_opts, "1e-5"),
    LKI_LAYER_ROWS(group_norm_opts),
};
static const lk_table group_norm_table = LK_TABLE(group_norm_opts, "group_norm",
    "Each group of channels of each sample of [channels, ...] to mean 0 and variance 1, then each channel scaled and "
    "shifted by learned numbers. `group_norm: 8` is short for `group_norm: {groups: 8}`.",
    group_norm_rows);

static lk_status group_norm_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->norm = (lk_attr_norm){.eps = LKI_OPTS(l, group_norm_opts)->eps, .groups = LKI_OPTS(l, group_norm_opts)->groups};
    return LK_OK;
}

const lki_layer_kind lki_layer_group_norm = {
    .table = &group_norm_table, .short_form = "groups", .op = LK_OP_GROUP_NORM, .attrs = group_norm_attrs};
