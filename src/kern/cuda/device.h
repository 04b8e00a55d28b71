/* GPUs, for those who do not compute on them. Part of the CUDA module; plain C without CUDA's headers. */
#ifndef LK_KERN_CUDA_DEVICE_H
#define LK_KERN_CUDA_DEVICE_H

#include "kern/kern.h"

#define LK_CUDA_NAME 256
#define LK_CUDA_BUS 24
/* What products work in: taken when a GPU is opened. cuBLASLt's workspace as NVIDIA recommends it for Hopper; enough for all before. */
enum { LK_CUDA_WORKSPACE_BYTES = 32 << 20 };
typedef struct lk_cuda_gpu {
    char name[LK_CUDA_NAME]; /* "NVIDIA H200" */
    char bus[LK_CUDA_BUS];   /* "0000:19:00.0": tells devices of a host apart */
    int major, minor;        /* compute capability */
    int64_t memory;          /* bytes */
    int processors;          /* streaming multiprocessors */
} lk_cuda_gpu;

/* Versions as their libraries write them: 13000, 2.28.3 -> 22803; 0: not there. */
typedef struct lk_cuda_versions {
    int driver, runtime, cublas, cudnn, nccl;
    bool without_cudnn; /* it is not there, or LOCKSTEP_CUDNN=0 says not to use it */
} lk_cuda_versions;

/* Number of GPUs, at least 1. Errors: LK_E_UNSUPPORTED with CUDA's reason (no driver, too old a driver, no device). Local. */
LK_MUST_USE lk_status lk_cuda_count(int *n);
LK_MUST_USE lk_status lk_cuda_describe(int i, lk_cuda_gpu *out);
/* Whether GPU a reads GPU b's memory directly. */
bool lk_cuda_peer(int a, int b);
/* All but NCCL's. */
void lk_cuda_library_versions(lk_cuda_versions *out);
/* This process computes on GPU i from now on; once. Errors: LK_E_UNSUPPORTED (an architecture that the module was not built for), LK_E_DEVICE,
 * LK_E_NOMEM. */
LK_MUST_USE lk_status lk_cuda_open(int i, lk_precision precision, const lk_backend **out);
/* Operations a second of a product of n x n matrices in this precision (multiplications and additions), on the GPU that is open or will be (the first). Errors: as of
 * lk_cuda_open; LK_E_LIBRARY. */
LK_MUST_USE lk_status lk_cuda_product_rate(lk_precision precision, int64_t n, double *flops_per_s);
/* The queue of the open GPU (a cudaStream_t), and its memory. */
void *lk_cuda_queue(void);
const lk_space *lk_cuda_space(void);
/* `watch` is asked while the host waits for the GPU: a failure ends the wait. NULL: nothing to ask. */
void lk_cuda_watch(lk_status (*watch)(void *arg), void *arg);

#endif
