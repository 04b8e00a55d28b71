/* Passes of a convolution: windows of one value to places of another. */
#include "kern/cpu/conv_pass.h"
#include <string.h>

/* ---- one sample with zeros around ---- */
static bool in_place(const lki_padded *p)
{
    return p->top == 0 && p->left == 0 && p->h <= p->in_h && p->w <= p->in_w;
}

int64_t lki_padded_row(const lki_padded *p)
{
    return (in_place(p) ? p->in_w : p->w) * p->depth;
}

size_t lki_padded_bytes(const lki_padded *p)
{
    return in_place(p) ? 0 : lki_floats(p->h * p->w * p->depth);
}

static void zero(int64_t n, float *x)
{
    memset(x, 0, (size_t)n * sizeof *x);
}

/* All of it: the copies of samples overwrite the same part each time. */
void lki_padded_clear(const lki_padded *p, float *room)
{
    if (!in_place(p))
        zero(p->h * p->w * p->depth, room);
}

const float *lki_padded_sample(const lki_padded *p, const float *in, float *room)
{
    if (in_place(p))
        return in;
    const int64_t rows = lki_min(p->in_h, p->h - p->top), n = lki_min(p->in_w, p->w - p->left) * p->depth;
    if (n <= 0) /* windows that see zeros alone */
        return room;
    float *to = room + (p->top * p->w + p->left) * p->depth;
    for (int64_t i = 0; i < rows; i++, to += p->w * p->depth, in += p->in_w * p->depth)
        memcpy(to, in, (size_t)n * sizeof *to);
    return room;
}

/* ---- choices ---- */
enum { PANEL = 3 }; /* vectors of columns in one tile, at most */

static int64_t whole_lanes(const lki_tiles *t, int64_t n)
{
    return (n + t->lanes - 1) / t->lanes * t->lanes;
}

/* The number of places that wastes least: share of lanes in use times share of taps that are no zeros. */
static int64_t best_places(const lki_pass *p, const lki_tiles *t)
{
    int64_t best = 1;
    if (p->out_place != p->cols)
        return 1;
    for (int64_t n = 2; n <= p->out_w && n * p->cols <= PANEL * t->lanes; n++) {
        const int64_t cost = whole_lanes(t, n * p->cols) * (p->kw + (n - 1) * p->sw);
        const int64_t best_cost = whole_lanes(t, best * p->cols) * (p->kw + (best - 1) * p->sw);
        if (cost * best < best_cost * n)
            best = n;
    }
    return best;
}

/* Sum over places of one axis of the taps that lie inside. */
static int64_t taps_inside(int64_t places, int64_t stride, int64_t before, int64_t kernel, int64_t size)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < places; i++) {
        const int64_t first = i * stride - before;
        const int64_t from = first < 0 ? 0 : first, to = lki_min(first + kernel, size);
        sum += to > from ? to - from : 0;
    }
    return sum;
}

/* Zeros are left out where rows are samples, and multiplied where they are places. */
enum { MIN_BATCH = 8 };
static const double most_inside = 0.93;

static lki_padded padded(const lki_pass *p)
{
    return (lki_padded){
        p->in_h, p->in_w, p->depth, p->top, p->left, (p->out_h - 1) * p->sh + p->kh, (p->out_w - 1) * p->sw + p->kw};
}

void lki_pass_init(lki_pass *p, const lki_tiles *t)
{
    p->tiles = t;
    p->places = best_places(p, t);
    p->columns = p->places * p->cols;
    p->taps = (p->kw + (p->places - 1) * p->sw) * p->depth;
    const double inside = (double)taps_inside(p->out_h, p->sh, p->top, p->kh, p->in_h) *
                          (double)taps_inside(p->out_w, p->sw, p->left, p->kw, p->in_w);
    const double all = (double)(p->out_h * p->kh) * (double)(p->out_w * p->kw);
    p->by_sample =
        p->top < 0 || p->left < 0 || p->out_place != p->cols || (p->batch >= MIN_BATCH && inside < most_inside * all);
}

size_t lki_pass_scratch_bytes(const lki_pass *p)
{
    const lki_padded room = padded(p);
    return lki_floats(p->columns) + (p->by_sample ? 0 : lki_padded_bytes(&room));
}

/* ---- packed weights: panel by panel, [kernel row][tap][columns of the panel], columns in whole vectors ---- */
static int64_t panel_count(const lki_pass *p)
{
    return (p->columns + PANEL * p->tiles->lanes - 1) / (PANEL * p->tiles->lanes);
}

/* First column of panel i: vectors are dealt out evenly. */
static int64_t panel_start(const lki_pass *p, int64_t i)
{
    return i * (whole_lanes(p->tiles, p->columns) / p->tiles->lanes) / panel_count(p) * p->tiles->lanes;
}

size_t lki_pass_packed_bytes(const lki_pass *p)
{
    return lki_floats(p->kh * p->taps * whole_lanes(p->tiles, p->columns));
}

enum { PACK_COLUMNS = 16 };

void lki_pass_pack(const lki_pass *p, const float *w, float *packed)
{
    const lki_weight_walk *const k = &p->walk;
    if (p->places > 1 || p->columns % p->tiles->lanes != 0)
        memset(packed, 0, lki_pass_packed_bytes(p));
    for (int64_t i = 0; i < panel_count(p); i++) {
        const int64_t from = panel_start(p, i), width = panel_start(p, i + 1) - from;
        float *const panel = packed + p->kh * p->taps * from;
        for (int64_t place = 0; place < p->places; place++) {
            /* Several places have one panel; several panels have one place. Few columns at a time: each reads a stream
             * of its own. */
            const int64_t n = lki_min(p->cols - from, width);
            for (int64_t col0 = 0; col0 < n; col0 += PACK_COLUMNS)
                for (int64_t d = 0; d < p->depth; d++)
                    for (int64_t tap = 0; tap < p->kh * p->kw; tap++) {
                        const int64_t h = tap / p->kw, j = tap % p->kw;
                        const float *const v =
                            w + k->start + (from + col0) * k->by_col + d * k->by_depth + h * k->by_h + j * k->by_w;
                        float *const to =
                            panel + (h * p->taps + (place * p->sw + j) * p->depth + d) * width + place * p->cols + col0;
                        const int64_t now = lki_min(n - col0, PACK_COLUMNS);
                        for (int64_t col = 0; col < now; col++)
                            to[col] = v[col * k->by_col];
                    }
        }
    }
}

/* ---- runs ---- */
static int64_t most_rows(const lki_pass *p, int64_t columns)
{
    return p->tiles->max_rows[whole_lanes(p->tiles, columns) / p->tiles->lanes];
}

/* `rows` rows of t->row_a, row_c in tiles of nearly equal height. */
static void run_rows(const lki_tiles *tiles, lki_tile t, int64_t rows, int64_t most)
{
    for (int64_t left = (rows + most - 1) / most; left > 0; left--) {
        const int64_t now = (rows + left - 1) / left;
        tiles->tile(&t, (int)now);
        t.row_a += now;
        t.row_c += now;
        rows -= now;
    }
}

/* Tile rows are groups of places of one sample; of several rows of it where they are short. */
static void run_by_place(const lki_pass *p, lki_tile t, int64_t panel, const float *in, int64_t in_row, float *out)
{
    const int64_t groups = p->out_w / p->places, rest = p->out_w % p->places, in_step = p->places * p->sw * p->depth;
    const int64_t most = most_rows(p, t.n), out_step = p->places * p->cols;
    int64_t row_a[2 * LK_TILE_ROWS], row_c[2 * LK_TILE_ROWS];
    t.row_a = row_a;
    t.row_c = row_c;
    out += panel;
    if (groups < most) {
        const int64_t band = groups > 0 ? (most + groups - 1) / groups : 1;
        for (int64_t i = 0; i < band * groups; i++) {
            row_a[i] = i / groups * p->sh * in_row + i % groups * in_step;
            row_c[i] = i / groups * p->out_row + i % groups * out_step;
        }
        for (int64_t h = 0; h < p->out_h; h += band) {
            t.a = in + h * p->sh * in_row;
            t.c = out + h * p->out_row;
            run_rows(p->tiles, t, lki_min(band, p->out_h - h) * groups, most);
        }
    } else {
        for (int64_t i = 0; i < most; i++) {
            row_a[i] = i * in_step;
            row_c[i] = i * out_step;
        }
        for (int64_t h = 0; h < p->out_h; h++)
            for (int64_t at = 0, left = (groups + most - 1) / most; left > 0; left--) {
                const int64_t now = (groups - at + left - 1) / left;
                t.a = in + h * p->sh * in_row + at * in_step;
                t.c = out + h * p->out_row + at * out_step;
                p->tiles->tile(&t, (int)now);
                at += now;
            }
    }
    /* Places that are left of a group: its first columns, and no further taps than they need. */
    row_a[0] = row_c[0] = 0;
    t.n = (int)(rest * p->cols);
    t.k = (p->kw + (rest - 1) * p->sw) * p->depth;
    for (int64_t h = 0; rest > 0 && h < p->out_h; h++) {
        t.a = in + h * p->sh * in_row + groups * in_step;
        t.c = out + h * p->out_row + groups * out_step;
        p->tiles->tile(&t, 1);
    }
}

/* Tile rows are samples, so that a group at the edge leaves out all that lies beyond, for all of them alike. */
static void run_by_sample(const lki_pass *p, lki_tile t, int64_t panel, const float *in, float *out)
{
    const int64_t in_row = p->in_w * p->depth, in_sample = p->in_h * in_row, columns = t.n;
    const float *const b = t.b;
    int64_t row_a[LK_TILE_ROWS], row_c[LK_TILE_ROWS];
    for (int64_t i = 0; i < LK_TILE_ROWS; i++) {
        row_a[i] = i * in_sample;
        row_c[i] = i * p->out_sample;
    }
    t.row_a = row_a;
    t.row_c = row_c;
    for (int64_t h = 0; h < p->out_h; h++)
        for (int64_t w = 0; w < p->out_w; w += p->places) {
            const int64_t places = lki_min(p->places, p->out_w - w);
            const int64_t h0 = h * p->sh - p->top, w0 = w * p->sw - p->left;
            const int64_t from_h = h0 < 0 ? 0 : h0, to_h = lki_min(h0 + p->kh, p->in_h);
            const int64_t from_w = w0 < 0 ? 0 : w0, to_w = lki_min(w0 + p->kw + (places - 1) * p->sw, p->in_w);
            const bool some = to_h > from_h && to_w > from_w;
            t.segs = some ? to_h - from_h : 0;
            t.k = some ? (to_w - from_w) * p->depth : 0;
            t.a = in + (some ? from_h * in_row + from_w * p->depth : 0);
            t.b = b + (some ? ((from_h - h0) * p->taps + (from_w - w0) * p->depth) * t.b_k : 0);
            t.n = (int)lki_min(columns, places * p->cols - panel);
            t.c = out + h * p->out_row + w * p->out_place + panel;
            const int64_t most = most_rows(p, t.n);
            for (int64_t at = 0, left = (p->batch + most - 1) / most; left > 0; left--) {
                const int64_t now = (p->batch - at + left - 1) / left;
                p->tiles->tile(&t, (int)now);
                t.a += now * in_sample;
                t.c += now * p->out_sample;
                at += now;
            }
        }
}

void lki_pass_run(
    const lki_pass *p, const float *in, const float *packed, const float *bias, bool relu, float *out, void *scratch)
{
    const lki_padded pad = padded(p);
    const int64_t in_row = p->by_sample ? p->in_w * p->depth : lki_padded_row(&pad);
    float *const wide_bias = scratch, *const room = (float *)((char *)scratch + lki_floats(p->columns));
    for (int64_t i = 0; bias && i < p->columns; i++)
        wide_bias[i] = bias[i % p->cols];
    out += p->out_start;
    if (!p->by_sample)
        lki_padded_clear(&pad, room);
    for (int64_t b = 0; b < (p->by_sample ? 1 : p->batch); b++) {
        const float *const from =
            p->by_sample ? in : lki_padded_sample(&pad, in + b * p->in_h * p->in_w * p->depth, room);
        for (int64_t i = 0; i < panel_count(p); i++) {
            const int64_t start = panel_start(p, i), width = panel_start(p, i + 1) - start;
            const lki_tile t = {.b = packed + p->kh * p->taps * start,
                .segs = p->kh,
                .k = p->taps,
                .a_seg = in_row,
                .a_k = 1,
                .b_seg = p->taps * width,
                .b_k = width,
                .bias = bias ? wide_bias + start : NULL,
                .relu = relu,
                .n = (int)lki_min(width, p->columns - start)};
            if (p->by_sample)
                run_by_sample(p, t, start, from, out);
            else
                run_by_place(p, t, start, from, in_row, out + b * p->out_sample);
        }
    }
}
