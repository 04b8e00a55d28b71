/* Convolutions over cuDNN: a graph of the convolution, and of a sum with the bias behind it where asked.
 *
 * Which configurations are taken is decided by what the library notes about their numbers. Relu is not left to cuDNN: a run that diverges must show it, and
 * of cuDNN 9.19's engines only the slowest is noted to keep a NaN. */
#include "kern/cuda/conv_cudnn.h"

#ifdef LK_HAVE_CUDNN

#include "kern/cuda/cudnn_graph.h"

#include <string.h>

/* Of a plan; more is not worth the memory. */
enum { MOST_WORKSPACE = 128 << 20 };
enum { ID_X = 1, ID_W, ID_Y, ID_BIAS };

/* All that a plan depends on; numbers of one type, so that it can be compared as it lies. */
typedef struct asked {
    int64_t who, type, part, tf32, bias;
    lki_cudnn_sizes sizes;
} asked;
#define ASKED ((int)(sizeof(asked) / sizeof(int64_t)))
_Static_assert(ASKED <= LKI_CUDNN_KEY, "a key is long enough");

struct lki_conv_cudnn {
    lki_cudnn_graph graph; /* the first, so that it is found by it */
    asked a;
    bool bias; /* it adds the bias */
};

/* ---- run ---- */

lk_status lki_conv_cudnn_run(const lki_conv_cudnn *p, const void *x, const void *w, const void *y, const float *bias, void *workspace)
{
    const int64_t ids[] = {ID_X, ID_W, ID_Y, ID_BIAS};
    const void *const at[] = {x, w, y, bias};

    LK_BUG_IF(p->bias != (bias != NULL), "a convolution with a bias is %sgiven one", p->bias ? "not " : "");
    return lki_cudnn_run(&p->graph, p->bias ? 4 : 3, ids, at, workspace);
}

bool lki_conv_cudnn_bias(const lki_conv_cudnn *p)
{
    return p->bias;
}

size_t lki_conv_cudnn_scratch(const lki_conv_cudnn *p)
{
    return p->graph.workspace_bytes;
}

/* ---- the graph ---- */

/* [n][h][w][c], whose sizes are told as n c h w. */
static lk_status tensor(lki_conv_cudnn *p, int64_t id, lki_type t, int64_t n, int64_t c, int64_t h, int64_t w, cudnnBackendDescriptor_t *out)
{
    const lki_cudnn_tensor v = {.id = id, .type = lki_cudnn_type(t), .size = {n, c, h, w}, .stride = {h * w * c, 1, w * c, c}};
    return lki_cudnn_tensor_make(&p->graph, &v, out);
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

    LK_TRY(lki_cudnn_make(&p->graph, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, out));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, axes, s->dilation));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, axes, s->stride));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, axes, s->before));
    LK_TRY(lki_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, axes, after));
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

static lk_status convolution(lki_conv_cudnn *p, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t v)
{
    const struct operation *const o = &operations[p->a.part];
    const float one = 1, zero = 0;
    cudnnBackendDescriptor_t op;

    LK_TRY(lki_cudnn_make(&p->graph, o->type, &op));
    LK_TRY(lki_cudnn_set_descriptor(op, o->x, x));
    LK_TRY(lki_cudnn_set_descriptor(op, o->w, w));
    LK_TRY(lki_cudnn_set_descriptor(op, o->y, y));
    LK_TRY(lki_cudnn_set_descriptor(op, o->windows, v));
    LK_TRY(lki_cudnn_set(op, o->alpha, CUDNN_TYPE_FLOAT, 1, &one));
    LK_TRY(lki_cudnn_set(op, o->beta, CUDNN_TYPE_FLOAT, 1, &zero));
    return lki_cudnn_add(&p->graph, op);
}

/* The values that a part writes, as a tensor. */
static lk_status result(lki_conv_cudnn *p, int64_t id, lki_type t, cudnnBackendDescriptor_t *out)
{
    const lki_cudnn_sizes *const s = &p->a.sizes;

    switch (p->a.part) {
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
static lk_status graph(lki_conv_cudnn *p, const int64_t after[LKI_CUDNN_AXES])
{
    const lki_cudnn_sizes *const s = &p->a.sizes;
    const lki_type type = (lki_type)p->a.type;
    const bool down = p->a.part == LKI_CONV_DOWN, up = p->a.part == LKI_CONV_UP, weights = p->a.part == LKI_CONV_WEIGHTS;
    const bool behind = p->bias || (weights && type != LKI_F32);
    const int64_t id = up ? ID_X : weights ? ID_W : ID_Y;
    cudnnBackendDescriptor_t x, w, y, own, v, bias = NULL, last;

    LK_TRY(result(p, behind ? 0 : id, behind || weights ? LKI_F32 : type, &own));
    x = y = w = own;
    if (!up)
        LK_TRY(tensor(p, ID_X, type, s->batch, s->c, s->in[0], s->in[1], &x));
    if (!weights)
        LK_TRY(tensor(p, ID_W, type, s->f, s->c / s->groups, s->kernel[0], s->kernel[1], &w));
    if (!down)
        LK_TRY(tensor(p, ID_Y, type, s->batch, s->f, s->out[0], s->out[1], &y));
    LK_TRY(windows(p, s, after, &v));
    LK_TRY(convolution(p, x, w, y, v));
    if (!behind)
        return LK_OK;
    if (p->bias)
        LK_TRY(tensor(p, ID_BIAS, LKI_F32, 1, up ? s->c : s->f, 1, 1, &bias));
    LK_TRY(result(p, id, weights ? LKI_F32 : type, &last));
    return lki_cudnn_pointwise(&p->graph, p->bias ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_IDENTITY, own, bias, last);
}

/* ---- choice ---- */

static bool acceptable(int64_t n, const cudnnBackendNumericalNote_t *notes, const void *arg)
{
    const asked *const a = arg;

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
            if (!a->tf32)
                return false;
            break;
        case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: /* which have no other floats than tf32 */
            if (a->type == LKI_F32 && !a->tf32)
                return false;
            break;
        default:
            break;
        }
    return true;
}

/* p->graph.plan stays NULL where cuDNN has nothing. */
static lk_status plan_with(lki_conv_cudnn *p, bool bias)
{
    int64_t after[LKI_CUDNN_AXES];

    if (!padding_behind(&p->a.sizes, after))
        return LK_OK;
    p->bias = bias;
    lk_status st = graph(p, after);
    if (st == LK_OK)
        st = lki_cudnn_plan(&p->graph, MOST_WORKSPACE, acceptable, &p->a);
    if (p->graph.plan == NULL)
        lki_cudnn_graph_fini(&p->graph);
    return st == LK_E_UNSUPPORTED ? LK_OK : st;
}

lk_status lki_conv_cudnn_create(const lki_cudnn_sizes *s, lki_type t, lki_conv_part part, bool bias, lki_conv_cudnn **out)
{
    const asked a = {.who = LKI_CUDNN_CONV, .type = t, .part = part, .tf32 = t == LKI_F32 && lki_cuda_device.tf32, .bias = bias, .sizes = *s};
    int64_t key[ASKED];
    lki_conv_cudnn *p;

    *out = NULL;
    if (!lki_cudnn_wanted())
        return LK_OK;
    memcpy(key, &a, sizeof key);
    p = (lki_conv_cudnn *)lki_cudnn_shared(ASKED, key);
    if (p != NULL) {
        *out = p;
        return LK_OK;
    }
    LK_TRY(lk_alloc(sizeof *p, "convolution by cuDNN", &p));
    p->a = a;
    lk_status st = plan_with(p, bias);
    if (st == LK_OK && p->graph.plan == NULL && bias)
        st = plan_with(p, false);
    if (p->graph.plan == NULL) {
        lk_free(p);
        return st;
    }
    lki_cudnn_share(&p->graph, ASKED, key);
    *out = p;
    return LK_OK;
}

void lki_conv_cudnn_destroy(lki_conv_cudnn **pp)
{
    lki_conv_cudnn *const p = *pp;

    *pp = NULL;
    if (p != NULL && lki_cudnn_leave(&p->graph))
        lk_free(p);
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

bool lki_conv_cudnn_bias(const lki_conv_cudnn *p)
{
    (void)p;
    return false;
}

size_t lki_conv_cudnn_scratch(const lki_conv_cudnn *p)
{
    (void)p;
    return 0;
}

void lki_conv_cudnn_destroy(lki_conv_cudnn **p)
{
    (void)p;
}

#endif
