/* 3 x 3 convolutions of stride 1 by 2 x 2 tiles of the output (Lavin & Gray 2016, "Fast algorithms for convolutional
 * neural networks", section 4.1, F(2x2, 3x3)): 16 products in the place of 36. With input tiles x [4][4], kernels g
 * [3][3], y = A' ((G g G') * (B' x B)) A,    * element by element, summed over channels: 16 matrix products over tiles,
 *   B' = 1  0 -1  0    G =  1    0    0    A' = 1  1  1  0
 *        0  1  1  0        1/2  1/2  1/2        0  1 -1 -1
 *        0 -1  1  0        1/2 -1/2  1/2
 *        0  1  0 -1         0    0    1
 * and for the gradient of the kernels, from output tiles dy [2][2] and the same x: dg = G' (sum over tiles (A dy A') *
 * (B' x B)) G. Tiles are taken in blocks, so that what one block is turned into stays in the caches. Element-wise loops
 * go by eight channels, and give the same bits on all machines. */
#include "kern/cpu/conv_pass.h"
#include <string.h>

typedef float eight __attribute__((vector_size(32)));
typedef float eight_at __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t eight_mask __attribute__((vector_size(32)));
#define AT(p) ((eight)(*(const eight_at *)(p)))
#define STORE(p, v) (*(eight_at *)(p) = (v))
enum { EIGHT = 8, POINTS = 16, VECTORS = 3, PACK = 16, DEEP = 8 };
#define UNROLL _Pragma("GCC unroll 16")

/* Tiles in a block: as many as fit the nearer caches, and not so few that the weights pass by too often. */
enum { BLOCK_FLOATS = 4096, BLOCK_LEAST = 64, BLOCK_LEAST_WEIGHTS = 256 };
/* Filters whose gradients at all points are summed before those of the next. */
enum { FILTERS = 64 };

/* Tiles down and across; how many rows of them make a block. */
typedef struct grid {
    int64_t down, across, rows;
} grid;

static grid grid_make(int64_t h, int64_t w, int64_t channels, int64_t least)
{
    grid g = {(h + 1) / 2, (w + 1) / 2, 0};
    int64_t tiles = BLOCK_FLOATS / channels;
    if (tiles < least)
        tiles = least;
    g.rows = tiles / g.across > 1 ? tiles / g.across : 1;
    return g;
}

/* Distance of the points of n numbers: a cache line more, since distances of powers of two would put all sixteen points
 * of a tile into the same few lines of the nearest cache. */
static int64_t point_size(int64_t n)
{
    return (n + 15) / 16 * 16 + 16;
}

static int64_t whole_lanes(const lki_tiles *t, int64_t n)
{
    return (n + t->lanes - 1) / t->lanes * t->lanes;
}

/* Columns in panels of up to VECTORS vectors. */
static int64_t panel_count(const lki_tiles *t, int64_t columns)
{
    return (columns + VECTORS * t->lanes - 1) / (VECTORS * t->lanes);
}

static int64_t panel_start(const lki_tiles *t, int64_t columns, int64_t i)
{
    return i * (whole_lanes(t, columns) / t->lanes) / panel_count(t, columns) * t->lanes;
}

/* ---- transforms ---- */
/* v[point][tile][c] of a row of tiles: B' x B, x at `in`, with rows `row` apart. */
LK_CLONES static void input_tiles(int64_t tiles, int64_t c, const float *in, int64_t row, float *v, int64_t point)
{
    for (int64_t t = 0; t < tiles; t++, in += 2 * c, v += c)
        for (int64_t k = 0; k < c; k += EIGHT) {
            eight b[4][4];
            UNROLL for (int j = 0; j < 4; j++)
            {
                const float *const x = in + j * c + k;
                const eight x0 = AT(x), x1 = AT(x + row), x2 = AT(x + 2 * row), x3 = AT(x + 3 * row);
                b[0][j] = x0 - x2;
                b[1][j] = x1 + x2;
                b[2][j] = x2 - x1;
                b[3][j] = x1 - x3;
            }
            UNROLL for (int i = 0; i < 4; i++)
            {
                float *const to = v + 4 * i * point + k;
                STORE(to, b[i][0] - b[i][2]);
                STORE(to + point, b[i][1] + b[i][2]);
                STORE(to + 2 * point, b[i][2] - b[i][1]);
                STORE(to + 3 * point, b[i][1] - b[i][3]);
            }
        }
}

/* v[point][tile][f] of a row of tiles: A dy A', dy with rows `row` apart. */
LK_CLONES static void gradient_tiles(int64_t tiles, int64_t f, const float *dy, int64_t row, float *v, int64_t point)
{
    for (int64_t t = 0; t < tiles; t++, dy += 2 * f, v += f)
        for (int64_t k = 0; k < f; k += EIGHT) {
            eight a[4][2];
            UNROLL for (int j = 0; j < 2; j++)
            {
                const eight top = AT(dy + j * f + k), bottom = AT(dy + row + j * f + k);
                a[0][j] = top;
                a[1][j] = top + bottom;
                a[2][j] = top - bottom;
                a[3][j] = -bottom;
            }
            UNROLL for (int i = 0; i < 4; i++)
            {
                float *const to = v + 4 * i * point + k;
                STORE(to, a[i][0]);
                STORE(to + point, a[i][0] + a[i][1]);
                STORE(to + 2 * point, a[i][0] - a[i][1]);
                STORE(to + 3 * point, -a[i][1]);
            }
        }
}

/* act(A' m A + bias) of a row of tiles, m[point][tile][f], to `rows` (1 or 2) rows of `width` places. */
LK_CLONES static void output_tiles(int64_t tiles, int64_t f, const float *m, int64_t step, int64_t point,
    const float *bias, bool relu, float *out, int64_t row, int64_t place, int64_t rows, int64_t width)
{
    const eight zero = {0};
    for (int64_t t = 0; t < tiles; t++, m += step, out += 2 * place)
        for (int64_t k = 0; k < f; k += EIGHT) {
            eight a[2][4];
            UNROLL for (int j = 0; j < 4; j++)
            {
                const float *const x = m + j * point + k;
                const eight x1 = AT(x + 4 * point), x2 = AT(x + 8 * point);
                a[0][j] = AT(x) + x1 + x2;
                a[1][j] = x1 - x2 - AT(x + 12 * point);
            }
            const eight b = bias ? AT(bias + k) : zero;
            for (int i = 0; i < rows; i++) {
                eight y0 = a[i][0] + a[i][1] + a[i][2] + b, y1 = a[i][1] - a[i][2] - a[i][3] + b;
                if (relu) {
                    y0 = (eight)((eight_mask)y0 & ~(y0 < zero));
                    y1 = (eight)((eight_mask)y1 & ~(y1 < zero));
                }
                STORE(out + i * row + k, y0);
                if (2 * t + 1 < width)
                    STORE(out + i * row + place + k, y1);
            }
        }
}

/* G g G' of PACK columns, g[tap][column]: to[point][column]. */
LK_CLONES static void kernel_points(const float g[9][PACK], float to[POINTS][PACK])
{
    for (int c = 0; c < PACK; c += EIGHT) {
        eight b[4][3];
        UNROLL for (int j = 0; j < 3; j++)
        {
            const eight top = AT(g[j] + c), bottom = AT(g[6 + j] + c);
            const eight half = (top + bottom) * 0.5f, middle = AT(g[3 + j] + c) * 0.5f;
            b[0][j] = top;
            b[1][j] = half + middle;
            b[2][j] = half - middle;
            b[3][j] = bottom;
        }
        UNROLL for (int i = 0; i < 4; i++)
        {
            const eight half = (b[i][0] + b[i][2]) * 0.5f, middle = b[i][1] * 0.5f;
            STORE(to[4 * i] + c, b[i][0]);
            STORE(to[4 * i + 1] + c, half + middle);
            STORE(to[4 * i + 2] + c, half - middle);
            STORE(to[4 * i + 3] + c, b[i][2]);
        }
    }
}

/* G' s G of one filter: s[point][c] at a distance of `point`, to dw [c][3][3]. */
LK_CLONES static void kernel_gradient(int64_t channels, const float *restrict s, int64_t point, float *restrict dw)
{
    for (int64_t c = 0; c < channels; c++) {
        float b[3][4];
        for (int j = 0; j < 4; j++) {
            const float *const x = s + j * point + c;
            const float sum = (x[4 * point] + x[8 * point]) * 0.5f, difference = (x[4 * point] - x[8 * point]) * 0.5f;
            b[0][j] = x[0] + sum;
            b[1][j] = difference;
            b[2][j] = sum + x[12 * point];
        }
        for (int i = 0; i < 3; i++) {
            const float sum = (b[i][1] + b[i][2]) * 0.5f, difference = (b[i][1] - b[i][2]) * 0.5f;
            dw[c * 9 + 3 * i] = b[i][0] + sum;
            dw[c * 9 + 3 * i + 1] = difference;
            dw[c * 9 + 3 * i + 2] = sum + b[i][3];
        }
    }
}

/* ---- passes ---- */
/* From here on it pays: products saved, counting the ones that a window over the edge leaves out. */
static const double least_gain = 1.25;
enum { LEAST_CHANNELS = 16 };

static bool fits(int64_t c, int64_t f, const int64_t kernel[LK_MAX_AXES], const int64_t out[LK_MAX_AXES], double inside)
{
    if (c < LEAST_CHANNELS || f < LEAST_CHANNELS || c % EIGHT != 0 || f % EIGHT != 0)
        return false;
    if (kernel[AT_D] != 1 || kernel[AT_H] != 3 || kernel[AT_W] != 3)
        return false;
    const double tiles = (double)((out[AT_H] + 1) / 2) * (double)((out[AT_W] + 1) / 2);
    return least_gain * POINTS * tiles <= 9 * inside * (double)out[AT_H] * (double)out[AT_W];
}

bool lki_winograd_fits(const lki_pass *p, double inside)
{
    bool plain = p->groups == 1 && p->dense && p->in[AT_D] == 1 && p->out[AT_D] == 1 && p->before[AT_D] == 0;
    for (int i = AT_H; i <= AT_W; i++)
        plain = plain && p->stride[i] == 1 && p->dilation[i] == 1 && p->before[i] >= 0;
    return plain && fits(p->depth, p->cols, p->kernel, p->out, inside);
}

static lki_padded padded(
    int64_t h, int64_t w, int64_t channels, int64_t top, int64_t left, int64_t rows, int64_t columns)
{
    return (lki_padded){{1, h, w}, channels, top, left, rows, columns};
}

static grid pass_grid(const lki_pass *p)
{
    return grid_make(p->out[AT_H], p->out[AT_W], p->depth + p->cols, BLOCK_LEAST);
}

static lki_padded pass_padded(const lki_pass *p, const grid *g)
{
    return padded(
        p->in[AT_H], p->in[AT_W], p->depth, p->before[AT_H], p->before[AT_W], 2 * g->down + 2, 2 * g->across + 2);
}

static int64_t packed_point(const lki_pass *p)
{
    return point_size(p->depth * whole_lanes(p->tiles, p->cols));
}

size_t lki_winograd_packed_bytes(const lki_pass *p)
{
    return lki_floats(POINTS * packed_point(p));
}

size_t lki_winograd_scratch_bytes(const lki_pass *p)
{
    const grid g = pass_grid(p);
    const lki_padded pad = pass_padded(p, &g);
    return lki_padded_bytes(&pad) + lki_floats(POINTS * point_size(g.rows * g.across * p->depth)) +
           lki_floats(POINTS * point_size(g.rows * g.across * p->cols));
}

static inline void gather_kernel(const lki_weight_walk *k, const float *v, float g[9][PACK], int64_t c)
{
    UNROLL for (int h = 0; h < 3; h++) UNROLL for (int j = 0; j < 3; j++) g[3 * h + j][c] =
        v[h * k->by_tap[AT_H] + j * k->by_tap[AT_W]];
}

/* Kernels of n columns and `deep` depths from the weights at w, in the order of memory. */
static void gather_kernels(const lki_weight_walk *k, const float *w, int64_t n, int64_t deep, float g[DEEP][9][PACK])
{
    if (k->by_col > k->by_depth) {
        for (int64_t c = 0; c < n; c++)
            for (int64_t d = 0; d < deep; d++)
                gather_kernel(k, w + c * k->by_col + d * k->by_depth, g[d], c);
    } else {
        for (int64_t d = 0; d < deep; d++)
            for (int64_t c = 0; c < n; c++)
                gather_kernel(k, w + c * k->by_col + d * k->by_depth, g[d], c);
    }
}

/* [point][panel][depth][columns of the panel] */
void lki_winograd_pack(const lki_pass *p, const float *w, float *packed)
{
    const lki_weight_walk *const k = &p->walk;
    const int64_t point = packed_point(p);
    float g[DEEP][9][PACK] = {{{0}}}, to[POINTS][PACK];
    if (p->cols % p->tiles->lanes != 0)
        memset(packed, 0, lki_winograd_packed_bytes(p));
    for (int64_t i = 0; i < panel_count(p->tiles, p->cols); i++) {
        const int64_t from = panel_start(p->tiles, p->cols, i), width = panel_start(p->tiles, p->cols, i + 1) - from;
        const int64_t n = lki_min(width, p->cols - from);
        for (int64_t d0 = 0; d0 < p->depth; d0 += DEEP)
            for (int64_t c0 = 0; c0 < n; c0 += PACK) {
                const int64_t now = lki_min(PACK, n - c0), deep = lki_min(DEEP, p->depth - d0);
                gather_kernels(k, w + k->start + (from + c0) * k->by_col + d0 * k->by_depth, now, deep, g);
                for (int64_t d = 0; d < deep; d++) {
                    float *const at = packed + p->depth * from + (d0 + d) * width + c0;
                    kernel_points((const float(*)[PACK])g[d], to);
                    for (int64_t x = 0; x < POINTS && now == PACK; x++)
                        memcpy(at + x * point, to[x], sizeof to[x]);
                    for (int64_t x = 0; x < POINTS && now < PACK; x++)
                        memcpy(at + x * point, to[x], (size_t)now * sizeof to[x][0]);
                }
            }
    }
}

/* `rows` rows of a tile's row_a, row_c, in tiles of nearly equal height. */
static void run_rows(const lki_tiles *tiles, lki_tile t, int64_t rows, int64_t a_row, int64_t c_row)
{
    const int64_t most = tiles->max_rows[(t.n + tiles->lanes - 1) / tiles->lanes];
    for (int64_t left = (rows + most - 1) / most; left > 0; left--) {
        const int64_t now = (rows + left - 1) / left;
        tiles->tile(&t, (int)now);
        t.a += now * a_row;
        t.c += now * c_row;
        rows -= now;
    }
}

/* m [point][tile][cols] = v [point][tile][depth] times the packed weights. */
static void multiply(const lki_pass *p, int64_t tiles, const float *v, const float *packed, float *m)
{
    int64_t row_a[LK_TILE_ROWS], row_c[LK_TILE_ROWS];
    for (int64_t r = 0; r < LK_TILE_ROWS; r++) {
        row_a[r] = r * p->depth;
        row_c[r] = r * p->cols;
    }
    for (int64_t x = 0; x < POINTS; x++)
        for (int64_t i = 0; i < panel_count(p->tiles, p->cols); i++) {
            const int64_t from = panel_start(p->tiles, p->cols, i),
                          width = panel_start(p->tiles, p->cols, i + 1) - from;
            const lki_tile t = {.a = v + x * point_size(tiles * p->depth),
                .b = packed + x * packed_point(p) + p->depth * from,
                .c = m + x * point_size(tiles * p->cols) + from,
                .row_a = row_a,
                .row_c = row_c,
                .segs = 1,
                .k = p->depth,
                .a_k = 1,
                .b_k = width,
                .n = (int)lki_min(width, p->cols - from)};
            run_rows(p->tiles, t, tiles, p->depth, p->cols);
        }
}

void lki_winograd_run(
    const lki_pass *p, const float *in, const float *packed, const float *bias, bool relu, float *out, void *scratch)
{
    const grid g = pass_grid(p);
    const lki_padded pad = pass_padded(p, &g);
    float *const room = scratch, *const v = (float *)((char *)scratch + lki_padded_bytes(&pad));
    float *const m = (float *)((char *)v + lki_floats(POINTS * point_size(g.rows * g.across * p->depth)));
    const int64_t in_row = lki_padded_row(&pad), all = p->batch * g.down;
    const float *sample = NULL;
    lki_padded_clear(&pad, room);
    out += p->out_start;
    for (int64_t r0 = 0; r0 < all; r0 += g.rows) {
        const int64_t rows = lki_min(g.rows, all - r0), tiles = rows * g.across;
        for (int64_t r = r0; r < r0 + rows; r++) {
            if (r % g.down == 0 || !sample)
                sample = lki_padded_sample(&pad, in + r / g.down * p->in[AT_H] * p->in[AT_W] * p->depth, room);
            input_tiles(g.across, p->depth, sample + r % g.down * 2 * in_row, in_row,
                v + (r - r0) * g.across * p->depth, point_size(tiles * p->depth));
        }
        multiply(p, tiles, v, packed, m);
        for (int64_t r = r0; r < r0 + rows; r++) {
            const int64_t h = r % g.down * 2;
            output_tiles(g.across, p->cols, m + (r - r0) * g.across * p->cols, p->cols, point_size(tiles * p->cols),
                bias, relu, out + r / g.down * p->out_sample + h * p->out_step[AT_H], p->out_step[AT_H],
                p->out_step[AT_W], lki_min(2, p->out[AT_H] - h), p->out[AT_W]);
        }
    }
}

/* ---- the gradient of the weights ---- */
bool lki_winograd_fits_weights(const lki_conv *g)
{
    bool plain = g->groups == 1 && g->in[AT_D] == 1 && g->out[AT_D] == 1 && g->before[AT_D] == 0;
    for (int i = AT_H; i <= AT_W; i++)
        plain = plain && g->stride[i] == 1 && g->dilation[i] == 1 && g->before[i] >= 0;
    if (!plain)
        return false;
    double inside = 1;
    for (int i = AT_H; i <= AT_W; i++) {
        int64_t sum = 0;
        for (int64_t k = 0; k < g->kernel[i]; k++) {
            int64_t from, to;
            lki_places_inside(g->out[i], 1, g->before[i], k, g->in[i], &from, &to);
            sum += to - from;
        }
        inside *= (double)sum / ((double)g->out[i] * (double)g->kernel[i]);
    }
    return fits(g->c, g->f, g->kernel, g->out, inside);
}

typedef struct weights_room {
    grid g;
    lki_padded x, dy;
    int64_t filters; /* for which sums are kept at a time: a part of them if there is but one block of tiles */
} weights_room;

static weights_room weights_make(const lki_conv *g)
{
    weights_room r = {.g = grid_make(g->out[AT_H], g->out[AT_W], g->c + g->f, BLOCK_LEAST_WEIGHTS)};
    r.x =
        padded(g->in[AT_H], g->in[AT_W], g->c, g->before[AT_H], g->before[AT_W], 2 * r.g.down + 2, 2 * r.g.across + 2);
    r.dy = padded(g->out[AT_H], g->out[AT_W], g->f, 0, 0, 2 * r.g.down, 2 * r.g.across);
    r.filters = g->batch * r.g.down <= r.g.rows ? lki_min(FILTERS, g->f) : g->f;
    return r;
}

size_t lki_winograd_weights_bytes(const lki_conv *g)
{
    const weights_room r = weights_make(g);
    const int64_t tiles = r.g.rows * r.g.across;
    return lki_padded_bytes(&r.x) + lki_padded_bytes(&r.dy) + lki_floats(POINTS * point_size(tiles * g->c)) +
           lki_floats(POINTS * point_size(tiles * g->f)) + lki_floats(POINTS * point_size(g->c * r.filters));
}

void lki_winograd_weights(
    const lki_tiles *t, const lki_conv *g, const float *x, const float *dy, float *dw, void *scratch)
{
    const weights_room r = weights_make(g);
    const int64_t most = r.g.rows * r.g.across, all = g->batch * r.g.down;
    const int64_t point = point_size(g->c * r.filters);
    char *at = scratch;
    float *const room_x = (float *)at, *const room_dy = (float *)(at += lki_padded_bytes(&r.x));
    float *const v = (float *)(at += lki_padded_bytes(&r.dy)), *const u =
                                                                   (float *)(at += lki_floats(
                                                                                 POINTS * point_size(most * g->c)));
    float *const sum = (float *)(at + lki_floats(POINTS * point_size(most * g->f))); /* [point][f][c] */
    const int64_t x_row = lki_padded_row(&r.x), y_row = lki_padded_row(&r.dy);
    const float *sample_x = NULL, *sample_dy = NULL;
    int64_t row_a[LK_TILE_ROWS], row_c[LK_TILE_ROWS];
    for (int64_t i = 0; i < LK_TILE_ROWS; i++) {
        row_a[i] = i;
        row_c[i] = i * g->c;
    }
    lki_padded_clear(&r.x, room_x);
    lki_padded_clear(&r.dy, room_dy);
    for (int64_t r0 = 0; r0 < all; r0 += r.g.rows) {
        const int64_t rows = lki_min(r.g.rows, all - r0), tiles = rows * r.g.across;
        for (int64_t i = r0; i < r0 + rows; i++) {
            const int64_t b = i / r.g.down, h = i % r.g.down * 2;
            if (h == 0 || !sample_x) {
                sample_x = lki_padded_sample(&r.x, x + b * g->in[AT_H] * g->in[AT_W] * g->c, room_x);
                sample_dy = lki_padded_sample(&r.dy, dy + b * g->out[AT_H] * g->out[AT_W] * g->f, room_dy);
            }
            input_tiles(r.g.across, g->c, sample_x + h * x_row, x_row, v + (i - r0) * r.g.across * g->c,
                point_size(tiles * g->c));
            gradient_tiles(r.g.across, g->f, sample_dy + h * y_row, y_row, u + (i - r0) * r.g.across * g->f,
                point_size(tiles * g->f));
        }
        for (int64_t f = 0; f < g->f; f += FILTERS) {
            const int64_t filters = lki_min(FILTERS, g->f - f);
            for (int64_t k = 0; k < POINTS; k++)
                for (int64_t i = 0; i < panel_count(t, g->c); i++) {
                    const int64_t from = panel_start(t, g->c, i), width = panel_start(t, g->c, i + 1) - from;
                    const lki_tile one = {.a = u + k * point_size(tiles * g->f) + f,
                        .b = v + k * point_size(tiles * g->c) + from,
                        .c = sum + k * point + f % r.filters * g->c + from,
                        .row_a = row_a,
                        .row_c = row_c,
                        .segs = 1,
                        .k = tiles,
                        .a_k = g->f,
                        .b_k = g->c,
                        .n = (int)lki_min(width, g->c - from),
                        .add = r0 > 0};
                    run_rows(t, one, filters, 1, g->c);
                }
            for (int64_t i = 0; i < filters && r0 + rows == all; i++)
                kernel_gradient(g->c, sum + (f + i) % r.filters * g->c, point, dw + (f + i) * g->c * 9);
        }
    }
}
