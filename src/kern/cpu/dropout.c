/* dropout: zero where lki_dropout_stream's word of the element, counted in C H W order, is below the limit; else
 * scaled. The decision is saved, one byte an element, so that backward does not draw again. */
#include "kern/cpu/cpu_int.h"
#include <string.h>

static bool drops(const lk_opspec *s)
{
    return s->training && s->attr.dropout.rate > 0;
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){0};
    if (drops(s)) {
        out->saved_bytes = (size_t)lk_shape_count(&s->out);
        out->scratch_forward = 2 * lki_floats(lk_shape_row(&s->out));
    }
    return LK_OK;
}

LK_CLONES static void keep_from_words(int64_t n, uint32_t limit, const uint32_t *restrict word, uint8_t *restrict keep)
{
    for (int64_t i = 0; i < n; i++)
        keep[i] = word[i] >= limit;
}

LK_CLONES static void scale_kept(int64_t n, float scale, const uint8_t *restrict keep, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = keep[i] ? x[i] * scale : 0;
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = s->out.dim[0], n = lk_shape_row(&s->out);
    const float *x = c->x[0];
    float *y = c->y;
    if (!drops(s)) {
        lki_copy(rows * n, x, y);
        return LK_OK;
    }
    const lk_rng stream = lki_dropout_stream(s, c->micro);
    const uint64_t limit = lki_dropout_limit(s->attr.dropout.rate);
    const float scale = (float)(1 / (1 - s->attr.dropout.rate));
    const bool nhwc = lki_is_nhwc(&s->out, s->in_layout);
    uint32_t *const word = c->scratch, *const turned = (uint32_t *)((char *)c->scratch + lki_floats(n));
    uint8_t *keep = c->saved;
    for (int64_t b = 0; b < rows; b++, x += n, y += n, keep += n) {
        lk_rng_fill(stream, (uint64_t)c->micro->sample[b], 0, n, word);
        if (nhwc)
            lki_transpose(s->out.dim[1], lki_shape_area(&s->out), (const float *)word, (float *)turned);
        if (limit <= UINT32_MAX)
            keep_from_words(n, (uint32_t)limit, nhwc ? turned : word, keep);
        else
            memset(keep, 0, (size_t)n); /* a rate that is 1 but for a rounding */
        scale_kept(n, scale, keep, x, y);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_count(&s->out);
    if (!c->dx[0])
        return LK_OK;
    if (drops(s))
        scale_kept(n, (float)(1 / (1 - s->attr.dropout.rate)), c->saved, c->dy, c->dx[0]);
    else
        lki_copy(n, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_dropout = {
    .in_place = true, .in_place_dx = true, .plan = plan, .forward = forward, .backward = backward};
