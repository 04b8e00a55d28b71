/* What the CUDA module shows of itself. */
#include "cuda/cuda.h"

static void versions(lk_cuda_versions *out)
{
    lk_cuda_library_versions(out);
}

extern const lk_cuda_module lk_cuda_module_table;

const lk_cuda_module lk_cuda_module_table = {
    .abi = LK_CUDA_ABI,
    .version = LK_VERSION,
    .count = lk_cuda_count,
    .describe = lk_cuda_describe,
    .peer = lk_cuda_peer,
    .versions = versions,
    .product_rate = lk_cuda_product_rate,
    .open = lk_cuda_open,
};
