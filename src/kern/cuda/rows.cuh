/* Kernels over rows of n elements, a group of threads a row: a warp, and several rows a block, or the block. A thread has every group-th piece of
 * `width` neighbours. It holds up to `held` pieces in registers; of longer rows (held 0) it reads them again in each pass.
 *
 *     template <class T, int group, int width, int held> static __global__ void kernel(int64_t rows, int64_t n, const T *x, ...)
 *     {
 *         __shared__ float shared[33];
 *         const int64_t r = row_number<group>();
 *         if (r >= rows)
 *             return;
 *         row_part<T, group, width, held> own(x + r * n, n);
 *         for (int k = 0; k < own.pieces(); k++)
 *             if (own.inside(k)) ... own.get(k, v)
 *         ... group_sum<group>(sum, shared) */
#ifndef LK_KERN_CUDA_ROWS_CUH
#define LK_KERN_CUDA_ROWS_CUH

#include "kern/cuda/elements.cuh"

enum { ROW_BLOCK = LKI_BLOCK };

/* ---- the group: 1 thread, 32, or ROW_BLOCK ---- */
template <int group> static __device__ inline int64_t row_number()
{
    return (int64_t)blockIdx.x * (ROW_BLOCK / group) + threadIdx.x / group;
}
template <int group> static __device__ inline int lane_number()
{
    return threadIdx.x % group;
}
template <int group, class V> static __device__ inline V group_sum(V v, V *shared)
{
    if constexpr (group == 1)
        return v;
    else if constexpr (group == 32)
        return warp_sum(v);
    else
        return block_sum(v, shared);
}
template <int group, class V> static __device__ inline V group_max(V v, V *shared)
{
    if constexpr (group == 1)
        return v;
    else if constexpr (group == 32)
        return warp_max(v);
    else
        return block_max(v, shared);
}
/* Of (value, place) of each thread the largest value with the smallest place; no NaN. */
template <int group> static __device__ inline void group_first_largest(float *value, int64_t *place, float *shared, int64_t *shared_place)
{
    const float top = group_max<group>(*value, shared);
    *place = -group_max<group>(*value == top ? -*place : INT64_MIN, shared_place);
    *value = top;
}

template <int group, class... P, class... A> static lk_status launch_rows(void (*k)(P...), int64_t rows, A... a)
{
    return launch(k, dim3(grid_of(div_up(rows, ROW_BLOCK / group))), dim3(ROW_BLOCK), 0, a...);
}

/* ---- a thread's part of a row ---- */
template <class T, int group, int width, int held> struct row_part {
    const T *row;
    int64_t n; /* a multiple of width */
    float part[held > 0 ? held : 1][width];

    __device__ row_part(const T *row_, int64_t n_) : row(row_), n(n_), part{}
    {
        LKI_UNROLL
        for (int k = 0; k < held; k++)
            if (inside(k))
                load_run(row + at(k), part[k]);
    }
    __device__ int pieces() const
    {
        return held > 0 ? held : (int)((n + group * width - 1) / (group * width));
    }
    /* Place in the row of piece k. */
    __device__ int64_t at(int k) const
    {
        return ((int64_t)k * group + lane_number<group>()) * width;
    }
    __device__ bool inside(int k) const
    {
        return at(k) < n;
    }
    __device__ void get(int k, float (&v)[width]) const
    {
        if constexpr (held > 0) {
            for (int j = 0; j < width; j++)
                v[j] = part[k][j];
        } else {
            load_run(row + at(k), v);
        }
    }
    /* In place of what it holds, if it does. */
    __device__ void keep(int k, const float (&v)[width])
    {
        for (int j = 0; held > 0 && j < width; j++)
            part[k][j] = v[j];
    }
};

/* Calls f.run<group, width, held>() that fits rows of n; `aligned`: so are all arrays. */
template <int width, class F> static lk_status for_rows_of(int64_t n, const F &f)
{
    constexpr int few = 8, many = 32; /* elements that a thread holds */
    if (n <= 32 * few)
        return f.template run<32, width, few / width>();
    if (n <= 32 * many)
        return f.template run<32, width, many / width>();
    if (n <= ROW_BLOCK * many)
        return f.template run<ROW_BLOCK, width, many / width>();
    return f.template run<ROW_BLOCK, width, 0>();
}
template <class T, class F> static lk_status for_rows(int64_t n, bool aligned, const F &f)
{
    return aligned && n % vec<T>::n == 0 ? for_rows_of<vec<T>::n>(n, f) : for_rows_of<1>(n, f);
}

#endif
