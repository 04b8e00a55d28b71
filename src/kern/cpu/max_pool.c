/* max_pool: the largest under a window and where it was: `saved` holds the tap, one
 * byte an output where that fits, else four. The first of equal ones; NaN counts as the largest. */
#include "kern/cpu/pool_int.h"
#include <string.h>

static bool bytes_do(const lki_pool *g)
{
    return g->taps <= 256;
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
    float best = v0[lki_window_element(g, t.from[AT_D], t.from[AT_H], t.from[AT_W])];
    int64_t at = lki_window_tap(g, t.from[AT_D], t.from[AT_H], t.from[AT_W]);
    LK_EACH_TAP(t, d, h, w)
    {
        const float v = v0[lki_window_element(g, d, h, w)];
        const bool more = !(v <= best) & (best == best);
        best = more ? v : best;
        at = more ? lki_window_tap(g, d, h, w) : at;
    }
    *y = best;
    *place = (uint8_t)at;
}

static inline __attribute__((always_inline)) void take_eight(
    const lki_pool *g, lki_window t, const float *x, float *y, uint8_t *place)
{
    const float *const v0 = x + t.corner;
    lki_eight best = LK_EIGHT(v0 + lki_window_element(g, t.from[AT_D], t.from[AT_H], t.from[AT_W]));
    lki_eight_int at = (lki_eight_int){0} + (int32_t)lki_window_tap(g, t.from[AT_D], t.from[AT_H], t.from[AT_W]);
    LK_EACH_TAP(t, d, h, w)
    TAKE_EIGHT(best, at, LK_EIGHT(v0 + lki_window_element(g, d, h, w)), lki_window_tap(g, d, h, w));
    LK_EIGHT_STORE(y, best);
    *(bytes_at *)place = __builtin_convertvector(at, bytes);
}

LK_CLONES static void forward_bytes(
    const lki_pool *g, const float *restrict x, float *restrict y, uint8_t *restrict place)
{
    const int64_t c = g->c;
    for (int64_t b = 0; b < g->batch; b++, x += g->places_in * c)
        LK_EACH_PLACE(g, d, h, w)
        {
            const lki_window t = lki_window_at(g, d, h, w);
            if (c < 8)
                for (int64_t i = 0; i < c; i++)
                    take_one(g, t, x + i, y + i, place + i);
            for (int64_t i = 0; i < c && c >= 8; i += 8) {
                const int64_t from = lki_min(i, c - 8);
                take_eight(g, t, x + from, y + from, place + from);
            }
            y += c;
            place += c;
        }
}

LK_CLONES static void forward_2x2(
    const lki_pool *g, const float *restrict x, float *restrict y, uint8_t *restrict place)
{
    const int64_t c = g->c, row = g->in[AT_W] * c;
    const int64_t fast = lki_pool_fast(g);
    int64_t n = 0;
    for (int64_t r = 0; r < lki_pool_rows(g); r++, x += row) /* the second of two rows is stepped over by the places */
        for (int64_t w = 0; w < g->out[AT_W]; w++, n++, x += 2 * c, y += c, place += c) {
            if (n >= fast) {
                for (int64_t i = 0; i < c; i++)
                    take_one(g, (lki_window){.to = {1, 2, 2}}, x + i, y + i, place + i);
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
    const int64_t c = g->c, dy_row = g->out[AT_W] * c;
    const int64_t rows = lki_pool_rows(g);
    for (int64_t r = 0; r < rows; r++, dy += dy_row, place += dy_row)
        for (int32_t k = 0; k < 4; k += 2) {
            const int64_t fast = lki_pool_fast_row(g, r);
            const float *d = dy;
            const uint8_t *p = place;
            for (int64_t w = 0; w < fast; w++, d += c, p += c, dx += 2 * c)
                for (int64_t i = 0; i < c; i += 8) {
                    const int64_t from = c < 8 ? 0 : lki_min(i, c - 8);
                    const lki_eight_int at =
                        __builtin_convertvector((bytes) * (const bytes_at *)(p + from), lki_eight_int);
                    const lki_eight_int v = (lki_eight_int)LK_EIGHT(d + from);
                    LK_EIGHT_STORE(dx + from, (lki_eight)((at == k) & v));
                    LK_EIGHT_STORE(dx + c + from, (lki_eight)((at == k + 1) & v));
                }
            for (int64_t w = fast; w < g->out[AT_W]; w++, d += c, p += c, dx += 2 * c)
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
    const lki_window all = {.to = {g->kernel[AT_D], g->kernel[AT_H], g->kernel[AT_W]}};
    LK_EACH_TAP(all, d, h, w)
    offset[lki_window_tap(g, d, h, w)] = lki_window_element(g, d, h, w);
    for (int64_t b = 0; b < g->batch; b++, dx += g->places_in * g->c)
        LK_EACH_PLACE(g, d, h, w)
        {
            const int64_t corner = lki_window_at(g, d, h, w).corner;
            for (int64_t i = 0; i < g->c; i++)
                dx[corner + offset[place[i]] + i] += dy[i];
            dy += g->c;
            place += g->c;
        }
}

/* ---- windows of more than 256 ---- */
static void forward_large(const lki_pool *g, const float *x, float *y, int32_t *place)
{
    for (int64_t b = 0; b < g->batch; b++, x += g->places_in * g->c)
        LK_EACH_PLACE(g, d, h, w)
        {
            const lki_window t = lki_window_at(g, d, h, w);
            for (int64_t k = 0; k < g->c; k++) {
                const float *const v0 = x + t.corner + k;
                float best = v0[lki_window_element(g, t.from[AT_D], t.from[AT_H], t.from[AT_W])];
                int64_t at = lki_window_tap(g, t.from[AT_D], t.from[AT_H], t.from[AT_W]);
                LK_EACH_TAP(t, i, j, l)
                {
                    const float v = v0[lki_window_element(g, i, j, l)];
                    if (!(v <= best) && best == best) {
                        best = v;
                        at = lki_window_tap(g, i, j, l);
                    }
                }
                *y++ = best;
                *place++ = (int32_t)at;
            }
        }
}

static void backward_large(const lki_pool *g, const float *dy, const int32_t *place, float *dx)
{
    for (int64_t b = 0; b < g->batch; b++, dx += g->places_in * g->c)
        LK_EACH_PLACE(g, d, h, w)
        {
            const int64_t corner = lki_window_at(g, d, h, w).corner;
            for (int64_t k = 0; k < g->c; k++, dy++, place++) {
                const int64_t i = *place / (g->kernel[AT_H] * g->kernel[AT_W]), j = *place / g->kernel[AT_W];
                dx[corner + lki_window_element(g, i, j % g->kernel[AT_H], *place % g->kernel[AT_W]) + k] += *dy;
            }
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

const lk_kernel lk_kern_cpu_max_pool = {.plan = plan, .forward = forward, .backward = backward};
