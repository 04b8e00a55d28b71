/* Copies of copy.cuh: run by run in accesses as wide as sizes, distances and addresses allow, or, where the fastest dimension of one array
 * is a slower one of the other, in tiles that are turned in shared memory. */
#include "kern/cuda/copy.cuh"

#include <string.h>

namespace {

/* Bytes of the widest access that divides all of `bits`: sizes, distances and addresses in bytes, or-ed. */
size_t widest(uint64_t bits)
{
    size_t unit = 16;

    while (unit > 2 && bits % unit != 0)
        unit /= 2;
    return unit;
}

/* ---- walks ---- */

/* Without dimensions of one place; neighbours that are one in both arrays are one. */
lki_walk tidy(const lki_walk *w)
{
    lki_walk r = {};

    for (int i = 0; i < w->n; i++) {
        if (w->size[i] == 1)
            continue;
        const int last = r.n - 1;
        if (r.n > 0 && r.from[last] == w->size[i] * w->from[i] && r.to[last] == w->size[i] * w->to[i]) {
            r.size[last] *= w->size[i];
            r.from[last] = w->from[i];
            r.to[last] = w->to[i];
            continue;
        }
        r.size[r.n] = w->size[i];
        r.from[r.n] = w->from[i];
        r.to[r.n++] = w->to[i];
    }
    return r;
}

/* Adds the places of index i to both offsets. */
__device__ void walk_to(const lki_walk &w, int64_t i, int64_t *from, int64_t *to)
{
    for (int k = w.n - 1; k >= 0; k--) {
        const int64_t at = k == 0 ? i : digit(i, w.size[k]);
        *from += at * w.from[k];
        *to += at * w.to[k];
    }
}

template <class U> struct walk_unit {
    lki_walk w;
    const U *from;
    U *to;
    __device__ void operator()(int64_t i) const
    {
        int64_t f = 0, t = 0;
        walk_to(w, i, &f, &t);
        to[t] = from[f];
    }
};

/* Sizes and distances are in units U. */
template <class U> lk_status walk_units(const lki_walk *w, const void *from, void *to)
{
    int64_t n = 1;

    for (int i = 0; i < w->n; i++)
        n *= w->size[i];
    return each(n, walk_unit<U>{*w, (const U *)from, (U *)to});
}

/* In units of so many bytes, `element` or a multiple of it; a multiple only where the last dimension is a run in both arrays. */
lk_status walk_in_units(size_t element, size_t unit, lki_walk w, const void *from, void *to)
{
    const int64_t factor = (int64_t)(unit / element);

    if (factor > 1) {
        for (int i = 0; i < w.n - 1; i++) {
            w.from[i] /= factor;
            w.to[i] /= factor;
        }
        w.size[w.n - 1] /= factor;
    }
    switch (unit) {
    case 16:
        return walk_units<uint4>(&w, from, to);
    case 8:
        return walk_units<uint2>(&w, from, to);
    case 4:
        return walk_units<uint32_t>(&w, from, to);
    default:
        return walk_units<uint16_t>(&w, from, to);
    }
}

/* ---- turned tiles ---- */

enum { TILE = 32, TILE_ROWS = 8, TURN_LEAST = 16 /* below that a tile would be mostly empty */ };

/* A run along `rows` in `to`, along `cols` in `from`; `rest` are the other dimensions. */
struct turn {
    int64_t rows, cols, from_row, to_col;
    lki_walk rest;
};

template <class U> __global__ void turn_kernel(turn t, const U *from, U *to)
{
    __shared__ U tile[TILE][TILE + 1];
    int64_t block = blockIdx.x, f = 0, g = 0;
    const int64_t c0 = digit(block, (t.cols + TILE - 1) / TILE) * TILE, r0 = digit(block, (t.rows + TILE - 1) / TILE) * TILE;
    const int x = threadIdx.x;

    walk_to(t.rest, block, &f, &g);
    for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
        if (r0 + k < t.rows && c0 + x < t.cols)
            tile[k][x] = from[f + (r0 + k) * t.from_row + c0 + x];
    __syncthreads();
    for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
        if (c0 + k < t.cols && r0 + x < t.rows)
            to[g + (c0 + k) * t.to_col + r0 + x] = tile[x][k];
}

template <class U> lk_status turn_tiles(const turn *t, const void *from, void *to)
{
    int64_t blocks = div_up(t->rows, TILE) * div_up(t->cols, TILE);

    for (int i = 0; i < t->rest.n; i++)
        blocks *= t->rest.size[i];
    return launch(turn_kernel<U>, dim3(grid_of(blocks)), dim3(TILE, TILE_ROWS), 0, *t, (const U *)from, (U *)to);
}

/* The dimension that is a run in `from`, if the last one is a run in `to` alone and both are long enough; else -1. */
int turned_with(const lki_walk *w)
{
    const int last = w->n - 1;

    for (int i = 0; i < last; i++)
        if (w->from[i] == 1 && w->to[last] == 1 && w->size[i] >= TURN_LEAST && w->size[last] >= TURN_LEAST)
            return i;
    return -1;
}

/* ---- boxes ---- */

/* Dimensions from the last on that the box fills whole are one with the one in front of them. */
lki_box tidy_box(const lki_box *b)
{
    lki_box r = {};

    for (int i = 0; i < b->n; i++) {
        const int last = r.n - 1;
        if (r.n > 0 && b->size[i] == b->whole[i]) {
            r.size[last] *= b->whole[i];
            r.at[last] *= b->whole[i];
            r.whole[last] *= b->whole[i];
            continue;
        }
        r.size[r.n] = b->size[i];
        r.at[r.n] = b->at[i];
        r.whole[r.n++] = b->whole[i];
    }
    return r;
}

/* A unit of the whole array: of the part, or filled. */
template <class U> struct box_unit {
    lki_box b;
    U fill;
    const U *part;
    U *whole;
    __device__ void operator()(int64_t i) const
    {
        int64_t rest = i, from = 0, step = 1;
        bool inside = true;
        for (int k = b.n - 1; k >= 0; k--) {
            const int64_t at = (k == 0 ? rest : digit(rest, b.whole[k])) - b.at[k];
            inside = inside && at >= 0 && at < b.size[k];
            from += at * step;
            step *= b.size[k];
        }
        whole[i] = inside ? part[from] : fill;
    }
};

template <class U> lk_status box_units(lki_box b, const void *part, void *whole, uint32_t fill)
{
    int64_t n = 1;
    U filled;

    for (size_t i = 0; i < sizeof filled; i += 2)
        memcpy((char *)&filled + i, (char *)&fill + i % 4, 2);
    for (int i = 0; i < b.n; i++)
        n *= b.whole[i];
    return each(n, box_unit<U>{b, filled, (const U *)part, (U *)whole});
}

/* Between a box, from or to place *first of the array that holds it, and an array of its own. */
lki_walk box_walk(const lki_box *b, bool from_whole, int64_t *first)
{
    lki_walk w = {};

    w.n = b->n;
    lki_steps(b->n, b->whole, from_whole ? w.from : w.to);
    lki_steps(b->n, b->size, from_whole ? w.to : w.from);
    *first = 0;
    for (int i = 0; i < b->n; i++) {
        w.size[i] = b->size[i];
        *first += b->at[i] * (from_whole ? w.from[i] : w.to[i]);
    }
    return w;
}

} // namespace

void lki_steps(int n, const int64_t *size, int64_t *out)
{
    int64_t step = 1;

    for (int i = n - 1; i >= 0; i--) {
        out[i] = step;
        step *= size[i];
    }
}

lk_status lki_copy_cuda(size_t element, int64_t n, const void *from, void *to)
{
    return from == to ? LK_OK : lk_space_copy(&lki_space_cuda, to, from, (size_t)n * element, LK_COPY_WITHIN);
}

lk_status lki_walk_copy(size_t element, const lki_walk *given, const void *from, void *to)
{
    const lki_walk w = tidy(given);
    const int last = w.n - 1, run = turned_with(&w);

    if (w.n == 0 || (w.n == 1 && w.from[0] == 1 && w.to[0] == 1))
        return lki_copy_cuda(element, w.n == 0 ? 1 : w.size[0], from, to);
    if (w.from[last] == 1 && w.to[last] == 1) {
        uint64_t bits = (uint64_t)from | (uint64_t)to | (uint64_t)w.size[last] * element;
        for (int i = 0; i < last; i++)
            bits |= (uint64_t)(w.from[i] | w.to[i]) * element;
        return walk_in_units(element, widest(bits), w, from, to);
    }
    if (run < 0)
        return walk_in_units(element, element, w, from, to);
    turn t = {w.size[last], w.size[run], w.from[last], w.to[run], {}};
    for (int i = 0; i < last; i++)
        if (i != run) {
            t.rest.size[t.rest.n] = w.size[i];
            t.rest.from[t.rest.n] = w.from[i];
            t.rest.to[t.rest.n++] = w.to[i];
        }
    return element == 4 ? turn_tiles<uint32_t>(&t, from, to) : turn_tiles<uint16_t>(&t, from, to);
}

lk_status lki_turn(size_t element, int64_t batch, int64_t rows, int64_t cols, const void *from, void *to)
{
    const lki_walk w = {3, {batch, cols, rows}, {rows * cols, 1, cols}, {rows * cols, rows, 1}};

    return lki_walk_copy(element, &w, from, to);
}

lki_box lki_box_make(const lk_shape *s, lk_layout layout, const int64_t *size, const int64_t *whole, const int64_t *at)
{
    const bool last = lki_channels_last(s, layout);
    lki_box b = {};

    b.n = s->ndim;
    for (int i = 0; i < s->ndim; i++) {
        const int dim = !last || i == 0 ? i : i == s->ndim - 1 ? 1 : i + 1;
        b.size[i] = size[dim];
        b.whole[i] = whole[dim];
        b.at[i] = at[dim];
    }
    return b;
}

lk_status lki_box_take(size_t element, const lki_box *b, const void *whole, void *part)
{
    int64_t first;
    const lki_walk w = box_walk(b, true, &first);

    return lki_walk_copy(element, &w, (const char *)whole + first * (int64_t)element, part);
}

lk_status lki_box_put(size_t element, const lki_box *b, const void *part, void *whole)
{
    int64_t first;
    const lki_walk w = box_walk(b, false, &first);

    return lki_walk_copy(element, &w, part, (char *)whole + first * (int64_t)element);
}

lk_status lki_box_put_filled(size_t element, const lki_box *given, const void *part, void *whole, uint32_t fill)
{
    lki_box b = tidy_box(given);
    const int last = b.n - 1;
    const size_t unit = widest((uint64_t)part | (uint64_t)whole | (uint64_t)(b.size[last] | b.whole[last] | b.at[last]) * element);
    const int64_t factor = (int64_t)(unit / element);

    b.size[last] /= factor;
    b.whole[last] /= factor;
    b.at[last] /= factor;
    switch (unit) {
    case 16:
        return box_units<uint4>(b, part, whole, fill);
    case 8:
        return box_units<uint2>(b, part, whole, fill);
    case 4:
        return box_units<uint32_t>(b, part, whole, fill);
    default:
        return box_units<uint16_t>(b, part, whole, fill);
    }
}
