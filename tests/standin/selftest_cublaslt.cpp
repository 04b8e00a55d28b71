/* The stand-in's cuBLASLt refuses wrong calls. That it multiplies is tested by cuda/gemm.c. */
#include "standin/standin.h"

#include <criterion/criterion.h>
#include <cublasLt.h>

#define OK(call) cr_assert((call) == 0, "%s", #call)

namespace {

/* D [8,6] = A [8,4] B [4,6], by columns, floats; tests spoil parts of it. */
struct call {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulPreference_t prefer;
    cublasLtMatmulHeuristicResult_t found = {};
    float *memory = nullptr; /* A at 0, B at 64, D at 128, bias at 256, workspace at 512 */
    size_t workspace = 1024;
    float alpha = 1, beta = 0;

    explicit call(cudaDataType type = CUDA_R_32F, cudaDataType scale = CUDA_R_32F, int64_t lda = 8)
    {
        void *p;
        OK(cudaMalloc(&p, 8192));
        memory = static_cast<float *>(p);
        OK(cublasLtCreate(&handle));
        OK(cublasLtMatmulDescCreate(&op, CUBLAS_COMPUTE_32F, scale));
        OK(cublasLtMatrixLayoutCreate(&a, type, 8, 4, lda));
        OK(cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, 4, 6, 4));
        OK(cublasLtMatrixLayoutCreate(&d, CUDA_R_32F, 8, 6, 8));
        OK(cublasLtMatmulPreferenceCreate(&prefer));
        OK(cublasLtMatmulPreferenceSetAttribute(prefer, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
    }
    cublasStatus_t choose()
    {
        int n = 0;
        const cublasStatus_t st = cublasLtMatmulAlgoGetHeuristic(handle, op, a, b, d, d, prefer, 1, &found, &n);
        return st != CUBLAS_STATUS_SUCCESS ? st : n == 1 ? found.state : CUBLAS_STATUS_NOT_SUPPORTED;
    }
    cublasStatus_t run(int shift_a = 0)
    {
        return cublasLtMatmul(handle, op, &alpha, memory + shift_a, a, memory + 64, b, &beta, memory + 128, d, memory + 128, d, &found.algo, memory + 512, workspace, nullptr);
    }
    template <class T> cublasStatus_t set(cublasLtMatmulDescAttributes_t what, T v)
    {
        return cublasLtMatmulDescSetAttribute(op, what, &v, sizeof v);
    }
};

} // namespace

Test(standin_cublaslt, right_call)
{
    call c;
    OK(c.choose());
    OK(c.run());
    OK(cudaDeviceSynchronize());
    OK(cublasLtMatrixLayoutDestroy(c.a));
    OK(cublasLtMatmulDescDestroy(c.op));
    OK(cublasLtMatmulPreferenceDestroy(c.prefer));
    OK(cublasLtDestroy(c.handle));
    cr_assert(c.run() == CUBLAS_STATUS_NOT_INITIALIZED);
    cr_assert(cublasLtDestroy(c.handle) == CUBLAS_STATUS_NOT_INITIALIZED);
}

Test(standin_cublaslt, matrices)
{
    call narrow(CUDA_R_32F, CUDA_R_32F, 7), mixed(CUDA_R_16BF), scale(CUDA_R_32F, CUDA_R_16F), turned, batches;
    const int32_t two = 2;
    cr_assert(narrow.choose() == CUBLAS_STATUS_INVALID_VALUE);
    cr_assert(mixed.choose() == CUBLAS_STATUS_NOT_SUPPORTED);
    cr_assert(scale.choose() == CUBLAS_STATUS_NOT_SUPPORTED);
    OK(turned.set(CUBLASLT_MATMUL_DESC_TRANSA, (int32_t)CUBLAS_OP_T));
    cr_assert(turned.choose() == CUBLAS_STATUS_INVALID_VALUE);
    OK(cublasLtMatrixLayoutSetAttribute(batches.a, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &two, sizeof two));
    cr_assert(batches.choose() == CUBLAS_STATUS_INVALID_VALUE);
}

Test(standin_cublaslt, attribute_of_the_wrong_size)
{
    call c;
    const int64_t two = 2;
    cr_assert(c.set(CUBLASLT_MATMUL_DESC_EPILOGUE, (uint64_t)CUBLASLT_EPILOGUE_RELU) == CUBLAS_STATUS_INVALID_VALUE);
    cr_assert(c.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, (int32_t)0) == CUBLAS_STATUS_INVALID_VALUE);
    cr_assert(cublasLtMatrixLayoutSetAttribute(c.a, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &two, sizeof two) == CUBLAS_STATUS_INVALID_VALUE);
    cr_assert(cublasLtMatmulPreferenceSetAttribute(c.prefer, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &two, sizeof two) == CUBLAS_STATUS_INVALID_VALUE);
}

Test(standin_cublaslt, epilogues)
{
    call gelu, missing, other_type, shifted;
    OK(gelu.set(CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)CUBLASLT_EPILOGUE_GELU));
    cr_assert(gelu.choose() == CUBLAS_STATUS_NOT_SUPPORTED);
    OK(missing.set(CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)CUBLASLT_EPILOGUE_BIAS));
    OK(missing.choose());
    cr_assert(missing.run() == CUBLAS_STATUS_INVALID_VALUE);
    OK(missing.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, missing.memory + 257));
    cr_assert(missing.run() == CUBLAS_STATUS_NOT_SUPPORTED);
    OK(missing.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, missing.memory + 256));
    OK(missing.run());
    OK(other_type.set(CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)CUBLASLT_EPILOGUE_BIAS));
    OK(other_type.set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, (int32_t)CUDA_R_16BF));
    cr_assert(other_type.choose() == CUBLAS_STATUS_NOT_SUPPORTED);
    OK(shifted.choose());
    OK(shifted.set(CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)CUBLASLT_EPILOGUE_RELU)); /* after the choice */
    cr_assert(shifted.run() == CUBLAS_STATUS_INVALID_VALUE);
}

Test(standin_cublaslt, addresses_and_workspace)
{
    call c, promised;
    const uint32_t align = 4;
    OK(c.choose());
    cr_assert(c.run(4) == CUBLAS_STATUS_NOT_SUPPORTED); /* 16 bytes on, where nothing was said: 256 */
    c.workspace = 512;
    cr_assert(c.run() == CUBLAS_STATUS_INVALID_VALUE);
    OK(cublasLtMatmulPreferenceSetAttribute(promised.prefer, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align, sizeof align));
    OK(promised.choose());
    OK(promised.run(1));
    OK(cudaDeviceSynchronize());
}

Test(standin_cublaslt, outside_of_memory)
{
    call c;
    OK(c.choose());
    OK(c.run(2048)); /* behind the end; the work faults, not the call */
    cr_assert(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
}
