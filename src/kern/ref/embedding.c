/* embedding: y[b,t,.] = W[id[b,t],.], 0 in padding rows, whose ids mean nothing. Backward: dW[v,.] = sum of dy[b,t,.] over
 * the places with id v. */
#include "kern/ref/ref_int.h"

/* The ids of a sample. */
static int64_t places(const lk_opspec *s)
{
    return lk_shape_row(&s->in[0]);
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_embedding *const a = &c->spec->attr.embedding;
    const int64_t n = places(c->spec), valid = c->micro->valid * n;
    const int64_t *const id = c->x[0];
    const double *const w = c->param[0];
    double *const y = c->y;

    for (int64_t p = 0; p < c->micro->rows * n; p++) {
        if (p < valid && (id[p] < 0 || id[p] >= a->size))
            return lki_id_fail(c->micro, p / n, id[p], a->size);
        for (int64_t i = 0; i < a->units; i++)
            y[p * a->units + i] = p < valid ? w[id[p] * a->units + i] : 0;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_embedding *const a = &c->spec->attr.embedding;
    const int64_t valid = c->micro->valid * places(c->spec);
    const int64_t *const id = c->x[0];
    const double *const dy = c->dy;
    double *const dw = c->dparam[0];

    if (!dw)
        return LK_OK;
    for (int64_t i = 0; i < a->size * a->units; i++)
        dw[i] = 0;
    for (int64_t p = 0; p < valid; p++)
        for (int64_t i = 0; i < a->units; i++)
            dw[id[p] * a->units + i] += dy[p * a->units + i];
    return LK_OK;
}

const lk_kernel lk_kern_ref_embedding = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
