/* Inside of the CUDA backend, for its .cu and .c files: the device of this process, the translator of CUDA's errors, products, and (C++)
 * what every kernel is written with. CUDA's headers stay in this folder and in comm_nccl.
 *
 * A .cu file is one operation: its __global__ functions and a table lk_kern_cuda_NAME of lk_kernel, one for each type of values. Kernels
 * are queued on the device's one stream; they never allocate, never wait, and read what changes from microbatch to microbatch (valid rows,
 * scale of gradients, ids of samples, keys of random streams) from lk_call.live and lk_call.key at the time they run, since the queued work
 * is kept as a graph and done again. Grids and the order of sums depend on shapes alone; there are no float atomics.
 *
 * The same files compile as C++ for the host (LK_STANDIN, tests/standin), where they run thread by thread. */
#ifndef LK_KERN_CUDA_CUDA_INT_H
#define LK_KERN_CUDA_CUDA_INT_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/mem.h"
#include "kern/kern_int.h"

/* Types of values. Weights, gradients of weights, optimizer state, metrics stay float and double. */
typedef enum lki_type { LKI_F32, LKI_BF16, LKI_F16, LKI_TYPES } lki_type;

/* One table an operation: what the tables of lk_backend point to. Weak: an operation without a file is not there, and the plan says so. */
#define X(NAME, name) extern const lk_kernel *const lk_kern_cuda_##name[LKI_TYPES] __attribute__((weak));
LK_OP_LIST(X)
#undef X
#define X(NAME, name) \
    void lk_opt_cuda_##name( \
        int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a) __attribute__((weak)); \
    void lk_flat_cuda_##name(const lk_flat_call *c) __attribute__((weak)); /* not of those that take whole parameters */
LK_OPT_LIST(X)
#undef X

/* The device that this process computes on; one, and one queue of work. Filled by lki_cuda_open, read by all. */
typedef struct lki_cuda {
    int device;
    cudaStream_t queue;
    cudaStream_t copies;   /* inputs that come in while the queue computes */
    cudaEvent_t copied;
    cublasLtHandle_t lt;
    void *workspace; /* of the products; used in the order of the queue */
    size_t workspace_bytes;
    bool tf32;       /* products of floats may round their factors to 10 bits */
    lk_status (*watch)(void *arg); /* asked while the host waits for the device; a failure ends the wait. NULL: nothing to ask */
    void *watch_arg;
    lk_status failed; /* of a launch whose caller returns nothing (optimizers): the next wait returns it */
    lk_err why;
} lki_cuda;
extern lki_cuda lki_cuda_device;

/* LK_TRY(LK_CUDA(cudaMemcpyAsync(...))): LK_E_NOMEM for memory, LK_E_DEVICE for all else, with the call and CUDA's text. */
lk_status lki_cuda_status(cudaError_t e, const char *what, const char *file, int line, const char *func);
#define LK_CUDA(call) lki_cuda_status((call), #call, __FILE__, __LINE__, __func__)
lk_status lki_cublas_status(cublasStatus_t e, const char *what, const char *file, int line, const char *func);
#define LK_CUBLAS(call) lki_cublas_status((call), #call, __FILE__, __LINE__, __func__)
/* Keeps a failure for the next wait. */
void lki_cuda_defer(lk_status st);

static inline size_t lki_type_size(lki_type t)
{
    return t == LKI_F32 ? 4 : 2;
}
/* Bytes of a part of a buffer, so that the next one is aligned as buffers are. */
static inline size_t lki_part_bytes(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* cuda.c, backend.cu */
extern const lk_space lki_space_cuda;
const lk_backend *lki_cuda_backend(lki_type t);
lk_status lki_cuda_sum(lk_sum_form form, int64_t n, float *to, const float *const from[4]);

/* ---- cudnn_graph.c ---- */
/* As cudnnGetVersion: 91900 for 9.19.0; 0: the module was built without it. */
int lki_cudnn_version(void);
/* Not with LOCKSTEP_CUDNN=0 in the environment, or where there is none. */
bool lki_cudnn_wanted(void);

/* ---- products ---- */
/* Row-major: C [m,n] = op(A) [m,k] op(B) [k,n], then + C with `add`, + bias [n], then relu; `batch` of them, so many elements apart. Sums in
 * float. A is [m,k] with lda elements a row, or [k,m] where ta; B [k,n], or [n,k] where tb; C and what it is added to [m,n]. */
typedef struct lki_gemm_spec {
    bool ta, tb;
    int64_t m, n, k;
    int64_t lda, ldb, ldc; /* 0: without gaps */
    int64_t batch;         /* 0: 1 */
    int64_t stride_a, stride_b, stride_c; /* 0 for A or B: the same in every product */
    lki_type a, b, c;      /* a and b alike; c: theirs or LKI_F32 */
    bool add;
    bool bias;             /* [n] of type c (the library takes no other); aligned to 16 bytes */
    bool relu;             /* as the library does it: a NaN may become 0 */
    int64_t align;         /* bytes that the addresses of A, B, C are multiples of, a power of two; 0: 16. Rows and products may lie as they like */
} lki_gemm_spec;
typedef struct lki_gemm lki_gemm;
/* Setup: chooses the algorithm, the same for the same spec on the same device and library. Errors: LK_E_SHAPE, LK_E_ARG, LK_E_NOMEM, LK_E_LIBRARY,
 * LK_E_UNSUPPORTED, with the shape. */
LK_MUST_USE lk_status lki_gemm_create(const lki_gemm_spec *s, lki_gemm **out);
/* Queues C = alpha op(A) op(B) (+ C ...), the same bits each time. `bias` NULL unless the spec has one. One thread at a time. Errors: LK_E_ARG for an
 * address that is not aligned, LK_E_LIBRARY. */
LK_MUST_USE lk_status lki_gemm_run(const lki_gemm *g, float alpha, const void *a, const void *b, void *c, const void *bias);
/* NULL in *g is fine; sets NULL. */
void lki_gemm_destroy(lki_gemm **g);

/* ---- activation.cu: also for an activation behind another operation; act is not NONE ---- */
/* y [n] = f(x); y may be x. */
LK_MUST_USE lk_status lki_act_forward_cuda(lki_type t, lk_act act, double alpha, int64_t n, const void *x, void *y);
/* dx [n] = dy f'(x); v is y where lki_act_by_output(act), else x; dx may be dy. */
LK_MUST_USE lk_status lki_act_backward_cuda(lki_type t, lk_act act, double alpha, int64_t n, const void *v, const void *dy, void *dx);

/* ---- copy.cu ---- */
/* n elements of so many bytes; `to` may be `from`. */
LK_MUST_USE lk_status lki_copy_cuda(size_t element, int64_t n, const void *from, void *to);

/* ---- sums.cu ---- */
/* out[c] = sum over rows of x [rows,cols], whose rows begin `step` elements apart, in an order fixed by the shape; `scratch` [lki_column_sums_scratch] in
 * the space. */
size_t lki_column_sums_scratch(int64_t rows, int64_t cols);
LK_MUST_USE lk_status lki_column_sums_cuda(lki_type t, int64_t rows, int64_t cols, int64_t step, const void *x, float *out, void *scratch);
/* to [n] = from [n], in other types. */
LK_MUST_USE lk_status lki_convert(int64_t n, lki_type from_type, const void *from, lki_type to_type, void *to);
/* Elements [first, first + n) of a parameter, which begins at `from`, as values; `rounding` NULL: to nearest. */
LK_MUST_USE lk_status lki_convert_param(const lk_rounding *rounding, int64_t first, int64_t n, const void *from, lki_type to_type, void *to);

#ifdef __cplusplus
} /* extern "C" */

#include "kern/cuda/simt.cuh"
#endif
#endif
