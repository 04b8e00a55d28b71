/* Products over cuBLASLt, whose matrices are stored by columns: a row-major matrix is its transpose there, so C = A B is asked for as
 * C^T = B^T A^T, our B in the place of its A. A bias along a row of C is then one along a column, which is what its epilogue adds.
 *
 * The algorithm is what the library's heuristic names first for the spec, and is kept. Algorithms that split the sum over k must bring the
 * parts together in float and in a step of their own: the library's "in place" scheme lets blocks add as they come, and "output type" would
 * round parts to 16 bits. */
#include "kern/cuda/cuda_int.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>

/* Alignment of pointers that a spec says nothing about; most that the library makes use of. */
enum { USUAL_ALIGN = 16, BEST_ALIGN = 256 };

struct lki_gemm {
    lki_gemm_spec s; /* with all defaults filled in */
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
};

/* ---- run ---- */

/* Of a sum of nothing. */
static lk_status store_zeros(const lki_gemm_spec *s, char *c)
{
    const size_t size = lki_type_size(s->c);

    if (s->add)
        return LK_OK;
    for (int64_t i = 0; i < s->batch; i++)
        for (int64_t r = 0; r < s->m; r++)
            LK_TRY(LK_CUDA(cudaMemsetAsync(c + (size_t)(i * s->stride_c + r * s->ldc) * size, 0, (size_t)s->n * size, lki_cuda_device.queue)));
    return LK_OK;
}

static bool aligned(const void *p, int64_t to)
{
    return ((uintptr_t)p & (uintptr_t)(to - 1)) == 0;
}

#define SPEC_TEXT 160
static const char *spec_print(const lki_gemm_spec *s, char text[SPEC_TEXT])
{
    static const char *const types[LKI_TYPES] = {"float", "bf16", "fp16"};

    snprintf(text, SPEC_TEXT, "%" PRId64 " products of %s [%" PRId64 ",%" PRId64 "]%s and [%" PRId64 ",%" PRId64 "]%s%s%s into %s%s", s->batch, types[s->a], s->m, s->k,
        s->ta ? " transposed" : "", s->k, s->n, s->tb ? " transposed" : "", s->bias ? ", bias" : "", s->relu ? ", relu" : "", types[s->c], s->add ? ", added" : "");
    return text;
}

static lk_status checked(lk_status st, const lki_gemm_spec *s)
{
    char text[SPEC_TEXT];

    return st == LK_OK ? LK_OK : lk_err_prefix(st, "%s: ", spec_print(s, text));
}

lk_status lki_gemm_run(const lki_gemm *g, float alpha, const void *a, const void *b, void *c, const void *bias)
{
    const lki_gemm_spec *const s = &g->s;
    const lki_cuda *const d = &lki_cuda_device;
    const float beta = s->add ? 1 : 0;

    if (s->m == 0 || s->n == 0 || s->batch == 0)
        return LK_OK;
    if (s->k == 0)
        return checked(store_zeros(s, c), s);
    LK_BUG_IF(s->bias != (bias != NULL), "a product with a bias is %sgiven one", s->bias ? "not " : "");
    if (!aligned(a, s->align) || !aligned(b, s->align) || !aligned(c, s->align) || !aligned(bias, USUAL_ALIGN))
        return checked(LK_FAIL(LK_E_ARG, "%p, %p, %p (bias %p) are not multiples of %" PRId64 " (%d) bytes", a, b, c, bias, s->align, USUAL_ALIGN), s);
    if (s->bias)
        LK_TRY(checked(LK_CUBLAS(cublasLtMatmulDescSetAttribute(g->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias)), s));
    return checked(LK_CUBLAS(cublasLtMatmul(d->lt, g->op, &alpha, b, g->b, a, g->a, &beta, c, g->c, c, g->c, &g->algo, d->workspace, d->workspace_bytes, d->queue)), s);
}

/* ---- setup ---- */

static lk_status complete(const lki_gemm_spec *from, lki_gemm_spec *out)
{
    lki_gemm_spec s = *from;
    char text[SPEC_TEXT];
    const int64_t a_row = s.ta ? s.m : s.k, b_row = s.tb ? s.k : s.n;

    s.lda = s.lda ? s.lda : a_row;
    s.ldb = s.ldb ? s.ldb : b_row;
    s.ldc = s.ldc ? s.ldc : s.n;
    s.batch = s.batch ? s.batch : 1;
    s.align = s.align ? s.align : USUAL_ALIGN;
    *out = s;
    if (s.m < 0 || s.n < 0 || s.k < 0 || s.batch < 0 || s.batch > INT32_MAX || s.lda < a_row || s.ldb < b_row || s.ldc < s.n)
        return LK_FAIL(LK_E_SHAPE, "%s: a size is negative, or rows of %" PRId64 ", %" PRId64 ", %" PRId64 " elements overlap", spec_print(&s, text), s.lda, s.ldb, s.ldc);
    if (s.align < (int64_t)lki_type_size(s.a) || s.align > BEST_ALIGN || (s.align & (s.align - 1)) != 0)
        return LK_FAIL(LK_E_ARG, "%s: alignment %" PRId64 " is not a power of two between an element and %d bytes", spec_print(&s, text), s.align, BEST_ALIGN);
    if (s.a != s.b || (s.c != s.a && s.c != LKI_F32))
        return LK_FAIL(LK_E_ARG, "%s: factors of two types, or a result of a third", spec_print(&s, text));
    /* One behind the other, or side by side. */
    const bool behind = s.stride_c >= (s.m - 1) * s.ldc + s.n, beside = s.stride_c >= s.n && (s.batch - 1) * s.stride_c + s.n <= s.ldc;
    if (s.batch > 1 && s.m > 0 && !behind && !beside)
        return LK_FAIL(LK_E_SHAPE, "%s: results %" PRId64 " elements apart overlap", spec_print(&s, text), s.stride_c);
    if (s.k == 0 && (s.bias || s.relu))
        return LK_FAIL(LK_E_UNSUPPORTED, "%s: a sum of nothing, with something done to it", spec_print(&s, text));
    return LK_OK;
}

static cudaDataType_t cuda_type(lki_type t)
{
    return t == LKI_F32 ? CUDA_R_32F : t == LKI_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

/* A row-major matrix [rows, cols], as its transpose by columns. */
static lk_status layout_create(const lki_gemm_spec *s, lki_type t, int64_t rows, int64_t cols, int64_t ld, int64_t stride, cublasLtMatrixLayout_t *out)
{
    const int32_t batch = (int32_t)s->batch;

    LK_TRY(LK_CUBLAS(cublasLtMatrixLayoutCreate(out, cuda_type(t), (uint64_t)cols, (uint64_t)rows, ld)));
    if (batch == 1)
        return LK_OK;
    LK_TRY(LK_CUBLAS(cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch)));
    return LK_CUBLAS(cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
}

static lk_status set_op(cublasLtMatmulDesc_t op, cublasLtMatmulDescAttributes_t what, uint32_t value)
{
    return LK_CUBLAS(cublasLtMatmulDescSetAttribute(op, what, &value, sizeof value));
}

static lk_status op_create(const lki_gemm_spec *s, cublasLtMatmulDesc_t *out)
{
    const cublasComputeType_t compute = s->a == LKI_F32 && lki_cuda_device.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    const uint32_t epilogue = (s->bias || s->relu ? 0u : CUBLASLT_EPILOGUE_DEFAULT) | (s->bias ? CUBLASLT_EPILOGUE_BIAS : 0u) | (s->relu ? CUBLASLT_EPILOGUE_RELU : 0u);

    LK_TRY(LK_CUBLAS(cublasLtMatmulDescCreate(out, compute, CUDA_R_32F)));
    LK_TRY(set_op(*out, CUBLASLT_MATMUL_DESC_TRANSA, s->tb ? CUBLAS_OP_T : CUBLAS_OP_N));
    LK_TRY(set_op(*out, CUBLASLT_MATMUL_DESC_TRANSB, s->ta ? CUBLAS_OP_T : CUBLAS_OP_N));
    LK_TRY(set_op(*out, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue));
    if (!s->bias)
        return LK_OK;
    /* The heuristic reads the alignment of a bias off its address: one of no more than what every later one has. */
    const void *const bias = (const char *)lki_cuda_device.workspace + USUAL_ALIGN;
    LK_TRY(set_op(*out, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(s->c)));
    return LK_CUBLAS(cublasLtMatmulDescSetAttribute(*out, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
}

/* What all pointers to matrices of a batch are multiples of. */
static uint32_t alignment(const lki_gemm_spec *s, lki_type t, int64_t stride)
{
    const int64_t apart = s->batch > 1 ? stride * (int64_t)lki_type_size(t) : 0;

    return (uint32_t)(apart != 0 && (apart & -apart) < s->align ? apart & -apart : s->align);
}

static lk_status set_preference(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t what, uint32_t value)
{
    return LK_CUBLAS(cublasLtMatmulPreferenceSetAttribute(p, what, &value, sizeof value));
}

static lk_status preference_fill(const lki_gemm_spec *s, cublasLtMatmulPreference_t p)
{
    const uint64_t most = lki_cuda_device.workspace_bytes;
    const uint32_t c = alignment(s, s->c, s->stride_c);

    LK_TRY(LK_CUBLAS(cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most)));
    LK_TRY(set_preference(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    LK_TRY(set_preference(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(s, s->b, s->stride_b)));
    LK_TRY(set_preference(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(s, s->a, s->stride_a)));
    LK_TRY(set_preference(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c));
    return set_preference(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c);
}

static lk_status choose(lki_gemm *g, cublasLtMatmulPreference_t p)
{
    cublasLtMatmulHeuristicResult_t found = {.state = CUBLAS_STATUS_NOT_SUPPORTED};
    int n = 0;

    LK_TRY(preference_fill(&g->s, p));
    const cublasStatus_t e = cublasLtMatmulAlgoGetHeuristic(lki_cuda_device.lt, g->op, g->b, g->a, g->c, g->c, p, 1, &found, &n);
    if (e == CUBLAS_STATUS_NOT_SUPPORTED || (e == CUBLAS_STATUS_SUCCESS && (n == 0 || found.state == CUBLAS_STATUS_NOT_SUPPORTED)))
        return LK_FAIL(LK_E_UNSUPPORTED, "GPU %d: cuBLASLt has no algorithm for it", lki_cuda_device.device);
    LK_TRY(lki_cublas_status(e, "cublasLtMatmulAlgoGetHeuristic", __FILE__, __LINE__, __func__));
    LK_TRY(lki_cublas_status(found.state, "cublasLtMatmulAlgoGetHeuristic", __FILE__, __LINE__, __func__));
    g->algo = found.algo;
    return LK_OK;
}

static lk_status build(lki_gemm *g)
{
    const lki_gemm_spec *const s = &g->s;
    cublasLtMatmulPreference_t p = NULL;

    LK_TRY(op_create(s, &g->op));
    LK_TRY(layout_create(s, s->a, s->ta ? s->k : s->m, s->ta ? s->m : s->k, s->lda, s->stride_a, &g->a));
    LK_TRY(layout_create(s, s->b, s->tb ? s->n : s->k, s->tb ? s->k : s->n, s->ldb, s->stride_b, &g->b));
    LK_TRY(layout_create(s, s->c, s->m, s->n, s->ldc, s->stride_c, &g->c));
    LK_TRY(LK_CUBLAS(cublasLtMatmulPreferenceCreate(&p)));
    const lk_status st = choose(g, p);
    cublasLtMatmulPreferenceDestroy(p);
    return st;
}

lk_status lki_gemm_create(const lki_gemm_spec *s, lki_gemm **out)
{
    lki_gemm *g = NULL;
    lki_gemm_spec whole;

    LK_TRY(complete(s, &whole));
    LK_TRY(lk_alloc(sizeof *g, "product", &g));
    g->s = whole;
    if (whole.m > 0 && whole.n > 0 && whole.k > 0 && whole.batch > 0) {
        const lk_status st = checked(build(g), &whole);
        if (st != LK_OK) {
            lki_gemm_destroy(&g);
            return st;
        }
    }
    *out = g;
    return LK_OK;
}

void lki_gemm_destroy(lki_gemm **gp)
{
    lki_gemm *const g = *gp;

    if (g == NULL)
        return;
    if (g->op != NULL)
        cublasLtMatmulDescDestroy(g->op);
    if (g->a != NULL)
        cublasLtMatrixLayoutDestroy(g->a);
    if (g->b != NULL)
        cublasLtMatrixLayoutDestroy(g->b);
    if (g->c != NULL)
        cublasLtMatrixLayoutDestroy(g->c);
    lk_free(g);
    *gp = NULL;
}
