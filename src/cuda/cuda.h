/* The CUDA module: liblockstep_cuda.so, loaded when a GPU is asked for or found, so that the same lockstep starts in milliseconds on a
 * machine without CUDA. It is found beside the program, in ../lib/lockstep, or where LOCKSTEP_CUDA_MODULE says. */
#ifndef LK_CUDA_CUDA_H
#define LK_CUDA_CUDA_H

#include "comm/comm.h"
#include "kern/cuda/device.h"

/* What the module exports as `lk_cuda_module_table`; the functions are those of kern/cuda/device.h. Anything that changes here changes LK_CUDA_ABI. */
#define LK_CUDA_ABI 3
typedef struct lk_cuda_module {
    int abi;
    const char *version; /* LK_VERSION */
    lk_status (*count)(int *n);
    lk_status (*describe)(int i, lk_cuda_gpu *out);
    bool (*peer)(int a, int b);
    void (*versions)(lk_cuda_versions *out); /* of all libraries */
    lk_status (*product_rate)(lk_precision precision, int64_t n, double *flops_per_s);
    lk_status (*open)(int i, lk_precision precision, const lk_backend **out);
    /* Exchanges in the memory of the open GPUs, through NCCL; `inner` is borrowed, seconds as of lk_comm_set_deadline. Collective. NULL: built without NCCL. */
    lk_status (*comm)(lk_comm *inner, double deadline, lk_comm **out);
} lk_cuda_module;

/* Whether there is such a file, without loading it. Errors: LK_E_NOT_FOUND. Local. */
LK_MUST_USE lk_status lk_cuda_find(void);
/* The module, loaded once in this process. Errors: LK_E_NOT_FOUND (there is no such file), LK_E_LIBRARY (it cannot be loaded, with the
 * loader's reason), LK_E_UNSUPPORTED (of another version of lockstep). Local. */
LK_MUST_USE lk_status lk_cuda_load(const lk_cuda_module **out);

#endif
