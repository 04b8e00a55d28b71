/* cuDNN's graph interface on the host, as far as the module's convolutions and attention use it: descriptors are stores of attributes, which are checked as
 * they are set and finalized; plans run by plain loops over what the attributes say, in float, an operation after the other.
 *
 * Refused as documented, with the reason printed: attributes that a descriptor does not have, of another type or number; a descriptor finalized without
 * what it needs, or used before; shapes that do not fit each other; tensors of one graph that share an id; data that are missing or not aligned.
 * Stricter than the library: what a plan was made of must live as long as it does.
 *
 * Products have an engine only where they are attention, operation for operation as the library knows it (see attention_of).
 *
 * The heuristic's answers hold what must not be taken, in front of what may: see engines. It counts more than it then gives, as the library does. Some
 * graphs have no engine at all: anything behind a convolution needs channels in fours; a convolution alone writes the type of its factors (as the library's
 * engines do); gradients of weights in groups have none, forward passes in groups one in the fallback mode alone.
 *
 * STANDIN_FAIL: cudnnCreate, cudnnBackendFinalize, cudnnBackendExecute, with a number of cudnnStatus_t. */
#include "standin/standin.h"

#include <cudnn_graph.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cmath>
#include <cstdarg>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

struct cudnnContext {
    cudaStream_t stream;
};

namespace {

constexpr int AXES = 2, DIMS = 2 + AXES; /* tensors are n c h w; filters k c r s */
constexpr int64_t WORKSPACE = 4096;
constexpr int64_t UNWORKABLE = 3; /* configurations that a heuristic counts and does not give */

std::mutex lock;
std::string last_message;

void remember(const char *format, va_list list)
{
    char text[400];
    vsnprintf(text, sizeof text, format, list);
    last_message = text;
}

/* A wrong call. */
__attribute__((format(printf, 2, 3))) cudnnStatus_t refuse(cudnnStatus_t status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    remember(format, list);
    va_end(list);
    standin_say("cuDNN: %s: %s", cudnnGetErrorString(status), last_message.c_str());
    return status;
}

/* A call that is right, and for which there is nothing. */
__attribute__((format(printf, 2, 3))) cudnnStatus_t decline(cudnnStatus_t status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    remember(format, list);
    va_end(list);
    return status;
}

#define CHECK(call) \
    do { \
        const cudnnStatus_t status_ = (call); \
        if (status_ != CUDNN_STATUS_SUCCESS) \
            return status_; \
    } while (0)

/* ---- engines ---- */
/* Those that must not be taken give wrong numbers. */
enum engine {
    UNFIT,    /* its plans cannot be finalized */
    HASTY,    /* other bits each time */
    COARSE,   /* factors with 10 bits, or, where they have no more, with 3 */
    WINOGRAD, /* errs by a share of what it sums */
    GREEDY,   /* wants more memory than there is */
    GOOD,
    ENGINES
};
const std::vector<cudnnBackendNumericalNote_t> notes[ENGINES] = {
    {},
    {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC},
    {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS},
    {CUDNN_NUMERICAL_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6},
    {},
    {},
};

/* ---- descriptors ---- */
struct value {
    int64_t n = 0;
    std::vector<char> bytes;
    template <class T> T at(int64_t i = 0) const
    {
        T v;
        memcpy(&v, bytes.data() + (size_t)i * sizeof v, sizeof v);
        return v;
    }
};

struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool done = false;
    std::map<int, value> values;
    std::vector<engine> results; /* of a heuristic */
    engine which = ENGINES;      /* of a configuration and an engine */
    const descriptor *graph = nullptr;
    bool has(int name) const
    {
        return values.count(name) != 0;
    }
    template <class T> T get(int name, int64_t i = 0) const
    {
        return values.at(name).at<T>(i);
    }
    const descriptor *ref(int name, int64_t i = 0) const
    {
        return get<const descriptor *>(name, i);
    }
};

std::set<const descriptor *> &living()
{
    static auto *const set = new std::set<const descriptor *>;
    return *set;
}

bool alive(const descriptor *d)
{
    return living().count(d) != 0;
}

struct rule {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t least, most;
    bool needed;
};

const std::map<cudnnBackendDescriptorType_t, std::vector<rule>> rules = {
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR,
        {{CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, 1, true}, {CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
            {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 3, CUDNN_DIM_MAX, true}, {CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 3, CUDNN_DIM_MAX, true},
            {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, 1, true}, {CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, false},
            {CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, 1, false}}},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR,
        {{CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true}, {CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1, true},
            {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, 1, true}, {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 1, 3, true},
            {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 1, 3, true}, {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 1, 3, true},
            {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 1, 3, true}}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
        {{CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, 1, true}}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
        {{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, 1, true}}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
        {{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true}, {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 1, 1, true}}},
    {CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
        {{CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, 1, true}, {CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
            {CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, 1, false}}},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
        {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, false}, {CUDNN_ATTR_OPERATION_POINTWISE_TDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, false},
            {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}}},
    {CUDNN_BACKEND_MATMUL_DESCRIPTOR, {{CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true}}},
    {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
        {{CUDNN_ATTR_OPERATION_MATMUL_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_MATMUL_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_MATMUL_CDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}}},
    {CUDNN_BACKEND_REDUCTION_DESCRIPTOR, {{CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true}, {CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, 1, true}}},
    {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
        {{CUDNN_ATTR_OPERATION_REDUCTION_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_REDUCTION_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true},
            {CUDNN_ATTR_OPERATION_REDUCTION_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}}},
    {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
        {{CUDNN_ATTR_OPERATION_RESHAPE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_OPERATION_RESHAPE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}}},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, {{CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, true}, {CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 64, true}}},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, {{CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}, {CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1, true}}},
    {CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, {}},
    {CUDNN_BACKEND_ENGINE_DESCRIPTOR, {}},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, {{CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, true}, {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, 1, true}}},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
        {{CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, 64, true}, {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, 64, true},
            {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1, false}}},
};

size_t size_of(cudnnBackendAttributeType_t t)
{
    return t == CUDNN_TYPE_BOOLEAN ? sizeof(bool) : t == CUDNN_TYPE_HANDLE || t == CUDNN_TYPE_INT64 || t == CUDNN_TYPE_VOID_PTR || t == CUDNN_TYPE_BACKEND_DESCRIPTOR ? 8 : 4;
}

/* ---- what a graph says ---- */
size_t bytes_of(cudnnDataType_t t)
{
    return t == CUDNN_DATA_FLOAT || t == CUDNN_DATA_INT32 ? 4 : t == CUDNN_DATA_BOOLEAN ? 1 : 2;
}

struct tensor {
    int64_t id, dim[DIMS], stride[DIMS], align;
    cudnnDataType_t type;
    bool inner, by_value;
    int64_t count() const
    {
        return dim[0] * dim[1] * dim[2] * dim[3];
    }
    /* Bytes from the first element to behind the last one. */
    size_t extent() const
    {
        int64_t last = 0;
        for (int i = 0; i < DIMS; i++)
            last += (dim[i] - 1) * stride[i];
        return (size_t)(last + 1) * bytes_of(type);
    }
    /* Of an element, in the order of each_element; a size of 1 serves all. */
    size_t at(int64_t n, int64_t c, int64_t h, int64_t w) const
    {
        const int64_t p[DIMS] = {dim[0] == 1 ? 0 : n, dim[1] == 1 ? 0 : c, dim[2] == 1 ? 0 : h, dim[3] == 1 ? 0 : w};
        return (size_t)(((p[0] * dim[2] + p[2]) * dim[3] + p[3]) * dim[1] + p[1]);
    }
};

struct step {
    cudnnBackendDescriptorType_t type;
    tensor x, w, y; /* of a convolution; pointwise: in, second, out; product: its factors, the product; else w is not used. id 0: none */
    tensor which;   /* pointwise: of BINARY_SELECT */
    cudnnPointwiseMode_t mode;
    cudnnReduceTensorOp_t reduction;
    int64_t axis;
    float alpha;
    int64_t stride[AXES], dilation[AXES], before[AXES], after[AXES];
    const tensor &out() const
    {
        return type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? x : type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR ? w : y;
    }
    std::vector<const tensor *> tensors() const
    {
        std::vector<const tensor *> all;
        for (const tensor *t : {&x, &w, &which, &y})
            if (t->id != 0)
                all.push_back(t);
        return all;
    }
};

tensor tensor_of(const descriptor *d)
{
    tensor t = {d->get<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID), {}, {}, d->get<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT), d->get<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE),
        d->has(CUDNN_ATTR_TENSOR_IS_VIRTUAL) && d->get<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL), d->has(CUDNN_ATTR_TENSOR_IS_BY_VALUE) && d->get<bool>(CUDNN_ATTR_TENSOR_IS_BY_VALUE)};
    for (int i = 0; i < DIMS; i++) {
        t.dim[i] = d->get<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, i);
        t.stride[i] = d->get<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, i);
    }
    return t;
}

/* Attributes of x, w, y, of the windows, of alpha and beta. */
const std::map<cudnnBackendDescriptorType_t, std::vector<int>> convolutions = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}},
};

/* Attributes of what else there is; 0: none. */
struct operands {
    int x, w, which, y;
};
const std::map<cudnnBackendDescriptorType_t, operands> others = {
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, CUDNN_ATTR_OPERATION_POINTWISE_YDESC}},
    {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC, 0, CUDNN_ATTR_OPERATION_MATMUL_CDESC}},
    {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, {CUDNN_ATTR_OPERATION_REDUCTION_XDESC, 0, 0, CUDNN_ATTR_OPERATION_REDUCTION_YDESC}},
    {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, {CUDNN_ATTR_OPERATION_RESHAPE_XDESC, 0, 0, CUDNN_ATTR_OPERATION_RESHAPE_YDESC}},
};

step step_of(const descriptor *d)
{
    step s = {};
    s.type = d->type;
    const auto found = convolutions.find(d->type);
    if (found == convolutions.end()) {
        const operands &o = others.at(d->type);
        for (const auto &[name, to] : {std::pair(o.x, &s.x), std::pair(o.w, &s.w), std::pair(o.which, &s.which), std::pair(o.y, &s.y)})
            if (name != 0 && d->has(name))
                *to = tensor_of(d->ref(name));
        if (d->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
            const descriptor *const what = d->ref(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
            s.mode = what->get<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
            s.axis = what->has(CUDNN_ATTR_POINTWISE_AXIS) ? what->get<int64_t>(CUDNN_ATTR_POINTWISE_AXIS) : -1;
        }
        if (d->type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR)
            s.reduction = d->ref(CUDNN_ATTR_OPERATION_REDUCTION_DESC)->get<cudnnReduceTensorOp_t>(CUDNN_ATTR_REDUCTION_OPERATOR);
        return s;
    }
    const std::vector<int> &name = found->second;
    const descriptor *const v = d->ref(name[3]);
    s.x = tensor_of(d->ref(name[0]));
    s.w = tensor_of(d->ref(name[1]));
    s.y = tensor_of(d->ref(name[2]));
    s.alpha = d->get<float>(name[4]);
    for (int i = 0; i < AXES; i++) {
        s.stride[i] = v->get<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i);
        s.dilation[i] = v->get<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS, i);
        s.before[i] = v->get<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i);
        s.after[i] = v->get<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i);
    }
    return s;
}

std::vector<step> steps_of(const descriptor *graph)
{
    std::vector<step> all;
    for (int64_t i = 0; i < graph->values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).n; i++)
        all.push_back(step_of(graph->ref(CUDNN_ATTR_OPERATIONGRAPH_OPS, i)));
    return all;
}

/* ---- checks at the end of a descriptor ---- */
cudnnStatus_t check_tensor(const descriptor *d)
{
    if (d->values.at(CUDNN_ATTR_TENSOR_DIMENSIONS).n != d->values.at(CUDNN_ATTR_TENSOR_STRIDES).n)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor with %" PRId64 " sizes and %" PRId64 " strides", d->values.at(CUDNN_ATTR_TENSOR_DIMENSIONS).n, d->values.at(CUDNN_ATTR_TENSOR_STRIDES).n);
    if (d->values.at(CUDNN_ATTR_TENSOR_DIMENSIONS).n != DIMS)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_SHAPE, "only tensors of %d sizes are known here", DIMS);
    const tensor t = tensor_of(d);
    for (int i = 0; i < DIMS; i++)
        if (t.dim[i] < 1 || t.stride[i] < 1)
            return refuse(CUDNN_STATUS_BAD_PARAM, "tensor %" PRId64 ": size %d is %" PRId64 ", its stride %" PRId64, t.id, i, t.dim[i], t.stride[i]);
    if (t.align < 1 || (t.align & (t.align - 1)) != 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "tensor %" PRId64 ": alignment %" PRId64, t.id, t.align);
    if (t.id == 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor with id 0, which stands for none here");
    if (t.inner && t.by_value)
        return refuse(CUDNN_STATUS_BAD_PARAM, "tensor %" PRId64 " is virtual and by value", t.id);
    if (t.by_value && (t.count() != 1 || t.type != CUDNN_DATA_FLOAT))
        return decline(CUDNN_STATUS_NOT_SUPPORTED, "only one float by value is known here");
    const bool counts = t.inner && (t.type == CUDNN_DATA_INT32 || t.type == CUDNN_DATA_BOOLEAN);
    if (t.type != CUDNN_DATA_FLOAT && t.type != CUDNN_DATA_BFLOAT16 && t.type != CUDNN_DATA_HALF && !counts)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "data type %d is not known here", (int)t.type);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_windows(const descriptor *d)
{
    const int64_t axes = d->get<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS);
    if (axes != AXES)
        return decline(CUDNN_STATUS_NOT_SUPPORTED, "only %d axes are known here", AXES);
    for (const int name : {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS}) {
        if (d->values.at(name).n != axes)
            return refuse(CUDNN_STATUS_BAD_PARAM, "windows over %" PRId64 " axes: attribute %d has %" PRId64, axes, name, d->values.at(name).n);
        const bool padding = name == CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS || name == CUDNN_ATTR_CONVOLUTION_POST_PADDINGS;
        for (int i = 0; i < AXES; i++)
            if (d->get<int64_t>(name, i) < (padding ? 0 : 1))
                return refuse(CUDNN_STATUS_BAD_PARAM, "windows: attribute %d is %" PRId64 " on axis %d", name, d->get<int64_t>(name, i), i);
    }
    if (d->get<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "only sums in float are known here");
    if (d->get<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION)
        return decline(CUDNN_STATUS_NOT_SUPPORTED, "only cross-correlation is known here");
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_convolution(const descriptor *d)
{
    const step s = step_of(d);
    if (s.x.dim[0] != s.y.dim[0] || s.w.dim[0] != s.y.dim[1] || s.x.dim[1] % s.w.dim[1] != 0 || s.w.dim[0] % (s.x.dim[1] / s.w.dim[1]) != 0)
        return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "x [%" PRId64 ",%" PRId64 ",...], y [%" PRId64 ",%" PRId64 ",...], filters [%" PRId64 ",%" PRId64 ",...]", s.x.dim[0], s.x.dim[1], s.y.dim[0],
            s.y.dim[1], s.w.dim[0], s.w.dim[1]);
    for (int i = 0; i < AXES; i++) {
        const int64_t room = s.x.dim[2 + i] + s.before[i] + s.after[i] - ((s.w.dim[2 + i] - 1) * s.dilation[i] + 1);
        if (room < 0 || room / s.stride[i] + 1 != s.y.dim[2 + i])
            return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "axis %d: %" PRId64 " places with %" PRId64 " + %" PRId64 " in front and behind, windows of %" PRId64 " every %" PRId64 ", dilation %" PRId64 ": not %" PRId64 " windows",
                i, s.x.dim[2 + i], s.before[i], s.after[i], s.w.dim[2 + i], s.stride[i], s.dilation[i], s.y.dim[2 + i]);
    }
    if (d->get<float>(convolutions.at(d->type)[5]) != 0)
        return decline(CUDNN_STATUS_NOT_SUPPORTED, "beta is not known here");
    return CUDNN_STATUS_SUCCESS;
}

struct pointwise_rule {
    char letter; /* see attention_of */
    bool second, which;
    cudnnDataType_t compute;
};
const std::map<cudnnPointwiseMode_t, pointwise_rule> modes = {
    {CUDNN_POINTWISE_IDENTITY, {'i', false, false, CUDNN_DATA_FLOAT}},
    {CUDNN_POINTWISE_ADD, {'+', true, false, CUDNN_DATA_FLOAT}},
    {CUDNN_POINTWISE_SUB, {'-', true, false, CUDNN_DATA_FLOAT}},
    {CUDNN_POINTWISE_MUL, {'*', true, false, CUDNN_DATA_FLOAT}},
    {CUDNN_POINTWISE_DIV, {'/', true, false, CUDNN_DATA_FLOAT}},
    {CUDNN_POINTWISE_EXP, {'e', false, false, CUDNN_DATA_FLOAT}},
    {CUDNN_POINTWISE_LOG, {'l', false, false, CUDNN_DATA_FLOAT}},
    {CUDNN_POINTWISE_GEN_INDEX, {'n', false, false, CUDNN_DATA_INT32}},
    {CUDNN_POINTWISE_CMP_GE, {'>', true, false, CUDNN_DATA_BOOLEAN}},
    {CUDNN_POINTWISE_BINARY_SELECT, {'?', true, true, CUDNN_DATA_FLOAT}},
};

cudnnStatus_t check_pointwise(const descriptor *d)
{
    const descriptor *const what = d->ref(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    const step s = step_of(d);
    const auto found = modes.find(s.mode);
    if (found == modes.end())
        return decline(CUDNN_STATUS_NOT_SUPPORTED, "pointwise mode %d is not known here", (int)s.mode);
    const pointwise_rule &r = found->second;
    if (r.second != d->has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC) || r.which != d->has(CUDNN_ATTR_OPERATION_POINTWISE_TDESC))
        return refuse(CUDNN_STATUS_BAD_PARAM, "pointwise mode %d and %s b, %s t", (int)s.mode, s.w.id != 0 ? "a" : "no", s.which.id != 0 ? "a" : "no");
    if (what->get<cudnnDataType_t>(CUDNN_ATTR_POINTWISE_MATH_PREC) != r.compute)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "pointwise mode %d computes in type %d here", (int)s.mode, (int)r.compute);
    if ((s.mode == CUDNN_POINTWISE_GEN_INDEX) != (s.axis >= 0 && s.axis < DIMS))
        return refuse(CUDNN_STATUS_BAD_PARAM, "pointwise mode %d along axis %" PRId64, (int)s.mode, s.axis);
    if ((s.mode == CUDNN_POINTWISE_CMP_GE ? s.y.type : r.which ? s.which.type : CUDNN_DATA_BOOLEAN) != CUDNN_DATA_BOOLEAN)
        return refuse(CUDNN_STATUS_BAD_PARAM, "pointwise mode %d: what is true or not is of type boolean", (int)s.mode);
    for (int i = 0; i < DIMS; i++)
        for (const tensor *t : {&s.w, &s.which})
            if (s.x.dim[i] != s.y.dim[i] || (t->id != 0 && t->dim[i] != 1 && t->dim[i] != s.x.dim[i]))
                return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "pointwise: sizes %d are %" PRId64 ", %" PRId64 ", tensor %" PRId64 " has %" PRId64, i, s.x.dim[i], s.y.dim[i], t->id, t->dim[i]);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_product(const descriptor *d)
{
    const step s = step_of(d);
    if (d->ref(CUDNN_ATTR_OPERATION_MATMUL_DESC)->get<cudnnDataType_t>(CUDNN_ATTR_MATMUL_COMP_TYPE) != CUDNN_DATA_FLOAT)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "only sums in float are known here");
    if (s.x.dim[0] != s.y.dim[0] || s.w.dim[0] != s.y.dim[0] || s.x.dim[1] != s.y.dim[1] || s.y.dim[1] % s.w.dim[1] != 0 || s.x.dim[2] != s.y.dim[2] || s.w.dim[3] != s.y.dim[3] || s.x.dim[3] != s.w.dim[2])
        return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "product of tensors %" PRId64 " [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "] and %" PRId64 " [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "]", s.x.id,
            s.x.dim[0], s.x.dim[1], s.x.dim[2], s.x.dim[3], s.w.id, s.w.dim[0], s.w.dim[1], s.w.dim[2], s.w.dim[3]);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_reduction(const descriptor *d)
{
    const step s = step_of(d);
    if (d->ref(CUDNN_ATTR_OPERATION_REDUCTION_DESC)->get<cudnnDataType_t>(CUDNN_ATTR_REDUCTION_COMP_TYPE) != CUDNN_DATA_FLOAT)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "only sums in float are known here");
    if (s.reduction != CUDNN_REDUCE_TENSOR_ADD && s.reduction != CUDNN_REDUCE_TENSOR_MAX)
        return decline(CUDNN_STATUS_NOT_SUPPORTED, "reduction %d is not known here", (int)s.reduction);
    for (int i = 0; i < DIMS; i++)
        if (s.x.dim[i] % s.y.dim[i] != 0)
            return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "reduction: size %d is %" PRId64 ", and becomes %" PRId64, i, s.x.dim[i], s.y.dim[i]);
    return CUDNN_STATUS_SUCCESS;
}

/* Only of the last two sizes, which change places. */
cudnnStatus_t check_reshape(const descriptor *d)
{
    const step s = step_of(d);
    if (s.x.count() != s.y.count())
        return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "reshape of %" PRId64 " numbers to %" PRId64, s.x.count(), s.y.count());
    for (int i = 0; i < DIMS; i++) {
        const int from = i < 2 ? i : 5 - i;
        if (s.x.dim[from] != s.y.dim[i] || s.x.stride[from] != s.y.stride[i])
            return decline(CUDNN_STATUS_NOT_SUPPORTED, "reshape: size %d is not the other's %d", i, from);
    }
    return CUDNN_STATUS_SUCCESS;
}

/* All tensors of an operation, the one it writes last. */
std::vector<const descriptor *> tensors_of(const descriptor *op)
{
    const auto found = convolutions.find(op->type);
    std::vector<const descriptor *> all;
    if (found == convolutions.end()) {
        const operands &o = others.at(op->type);
        for (const int name : {o.x, o.w, o.which, o.y})
            if (name != 0 && op->has(name))
                all.push_back(op->ref(name));
        return all;
    }
    const int out = op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? 0 : op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR ? 1 : 2;
    for (int i = 1; i <= 3; i++)
        all.push_back(op->ref(found->second[(size_t)(out + i) % 3]));
    return all;
}

cudnnStatus_t check_graph(const descriptor *d)
{
    std::map<int64_t, const descriptor *> known;
    std::set<int64_t> written;
    for (int64_t i = 0; i < d->values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).n; i++) {
        const std::vector<const descriptor *> all = tensors_of(d->ref(CUDNN_ATTR_OPERATIONGRAPH_OPS, i));
        for (const descriptor *t : all) {
            const tensor v = tensor_of(t);
            if (!known.try_emplace(v.id, t).second && known[v.id] != t)
                return refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "two tensors with id %" PRId64, v.id);
            if (t != all.back() && v.inner && written.count(v.id) == 0)
                return refuse(CUDNN_STATUS_BAD_PARAM, "tensor %" PRId64 " is virtual, and read before it is written", v.id);
        }
        if (!written.insert(tensor_of(all.back()).id).second)
            return refuse(CUDNN_STATUS_BAD_PARAM, "tensor %" PRId64 " is written twice", tensor_of(all.back()).id);
    }
    return CUDNN_STATUS_SUCCESS;
}

/* ---- attention ---- */
/* A letter an operation: M product, m greatest, S sum, T reshape, and those of `modes`. */
std::string letters_of(const std::vector<step> &steps)
{
    std::string all;
    for (const step &s : steps)
        all += s.type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR      ? 'M'
               : s.type == CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR   ? 'T'
               : s.type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR ? (s.reduction == CUDNN_REDUCE_TENSOR_MAX ? 'm' : 'S')
                                                                        : modes.at(s.mode).letter;
    return all;
}

enum attention { NONE, FORWARD, BACKWARD };

/* Scores, their mask, softmax with the log of its sum, and the product with the values; or: the mean of dy y, the same scores less that log, and the gradients of
 * values, keys and queries. (The graph whose gradients of queries are sums in float, which its engines make in an order of their own without a note of it,
 * is none here.) */
attention attention_of(const std::string &letters)
{
    for (const std::string mask : {"", "nn>?"}) {
        if (letters == "M*" + mask + "m-eSl+/M")
            return FORWARD;
        for (const std::string shared : {"", "S"})
            if (letters == "*S*M*-" + mask + "eTM" + shared + "M-**TM" + shared + "TM")
                return BACKWARD;
    }
    return NONE;
}

/* What the engines for it take. */
bool takes(const std::vector<step> &steps, attention what)
{
    const step &first = *std::find_if(steps.begin(), steps.end(), [](const step &s) { return s.type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR; });
    const tensor &q = first.x, &k = first.w;
    const int64_t d = q.dim[3];
    if (d % 8 != 0 || d > 128 || (q.dim[2] == 1 && k.dim[3] == 1))
        return false;
    for (const step &s : steps)
        for (const tensor *t : s.tensors()) {
            const bool number = t->by_value, row = t->dim[3] == 1, mean = what == BACKWARD && &s == &steps[2] && t == &s.y;
            if (!t->inner && !number && !row && (t->type != q.type || q.type == CUDNN_DATA_FLOAT))
                return false;
            if ((row || number) && t->type != CUDNN_DATA_FLOAT)
                return false;
            if (mean && t->inner)
                return false;
        }
    const step &last = steps.back();
    return !last.y.inner && (what == BACKWARD || last.x.type == q.type);
}

cudnnStatus_t answer_attention(descriptor *d, const std::vector<step> &steps)
{
    const attention what = attention_of(letters_of(steps));
    if (what == NONE)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "no engine for %s", letters_of(steps).c_str());
    if (takes(steps, what) && d->get<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_A)
        d->results = {UNFIT, HASTY, GREEDY, GOOD};
    return CUDNN_STATUS_SUCCESS;
}

/* What the library has for a graph. */
cudnnStatus_t answer(descriptor *d)
{
    const descriptor *const graph = d->ref(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    const std::vector<step> steps = steps_of(graph);
    const bool fallback = d->get<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_FALLBACK;
    const bool groups = steps[0].x.dim[1] != steps[0].w.dim[1];
    d->graph = graph;
    if (convolutions.count(steps[0].type) == 0)
        return answer_attention(d, steps);
    const bool weights = steps[0].type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
    if (steps.size() > 1 && !weights && steps.back().out().dim[1] % 4 != 0)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "%" PRId64 " channels, with something behind the convolution", steps.back().out().dim[1]);
    const tensor &factor = weights ? steps[0].x : steps[0].w, &out = steps[0].out();
    if ((groups && weights) || (steps.size() == 1 && out.type != factor.type))
        return CUDNN_STATUS_SUCCESS;
    if (groups && steps[0].type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR && !fallback)
        d->results = {UNFIT, HASTY};
    else
        d->results = {UNFIT, HASTY, COARSE, WINOGRAD, GREEDY, GOOD};
    return CUDNN_STATUS_SUCCESS;
}

/* Backward lays the gradients of its scores down, in 16 bits. */
int64_t workspace_of(const descriptor *config)
{
    const std::vector<step> steps = steps_of(config->graph);
    if (config->which == GREEDY)
        return INT64_C(1) << 40;
    if (convolutions.count(steps[0].type) != 0 || attention_of(letters_of(steps)) != BACKWARD)
        return WORKSPACE;
    return 2 * steps[3].y.count();
}

cudnnStatus_t check_plan(const descriptor *d)
{
    const descriptor *const config = d->ref(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (config->which == UNFIT)
        return decline(CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH, "engine %d does not run on this device", (int)config->which);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_pack(const descriptor *d)
{
    const int64_t ids = d->values.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).n, pointers = d->values.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).n;
    return ids == pointers ? CUDNN_STATUS_SUCCESS : refuse(CUDNN_STATUS_BAD_PARAM, "%" PRId64 " ids and %" PRId64 " pointers", ids, pointers);
}

/* ---- numbers ---- */
float load(cudnnDataType_t t, const char *p)
{
    uint16_t h;
    int32_t i;
    float f;
    if (t == CUDNN_DATA_BOOLEAN)
        return *p;
    if (t == CUDNN_DATA_INT32) {
        memcpy(&i, p, 4);
        return (float)i;
    }
    if (t == CUDNN_DATA_FLOAT) {
        memcpy(&f, p, 4);
        return f;
    }
    memcpy(&h, p, 2);
    return t == CUDNN_DATA_HALF ? __half2float(__half(__half_raw{h})) : std::bit_cast<float>((uint32_t)h << 16);
}

void store(cudnnDataType_t t, char *p, float f)
{
    if (t == CUDNN_DATA_BOOLEAN) {
        *p = f != 0;
    } else if (t == CUDNN_DATA_INT32) {
        const int32_t i = (int32_t)f;
        memcpy(p, &i, 4);
    } else if (t == CUDNN_DATA_FLOAT) {
        memcpy(p, &f, 4);
    } else if (t == CUDNN_DATA_HALF) {
        const __half h = __float2half_rn(f);
        memcpy(p, &h, 2);
    } else {
        const __nv_bfloat16 b = __float2bfloat16_rn(f);
        memcpy(p, &b, 2);
    }
}

/* To `bits` behind the point. */
float shorten(float f, int bits)
{
    const uint32_t v = std::bit_cast<uint32_t>(f), half = 1u << (22 - bits);
    return (v & 0x7f800000) == 0x7f800000 ? f : std::bit_cast<float>((v + half) & ~(2 * half - 1));
}

/* A tensor's numbers with its second size (channels) last: as the loops take them. */
using numbers = std::vector<float>;

template <class F> void each_element(const tensor &t, F f)
{
    size_t i = 0;
    for (int64_t n = 0; n < t.dim[0]; n++)
        for (int64_t h = 0; h < t.dim[2]; h++)
            for (int64_t w = 0; w < t.dim[3]; w++)
                for (int64_t c = 0; c < t.dim[1]; c++)
                    f(i++, n, c, h, w);
}

char *element(const tensor &t, char *p, int64_t n, int64_t c, int64_t h, int64_t w)
{
    return p + (n * t.stride[0] + c * t.stride[1] + h * t.stride[2] + w * t.stride[3]) * (int64_t)bytes_of(t.type);
}

/* Calls f(rows of channels of one group: of x, of w; element of y) for each product of a convolution. */
template <class F> void each_product(const step &s, F f)
{
    const int64_t part = s.w.dim[1], per_group = s.w.dim[0] / (s.x.dim[1] / part);
    for (int64_t n = 0; n < s.y.dim[0]; n++)
        for (int64_t oh = 0; oh < s.y.dim[2]; oh++)
            for (int64_t ow = 0; ow < s.y.dim[3]; ow++)
                for (int64_t r = 0; r < s.w.dim[2]; r++)
                    for (int64_t q = 0; q < s.w.dim[3]; q++) {
                        const int64_t h = oh * s.stride[0] - s.before[0] + r * s.dilation[0], w = ow * s.stride[1] - s.before[1] + q * s.dilation[1];
                        if (h < 0 || h >= s.x.dim[2] || w < 0 || w >= s.x.dim[3])
                            continue;
                        const int64_t place = ((n * s.x.dim[2] + h) * s.x.dim[3] + w) * s.x.dim[1], out = ((n * s.y.dim[2] + oh) * s.y.dim[3] + ow) * s.y.dim[1];
                        for (int64_t k = 0; k < s.w.dim[0]; k++)
                            f(place + k / per_group * part, ((k * s.w.dim[2] + r) * s.w.dim[3] + q) * part, out + k);
                    }
}

numbers convolve(const step &s, const numbers &x, const numbers &w, const numbers &y)
{
    const int64_t part = s.w.dim[1];
    numbers out((size_t)s.out().count(), 0);
    if (s.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
        each_product(s, [&](int64_t at_x, int64_t at_w, int64_t at_y) {
            float sum = 0;
            for (int64_t c = 0; c < part; c++)
                sum += x[(size_t)(at_x + c)] * w[(size_t)(at_w + c)];
            out[(size_t)at_y] += sum;
        });
    else if (s.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)
        each_product(s, [&](int64_t at_x, int64_t at_w, int64_t at_y) {
            for (int64_t c = 0; c < part; c++)
                out[(size_t)(at_x + c)] += y[(size_t)at_y] * w[(size_t)(at_w + c)];
        });
    else
        each_product(s, [&](int64_t at_x, int64_t at_w, int64_t at_y) {
            for (int64_t c = 0; c < part; c++)
                out[(size_t)(at_w + c)] += y[(size_t)at_y] * x[(size_t)(at_x + c)];
        });
    for (float &v : out)
        v *= s.alpha;
    return out;
}

/* As `type` holds it. */
float rounded(cudnnDataType_t type, float v)
{
    char bytes[4];
    store(type, bytes, v);
    return load(type, bytes);
}

numbers pointwise(const step &s, const numbers &x, const numbers &second, const numbers &which)
{
    numbers out(x.size());
    each_element(s.x, [&](size_t i, int64_t n, int64_t c, int64_t h, int64_t w) {
        const int64_t place[DIMS] = {n, c, h, w};
        const float v = x[i], b = s.w.id != 0 ? second[s.w.at(n, c, h, w)] : 0;
        switch (s.mode) {
        case CUDNN_POINTWISE_ADD:
            out[i] = v + b;
            break;
        case CUDNN_POINTWISE_SUB:
            out[i] = v - b;
            break;
        case CUDNN_POINTWISE_MUL:
            out[i] = v * b;
            break;
        case CUDNN_POINTWISE_DIV:
            out[i] = v / b;
            break;
        case CUDNN_POINTWISE_EXP:
            out[i] = expf(v);
            break;
        case CUDNN_POINTWISE_LOG:
            out[i] = logf(v);
            break;
        case CUDNN_POINTWISE_GEN_INDEX:
            out[i] = (float)place[s.axis];
            break;
        case CUDNN_POINTWISE_CMP_GE:
            out[i] = v >= b;
            break;
        case CUDNN_POINTWISE_BINARY_SELECT:
            out[i] = which[s.which.at(n, c, h, w)] != 0 ? v : b;
            break;
        default:
            out[i] = v;
        }
    });
    return out;
}

/* Factors of 16 bits: what is made of floats on the way is rounded for the tensor cores. */
numbers multiply(const step &s, const numbers &a, const numbers &b)
{
    const int64_t group = s.y.dim[1] / s.w.dim[1];
    numbers out((size_t)s.y.count()), left = a;
    for (float &v : left)
        v = rounded(s.w.type, v);
    each_element(s.y, [&](size_t i, int64_t n, int64_t c, int64_t h, int64_t w) {
        float sum = 0;
        for (int64_t k = 0; k < s.x.dim[3]; k++)
            sum += left[s.x.at(n, c, h, k)] * b[s.w.at(n, c / group, k, w)];
        out[i] = sum;
    });
    return out;
}

numbers reduce(const step &s, const numbers &x)
{
    const bool most = s.reduction == CUDNN_REDUCE_TENSOR_MAX;
    numbers out((size_t)s.y.count(), most ? -INFINITY : 0.0f);
    each_element(s.x, [&](size_t i, int64_t n, int64_t c, int64_t h, int64_t w) {
        const int64_t place[DIMS] = {n, c, h, w};
        int64_t to[DIMS];
        for (int k = 0; k < DIMS; k++)
            to[k] = place[k] / (s.x.dim[k] / s.y.dim[k]);
        float &v = out[s.y.at(to[0], to[1], to[2], to[3])];
        v = !most ? v + x[i] : v != v || x[i] <= v ? v : x[i];
    });
    return out;
}

numbers turn(const step &s, const numbers &x)
{
    numbers out(x.size());
    each_element(s.x, [&](size_t i, int64_t n, int64_t c, int64_t h, int64_t w) { out[s.y.at(n, c, w, h)] = x[i]; });
    return out;
}

struct program {
    engine which;
    std::vector<step> steps;
    std::map<int64_t, char *> data;
    std::map<int64_t, numbers> values; /* by value, as they were when the work was queued */
    char *workspace;
    size_t workspace_bytes;
    std::map<int64_t, numbers> held; /* by id, while it runs */

    bool inside(const tensor &t) const
    {
        if (standin_in_device(data.at(t.id), t.extent()))
            return true;
        standin_lose(cudaErrorIllegalAddress, "cudnnBackendExecute: tensor %" PRId64 ", [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "] at %p, is not inside of an allocation", t.id, t.dim[0], t.dim[1],
            t.dim[2], t.dim[3], (void *)data.at(t.id));
        return false;
    }

    const numbers &read(const tensor &t)
    {
        if (t.by_value)
            return values.at(t.id);
        if (!t.inner) {
            numbers &v = held[t.id];
            v.resize((size_t)t.count());
            each_element(t, [&](size_t i, int64_t n, int64_t c, int64_t h, int64_t w) {
                v[i] = load(t.type, element(t, data.at(t.id), n, c, h, w));
                if (which == COARSE)
                    v[i] = shorten(v[i], t.type == CUDNN_DATA_FLOAT ? 10 : 3);
            });
        }
        return held.at(t.id);
    }

    void write(const tensor &t, numbers v)
    {
        static unsigned times;
        const float off = which == HASTY ? 1 + 1e-3f * (float)(times++ % 2) : which == WINOGRAD ? 1.03f : 1;
        each_element(t, [&](size_t i, int64_t n, int64_t c, int64_t h, int64_t w) {
            char bytes[4], *const to = t.inner ? bytes : element(t, data.at(t.id), n, c, h, w);
            store(t.type, to, v[i] * off);
            v[i] = load(t.type, to);
        });
        held[t.id] = std::move(v);
    }

    void run()
    {
        if (!standin_in_device(workspace, workspace_bytes)) {
            standin_lose(cudaErrorIllegalAddress, "cudnnBackendExecute: workspace at %p is not inside of an allocation", (void *)workspace);
            return;
        }
        memset(workspace, 0xff, workspace_bytes);
        for (const step &s : steps)
            for (const tensor *t : s.tensors())
                if (!t->inner && !t->by_value && !inside(*t))
                    return;
        held.clear();
        for (const step &s : steps) {
            const bool back = s.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, filter = s.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
            if (convolutions.count(s.type) != 0) {
                static const numbers none;
                const numbers &x = back ? none : read(s.x), &w = filter ? none : read(s.w), &y = back || filter ? read(s.y) : none;
                write(s.out(), convolve(s, x, w, y));
                continue;
            }
            static const numbers none;
            const numbers &x = read(s.x), &second = s.w.id != 0 ? read(s.w) : none, &third = s.which.id != 0 ? read(s.which) : none;
            write(s.y, s.type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR      ? multiply(s, x, second)
                       : s.type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR ? reduce(s, x)
                       : s.type == CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR   ? turn(s, x)
                                                                                : pointwise(s, x, second, third));
        }
        held.clear();
    }
};

/* All that a graph is made of. */
bool lives(const descriptor *graph)
{
    if (!alive(graph))
        return false;
    for (int64_t i = 0; i < graph->values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).n; i++) {
        const descriptor *const op = graph->ref(CUDNN_ATTR_OPERATIONGRAPH_OPS, i);
        if (!alive(op))
            return false;
        for (const descriptor *t : tensors_of(op))
            if (!alive(t))
                return false;
    }
    return true;
}

cudnnStatus_t known(const void *p, const char *what)
{
    return alive((const descriptor *)p) ? CUDNN_STATUS_SUCCESS : refuse(CUDNN_STATUS_BAD_PARAM, "%s of a descriptor that was destroyed, or never made", what);
}

bool fails(const char *name, cudnnStatus_t usual, cudnnStatus_t *status)
{
    int number = usual;
    if (!standin_fails(name, &number))
        return false;
    *status = decline((cudnnStatus_t)number, "as STANDIN_FAIL wants it");
    return true;
}

} // namespace

extern "C" {

/* ---- the library ---- */

size_t cudnnGetVersion(void)
{
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (CUDNN_STATUS_CATEGORY(status)) {
    case CUDNN_STATUS_SUCCESS:
        return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_BAD_PARAM:
        return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_INTERNAL_ERROR:
        return "CUDNN_STATUS_INTERNAL_ERROR";
    case CUDNN_STATUS_EXECUTION_FAILED:
        return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
        return "CUDNN_STATUS_NOT_INITIALIZED";
    }
}

void cudnnGetLastErrorString(char *message, size_t size)
{
    snprintf(message, size, "%s", last_message.c_str());
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *out)
{
    cudnnStatus_t status;
    if (fails("cudnnCreate", CUDNN_STATUS_NOT_INITIALIZED, &status))
        return status;
    *out = new cudnnContext{};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- descriptors ---- */

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    const std::lock_guard held(lock);
    if (rules.count(type) == 0)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "descriptors of type %d are not known here", (int)type);
    auto *const d = new descriptor{.type = type};
    living().insert(d);
    *out = d;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t p)
{
    const std::lock_guard held(lock);
    CHECK(known(p, "cudnnBackendDestroyDescriptor"));
    living().erase((descriptor *)p);
    delete (descriptor *)p;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t p, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *values)
{
    const std::lock_guard held(lock);
    CHECK(known(p, "cudnnBackendSetAttribute"));
    descriptor *const d = (descriptor *)p;
    const std::vector<rule> &all = rules.at(d->type);
    const auto r = std::find_if(all.begin(), all.end(), [&](const rule &v) { return v.name == name; });
    if (d->done)
        return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d is set after the descriptor (type %d) is finalized", (int)name, (int)d->type);
    if (r == all.end())
        return refuse(CUDNN_STATUS_BAD_PARAM, "a descriptor of type %d has no attribute %d to be set", (int)d->type, (int)name);
    if (r->type != type)
        return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute %d is of type %d, not %d", (int)name, (int)r->type, (int)type);
    if (n < r->least || n > r->most || values == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d takes %" PRId64 " to %" PRId64 " values, not %" PRId64, (int)name, r->least, r->most, n);
    for (int64_t i = 0; i < n && type == CUDNN_TYPE_BACKEND_DESCRIPTOR; i++) {
        const descriptor *const other = ((const descriptor *const *)values)[i];
        CHECK(known(other, "cudnnBackendSetAttribute"));
        if (!other->done)
            return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute %d: a descriptor of type %d that is not finalized", (int)name, (int)other->type);
    }
    value &v = d->values[name];
    v.n = n;
    v.bytes.assign((const char *)values, (const char *)values + (size_t)n * size_of(type));
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t p)
{
    const std::lock_guard held(lock);
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    if (fails("cudnnBackendFinalize", CUDNN_STATUS_INTERNAL_ERROR, &status))
        return status;
    CHECK(known(p, "cudnnBackendFinalize"));
    descriptor *const d = (descriptor *)p;
    for (const rule &r : rules.at(d->type)) {
        if (r.needed && !d->has(r.name))
            return refuse(CUDNN_STATUS_BAD_PARAM, "a descriptor of type %d is finalized without attribute %d", (int)d->type, (int)r.name);
        for (int64_t i = 0; d->has(r.name) && r.type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < d->values[r.name].n; i++)
            CHECK(known(d->ref(r.name, i), "cudnnBackendFinalize"));
    }
    switch (d->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
        status = check_tensor(d);
        break;
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
        status = check_windows(d);
        break;
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
        status = check_convolution(d);
        break;
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
        status = check_pointwise(d);
        break;
    case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
        status = check_product(d);
        break;
    case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
        status = check_reduction(d);
        break;
    case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
        status = check_reshape(d);
        break;
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
        status = check_graph(d);
        break;
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
        status = answer(d);
        break;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
        status = check_plan(d);
        break;
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
        status = check_pack(d);
        break;
    default:
        break;
    }
    d->done = status == CUDNN_STATUS_SUCCESS;
    return status;
}

/* Fills descriptors that the caller made. */
static cudnnStatus_t hand_out(const descriptor *from, cudnnBackendDescriptorType_t type, const std::vector<engine> &all, int64_t asked, int64_t *n, void *values)
{
    *n = (int64_t)all.size();
    for (int64_t i = 0; i < asked && i < *n; i++) {
        descriptor *const to = ((descriptor **)values)[i];
        CHECK(known(to, "cudnnBackendGetAttribute"));
        if (to->type != type || to->done)
            return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a descriptor of type %d is to be filled, not a fresh one of type %d", (int)to->type, (int)type);
        to->which = all[(size_t)i];
        to->graph = from->graph;
        to->done = true;
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const p, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t asked, int64_t *n, void *values)
{
    const std::lock_guard held(lock);
    CHECK(known(p, "cudnnBackendGetAttribute"));
    const descriptor *const d = (const descriptor *)p;
    if (!d->done)
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute %d is read of a descriptor (type %d) that is not finalized", (int)name, (int)d->type);
    if (d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR && name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR && asked == 0) {
        *n = (int64_t)d->results.size() + UNWORKABLE;
        return CUDNN_STATUS_SUCCESS;
    }
    if (d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR && name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        return hand_out(d, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, d->results, asked, n, values);
    if (d->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR && name == CUDNN_ATTR_ENGINECFG_ENGINE && type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        return hand_out(d, CUDNN_BACKEND_ENGINE_DESCRIPTOR, {d->which}, asked, n, values);
    if (d->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR && name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && type == CUDNN_TYPE_NUMERICAL_NOTE) {
        const auto &all = notes[d->which];
        *n = (int64_t)all.size();
        std::copy_n(all.begin(), std::min(asked, *n), (cudnnBackendNumericalNote_t *)values);
        return CUDNN_STATUS_SUCCESS;
    }
    if (d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64 && asked == 1) {
        *n = 1;
        *(int64_t *)values = workspace_of(d->ref(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG));
        return CUDNN_STATUS_SUCCESS;
    }
    return refuse(CUDNN_STATUS_BAD_PARAM, "a descriptor of type %d has no attribute %d of type %d to be read", (int)d->type, (int)name, (int)type);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack)
{
    const std::lock_guard held(lock);
    cudnnStatus_t status;
    if (fails("cudnnBackendExecute", CUDNN_STATUS_EXECUTION_FAILED, &status))
        return status;
    CHECK(known(plan, "cudnnBackendExecute"));
    CHECK(known(pack, "cudnnBackendExecute"));
    const descriptor *const p = (const descriptor *)plan, *const v = (const descriptor *)pack;
    if (p->type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR || v->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR || !p->done || !v->done)
        return refuse(CUDNN_STATUS_BAD_PARAM, "no finalized plan and variant pack");
    const descriptor *const config = p->ref(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (!alive(config) || !lives(config->graph))
        return refuse(CUDNN_STATUS_BAD_PARAM, "something that the plan was made of is no more");
    auto run = std::make_shared<program>();
    run->which = config->which;
    run->steps = steps_of(config->graph);
    run->workspace_bytes = (size_t)workspace_of(config);
    for (int64_t i = 0; i < v->values.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).n; i++)
        run->data[v->get<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, i)] = v->get<char *>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, i);
    size_t used = 0;
    std::set<int64_t> seen;
    for (const step &s : run->steps)
        for (const tensor *t : s.tensors()) {
            if (t->inner || !seen.insert(t->id).second)
                continue;
            used++;
            if (run->data.count(t->id) == 0 || run->data[t->id] == nullptr)
                return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no data for tensor %" PRId64, t->id);
            if (t->by_value)
                run->values[t->id] = {load(t->type, run->data[t->id])};
            else if ((uintptr_t)run->data[t->id] % (uintptr_t)t->align != 0)
                return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "tensor %" PRId64 " at %p is not a multiple of %" PRId64, t->id, (void *)run->data[t->id], t->align);
        }
    if (used != run->data.size())
        return refuse(CUDNN_STATUS_BAD_PARAM, "data for %zu tensors, of which the graph has %zu", run->data.size(), used);
    run->workspace = v->has(CUDNN_ATTR_VARIANT_PACK_WORKSPACE) ? v->get<char *>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE) : nullptr;
    if (run->workspace == nullptr)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no workspace");
    return standin_queue(handle->stream, [run] { run->run(); }) == cudaSuccess ? CUDNN_STATUS_SUCCESS : decline(CUDNN_STATUS_EXECUTION_FAILED_CUDART, "the stream takes no work");
}

} // extern "C"
