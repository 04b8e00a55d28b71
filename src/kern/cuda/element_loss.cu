/* The last pass of losses. */
#include "kern/cuda/cuda_int.h"
#include "kern/cuda/element_loss.cuh"

/* One block. */
static __global__ void metrics_kernel(int64_t parts, const loss_sums *part, double scale, double *metrics)
{
    __shared__ double shared[33];
    for (int k = 0; k <= LK_METRIC_NAMED; k++) {
        double sum = 0;
        for (int64_t i = threadIdx.x; i < parts; i += blockDim.x)
            sum += part[i].at[k];
        sum = block_sum(sum, shared);
        if (threadIdx.x == 0)
            metrics[k] = k == LK_METRIC_LOSS ? scale * sum : sum;
    }
}

lk_status lki_loss_metrics(int64_t parts, const loss_sums *part, double scale, double *metrics)
{
    return launch(metrics_kernel, dim3(1), dim3(LKI_BLOCK), 0, parts, part, scale, metrics);
}
