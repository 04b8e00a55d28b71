/* positions: one row of places times features, learned or made at plan time, added to every sample. */
#include "base/mem.h"
#include "kern/cpu/cpu_int.h"
#include <string.h>

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t units = s->in[0].dim[2], n = lk_shape_row(&s->in[0]);
    float *row = NULL;
    *out = (lk_kern_plan){0};
    if (!s->attr.positions.sinusoidal)
        return LK_OK;
    LK_TRY(lk_alloc_array(n, sizeof *row, "positions", &row));
    for (int64_t i = 0; i < n; i++)
        row[i] = (float)lki_sinusoid(i / units, i % units, units);
    out->state = row;
    return LK_OK;
}

static void destroy(void *state)
{
    lk_free(state);
}

LK_CLONES static void add_row(int64_t rows, int64_t n, const float *x, const float *restrict row, float *y)
{
    for (int64_t b = 0; b < rows; b++, x += n, y += n) {
        LK_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] + row[i];
    }
}

static lk_status forward(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    add_row(in->dim[0], lk_shape_row(in), c->x[0], c->state ? c->state : c->param[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    const int64_t row = lk_shape_row(in);
    float *const dw = c->dparam[0];
    if (dw) {
        lki_column_sums(in->dim[0], row, c->dy, dw);
        memset(dw + row, 0, (size_t)(lk_shape_count(&c->spec->param[0].shape) - row) * sizeof *dw);
    }
    if (c->dx[0])
        lki_copy(in->dim[0] * row, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_positions = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .destroy = destroy};
