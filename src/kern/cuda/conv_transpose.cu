/* conv_transpose: up, from x, the narrow side, to y. */
#include "kern/cuda/conv.cuh"

template <class T> static constexpr lk_kernel kernel = conv_operation<T, true>::kernel;
LKI_KERNELS(conv_transpose, kernel);
