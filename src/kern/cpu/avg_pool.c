/* avg_pool: the mean under a window, zeros of the padding counted. */
#include "kern/cpu/pool_int.h"
#include <string.h>

LK_CLONES static void forward_2x2(const lki_pool *g, const float *restrict x, float *restrict y)
{
    const int64_t c = g->c, row = g->in[AT_W] * c, fast = lki_pool_fast(g);
    int64_t n = 0;
    for (int64_t r = 0; r < lki_pool_rows(g); r++, x += row) /* the second of two rows is stepped over by the places */
        for (int64_t w = 0; w < g->out[AT_W]; w++, n++, x += 2 * c, y += c) {
            if (n >= fast) {
                for (int64_t i = 0; i < c; i++)
                    y[i] = ((x[i] + x[c + i]) + (x[row + i] + x[row + c + i])) * 0.25f;
                continue;
            }
            for (int64_t i = 0; i < c; i += 8) {
                const int64_t from = c < 8 ? 0 : lki_min(i, c - 8);
                const float *const v = x + from;
                LK_EIGHT_STORE(
                    y + from, ((LK_EIGHT(v) + LK_EIGHT(v + c)) + (LK_EIGHT(v + row) + LK_EIGHT(v + row + c))) * 0.25f);
            }
        }
}

/* dx in the order of memory. */
LK_CLONES static void backward_2x2(const lki_pool *g, const float *restrict dy, float *restrict dx)
{
    const int64_t c = g->c, dy_row = g->out[AT_W] * c, rows = lki_pool_rows(g);
    for (int64_t r = 0; r < 2 * rows; r++) {
        const float *d = dy + r / 2 * dy_row;
        const int64_t fast = lki_pool_fast_row(g, r / 2);
        for (int64_t w = 0; w < fast; w++, d += c, dx += 2 * c)
            for (int64_t i = 0; i < c; i += 8) {
                const int64_t from = c < 8 ? 0 : lki_min(i, c - 8);
                const lki_eight v = LK_EIGHT(d + from) * 0.25f;
                LK_EIGHT_STORE(dx + from, v);
                LK_EIGHT_STORE(dx + c + from, v);
            }
        for (int64_t w = fast; w < g->out[AT_W]; w++, d += c, dx += 2 * c)
            for (int64_t i = 0; i < c; i++)
                dx[i] = dx[c + i] = d[i] * 0.25f;
    }
}

LK_CLONES static void forward_any(const lki_pool *g, const float *restrict x, float *restrict y)
{
    const int64_t c = g->c;
    const float share = 1 / (float)g->taps;
    for (int64_t b = 0; b < g->batch; b++, x += g->places_in * c)
        LK_EACH_PLACE(g, d, h, w)
        {
            const lki_window t = lki_window_at(g, d, h, w);
            for (int64_t i = 0; i < c; i++)
                y[i] = 0;
            LK_EACH_TAP(t, j, k, l)
            for (int64_t i = 0; i < c; i++)
                y[i] += x[t.corner + lki_window_element(g, j, k, l) + i];
            for (int64_t i = 0; i < c; i++)
                y[i] *= share;
            y += c;
        }
}

/* dx is zero before. */
LK_CLONES static void backward_any(const lki_pool *g, const float *restrict dy, float *restrict dx)
{
    const int64_t c = g->c;
    const float share = 1 / (float)g->taps;
    for (int64_t b = 0; b < g->batch; b++, dx += g->places_in * c)
        LK_EACH_PLACE(g, d, h, w)
        {
            const lki_window t = lki_window_at(g, d, h, w);
            LK_EACH_TAP(t, j, k, l)
            for (int64_t i = 0; i < c; i++)
                dx[t.corner + lki_window_element(g, j, k, l) + i] += dy[i] * share;
            dy += c;
        }
}

static lk_status forward(const lk_call *c)
{
    const lki_pool g = lki_pool_make(c->spec);
    (lki_pool_is_2x2(&g) ? forward_2x2 : forward_any)(&g, c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lki_pool g = lki_pool_make(c->spec);
    float *const dx = c->dx[0];
    if (!dx)
        return LK_OK;
    if (lki_pool_is_2x2(&g)) {
        backward_2x2(&g, c->dy, dx);
        return LK_OK;
    }
    memset(dx, 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof *dx);
    backward_any(&g, c->dy, dx);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_avg_pool = {.forward = forward, .backward = backward};
