/* dropout: zero where lki_dropout_stream's word of the unit (element in C H W order, channel, sample) is below the
 * limit; else scaled. The decision is saved, one byte a unit, so that backward does not draw again. */
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
        const int64_t units = lki_dropout_units(s);
        out->saved_bytes = (size_t)(s->out.dim[0] * units);
        out->scratch_forward = 2 * lki_floats(units);
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

LK_CLONES static void scale_all(int64_t n, float scale, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * scale;
}

/* One sample of n elements in `units` units. */
static void apply(const lk_opspec *s, int64_t n, int64_t units, const uint8_t *keep, const float *x, float *y)
{
    const float scale = (float)(1 / (1 - s->attr.dropout.rate));
    const int64_t size = n / units;
    if (s->attr.dropout.unit == LK_DROP_CHANNEL && lki_is_nhwc(&s->out, s->in_layout)) {
        for (int64_t i = 0; i < n; i += units) /* place by place, all channels */
            scale_kept(units, scale, keep, x + i, y + i);
    } else if (size == 1) {
        scale_kept(n, scale, keep, x, y);
    } else {
        for (int64_t u = 0; u < units; u++) {
            if (keep[u])
                scale_all(size, scale, x + u * size, y + u * size);
            else
                memset(y + u * size, 0, (size_t)size * sizeof *y);
        }
    }
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
    const int64_t units = lki_dropout_units(s);
    const lk_rng stream = lki_dropout_stream(s, c->micro);
    const uint64_t limit = lki_dropout_limit(s->attr.dropout.rate);
    const bool turn = s->attr.dropout.unit == LK_DROP_ELEMENT && lki_is_nhwc(&s->out, s->in_layout);
    uint32_t *const word = c->scratch, *const turned = (uint32_t *)((char *)c->scratch + lki_floats(units));
    uint8_t *keep = c->saved;
    for (int64_t b = 0; b < rows; b++, x += n, y += n, keep += units) {
        lk_rng_fill(stream, (uint64_t)c->micro->sample[b], 0, units, word);
        if (turn)
            lki_transpose(s->out.dim[1], lki_shape_area(&s->out), (const float *)word, (float *)turned);
        if (limit <= UINT32_MAX)
            keep_from_words(units, (uint32_t)limit, turn ? turned : word, keep);
        else
            memset(keep, 0, (size_t)units); /* a rate that is 1 but for a rounding */
        apply(s, n, units, keep, x, y);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = s->out.dim[0], n = lk_shape_row(&s->out);
    float *const dx = c->dx[0];
    if (!dx)
        return LK_OK;
    if (!drops(s)) {
        lki_copy(rows * n, c->dy, dx);
        return LK_OK;
    }
    const int64_t units = lki_dropout_units(s);
    for (int64_t b = 0; b < rows; b++)
        apply(s, n, units, (const uint8_t *)c->saved + b * units, (const float *)c->dy + b * n, dx + b * n);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_dropout = {
    .in_place = true, .in_place_dx = true, .plan = plan, .forward = forward, .backward = backward};
