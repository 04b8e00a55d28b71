/* Layers that are a function of one number. */
#include "model/layer.h"

/* A word without options. */
#define PLAIN(word, ACT, help_) \
    static const lk_field word##_rows[] = {LKI_LAYER_ROWS(lki_layer_opts)}; \
    static const lk_table word##_table = LK_TABLE(lki_layer_opts, #word, help_, word##_rows); \
    static lk_status word##_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out) \
    { \
        (void)l; \
        (void)in; \
        out->activation.act = LK_ACT_##ACT; \
        return LK_OK; \
    } \
    const lki_layer_kind lki_layer_##word = { \
        .table = &word##_table, .op = LK_OP_ACTIVATION, .attrs = word##_attrs};

PLAIN(relu, RELU, "max(x, 0).")
PLAIN(silu, SILU, "x sigmoid(x), also called swish.")
PLAIN(sigmoid, SIGMOID, "1 / (1 + e^-x).")
PLAIN(tanh, TANH, "Hyperbolic tangent.")
PLAIN(softplus, SOFTPLUS, "log(1 + e^x).")

/* ---- leaky_relu ---- */
typedef struct leaky_relu_opts {
    LKI_LAYER_MEMBERS;
    double slope;
} leaky_relu_opts;

static const lk_field leaky_relu_rows[] = {
    LK_FIELD(leaky_relu_opts, slope, LK_T_REAL, .def = "0.01", .min = 0, .max = 1e6, .help = "Factor below 0."),
    LKI_LAYER_ROWS(leaky_relu_opts),
};
static const lk_table leaky_relu_table = LK_TABLE(leaky_relu_opts, "leaky_relu",
    "x above 0, slope x below. `leaky_relu: 0.2` is short for `leaky_relu: {slope: 0.2}`.", leaky_relu_rows);

static lk_status leaky_relu_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->activation = (lk_attr_activation){LK_ACT_LEAKY_RELU, LKI_OPTS(l, leaky_relu_opts)->slope};
    return LK_OK;
}

const lki_layer_kind lki_layer_leaky_relu = {
    .table = &leaky_relu_table, .short_form = "slope", .op = LK_OP_ACTIVATION, .attrs = leaky_relu_attrs};

/* ---- elu ---- */
typedef struct elu_opts {
    LKI_LAYER_MEMBERS;
    double alpha;
} elu_opts;

static const lk_field elu_rows[] = {
    LK_FIELD(elu_opts, alpha, LK_T_REAL, .def = "1", .min = 0, .max = 1e6, .help = "Depth: the limit far below 0 is minus this."),
    LKI_LAYER_ROWS(elu_opts),
};
static const lk_table elu_table = LK_TABLE(
    elu_opts, "elu", "x above 0, alpha (e^x - 1) below. `elu: 0.5` is short for `elu: {alpha: 0.5}`.", elu_rows);

static lk_status elu_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->activation = (lk_attr_activation){LK_ACT_ELU, LKI_OPTS(l, elu_opts)->alpha};
    return LK_OK;
}

const lki_layer_kind lki_layer_elu = {
    .table = &elu_table, .short_form = "alpha", .op = LK_OP_ACTIVATION, .attrs = elu_attrs};

/* ---- gelu ---- */
typedef struct gelu_opts {
    LKI_LAYER_MEMBERS;
    int form;
} gelu_opts;

static const lk_field gelu_rows[] = {
    LK_FIELD(gelu_opts, form, LK_T_ENUM, .def = "erf", .choices = "erf|tanh", .help = "Exact, or by tanh."),
    LKI_LAYER_ROWS(gelu_opts),
};
static const lk_table gelu_table = LK_TABLE(gelu_opts, "gelu",
    "x times the normal distribution function at x. `gelu: tanh` is short for `gelu: {form: tanh}`.", gelu_rows);

static lk_status gelu_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out)
{
    (void)in;
    out->activation.act = LKI_OPTS(l, gelu_opts)->form == 1 ? LK_ACT_GELU_TANH : LK_ACT_GELU;
    return LK_OK;
}

const lki_layer_kind lki_layer_gelu = {
    .table = &gelu_table, .short_form = "form", .op = LK_OP_ACTIVATION, .attrs = gelu_attrs};

/* ---- softmax ---- */
static const lk_field softmax_rows[] = {LKI_LAYER_ROWS(lki_layer_opts)};
static const lk_table softmax_table = LK_TABLE(lki_layer_opts, "softmax",
    "Exponentials along the last dimension over their sum. Losses for classes do this themselves and take what comes in "
    "front of it.",
    softmax_rows);

const lki_layer_kind lki_layer_softmax = {.table = &softmax_table, .input = LKI_INPUT_ROWS, .op = LK_OP_SOFTMAX};

/* ---- gates: the first half of the last dimension times a function of the second ---- */
#define GATE(word, ACT, help_) \
    static const lk_field word##_rows[] = {LKI_LAYER_ROWS(lki_layer_opts)}; \
    static const lk_table word##_table = \
        LK_TABLE(lki_layer_opts, #word, help_ " Halves the last dimension.", word##_rows); \
    static lk_status word##_attrs(const lki_layer *l, const lk_shape *in, lk_attrs *out) \
    { \
        (void)l; \
        (void)in; \
        out->glu.act = LK_ACT_##ACT; \
        return LK_OK; \
    } \
    const lki_layer_kind lki_layer_##word = { \
        .table = &word##_table, .input = LKI_INPUT_ROWS, .op = LK_OP_GLU, .attrs = word##_attrs};

GATE(glu, SIGMOID, "The first half of the last dimension times the sigmoid of the second.")
GATE(swiglu, SILU, "The first half of the last dimension times the silu of the second.")
GATE(geglu, GELU, "The first half of the last dimension times the gelu of the second.")
