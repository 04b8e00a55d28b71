/* The tables of operations and optimizers, arithmetic on shapes, and the rules that operations share. */
#include "kern/kern.h"
#include "base/hash.h"
#include "kern/formula.h"
#include "kern/kern_int.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Kernels, strides and paddings up to this: sums of them and of a checked dimension stay far from overflow. */
#define WINDOW_MAX (INT64_C(1) << 30)

static const lk_opinfo *const ops[LK_OP_COUNT] = {
#define X(NAME, name) [LK_OP_##NAME] = &lk_op_##name,
    LK_OP_LIST(X)
#undef X
};

static const lk_opt_info opt_sgd = {.name = "sgd", .n_state = 1, .state = {"momentum_buffer"}};
static const lk_opt_info opt_adamw = {.name = "adamw", .n_state = 2, .state = {"exp_avg", "exp_avg_sq"}};
static const lk_opt_info opt_adam = {.name = "adam", .n_state = 2, .state = {"exp_avg", "exp_avg_sq"}};
static const lk_opt_info opt_rmsprop = {.name = "rmsprop", .n_state = 2, .state = {"square_avg", "momentum_buffer"}};
static const lk_opt_info opt_adagrad = {.name = "adagrad", .n_state = 1, .state = {"sum"}};
static const lk_opt_info opt_lion = {.name = "lion", .n_state = 1, .state = {"exp_avg"}};
static const lk_opt_info opt_lars = {.name = "lars", .n_state = 1, .state = {"momentum_buffer"}, .whole = true};
static const lk_opt_info opt_lamb = {.name = "lamb", .n_state = 2, .state = {"exp_avg", "exp_avg_sq"}, .whole = true};
static const lk_opt_info opt_muon = {.name = "muon", .n_state = 2, .state = {"exp_avg", "exp_avg_sq"}, .whole = true};

static const lk_opt_info *const opts[LK_OPT_COUNT] = {
#define X(NAME, name) [LK_OPT_##NAME] = &opt_##name,
    LK_OPT_LIST(X)
#undef X
};

const lk_opinfo *lk_op_info(lk_op op)
{
    LK_BUG_IF((unsigned)op >= LK_OP_COUNT, "operation %d of %d", (int)op, (int)LK_OP_COUNT);
    return ops[op];
}

const lk_opt_info *lk_opt_get(lk_opt opt)
{
    LK_BUG_IF((unsigned)opt >= LK_OPT_COUNT, "optimizer %d of %d", (int)opt, (int)LK_OPT_COUNT);
    return opts[opt];
}

const char *lk_act_name(lk_act act)
{
    static const char *const name[LK_ACT_COUNT] = {
        "", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "softplus"};
    LK_BUG_IF((unsigned)act >= LK_ACT_COUNT, "activation %d of %d", (int)act, (int)LK_ACT_COUNT);
    return name[act];
}

size_t lk_opt_scratch(lk_opt opt, const lk_shape *shape, size_t real_size)
{
    if ((opt == LK_OPT_LARS || opt == LK_OPT_LAMB) && shape->ndim >= 2)
        return LKI_NORM_BYTES;
    if (opt != LK_OPT_MUON || shape->ndim != 2)
        return 0;
    return 2 * lki_muon_bytes(shape->dim[0], shape->dim[1], real_size) +
           2 * lki_muon_bytes(lki_muon_side(shape), lki_muon_side(shape), real_size) + LKI_NORM_BYTES;
}

/* ---- shapes ---- */
int64_t lk_shape_count(const lk_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->ndim; i++)
        n *= s->dim[i];
    return n;
}

int64_t lk_shape_row(const lk_shape *s)
{
    int64_t n = 1;
    for (int i = 1; i < s->ndim; i++)
        n *= s->dim[i];
    return n;
}

int64_t lk_shape_pitched(const lk_shape *s, int64_t pitch)
{
    return pitch == 0 ? lk_shape_count(s) : lk_shape_count(s) / s->dim[s->ndim - 1] * pitch;
}

bool lk_shape_equal(const lk_shape *a, const lk_shape *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

bool lk_shape_spatial(const lk_shape *s)
{
    return s->ndim >= 3 && s->ndim <= 2 + LK_MAX_AXES;
}

const char *lk_shape_print(const lk_shape *s, char text[LK_SHAPE_TEXT])
{
    /* '[', six numbers of at most 20 characters, five commas, ']' and the end: 128. */
    size_t at = 0;
    text[at++] = '[';
    for (int i = 0; i < s->ndim && i < LK_MAX_DIMS; i++)
        at += (size_t)snprintf(text + at, LK_SHAPE_TEXT - at, "%s%" PRId64, i ? "," : "", s->dim[i]);
    text[at++] = ']';
    text[at] = 0;
    return text;
}

lk_status lk_shape_check(const lk_shape *s, const char *what)
{
    char text[LK_SHAPE_TEXT];
    if (s->ndim < 1 || s->ndim > LK_MAX_DIMS)
        return LK_FAIL(
            LK_E_SHAPE, "%s has %d dimensions, at least 1 and at most %d are possible", what, s->ndim, LK_MAX_DIMS);
    int64_t n = 1;
    for (int i = 0; i < s->ndim; i++) {
        if (s->dim[i] < 1)
            return LK_FAIL(LK_E_SHAPE, "%s %s: dimension %d is %" PRId64 ", must be at least 1", what,
                lk_shape_print(s, text), i, s->dim[i]);
        if (__builtin_mul_overflow(n, s->dim[i], &n) || n >= INT64_C(1) << 62)
            return LK_FAIL(LK_E_SHAPE, "%s %s: more elements than can be counted", what, lk_shape_print(s, text));
    }
    return LK_OK;
}

int64_t lki_shape_last(const lk_shape *s)
{
    return s->dim[s->ndim - 1];
}

int64_t lki_shape_lead(const lk_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->ndim - 1; i++)
        n *= s->dim[i];
    return n;
}

int64_t lki_shape_area(const lk_shape *s)
{
    int64_t n = 1;
    for (int i = 2; i < s->ndim; i++)
        n *= s->dim[i];
    return n;
}

void lki_axes(const lk_shape *s, const int64_t v[LK_MAX_AXES], int64_t fill, int64_t out[LK_MAX_AXES])
{
    const int axes = s->ndim - 2;
    for (int i = 0; i < LK_MAX_AXES; i++)
        out[i] = i < LK_MAX_AXES - axes ? fill : v[i - (LK_MAX_AXES - axes)];
}

void lki_axes_size(const lk_shape *s, int64_t out[LK_MAX_AXES])
{
    lki_axes(s, s->dim + 2, 1, out);
}

/* ---- draws and data ---- */
lk_rng lki_dropout_stream(const lk_opspec *s, const lk_micro *m)
{
    const uint64_t id[2] = {s->key, (uint64_t)m->step};
    return lk_rng_make(m->seed, LK_RNG_DROPOUT, lk_hash64(id, sizeof id));
}

int64_t lki_dropout_units(const lk_opspec *s)
{
    switch (s->attr.dropout.unit) {
    case LK_DROP_CHANNEL:
        return s->in[0].dim[1];
    case LK_DROP_SAMPLE:
        return 1;
    default:
        return lk_shape_row(&s->in[0]);
    }
}

uint64_t lki_dropout_limit(double rate)
{
    return (uint64_t)ceil(rate * 0x1p32); /* for whole w: w < r iff w < ceil(r) */
}

lk_rng lki_noise_stream(const lk_opspec *s, const lk_micro *m)
{
    const uint64_t id[2] = {s->key, (uint64_t)m->step};
    return lk_rng_make(m->seed, LK_RNG_NOISE, lk_hash64(id, sizeof id));
}

lk_status lki_target_fail(const lk_micro *m, int64_t row, double target)
{
    return LK_FAIL(LK_E_DATA, "sample %" PRId64 ": target %g is outside [0, 1]", m->sample[row], target);
}

lk_status lki_class_fail(const lk_micro *m, int64_t row, int64_t id, int64_t classes)
{
    return LK_FAIL(
        LK_E_DATA, "sample %" PRId64 ": class id %" PRId64 " is outside [0, %" PRId64 ")", m->sample[row], id, classes);
}

lk_status lki_id_fail(const lk_micro *m, int64_t row, int64_t id, int64_t size)
{
    return LK_FAIL(
        LK_E_DATA, "sample %" PRId64 ": id %" PRId64 " is outside [0, %" PRId64 ")", m->sample[row], id, size);
}

const char *lk_precision_name(lk_precision p)
{
    static const char *const names[LK_PRECISIONS] = {"fp32", "tf32", "bf16", "fp16"};

    return names[p];
}

lk_status lki_length_fail(const lk_micro *m, int64_t row, int64_t length, int64_t most)
{
    return LK_FAIL(
        LK_E_DATA, "sample %" PRId64 ": length %" PRId64 " is outside [0, %" PRId64 "]", m->sample[row], length, most);
}

lk_status lk_fault_status(const lk_micro *m, const int64_t fault[LK_FAULT_WORDS])
{
    const int64_t row = fault[LK_FAULT_ROW], value = fault[LK_FAULT_VALUE], limit = fault[LK_FAULT_LIMIT];
    double target;

    switch ((lk_fault)fault[LK_FAULT_KIND]) {
    case LK_FAULT_NONE:
        break;
    case LK_FAULT_CLASS:
        return lki_class_fail(m, row, value, limit);
    case LK_FAULT_ID:
        return lki_id_fail(m, row, value, limit);
    case LK_FAULT_TARGET:
        memcpy(&target, &value, sizeof target);
        return lki_target_fail(m, row, target);
    case LK_FAULT_LENGTH:
        return lki_length_fail(m, row, value, limit);
    }
    return LK_OK;
}

double lki_perturbed(const lk_perturb *p, double g, int64_t i)
{
    const double noise = p->deviation > 0 ? p->deviation * lk_rng_normal_row(p->rng, p->row, p->first + (uint64_t)i) : 0;

    g *= p->scale;
    if (p->clip > 0) /* NaN stays NaN */
        g = g > p->clip ? p->clip : g < -p->clip ? -p->clip : g;
    return g + noise;
}

double lki_statistic_weight(double momentum, int64_t after)
{
    return momentum * pow(1.0 - momentum, (double)after);
}

double lki_sinusoid(int64_t t, int64_t c, int64_t units)
{
    const double angle = (double)t * pow(10000, -(double)(c - c % 2) / (double)units);
    return c % 2 ? cos(angle) : sin(angle);
}

lk_status lki_lengths(const lk_call *c, int i, int64_t steps, int64_t *length, int64_t *longest)
{
    const lk_micro *const m = c->micro;
    const int64_t *const given = c->spec->n_in > i ? c->x[i] : NULL;
    *longest = 0;
    for (int64_t b = 0; b < m->rows; b++) {
        length[b] = b >= m->valid ? 0 : given ? given[b] : steps;
        if (length[b] < 0 || length[b] > steps)
            return lki_length_fail(m, b, length[b], steps);
        if (length[b] > *longest)
            *longest = length[b];
    }
    return LK_OK;
}

/* ---- rules ---- */
static lk_status count_check(const lk_opspec *s)
{
    const int least = lk_op_info(s->op)->n_in, most = least + lk_op_info(s->op)->n_optional;
    if (s->n_in < least || s->n_in > most)
        return LK_FAIL(LK_E_SHAPE, "takes %s%d input%s, got %d",
            s->n_in < least && least < most ? "at least "
            : least < most                  ? "at most "
                                            : "",
            s->n_in < least ? least : most, (s->n_in < least ? least : most) == 1 ? "" : "s", s->n_in);
    return LK_OK;
}

static lk_status dimensions_check(const lk_shape *in, const char *what, int low, int high, const char *form)
{
    char text[LK_SHAPE_TEXT];
    LK_TRY(lk_shape_check(in, what));
    if (in->ndim < low || in->ndim > high)
        return LK_FAIL(LK_E_SHAPE, "%s %s has %d dimension%s, expected %s", what, lk_shape_print(in, text), in->ndim,
            in->ndim == 1 ? "" : "s", form);
    return LK_OK;
}

lk_status lki_input_check(const lk_opspec *s, int i, int low, int high, const char *form)
{
    char text[LK_SHAPE_TEXT];
    LK_TRY(count_check(s));
    LK_TRY(dimensions_check(&s->in[i], "input", low, high, form));
    if (s->in_dtype[i] != LK_DT_REAL)
        return LK_FAIL(LK_E_SHAPE, "input %s holds whole numbers (class ids), expected real numbers",
            lk_shape_print(&s->in[i], text));
    return LK_OK;
}

lk_status lki_residual_check(const lk_opspec *s, int low, const char *form)
{
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    for (int i = 0; i < s->n_in; i++)
        LK_TRY(lki_input_check(s, i, low, LK_MAX_DIMS, form));
    if (s->n_in > 1 && !lk_shape_equal(&s->in[0], &s->in[1]))
        return LK_FAIL(LK_E_SHAPE, "cannot add %s and %s: shapes must be equal", lk_shape_print(&s->in[0], a), lk_shape_print(&s->in[1], b));
    return LK_OK;
}

lk_status lki_ids_check(const lk_opspec *s, int i, int low, int high, const char *what, const char *form)
{
    char text[LK_SHAPE_TEXT];
    LK_TRY(count_check(s));
    LK_TRY(dimensions_check(&s->in[i], what, low, high, form));
    if (s->in_dtype[i] != LK_DT_I64)
        return LK_FAIL(
            LK_E_SHAPE, "%s %s holds real numbers, expected whole numbers", what, lk_shape_print(&s->in[i], text));
    return LK_OK;
}

lk_status lki_act_check(lk_act act, double alpha, bool any)
{
    LK_BUG_IF((unsigned)act >= LK_ACT_COUNT, "activation %d of %d", (int)act, (int)LK_ACT_COUNT);
    if (act != LK_ACT_NONE && act != LK_ACT_RELU && !any)
        return LK_FAIL(LK_E_UNSUPPORTED, "%s cannot be fused behind this operation", lk_act_name(act));
    /* Below 0 the sign of the output would no longer tell that of the input. */
    if ((act == LK_ACT_LEAKY_RELU || act == LK_ACT_ELU) && !(alpha >= 0 && alpha <= 1e6))
        return LK_FAIL(LK_E_RANGE, "%s: alpha is %g, must be in [0, 1e6]", lk_act_name(act), alpha);
    return LK_OK;
}

bool lki_act_by_output(lk_act act)
{
    return lki_formula_by_output(act);
}

unsigned lki_act_needs(lk_act act)
{
    return act != LK_ACT_NONE && lki_act_by_output(act) ? LK_NEEDS_Y : 0u;
}

double lki_act_flops(lk_act act)
{
    static const double flops[LK_ACT_COUNT] = {
        [LK_ACT_LEAKY_RELU] = 1,
        [LK_ACT_ELU] = 3,
        [LK_ACT_GELU] = 5,
        [LK_ACT_GELU_TANH] = 8,
        [LK_ACT_SILU] = 4,
        [LK_ACT_SIGMOID] = 3,
        [LK_ACT_TANH] = 1,
        [LK_ACT_SOFTPLUS] = 3,
    };
    return flops[act];
}

lk_status lki_axis_check(const lk_shape *in, int axis)
{
    char text[LK_SHAPE_TEXT];
    if (axis < 1 || axis >= in->ndim)
        return LK_FAIL(LK_E_SHAPE, "input %s: axis %d is not one of 1 to %d", lk_shape_print(in, text), axis, in->ndim - 1);
    return LK_OK;
}

lk_status lki_length(const lk_call *c, int64_t row, int64_t *out)
{
    const int64_t size = c->spec->in[0].dim[1];
    *out = size;
    if (c->spec->n_in < 2 || row >= c->micro->valid)
        return LK_OK;
    *out = ((const int64_t *)c->x[1])[row];
    if (*out < 0 || *out > size)
        return lki_length_fail(c->micro, row, *out, size);
    return LK_OK;
}

lk_status lki_param_add(lk_opspec *s, lk_param_info p)
{
    LK_BUG_IF(s->n_params >= LK_MAX_PARAMS, "more than %d parameters", LK_MAX_PARAMS);
    LK_TRY(lk_shape_check(&p.shape, p.suffix));
    s->param[s->n_params++] = p;
    return LK_OK;
}

const char *lki_axis_name(int ndim, int axis)
{
    static const char *const names[LK_MAX_AXES] = {"depth", "height", "width"};
    return ndim == 3 ? "length" : names[axis - 2 + LK_MAX_AXES - (ndim - 2)];
}

lk_status lki_window_count(const lk_shape *in, int axis, int64_t kernel, int64_t stride, int64_t dilation,
    int64_t before, int64_t after, int64_t *out)
{
    const char *const side = lki_axis_name(in->ndim, axis);
    char text[LK_SHAPE_TEXT], apart[64] = "";
    if (kernel < 1 || kernel > WINDOW_MAX || stride < 1 || stride > WINDOW_MAX)
        return LK_FAIL(LK_E_RANGE, "kernel %s %" PRId64 " and stride %" PRId64 " must be at least 1 (and below 2^30)",
            side, kernel, stride);
    if (dilation < 1 || dilation > WINDOW_MAX)
        return LK_FAIL(
            LK_E_RANGE, "dilation %" PRId64 " of the %s must be at least 1 (and below 2^30)", dilation, side);
    if (before < 0 || before > WINDOW_MAX || after < 0 || after > WINDOW_MAX)
        return LK_FAIL(LK_E_RANGE,
            "padding %" PRId64 " and %" PRId64 " of the %s must not be negative (and below 2^30)", before, after, side);
    const int64_t room = in->dim[axis] + before + after, reach = (kernel - 1) * dilation + 1;
    if (dilation > 1)
        snprintf(apart, sizeof apart, " with dilation %" PRId64, dilation);
    if (room < reach)
        return LK_FAIL(LK_E_SHAPE,
            "input %s: kernel %s %" PRId64 "%s is larger than the input's %" PRId64 " with padding %" PRId64
            " + %" PRId64,
            lk_shape_print(in, text), side, kernel, apart, in->dim[axis], before, after);
    *out = (room - reach) / stride + 1;
    return LK_OK;
}

lk_status lki_groups_check(lk_attr_conv *a, int64_t channels)
{
    if (a->filters < 1)
        return LK_FAIL(LK_E_RANGE, "filters is %" PRId64 ", must be at least 1", a->filters);
    a->groups = a->groups == 0 ? 1 : a->groups;
    if (a->groups < 1 || channels % a->groups != 0 || a->filters % a->groups != 0)
        return LK_FAIL(LK_E_RANGE,
            "groups is %" PRId64 ", must be at least 1 and divide the input's %" PRId64 " channels and the %" PRId64
            " filters",
            a->groups, channels, a->filters);
    return LK_OK;
}

/* First values as PyTorch's. */
lk_status lki_conv_params(lk_opspec *s, const lk_shape *weight)
{
    LK_TRY(lk_shape_check(weight, "weight"));
    const double bound = 1 / sqrt((double)lk_shape_row(weight));
    s->n_params = 0;
    LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "weight",
                                .shape = *weight,
                                .kind = LK_PARAM_WEIGHT,
                                .init = LK_INIT_UNIFORM,
                                .value = bound}));
    if (s->attr.conv.bias)
        LK_TRY(lki_param_add(s, (lk_param_info){.suffix = "bias",
                                    .shape = {1, {s->attr.conv.filters}},
                                    .kind = LK_PARAM_WEIGHT,
                                    .init = LK_INIT_UNIFORM,
                                    .value = bound}));
    return LK_OK;
}

lk_status lki_pool_infer(lk_opspec *s)
{
    const lk_attr_pool *const a = &s->attr.pool;
    LK_TRY(lki_input_check(s, 0, 3, 5, LKI_SPATIAL_FORM));
    s->n_params = 0;
    s->out = s->in[0];
    for (int i = 0; i < s->in[0].ndim - 2; i++) {
        LK_TRY(lki_window_count(
            &s->in[0], 2 + i, a->kernel[i], a->stride[i], 1, a->pad[i], a->pad[i], &s->out.dim[2 + i]));
        /* So that every window holds at least one element of the input. */
        if (a->pad[i] >= a->kernel[i])
            return LK_FAIL(
                LK_E_RANGE, "padding %" PRId64 " must be smaller than the kernel's %" PRId64, a->pad[i], a->kernel[i]);
    }
    return lk_shape_check(&s->out, "output");
}

lk_status lki_lengths_check(const lk_opspec *s, int i)
{
    if (s->n_in <= i)
        return LK_OK;
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];
    LK_TRY(lk_shape_check(&s->in[i], "lengths"));
    if (s->in_dtype[i] != LK_DT_I64)
        return LK_FAIL(LK_E_SHAPE, "lengths %s hold real numbers, expected one whole number a sample",
            lk_shape_print(&s->in[i], a));
    if (s->in[i].ndim != 1 || s->in[i].dim[0] != s->in[0].dim[0])
        return LK_FAIL(LK_E_SHAPE, "input %s and lengths %s do not fit: there must be one length a sample",
            lk_shape_print(&s->in[0], a), lk_shape_print(&s->in[i], b));
    return LK_OK;
}

/* torch.nn.LSTM, GRU, RNN: weight_ih [gates units, channels], weight_hh [gates units, units], two biases, all uniform in
 * 1 / sqrt(units). */
lk_status lki_recurrent_infer(lk_opspec *s, int gates)
{
    const lk_attr_recurrent *const a = &s->attr.recurrent;
    LK_TRY(lki_input_check(s, 0, 3, 3, "[batch, steps, channels]"));
    LK_TRY(lki_lengths_check(s, 1));
    if (a->units < 1 || a->units > INT64_C(1) << 30)
        return LK_FAIL(LK_E_RANGE, "units is %" PRId64 ", must be at least 1 (and at most 2^30)", a->units);
    if (a->layer < 0 || a->layer > 999)
        return LK_FAIL(LK_E_RANGE, "layer is %d, must be in [0, 999]", a->layer);
    if (a->carry && a->reverse)
        return LK_FAIL(LK_E_RANGE, "the backward direction starts at the end of a sequence: it cannot carry its state on");
    s->out = s->in[0];
    s->out.dim[2] = a->units;
    LK_TRY(lk_shape_check(&s->out, "output"));

    const int64_t rows = gates * a->units;
    const struct {
        const char *name;
        lk_shape shape;
    } param[] = {
        {"weight_ih", {2, {rows, s->in[0].dim[2]}}},
        {"weight_hh", {2, {rows, a->units}}},
        {"bias_ih", {1, {rows}}},
        {"bias_hh", {1, {rows}}},
    };
    s->n_params = 0;
    for (size_t i = 0; i < sizeof param / sizeof param[0]; i++) {
        lk_param_info p = {.shape = param[i].shape,
            .kind = LK_PARAM_WEIGHT,
            .init = LK_INIT_UNIFORM,
            .value = 1 / sqrt((double)a->units)};
        snprintf(p.suffix, sizeof p.suffix, "%s_l%d%s", param[i].name, a->layer, a->reverse ? "_reverse" : "");
        LK_TRY(lki_param_add(s, p));
    }
    return LK_OK;
}

double lki_recurrent_flops(const lk_opspec *s)
{
    const double steps = (double)s->in[0].dim[0] * (double)s->in[0].dim[1];
    return 2 * steps * (double)(lk_shape_count(&s->param[0].shape) + lk_shape_count(&s->param[1].shape));
}

lk_status lki_same_infer(lk_opspec *s)
{
    LK_TRY(lki_input_check(s, 0, 1, LK_MAX_DIMS, "[batch, ...]"));
    s->n_params = 0;
    s->out = s->in[0];
    return LK_OK;
}

lk_status lki_loss_infer(lk_opspec *s, const double *scale)
{
    if (scale && !(*scale >= 0 && *scale < INFINITY))
        return LK_FAIL(LK_E_RANGE, "scale is %g, must be above 0", *scale);
    s->n_params = 0;
    s->out = (lk_shape){1, {1}};
    return LK_OK;
}

lk_status lki_pair_loss_infer(lk_opspec *s, const double *scale, const char *a, const char *b)
{
    char x[LK_SHAPE_TEXT], t[LK_SHAPE_TEXT];
    for (int i = 0; i < 2; i++)
        LK_TRY(lki_input_check(s, i, 1, LK_MAX_DIMS, "[batch, ...]"));
    if (!lk_shape_equal(&s->in[0], &s->in[1]))
        return LK_FAIL(LK_E_SHAPE, "%s %s and %s %s do not fit: shapes must be equal", a,
            lk_shape_print(&s->in[0], x), b, lk_shape_print(&s->in[1], t));
    return lki_loss_infer(s, scale);
}

unsigned lki_needs_none(const lk_opspec *s)
{
    (void)s;
    return 0;
}

unsigned lki_needs_sum(const lk_opspec *s)
{
    return s->n_in > 1 ? LK_NEEDS_SUM : LK_NEEDS_IN(0);
}

unsigned lki_needs_x(const lk_opspec *s)
{
    (void)s;
    return LK_NEEDS_X;
}

unsigned lki_needs_y(const lk_opspec *s)
{
    (void)s;
    return LK_NEEDS_Y;
}

double lki_flops_none(const lk_opspec *s)
{
    (void)s;
    return 0;
}
