/* avg_pool: the mean under a window, zeros of the padding counted. */
#include "kern/cuda/window.cuh"

template <class T>
static constexpr lk_kernel kernel = {
    .plan = shares_plan, .forward = shares_forward<T, window_axis>, .backward = shares_backward<T, window_axis>};

LKI_KERNELS(avg_pool, kernel);
