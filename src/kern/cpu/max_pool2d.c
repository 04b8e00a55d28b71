/* max_pool2d: the largest under a window and where it was: `saved` holds the place in the window, i kernel_w + j, one
 * byte an output where that fits, else four. The first of equal ones; NaN counts as the largest. */
#include "kern/cpu/pool_int.h"
#include <string.h>

static bool bytes_do(const lki_pool *g)
{
    return g->kh * g->kw <= 256;
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const lki_pool g = lki_pool_make(s);
    const size_t bytes = (size_t)lk_shape_count(&s->out) * (bytes_do(&g) ? 1 : 4);
    *out = (lk_kern_plan){.saved_bytes = s->training ? bytes : 0, .scratch_forward = s->training ? 0 : bytes};
    return LK_OK;
}

/* ---- places in bytes ---- */
typedef uint8_t bytes __attribute__((vector_size(8)));
typedef uint8_t bytes_at __attribute__((vector_size(8), aligned(1), may_alias));

/* Takes v, at place k of the window, where it is larger or the first NaN. */
#define TAKE_EIGHT(best, at, v, k) \
    do { \
        const lki_eight_int more_ = ~((v) <= (best)) & ((best) == (best)); \
        (best) = (lki_eight)((more_ & (lki_eight_int)(v)) | (~more_ & (lki_eight_int)(best))); \
        (at) = (more_ & (int32_t)(k)) | (~more_ & (at)); \
    } while (0)

static void take_one(const lki_pool *g, lki_window t, const float *x, float *y, uint8_t *place)
{
    const float *const v0 = x + t.corner;
    float best = v0[(t.h0 * g->w + t.w0) * g->c];
    int64_t at = t.h0 * g->kw + t.w0;
    for (int64_t i = t.h0; i < t.h1; i++)
        for (int64_t j = t.w0; j < t.w1; j++) {
            const float v = v0[(i * g->w + j) * g->c];
            const bool more = !(v <= best) & (best == best);
            best = more ? v : best;
            at = more ? i * g->kw + j : at;
        }
    *y = best;
    *place = (uint8_t)at;
}

static inline __attribute__((always_inline)) void take_eight(
    const lki_pool *g, lki_window t, const float *x, float *y, uint8_t *place)
{
    const float *const v0 = x + t.corner;
    lki_eight best = LK_EIGHT(v0 + (t.h0 * g->w + t.w0) * g->c);
    lki_eight_int at = (lki_eight_int){0} + (int32_t)(t.h0 * g->kw + t.w0);
    for (int64_t i = t.h0; i < t.h1; i++)
        for (int64_t j = t.w0; j < t.w1; j++)
            TAKE_EIGHT(best, at, LK_EIGHT(v0 + (i * g->w + j) * g->c), i * g->kw + j);
    LK_EIGHT_STORE(y, best);
    *(bytes_at *)place = __builtin_convertvector(at, bytes);
}

LK_CLONES static void forward_bytes(
    const lki_pool *g, const float *restrict x, float *restrict y, uint8_t *restrict place)
{
    const int64_t c = g->c, x_size = g->h * g->w * c;
    for (int64_t b = 0; b < g->batch; b++, x += x_size)
        for (int64_t oh = 0; oh < g->oh; oh++)
            for (int64_t ow = 0; ow < g->ow; ow++, y += c, place += c) {
                const lki_window t = lki_window_at(g, oh, ow);
                if (c < 8)
                    for (int64_t i = 0; i < c; i++)
                        take_one(g, t, x + i, y + i, place + i);
                for (int64_t i = 0; i < c && c >= 8; i += 8) {
                    const int64_t from = lki_min(i, c - 8);
                    take_eight(g, t, x + from, y + from, place + from);
                }
            }
}

LK_CLONES static void forward_2x2(
    const lki_pool *g, const float *restrict x, float *restrict y, uint8_t *restrict place)
{
    const int64_t c = g->c, row = g->w * c;
    const int64_t fast = lki_pool_fast(g);
    int64_t n = 0;
    for (int64_t r = 0; r < g->batch * g->oh; r++, x += row) /* the second of two rows is stepped over by the places */
        for (int64_t ow = 0; ow < g->ow; ow++, n++, x += 2 * c, y += c, place += c) {
            if (n >= fast) {
                for (int64_t i = 0; i < c; i++)
                    take_one(g, (lki_window){0, 0, 2, 0, 2}, x + i, y + i, place + i);
                continue;
            }
            for (int64_t i = 0; i < c; i += 8) {
                const int64_t from = c < 8 ? 0 : lki_min(i, c - 8);
                const float *const v = x + from;
                lki_eight best = LK_EIGHT(v);
                lki_eight_int at = {0};
                TAKE_EIGHT(best, at, LK_EIGHT(v + c), 1);
                TAKE_EIGHT(best, at, LK_EIGHT(v + row), 2);
                TAKE_EIGHT(best, at, LK_EIGHT(v + row + c), 3);
                LK_EIGHT_STORE(y + from, best);
                *(bytes_at *)(place + from) = __builtin_convertvector(at, bytes);
            }
        }
}

/* dx of both rows in the order of memory, so that eights may reach ahead. */
LK_CLONES static void backward_2x2(
    const lki_pool *g, const float *restrict dy, const uint8_t *restrict place, float *restrict dx)
{
    const int64_t c = g->c, dy_row = g->ow * c;
    const int64_t rows = g->batch * g->oh;
    for (int64_t r = 0; r < rows; r++, dy += dy_row, place += dy_row)
        for (int32_t k = 0; k < 4; k += 2) {
            const int64_t fast = lki_pool_fast_row(g, r);
            const float *d = dy;
            const uint8_t *p = place;
            for (int64_t ow = 0; ow < fast; ow++, d += c, p += c, dx += 2 * c)
                for (int64_t i = 0; i < c; i += 8) {
                    const int64_t from = c < 8 ? 0 : lki_min(i, c - 8);
                    const lki_eight_int at =
                        __builtin_convertvector((bytes) * (const bytes_at *)(p + from), lki_eight_int);
                    const lki_eight_int v = (lki_eight_int)LK_EIGHT(d + from);
                    LK_EIGHT_STORE(dx + from, (lki_eight)((at == k) & v));
                    LK_EIGHT_STORE(dx + c + from, (lki_eight)((at == k + 1) & v));
                }
            for (int64_t ow = fast; ow < g->ow; ow++, d += c, p += c, dx += 2 * c)
                for (int64_t i = 0; i < c; i++) {
                    dx[i] = p[i] == k ? d[i] : 0;
                    dx[c + i] = p[i] == k + 1 ? d[i] : 0;
                }
        }
}

/* dx is zero before. */
static void backward_bytes(const lki_pool *g, const float *dy, const uint8_t *place, float *dx)
{
    int64_t offset[256];
    for (int64_t k = 0; k < g->kh * g->kw; k++)
        offset[k] = (k / g->kw * g->w + k % g->kw) * g->c;
    for (int64_t b = 0; b < g->batch; b++, dx += g->h * g->w * g->c)
        for (int64_t oh = 0; oh < g->oh; oh++)
            for (int64_t ow = 0; ow < g->ow; ow++, dy += g->c, place += g->c) {
                float *const to = dx + ((oh * g->sh - g->ph) * g->w + ow * g->sw - g->pw) * g->c;
                for (int64_t i = 0; i < g->c; i++)
                    to[offset[place[i]] + i] += dy[i];
            }
}

/* ---- windows of more than 256 ---- */
static void forward_large(const lki_pool *g, const float *x, float *y, int32_t *place)
{
    for (int64_t b = 0; b < g->batch; b++, x += g->h * g->w * g->c)
        for (int64_t oh = 0; oh < g->oh; oh++)
            for (int64_t ow = 0; ow < g->ow; ow++)
                for (int64_t k = 0; k < g->c; k++) {
                    const lki_window t = lki_window_at(g, oh, ow);
                    int64_t at = (t.h0 * g->w + t.w0) * g->c;
                    const float *const v = x + t.corner + k;
                    for (int64_t i = t.h0; i < t.h1; i++)
                        for (int64_t j = t.w0; j < t.w1; j++) {
                            const int64_t to = (i * g->w + j) * g->c;
                            if (!(v[to] <= v[at]) && v[at] == v[at])
                                at = to;
                        }
                    *y++ = v[at];
                    *place++ = (int32_t)(at / g->c / g->w * g->kw + at / g->c % g->w);
                }
}

static void backward_large(const lki_pool *g, const float *dy, const int32_t *place, float *dx)
{
    for (int64_t b = 0; b < g->batch; b++, dx += g->h * g->w * g->c)
        for (int64_t oh = 0; oh < g->oh; oh++)
            for (int64_t ow = 0; ow < g->ow; ow++)
                for (int64_t k = 0; k < g->c; k++, dy++, place++) {
                    const int64_t h = oh * g->sh - g->ph + *place / g->kw, w = ow * g->sw - g->pw + *place % g->kw;
                    dx[(h * g->w + w) * g->c + k] += *dy;
                }
}

static lk_status forward(const lk_call *c)
{
    const lki_pool g = lki_pool_make(c->spec);
    void *const place = c->saved ? c->saved : c->scratch;
    if (lki_pool_is_2x2(&g))
        forward_2x2(&g, c->x[0], c->y, place);
    else if (bytes_do(&g))
        forward_bytes(&g, c->x[0], c->y, place);
    else
        forward_large(&g, c->x[0], c->y, place);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lki_pool g = lki_pool_make(c->spec);
    float *const dx = c->dx[0];
    if (!dx)
        return LK_OK;
    if (lki_pool_is_2x2(&g)) {
        backward_2x2(&g, c->dy, c->saved, dx);
        return LK_OK;
    }
    memset(dx, 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof *dx);
    if (bytes_do(&g))
        backward_bytes(&g, c->dy, c->saved, dx);
    else
        backward_large(&g, c->dy, c->saved, dx);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_max_pool2d = {.plan = plan, .forward = forward, .backward = backward};
