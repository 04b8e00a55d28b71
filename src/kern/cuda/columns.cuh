/* What is gathered down the columns of matrices [rows, cols], one or `batch` of them: a block takes a chunk of rows of up to 32 columns, each thread
 * every so many rows of one column, then the threads of a column are joined as a tree; a second pass of the same kind goes over the chunks.
 * Number and bounds of the chunks follow from the sizes alone, so the order of the sums does, too.
 *
 * F says what: a struct with
 *     typedef ... gathered;    a struct without constructors, with `void add(const gathered &)` and `static gathered none()`
 *     gathered gather(int64_t batch, int64_t col, int64_t first, int64_t end, int64_t step) const;   of rows first, first + step ... below end
 *     void store(int64_t batch, int64_t col, const gathered &) const;                                the result of a column */
#ifndef LK_KERN_CUDA_COLUMNS_CUH
#define LK_KERN_CUDA_COLUMNS_CUH

#include "kern/cuda/cuda_int.h"

/* Rows that a thread takes one after the other before the block's threads are joined, and chunks at most. */
enum { COLUMN_RUN = 32, COLUMN_CHUNKS = 256 };
/* Rows that it reads before it adds the first: a run is a whole number of such. */
enum { COLUMN_AHEAD = 8 };

/* How threads lie over a matrix, for these sums and for passes over all elements: `across` columns (or pieces of neighbouring ones) by `down` rows a
 * block. */
struct column_grid {
    int64_t batch, rows, cols, tiles, chunk, chunks; /* tiles of `across` columns, chunks of `chunk` rows */
    int across, down;
};
/* A thread takes `run` rows, or more where there would be more than `most` chunks; most 0: no limit. */
static inline column_grid column_grid_make(int64_t batch, int64_t rows, int64_t cols, int64_t run, int64_t most)
{
    column_grid g = {batch, rows, cols};
    g.across = 1;
    while (g.across < 32 && g.across < cols)
        g.across *= 2;
    g.down = LKI_BLOCK / g.across;
    g.tiles = div_up(cols, g.across);
    g.chunks = rows > 0 ? div_up(rows, g.down * run) : 1;
    if (most > 0 && g.chunks > most)
        g.chunks = most;
    g.chunk = div_up(rows, g.chunks);
    return g;
}
static inline unsigned column_blocks(const column_grid &g)
{
    return grid_of(g.batch * g.chunks * g.tiles);
}
/* Of the calling thread. */
struct column_place {
    int64_t batch, chunk, col, first, end;
};
static __device__ inline column_place column_place_of(const column_grid &g)
{
    column_place p;
    const int64_t tile = blockIdx.x % g.tiles, rest = blockIdx.x / g.tiles;
    p.chunk = rest % g.chunks;
    p.batch = rest / g.chunks;
    p.col = tile * g.across + threadIdx.x % g.across;
    p.first = p.chunk * g.chunk + threadIdx.x / g.across;
    p.end = min((p.chunk + 1) * g.chunk, g.rows);
    return p;
}

/* from: gather; to: store, for chunk c of batch b as number b chunks + c. */
template <class From, class To> static __global__ void columns_kernel(column_grid g, From from, To to)
{
    typedef typename From::gathered gathered;
    __shared__ gathered shared[LKI_BLOCK];
    const column_place p = column_place_of(g);
    const bool inside = p.col < g.cols;

    shared[threadIdx.x] = inside ? from.gather(p.batch, p.col, p.first, p.end, g.down) : gathered::none();
    for (int d = g.down / 2; d > 0; d /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < d * g.across)
            shared[threadIdx.x].add(shared[threadIdx.x + d * g.across]);
    }
    if (inside && (int)threadIdx.x < g.across)
        to.store(p.batch * g.chunks + p.chunk, p.col, shared[threadIdx.x]);
}

/* Between the passes: part [batch, chunks, cols]. */
template <class G> struct column_parts {
    typedef G gathered;
    G *part;
    int64_t chunks, cols;
    __device__ void store(int64_t number, int64_t col, const G &v) const
    {
        part[number * cols + col] = v;
    }
    __device__ G gather(int64_t batch, int64_t col, int64_t first, int64_t end, int64_t step) const
    {
        G v = G::none();
        for (int64_t r = first; r < end; r += step)
            v.add(part[(batch * chunks + r) * cols + col]);
        return v;
    }
};

template <class G> static size_t columns_scratch(int64_t batch, int64_t rows, int64_t cols)
{
    const column_grid g = column_grid_make(batch, rows, cols, COLUMN_RUN, COLUMN_CHUNKS);
    return g.chunks > 1 ? (size_t)(batch * g.chunks * cols) * sizeof(G) : 0;
}

/* Queues it. `scratch` [columns_scratch<F::gathered>]. */
template <class F> static lk_status columns(int64_t batch, int64_t rows, int64_t cols, const F &f, void *scratch)
{
    const column_grid g = column_grid_make(batch, rows, cols, COLUMN_RUN, COLUMN_CHUNKS);
    if (g.chunks == 1)
        return launch(columns_kernel<F, F>, dim3(column_blocks(g)), dim3(LKI_BLOCK), 0, g, f, f);
    typedef column_parts<typename F::gathered> parts;
    const parts between = {(typename F::gathered *)scratch, g.chunks, cols};
    LK_TRY(launch(columns_kernel<F, parts>, dim3(column_blocks(g)), dim3(LKI_BLOCK), 0, g, f, between));
    const column_grid last = column_grid_make(batch, g.chunks, cols, g.chunks, 1);
    return launch(columns_kernel<parts, F>, dim3(column_blocks(last)), dim3(LKI_BLOCK), 0, last, between, f);
}

/* ---- a sum ---- */
struct one_sum {
    double sum;
    static __device__ one_sum none()
    {
        return {0};
    }
    __device__ void add(const one_sum &o)
    {
        sum += o.sum;
    }
};
/* Of f.value(row): in runs of floats, the runs in double; a thread has COLUMN_AHEAD of them on their way at once. */
template <class F> static __device__ inline one_sum sum_values(const F &f, int64_t first, int64_t end, int64_t step)
{
    one_sum all = one_sum::none();
    for (int64_t r = first; r < end;) {
        const int64_t stop = min(end, r + COLUMN_RUN * step);
        float sum = 0;
        for (; r + (COLUMN_AHEAD - 1) * step < stop; r += COLUMN_AHEAD * step) {
            float v[COLUMN_AHEAD];
            LKI_UNROLL
            for (int k = 0; k < COLUMN_AHEAD; k++)
                v[k] = f.value(r + k * step);
            LKI_UNROLL
            for (int k = 0; k < COLUMN_AHEAD; k++)
                sum += v[k];
        }
        for (; r < stop; r += step)
            sum += f.value(r);
        all.sum += (double)sum;
    }
    return all;
}

/* ---- two sums at once ---- */
struct two_sums {
    double a, b;
    static __device__ two_sums none()
    {
        return {0, 0};
    }
    __device__ void add(const two_sums &o)
    {
        a += o.a;
        b += o.b;
    }
};
/* Of f.pair(row), a float2: in the same way. */
template <class F> static __device__ inline two_sums sum_pairs(const F &f, int64_t first, int64_t end, int64_t step)
{
    two_sums sum = two_sums::none();
    for (int64_t r = first; r < end;) {
        const int64_t stop = min(end, r + COLUMN_RUN * step);
        float a = 0, b = 0;
        for (; r + (COLUMN_AHEAD - 1) * step < stop; r += COLUMN_AHEAD * step) {
            float2 v[COLUMN_AHEAD];
            LKI_UNROLL
            for (int k = 0; k < COLUMN_AHEAD; k++)
                v[k] = f.pair(r + k * step);
            LKI_UNROLL
            for (int k = 0; k < COLUMN_AHEAD; k++) {
                a += v[k].x;
                b += v[k].y;
            }
        }
        for (; r < stop; r += step) {
            const float2 v = f.pair(r);
            a += v.x;
            b += v.y;
        }
        sum.a += (double)a;
        sum.b += (double)b;
    }
    return sum;
}

#endif
