/* spectral_norm: see op/spectral_norm.c for the formula. Saved: v, the next u, s and |W^T u|.
 * Backward: dx = dy / s; with ds = -(dy . x) / s^2 and g = (W^T w - (v . W^T w) v) / |W^T u|, w the next u:
 * dW = ds (w v^T + u g^T), since s = w^T W v and v turns with W^T u; dbias = sums of dy. */
#include "kern/ref/ref_int.h"
#include <math.h>
#include <string.h>

static int64_t outputs_of(const lk_opspec *s)
{
    return s->attr.spectral_norm.weight.dim[0];
}

static int64_t rest_of(const lk_opspec *s)
{
    return lk_shape_row(&s->attr.spectral_norm.weight);
}

/* [v][next u][s, |W^T u|] */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const size_t bytes = (size_t)(rest_of(s) + outputs_of(s) + 2) * sizeof(double);
    *out = (lk_kern_plan){.saved_bytes = s->training ? bytes : 0,
        .scratch_forward = s->training ? 0 : bytes,
        .scratch_backward = (size_t)rest_of(s) * sizeof(double)};
    return LK_OK;
}

/* t = W^T u; its norm. */
static double turned(int64_t rows, int64_t cols, const double *w, const double *u, double *t)
{
    double squares = 0;
    for (int64_t j = 0; j < cols; j++) {
        t[j] = 0;
        for (int64_t i = 0; i < rows; i++)
            t[j] += w[i * cols + j] * u[i];
        squares += t[j] * t[j];
    }
    return fmax(sqrt(squares), LKI_SPECTRAL_LEAST);
}

static double iterate(int64_t rows, int64_t cols, const double *w, const double *u, double *v, double *next)
{
    const double norm = turned(rows, cols, w, u, v);
    double squares = 0;
    for (int64_t j = 0; j < cols; j++)
        v[j] /= norm;
    for (int64_t i = 0; i < rows; i++) {
        next[i] = 0;
        for (int64_t j = 0; j < cols; j++)
            next[i] += w[i * cols + j] * v[j];
        squares += next[i] * next[i];
    }
    const double s = fmax(sqrt(squares), LKI_SPECTRAL_LEAST);
    for (int64_t i = 0; i < rows; i++)
        next[i] /= s;
    next[rows] = s;
    next[rows + 1] = norm;
    return s;
}

/* Elements behind one another that belong to one output. */
static int64_t inner_of(const lk_opspec *s)
{
    int64_t n = 1;
    for (int i = s->attr.spectral_norm.axis + 1; i < s->in[0].ndim; i++)
        n *= s->in[0].dim[i];
    return n;
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = outputs_of(s), cols = rest_of(s), inner = inner_of(s);
    double *const v = c->saved ? c->saved : c->scratch, *const next = v + cols;
    const double *const x = c->x[0], *const bias = c->param[2];
    double *const y = c->y;
    const double size = iterate(rows, cols, c->param[0], c->param[1], v, next);

    if (s->training && c->dparam[1])
        memcpy(c->dparam[1], next, (size_t)rows * sizeof *next);
    for (int64_t i = 0; i < lk_shape_count(&s->out); i++)
        y[i] = x[i] / size + bias[i / inner % rows];
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = outputs_of(s), cols = rest_of(s), inner = inner_of(s), n = lk_shape_count(&s->out);
    const double *const v = c->saved, *const next = v + cols, size = next[rows], norm = next[rows + 1];
    const double *const x = c->x[0], *const dy = c->dy, *const w = c->param[0], *const u = c->param[1];
    double *const dx = c->dx[0], *const dw = c->dparam[0], *const dbias = c->dparam[2], *const g = c->scratch;
    double along = 0, ds = 0;

    for (int64_t i = 0; i < n; i++)
        ds -= dy[i] * x[i] / (size * size);
    for (int64_t i = 0; dbias && i < rows; i++)
        dbias[i] = 0;
    for (int64_t i = 0; dbias && i < n; i++)
        dbias[i / inner % rows] += dy[i];
    for (int64_t i = 0; dx && i < n; i++)
        dx[i] = dy[i] / size;
    if (!dw)
        return LK_OK;
    turned(rows, cols, w, next, g);
    for (int64_t j = 0; j < cols; j++)
        along += v[j] * g[j];
    for (int64_t j = 0; j < cols; j++)
        g[j] = (g[j] - along * v[j]) / norm;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            dw[i * cols + j] = ds * (next[i] * v[j] + u[i] * g[j]);
    return LK_OK;
}

const lk_kernel lk_kern_ref_spectral_norm = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward,
    .backward = backward};
