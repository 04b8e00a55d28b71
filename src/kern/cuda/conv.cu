/* conv: down, from x to y. */
#include "kern/cuda/conv.cuh"

template <class T> static constexpr lk_kernel kernel = conv_operation<T, false>::kernel;
LKI_KERNELS(conv, kernel);
