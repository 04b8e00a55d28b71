/* What kernels need beside CUDA's headers when they are compiled for the host, in place of what nvcc knows by itself. The threads of a block
 * run one after the other, each until it ends or waits (fiber.cpp); blocks run one after the other.
 *
 * Misuse ends the launch with a printed line and cudaErrorLaunchFailure: an access of several elements that is not aligned to its size, a barrier that not all living threads reach at the same place
 * of the source, a shuffle whose mask names lanes that ended, are not there or wait elsewhere, a launch with a pointer to host memory. */
#ifndef LK_STANDIN_SIMT_H
#define LK_STANDIN_SIMT_H

#include "standin/standin.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>

#undef __shared__
#define __shared__ static thread_local /* thread_local: they lie together, so that they can be filled with NaN before each block */
#undef __launch_bounds__
#define __launch_bounds__(...)

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static constexpr int warpSize = 32;

/* ---- launches ---- */
void *standin_shared();
cudaError_t standin_launch_body(
    std::shared_ptr<standin_body> body, dim3 grid, dim3 block, size_t shared, cudaStream_t stream);
/* An argument that is, or holds, the address of host memory which a device cannot reach. */
bool standin_suspect(const void *argument, size_t bytes);
cudaError_t standin_refuse(const char *types, int argument);

template <class... P> struct standin_call : standin_body {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
    standin_call(void (*k)(P...), P... a) : kernel(k), arguments(a...)
    {
        types = __PRETTY_FUNCTION__;
        key = reinterpret_cast<const void *>(k);
    }
    void thread() const override
    {
        std::apply(kernel, arguments);
    }
};

/* Queues a launch. Errors as of <<<>>>, which cudaGetLastError gives again. */
template <class... P>
cudaError_t standin_launch(
    void (*k)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t s, std::type_identity_t<P>... a)
{
    static_assert((std::is_trivially_copyable_v<P> && ...), "arguments of a kernel are copied as bytes");
    static_assert((sizeof(P) + ... + 0) <= 4096, "arguments of a kernel take at most 4096 bytes");
    const auto body = std::make_shared<standin_call<P...>>(k, a...);
    (__builtin_clear_padding(&a), ...); /* holds whatever was there */
    int i = 0, bad = -1;
    (__builtin_clear_padding(&a), ...); /* what lies between members may look like anything */
    ((bad = bad < 0 && standin_suspect(&a, sizeof a) ? i : bad, i++), ...);
    return bad >= 0 ? standin_refuse(body->types, bad) : standin_launch_body(body, grid, block, shared, s);
}

/* ---- addresses of accesses that are wider than an element ---- */
[[noreturn]] void standin_misaligned(const void *p, size_t to);
static inline void standin_aligned(const void *p, size_t to)
{
    if ((uintptr_t)p % to != 0)
        standin_misaligned(p, to);
}

/* ---- waiting for each other ---- */
#define STANDIN_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()
enum standin_kind { STANDIN_SYNC, STANDIN_SHUFFLE, STANDIN_XOR, STANDIN_UP, STANDIN_DOWN, STANDIN_BALLOT };
void standin_barrier(const char *file, int line);
uint64_t standin_warp(
    standin_kind kind, unsigned mask, uint64_t bits, int argument, int width, const char *file, int line);

static inline void __syncthreads(STANDIN_PLACE)
{
    standin_barrier(file, line);
}
static inline void __syncwarp(unsigned mask = 0xffffffffu, STANDIN_PLACE)
{
    standin_warp(STANDIN_SYNC, mask, 0, 0, 32, file, line);
}
template <class T>
static inline T standin_exchange(
    standin_kind kind, unsigned mask, T v, int argument, int width, const char *file, int line)
{
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4 && sizeof(T) <= 8, "a shuffle takes numbers of 4 or 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &v, sizeof v);
    bits = standin_warp(kind, mask, bits, argument, width, file, line);
    std::memcpy(&v, &bits, sizeof v);
    return v;
}
template <class T> static inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32, STANDIN_PLACE)
{
    return standin_exchange(STANDIN_SHUFFLE, mask, v, lane, width, file, line);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32, STANDIN_PLACE)
{
    return standin_exchange(STANDIN_XOR, mask, v, lanes, width, file, line);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, STANDIN_PLACE)
{
    return standin_exchange(STANDIN_UP, mask, v, (int)delta, width, file, line);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, STANDIN_PLACE)
{
    return standin_exchange(STANDIN_DOWN, mask, v, (int)delta, width, file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, STANDIN_PLACE)
{
    return (unsigned)standin_warp(STANDIN_BALLOT, mask, predicate != 0, 0, 32, file, line);
}
static inline int __any_sync(unsigned mask, int predicate, STANDIN_PLACE)
{
    return __ballot_sync(mask, predicate, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, STANDIN_PLACE)
{
    return __ballot_sync(mask, predicate, file, line) == mask;
}
static inline void __threadfence()
{
}
static inline void __threadfence_block()
{
}

/* ---- memory ---- */
template <class T> static inline T __ldg(const T *p)
{
    return *p;
}
template <class T> static inline void __stwb(T *p, T v)
{
    *p = v;
}
template <class T> static inline T __ldcs(const T *p)
{
    return *p;
}
template <class T> static inline T __ldcg(const T *p)
{
    return *p;
}
template <class T> static inline void __stcs(T *p, T v)
{
    *p = v;
}
template <class T> static inline void __stcg(T *p, T v)
{
    *p = v;
}
/* Whole numbers alone: a sum of floats would depend on the order of threads. */
template <class T>
inline constexpr bool standin_atomic = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;
#define STANDIN_ATOMIC(name, allowed, result) \
    template <class T> static inline T name(T *p, std::type_identity_t<T> v) \
    { \
        static_assert(allowed, #name " is for whole numbers that CUDA has it for"); \
        const T old = *p; \
        *p = result; \
        return old; \
    }
STANDIN_ATOMIC(atomicAdd, standin_atomic<T>, old + v)
STANDIN_ATOMIC(atomicSub, (std::is_same_v<T, int> || std::is_same_v<T, unsigned>), old - v)
STANDIN_ATOMIC(atomicExch, standin_atomic<T>, v)
STANDIN_ATOMIC(atomicMin, (standin_atomic<T> || std::is_same_v<T, long long>), v < old ? v : old)
STANDIN_ATOMIC(atomicMax, (standin_atomic<T> || std::is_same_v<T, long long>), v > old ? v : old)
STANDIN_ATOMIC(atomicAnd, standin_atomic<T>, old &v)
STANDIN_ATOMIC(atomicOr, standin_atomic<T>, old | v)
STANDIN_ATOMIC(atomicXor, standin_atomic<T>, old ^ v)
#undef STANDIN_ATOMIC
template <class T> static inline T atomicCAS(T *p, std::type_identity_t<T> expected, std::type_identity_t<T> v)
{
    static_assert(standin_atomic<T>, "atomicCAS is for whole numbers that CUDA has it for");
    const T old = *p;
    if (old == expected)
        *p = v;
    return old;
}

/* ---- numbers ---- */
#define STANDIN_MIN_MAX(T) \
    static inline T min(T a, T b) \
    { \
        return b < a ? b : a; \
    } \
    static inline T max(T a, T b) \
    { \
        return a < b ? b : a; \
    }
STANDIN_MIN_MAX(int)
STANDIN_MIN_MAX(unsigned)
STANDIN_MIN_MAX(long)
STANDIN_MIN_MAX(unsigned long)
STANDIN_MIN_MAX(long long)
STANDIN_MIN_MAX(unsigned long long)
#undef STANDIN_MIN_MAX
/* Of floats: the number, where one of the two is NaN. */
static inline float min(float a, float b)
{
    return fminf(a, b);
}
static inline float max(float a, float b)
{
    return fmaxf(a, b);
}
static inline double min(double a, double b)
{
    return fmin(a, b);
}
static inline double max(double a, double b)
{
    return fmax(a, b);
}
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
static inline double rsqrt(double x)
{
    return 1.0 / sqrt(x);
}
static inline float __frsqrt_rn(float x)
{
    return (float)(1.0 / sqrt((double)x));
}
static inline float __fdividef(float a, float b)
{
    return a / b;
}
static inline float fdividef(float a, float b)
{
    return a / b;
}
static inline float __saturatef(float x)
{
    return x > 0.0f ? fminf(x, 1.0f) : 0.0f;
}
/* glibc has functions __expf and the like of its own, which are not to be called: so macros. */
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
/* One rounding each, never fused. */
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float __fsub_rn(float a, float b)
{
    return a - b;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
static inline float __frcp_rn(float a)
{
    return 1.0f / a;
}
static inline float __fsqrt_rn(float a)
{
    return sqrtf(a);
}
static inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
static inline double __dadd_rn(double a, double b)
{
    return a + b;
}
static inline double __dsub_rn(double a, double b)
{
    return a - b;
}
static inline double __dmul_rn(double a, double b)
{
    return a * b;
}
static inline double __ddiv_rn(double a, double b)
{
    return a / b;
}
static inline double __fma_rn(double a, double b, double c)
{
    return fma(a, b, c);
}
static inline int __float_as_int(float x)
{
    return std::bit_cast<int>(x);
}
static inline unsigned __float_as_uint(float x)
{
    return std::bit_cast<unsigned>(x);
}
static inline float __int_as_float(int x)
{
    return std::bit_cast<float>(x);
}
static inline float __uint_as_float(unsigned x)
{
    return std::bit_cast<float>(x);
}
static inline long long __double_as_longlong(double x)
{
    return std::bit_cast<long long>(x);
}
static inline double __longlong_as_double(long long x)
{
    return std::bit_cast<double>(x);
}
static inline int __popc(unsigned x)
{
    return std::popcount(x);
}
static inline int __popcll(unsigned long long x)
{
    return std::popcount(x);
}
static inline int __clz(int x)
{
    return std::countl_zero((unsigned)x);
}
static inline int __clzll(long long x)
{
    return std::countl_zero((unsigned long long)x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

#endif
