/* The reference backend: double precision in plain loops. Finite differences check it, and it checks the others. */
#include "kern/ref/ref_int.h"
#include <math.h>
#include <string.h>

#define CUBE 0.044715 /* of gelu's tanh form */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double ref_act(lk_act act, double alpha, double x)
{
    switch (act) {
    case LK_ACT_RELU:
        return ref_relu(x);
    case LK_ACT_LEAKY_RELU:
        return x <= 0 ? alpha * x : x;
    case LK_ACT_ELU:
        return x <= 0 ? alpha * expm1(x) : x;
    case LK_ACT_GELU:
        return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case LK_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + CUBE * x * x * x)));
    case LK_ACT_SILU:
        return x * sigmoid(x);
    case LK_ACT_SIGMOID:
        return sigmoid(x);
    case LK_ACT_TANH:
        return tanh(x);
    case LK_ACT_SOFTPLUS:
        return (x <= 0 ? 0 : x) + log1p(exp(-fabs(x)));
    default:
        return x;
    }
}

static double gelu_slope(double x)
{
    const double density = exp(-0.5 * x * x) / sqrt(2 * M_PI);
    return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * density;
}

static double gelu_tanh_slope(double x)
{
    const double u = sqrt(2 / M_PI) * (x + CUBE * x * x * x), t = tanh(u);
    const double du = sqrt(2 / M_PI) * (1 + 3 * CUBE * x * x);
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du;
}

double ref_act_back(lk_act act, double alpha, double v, double dy)
{
    switch (act) {
    case LK_ACT_RELU:
        return ref_relu_back(v, dy);
    case LK_ACT_LEAKY_RELU:
        return v <= 0 ? alpha * dy : dy;
    case LK_ACT_ELU: /* alpha e^x = y + alpha */
        return v <= 0 ? (v + alpha) * dy : dy;
    case LK_ACT_GELU:
        return gelu_slope(v) * dy;
    case LK_ACT_GELU_TANH:
        return gelu_tanh_slope(v) * dy;
    case LK_ACT_SILU:
        return sigmoid(v) * (1 + v * (1 - sigmoid(v))) * dy;
    case LK_ACT_SIGMOID:
        return v * (1 - v) * dy;
    case LK_ACT_TANH:
        return (1 - v * v) * dy;
    case LK_ACT_SOFTPLUS: /* sigmoid(x) = 1 - e^-y */
        return -expm1(-v) * dy;
    default:
        return dy;
    }
}

const double *ref_residual_forward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->in[0]);
    const double *const a = c->x[0], *const b = c->x[1];
    double *const sum = c->sum;
    if (c->spec->n_in == 1)
        return a;
    for (int64_t i = 0; i < n; i++)
        sum[i] = a[i] + b[i];
    return sum;
}

const double *ref_residual_backward(const lk_call *c)
{
    return c->spec->n_in == 1 ? c->x[0] : c->sum;
}

void ref_copy(int64_t n, const double *x, double *y)
{
    if (x != y)
        memcpy(y, x, (size_t)n * sizeof *y);
}

double ref_softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

void ref_elements_forward(const lk_call *c, double scale, ref_element_fn *f)
{
    const int64_t n = lk_shape_row(&c->spec->in[0]);
    const double *const x = c->x[0], *const t = c->x[1];
    double *const metrics = c->micro->metrics;
    double loss = 0, named = 0;

    for (int64_t b = 0; b < c->micro->valid; b++) {
        double row = 0, row_named = 0;
        for (int64_t i = b * n; i < (b + 1) * n; i++) {
            const ref_element e = f(&c->spec->attr, x[i], t ? t[i] : 0);
            row += e.loss;
            row_named += e.named;
        }
        loss += row / (double)n;
        named += row_named / (double)n;
    }
    metrics[LK_METRIC_LOSS] = scale * loss;
    metrics[LK_METRIC_WEIGHT] = metrics[LK_METRIC_COUNT] = (double)c->micro->valid;
    metrics[LK_METRIC_NAMED] = named;
}

void ref_elements_backward(const lk_call *c, double scale, ref_element_fn *f)
{
    const int64_t rows = c->spec->in[0].dim[0], n = lk_shape_row(&c->spec->in[0]);
    const double *const x = c->x[0], *const t = c->x[1];
    double *const dx = c->dx[0], *const dt = c->dx[1];
    const double factor = scale * c->micro->grad_scale / (double)n;

    for (int64_t b = 0; b < rows; b++)
        for (int64_t i = b * n; i < (b + 1) * n; i++) {
            const ref_element e = b < c->micro->valid ? f(&c->spec->attr, x[i], t ? t[i] : 0) : (ref_element){0};
            if (dx)
                dx[i] = e.dx * factor;
            if (dt)
                dt[i] = e.dt * factor;
        }
}

lk_status ref_check_targets(const lk_call *c)
{
    const int64_t n = lk_shape_row(&c->spec->in[1]);
    const double *const t = c->x[1];

    for (int64_t i = 0; i < c->micro->valid * n; i++)
        if (!(t[i] >= 0 && t[i] <= 1))
            return lki_target_fail(c->micro, i / n, t[i]);
    return LK_OK;
}

double ref_sum_squares(int64_t n, const void *x)
{
    const double *const v = x;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i] * v[i];
    return sum;
}

static void from_float(int64_t n, const float *x, void *out)
{
    double *const y = out;
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
}

static void to_float(int64_t n, const void *x, float *out)
{
    const double *const v = x;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)v[i];
}

static void tile_squares(int64_t n_tiles, int64_t tile, const void *x, double *out)
{
    for (int64_t i = 0; i < n_tiles; i++)
        out[i] = ref_sum_squares(tile, (const double *)x + i * tile);
}

static void fold(int64_t n, double keep, void *old, const void *fresh)
{
    double *const w = old;
    const double *const f = fresh;

    for (int64_t i = 0; i < n; i++)
        w[i] = keep * w[i] + f[i];
}

static void average(int64_t n, double share, const void *x, void *mean)
{
    double *const m = mean;
    const double *const w = x;

    for (int64_t i = 0; i < n; i++)
        m[i] = share == 1 ? w[i] : m[i] + share * (w[i] - m[i]);
}

static void perturb(int64_t n, const lk_perturb *p, void *gradient)
{
    double *const g = gradient;

    for (int64_t i = 0; i < n; i++)
        g[i] = lki_perturbed(p, g[i], i);
}

static void scale_statistics(int n, const lk_stat_item *item, int64_t after, const lk_live *live, void *leaf)
{
    (void)live;
    for (int k = 0; k < n; k++) {
        const double w = lki_statistic_weight(item[k].momentum, after);
        double *const x = (double *)leaf + item[k].first;

        for (int64_t i = 0; i < item[k].n; i++)
            x[i] *= w;
    }
}

const lk_backend lk_backend_ref = {
    .name = "ref",
    .space = &lk_space_host,
    .real_size = sizeof(double),
    .value_size = sizeof(double),
    .kernel =
        {
#define X(NAME, name) [LK_OP_##NAME] = &lk_kern_ref_##name,
            LK_OP_LIST(X)
#undef X
        },
    .optimizer =
        {
#define X(NAME, name) [LK_OPT_##NAME] = lk_opt_ref_##name,
            LK_OPT_LIST(X)
#undef X
        },
    .tile_squares = tile_squares,
    .from_float = from_float,
    .to_float = to_float,
    .fold = fold,
    .average = average,
    .perturb = perturb,
    .scale_statistics = scale_statistics,
};
