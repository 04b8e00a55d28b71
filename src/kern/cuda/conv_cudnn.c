/* Convolutions over cuDNN's graph interface ("backend API"): an operation graph of the convolution, and of a sum with the bias behind it where asked, to
 * which the library's heuristic names engine configurations, best first; a configuration and a device make a plan.
 *
 * Which configurations are taken is decided by what the library notes about their numbers. Relu is not left to cuDNN: a run that diverges must show it, and
 * of cuDNN 9.19's engines only the slowest is noted to keep a NaN. */
#include "kern/cuda/conv_cudnn.h"

#ifdef LK_HAVE_CUDNN

#include <cudnn_graph.h>
#include <stdlib.h>
#include <string.h>

/* Of a plan; more is not worth the memory. */
enum { MOST_WORKSPACE = 128 << 20 };
/* Configurations of one answer that are looked at. */
enum { MOST_CONFIGS = 32 };
/* What addresses are multiples of. */
enum { ADDRESS_ALIGN = 16 };
enum { MESSAGE_BYTES = 512 };

/* What a tensor is called in the graph. Those from INNER on exist only between operations. */
enum { ID_X = 1, ID_W, ID_Y, ID_BIAS, ID_INNER };

static cudnnHandle_t library;

/* LK_TRY(LK_CUDNN(cudnnBackendFinalize(...))): LK_E_NOMEM for memory; LK_E_UNSUPPORTED for what the library cannot do, or does not want to be asked;
 * LK_E_LIBRARY for all else. */
static lk_status cudnn_status(cudnnStatus_t e, const char *what, const char *file, int line, const char *func)
{
    char message[MESSAGE_BYTES] = "";

    if (e == CUDNN_STATUS_SUCCESS)
        return LK_OK;
    const lk_status_code code = e == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED || e == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ? LK_E_NOMEM
                                : CUDNN_STATUS_CATEGORY(e) == CUDNN_STATUS_NOT_SUPPORTED || CUDNN_STATUS_CATEGORY(e) == CUDNN_STATUS_BAD_PARAM                ? LK_E_UNSUPPORTED
                                                                                                                                                        : LK_E_LIBRARY;
    cudnnGetLastErrorString(message, sizeof message);
    return lk_err_set(code, file, line, func, "GPU %d: %.*s: %s%s%s (LOCKSTEP_CUDNN=0 does without cuDNN)", lki_cuda_device.device, (int)strcspn(what, "("), what, cudnnGetErrorString(e),
        message[0] != '\0' ? ": " : "", message);
}
#define LK_CUDNN(call) cudnn_status((call), #call, __FILE__, __LINE__, __func__)

/* ---- run ---- */

static lk_status execute(const lki_conv_cudnn *p, cudnnBackendDescriptor_t pack, const void *x, const void *w, const void *y, const float *bias, void *workspace)
{
    const int64_t ids[] = {ID_X, ID_W, ID_Y, ID_BIAS};
    const void *const at[] = {x, w, y, bias};
    const int64_t n = p->bias ? 4 : 3;

    LK_TRY(LK_CUDNN(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, ids)));
    LK_TRY(LK_CUDNN(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, at)));
    LK_TRY(LK_CUDNN(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace)));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(pack)));
    return LK_CUDNN(cudnnBackendExecute(library, p->plan, pack));
}

lk_status lki_conv_cudnn_run(const lki_conv_cudnn *p, const void *x, const void *w, const void *y, const float *bias, void *workspace)
{
    cudnnBackendDescriptor_t pack = NULL;

    LK_BUG_IF(p->bias != (bias != NULL), "a convolution with a bias is %sgiven one", p->bias ? "not " : "");
    LK_TRY(LK_CUDNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack)));
    const lk_status st = execute(p, pack, x, w, y, bias, workspace);
    cudnnBackendDestroyDescriptor(pack);
    return st;
}

/* ---- descriptors ---- */

static lk_status make(lki_conv_cudnn *p, cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    LK_BUG_IF(p->n_own == LKI_CUDNN_DESCRIPTORS, "more than %d descriptors", LKI_CUDNN_DESCRIPTORS);
    LK_TRY(LK_CUDNN(cudnnBackendCreateDescriptor(type, out)));
    p->own[p->n_own++] = *out;
    return LK_OK;
}

static lk_status set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t what, cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    return LK_CUDNN(cudnnBackendSetAttribute(d, what, type, n, value));
}

static lk_status set_descriptor(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t what, cudnnBackendDescriptor_t value)
{
    return set(d, what, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static cudnnDataType_t data_type(lki_type t)
{
    return t == LKI_F32 ? CUDNN_DATA_FLOAT : t == LKI_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
}

/* [n][h][w][c], whose sizes are told as n c h w. */
static lk_status tensor(lki_conv_cudnn *p, int64_t id, lki_type t, int64_t n, int64_t c, int64_t h, int64_t w, cudnnBackendDescriptor_t *out)
{
    const int64_t sizes[] = {n, c, h, w}, strides[] = {h * w * c, 1, w * c, c}, align = ADDRESS_ALIGN;
    const cudnnDataType_t type = data_type(t);
    const bool inner = id >= ID_INNER;

    LK_TRY(make(p, CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
    LK_TRY(set(*out, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id));
    LK_TRY(set(*out, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    LK_TRY(set(*out, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, sizes));
    LK_TRY(set(*out, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides));
    LK_TRY(set(*out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align));
    LK_TRY(set(*out, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &inner));
    return LK_CUDNN(cudnnBackendFinalize(*out));
}

/* Zeros behind that the last window reaches. false: more windows than wanted would fit then, which cuDNN would count. */
static bool padding_behind(const lki_cudnn_sizes *s, int64_t after[LKI_CUDNN_AXES])
{
    for (int i = 0; i < LKI_CUDNN_AXES; i++) {
        const int64_t reach = (s->kernel[i] - 1) * s->dilation[i] + 1, missing = (s->out[i] - 1) * s->stride[i] + reach - s->before[i] - s->in[i];
        after[i] = missing > 0 ? missing : 0;
        if ((s->before[i] + s->in[i] + after[i] - reach) / s->stride[i] + 1 != s->out[i])
            return false;
    }
    return true;
}

static lk_status windows(lki_conv_cudnn *p, const lki_cudnn_sizes *s, const int64_t after[LKI_CUDNN_AXES], cudnnBackendDescriptor_t *out)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t axes = LKI_CUDNN_AXES;

    LK_TRY(make(p, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, out));
    LK_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    LK_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    LK_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes));
    LK_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, axes, s->dilation));
    LK_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, axes, s->stride));
    LK_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, axes, s->before));
    LK_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, axes, after));
    return LK_CUDNN(cudnnBackendFinalize(*out));
}

/* The operation of each part, and its attributes. */
static const struct operation {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, w, y, windows, alpha, beta;
} operations[LKI_CONV_PARTS] = {
    [LKI_CONV_DOWN] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [LKI_CONV_UP] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [LKI_CONV_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static lk_status convolution(lki_conv_cudnn *p, lki_conv_part part, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t v, cudnnBackendDescriptor_t *out)
{
    const struct operation *const o = &operations[part];
    const float one = 1, zero = 0;

    LK_TRY(make(p, o->type, out));
    LK_TRY(set_descriptor(*out, o->x, x));
    LK_TRY(set_descriptor(*out, o->w, w));
    LK_TRY(set_descriptor(*out, o->y, y));
    LK_TRY(set_descriptor(*out, o->windows, v));
    LK_TRY(set(*out, o->alpha, CUDNN_TYPE_FLOAT, 1, &one));
    LK_TRY(set(*out, o->beta, CUDNN_TYPE_FLOAT, 1, &zero));
    return LK_CUDNN(cudnnBackendFinalize(*out));
}

/* to = from + b, or to = from where b is NULL; in float. */
static lk_status pointwise(lki_conv_cudnn *p, cudnnBackendDescriptor_t from, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t to, cudnnBackendDescriptor_t *out)
{
    const cudnnPointwiseMode_t mode = b != NULL ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_IDENTITY;
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t what;

    LK_TRY(make(p, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &what));
    LK_TRY(set(what, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    LK_TRY(set(what, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(what)));
    LK_TRY(make(p, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, out));
    LK_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what));
    LK_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from));
    if (b != NULL)
        LK_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b));
    LK_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, to));
    return LK_CUDNN(cudnnBackendFinalize(*out));
}

/* The values that a part writes, as a tensor. */
static lk_status result(lki_conv_cudnn *p, int64_t id, lki_type t, cudnnBackendDescriptor_t *out)
{
    const lki_cudnn_sizes *const s = &p->sizes;

    switch (p->part) {
    case LKI_CONV_UP:
        return tensor(p, id, t, s->batch, s->c, s->in[0], s->in[1], out);
    case LKI_CONV_WEIGHTS:
        return tensor(p, id, t, s->f, s->c / s->groups, s->kernel[0], s->kernel[1], out);
    default:
        return tensor(p, id, t, s->batch, s->f, s->out[0], s->out[1], out);
    }
}

/* The convolution; then, from what it leaves in float, the sum with the bias, or, since engines that do nothing else write their factors' type, what they
 * sum of 16-bit factors as it is. */
static lk_status graph(lki_conv_cudnn *p, const int64_t after[LKI_CUDNN_AXES], cudnnBackendDescriptor_t *out)
{
    const lki_cudnn_sizes *const s = &p->sizes;
    const bool down = p->part == LKI_CONV_DOWN, up = p->part == LKI_CONV_UP, weights = p->part == LKI_CONV_WEIGHTS;
    const bool behind = p->bias || (weights && p->type != LKI_F32);
    const int64_t id = up ? ID_X : weights ? ID_W : ID_Y;
    cudnnBackendDescriptor_t x, w, y, own, v, bias = NULL, last, ops[2];

    LK_TRY(result(p, behind ? ID_INNER : id, behind || weights ? LKI_F32 : p->type, &own));
    x = y = w = own;
    if (!up)
        LK_TRY(tensor(p, ID_X, p->type, s->batch, s->c, s->in[0], s->in[1], &x));
    if (!weights)
        LK_TRY(tensor(p, ID_W, p->type, s->f, s->c / s->groups, s->kernel[0], s->kernel[1], &w));
    if (!down)
        LK_TRY(tensor(p, ID_Y, p->type, s->batch, s->f, s->out[0], s->out[1], &y));
    LK_TRY(windows(p, s, after, &v));
    LK_TRY(convolution(p, p->part, x, w, y, v, &ops[0]));
    if (behind) {
        if (p->bias)
            LK_TRY(tensor(p, ID_BIAS, LKI_F32, 1, up ? s->c : s->f, 1, 1, &bias));
        LK_TRY(result(p, id, weights ? LKI_F32 : p->type, &last));
        LK_TRY(pointwise(p, own, bias, last, &ops[1]));
    }
    LK_TRY(make(p, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, out));
    LK_TRY(set(*out, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &library));
    LK_TRY(set(*out, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, behind ? 2 : 1, ops));
    return LK_CUDNN(cudnnBackendFinalize(*out));
}

/* ---- choice ---- */

static bool acceptable(const lki_conv_cudnn *p, int64_t n, const cudnnBackendNumericalNote_t *notes)
{
    for (int64_t i = 0; i < n; i++)
        switch (notes[i]) {
        case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
        case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        case CUDNN_NUMERICAL_NOTE_FFT:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
            return false;
        case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
            if (!p->tf32)
                return false;
            break;
        case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: /* which have no other floats than tf32 */
            if (p->type == LKI_F32 && !p->tf32)
                return false;
            break;
        default:
            break;
        }
    return true;
}

static lk_status judge(lki_conv_cudnn *p, cudnnBackendDescriptor_t config, bool *good)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendDescriptor_t engine;
    int64_t n = 0;

    LK_TRY(make(p, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine));
    LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine)));
    LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, notes)));
    *good = acceptable(p, n < CUDNN_NUMERICAL_NOTE_TYPE_COUNT ? n : CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes);
    return LK_OK;
}

static lk_status plan_of(cudnnBackendDescriptor_t config, cudnnBackendDescriptor_t plan, size_t *workspace)
{
    int64_t bytes = 0, n = 0;

    LK_TRY(set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &library));
    LK_TRY(set_descriptor(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(plan)));
    LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, &bytes)));
    *workspace = (size_t)bytes;
    return LK_OK;
}

/* A configuration may turn out not to work on this device for many reasons, which are the same each time, but for one. */
static lk_status try_config(lki_conv_cudnn *p, cudnnBackendDescriptor_t config)
{
    cudnnBackendDescriptor_t plan = NULL;

    LK_TRY(LK_CUDNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan)));
    const lk_status st = plan_of(config, plan, &p->workspace_bytes);
    if (st == LK_OK && p->workspace_bytes <= MOST_WORKSPACE) {
        p->own[p->n_own++] = p->plan = plan;
        return LK_OK;
    }
    cudnnBackendDestroyDescriptor(plan);
    return st == LK_E_NOMEM ? st : LK_OK;
}

/* Sets p->plan if there is one. */
static lk_status choose(lki_conv_cudnn *p, cudnnBackendDescriptor_t of, cudnnBackendHeurMode_t mode)
{
    cudnnBackendDescriptor_t heuristic, config[MOST_CONFIGS];
    int64_t n = 0, got = 0;

    LK_TRY(make(p, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic));
    LK_TRY(set_descriptor(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, of));
    LK_TRY(set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    LK_TRY(LK_CUDNN(cudnnBackendFinalize(heuristic)));
    LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &n, NULL)));
    n = n < MOST_CONFIGS ? n : MOST_CONFIGS;
    for (int64_t i = 0; i < n; i++)
        LK_TRY(make(p, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[i]));
    if (n > 0)
        LK_TRY(LK_CUDNN(cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, n, &got, config)));
    for (int64_t i = 0; i < n && i < got && p->plan == NULL; i++) {
        const int before = p->n_own;
        bool good = false;
        LK_TRY(judge(p, config[i], &good));
        if (good)
            LK_TRY(try_config(p, config[i]));
        if (p->plan == NULL && p->n_own > before) /* its engine */
            cudnnBackendDestroyDescriptor(p->own[--p->n_own]);
    }
    return LK_OK;
}

static lk_status build(lki_conv_cudnn *p, const int64_t after[LKI_CUDNN_AXES])
{
    cudnnBackendDescriptor_t of;

    LK_TRY(graph(p, after, &of));
    const lk_status st = choose(p, of, CUDNN_HEUR_MODE_A);
    if (p->plan != NULL || (st != LK_OK && st != LK_E_UNSUPPORTED))
        return st;
    return choose(p, of, CUDNN_HEUR_MODE_FALLBACK);
}

static void drop_descriptors(lki_conv_cudnn *p)
{
    while (p->n_own > 0)
        cudnnBackendDestroyDescriptor(p->own[--p->n_own]);
}

/* p->plan stays NULL where cuDNN has nothing. */
static lk_status plan_with(lki_conv_cudnn *p, bool bias)
{
    int64_t after[LKI_CUDNN_AXES];

    if (!padding_behind(&p->sizes, after))
        return LK_OK;
    p->bias = bias;
    const lk_status st = build(p, after);
    if (p->plan == NULL)
        drop_descriptors(p);
    return st == LK_E_UNSUPPORTED ? LK_OK : st;
}

/* ---- plans ---- */

static lki_conv_cudnn *plans; /* all that are in use */

static bool alike(const lki_conv_cudnn *p, const lki_conv_cudnn *q)
{
    const lki_cudnn_sizes *const a = &p->sizes, *const b = &q->sizes;

    if (p->type != q->type || p->part != q->part || p->tf32 != q->tf32 || p->asked_bias != q->asked_bias || a->batch != b->batch || a->groups != b->groups || a->c != b->c || a->f != b->f)
        return false;
    for (int i = 0; i < LKI_CUDNN_AXES; i++)
        if (a->in[i] != b->in[i] || a->out[i] != b->out[i] || a->kernel[i] != b->kernel[i] || a->stride[i] != b->stride[i] || a->dilation[i] != b->dilation[i] || a->before[i] != b->before[i])
            return false;
    return true;
}

static lk_status open_library(void)
{
    if (library == NULL)
        LK_TRY(LK_CUDNN(cudnnCreate(&library)));
    return LK_CUDNN(cudnnSetStream(library, lki_cuda_device.queue));
}

lk_status lki_conv_cudnn_create(const lki_cudnn_sizes *s, lki_type t, lki_conv_part part, bool bias, lki_conv_cudnn **out)
{
    const char *const wish = getenv("LOCKSTEP_CUDNN");
    const lki_conv_cudnn asked = {.sizes = *s, .type = t, .part = part, .tf32 = t == LKI_F32 && lki_cuda_device.tf32, .asked_bias = bias, .users = 1};
    lki_conv_cudnn *p;

    *out = NULL;
    if (wish != NULL && strcmp(wish, "0") == 0)
        return LK_OK;
    for (p = plans; p != NULL && !alike(p, &asked);)
        p = p->next;
    if (p != NULL) {
        p->users++;
        *out = p;
        return LK_OK;
    }
    LK_TRY(open_library());
    LK_TRY(lk_alloc(sizeof *p, "convolution by cuDNN", &p));
    *p = asked;
    lk_status st = plan_with(p, bias);
    if (st == LK_OK && p->plan == NULL && bias)
        st = plan_with(p, false);
    if (p->plan == NULL) {
        lk_free(p);
        return st;
    }
    p->next = plans;
    plans = p;
    *out = p;
    return LK_OK;
}

void lki_conv_cudnn_destroy(lki_conv_cudnn **pp)
{
    lki_conv_cudnn *const p = *pp;

    *pp = NULL;
    if (p == NULL || --p->users > 0)
        return;
    lki_conv_cudnn **at = &plans;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    drop_descriptors(p);
    lk_free(p);
}

int lki_cudnn_version(void)
{
    return (int)cudnnGetVersion();
}

#else

lk_status lki_conv_cudnn_create(const lki_cudnn_sizes *s, lki_type t, lki_conv_part part, bool bias, lki_conv_cudnn **out)
{
    (void)s, (void)t, (void)part, (void)bias;
    *out = NULL;
    return LK_OK;
}

lk_status lki_conv_cudnn_run(const lki_conv_cudnn *p, const void *x, const void *w, const void *y, const float *bias, void *workspace)
{
    (void)p, (void)x, (void)w, (void)y, (void)bias, (void)workspace;
    return LK_FAIL(LK_E_UNSUPPORTED, "this module was built without cuDNN");
}

void lki_conv_cudnn_destroy(lki_conv_cudnn **p)
{
    (void)p;
}

int lki_cudnn_version(void)
{
    return 0;
}

#endif
