/* embedding: rows of the weight copied to where their ids stand; backward adds rows of dy in the order of the places. */
#include "kern/cpu/cpu_int.h"
#include <string.h>

static lk_status forward(const lk_call *c)
{
    const lk_attr_embedding *const a = &c->spec->attr.embedding;
    const int64_t n = lk_shape_row(&c->spec->in[0]), valid = c->micro->valid * n;
    const size_t row = (size_t)a->units * sizeof(float);
    const int64_t *const id = c->x[0];
    const float *const w = c->param[0];
    float *const y = c->y;
    for (int64_t p = 0; p < valid; p++) {
        if (id[p] < 0 || id[p] >= a->size)
            return lki_id_fail(c->micro, p / n, id[p], a->size);
        memcpy(y + p * a->units, w + id[p] * a->units, row);
    }
    memset(y + valid * a->units, 0, (size_t)(c->micro->rows * n - valid) * row);
    return LK_OK;
}

LK_CLONES static void add_rows(int64_t rows, int64_t n, const int64_t *id, const float *restrict dy, float *restrict dw)
{
    for (int64_t p = 0; p < rows; p++, dy += n) {
        float *const d = dw + id[p] * n;
        for (int64_t i = 0; i < n; i++)
            d[i] += dy[i];
    }
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_embedding *const a = &c->spec->attr.embedding;
    float *const dw = c->dparam[0];
    if (!dw)
        return LK_OK;
    memset(dw, 0, (size_t)(a->size * a->units) * sizeof *dw);
    add_rows(c->micro->valid * lk_shape_row(&c->spec->in[0]), a->units, c->x[0], c->dy, dw);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_embedding = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
