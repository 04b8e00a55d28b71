/* spectral_norm: see op/spectral_norm.c for the formula. Saved: v, the next u, s and |W^T u|.
 * Backward: dx = dy / s; with ds = -(dy . x) / s^2 and g = (W^T w - (v . W^T w) v) / |W^T u|, w the next u:
 * dW = ds (w v^T + u g^T), since s = w^T W v and v turns with W^T u; dbias = sums of dy. */
#include "kern/cpu/cpu_int.h"
#include <math.h>
#include <string.h>

enum { LANES = 16 };

static int64_t outputs_of(const lk_opspec *s)
{
    return s->attr.spectral_norm.weight.dim[0];
}

static int64_t rest_of(const lk_opspec *s)
{
    return lk_shape_row(&s->attr.spectral_norm.weight);
}

/* [v][next u][s, |W^T u|], each begins aligned */
typedef struct pieces {
    float *v, *next, *sizes;
} pieces;

static pieces pieces_of(const lk_opspec *s, void *at)
{
    char *const p = at;
    const size_t v = lki_floats(rest_of(s)), next = lki_floats(outputs_of(s));
    return (pieces){(float *)p, (float *)(p + v), (float *)(p + v + next)};
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const size_t bytes = lki_floats(rest_of(s)) + lki_floats(outputs_of(s)) + lki_floats(2);
    *out = (lk_kern_plan){.saved_bytes = s->training ? bytes : 0,
        .scratch_forward = s->training ? 0 : bytes,
        .scratch_backward = lki_floats(rest_of(s))};
    return LK_OK;
}

/* In fixed lanes of double, added up as a tree. */
LK_CLONES static double dot(int64_t n, const float *a, const float *b)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)a[i + j] * (double)b[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)a[i] * (double)b[i];
    for (int h = LANES / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

/* t = W^T u, row by row; its norm. */
LK_CLONES static double turned(int64_t rows, int64_t cols, const float *w, const float *u, float *restrict t)
{
    memset(t, 0, (size_t)cols * sizeof *t);
    for (int64_t i = 0; i < rows; i++) {
        const float f = u[i];
        for (int64_t j = 0; j < cols; j++)
            t[j] += f * w[i * cols + j];
    }
    return fmax(sqrt(dot(cols, t, t)), LKI_SPECTRAL_LEAST);
}

LK_CLONES static void times(int64_t n, float factor, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor;
}

static double iterate(int64_t rows, int64_t cols, const float *w, const float *u, const pieces *p)
{
    const double norm = turned(rows, cols, w, u, p->v);
    times(cols, (float)(1 / norm), p->v, p->v);
    for (int64_t i = 0; i < rows; i++)
        p->next[i] = (float)dot(cols, w + i * cols, p->v);
    const double s = fmax(sqrt(dot(rows, p->next, p->next)), LKI_SPECTRAL_LEAST);
    times(rows, (float)(1 / s), p->next, p->next);
    p->sizes[0] = (float)s;
    p->sizes[1] = (float)norm;
    return s;
}

/* Elements behind one another in memory that belong to one output; channels-last the channels come last. */
static int64_t inner_of(const lk_opspec *s)
{
    const int axis = s->attr.spectral_norm.axis;
    const bool last = lki_is_nhwc(&s->in[0], s->in_layout);
    int64_t n = last && axis > 1 ? s->in[0].dim[1] : 1;

    for (int i = axis + 1; i < s->in[0].ndim && !(last && axis == 1); i++)
        n *= s->in[0].dim[i];
    return n;
}

LK_CLONES static void scale_shift(int64_t n, float factor, float shift, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor + shift;
}

LK_CLONES static void scale_row(int64_t n, float factor, const float *shift, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor + shift[i];
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = outputs_of(s), inner = inner_of(s), runs = lk_shape_count(&s->out) / inner;
    const pieces p = pieces_of(s, c->saved ? c->saved : c->scratch);
    const float factor = (float)(1 / iterate(rows, rest_of(s), c->param[0], c->param[1], &p));
    const float *const x = c->x[0], *const bias = c->param[2];
    float *const y = c->y;

    if (s->training && c->dparam[1])
        memcpy(c->dparam[1], p.next, (size_t)rows * sizeof *p.next);
    for (int64_t i = 0; inner > 1 && i < runs; i++)
        scale_shift(inner, factor, bias[i % rows], x + i * inner, y + i * inner);
    for (int64_t i = 0; inner == 1 && i < runs; i += rows)
        scale_row(rows, factor, bias, x + i, y + i);
    return LK_OK;
}

/* dw = ds (next v^T + u g^T) */
LK_CLONES static void outer(int64_t rows, int64_t cols, float ds, const float *next, const float *v, const float *u,
    const float *g, float *restrict dw)
{
    for (int64_t i = 0; i < rows; i++) {
        const float a = ds * next[i], b = ds * u[i];
        for (int64_t j = 0; j < cols; j++)
            dw[i * cols + j] = a * v[j] + b * g[j];
    }
}

LK_CLONES static void take_along(int64_t n, float along, float factor, const float *v, float *restrict g)
{
    for (int64_t j = 0; j < n; j++)
        g[j] = (g[j] - along * v[j]) * factor;
}

static void bias_gradient(const lk_opspec *s, const float *dy, float *dbias)
{
    const int64_t rows = outputs_of(s), inner = inner_of(s), runs = lk_shape_count(&s->out) / inner;

    if (inner == 1) {
        lki_column_sums(runs / rows, rows, dy, dbias);
        return;
    }
    memset(dbias, 0, (size_t)rows * sizeof *dbias);
    for (int64_t i = 0; i < runs; i++) {
        double sum = 0;
        for (int64_t k = 0; k < inner; k++)
            sum += (double)dy[i * inner + k];
        dbias[i % rows] += (float)sum;
    }
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = outputs_of(s), cols = rest_of(s), n = lk_shape_count(&s->out);
    const pieces p = pieces_of(s, c->saved);
    const double size = (double)p.sizes[0];

    if (c->dparam[2])
        bias_gradient(s, c->dy, c->dparam[2]);
    if (c->dparam[0]) {
        const double ds = -dot(n, c->dy, c->x[0]) / (size * size);
        float *const g = c->scratch;
        turned(rows, cols, c->param[0], p.next, g);
        take_along(cols, (float)dot(cols, p.v, g), 1 / p.sizes[1], p.v, g);
        outer(rows, cols, (float)ds, p.next, p.v, c->param[1], g, c->dparam[0]);
    }
    if (c->dx[0])
        times(n, (float)(1 / size), c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_spectral_norm = {
    .in_place_dx = true, .plan = plan, .forward = forward, .backward = backward};
