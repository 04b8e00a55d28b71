/* The stand-in itself: that it does what CUDA does, and that it finds what it is there to find. */
#include "standin/simt.h"

#include <cmath>
#include <criterion/criterion.h>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#define OK(call) \
    do { \
        const cudaError_t e_ = (call); \
        cr_assert(e_ == cudaSuccess, "%s: %s", #call, cudaGetErrorName(e_)); \
    } while (0)
#define FAILS(call, error) \
    do { \
        const cudaError_t e_ = (call); \
        cr_assert(e_ == (error), "%s: %s in place of %s", #call, cudaGetErrorName(e_), #error); \
    } while (0)

template <class T> static T *device(size_t n)
{
    void *p = nullptr;
    OK(cudaMalloc(&p, n * sizeof(T)));
    return static_cast<T *>(p);
}

template <class T> static T *pinned(size_t n)
{
    void *p = nullptr;
    OK(cudaMallocHost(&p, n * sizeof(T)));
    return static_cast<T *>(p);
}

template <class T> static std::vector<T> read(const T *p, size_t n)
{
    std::vector<T> v(n);
    OK(cudaDeviceSynchronize());
    OK(cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
    return v;
}

static cudaStream_t stream()
{
    cudaStream_t s;
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
}

/* Destroyed at the end of the test. */
struct event {
    cudaEvent_t e = nullptr;
    explicit event(unsigned flags = cudaEventDisableTiming)
    {
        OK(cudaEventCreateWithFlags(&e, flags));
    }
    ~event()
    {
        cudaEventDestroy(e);
    }
    event(const event &) = delete;
    operator cudaEvent_t() const
    {
        return e;
    }
};

/* ---- kernels ---- */
static __global__ void number_threads(unsigned *out)
{
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1000 * block + thread;
}

Test(standin, every_thread_of_every_block)
{
    const dim3 grid(3, 2, 2), block(5, 3, 2);
    unsigned *out = device<unsigned>(360);
    OK(cudaMemset(out, 0, 360 * 4));
    OK(standin_launch(number_threads, grid, block, 0, nullptr, out));
    const auto v = read(out, 360);
    for (unsigned i = 0; i < 360; i++)
        cr_assert(v[i] == 1000 * (i / 30) + i % 30, "%u: %u", i, v[i]);
}

/* Each thread takes its neighbour's number, again and again. */
static __global__ void turn(int times, int *out)
{
    __shared__ int s[2][1024];
    const int n = (int)blockDim.x, t = (int)threadIdx.x;
    s[0][t] = t;
    for (int i = 0; i < times; i++) {
        __syncthreads();
        s[(i + 1) % 2][t] = s[i % 2][(t + 1) % n];
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = s[times % 2][t];
}

Test(standin, barriers)
{
    for (int n : {1, 31, 32, 33, 1000, 1024}) {
        int *out = device<int>(3 * (size_t)n);
        for (int times : {0, 1, 2, 70}) {
            OK(standin_launch(turn, dim3(3), dim3((unsigned)n), 0, nullptr, times, out));
            const auto v = read(out, 3 * (size_t)n);
            for (int i = 0; i < 3 * n; i++)
                cr_assert(v[(size_t)i] == (i % n + times) % n, "%d threads, %d times, %d: %d", n, times, i, v[(size_t)i]);
        }
        OK(cudaFree(out));
    }
}

/* Some end early: the rest still have their barrier. */
static __global__ void some_end(int *out)
{
    __shared__ int count;
    if (threadIdx.x == 0)
        count = 0;
    __syncthreads();
    if (threadIdx.x % 3 == 0)
        return;
    atomicAdd(&count, 1);
    __syncthreads();
    out[threadIdx.x] = count;
}

Test(standin, barrier_of_those_that_live)
{
    int *out = device<int>(96);
    OK(cudaMemset(out, 0, 96 * 4));
    OK(standin_launch(some_end, dim3(1), dim3(96), 0, nullptr, out));
    const auto v = read(out, 96);
    for (size_t i = 0; i < 96; i++)
        cr_assert(v[i] == (i % 3 ? 64 : 0));
}

struct lane_results {
    double sum[64];
    int xor5[64], up[64], down[64], third[64], segment[64];
    long long wide[64];
    float f[64];
    unsigned ballot[64];
    int any[64], all[64];
};
static __global__ void shuffles(lane_results *r)
{
    const int t = (int)threadIdx.x, lane = t % 32;
    double sum = lane;
    for (int d = 16; d > 0; d /= 2)
        sum += __shfl_xor_sync(~0u, sum, d);
    r->sum[t] = sum;
    r->xor5[t] = __shfl_xor_sync(~0u, t, 5);
    r->up[t] = __shfl_up_sync(~0u, t, 3u);
    r->down[t] = __shfl_down_sync(~0u, t, 3u, 8);
    r->third[t] = __shfl_sync(~0u, t, 3);
    r->segment[t] = __shfl_sync(~0u, t, 3, 8);
    r->wide[t] = __shfl_sync(~0u, (1ll << 40) + t, 31);
    r->f[t] = __shfl_xor_sync(~0u, (float)t, 1);
    r->ballot[t] = __ballot_sync(~0u, lane % 3 == 0);
    r->any[t] = __any_sync(~0u, t == 40);
    r->all[t] = __all_sync(~0u, t < 32);
    if (lane < 8) /* half of a warp by itself */
        r->xor5[t] += __shfl_xor_sync(0xffu, 100, 1);
    __syncwarp();
}

Test(standin, shuffles)
{
    auto *d = device<lane_results>(1);
    OK(standin_launch(shuffles, dim3(1), dim3(64), 0, nullptr, d));
    const lane_results r = read(d, 1)[0];
    for (int t = 0; t < 64; t++) {
        const int lane = t % 32, first = t - lane;
        cr_assert(r.sum[t] == 496);
        cr_assert(r.xor5[t] == first + (lane ^ 5) + (lane < 8 ? 100 : 0));
        cr_assert(r.up[t] == (lane < 3 ? t : t - 3));
        cr_assert(r.down[t] == (lane % 8 + 3 > 7 ? t : t + 3));
        cr_assert(r.third[t] == first + 3);
        cr_assert(r.segment[t] == t / 8 * 8 + 3);
        cr_assert(r.wide[t] == (1ll << 40) + first + 31);
        cr_assert(r.f[t] == (float)(first + (lane ^ 1)));
        cr_assert(r.ballot[t] == 0x49249249u);
        cr_assert(r.any[t] == (t >= 32));
        cr_assert(r.all[t] == (t < 32));
    }
}

/* ---- what it is there to find ---- */
static __global__ void half_waits(int *out)
{
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncwarp(0xffff0000u);
    if (threadIdx.x >= 16)
        __syncthreads();
    out[threadIdx.x] = 1;
}
static __global__ void ended_lane(int *out)
{
    if (threadIdx.x == 7)
        return;
    out[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
}
static __global__ void no_such_lane(int *out)
{
    out[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
}
static __global__ void waits_for_ever(int *out)
{
    if (threadIdx.x == 0)
        __syncthreads();
    else
        __syncwarp();
    out[threadIdx.x] = 1;
}
static __global__ void outside_of_mask(int *out)
{
    out[threadIdx.x] = threadIdx.x < 4 ? __shfl_sync(0xfu, 1, 20) : 0;
}

static __global__ void wide_access(int *out)
{
    standin_aligned(out + 4, 16);
    standin_aligned(out + 2, 16);
}

static void expect_loss(void (*k)(int *), unsigned threads)
{
    int *out = device<int>(64);
    OK(standin_launch(k, dim3(2), dim3(threads), 0, nullptr, out));
    FAILS(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    /* It stays so. */
    FAILS(cudaGetLastError(), cudaErrorLaunchFailure);
    FAILS(cudaGetLastError(), cudaErrorLaunchFailure);
    void *p;
    FAILS(cudaMalloc(&p, 16), cudaErrorLaunchFailure);
}
Test(standin, different_barriers)
{
    expect_loss(half_waits, 32);
}
Test(standin, shuffle_with_an_ended_lane)
{
    expect_loss(ended_lane, 32);
}
Test(standin, shuffle_in_a_part_of_a_warp)
{
    expect_loss(no_such_lane, 48);
}
Test(standin, access_that_is_not_aligned)
{
    expect_loss(wide_access, 32);
}
Test(standin, threads_that_wait_for_each_other)
{
    expect_loss(waits_for_ever, 32);
}
Test(standin, shuffle_from_outside_of_the_mask)
{
    expect_loss(outside_of_mask, 32);
}

/* Without a barrier: right in one order of threads, wrong in the other. */
static __global__ void neighbour(bool left, int *out)
{
    __shared__ int s[64];
    s[threadIdx.x] = (int)threadIdx.x;
    out[blockIdx.x * 64 + threadIdx.x] = s[left ? (threadIdx.x + 63) % 64 : (threadIdx.x + 1) % 64];
}
Test(standin, missing_barrier)
{
    int *out = device<int>(128);
    for (bool left : {true, false}) {
        OK(standin_launch(neighbour, dim3(2), dim3(64), 0, nullptr, left, out));
        const auto v = read(out, 128);
        int wrong = 0;
        for (int i = 0; i < 128; i++)
            wrong += v[(size_t)i] != (left ? (i + 63) % 64 : (i + 1) % 64);
        cr_assert(wrong > 0);
    }
}

static __global__ void read_shared(float *out)
{
    __shared__ float s[2];
    float *d = (float *)standin_shared();
    if (threadIdx.x == 0 && blockIdx.x == 0)
        s[0] = d[0] = 1;
    out[3 * blockIdx.x] = s[0];
    out[3 * blockIdx.x + 1] = d[0];
    out[3 * blockIdx.x + 2] = d[1];
    s[0] = d[0] = 1;
}
Test(standin, shared_memory_is_nan_in_each_block)
{
    float *out = device<float>(9);
    for (int again = 0; again < 2; again++) {
        OK(standin_launch(read_shared, dim3(3), dim3(1), 8, nullptr, out));
        const auto v = read(out, 9);
        for (size_t i = 0; i < 9; i++)
            cr_assert(i < 2 ? v[i] == 1 : std::isnan(v[i]), "%zu: %g", i, v[i]);
    }
}

static __global__ void nothing(int)
{
}
Test(standin, launches_that_cannot_be)
{
    FAILS(standin_launch(nothing, dim3(0), dim3(32), 0, nullptr, 1), cudaErrorInvalidConfiguration);
    FAILS(cudaGetLastError(), cudaErrorInvalidConfiguration);
    FAILS(cudaGetLastError(), cudaSuccess);
    FAILS(standin_launch(nothing, dim3(1), dim3(1025), 0, nullptr, 1), cudaErrorInvalidConfiguration);
    FAILS(standin_launch(nothing, dim3(1), dim3(0), 0, nullptr, 1), cudaErrorInvalidConfiguration);
    FAILS(standin_launch(nothing, dim3(1, 65536), dim3(1), 0, nullptr, 1), cudaErrorInvalidConfiguration);
    FAILS(standin_launch(nothing, dim3(1), dim3(1), (48 << 10) + 1, nullptr, 1), cudaErrorInvalidValue);
    OK(cudaFuncSetAttribute((const void *)nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10));
    OK(standin_launch(nothing, dim3(1), dim3(1), 64 << 10, nullptr, 1));
    OK(cudaDeviceSynchronize());
}

struct holds_pointer {
    int n;
    const float *p;
};
static __global__ void takes_struct(holds_pointer)
{
}
static __global__ void takes_pointer(const float *)
{
}
Test(standin, host_pointers_in_arguments)
{
    const std::vector<float> v(3);
    float *d = device<float>(3), *h = pinned<float>(3);
    OK(standin_launch(takes_pointer, dim3(1), dim3(1), 0, nullptr, d + 3));
    OK(standin_launch(takes_pointer, dim3(1), dim3(1), 0, nullptr, h));
    OK(standin_launch(takes_pointer, dim3(1), dim3(1), 0, nullptr, nullptr));
    OK(standin_launch(takes_struct, dim3(1), dim3(1), 0, nullptr, holds_pointer{1, d}));
    FAILS(standin_launch(takes_pointer, dim3(1), dim3(1), 0, nullptr, v.data()), cudaErrorInvalidValue);
    FAILS(standin_launch(takes_struct, dim3(1), dim3(1), 0, nullptr, holds_pointer{1, v.data()}), cudaErrorInvalidValue);
}

/* ---- memory ---- */
#if defined(__SANITIZE_ADDRESS__)
#define DIES .exit_code = 1 /* that of the sanitizer, which says where */
#else
#define DIES .signal = SIGSEGV
#endif
Test(standin, host_reads_device_memory, DIES)
{
    volatile int *p = device<int>(1);
    cr_assert(*p != 0);
}
Test(standin, host_writes_device_memory_after_work, DIES)
{
    int *p = device<int>(1);
    OK(cudaMemset(p, 0, 4));
    OK(cudaDeviceSynchronize());
    *(volatile int *)p = 1;
}
static __global__ void touch(int *p, int64_t i)
{
    p[i] = 1;
}
Test(standin, kernel_writes_past_the_end, DIES)
{
    int *p = device<int>(64);
    OK(standin_launch(touch, dim3(1), dim3(1), 0, nullptr, p, 64));
    cudaDeviceSynchronize();
}
Test(standin, kernel_writes_freed_memory, DIES)
{
    int *p = device<int>(64);
    OK(cudaFree(p));
    OK(standin_launch(touch, dim3(1), dim3(1), 0, nullptr, p, 0));
    cudaDeviceSynchronize();
}
Test(standin, writes_beside_an_allocation_are_found_when_it_is_freed)
{
    int *p = device<int>(3);
    OK(standin_launch(touch, dim3(1), dim3(1), 0, nullptr, p, 3));
    FAILS(cudaFree(p), cudaErrorIllegalAddress);
}

Test(standin, memory_is_not_zero_and_aligned)
{
    for (size_t n : {1, 255, 256, 257, 5000}) {
        auto *p = device<unsigned char>(n);
        cr_assert((uintptr_t)p % 256 == 0);
        for (unsigned char c : read(p, n))
            cr_assert(c == 0xC3);
    }
}
Test(standin, copies_are_checked)
{
    char host[64] = {};
    char *d = device<char>(64);
    FAILS(cudaMemcpy(d + 1, host, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    FAILS(cudaMemcpy(d, host, 64, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
    FAILS(cudaMemcpy(host, d, 65, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    FAILS(cudaMemset(d, 0, 65), cudaErrorInvalidValue);
    FAILS(cudaFree(d + 1), cudaErrorInvalidValue);
    FAILS(cudaFree(host), cudaErrorInvalidValue);
    OK(cudaFree(d));
    FAILS(cudaFree(d), cudaErrorInvalidValue);
    FAILS(cudaMemcpy(d, host, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
}
static void little_memory()
{
    setenv("STANDIN_BYTES", "1000000", 1);
}
Test(standin, out_of_memory, .init = little_memory)
{
    void *a, *b;
    size_t available, total;
    OK(cudaMalloc(&a, 600000));
    FAILS(cudaMalloc(&b, 600000), cudaErrorMemoryAllocation);
    FAILS(cudaGetLastError(), cudaErrorMemoryAllocation);
    FAILS(cudaGetLastError(), cudaSuccess);
    OK(cudaMemGetInfo(&available, &total));
    cr_assert(total == 1000000 && available < 400001 && available > 399000);
    OK(cudaFree(a));
    OK(cudaMalloc(&b, 600000));
}

/* ---- streams ---- */
static __global__ void add(int n, int *p)
{
    *p += n;
}

Test(standin, work_is_late)
{
    const cudaStream_t s = stream();
    int *d = device<int>(1), *h = pinned<int>(2);
    h[0] = 5;
    h[1] = -1;
    OK(cudaMemcpyAsync(d, &h[0], 4, cudaMemcpyHostToDevice, s));
    OK(standin_launch(add, dim3(1), dim3(1), 0, s, 10, d));
    OK(cudaMemcpyAsync(&h[1], d, 4, cudaMemcpyDeviceToHost, s));
    cr_assert(h[1] == -1); /* too early */
    h[0] = 7;              /* too early as well: pinned memory is read when the copy runs */
    FAILS(cudaStreamQuery(s), cudaErrorNotReady);
    FAILS(cudaGetLastError(), cudaErrorNotReady); /* as on a device: a query leaves it behind */
    OK(cudaStreamSynchronize(s));
    cr_assert(h[1] == 17);
    OK(cudaStreamQuery(s));
}
/* CUDA says that it might wait, and no more. */
Test(standin, pageable_memory_is_read_late)
{
    const cudaStream_t s = stream();
    int *d = device<int>(1), h = 5, back = -1;
    OK(cudaMemcpyAsync(d, &h, 4, cudaMemcpyHostToDevice, s));
    h = 7;
    OK(cudaMemcpyAsync(&back, d, 4, cudaMemcpyDeviceToHost, s)); /* done when it returns */
    cr_assert(back == 7);
}
Test(standin, kinds_of_memory)
{
    int *d = device<int>(4), *p = pinned<int>(4), h[4];
    cudaPointerAttributes a;
    OK(cudaPointerGetAttributes(&a, d + 3));
    cr_assert(a.type == cudaMemoryTypeDevice && a.device == 0);
    OK(cudaPointerGetAttributes(&a, p + 3));
    cr_assert(a.type == cudaMemoryTypeHost);
    OK(cudaPointerGetAttributes(&a, h));
    cr_assert(a.type == cudaMemoryTypeUnregistered);
}
Test(standin, streams_need_events)
{
    const cudaStream_t a = stream(), b = stream();
    const event e;
    int *d = device<int>(1);
    OK(cudaMemsetAsync(d, 0, 4, a));
    OK(cudaStreamSynchronize(a));
    OK(standin_launch(add, dim3(1), dim3(1), 0, a, 1, d));
    OK(standin_launch(add, dim3(1), dim3(1), 0, b, 10, d));
    OK(cudaStreamSynchronize(b)); /* a has not run */
    int *h = pinned<int>(1);
    OK(cudaMemcpyAsync(h, d, 4, cudaMemcpyDeviceToHost, b));
    OK(cudaStreamSynchronize(b));
    cr_assert(*h == 10);
    OK(cudaEventRecord(e, a));
    OK(standin_launch(add, dim3(1), dim3(1), 0, a, 100, d)); /* behind the event */
    OK(cudaStreamWaitEvent(b, e, 0));
    OK(cudaMemcpyAsync(h, d, 4, cudaMemcpyDeviceToHost, b));
    OK(cudaStreamSynchronize(b));
    cr_assert(*h == 11, "%d", *h);
    OK(cudaDeviceSynchronize());
    OK(cudaMemcpy(h, d, 4, cudaMemcpyDeviceToHost));
    cr_assert(*h == 111);
}
static void ahead()
{
    setenv("STANDIN_AHEAD", "1", 1);
}
Test(standin, other_streams_ahead, .init = ahead)
{
    const cudaStream_t a = stream(), b = stream();
    const event e;
    int *d = device<int>(1), *h = pinned<int>(1);
    *h = 5;
    OK(cudaMemsetAsync(d, 0, 4, a));
    OK(cudaMemcpyAsync(d, h, 4, cudaMemcpyHostToDevice, b)); /* no event behind the memset */
    OK(cudaStreamSynchronize(a));
    cr_assert(read(d, 1)[0] == 0);
    OK(cudaMemsetAsync(d, 0, 4, a));
    OK(cudaEventRecord(e, a));
    OK(cudaStreamWaitEvent(b, e, 0));
    OK(cudaMemcpyAsync(d, h, 4, cudaMemcpyHostToDevice, b));
    OK(cudaStreamSynchronize(a));
    cr_assert(read(d, 1)[0] == 5);
}
Test(standin, events)
{
    const cudaStream_t s = stream();
    const event a(0), b(0);
    float ms;
    int *d = device<int>(1);
    OK(cudaEventQuery(a)); /* never recorded */
    OK(cudaEventRecord(a, s));
    OK(standin_launch(add, dim3(1), dim3(1), 0, s, 1, d));
    OK(cudaEventRecord(b, s));
    FAILS(cudaEventElapsedTime(&ms, a, b), cudaErrorNotReady);
    FAILS(cudaEventQuery(b), cudaErrorNotReady);
    cudaError_t e;
    int asked = 1;
    while ((e = cudaEventQuery(b)) == cudaErrorNotReady && asked < 100)
        asked++;
    OK(e);
    OK(cudaEventElapsedTime(&ms, a, b));
    cr_assert(ms >= 0);
    OK(cudaEventSynchronize(b));
}
Test(standin, default_stream_orders_blocking_ones)
{
    cudaStream_t a, free = stream();
    OK(cudaStreamCreateWithFlags(&a, cudaStreamDefault));
    int *d = device<int>(2), h[2];
    OK(cudaMemset(d, 0, 8));
    OK(cudaDeviceSynchronize());
    OK(standin_launch(add, dim3(1), dim3(1), 0, a, 1, d));
    OK(standin_launch(add, dim3(1), dim3(1), 0, free, 1, d + 1));
    OK(cudaMemcpy(h, d, 8, cudaMemcpyDeviceToHost));
    cr_assert(h[0] == 1 && h[1] == 0);
    OK(cudaMemset(d, 0, 8));
    OK(standin_launch(add, dim3(1), dim3(1), 0, a, 1, d)); /* behind the memset */
    OK(cudaStreamSynchronize(a));
    OK(cudaMemcpy(h, d, 8, cudaMemcpyDeviceToHost));
    cr_assert(h[0] == 1);
}
static void eager()
{
    setenv("STANDIN_EAGER", "1", 1);
}
Test(standin, eager, .init = eager)
{
    const cudaStream_t s = stream();
    int *d = device<int>(1), *h = pinned<int>(1);
    *h = 5;
    OK(cudaMemcpyAsync(d, h, 4, cudaMemcpyHostToDevice, s));
    OK(standin_launch(add, dim3(1), dim3(1), 0, s, 1, d));
    OK(cudaMemcpyAsync(h, d, 4, cudaMemcpyDeviceToHost, s));
    cr_assert(*h == 6);
}
Test(standin, queued_work_that_waits)
{
    const cudaStream_t s = stream();
    int asked = 0;
    int *const p = &asked;
    OK(standin_queue_poll(s, [p] { return ++*p >= 5; }));
    cr_assert(asked == 0);
    FAILS(cudaStreamQuery(s), cudaErrorNotReady);
    FAILS(cudaStreamQuery(s), cudaErrorNotReady);
    FAILS(cudaStreamQuery(s), cudaErrorNotReady);
    OK(cudaStreamSynchronize(s));
    cr_assert(asked == 5);
}
Test(standin, calls_in_queued_work)
{
    cudaError_t e = cudaSuccess, *const p = &e;
    OK(standin_queue(nullptr, [p] { *p = cudaDeviceSynchronize(); }));
    OK(cudaDeviceSynchronize());
    FAILS(e, cudaErrorNotPermitted);
}

/* ---- graphs ---- */
static cudaGraphExec_t record(cudaStream_t s, const std::function<void()> &work)
{
    cudaGraph_t g;
    cudaGraphExec_t x;
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    work();
    OK(cudaStreamEndCapture(s, &g));
    OK(cudaGraphInstantiate(&x, g, 0));
    OK(cudaGraphDestroy(g));
    return x;
}
Test(standin, graphs_run_again)
{
    const cudaStream_t s = stream();
    int *d = device<int>(1), *h = pinned<int>(2);
    OK(cudaMemsetAsync(d, 0, 4, s));
    const cudaGraphExec_t x = record(s, [=] {
        OK(cudaMemcpyAsync(d, h, 4, cudaMemcpyHostToDevice, s));
        OK(standin_launch(add, dim3(1), dim3(1), 0, s, 2, d));
        OK(cudaMemcpyAsync(h + 1, d, 4, cudaMemcpyDeviceToHost, s));
    });
    h[1] = -1;
    OK(cudaStreamSynchronize(s));
    cr_assert(h[1] == -1);
    for (int i = 0; i < 3; i++) {
        h[0] = 10 * i;
        OK(cudaGraphLaunch(x, s));
        cr_assert(h[1] != 10 * i + 2);
        OK(cudaStreamSynchronize(s));
        cr_assert(h[1] == 10 * i + 2);
    }
    OK(cudaGraphExecDestroy(x));
}
Test(standin, graphs_of_two_streams)
{
    const cudaStream_t a = stream(), b = stream();
    const event fork, join;
    int *d = device<int>(1);
    OK(cudaMemset(d, 0, 4));
    OK(cudaDeviceSynchronize());
    const cudaGraphExec_t x = record(a, [&] {
        OK(standin_launch(add, dim3(1), dim3(1), 0, a, 1, d));
        OK(cudaEventRecord(fork, a));
        OK(cudaStreamWaitEvent(b, fork, 0));
        OK(standin_launch(add, dim3(1), dim3(1), 0, b, 10, d));
        OK(cudaEventRecord(join, b));
        OK(cudaStreamWaitEvent(a, join, 0));
        OK(standin_launch(add, dim3(1), dim3(1), 0, a, 100, d));
    });
    OK(cudaGraphLaunch(x, a));
    OK(cudaGraphLaunch(x, a));
    cr_assert(read(d, 1)[0] == 222);
    OK(cudaGraphExecDestroy(x));
}
Test(standin, what_a_graph_cannot_hold)
{
    const cudaStream_t s = stream(), other = stream();
    const event e, before;
    int *d = device<int>(1), h = 0;
    void *p;
    cudaGraph_t g;
    const std::vector<std::pair<const char *, std::function<cudaError_t()>>> cases = {
        {"synchronize", [=] { return cudaStreamSynchronize(s); }},
        {"query", [=] { return cudaStreamQuery(s); }},
        {"device synchronize", [] { return cudaDeviceSynchronize(); }},
        {"malloc", [&] { return cudaMalloc(&p, 4); }},
        {"free", [=] { return cudaFree(d); }},
        {"copy", [&] { return cudaMemcpy(d, &h, 4, cudaMemcpyHostToDevice); }},
        {"pageable copy", [&] { return cudaMemcpyAsync(d, &h, 4, cudaMemcpyHostToDevice, s); }},
        {"event query", [&] { return cudaEventRecord(e, s) != cudaSuccess ? cudaSuccess : cudaEventQuery(e); }},
        {"event from outside", [&] { return cudaStreamWaitEvent(s, before, 0); }},
    };
    OK(cudaEventRecord(before, other));
    for (const auto &[name, call] : cases) {
        OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
        cr_assert(call() != cudaSuccess, "%s", name);
        FAILS(cudaStreamEndCapture(s, &g), cudaErrorStreamCaptureInvalidated);
    }
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    OK(cudaEventRecord(e, s));
    OK(cudaStreamWaitEvent(other, e, 0));
    OK(standin_launch(add, dim3(1), dim3(1), 0, other, 1, d));
    FAILS(cudaStreamEndCapture(s, &g), cudaErrorStreamCaptureUnjoined);
    FAILS(cudaStreamEndCapture(s, &g), cudaErrorStreamCaptureUnmatched);
    cudaGetLastError();
    OK(cudaStreamSynchronize(s)); /* nothing of it is left */
}

/* ---- devices, failures ---- */
static void no_device()
{
    setenv("STANDIN_DEVICES", "0", 1);
}
Test(standin, no_device, .init = no_device)
{
    int n;
    void *p;
    FAILS(cudaGetDeviceCount(&n), cudaErrorNoDevice);
    FAILS(cudaMalloc(&p, 1), cudaErrorNoDevice);
}
static void three_devices()
{
    setenv("STANDIN_DEVICES", "3", 1);
}
Test(standin, devices, .init = three_devices)
{
    int n, can;
    char a[32], b[32];
    cudaDeviceProp p;
    OK(cudaGetDeviceCount(&n));
    cr_assert(n == 3);
    OK(cudaSetDevice(2));
    FAILS(cudaSetDevice(3), cudaErrorInvalidDevice);
    OK(cudaGetDevice(&n));
    cr_assert(n == 2);
    OK(cudaGetDeviceProperties(&p, 1));
    cr_assert(p.major == 9 && p.totalGlobalMem == (size_t)4 << 30);
    OK(cudaDeviceGetPCIBusId(a, 32, 0));
    OK(cudaDeviceGetPCIBusId(b, 32, 1));
    cr_assert(std::string(a) != b);
    OK(cudaDeviceCanAccessPeer(&can, 0, 1));
    cr_assert(can == 1);
    OK(cudaDeviceCanAccessPeer(&can, 1, 1));
    cr_assert(can == 0);
}
Test(standin, failures_on_request)
{
    void *p;
    int *d = device<int>(1);
    setenv("STANDIN_FAIL", "cudaMalloc:2,cudaEventRecord:1:700,launch:2", 1);
    OK(cudaMalloc(&p, 4));
    FAILS(cudaMalloc(&p, 4), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&p, 4));
    const event e;
    FAILS(cudaEventRecord(e, nullptr), cudaErrorIllegalAddress);
    OK(standin_launch(add, dim3(1), dim3(1), 0, nullptr, 1, d));
    OK(standin_launch(add, dim3(1), dim3(1), 0, nullptr, 1, d)); /* fails when it runs */
    FAILS(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
}
