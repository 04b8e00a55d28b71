/* The gradient of a convolution's weights, dw[f][c][tap] = sum over samples and places of dy[.., f] x[.., c] under the
 * kernel's tap. Sums run over some samples or rows of one (BLOCK places) in registers, then in memory. */
#include "kern/cpu/conv_pass.h"
#include <string.h>

enum { BLOCK = 1024, VECTORS = 3 };

/* ---- many channels ----
 * Columns are channels, rows are filters, tap by tap; places whose tap lies outside are left out. Groups one by one. */
static bool many_channels(const lki_tiles *t, const lki_conv *g)
{
    return g->groups > 1 || g->dilation[AT_W] > 1 || g->c >= t->lanes;
}

/* What a tap meets: a range of places on each axis, and where the first of them lies in x and dy. */
typedef struct meeting {
    int64_t from[LK_MAX_AXES], to[LK_MAX_AXES];
    bool some;
    int64_t x, dy;
} meeting;

static meeting meet(
    const lki_conv *g, const int64_t x_step[LK_MAX_AXES], const int64_t y_step[LK_MAX_AXES], int64_t tap)
{
    meeting m = {.some = true};
    for (int i = LK_MAX_AXES - 1; i >= 0; i--) {
        const int64_t at = tap % g->kernel[i] * g->dilation[i];
        lki_places_inside(g->out[i], g->stride[i], g->before[i], at, g->in[i], &m.from[i], &m.to[i]);
        m.some = m.some && m.to[i] > m.from[i];
        m.x += (m.from[i] * g->stride[i] - g->before[i] + at) * x_step[i];
        m.dy += m.from[i] * y_step[i];
        tap /= g->kernel[i];
    }
    return m;
}

/* Rows [0, filters) of a tile's sum, in tiles of nearly equal height. */
static void filter_rows(const lki_tiles *tiles, lki_tile t, int64_t filters, int64_t c_row)
{
    const int64_t most = tiles->max_rows[(t.n + tiles->lanes - 1) / tiles->lanes];
    for (int64_t left = (filters + most - 1) / most; left > 0; left--) {
        const int64_t now = (filters + left - 1) / left;
        tiles->tile(&t, (int)now);
        t.a += now;
        t.c += now * c_row;
        filters -= now;
    }
}

static void many_run(
    const lki_tiles *tiles, const lki_conv *g, const float *x, const float *dy, float *dw, float *turned)
{
    const int64_t taps = lki_product(g->kernel), channels = g->c / g->groups, filters = g->f / g->groups;
    const int64_t x_step[] = {g->in[AT_H] * g->in[AT_W] * g->c, g->in[AT_W] * g->c, g->c};
    const int64_t y_step[] = {g->out[AT_H] * g->out[AT_W] * g->f, g->out[AT_W] * g->f, g->f};
    const int64_t x_sample = lki_product(g->in) * g->c, y_sample = lki_product(g->out) * g->f;
    const int64_t places = lki_product(g->out), vectors = (channels + tiles->lanes - 1) / tiles->lanes;
    const int64_t panels = (vectors + VECTORS - 1) / VECTORS;
    /* A tile's outermost loop goes over samples, or over the planes of one. */
    const bool planes = g->out[AT_D] > 1;
    const int64_t samples = !planes && BLOCK / places > 1 ? BLOCK / places : 1;
    float *const sum = taps > 1 ? turned : dw; /* [f][tap][c] */
    int64_t row_a[LK_TILE_ROWS], row_c[LK_TILE_ROWS];
    for (int64_t r = 0; r < LK_TILE_ROWS; r++) {
        row_a[r] = r;
        row_c[r] = r * taps * channels;
    }
    for (int64_t b = 0; b < g->batch; b += samples)
        for (int64_t i = 0; i < g->groups * panels; i++) {
            const int64_t group = i / panels, panel = i % panels;
            const int64_t c0 = panel * vectors / panels * tiles->lanes;
            const int64_t c1 = lki_min((panel + 1) * vectors / panels * tiles->lanes, channels);
            for (int64_t tap = 0; tap < taps; tap++) {
                const meeting m = meet(g, x_step, y_step, tap);
                lki_tile t = {.row_a = row_a,
                    .row_c = row_c,
                    .outer = planes ? m.to[AT_D] - m.from[AT_D] : lki_min(samples, g->batch - b),
                    .segs = m.some ? m.to[AT_H] - m.from[AT_H] : 0,
                    .k = m.to[AT_W] - m.from[AT_W],
                    .a_outer = planes ? y_step[AT_D] : y_sample,
                    .a_seg = y_step[AT_H],
                    .a_k = y_step[AT_W],
                    .b_outer = planes ? g->stride[AT_D] * x_step[AT_D] : x_sample,
                    .b_seg = g->stride[AT_H] * x_step[AT_H],
                    .b_k = g->stride[AT_W] * x_step[AT_W],
                    .n = (int)(c1 - c0),
                    .add = b > 0};
                t.a = dy + b * y_sample + group * filters + (m.some ? m.dy : 0);
                t.b = x + b * x_sample + group * channels + c0 + (m.some ? m.x : 0);
                t.c = sum + (group * filters * taps + tap) * channels + c0;
                filter_rows(tiles, t, filters, taps * channels);
            }
        }
    if (taps > 1)
        for (int64_t f = 0; f < g->f; f++)
            lki_transpose(taps, channels, sum + f * taps * channels, dw + f * taps * channels);
}

/* ---- few channels ----
 * Columns are the filters of P places side by side, rows are taps and channels, contiguous in a padded input. */
typedef struct few {
    int64_t places, columns, taps; /* as in lki_pass */
    lki_padded pad;
} few;

static int64_t reach(const lki_conv *g, int axis)
{
    return (g->out[axis] - 1) * g->stride[axis] + (g->kernel[axis] - 1) * g->dilation[axis] + 1;
}

static few few_make(const lki_tiles *t, const lki_conv *g)
{
    lki_pass p = {.batch = g->batch, .groups = 1, .in_place = g->c, .depth = g->c, .cols = g->f};
    for (int i = 0; i < LK_MAX_AXES; i++) {
        p.in[i] = g->in[i];
        p.out[i] = g->out[i];
        p.kernel[i] = g->kernel[i];
        p.stride[i] = g->stride[i];
        p.dilation[i] = g->dilation[i];
        p.before[i] = g->before[i];
    }
    p.out_step[AT_W] = g->f;
    lki_pass_init(&p, t);
    return (few){p.places, p.columns, p.taps,
        {{g->in[AT_D], g->in[AT_H], g->in[AT_W]}, g->c, g->before[AT_H], g->before[AT_W], reach(g, AT_H),
            reach(g, AT_W)}};
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

/* One plane of the output under one plane of the kernel. */
static void few_plane(
    const lki_tiles *tiles, const lki_conv *g, const few *v, const float *in, const float *dy, float *sum)
{
    const int64_t in_row = lki_padded_row(&v->pad), y_row = g->out[AT_W] * g->f, groups = g->out[AT_W] / v->places,
                  rest = g->out[AT_W] % v->places;
    const int64_t band = BLOCK / g->out[AT_W] > 1 ? BLOCK / g->out[AT_W] : 1, kh = g->kernel[AT_H];
    const int64_t vectors = (v->columns + tiles->lanes - 1) / tiles->lanes, panels = (vectors + VECTORS - 1) / VECTORS;
    const int64_t down = g->stride[AT_H] * in_row, apart = g->dilation[AT_H] * in_row;
    for (int64_t h = 0; h < g->out[AT_H]; h += band) {
        lki_tile t = {.outer = 1,
            .segs = lki_min(band, g->out[AT_H] - h),
            .a_seg = down,
            .b_seg = y_row,
            .a_k = v->places * g->stride[AT_W] * g->c,
            .b_k = v->places * g->f,
            .add = true};
        const float *const from = in + h * down, *const grad = dy + h * y_row;
        for (int64_t i = 0; i < panels; i++) {
            const int64_t c0 = i * vectors / panels * tiles->lanes;
            const int64_t c1 = lki_min((i + 1) * vectors / panels * tiles->lanes, v->columns);
            t.a = from;
            t.b = grad + c0;
            t.c = sum + c0;
            t.k = groups;
            t.n = (int)(c1 - c0);
            few_rows(tiles, t, kh, v->taps, v->taps, apart, v->columns);
        }
        if (rest > 0) { /* columns of the first places; one panel, since there are several places */
            t.a = from + groups * t.a_k;
            t.b = grad + groups * t.b_k;
            t.c = sum;
            t.k = 1;
            t.n = (int)(rest * g->f);
            few_rows(tiles, t, kh, (g->kernel[AT_W] + (rest - 1) * g->stride[AT_W]) * g->c, v->taps, apart, v->columns);
        }
    }
}

static int64_t few_sum(const lki_conv *g, const few *v)
{
    return g->kernel[AT_D] * g->kernel[AT_H] * v->taps * v->columns;
}

static void few_run(
    const lki_tiles *tiles, const lki_conv *g, const float *x, const float *dy, float *dw, float *scratch)
{
    const few v = few_make(tiles, g);
    float *const room = scratch, *const sum = scratch + lki_padded_bytes(&v.pad) / sizeof *scratch;
    const int64_t rows = g->kernel[AT_D] * g->kernel[AT_H], plane = g->kernel[AT_H] * v.taps * v.columns;
    memset(sum, 0, (size_t)few_sum(g, &v) * sizeof *sum);
    lki_padded_clear(&v.pad, room);
    for (int64_t b = 0; b < g->batch; b++) {
        const float *const in = lki_padded_sample(&v.pad, x + b * lki_product(g->in) * g->c, room);
        for (int64_t d = 0; d < g->out[AT_D]; d++) {
            const int64_t first = d * g->stride[AT_D] - g->before[AT_D];
            int64_t from, to;
            lki_taps_inside(first, g->kernel[AT_D], g->dilation[AT_D], g->in[AT_D], &from, &to);
            for (int64_t i = from; i < to; i++)
                few_plane(tiles, g, &v, in + (first + i * g->dilation[AT_D]) * lki_padded_plane(&v.pad),
                    dy + (b * g->out[AT_D] + d) * g->out[AT_H] * g->out[AT_W] * g->f, sum + i * plane);
        }
    }
    /* Add up the places, each moved by its stride, and turn to [f][c][tap]. */
    for (int64_t f = 0; f < g->f; f++)
        for (int64_t c = 0; c < g->c; c++)
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < g->kernel[AT_W]; j++) {
                    float total = 0;
                    for (int64_t p = 0; p < v.places; p++)
                        total += sum[(i * v.taps + (j + p * g->stride[AT_W]) * g->c + c) * v.columns + p * g->f + f];
                    *dw++ = total;
                }
}

size_t lki_weights_scratch_bytes(const lki_tiles *t, const lki_conv *g)
{
    const int64_t taps = lki_product(g->kernel);
    if (lki_winograd_fits_weights(g))
        return lki_winograd_weights_bytes(g);
    if (many_channels(t, g))
        return taps > 1 ? lki_floats(g->f * taps * (g->c / g->groups)) : 0;
    const few v = few_make(t, g);
    return lki_padded_bytes(&v.pad) + lki_floats(few_sum(g, &v));
}

void lki_weights_run(const lki_tiles *t, const lki_conv *g, const float *x, const float *dy, float *dw, void *scratch)
{
    if (lki_winograd_fits_weights(g))
        lki_winograd_weights(t, g, x, dy, dw, scratch);
    else
        (many_channels(t, g) ? many_run : few_run)(t, g, x, dy, dw, scratch);
}
