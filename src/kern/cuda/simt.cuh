/* What kernels are written with: types and their conversions, launches, sums over a warp and a block, 128-bit accesses, random words. */
#ifndef LK_KERN_CUDA_SIMT_CUH
#define LK_KERN_CUDA_SIMT_CUH

#ifdef LK_STANDIN
#include "standin/simt.h" /* tests: runs kernels on the host, thread by thread */
#endif
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef __nv_bfloat16 bf16;
typedef __half f16;

template <class T> struct lki_type_of;
template <> struct lki_type_of<float> {
    static constexpr lki_type value = LKI_F32;
};
template <> struct lki_type_of<bf16> {
    static constexpr lki_type value = LKI_BF16;
};
template <> struct lki_type_of<f16> {
    static constexpr lki_type value = LKI_F16;
};

/* ---- numbers ---- */
static __host__ __device__ inline float to_float(float v)
{
    return v;
}
static __host__ __device__ inline float to_float(bf16 v)
{
    return __bfloat162float(v);
}
static __host__ __device__ inline float to_float(f16 v)
{
    return __half2float(v);
}
/* Rounds to nearest, ties to even. */
template <class T> static __host__ __device__ inline T from_float(float v);
template <> __host__ __device__ inline float from_float<float>(float v)
{
    return v;
}
template <> __host__ __device__ inline bf16 from_float<bf16>(float v)
{
    return __float2bfloat16_rn(v);
}
template <> __host__ __device__ inline f16 from_float<f16>(float v)
{
    return __float2half_rn(v);
}

/* In front of a loop over an array that has to lie in registers: all turns one after the other. */
#ifdef __CUDACC__
#define LKI_UNROLL _Pragma("unroll")
#else
#define LKI_UNROLL
#endif

/* So many elements as one access, of 16 bytes unless said otherwise; where they lie is aligned to their size. */
template <class T, int count = 16 / (int)sizeof(T)> struct alignas(count * sizeof(T)) vec {
    static constexpr int n = count;
    T at[n];
};
template <class V, class T> static __device__ inline V *vec_at(T *p)
{
#ifdef LK_STANDIN
    standin_aligned(p, alignof(V)); /* a GPU takes no others */
#endif
    return reinterpret_cast<V *>(p);
}
template <class T> static __device__ inline vec<T> load_vec(const T *p)
{
    return *vec_at<const vec<T>>(p);
}
template <int n, class T> static __device__ inline vec<T, n> load_vec(const T *p)
{
    return *vec_at<const vec<T, n>>(p);
}
template <class T, int n> static __device__ inline void store_vec(T *p, const vec<T, n> &v)
{
    *vec_at<vec<T, n>>(p) = v;
}
static inline bool aligned16(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

/* ---- launches ---- */
/* launch(kernel, grid, block, shared, arguments...): queues a kernel with `shared` bytes of dynamic shared memory, which it names with
 * LKI_DYNAMIC_SHARED(T, name). Arguments are converted to the kernel's parameters. */
#ifdef LK_STANDIN
#define LKI_DYNAMIC_SHARED(T, name) T *const name = (T *)standin_shared()
template <class... P, class... A>
static lk_status launch(void (*k)(P...), dim3 grid, dim3 block, size_t shared, A... a)
{
    standin_launch(k, grid, block, shared, lki_cuda_device.queue, P(a)...);
    return LK_CUDA(cudaGetLastError());
}
#else
#define LKI_DYNAMIC_SHARED(T, name) \
    extern __shared__ uint4 lki_dynamic_shared[]; \
    T *const name = reinterpret_cast<T *>(lki_dynamic_shared)
template <class... P, class... A>
static lk_status launch(void (*k)(P...), dim3 grid, dim3 block, size_t shared, A... a)
{
    k<<<grid, block, shared, lki_cuda_device.queue>>>(P(a)...);
    return LK_CUDA(cudaGetLastError());
}
#endif

/* ---- buffers ---- */
/* Room for n elements, *at bytes behind the beginning of a buffer, and *at goes on behind them. Of no buffer (NULL) the bytes are only counted. */
template <class V> static V *take_piece(void *buffer, size_t *at, int64_t n)
{
    V *const piece = buffer != NULL ? (V *)((char *)buffer + *at) : NULL;

    *at += lki_part_bytes((size_t)n * sizeof(V));
    return piece;
}

/* ---- grids ---- */
enum { LKI_BLOCK = 256 };

static inline int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
static inline unsigned grid_of(int64_t blocks)
{
    return blocks <= INT32_MAX ? (unsigned)blocks : UINT32_MAX; /* more cannot be launched: an error there */
}

/* Calls f(i) for i in [0, n), a thread each. F is a struct with a __device__ operator()(int64_t) const. Structs of two files
 * must not have the same name: they would be one type, with the functions of either. */
template <class F> static __global__ void each_kernel(int64_t n, F f)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        f(i);
}
template <class F> static lk_status each(int64_t n, F f)
{
    return n > 0 ? launch(each_kernel<F>, dim3(grid_of(div_up(n, LKI_BLOCK))), dim3(LKI_BLOCK), 0, n, f) : LK_OK;
}

/* Takes the last digit off i, which counts in `size`: returns i % size and leaves i / size. (Where both fit into 32 bits, nvcc's code divides in 32.) */
static __device__ inline int64_t digit(int64_t &i, int64_t size)
{
    const int64_t last = i % size;

    i /= size;
    return last;
}

/* ---- sums in a fixed order ---- */
/* Over the 32 lanes of a warp, all of which must call; every lane gets the sum. */
template <class V> static __device__ inline V warp_sum(V v)
{
    for (int d = 16; d > 0; d /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
}
template <class V> static __device__ inline V warp_max(V v)
{
    for (int d = 16; d > 0; d /= 2) {
        const V o = __shfl_xor_sync(0xffffffffu, v, d);
        v = v != v || v > o ? v : o; /* NaN stays */
    }
    return v;
}
/* Over a block of whole warps, at most 1024 threads, all of which must call; every thread gets the sum. `shared` [33]. */
template <class V> static __device__ inline V block_sum(V v, V *shared)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = warp_sum(v);
    __syncthreads();
    if (lane == 0)
        shared[warp] = v;
    __syncthreads();
    if (warp == 0) {
        v = warp_sum(lane < warps ? shared[lane] : V(0));
        if (lane == 0)
            shared[32] = v;
    }
    __syncthreads();
    return shared[32];
}
template <class V> static __device__ inline V block_max(V v, V *shared)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = warp_max(v);
    __syncthreads();
    if (lane == 0)
        shared[warp] = v;
    __syncthreads();
    if (warp == 0) {
        v = warp_max(shared[lane < warps ? lane : 0]);
        if (lane == 0)
            shared[32] = v;
    }
    __syncthreads();
    return shared[32];
}

/* ---- random words: Philox4x32-10 as in base/rng.h ---- */
struct words4 {
    uint32_t at[4];
};
static __device__ inline words4 random_block(const uint32_t *key, uint64_t row, uint64_t block)
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = (uint32_t)row, c3 = (uint32_t)(row >> 32);
    uint32_t k0 = key[0], k1 = key[1];
    for (int r = 0; r < 10; r++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}
/* w.at[k] for k that is no constant, without an array in memory. */
static __device__ inline uint32_t word_of(const words4 &w, uint64_t k)
{
    const uint32_t low = k & 1 ? w.at[1] : w.at[0], high = k & 1 ? w.at[3] : w.at[2];
    return k & 2 ? high : low;
}
static __device__ inline uint32_t random_word(const uint32_t *key, uint64_t row, uint64_t word)
{
    return word_of(random_block(key, row, word / 4), word % 4);
}
/* As lk_rng_normal_row: element e of row `row`, from words 2e and 2e + 1. */
static __device__ inline double random_normal(const uint32_t *key, uint64_t row, uint64_t e)
{
    const words4 w = random_block(key, row, e / 2);
    const double radius = ((double)word_of(w, 2 * (e % 2)) + 1.0) * 0x1p-32, angle = (double)word_of(w, 2 * (e % 2) + 1) * 0x1p-32;
    return sqrt(-2.0 * log(radius)) * cos(6.283185307179586476925286766559 * angle);
}

/* ---- bad data ---- */
/* Leaves a note; the first one stays. */
static __device__ inline void note_fault(const lk_live *live, lk_fault kind, int node, int64_t row, int64_t value, int64_t limit)
{
    if (atomicCAS(reinterpret_cast<unsigned long long *>(&live->fault[LK_FAULT_KIND]), 0ull, (unsigned long long)kind) != 0ull)
        return;
    live->fault[LK_FAULT_NODE] = node;
    live->fault[LK_FAULT_ROW] = row;
    live->fault[LK_FAULT_VALUE] = value;
    live->fault[LK_FAULT_LIMIT] = limit;
}

/* The three tables of an operation, from a template: LKI_KERNELS(scale, kernel), with template <class T> constexpr lk_kernel kernel. */
#define LKI_KERNELS(name, table) \
    extern "C" const lk_kernel *const lk_kern_cuda_##name[LKI_TYPES] = {&table<float>, &table<bf16>, &table<f16>}

#endif
