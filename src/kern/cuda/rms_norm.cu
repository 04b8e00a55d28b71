/* rms_norm: y = x / sqrt(mean(x^2) + eps) w along the last dimension. */
#include "kern/cuda/cuda_int.h"
#include "kern/cuda/row_norm.cuh"

template <class T> static constexpr lk_kernel kernel = row_norm_kernel<T, false>;

LKI_KERNELS(rms_norm, kernel);
