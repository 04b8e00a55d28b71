/* The gradient of a convolution's weights, dw[f][c][i][j] = sum over samples and places of dy[.., f] x[.., c] under the
 * kernel's tap (i,j). Sums run over some samples or rows of one (BLOCK places) in registers, then in memory. */
#include "kern/cpu/conv_pass.h"
#include <string.h>

enum { BLOCK = 1024, VECTORS = 3 };

static int64_t taps_of(const lki_conv *g)
{
    return g->kh * g->kw;
}

/* ---- many channels ----
 * Columns are channels, rows are filters, tap by tap; places whose tap lies outside are left out. */
static bool many_channels(const lki_tiles *t, const lki_conv *g)
{
    return g->c >= t->lanes;
}

/* First and last+1 place whose tap `k` lies inside. */
static void places_inside(
    int64_t places, int64_t stride, int64_t before, int64_t k, int64_t size, int64_t *from, int64_t *to)
{
    const int64_t least = before - k; /* i stride >= least, i stride < least + size */
    *from = least <= 0 ? 0 : (least + stride - 1) / stride;
    *to = least + size <= 0 ? 0 : lki_min(places, (least + size + stride - 1) / stride);
    if (*to < *from)
        *to = *from;
}

static void many_run(
    const lki_tiles *tiles, const lki_conv *g, const float *x, const float *dy, float *dw, float *turned)
{
    const int64_t taps = taps_of(g), x_row = g->w * g->c, y_row = g->ow * g->f;
    float *const sum = taps > 1 ? turned : dw; /* [f][tap][c] */
    const int64_t samples = BLOCK / (g->oh * g->ow) > 1 ? BLOCK / (g->oh * g->ow) : 1;
    const int64_t vectors = (g->c + tiles->lanes - 1) / tiles->lanes, panels = (vectors + VECTORS - 1) / VECTORS;
    int64_t row_a[LK_TILE_ROWS], row_c[LK_TILE_ROWS];
    for (int64_t r = 0; r < LK_TILE_ROWS; r++) {
        row_a[r] = r;
        row_c[r] = r * taps * g->c;
    }
    for (int64_t b = 0; b < g->batch; b += samples)
        for (int64_t i = 0; i < panels; i++) {
            const int64_t c0 = i * vectors / panels * tiles->lanes;
            const int64_t c1 = lki_min((i + 1) * vectors / panels * tiles->lanes, g->c);
            const int64_t most = tiles->max_rows[(c1 - c0 + tiles->lanes - 1) / tiles->lanes];
            for (int64_t tap = 0; tap < taps; tap++) {
                int64_t h0, h1, w0, w1;
                const int64_t kh = tap / g->kw, kw = tap % g->kw;
                places_inside(g->oh, g->sh, g->top, kh, g->h, &h0, &h1);
                places_inside(g->ow, g->sw, g->left, kw, g->w, &w0, &w1);
                const bool some = h1 > h0 && w1 > w0;
                lki_tile t = {.row_a = row_a,
                    .row_c = row_c,
                    .outer = lki_min(samples, g->batch - b),
                    .segs = some ? h1 - h0 : 0,
                    .k = w1 - w0,
                    .a_outer = g->oh * y_row,
                    .a_seg = y_row,
                    .a_k = g->f,
                    .b_outer = g->h * x_row,
                    .b_seg = g->sh * x_row,
                    .b_k = g->sw * g->c,
                    .n = (int)(c1 - c0),
                    .add = b > 0};
                const float *const a = dy + b * g->oh * y_row + (some ? (h0 * g->ow + w0) * g->f : 0);
                t.b = x + b * g->h * x_row + c0 +
                      (some ? (h0 * g->sh - g->top + kh) * x_row + (w0 * g->sw - g->left + kw) * g->c : 0);
                for (int64_t f = 0, left = (g->f + most - 1) / most; left > 0; left--) {
                    const int64_t now = (g->f - f + left - 1) / left;
                    t.a = a + f;
                    t.c = sum + (f * taps + tap) * g->c + c0;
                    tiles->tile(&t, (int)now);
                    f += now;
                }
            }
        }
    if (taps > 1)
        for (int64_t f = 0; f < g->f; f++)
            lki_transpose(taps, g->c, sum + f * taps * g->c, dw + f * taps * g->c);
}

/* ---- few channels ----
 * Columns are the filters of P places side by side, rows are taps and channels, contiguous in a padded input. */
typedef struct few {
    int64_t places, columns, taps; /* as in lki_pass */
    lki_padded pad;
} few;

static few few_make(const lki_tiles *t, const lki_conv *g)
{
    lki_pass p = {.batch = g->batch,
        .in_h = g->h,
        .in_w = g->w,
        .depth = g->c,
        .out_h = g->oh,
        .out_w = g->ow,
        .cols = g->f,
        .out_place = g->f,
        .kh = g->kh,
        .kw = g->kw,
        .sh = g->sh,
        .sw = g->sw,
        .top = g->top,
        .left = g->left};
    lki_pass_init(&p, t);
    return (few){p.places, p.columns, p.taps,
        {g->h, g->w, g->c, g->top, g->left, (g->oh - 1) * g->sh + g->kh, (g->ow - 1) * g->sw + g->kw}};
}

/* Rows [0, kernel rows x taps) of the sum in tiles. */
static void few_rows(const lki_tiles *tiles, lki_tile t, int64_t kernel_rows, int64_t taps, int64_t all_taps,
    int64_t in_row, int64_t columns)
{
    const int64_t most = tiles->max_rows[(t.n + tiles->lanes - 1) / tiles->lanes], rows = kernel_rows * taps;
    int64_t row_a[LK_TILE_ROWS], row_c[LK_TILE_ROWS], h = 0, j = 0;
    t.row_a = row_a;
    t.row_c = row_c;
    for (int64_t at = 0, left = (rows + most - 1) / most; left > 0; left--) {
        const int64_t now = (rows - at + left - 1) / left;
        for (int64_t r = 0; r < now; r++) {
            row_a[r] = h * in_row + j;
            row_c[r] = (h * all_taps + j) * columns;
            if (++j == taps) {
                j = 0;
                h++;
            }
        }
        tiles->tile(&t, (int)now);
        at += now;
    }
}

static void few_run(
    const lki_tiles *tiles, const lki_conv *g, const float *x, const float *dy, float *dw, float *scratch)
{
    const few v = few_make(tiles, g);
    float *const room = scratch, *const sum = scratch + lki_padded_bytes(&v.pad) / sizeof *scratch;
    const int64_t in_row = lki_padded_row(&v.pad), y_row = g->ow * g->f, groups = g->ow / v.places,
                  rest = g->ow % v.places;
    const int64_t band = BLOCK / g->ow > 1 ? BLOCK / g->ow : 1;
    const int64_t vectors = (v.columns + tiles->lanes - 1) / tiles->lanes, panels = (vectors + VECTORS - 1) / VECTORS;
    lki_padded_clear(&v.pad, room);
    for (int64_t b = 0; b < g->batch; b++) {
        const float *const in = lki_padded_sample(&v.pad, x + b * g->h * g->w * g->c, room);
        for (int64_t h = 0; h < g->oh; h += band) {
            lki_tile t = {.outer = 1,
                .segs = lki_min(band, g->oh - h),
                .a_seg = g->sh * in_row,
                .b_seg = y_row,
                .a_k = v.places * g->sw * g->c,
                .b_k = v.places * g->f,
                .add = b > 0 || h > 0};
            const float *const from = in + h * g->sh * in_row, *const grad = dy + (b * g->oh + h) * y_row;
            for (int64_t i = 0; i < panels; i++) {
                const int64_t c0 = i * vectors / panels * tiles->lanes;
                const int64_t c1 = lki_min((i + 1) * vectors / panels * tiles->lanes, v.columns);
                t.a = from;
                t.b = grad + c0;
                t.c = sum + c0;
                t.k = groups;
                t.n = (int)(c1 - c0);
                few_rows(tiles, t, g->kh, v.taps, v.taps, in_row, v.columns);
            }
            if (rest > 0) { /* no further taps than the places that are left need */
                t.a = from + groups * t.a_k;
                t.b = grad + groups * t.b_k;
                t.c = sum;
                t.k = 1;
                t.n = (int)(rest * g->f);
                t.add = true;
                few_rows(tiles, t, g->kh, (g->kw + (rest - 1) * g->sw) * g->c, v.taps, in_row, v.columns);
            }
        }
    }
    /* What the places of a group hold for one weight is added. */
    for (int64_t f = 0; f < g->f; f++)
        for (int64_t c = 0; c < g->c; c++)
            for (int64_t i = 0; i < g->kh; i++)
                for (int64_t j = 0; j < g->kw; j++) {
                    float total = 0;
                    for (int64_t p = 0; p < v.places; p++)
                        total += sum[(i * v.taps + (j + p * g->sw) * g->c + c) * v.columns + p * g->f + f];
                    *dw++ = total;
                }
}

size_t lki_weights_scratch_bytes(const lki_tiles *t, const lki_conv *g)
{
    if (many_channels(t, g))
        return taps_of(g) > 1 ? lki_floats(g->f * taps_of(g) * g->c) : 0;
    const few v = few_make(t, g);
    return lki_padded_bytes(&v.pad) + lki_floats(g->kh * v.taps * v.columns);
}

void lki_weights_run(const lki_tiles *t, const lki_conv *g, const float *x, const float *dy, float *dw, void *scratch)
{
    (many_channels(t, g) ? many_run : few_run)(t, g, x, dy, dw, scratch);
}
