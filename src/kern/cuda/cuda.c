/* The device of this process: opening it, its memory as a space, the translation of its errors. */
#include "kern/cuda/cuda_int.h"

#include "base/mem.h"
#include "base/thread.h"
#include "kern/cuda/device.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

/* The oldest architecture that the module is built for. */
enum { OLDEST_MAJOR = 8, OLDEST_MINOR = 0 };

lki_cuda lki_cuda_device;

/* ---- errors ---- */

lk_status lki_cuda_status(cudaError_t e, const char *what, const char *file, int line, const char *func)
{
    if (e == cudaSuccess)
        return LK_OK;
    const size_t name = strcspn(what, "(");
    return lk_err_set(e == cudaErrorMemoryAllocation ? LK_E_NOMEM : LK_E_DEVICE, file, line, func, "GPU %d: %.*s: %s (%s)", lki_cuda_device.device, (int)name, what,
        cudaGetErrorString(e), cudaGetErrorName(e));
}

lk_status lki_cublas_status(cublasStatus_t e, const char *what, const char *file, int line, const char *func)
{
    if (e == CUBLAS_STATUS_SUCCESS)
        return LK_OK;
    const size_t name = strcspn(what, "(");
    return lk_err_set(e == CUBLAS_STATUS_ALLOC_FAILED ? LK_E_NOMEM : LK_E_LIBRARY, file, line, func, "GPU %d: %.*s: %s", lki_cuda_device.device, (int)name, what, cublasLtGetStatusString(e));
}

void lki_cuda_defer(lk_status st)
{
    if (st == LK_OK || lki_cuda_device.failed != LK_OK)
        return;
    lki_cuda_device.failed = st;
    lki_cuda_device.why = *lk_err_last();
}

static lk_status deferred(void)
{
    return lki_cuda_device.failed == LK_OK ? LK_OK : lk_err_give(&lki_cuda_device.why);
}

/* ---- memory ---- */

static lk_status alloc(size_t bytes, const char *what, void **out)
{
    size_t available = 0, total = 0;
    void *p = NULL;
    const cudaError_t e = cudaMalloc(&p, bytes);

    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* it does not stick, but is told again */
        LK_TRY(LK_CUDA(cudaMemGetInfo(&available, &total)));
        return LK_FAIL(LK_E_NOMEM, "%s: %zu bytes are wanted, GPU %d has %zu of %zu left: lower train.batch, raise train.microbatches, set train.activation_memory, or train.precision: bf16", what, bytes, lki_cuda_device.device, available, total);
    }
    LK_TRY(lki_cuda_status(e, "cudaMalloc", __FILE__, __LINE__, __func__));
    const lk_status st = LK_CUDA(cudaMemsetAsync(p, 0, bytes, lki_cuda_device.queue));
    if (st != LK_OK) {
        cudaFree(p);
        return st;
    }
    *out = p;
    return LK_OK;
}

static void release(void *p)
{
    lki_cuda_defer(LK_CUDA(cudaFree(p))); /* waits for what is queued */
}

static lk_status alloc_pinned(size_t bytes, const char *what, void **out)
{
    void *p = NULL;

    if (cudaMallocHost(&p, bytes) != cudaSuccess) {
        (void)cudaGetLastError();
        return LK_FAIL(LK_E_NOMEM, "%s: %zu bytes of pinned host memory cannot be had (ulimit -l)", what, bytes);
    }
    memset(p, 0, bytes);
    *out = p;
    return LK_OK;
}

static void release_pinned(void *p)
{
    lki_cuda_defer(LK_CUDA(cudaFreeHost(p)));
}

static lk_status room(int64_t *available, int64_t *total)
{
    size_t a = 0, t = 0;

    LK_TRY(LK_CUDA(cudaMemGetInfo(&a, &t)));
    *available = (int64_t)a;
    *total = (int64_t)t;
    return LK_OK;
}

/* ---- the queue ---- */

/* "Not ready" is an answer and no failure; but CUDA keeps it, and the next launch would take it for its own. */
static cudaError_t answer(cudaError_t e)
{
    if (e == cudaErrorNotReady)
        (void)cudaGetLastError();
    return e;
}

/* Questions before the core is offered to others: what is nearly done is not worth a turn of theirs. */
enum { PROMPT = 4 };

/* Asks in place of sleeping in the driver, so that a failure elsewhere ends the wait. Yields: other ranks may share the core. */
static lk_status wait_for(cudaError_t (*query)(void *what), void *what)
{
    const lki_cuda *d = &lki_cuda_device;
    int64_t asked = 0;

    LK_TRY(deferred());
    for (;;) {
        const cudaError_t e = query(what);
        if (e != cudaErrorNotReady)
            return lki_cuda_status(e, "a kernel or copy that was queued", __FILE__, __LINE__, __func__);
        if (++asked % 256 == 0 && d->watch != NULL)
            LK_TRY(d->watch(d->watch_arg));
        if (asked > PROMPT)
            sched_yield();
    }
}

static cudaError_t query_queue(void *what)
{
    (void)what;
    return answer(cudaStreamQuery(lki_cuda_device.queue));
}

static cudaError_t query_event(void *what)
{
    return answer(cudaEventQuery((cudaEvent_t)what));
}

static lk_status wait_queue(void)
{
    return wait_for(query_queue, NULL);
}

static bool is_pinned(const void *p)
{
    struct cudaPointerAttributes a;

    if (cudaPointerGetAttributes(&a, p) == cudaSuccess)
        return a.type == cudaMemoryTypeHost;
    (void)cudaGetLastError();
    return false;
}

static lk_status copy(void *to, const void *from, size_t bytes, lk_copy kind)
{
    static const enum cudaMemcpyKind kinds[] = {
        [LK_COPY_IN] = cudaMemcpyHostToDevice,
        [LK_COPY_OUT] = cudaMemcpyDeviceToHost,
        [LK_COPY_LATER] = cudaMemcpyDeviceToHost,
        [LK_COPY_WITHIN] = cudaMemcpyDeviceToDevice,
    };

    if (kind == LK_COPY_OUT) /* to memory that is not pinned CUDA waits by itself, and asks no one whether what it waits for will come */
        LK_TRY(wait_queue());
    LK_TRY(LK_CUDA(cudaMemcpyAsync(to, from, bytes, kinds[kind], lki_cuda_device.queue)));
    /* CUDA does not promise to have read memory that is not pinned when it returns: a GPU that reaches it itself may do so later. */
    return kind == LK_COPY_OUT || (kind == LK_COPY_IN && !is_pinned(from)) ? wait_queue() : LK_OK;
}

static lk_status copy_ahead(void *to, const void *from, size_t bytes, lk_mark *after)
{
    const lki_cuda *d = &lki_cuda_device;

    LK_TRY(LK_CUDA(cudaStreamWaitEvent(d->copies, (cudaEvent_t)after, 0)));
    return LK_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, d->copies));
}

static lk_status join(void)
{
    const lki_cuda *d = &lki_cuda_device;

    LK_TRY(LK_CUDA(cudaEventRecord(d->copied, d->copies)));
    return LK_CUDA(cudaStreamWaitEvent(d->queue, d->copied, 0));
}

static lk_status zero(void *p, size_t bytes)
{
    return LK_CUDA(cudaMemsetAsync(p, 0, bytes, lki_cuda_device.queue));
}

/* A mark is an event. */
static lk_status mark_create(lk_mark **out)
{
    cudaEvent_t e;

    LK_TRY(LK_CUDA(cudaEventCreateWithFlags(&e, cudaEventDisableTiming)));
    *out = (lk_mark *)e;
    return LK_OK;
}

static void mark_destroy(lk_mark *m)
{
    lki_cuda_defer(LK_CUDA(cudaEventDestroy((cudaEvent_t)m)));
}

static lk_status mark_set(lk_mark *m)
{
    return LK_CUDA(cudaEventRecord((cudaEvent_t)m, lki_cuda_device.queue));
}

static lk_status mark_test(lk_mark *m, bool *reached)
{
    const cudaError_t e = answer(cudaEventQuery((cudaEvent_t)m));

    *reached = e == cudaSuccess;
    return e == cudaErrorNotReady ? LK_OK : lki_cuda_status(e, "a kernel or copy that was queued", __FILE__, __LINE__, __func__);
}

static lk_status mark_wait(lk_mark *m)
{
    return wait_for(query_event, m);
}

/* Recorded work is a graph. */
static lk_status record_begin(void)
{
    return LK_CUDA(cudaStreamBeginCapture(lki_cuda_device.queue, cudaStreamCaptureModeThreadLocal));
}

static lk_status record_end(lk_work **out)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;

    LK_TRY(LK_CUDA(cudaStreamEndCapture(lki_cuda_device.queue, &graph)));
    const lk_status st = LK_CUDA(cudaGraphInstantiate(&exec, graph, 0));
    cudaGraphDestroy(graph);
    if (st == LK_OK)
        *out = (lk_work *)exec;
    return st;
}

static lk_status replay(lk_work *w)
{
    return LK_CUDA(cudaGraphLaunch((cudaGraphExec_t)w, lki_cuda_device.queue));
}

static void work_destroy(lk_work *w)
{
    lki_cuda_defer(LK_CUDA(cudaGraphExecDestroy((cudaGraphExec_t)w)));
}

const lk_space lki_space_cuda = {
    .name = "cuda",
    .alloc = alloc,
    .free = release,
    .alloc_pinned = alloc_pinned,
    .free_pinned = release_pinned,
    .room = room,
    .copy = copy,
    .copy_ahead = copy_ahead,
    .join = join,
    .zero = zero,
    .sum = lki_cuda_sum,
    .mark_create = mark_create,
    .mark_destroy = mark_destroy,
    .mark_set = mark_set,
    .mark_test = mark_test,
    .mark_wait = mark_wait,
    .wait = wait_queue,
    .record_begin = record_begin,
    .record_end = record_end,
    .replay = replay,
    .work_destroy = work_destroy,
};

/* ---- GPUs ---- */

lk_status lk_cuda_count(int *n)
{
    const cudaError_t e = cudaGetDeviceCount(n);

    if (e == cudaSuccess && *n > 0)
        return LK_OK;
    (void)cudaGetLastError();
    return LK_FAIL(LK_E_UNSUPPORTED, "no GPU can be used: %s", e == cudaSuccess ? "there is none" : cudaGetErrorString(e));
}

lk_status lk_cuda_describe(int i, lk_cuda_gpu *out)
{
    struct cudaDeviceProp p;

    LK_TRY(LK_CUDA(cudaGetDeviceProperties(&p, i)));
    *out = (lk_cuda_gpu){.major = p.major, .minor = p.minor, .memory = (int64_t)p.totalGlobalMem, .processors = p.multiProcessorCount};
    snprintf(out->name, sizeof out->name, "%s", p.name);
    return LK_CUDA(cudaDeviceGetPCIBusId(out->bus, (int)sizeof out->bus, i));
}

bool lk_cuda_peer(int a, int b)
{
    int can = 0;

    return cudaDeviceCanAccessPeer(&can, a, b) == cudaSuccess && can != 0;
}

void lk_cuda_library_versions(lk_cuda_versions *out)
{
    *out = (lk_cuda_versions){.cublas = (int)cublasLtGetVersion(), .cudnn = lki_cudnn_version(), .without_cudnn = !lki_cudnn_wanted()};
    if (cudaDriverGetVersion(&out->driver) != cudaSuccess)
        out->driver = 0;
    if (cudaRuntimeGetVersion(&out->runtime) != cudaSuccess)
        out->runtime = 0;
}

lk_status lk_cuda_open(int i, lk_precision precision, const lk_backend **out)
{
    lki_cuda *d = &lki_cuda_device;
    lk_cuda_gpu gpu;

    LK_BUG_IF(d->queue != NULL && d->device != i, "a second GPU in one process");
    if (d->queue == NULL) {
        d->device = i;
        LK_TRY(LK_CUDA(cudaSetDevice(i)));
        LK_TRY(lk_cuda_describe(i, &gpu));
        if (gpu.major < OLDEST_MAJOR || (gpu.major == OLDEST_MAJOR && gpu.minor < OLDEST_MINOR))
            return LK_FAIL(LK_E_UNSUPPORTED, "GPU %d (%s) has compute capability %d.%d; this module was built for %d.%d and newer", i, gpu.name, gpu.major, gpu.minor, OLDEST_MAJOR, OLDEST_MINOR);
        LK_TRY(LK_CUBLAS(cublasLtCreate(&d->lt)));
        LK_TRY(LK_CUDA(cudaMalloc(&d->workspace, LK_CUDA_WORKSPACE_BYTES)));
        d->workspace_bytes = LK_CUDA_WORKSPACE_BYTES;
        LK_TRY(LK_CUDA(cudaStreamCreateWithFlags(&d->copies, cudaStreamNonBlocking)));
        LK_TRY(LK_CUDA(cudaEventCreateWithFlags(&d->copied, cudaEventDisableTiming)));
        LK_TRY(LK_CUDA(cudaStreamCreateWithFlags(&d->queue, cudaStreamNonBlocking)));
    }
    d->tf32 = precision == LK_PRECISION_TF32;
    *out = lki_cuda_backend(precision == LK_PRECISION_BF16 ? LKI_BF16 : precision == LK_PRECISION_FP16 ? LKI_F16 : LKI_F32);
    return LK_OK;
}

void *lk_cuda_queue(void)
{
    return lki_cuda_device.queue;
}

const lk_space *lk_cuda_space(void)
{
    return &lki_space_cuda;
}

void lk_cuda_watch(lk_status (*watch)(void *arg), void *arg)
{
    lki_cuda_device.watch = watch;
    lki_cuda_device.watch_arg = arg;
}
