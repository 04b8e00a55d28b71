/* layer_norm: y = (x - mean) / sqrt(var + eps) w + b along the last dimension. */
#include "kern/cuda/cuda_int.h"
#include "kern/cuda/row_norm.cuh"

template <class T> static constexpr lk_kernel kernel = row_norm_kernel<T, true>;

LKI_KERNELS(layer_norm, kernel);
