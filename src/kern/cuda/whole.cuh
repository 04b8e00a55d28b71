/* What optimizers of whole parameters share: two sums over a parameter, in double, in an order fixed by its size, and what follows from them, all
 * on the device. */
#ifndef LK_KERN_CUDA_WHOLE_CUH
#define LK_KERN_CUDA_WHOLE_CUH

#include "kern/cuda/elements.cuh"

/* Each block adds up every gridDim-th run of elements, each thread of it its elements in rising order; add(i, a, b) adds what element i gives. */
template <class F> static __global__ void pair_sums(int64_t n, F add, double *part)
{
    __shared__ double shared[33];
    double a = 0, b = 0;

    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x)
        add(i, a, b);
    a = block_sum(a, shared);
    b = block_sum(b, shared);
    if (threadIdx.x == 0) {
        part[2 * blockIdx.x] = a;
        part[2 * blockIdx.x + 1] = b;
    }
}

/* One block, a thread a part. */
template <class F> static __global__ void pair_result(int parts, const double *part, F result, float *out)
{
    __shared__ double shared[33];
    const bool there = (int)threadIdx.x < parts;
    const double a = block_sum(there ? part[2 * threadIdx.x] : 0.0, shared), b = block_sum(there ? part[2 * threadIdx.x + 1] : 0.0, shared);

    if (threadIdx.x == 0)
        *out = result(a, b);
}

/* scratch: LKI_NORM_PARTS pairs, then the number that `result` makes of the sums; *out is where that will be. */
template <class Add, class Result> static lk_status pair_of_sums(int64_t n, Add add, Result result, void *scratch, const float **out)
{
    const int64_t blocks = div_up(n, 4 * LKI_BLOCK), parts = blocks < LKI_NORM_PARTS ? blocks : LKI_NORM_PARTS;
    double *const part = (double *)scratch;
    float *const end = (float *)(part + 2 * LKI_NORM_PARTS);

    *out = end;
    LK_TRY(launch(pair_sums<Add>, dim3(grid_of(parts)), dim3(LKI_BLOCK), 0, n, add, part));
    return launch(pair_result<Result>, dim3(1), dim3(LKI_NORM_PARTS), 0, (int)parts, (const double *)part, result, end);
}

#endif
