/* Passes of a convolution: windows of one value to places of another. */
#include "kern/cpu/conv_pass.h"
#include <string.h>

/* ---- one sample with zeros around ---- */
static bool in_place(const lki_padded *p)
{
    return p->top == 0 && p->left == 0 && p->h <= p->in[AT_H] && p->w <= p->in[AT_W];
}

int64_t lki_padded_row(const lki_padded *p)
{
    return (in_place(p) ? p->in[AT_W] : p->w) * p->depth;
}

int64_t lki_padded_plane(const lki_padded *p)
{
    return (in_place(p) ? p->in[AT_H] : p->h) * lki_padded_row(p);
}

size_t lki_padded_bytes(const lki_padded *p)
{
    return in_place(p) ? 0 : lki_floats(p->in[AT_D] * lki_padded_plane(p));
}

/* All of it: the copies of samples overwrite the same part each time. */
void lki_padded_clear(const lki_padded *p, float *room)
{
    if (!in_place(p))
        memset(room, 0, lki_padded_bytes(p));
}

const float *lki_padded_sample(const lki_padded *p, const float *in, float *room)
{
    if (in_place(p))
        return in;
    const int64_t rows = lki_min(p->in[AT_H], p->h - p->top), n = lki_min(p->in[AT_W], p->w - p->left) * p->depth;
    if (n <= 0) /* windows that see zeros alone */
        return room;
    for (int64_t d = 0; d < p->in[AT_D]; d++) {
        const float *from = in + d * p->in[AT_H] * p->in[AT_W] * p->depth;
        float *to = room + d * p->h * p->w * p->depth + (p->top * p->w + p->left) * p->depth;
        for (int64_t i = 0; i < rows; i++, to += p->w * p->depth, from += p->in[AT_W] * p->depth)
            memcpy(to, from, (size_t)n * sizeof *to);
    }
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
    const int64_t kw = p->kernel[AT_W], sw = p->stride[AT_W];
    int64_t best = 1;
    if (!p->dense || p->out_step[AT_W] != p->cols)
        return 1;
    for (int64_t n = 2; n <= p->out[AT_W] && n * p->cols <= PANEL * t->lanes; n++) {
        const int64_t cost = whole_lanes(t, n * p->cols) * (kw + (n - 1) * sw);
        const int64_t best_cost = whole_lanes(t, best * p->cols) * (kw + (best - 1) * sw);
        if (cost * best < best_cost * n)
            best = n;
    }
    return best;
}

/* Share of the taps along an axis that lie inside, over all places. */
static double share_inside(const lki_pass *p, int axis)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < p->out[axis]; i++) {
        int64_t from, to;
        lki_taps_inside(
            i * p->stride[axis] - p->before[axis], p->kernel[axis], p->dilation[axis], p->in[axis], &from, &to);
        sum += to - from;
    }
    return (double)sum / ((double)p->out[axis] * (double)p->kernel[axis]);
}

/* Zeros are left out where rows are samples, and multiplied where they are places. */
enum { MIN_BATCH = 8 };
static const double most_inside = 0.93;

static int64_t reach(const lki_pass *p, int axis)
{
    return (p->out[axis] - 1) * p->stride[axis] + (p->kernel[axis] - 1) * p->dilation[axis] + 1;
}

static lki_padded padded(const lki_pass *p)
{
    return (lki_padded){{p->in[AT_D], p->in[AT_H], p->in[AT_W]}, p->in_place, p->before[AT_H], p->before[AT_W],
        reach(p, AT_H), reach(p, AT_W)};
}

void lki_pass_init(lki_pass *p, const lki_tiles *t)
{
    p->tiles = t;
    p->dense = p->depth == p->in_place && p->dilation[AT_W] == 1;
    p->places = best_places(p, t);
    p->columns = p->places * p->cols;
    p->taps = (p->kernel[AT_W] + (p->places - 1) * p->stride[AT_W]) * p->depth;
    const double inside = share_inside(p, AT_H) * share_inside(p, AT_W);
    p->by_sample = p->before[AT_H] < 0 || p->before[AT_W] < 0 || (p->batch >= MIN_BATCH && inside < most_inside);
    p->winograd = lki_winograd_fits(p, inside);
}

static bool wide_bias(const lki_pass *p)
{
    return p->places > 1;
}

size_t lki_pass_scratch_bytes(const lki_pass *p)
{
    if (p->winograd)
        return lki_winograd_scratch_bytes(p);
    const lki_padded room = padded(p);
    return (wide_bias(p) ? lki_floats(p->columns) : 0) + (p->by_sample ? 0 : lki_padded_bytes(&room));
}

/* ---- packed weights: group by group, panel by panel, [kernel plane][kernel row][tap][columns of the panel], columns
 * in whole vectors ---- */
static int64_t panel_count(const lki_pass *p)
{
    return (p->columns + PANEL * p->tiles->lanes - 1) / (PANEL * p->tiles->lanes);
}

/* First column of panel i: vectors are dealt out evenly. */
static int64_t panel_start(const lki_pass *p, int64_t i)
{
    return i * (whole_lanes(p->tiles, p->columns) / p->tiles->lanes) / panel_count(p) * p->tiles->lanes;
}

/* Elements of a kernel for one column. */
static int64_t kernel_size(const lki_pass *p)
{
    return p->kernel[AT_D] * p->kernel[AT_H] * p->taps;
}

static int64_t group_size(const lki_pass *p)
{
    return kernel_size(p) * whole_lanes(p->tiles, p->columns);
}

size_t lki_pass_packed_bytes(const lki_pass *p)
{
    return p->winograd ? lki_winograd_packed_bytes(p) : lki_floats(p->groups * group_size(p));
}

enum { PACK_COLUMNS = 16 };

/* `n` columns of one place from the weights at w into a panel of `width` columns. */
static void pack_place(const lki_pass *p, const float *w, int64_t n, int64_t width, float *to)
{
    const lki_weight_walk *const k = &p->walk;
    const int64_t rows = p->kernel[AT_D] * p->kernel[AT_H];
    /* Few columns at a time: each reads a stream of its own. */
    for (int64_t col0 = 0; col0 < n; col0 += PACK_COLUMNS)
        for (int64_t d = 0; d < p->depth; d++)
            for (int64_t row = 0; row < rows; row++)
                for (int64_t j = 0; j < p->kernel[AT_W]; j++) {
                    const float *const v = w + col0 * k->by_col + d * k->by_depth +
                                           row / p->kernel[AT_H] * k->by_tap[AT_D] +
                                           row % p->kernel[AT_H] * k->by_tap[AT_H] + j * k->by_tap[AT_W];
                    float *const at = to + (row * p->taps + j * p->depth + d) * width + col0;
                    const int64_t now = lki_min(n - col0, PACK_COLUMNS);
                    for (int64_t col = 0; col < now; col++)
                        at[col] = v[col * k->by_col];
                }
}

void lki_pass_pack(const lki_pass *p, const float *w, float *packed)
{
    if (p->winograd) {
        lki_winograd_pack(p, w, packed);
        return;
    }
    if (p->places > 1 || p->columns % p->tiles->lanes != 0)
        memset(packed, 0, lki_pass_packed_bytes(p));
    for (int64_t g = 0; g < p->groups; g++)
        for (int64_t i = 0; i < panel_count(p); i++) {
            const int64_t from = panel_start(p, i), width = panel_start(p, i + 1) - from;
            float *const panel = packed + g * group_size(p) + kernel_size(p) * from;
            /* Several places have one panel; several panels have one place. */
            for (int64_t place = 0; place < p->places; place++)
                pack_place(p, w + p->walk.start + g * p->walk.by_group + from * p->walk.by_col,
                    lki_min(p->cols - from, width), width,
                    panel + place * (p->stride[AT_W] * p->depth * width + p->cols));
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
static void run_by_place(const lki_pass *p, lki_tile t, const float *in, int64_t in_row, float *out)
{
    const int64_t groups = p->out[AT_W] / p->places, rest = p->out[AT_W] % p->places;
    const int64_t in_step = p->places * p->stride[AT_W] * p->in_place, out_step = p->places * p->out_step[AT_W];
    const int64_t in_down = p->stride[AT_H] * in_row, out_down = p->out_step[AT_H], most = most_rows(p, t.n);
    int64_t row_a[2 * LK_TILE_ROWS], row_c[2 * LK_TILE_ROWS];
    t.row_a = row_a;
    t.row_c = row_c;
    if (groups < most) {
        const int64_t band = groups > 0 ? (most + groups - 1) / groups : 1;
        for (int64_t i = 0; i < band * groups; i++) {
            row_a[i] = i / groups * in_down + i % groups * in_step;
            row_c[i] = i / groups * out_down + i % groups * out_step;
        }
        for (int64_t h = 0; h < p->out[AT_H]; h += band) {
            t.a = in + h * in_down;
            t.c = out + h * out_down;
            run_rows(p->tiles, t, lki_min(band, p->out[AT_H] - h) * groups, most);
        }
    } else {
        for (int64_t i = 0; i < most; i++) {
            row_a[i] = i * in_step;
            row_c[i] = i * out_step;
        }
        for (int64_t h = 0; h < p->out[AT_H]; h++)
            for (int64_t at = 0, left = (groups + most - 1) / most; left > 0; left--) {
                const int64_t now = (groups - at + left - 1) / left;
                t.a = in + h * in_down + at * in_step;
                t.c = out + h * out_down + at * out_step;
                p->tiles->tile(&t, (int)now);
                at += now;
            }
    }
    if (rest == 0)
        return;
    /* Places that are left of a group: its first columns, and no further taps than they need. */
    row_a[0] = row_c[0] = 0;
    t.n = (int)(rest * p->cols);
    t.k = (p->kernel[AT_W] + (rest - 1) * p->stride[AT_W]) * p->depth;
    for (int64_t h = 0; h < p->out[AT_H]; h++) {
        t.a = in + h * in_down + groups * in_step;
        t.c = out + h * out_down + groups * out_step;
        p->tiles->tile(&t, 1);
    }
}

/* Of a tile that reads a kernel plane: its loops over kernel rows [h0, h1) and taps [w0, w1), from the window's corner
 * at a and the plane's weights at b. Dense rows are one run of taps (of all places), others a run a tap. */
static void set_window(const lki_pass *p, lki_tile *t, const float *a, int64_t in_row, const float *b, int64_t h0,
    int64_t h1, int64_t w0, int64_t w1)
{
    const int64_t down = p->dilation[AT_H] * in_row, right = p->dilation[AT_W] * p->in_place;
    const bool some = h1 > h0 && w1 > w0;
    t->outer = 1;
    t->segs = 0;
    t->a = a;
    t->b = b;
    if (!some)
        return;
    t->a = a + h0 * down + w0 * right;
    t->b = b + (h0 * p->taps + w0 * p->depth) * t->b_k;
    if (p->dense) {
        t->segs = h1 - h0;
        t->k = (w1 - w0) * p->depth;
        t->a_seg = down;
        t->b_seg = p->taps * t->b_k;
    } else {
        t->outer = h1 - h0;
        t->segs = w1 - w0;
        t->k = p->depth;
        t->a_outer = down;
        t->b_outer = p->taps * t->b_k;
        t->a_seg = right;
        t->b_seg = p->depth * t->b_k;
    }
}

/* Tile rows are samples, so that a group at the edge leaves out all that lies beyond, for all of them alike. Without a
 * kernel plane (`b` NULL) nothing is read. */
static void run_by_sample(const lki_pass *p, lki_tile t, int64_t panel, const float *in, const float *b, float *out)
{
    const int64_t in_row = p->in[AT_W] * p->in_place, in_sample = lki_product(p->in) * p->in_place, columns = t.n;
    int64_t row_a[LK_TILE_ROWS], row_c[LK_TILE_ROWS];
    for (int64_t i = 0; i < LK_TILE_ROWS; i++) {
        row_a[i] = i * in_sample;
        row_c[i] = i * p->out_sample;
    }
    t.row_a = row_a;
    t.row_c = row_c;
    for (int64_t h = 0; h < p->out[AT_H]; h++)
        for (int64_t w = 0; w < p->out[AT_W]; w += p->places) {
            const int64_t places = lki_min(p->places, p->out[AT_W] - w);
            const int64_t h0 = h * p->stride[AT_H] - p->before[AT_H], w0 = w * p->stride[AT_W] - p->before[AT_W];
            int64_t from_h, to_h, from_w, to_w;
            lki_taps_inside(h0, p->kernel[AT_H], p->dilation[AT_H], p->in[AT_H], &from_h, &to_h);
            lki_taps_inside(
                w0, p->kernel[AT_W] + (places - 1) * p->stride[AT_W], p->dilation[AT_W], p->in[AT_W], &from_w, &to_w);
            set_window(p, &t, in + h0 * in_row + w0 * p->in_place, in_row, b, from_h, b ? to_h : from_h, from_w, to_w);
            t.n = (int)lki_min(columns, places * p->cols - panel);
            t.c = out + h * p->out_step[AT_H] + w * p->out_step[AT_W];
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

/* One panel of one group: plane by plane of the output, for each the planes of the kernel that lie inside. */
static void run_panel(const lki_pass *p, lki_tile t, int64_t panel, const float *in, int64_t in_row, int64_t in_plane,
    const float *weights, bool relu, float *out)
{
    const float *const bias = t.bias;
    for (int64_t d = 0; d < p->out[AT_D]; d++) {
        const int64_t first = d * p->stride[AT_D] - p->before[AT_D];
        int64_t from, to;
        lki_taps_inside(first, p->kernel[AT_D], p->dilation[AT_D], p->in[AT_D], &from, &to);
        const int64_t last = to > from ? to - 1 : from; /* once, where no plane lies inside */
        for (int64_t i = from; i <= last; i++) {
            const bool some = to > from;
            const float *const plane = some ? in + (first + i * p->dilation[AT_D]) * in_plane : in;
            const float *const b = some ? weights + i * p->kernel[AT_H] * p->taps * t.b_k : NULL;
            t.add = i > from;
            t.bias = i > from ? NULL : bias;
            t.relu = relu && i == last;
            if (p->by_sample) {
                run_by_sample(p, t, panel, plane, b, out + d * p->out_step[AT_D]);
            } else {
                set_window(p, &t, plane, in_row, b, 0, some ? p->kernel[AT_H] : 0, 0,
                    p->kernel[AT_W] + (p->places - 1) * p->stride[AT_W]);
                run_by_place(p, t, plane, in_row, out + d * p->out_step[AT_D]);
            }
        }
    }
}

void lki_pass_run(
    const lki_pass *p, const float *in, const float *packed, const float *bias, bool relu, float *out, void *scratch)
{
    if (p->winograd) {
        lki_winograd_run(p, in, packed, bias, relu, out, scratch);
        return;
    }
    const lki_padded pad = padded(p);
    const int64_t in_row = p->by_sample ? p->in[AT_W] * p->in_place : lki_padded_row(&pad);
    const int64_t in_plane = p->by_sample ? p->in[AT_H] * in_row : lki_padded_plane(&pad);
    float *const wide = scratch, *const room =
                                     wide_bias(p) ? (float *)((char *)scratch + lki_floats(p->columns)) : scratch;
    for (int64_t i = 0; bias && wide_bias(p) && i < p->columns; i++)
        wide[i] = bias[i % p->cols];
    if (bias && wide_bias(p))
        bias = wide;
    out += p->out_start;
    if (!p->by_sample)
        lki_padded_clear(&pad, room);
    for (int64_t b = 0; b < (p->by_sample ? 1 : p->batch); b++) {
        const float *const from =
            p->by_sample ? in : lki_padded_sample(&pad, in + b * lki_product(p->in) * p->in_place, room);
        for (int64_t g = 0; g < p->groups; g++)
            for (int64_t i = 0; i < panel_count(p); i++) {
                const int64_t start = panel_start(p, i), width = panel_start(p, i + 1) - start;
                const lki_tile t = {.a_k = 1,
                    .b_k = width,
                    .bias = bias ? bias + g * p->cols + start : NULL,
                    .n = (int)lki_min(width, p->columns - start)};
                run_panel(p, t, start, from + g * p->depth, in_row, in_plane,
                    packed + g * group_size(p) + kernel_size(p) * start, relu,
                    out + b * p->out_sample + g * p->cols + start);
            }
    }
}
