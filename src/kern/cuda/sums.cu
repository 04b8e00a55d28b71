/* Sums over the rows of a matrix, for gradients of biases and the like; and conversions between types. */
#include "kern/cuda/cuda_int.h"

/* ---- sums ---- */
/* Two stages: a block sums at most PART_ROWS rows of TILE columns, each thread every SLICES-th row in rising order, then slice 0 the slices in
 * rising order; the second stage sums the parts in rising order. The number of parts follows from the rows alone. */
enum { TILE = 32, SLICES = 8, PART_ROWS = 512 };

static int64_t parts_of(int64_t rows)
{
    return rows > 0 ? div_up(rows, PART_ROWS) : 1;
}

/* out [parts, cols] */
template <class T> static __global__ void part_sums(int64_t rows, int64_t cols, const T *x, float *out)
{
    __shared__ float slices[SLICES][TILE];
    const int64_t tiles = (cols + TILE - 1) / TILE, part = blockIdx.x / tiles, slice = threadIdx.y;
    const int64_t col = blockIdx.x % tiles * TILE + threadIdx.x;
    const int64_t first = part * PART_ROWS, end = min(first + (int64_t)PART_ROWS, rows);
    float sum = 0;

    if (col < cols)
        for (int64_t r = first + slice; r < end; r += SLICES)
            sum += to_float(x[r * cols + col]);
    slices[slice][threadIdx.x] = sum;
    __syncthreads();
    if (slice != 0 || col >= cols)
        return;
    for (int s = 1; s < SLICES; s++)
        sum += slices[s][threadIdx.x];
    out[part * cols + col] = sum;
}

struct add_parts {
    int64_t parts, cols;
    const float *part;
    float *out;
    __device__ void operator()(int64_t c) const
    {
        float sum = 0;
        for (int64_t p = 0; p < parts; p++)
            sum += part[p * cols + c];
        out[c] = sum;
    }
};

size_t lki_column_sums_scratch(int64_t rows, int64_t cols)
{
    const int64_t parts = parts_of(rows);

    return parts > 1 ? (size_t)(parts * cols) * sizeof(float) : 0;
}

template <class T> static lk_status column_sums(int64_t rows, int64_t cols, const void *x, float *out, float *scratch)
{
    const int64_t parts = parts_of(rows);

    if (cols == 0)
        return LK_OK;
    LK_TRY(launch(part_sums<T>, dim3(grid_of(div_up(cols, TILE) * parts)), dim3(TILE, SLICES), 0, rows, cols, (const T *)x, parts > 1 ? scratch : out));
    return parts > 1 ? each(cols, add_parts{parts, cols, scratch, out}) : LK_OK;
}

lk_status lki_column_sums_cuda(lki_type t, int64_t rows, int64_t cols, const void *x, float *out, void *scratch)
{
    switch (t) {
    case LKI_BF16:
        return column_sums<bf16>(rows, cols, x, out, (float *)scratch);
    case LKI_F16:
        return column_sums<f16>(rows, cols, x, out, (float *)scratch);
    default:
        return column_sums<float>(rows, cols, x, out, (float *)scratch);
    }
}

/* ---- conversions ---- */
template <class A, class B> struct convert {
    const A *from;
    B *to;
    __device__ void operator()(int64_t i) const
    {
        to[i] = from_float<B>(to_float(from[i]));
    }
};

/* PACK elements a thread, accesses of 16 bytes on both sides. */
template <class A, class B> struct convert_vec {
    static constexpr int pack = vec<A>::n > vec<B>::n ? vec<A>::n : vec<B>::n;
    const A *from;
    B *to;
    __device__ void operator()(int64_t i) const
    {
        float v[pack];
        for (int k = 0; k < pack; k += vec<A>::n) {
            const vec<A> a = load_vec(from + i * pack + k);
            for (int j = 0; j < vec<A>::n; j++)
                v[k + j] = to_float(a.at[j]);
        }
        for (int k = 0; k < pack; k += vec<B>::n) {
            vec<B> b;
            for (int j = 0; j < vec<B>::n; j++)
                b.at[j] = from_float<B>(v[k + j]);
            store_vec(to + i * pack + k, b);
        }
    }
};

template <class A, class B> static lk_status convert_run(int64_t n, const void *from, void *to)
{
    constexpr int pack = convert_vec<A, B>::pack;
    const int64_t whole = aligned16(from) && aligned16(to) ? n / pack : 0, rest = whole * pack;
    const A *a = (const A *)from;
    B *b = (B *)to;

    LK_TRY(each(whole, convert_vec<A, B>{a, b}));
    return each(n - rest, convert<A, B>{a + rest, b + rest});
}

template <class A> static lk_status convert_from(int64_t n, const void *from, lki_type to_type, void *to)
{
    switch (to_type) {
    case LKI_BF16:
        return convert_run<A, bf16>(n, from, to);
    case LKI_F16:
        return convert_run<A, f16>(n, from, to);
    default:
        return convert_run<A, float>(n, from, to);
    }
}

lk_status lki_convert(int64_t n, lki_type from_type, const void *from, lki_type to_type, void *to)
{
    switch (from_type) {
    case LKI_BF16:
        return convert_from<bf16>(n, from, to_type, to);
    case LKI_F16:
        return convert_from<f16>(n, from, to_type, to);
    default:
        return convert_from<float>(n, from, to_type, to);
    }
}
