/* Has cuDNN itself an engine for the graphs that the module makes? It is asked without a GPU: the device is told as its properties. Such plans come as far as
 * the driver, which is not there, and are never run. What stands between the module's sources, which are part of this program, and the library is below: it
 * puts the properties in place of the handle. Skipped where the library is not. */
#include "kern/cuda/attention_cudnn.h"
#include "kern/cuda/cudnn_graph.h"
#include "kern/cuda/device.h"
#include "kern/harness.h"

#include <dlfcn.h>
#include <stdlib.h>

lki_cuda lki_cuda_device;

static struct {
    size_t (*version)(void);
    const char *(*text)(cudnnStatus_t);
    void (*message)(char *, size_t);
    cudnnStatus_t (*create)(cudnnBackendDescriptorType_t, cudnnBackendDescriptor_t *);
    cudnnStatus_t (*destroy)(cudnnBackendDescriptor_t);
    cudnnStatus_t (*set)(cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, int64_t, const void *);
    cudnnStatus_t (*get)(cudnnBackendDescriptor_t const, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, int64_t, int64_t *, void *);
    cudnnStatus_t (*finalize)(cudnnBackendDescriptor_t);
} real;
static cudnnBackendDescriptor_t device;
static int major;
enum { WORKSPACE = 128 << 20, OLDEST = 91600 };

/* ---- in front of the library ---- */

lk_status lk_cuda_describe(int i, lk_cuda_gpu *out)
{
    (void)i;
    *out = (lk_cuda_gpu){.major = major};
    return LK_OK;
}

size_t cudnnGetVersion(void)
{
    return real.version();
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return real.text(status);
}

void cudnnGetLastErrorString(char *message, size_t size)
{
    real.message(message, size);
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *out)
{
    *out = (cudnnHandle_t)&device;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    (void)handle, (void)stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    return real.create(type, out);
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    return real.destroy(d);
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    if (name == CUDNN_ATTR_OPERATIONGRAPH_HANDLE)
        return CUDNN_STATUS_SUCCESS;
    if (name == CUDNN_ATTR_EXECUTION_PLAN_HANDLE)
        return real.set(d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    if (name == CUDNN_ATTR_ENGINEHEUR_MODE) {
        const cudnnStatus_t status = real.set(d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
        if (status != CUDNN_STATUS_SUCCESS)
            return status;
    }
    return real.set(d, name, type, n, value);
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t asked, int64_t *n, void *value)
{
    const cudnnStatus_t status = real.get(d, name, type, asked, n, value);

    if (name != CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE || status == CUDNN_STATUS_SUCCESS)
        return status;
    *(int64_t *)value = WORKSPACE; /* of a plan that lacks the driver */
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d)
{
    const cudnnStatus_t status = real.finalize(d);
    return status == CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER ? CUDNN_STATUS_SUCCESS : status;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack)
{
    (void)handle, (void)plan, (void)pack;
    return CUDNN_STATUS_NOT_SUPPORTED;
}

/* ---- devices ---- */

#define DEVICE(name, version, processors, shared, memory) \
    "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,\"multiProcessorCount\":" processors \
    ",\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":" shared \
    ",\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048," \
    "\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem\":" memory \
    ",\"smClockRateKHz\":1980000,\"memClockRateKHz\":3201000,\"l2CacheSize\":62914560,\"cudaDeviceId\":0,\"deviceVer\":" version ",\"driverVer\":13000,\"deviceName\":\"" name "\"}"

static const struct {
    int major;
    const char *properties;
} devices[] = {
    {8, DEVICE("NVIDIA A100-SXM4-80GB", "800", "108", "166912", "85000000000")},
    {9, DEVICE("NVIDIA H200", "900", "132", "232448", "150000000000")},
};
enum { DEVICES = sizeof devices / sizeof devices[0] };

static void *find(void *from, const char *name)
{
    void *const f = dlsym(from, name);

    cr_assert(f != NULL, "%s", name);
    return f;
}

static void open_library(void)
{
    /* The driver's stub, where there is no driver: the library finds it by its name. */
    void *const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL), *const stub = driver != NULL ? driver : dlopen(LK_TEST_DRIVER, RTLD_NOW | RTLD_GLOBAL);
    void *const from = dlopen(LK_TEST_CUDNN, RTLD_NOW | RTLD_LOCAL);

    if (from == NULL || stub == NULL)
        cr_skip_test("cuDNN cannot be loaded: %s", dlerror());
    *(void **)&real.version = find(from, "cudnnGetVersion");
    *(void **)&real.text = find(from, "cudnnGetErrorString");
    *(void **)&real.message = find(from, "cudnnGetLastErrorString");
    *(void **)&real.create = find(from, "cudnnBackendCreateDescriptor");
    *(void **)&real.destroy = find(from, "cudnnBackendDestroyDescriptor");
    *(void **)&real.set = find(from, "cudnnBackendSetAttribute");
    *(void **)&real.get = find(from, "cudnnBackendGetAttribute");
    *(void **)&real.finalize = find(from, "cudnnBackendFinalize");
    unsetenv("LOCKSTEP_CUDNN");
}

static void pretend(int i)
{
    const char *const properties = devices[i].properties;

    major = devices[i].major;
    cr_assert(real.create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &device) == CUDNN_STATUS_SUCCESS);
    cr_assert(real.set(device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(properties), properties) == CUDNN_STATUS_SUCCESS);
    cr_assert(real.finalize(device) == CUDNN_STATUS_SUCCESS);
}

/* ---- attention ---- */

static lki_attention_sizes packed(int64_t batch, int64_t heads, int64_t kv_heads, int64_t places, int64_t d, bool causal)
{
    const int64_t row = (heads + 2 * kv_heads) * d;
    const lki_vectors v = {places * row, d, row};
    return (lki_attention_sizes){batch, heads, kv_heads, places, places, d, causal, v, v, v};
}

Test(cudnn_plans, attention, .init = open_library)
{
    const lki_attention_sizes sizes[] = {
        packed(8, 12, 12, 1024, 64, true),
        packed(64, 6, 6, 197, 64, false),
        packed(2, 16, 4, 2048, 128, true),
        packed(4, 2, 1, 77, 40, true),
        {4, 8, 8, 65, 300, 64, false, {65 * 512, 64, 512}, {300 * 1024, 64, 1024}, {300 * 1024, 64, 1024}},
        {2, 8, 2, 512, 512, 64, true, {8 * 512 * 64, 512 * 64, 64}, {2 * 512 * 64, 512 * 64, 64}, {512 * 768, 64, 768}}, /* rotary: turned vectors lie apart */
    };

    if (cudnnGetVersion() < OLDEST)
        cr_skip_test("cuDNN %zu is too old for it", cudnnGetVersion());
    /* Each plan takes part of a second, in which the library compiles. */
    for (int i = 0; i < DEVICES; i++) {
        pretend(i);
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
            for (int part = k == 0 ? LKI_ATTENTION_ALONE : LKI_ATTENTION_FORWARD; part <= LKI_ATTENTION_BACKWARD; part++) {
                const lki_type t = k % 2 == 0 ? LKI_BF16 : LKI_F16;
                lki_attention_cudnn *p = NULL;
                KERN_OK(lki_attention_cudnn_create(&sizes[k], t, (lki_attention_part)part, &p));
                cr_expect(p != NULL, "device %d, sizes %zu, part %d: none", i, k, part);
                lki_attention_cudnn_destroy(&p);
            }
        real.destroy(device);
    }
}
