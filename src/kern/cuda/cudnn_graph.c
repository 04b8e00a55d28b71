/* Graphs for cuDNN. Its heuristic names configurations of engines for a graph, best first; a configuration and a device make a plan. */
#ifdef LK_HAVE_CUDNN

#include "kern/cuda/cudnn_graph.h"

#include <stdlib.h>
#include <string.h>

/* Configurations of one answer that are looked at. */
enum { MOST_CONFIGS = 32 };
/* What addresses are multiples of. */
enum { ADDRESS_ALIGN = 16 };
/* What the graph's own tensors are called, from here on. */
enum { FIRST_INNER = 1000 };
enum { MESSAGE_BYTES = 512 };

static cudnnHandle_t library;

lk_status lki_cudnn_status(cudnnStatus_t e, const char *what, const char *file, int line, const char *func)
{
    char message[MESSAGE_BYTES] = "";

    if (e == CUDNN_STATUS_SUCCESS)
        return LK_OK;
    const bool memory = e == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED || e == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
    const bool refused = CUDNN_STATUS_CATEGORY(e) == CUDNN_STATUS_NOT_SUPPORTED || CUDNN_STATUS_CATEGORY(e) == CUDNN_STATUS_BAD_PARAM;
    cudnnGetLastErrorString(message, sizeof message);
    return lk_err_set(memory ? LK_E_NOMEM : refused ? LK_E_UNSUPPORTED : LK_E_LIBRARY, file, line, func, "GPU %d: %.*s: %s%s%s (LOCKSTEP_CUDNN=0 does without cuDNN)",
        lki_cuda_device.device, (int)strcspn(what, "("), what, cudnnGetErrorString(e), message[0] != '\0' ? ": " : "", message);
}

int lki_cudnn_version(void)
{
    return (int)cudnnGetVersion();
}

bool lki_cudnn_wanted(void)
{
    const char *const wish = getenv("LOCKSTEP_CUDNN");
    return wish == NULL || strcmp(wish, "0") != 0;
}

/* ---- run ---- */

static lk_status execute(const lki_cudnn_graph *g, cudnnBackendDescriptor_t pack, int64_t n, const int64_t *id, const void *const *at, void *workspace)
{
    LK_TRY(lki_cudnn_set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, id));
    LK_TRY(lki_cudnn_set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, at));
    LK_TRY(lki_cudnn_set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(pack)));
    return LK_CUDNN(cudnnBackendExecute(library, g->plan, pack));
}

lk_status lki_cudnn_run(const lki_cudnn_graph *g, int64_t n, const int64_t *id, const void *const *at, void *workspace)
{
    cudnnBackendDescriptor_t pack = NULL;

    LK_TRY(LK_CUDNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack)));
    const lk_status st = execute(g, pack, n, id, at, workspace);
    cudnnBackendDestroyDescriptor(pack);
    return st;
}

/* ---- descriptors ---- */

lk_status lki_cudnn_make(lki_cudnn_graph *g, cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    LK_BUG_IF(g->n_own == LKI_CUDNN_OWN, "more than %d descriptors", LKI_CUDNN_OWN);
    LK_TRY(LK_CUDNN(cudnnBackendCreateDescriptor(type, out)));
    g->own[g->n_own++] = *out;
    return LK_OK;
}

lk_status lki_cudnn_set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t what, cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    return LK_CUDNN(cudnnBackendSetAttribute(d, what, type, n, value));
}

lk_status lki_cudnn_set_descriptor(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t what, cudnnBackendDescriptor_t value)
{
    return lki_cudnn_set(d, what, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

lk_status lki_cudnn_add(lki_cudnn_graph *g, cudnnBackendDescriptor_t op)
{
    LK_BUG_IF(g->n_op == LKI_CUDNN_OPS, "more than %d operations", LKI_CUDNN_OPS);
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(op)));
    g->op[g->n_op++] = op;
    return LK_OK;
}

cudnnDataType_t lki_cudnn_type(lki_type t)
{
    return t == LKI_F32 ? CUDNN_DATA_FLOAT : t == LKI_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
}

lk_status lki_cudnn_tensor_make(lki_cudnn_graph *g, const lki_cudnn_tensor *t, cudnnBackendDescriptor_t *out)
{
    const bool inner = t->id == 0;
    const int64_t id = inner ? FIRST_INNER + g->inner++ : t->id, align = ADDRESS_ALIGN;

    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &t->type));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, LKI_CUDNN_DIMS, t->size));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, LKI_CUDNN_DIMS, t->stride));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &inner));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &t->by_value));
    return LK_CUDNN(cudnnBackendFinalize(*out));
}

/* Filled but for its operands. */
static lk_status pointwise(lki_cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t compute, int64_t dimension, cudnnBackendDescriptor_t *op)
{
    cudnnBackendDescriptor_t what;

    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &what));
    LK_TRY(lki_cudnn_set(what, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    LK_TRY(lki_cudnn_set(what, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    if (mode == CUDNN_POINTWISE_GEN_INDEX)
        LK_TRY(lki_cudnn_set(what, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &dimension));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(what)));
    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, op));
    return lki_cudnn_set_descriptor(*op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what);
}

/* b and `which` NULL where there is none. */
static lk_status operands(lki_cudnn_graph *g, cudnnBackendDescriptor_t op, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t which, cudnnBackendDescriptor_t y)
{
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x));
    if (b != NULL)
        LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b));
    if (which != NULL)
        LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, which));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y));
    return lki_cudnn_add(g, op);
}

lk_status lki_cudnn_pointwise(lki_cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y)
{
    cudnnBackendDescriptor_t op;

    LK_TRY(pointwise(g, mode, CUDNN_DATA_FLOAT, 0, &op));
    return operands(g, op, x, b, NULL, y);
}

lk_status lki_cudnn_places(lki_cudnn_graph *g, int dimension, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y)
{
    cudnnBackendDescriptor_t op;

    LK_TRY(pointwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_INT32, dimension, &op));
    return operands(g, op, x, NULL, NULL, y);
}

lk_status lki_cudnn_not_less(lki_cudnn_graph *g, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y)
{
    cudnnBackendDescriptor_t op;

    LK_TRY(pointwise(g, CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, 0, &op));
    return operands(g, op, a, b, NULL, y);
}

lk_status lki_cudnn_select(lki_cudnn_graph *g, cudnnBackendDescriptor_t which, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y)
{
    cudnnBackendDescriptor_t op;

    LK_TRY(pointwise(g, CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, 0, &op));
    return operands(g, op, x, b, which, y);
}

lk_status lki_cudnn_product(lki_cudnn_graph *g, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t c)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t what, op;

    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR, &what));
    LK_TRY(lki_cudnn_set(what, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(what)));
    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, &op));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_MATMUL_DESC, what));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c));
    return lki_cudnn_add(g, op);
}

lk_status lki_cudnn_reduce(lki_cudnn_graph *g, cudnnReduceTensorOp_t how, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t what, op;

    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR, &what));
    LK_TRY(lki_cudnn_set(what, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    LK_TRY(lki_cudnn_set(what, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &how));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(what)));
    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, &op));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, what));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y));
    return lki_cudnn_add(g, op);
}

lk_status lki_cudnn_reshape(lki_cudnn_graph *g, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y)
{
    cudnnBackendDescriptor_t op;

    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, &op));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x));
    LK_TRY(lki_cudnn_set_descriptor(op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y));
    return lki_cudnn_add(g, op);
}

/* ---- the choice ---- */

static lk_status judge(lki_cudnn_graph *g, cudnnBackendDescriptor_t config, lki_cudnn_accept accept, const void *arg, bool *good)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendDescriptor_t engine;
    int64_t n = 0;

    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine));
    LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine)));
    LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, notes)));
    *good = accept(n < CUDNN_NUMERICAL_NOTE_TYPE_COUNT ? n : CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes, arg);
    return LK_OK;
}

static lk_status plan_of(cudnnBackendDescriptor_t config, cudnnBackendDescriptor_t plan, size_t *workspace)
{
    int64_t bytes = 0, n = 0;

    LK_TRY(lki_cudnn_set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &library));
    LK_TRY(lki_cudnn_set_descriptor(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(plan)));
    LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, &bytes)));
    *workspace = (size_t)bytes;
    return LK_OK;
}

/* A configuration may turn out not to work on this device for many reasons, which are the same each time, but for one. */
static lk_status try_config(lki_cudnn_graph *g, cudnnBackendDescriptor_t config, size_t most_workspace)
{
    cudnnBackendDescriptor_t plan = NULL;

    LK_BUG_IF(g->n_own == LKI_CUDNN_OWN, "more than %d descriptors", LKI_CUDNN_OWN);
    LK_TRY(LK_CUDNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan)));
    const lk_status st = plan_of(config, plan, &g->workspace_bytes);
    if (st == LK_OK && g->workspace_bytes <= most_workspace) {
        g->own[g->n_own++] = g->plan = plan;
        return LK_OK;
    }
    cudnnBackendDestroyDescriptor(plan);
    return st == LK_E_NOMEM ? st : LK_OK;
}

/* Sets g->plan if there is one. */
static lk_status choose(lki_cudnn_graph *g, cudnnBackendDescriptor_t of, cudnnBackendHeurMode_t mode, size_t most_workspace, lki_cudnn_accept accept, const void *arg)
{
    cudnnBackendDescriptor_t heuristic, config[MOST_CONFIGS];
    int64_t n = 0, got = 0;

    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic));
    LK_TRY(lki_cudnn_set_descriptor(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, of));
    LK_TRY(lki_cudnn_set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(heuristic)));
    LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &n, NULL)));
    n = n < MOST_CONFIGS ? n : MOST_CONFIGS;
    for (int64_t i = 0; i < n; i++)
        LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[i]));
    if (n > 0)
        LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, n, &got, config)));
    for (int64_t i = 0; i < n && i < got && g->plan == NULL; i++) {
        const int before = g->n_own;
        bool good = false;
        LK_TRY(judge(g, config[i], accept, arg, &good));
        if (good)
            LK_TRY(try_config(g, config[i], most_workspace));
        if (g->plan == NULL && g->n_own > before) /* its engine */
            cudnnBackendDestroyDescriptor(g->own[--g->n_own]);
    }
    return LK_OK;
}

static lk_status open_library(void)
{
    if (library == NULL)
        LK_TRY(LK_CUDNN(cudnnCreate(&library)));
    return LK_CUDNN(cudnnSetStream(library, lki_cuda_device.queue));
}

static lk_status plan(lki_cudnn_graph *g, size_t most_workspace, lki_cudnn_accept accept, const void *arg)
{
    cudnnBackendDescriptor_t of;

    LK_TRY(open_library());
    LK_TRY(lki_cudnn_make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &of));
    LK_TRY(lki_cudnn_set(of, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &library));
    LK_TRY(lki_cudnn_set(of, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->n_op, g->op));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(of)));
    const lk_status st = choose(g, of, CUDNN_HEUR_MODE_A, most_workspace, accept, arg);
    if (g->plan != NULL || (st != LK_OK && st != LK_E_UNSUPPORTED))
        return st;
    return choose(g, of, CUDNN_HEUR_MODE_FALLBACK, most_workspace, accept, arg);
}

lk_status lki_cudnn_plan(lki_cudnn_graph *g, size_t most_workspace, lki_cudnn_accept accept, const void *arg)
{
    const lk_status st = plan(g, most_workspace, accept, arg);
    return st == LK_E_UNSUPPORTED ? LK_OK : st;
}

void lki_cudnn_graph_fini(lki_cudnn_graph *g)
{
    while (g->n_own > 0)
        cudnnBackendDestroyDescriptor(g->own[--g->n_own]);
    *g = (lki_cudnn_graph){0};
}

/* ---- sharing ---- */

static lki_cudnn_graph *shared; /* all that are in use */

lki_cudnn_graph *lki_cudnn_shared(int n, const int64_t *key)
{
    lki_cudnn_graph *g = shared;

    while (g != NULL && (g->n_key != n || memcmp(g->key, key, (size_t)n * sizeof *key) != 0))
        g = g->next;
    if (g != NULL)
        g->users++;
    return g;
}

void lki_cudnn_share(lki_cudnn_graph *g, int n, const int64_t *key)
{
    LK_BUG_IF(n > LKI_CUDNN_KEY, "a key of %d numbers", n);
    memcpy(g->key, key, (size_t)n * sizeof *key);
    g->n_key = n;
    g->users = 1;
    g->next = shared;
    shared = g;
}

bool lki_cudnn_leave(lki_cudnn_graph *g)
{
    lki_cudnn_graph **at = &shared;

    if (--g->users > 0)
        return false;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    lki_cudnn_graph_fini(g);
    return true;
}

#else

#include "kern/cuda/cuda_int.h"

int lki_cudnn_version(void)
{
    return 0;
}

bool lki_cudnn_wanted(void)
{
    return false;
}

#endif
