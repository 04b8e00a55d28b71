/* cuBLASLt on the host: what the module calls of it. Products of float, bf16 and fp16 with sums in float, in an order of k that is the same
 * each time; factors of CUBLAS_COMPUTE_32F_FAST_TF32 are rounded to 10 bits.
 *
 * It refuses what the library is documented to refuse (or to need, where its documentation does not say with which status it refuses), and
 * prints why: types that do not go together, rows that overlap, shapes that do not fit, an epilogue without its bias, attributes of the
 * wrong size, addresses less aligned than the heuristic was told (256 bytes, where it was told nothing), too small a workspace. Memory
 * outside of allocations is a fault of the device, when the work runs.
 *
 * Where the library may do either, it does what shows more: relu makes a NaN 0; where a reduction scheme is allowed that adds parts as they
 * come, each second product adds them from the last to the first; where one in the type of the result is, parts are rounded to it.
 *
 * STANDIN_FAIL: cublasLtCreate, cublasLtMatmulAlgoGetHeuristic, cublasLtMatmul, with a number of cublasStatus_t. */
#include "standin/standin.h"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstring>
#include <mutex>
#include <set>
#include <vector>

struct cublasLtContext {
    int device;
};

namespace {

/* What is told to the heuristic, where nothing is. */
constexpr uint32_t best_alignment = 256;
/* Of a bias and of the workspace: the kernels load them 16 bytes at a time. */
constexpr uintptr_t vector_alignment = 16;

struct layout {
    cudaDataType type;
    uint64_t rows, cols;
    int64_t ld;
    int32_t order = CUBLASLT_ORDER_COL, batch = 1;
    int64_t stride = 0;
};

struct operation {
    cublasComputeType_t compute;
    cudaDataType scale;
    int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST, trans_a = CUBLAS_OP_N, trans_b = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    int64_t bias_stride = 0;
    int32_t bias_type = -1;
};

struct preference {
    uint64_t workspace = 0;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t align_a = best_alignment, align_b = best_alignment, align_c = best_alignment, align_d = best_alignment;
};

/* Lies in a cublasLtMatmulAlgo_t: what the operation must be, and its addresses. */
struct algorithm {
    uint32_t mark;
    cublasComputeType_t compute;
    int32_t trans_a, trans_b;
    uint32_t epilogue;
    int32_t type_a, type_d;
    uint32_t align_a, align_b, align_c, align_d;
    uint32_t workspace, schemes;
};
static_assert(sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t));
constexpr uint32_t mark = 0x4c74616c;

std::mutex lock;
std::set<const void *> handles;

layout *get(cublasLtMatrixLayout_t p)
{
    return reinterpret_cast<layout *>(p);
}
operation *get(cublasLtMatmulDesc_t p)
{
    return reinterpret_cast<operation *>(p);
}
preference *get(cublasLtMatmulPreference_t p)
{
    return reinterpret_cast<preference *>(p);
}

#define REFUSE(status, ...) \
    do { \
        standin_say("cublasLt: " __VA_ARGS__); \
        return status; \
    } while (0)

template <class T> cublasStatus_t set_value(const char *what, T *to, const void *from, size_t bytes)
{
    if (from == nullptr || bytes != sizeof *to)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "%s is %zu bytes, not %zu", what, sizeof *to, bytes);
    memcpy(to, from, sizeof *to);
    return CUBLAS_STATUS_SUCCESS;
}

size_t size_of(cudaDataType t)
{
    return t == CUDA_R_32F ? 4 : 2;
}

const char *name_of(cudaDataType t)
{
    return t == CUDA_R_32F ? "float" : t == CUDA_R_16BF ? "bf16" : t == CUDA_R_16F ? "fp16" : "another type";
}

/* ---- checks ---- */
bool known_handle(cublasLtHandle_t h)
{
    const std::lock_guard held(lock);
    return handles.count(h) != 0;
}

/* Elements from the first to behind the last one. */
uint64_t extent(const layout &l)
{
    const uint64_t lines = l.order == CUBLASLT_ORDER_COL ? l.cols : l.rows, along = l.order == CUBLASLT_ORDER_COL ? l.rows : l.cols;
    return (lines - 1) * (uint64_t)l.ld + along;
}

cublasStatus_t check_layout(const char *name, const layout &l)
{
    const uint64_t along = l.order == CUBLASLT_ORDER_COL ? l.rows : l.cols;
    if (l.rows == 0 || l.cols == 0 || l.rows > INT32_MAX || l.cols > INT32_MAX || l.batch < 1)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "%s is %" PRIu64 " x %" PRIu64 ", batch %d", name, l.rows, l.cols, l.batch);
    if (l.ld < (int64_t)along)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "leading dimension %" PRId64 " of %s is less than %" PRIu64, l.ld, name, along);
    return CUBLAS_STATUS_SUCCESS;
}

/* The table of cublasLtMatmul's documentation, as far as it is about these types. */
bool known_types(const operation &o, const layout &a, const layout &b, const layout &c, const layout &d)
{
    if (o.scale != CUDA_R_32F || a.type != b.type || c.type != d.type)
        return false;
    if (o.compute == CUBLAS_COMPUTE_32F_FAST_TF32)
        return a.type == CUDA_R_32F && c.type == CUDA_R_32F;
    if (o.compute != CUBLAS_COMPUTE_32F)
        return false;
    return a.type == CUDA_R_32F ? c.type == CUDA_R_32F : (a.type == CUDA_R_16BF || a.type == CUDA_R_16F) && (c.type == a.type || c.type == CUDA_R_32F);
}

bool has_bias(const operation &o)
{
    return (o.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
}

#define CHECK(call) \
    do { \
        const cublasStatus_t status_ = (call); \
        if (status_ != CUBLAS_STATUS_SUCCESS) \
            return status_; \
    } while (0)

cublasStatus_t check_problem(const operation *o, const layout *a, const layout *b, const layout *c, const layout *d)
{
    if (o == nullptr || a == nullptr || b == nullptr || c == nullptr || d == nullptr)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "a descriptor is NULL");
    CHECK(check_layout("A", *a));
    CHECK(check_layout("B", *b));
    CHECK(check_layout("C", *c));
    CHECK(check_layout("D", *d));
    const uint64_t m = o->trans_a == CUBLAS_OP_N ? a->rows : a->cols, k = o->trans_a == CUBLAS_OP_N ? a->cols : a->rows;
    const uint64_t n = o->trans_b == CUBLAS_OP_N ? b->cols : b->rows, k_of_b = o->trans_b == CUBLAS_OP_N ? b->rows : b->cols;
    if (k != k_of_b || d->rows != m || d->cols != n || c->rows != m || c->cols != n)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "%" PRIu64 " x %" PRIu64 " times %" PRIu64 " x %" PRIu64 " into %" PRIu64 " x %" PRIu64 ", C %" PRIu64 " x %" PRIu64, m, k, k_of_b, n, d->rows, d->cols,
            c->rows, c->cols);
    if (a->batch != d->batch || b->batch != d->batch || c->batch != d->batch)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "batches of %d, %d, %d, %d", a->batch, b->batch, c->batch, d->batch);
    if (!known_types(*o, *a, *b, *c, *d))
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "no product of %s and %s with C of %s, D of %s, compute type %d, scale type %d", name_of(a->type), name_of(b->type), name_of(c->type), name_of(d->type), (int)o->compute,
            (int)o->scale);
    if ((o->epilogue & ~(uint32_t)CUBLASLT_EPILOGUE_RELU_BIAS) != 0 && o->epilogue != CUBLASLT_EPILOGUE_DEFAULT)
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "epilogue %u is not known here", o->epilogue);
    if (o->epilogue == 0)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "epilogue 0");
    if (o->epilogue != CUBLASLT_EPILOGUE_DEFAULT && d->order != CUBLASLT_ORDER_COL)
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "epilogue %u of a D that is stored by rows", o->epilogue);
    if (has_bias(*o) && o->bias_type != -1 && o->bias_type != (int32_t)d->type)
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "bias of %s for D of %s", name_of((cudaDataType)o->bias_type), name_of(d->type));
    return CUBLAS_STATUS_SUCCESS;
}

bool aligned(const void *p, const layout &l, uintptr_t to)
{
    return (uintptr_t)p % to == 0 && (l.batch == 1 || (uintptr_t)l.stride * size_of(l.type) % to == 0);
}

/* ---- numbers ---- */
float half_to_float(uint16_t h)
{
    static const std::vector<float> *const table = [] {
        auto *const t = new std::vector<float>(65536);
        for (unsigned i = 0; i < 65536; i++)
            (*t)[i] = __half2float(__half(__half_raw{(unsigned short)i}));
        return t;
    }();
    return (*table)[h];
}

float load(cudaDataType t, const char *p, size_t i)
{
    uint16_t h;
    float f;
    if (t == CUDA_R_32F) {
        memcpy(&f, p + 4 * i, 4);
        return f;
    }
    memcpy(&h, p + 2 * i, 2);
    return t == CUDA_R_16F ? half_to_float(h) : std::bit_cast<float>((uint32_t)h << 16);
}

void store(cudaDataType t, char *p, size_t i, float f)
{
    if (t == CUDA_R_32F) {
        memcpy(p + 4 * i, &f, 4);
    } else if (t == CUDA_R_16F) {
        const __half h = __float2half_rn(f);
        memcpy(p + 2 * i, &h, 2);
    } else {
        const __nv_bfloat16 b = __float2bfloat16_rn(f);
        memcpy(p + 2 * i, &b, 2);
    }
}

void round_all(cudaDataType t, float *v, size_t n)
{
    char bytes[4];
    for (size_t i = 0; i < n; i++) {
        store(t, bytes, 0, v[i]);
        v[i] = load(t, bytes, 0);
    }
}

/* To 10 bits behind the point, ties away from zero as cvt.rna.tf32 does. */
float to_tf32(float f)
{
    const uint32_t bits = std::bit_cast<uint32_t>(f);
    return (bits & 0x7f800000) == 0x7f800000 ? f : std::bit_cast<float>((bits + 0x1000) & ~(uint32_t)0x1fff);
}

/* ---- the product ---- */
/* Tiles of WIDE rows and HIGH columns of D, sums over k in pieces that stay in the cache. */
constexpr int LANES = 8, VECTORS = 2, WIDE = LANES * VECTORS, HIGH = 6;
constexpr size_t PIECE = 256;
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

/* to [HIGH][WIDE] += a [k][WIDE] times b [k][HIGH] */
CLONES void tile(size_t k, const float *a, const float *b, float *to)
{
    lanes sum[HIGH][VECTORS];
    memcpy(sum, to, sizeof sum);
    for (size_t p = 0; p < k; p++, a += WIDE, b += HIGH) {
        lanes v[VECTORS];
        memcpy(v, a, sizeof v);
#pragma GCC unroll 6
        for (int j = 0; j < HIGH; j++)
#pragma GCC unroll 2
            for (int i = 0; i < VECTORS; i++)
                sum[j][i] += v[i] * b[j];
    }
    memcpy(to, sum, sizeof sum);
}

/* op(matrix) as float, in strips of `wide` of its outer dimension: out [strip][k][wide], zeros behind the last one. */
void pack(const layout &l, bool outer_is_rows, bool tf32, const char *p, size_t outer, size_t k, size_t wide, std::vector<float> &out)
{
    const bool rows_apart = (l.order == CUBLASLT_ORDER_COL) != outer_is_rows; /* neighbours of the outer dimension lie ld apart */
    const size_t outer_step = rows_apart ? (size_t)l.ld : 1, k_step = rows_apart ? 1 : (size_t)l.ld;
    out.assign((outer + wide - 1) / wide * wide * k, 0);
    for (size_t o = 0; o < outer; o++) {
        float *const to = out.data() + o / wide * wide * k + o % wide;
        for (size_t i = 0; i < k; i++) {
            const float f = load(l.type, p, o * outer_step + i * k_step);
            to[i * wide] = tf32 ? to_tf32(f) : f;
        }
    }
}

struct problem {
    operation o;
    layout a, b, c, d;
    float alpha, beta;
    uint32_t schemes;
    bool backwards; /* in the order of k */
    const char *pa, *pb, *pc;
    char *pd;
};

void one_product(const problem &p, const char *pa, const char *pb, const char *pc, char *pd, const char *bias)
{
    const size_t m = p.d.rows, n = p.d.cols, k = p.o.trans_a == CUBLAS_OP_N ? p.a.cols : p.a.rows;
    const size_t parts = (k + PIECE - 1) / PIECE;
    const bool tf32 = p.o.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    const auto at = [](const layout &l, size_t i, size_t j) { return l.order == CUBLASLT_ORDER_COL ? j * (size_t)l.ld + i : i * (size_t)l.ld + j; };
    std::vector<float> a, b;
    pack(p.a, p.o.trans_a == CUBLAS_OP_N, tf32, pa, m, k, WIDE, a);
    pack(p.b, p.o.trans_b != CUBLAS_OP_N, tf32, pb, n, k, HIGH, b);
    for (size_t i = 0; i < m; i += WIDE)
        for (size_t j = 0; j < n; j += HIGH) {
            float sum[HIGH * WIDE] = {};
            for (size_t part = 0; part < parts; part++) {
                const size_t q = PIECE * (p.backwards ? parts - 1 - part : part);
                tile(std::min(PIECE, k - q), a.data() + i * k + q * WIDE, b.data() + j * k + q * HIGH, sum);
                if ((p.schemes & CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE) != 0)
                    round_all(p.d.type, sum, HIGH * WIDE);
            }
            for (size_t y = j; y < std::min(n, j + HIGH); y++)
                for (size_t x = i; x < std::min(m, i + WIDE); x++) {
                    float v = p.alpha * sum[(y - j) * WIDE + x - i];
                    if (p.beta != 0)
                        v += p.beta * load(p.c.type, pc, at(p.c, x, y));
                    if (bias != nullptr)
                        v += load(p.d.type, bias, x);
                    if ((p.o.epilogue & CUBLASLT_EPILOGUE_RELU) != 0)
                        v = v > 0 ? v : 0;
                    store(p.d.type, pd, at(p.d, x, y), v);
                }
        }
}

bool in_device(const char *name, const layout &l, const char *p)
{
    const uint64_t last = (uint64_t)(l.batch - 1) * (uint64_t)l.stride + extent(l);
    if (standin_in_device(p, last * size_of(l.type)))
        return true;
    standin_lose(cudaErrorIllegalAddress, "cublasLtMatmul: %s, %d times %" PRIu64 " x %" PRIu64 " of %s, leading dimension %" PRId64 ", at %p, is not inside of an allocation", name, l.batch, l.rows, l.cols,
        name_of(l.type), l.ld, (const void *)p);
    return false;
}

void all_products(problem p)
{
    static unsigned so_far;
    p.backwards = (p.schemes & CUBLASLT_REDUCTION_SCHEME_INPLACE) != 0 && so_far++ % 2 != 0;
    const char *const bias = has_bias(p.o) ? (const char *)p.o.bias : nullptr;
    const layout of_bias = {.type = p.d.type, .rows = p.d.rows, .cols = 1, .ld = (int64_t)p.d.rows, .batch = p.d.batch, .stride = p.o.bias_stride};
    if (!in_device("A", p.a, p.pa) || !in_device("B", p.b, p.pb) || !in_device("D", p.d, p.pd) || (p.beta != 0 && !in_device("C", p.c, p.pc)) || (bias != nullptr && !in_device("bias", of_bias, bias)))
        return;
    for (int64_t i = 0; i < p.d.batch; i++)
        one_product(p, p.pa + i * p.a.stride * (int64_t)size_of(p.a.type), p.pb + i * p.b.stride * (int64_t)size_of(p.b.type), p.pc + i * p.c.stride * (int64_t)size_of(p.c.type),
            p.pd + i * p.d.stride * (int64_t)size_of(p.d.type), bias != nullptr ? bias + i * p.o.bias_stride * (int64_t)size_of(p.d.type) : nullptr);
}

} // namespace

extern "C" {

/* ---- the library ---- */

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "the GPU program failed to execute";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the functionality requested is not supported";
    default:
        return "an internal operation failed";
    }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    int number = CUBLAS_STATUS_NOT_INITIALIZED, device;
    if (standin_fails("cublasLtCreate", &number))
        return (cublasStatus_t)number;
    if (cudaGetDevice(&device) != cudaSuccess)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *out = new cublasLtContext{device};
    const std::lock_guard held(lock);
    handles.insert(*out);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    const std::lock_guard held(lock);
    if (handles.erase(handle) == 0)
        REFUSE(CUBLAS_STATUS_NOT_INITIALIZED, "destroyed twice, or never created");
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- descriptors ---- */

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)
{
    *out = reinterpret_cast<cublasLtMatrixLayout_t>(new layout{type, rows, cols, ld});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete get(l);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle, cublasLtMatrixLayoutAttribute_t attr, const void *value, size_t bytes)
{
    layout *const l = get(handle);
    switch (attr) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        CHECK(set_value("order", &l->order, value, bytes));
        if (l->order != CUBLASLT_ORDER_COL && l->order != CUBLASLT_ORDER_ROW)
            REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "order %d is not known here", l->order);
        return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATRIX_LAYOUT_LD:
        return set_value("leading dimension", &l->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return set_value("batch count", &l->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return set_value("batch offset", &l->stride, value, bytes);
    default:
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "attribute %d of a matrix is not known here", (int)attr);
    }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute, cudaDataType_t scale)
{
    *out = reinterpret_cast<cublasLtMatmulDesc_t>(new operation{compute, scale});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t o)
{
    delete get(o);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attr, const void *value, size_t bytes)
{
    operation *const o = get(handle);
    switch (attr) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set_value("transposition of A", &o->trans_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set_value("transposition of B", &o->trans_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set_value("epilogue", &o->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set_value("bias", &o->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
        return set_value("offset of biases", &o->bias_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return set_value("type of the bias", &o->bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
        CHECK(set_value("pointer mode", &o->pointer_mode, value, bytes));
        if (o->pointer_mode != CUBLASLT_POINTER_MODE_HOST)
            REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "alpha and beta in device memory are not known here");
        return CUBLAS_STATUS_SUCCESS;
    default:
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "attribute %d of a product is not known here", (int)attr);
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    *out = reinterpret_cast<cublasLtMatmulPreference_t>(new preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete get(p);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle, cublasLtMatmulPreferenceAttributes_t attr, const void *value, size_t bytes)
{
    preference *const p = get(handle);
    switch (attr) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return set_value("largest workspace", &p->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return set_value("mask of reduction schemes", &p->schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        return set_value("alignment of A", &p->align_a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        return set_value("alignment of B", &p->align_b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        return set_value("alignment of C", &p->align_c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return set_value("alignment of D", &p->align_d, value, bytes);
    default:
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "preference %d is not known here", (int)attr);
    }
}

/* ---- products ---- */

/* One algorithm, which needs all the alignment it is promised, and all the workspace. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t op, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t prefer, int most, cublasLtMatmulHeuristicResult_t *results, int *n)
{
    int number = CUBLAS_STATUS_NOT_SUPPORTED;
    if (standin_fails("cublasLtMatmulAlgoGetHeuristic", &number))
        return (cublasStatus_t)number;
    if (!known_handle(handle))
        REFUSE(CUBLAS_STATUS_NOT_INITIALIZED, "a handle that was not created");
    if (most <= 0 || prefer == nullptr || results == nullptr || n == nullptr)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "heuristic: no preference, or no room for a result");
    CHECK(check_problem(get(op), get(a), get(b), get(c), get(d)));
    const operation &o = *get(op);
    const preference &p = *get(prefer);
    if (has_bias(o) && (uintptr_t)o.bias % vector_alignment != 0)
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "heuristic: bias at %p", o.bias);
    const algorithm found = {mark, o.compute, o.trans_a, o.trans_b, o.epilogue, (int32_t)get(a)->type, (int32_t)get(d)->type, p.align_a, p.align_b, p.align_c, p.align_d, (uint32_t)p.workspace, p.schemes};
    results[0] = {};
    memcpy(&results[0].algo, &found, sizeof found);
    results[0].workspaceSize = p.workspace;
    results[0].state = CUBLAS_STATUS_SUCCESS;
    results[0].wavesCount = 1;
    *n = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t op, const void *alpha, const void *a, cublasLtMatrixLayout_t la, const void *b, cublasLtMatrixLayout_t lb, const void *beta,
    const void *c, cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    int number = CUBLAS_STATUS_EXECUTION_FAILED;
    if (standin_fails("cublasLtMatmul", &number))
        return (cublasStatus_t)number;
    if (!known_handle(handle))
        REFUSE(CUBLAS_STATUS_NOT_INITIALIZED, "a handle that was not created");
    CHECK(check_problem(get(op), get(la), get(lb), get(lc), get(ld)));
    if (alpha == nullptr || beta == nullptr || a == nullptr || b == nullptr || d == nullptr)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "an argument of cublasLtMatmul is NULL");
    problem p = {*get(op), *get(la), *get(lb), *get(lc), *get(ld), 0, 0, 0, false, (const char *)a, (const char *)b, (const char *)c, (char *)d};
    memcpy(&p.alpha, alpha, sizeof p.alpha);
    memcpy(&p.beta, beta, sizeof p.beta);
    if (p.beta != 0 && c == nullptr)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "beta is %g, C is NULL", p.beta);
    if (has_bias(p.o) && p.o.bias == nullptr)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "an epilogue with a bias, which is NULL");

    algorithm chosen;
    if (algo == nullptr)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "no algorithm (the module keeps the one of its heuristic)");
    memcpy(&chosen, algo, sizeof chosen);
    if (chosen.mark != mark || chosen.compute != p.o.compute || chosen.trans_a != p.o.trans_a || chosen.trans_b != p.o.trans_b || chosen.epilogue != p.o.epilogue || chosen.type_a != (int32_t)p.a.type ||
        chosen.type_d != (int32_t)p.d.type)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "the algorithm is for another product");
    if (workspace_bytes < chosen.workspace || (chosen.workspace > 0 && workspace == nullptr))
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "a workspace of %zu bytes, the algorithm needs %u", workspace_bytes, chosen.workspace);
    if ((uintptr_t)workspace % vector_alignment != 0)
        REFUSE(CUBLAS_STATUS_INVALID_VALUE, "a workspace at %p", workspace);
    if (!aligned(a, p.a, chosen.align_a) || !aligned(b, p.b, chosen.align_b) || (p.beta != 0 && !aligned(c, p.c, chosen.align_c)) || !aligned(d, p.d, chosen.align_d))
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "A %p, B %p, C %p, D %p, or a later one of their batches: the heuristic was promised multiples of %u, %u, %u, %u", a, b, c, d, chosen.align_a, chosen.align_b,
            chosen.align_c, chosen.align_d);
    if (has_bias(p.o) && (uintptr_t)p.o.bias % vector_alignment != 0)
        REFUSE(CUBLAS_STATUS_NOT_SUPPORTED, "bias at %p", p.o.bias);
    p.schemes = chosen.schemes;
    return standin_queue(stream, [p] { all_products(p); }) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

} // extern "C"
