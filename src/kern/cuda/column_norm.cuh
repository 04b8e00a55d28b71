/* What batch_norm and group_norm share: values [batch, rows, cols] that are normalized by a mean and a scale of each column of each matrix:
 * y = (x - mean) scale + shift, with relu behind it where asked; dx = scale g - constant - (x - mean) slope, g = dy where relu let it through. */
#ifndef LK_KERN_CUDA_COLUMN_NORM_CUH
#define LK_KERN_CUDA_COLUMN_NORM_CUH

#include "kern/cuda/columns.cuh"
#include "kern/cuda/elements.cuh"

#include <algorithm>

/* Element (b, r, c) of T values lies at b rows cols + r row_step + c col_step. Of the rows of a matrix those of valid samples count, `sample` rows each;
 * live NULL: all. */
struct column_values {
    int64_t batch, rows, cols, row_step, col_step;
    const lk_live *live;
    int64_t sample;
    __device__ int64_t at(int64_t b, int64_t r, int64_t c) const
    {
        return b * rows * cols + r * row_step + c * col_step;
    }
    __device__ int64_t valid() const
    {
        return live ? min(live->valid * sample, rows) : rows;
    }
};

/* By column of each matrix: [batch, cols], but shift [cols]. */
struct column_factors {
    float *mean, *scale, *constant, *slope;
    const float *shift;
};

/* Of a column: number, mean, and sum of squares about the mean, joined as Chan, Golub & LeVeque 1983 ("Algorithms for computing the sample variance").
 * Runs are taken about their first element in float, so a mean far from 0 takes no digits. */
struct moments {
    double n, mean, squares;
    static __device__ moments none()
    {
        return {0, 0, 0};
    }
    __device__ void add(const moments &o)
    {
        if (o.n == 0)
            return;
        const double all = n + o.n, d = o.mean - mean, share = o.n / all;
        mean += d * share;
        squares += o.squares + d * d * n * share;
        n = all;
    }
};
template <class T> static __device__ inline moments column_moments(const column_values &v, const T *x, int64_t b, int64_t c, int64_t first, int64_t end, int64_t step)
{
    const T *const at = x + v.at(b, 0, c);
    moments all = moments::none();

    end = min(end, v.valid());
    for (int64_t r = first; r < end;) {
        const int64_t stop = min(end, r + COLUMN_RUN * step);
        const float base = to_float(at[r * v.row_step]);
        float sum = 0, squares = 0;
        int n = 0;
        for (; r < stop; r += step, n++) {
            const float d = to_float(at[r * v.row_step]) - base;
            sum += d;
            squares += d * d;
        }
        const double mean = (double)sum / n, about = (double)squares - mean * (double)sum;
        all.add({(double)n, (double)base + mean, about < 0 ? 0 : about});
    }
    return all;
}

/* What relu behind the normalization gets; written so that forward and backward have the same bits. */
static __device__ inline float normalized(float x, float mean, float scale, float shift)
{
    return fmaf(x - mean, scale, shift);
}

/* Sums of g and of g (x - mean). */
template <class T> struct gradient_column {
    const T *x, *dy;
    int64_t step;
    bool relu;
    float mean, scale, shift;
    __device__ float2 pair(int64_t r) const
    {
        const float v = to_float(x[r * step]), d = to_float(dy[r * step]);
        const float g = relu && normalized(v, mean, scale, shift) <= 0 ? 0 : d;
        return make_float2(g, g * (v - mean));
    }
};
template <class T>
static __device__ inline two_sums column_gradients(const column_values &v, const T *x, const T *dy, bool relu, float mean, float scale, float shift,
    int64_t b, int64_t c, int64_t first, int64_t end, int64_t step)
{
    const int64_t at = v.at(b, 0, c);
    return sum_pairs(gradient_column<T>{x + at, dy + at, v.row_step, relu, mean, scale, shift}, first, min(end, v.valid()), step);
}

/* ---- passes over all elements: a thread keeps the factors of its columns ---- */
enum { FACTOR_ROWS = 16 };

template <class T, bool relu, int width>
static __global__ void columns_normalize(column_grid g, column_values v, column_factors f, const T *x, T *y)
{
    const column_place p = column_place_of(g);
    const int64_t c = p.col * width, own = p.batch * v.cols + c;
    float mean[width], scale[width], shift[width], a[width];

    if (p.col >= g.cols)
        return;
    load_run(f.mean + own, mean);
    load_run(f.scale + own, scale);
    load_run(f.shift + c, shift);
    for (int64_t r = p.first; r < p.end; r += g.down) {
        load_run(x + v.at(p.batch, r, c), a);
        for (int k = 0; k < width; k++) {
            a[k] = normalized(a[k], mean[k], scale[k], shift[k]);
            if (relu)
                a[k] = lki_formula_relu(a[k]);
        }
        store_run_whole(y + v.at(p.batch, r, c), a);
    }
}

/* Zeros in rows that do not count. */
template <class T, bool relu, int width>
static __global__ void columns_gradient(column_grid g, column_values v, column_factors f, const T *x, const T *dy, T *dx)
{
    const column_place p = column_place_of(g);
    const int64_t c = p.col * width, own = p.batch * v.cols + c, valid = v.valid();
    float mean[width], scale[width], shift[width], constant[width], slope[width];

    if (p.col >= g.cols)
        return;
    load_run(f.mean + own, mean);
    load_run(f.scale + own, scale);
    load_run(f.constant + own, constant);
    load_run(f.slope + own, slope);
    if (relu)
        load_run(f.shift + c, shift);
    for (int64_t r = p.first; r < p.end; r += g.down) {
        float a[width], d[width] = {};
        if (r < valid) {
            load_run(x + v.at(p.batch, r, c), a);
            load_run(dy + v.at(p.batch, r, c), d);
            for (int k = 0; k < width; k++) {
                if (relu && normalized(a[k], mean[k], scale[k], shift[k]) <= 0)
                    d[k] = 0;
                d[k] = scale[k] * d[k] - constant[k] - (a[k] - mean[k]) * slope[k];
            }
        }
        store_run_whole(dx + v.at(p.batch, r, c), d);
    }
}

/* dy NULL: y = normalized x; else dx. */
template <class T, bool relu, int width>
static lk_status columns_pass(const column_values &v, const column_factors &f, const T *x, const T *dy, T *to)
{
    const column_grid g = column_grid_make(v.batch, v.rows, v.cols / width, FACTOR_ROWS, 0);
    const dim3 blocks(column_blocks(g)), block(LKI_BLOCK);
    return dy ? launch(columns_gradient<T, relu, width>, blocks, block, 0, g, v, f, x, dy, to)
              : launch(columns_normalize<T, relu, width>, blocks, block, 0, g, v, f, x, to);
}
template <class T, bool relu> static lk_status column_norm_pass(const column_values &v, const column_factors &f, const T *x, const T *dy, T *to)
{
    const bool aligned = aligned16(x) && aligned16(dy) && aligned16(to) && aligned16(f.mean) && aligned16(f.scale) && aligned16(f.constant) &&
                         aligned16(f.slope) && aligned16(f.shift);
    if (aligned && v.col_step == 1 && v.cols % vec<T>::n == 0)
        return columns_pass<T, relu, vec<T>::n>(v, f, x, dy, to);
    return columns_pass<T, relu, 1>(v, f, x, dy, to);
}

#endif
