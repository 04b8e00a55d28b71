/* group_norm (Wu & He 2018, "Group normalization"): h = (x - mean) / sqrt(var + eps), mean and (biased) variance over
 * the n elements of a sample's group of channels, y = w h + b by channel. Backward, g = dy w: dw = sum dy h, db = sum
 * dy over samples and places, dx = (g - mean(g) - h mean(g h)) / sqrt(var + eps), means over the group. */
#include "kern/ref/ref_int.h"
#include <math.h>
#include <string.h>

/* Elements of a channel in a sample, channels of a group. */
static void sizes(const lk_opspec *s, int64_t *area, int64_t *width)
{
    *area = lk_shape_row(&s->in[0]) / s->in[0].dim[1];
    *width = s->in[0].dim[1] / s->attr.norm.groups;
}

static void moments(int64_t n, const double *x, double eps, double *mean, double *inv)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *inv = 1 / sqrt(squares / (double)n + eps);
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_norm *const a = &c->spec->attr.norm;
    int64_t area, width;
    sizes(c->spec, &area, &width);
    const int64_t rows = c->spec->in[0].dim[0], n = width * area;
    const double *const w = c->param[0], *const b = c->param[1];
    for (int64_t r = 0; r < rows * a->groups; r++) {
        const double *const x = (const double *)c->x[0] + r * n;
        double *const y = (double *)c->y + r * n;
        double mean, inv;
        moments(n, x, a->eps, &mean, &inv);
        for (int64_t i = 0; i < n; i++) {
            const int64_t k = r % a->groups * width + i / area;
            y[i] = w[k] * (x[i] - mean) * inv + b[k];
        }
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_norm *const a = &c->spec->attr.norm;
    int64_t area, width;
    sizes(c->spec, &area, &width);
    const int64_t rows = c->spec->in[0].dim[0], n = width * area;
    const double *const w = c->param[0];
    double *const dw = c->dparam[0], *const db = c->dparam[1];
    if (dw)
        memset(dw, 0, (size_t)(a->groups * width) * sizeof *dw);
    if (db)
        memset(db, 0, (size_t)(a->groups * width) * sizeof *db);
    for (int64_t r = 0; r < rows * a->groups; r++) {
        const double *const x = (const double *)c->x[0] + r * n, *const dy = (const double *)c->dy + r * n;
        double *const dx = c->dx[0] ? (double *)c->dx[0] + r * n : NULL;
        double mean, inv, g = 0, gh = 0;
        moments(n, x, a->eps, &mean, &inv);
        for (int64_t i = 0; i < n; i++) {
            const int64_t k = r % a->groups * width + i / area;
            const double h = (x[i] - mean) * inv;
            if (dw)
                dw[k] += dy[i] * h;
            if (db)
                db[k] += dy[i];
            g += dy[i] * w[k] / (double)n;
            gh += dy[i] * w[k] * h / (double)n;
        }
        for (int64_t i = 0; dx && i < n; i++)
            dx[i] = (dy[i] * w[r % a->groups * width + i / area] - g - (x[i] - mean) * inv * gh) * inv;
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_group_norm = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
