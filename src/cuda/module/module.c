/* What the CUDA module shows of itself. */
#include "cuda/cuda.h"

#ifdef LK_HAVE_NCCL
#include "comm/nccl.h"

static lk_status comm(lk_comm *inner, double deadline, lk_comm **out)
{
    return lk_comm_create_nccl(inner, lk_cuda_space(), lk_cuda_queue(), deadline, lk_cuda_watch, out);
}
#endif

static void versions(lk_cuda_versions *out)
{
    lk_cuda_library_versions(out);
#ifdef LK_HAVE_NCCL
    out->nccl = lk_comm_nccl_version();
#endif
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
#ifdef LK_HAVE_NCCL
    .comm = comm,
#endif
};
