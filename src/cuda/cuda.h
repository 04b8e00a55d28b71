/* The CUDA module: liblockstep_cuda.so, loaded when a GPU is asked for or found, so that the same lockstep starts in milliseconds on a
 * machine without CUDA. It is found beside the program, in ../lib/lockstep, or where LOCKSTEP_CUDA_MODULE says. */
#ifndef LK_CUDA_CUDA_H
#define LK_CUDA_CUDA_H

#include "comm/comm.h"
#include "kern/kern.h"

/* Types of values that a backend computes with; weights, gradients and optimizer state stay float32. */
typedef enum lk_precision { LK_PRECISION_FP32, LK_PRECISION_TF32, LK_PRECISION_BF16, LK_PRECISION_FP16, LK_PRECISIONS } lk_precision;

#define LK_CUDA_NAME 96
#define LK_CUDA_BUS 24
typedef struct lk_cuda_gpu {
    char name[LK_CUDA_NAME]; /* "NVIDIA H200" */
    char bus[LK_CUDA_BUS];   /* "0000:19:00.0": tells devices of a host apart */
    int major, minor;        /* compute capability */
    int64_t memory, free;    /* bytes; free: 0 where it was not asked */
    int processors;          /* streaming multiprocessors */
} lk_cuda_gpu;

/* Versions as their libraries write them: 13000, 2.28.3 -> 22803; 0: not there. */
typedef struct lk_cuda_versions {
    int driver, runtime, cublas, cudnn, nccl;
} lk_cuda_versions;

/* What the module exports as `lk_cuda_module`. Anything that changes here changes LK_CUDA_ABI. */
#define LK_CUDA_ABI 1
typedef struct lk_cuda_module {
    int abi;
    const char *version; /* LK_VERSION */
    /* Number of GPUs. Errors: LK_E_UNSUPPORTED with CUDA's reason (no driver, too old a driver, no device). Local. */
    lk_status (*count)(int *n);
    lk_status (*gpu)(int i, lk_cuda_gpu *out);
    bool (*peer)(int a, int b); /* a reads b's memory directly */
    void (*versions)(lk_cuda_versions *out);
    /* This process computes on GPU i from now on; once. Errors: LK_E_UNSUPPORTED (an architecture this module was not built for), LK_E_DEVICE,
     * LK_E_NOMEM. */
    lk_status (*open)(int i, lk_precision precision, const lk_backend **out);
    /* Of the open GPU. */
    void (*close)(void);
    /* Exchanges in the memory of the open GPUs through NCCL; `inner` is borrowed. Collective. NULL: built without NCCL. */
    lk_status (*comm)(lk_comm *inner, double deadline, lk_comm **out);
} lk_cuda_module;

/* The module, loaded once in this process. Errors: LK_E_NOT_FOUND (there is no such file), LK_E_LIBRARY (it cannot be loaded, with the
 * loader's reason), LK_E_UNSUPPORTED (of another version of lockstep). Local. */
LK_MUST_USE lk_status lk_cuda_load(const lk_cuda_module **out);

#endif
