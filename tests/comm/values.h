/* Leaves for the tests of the reduction: numbers whose magnitudes differ by a factor of 2^32, so that nearly every sum
 * is rounded and another order of adding gives other bits. */
#ifndef LK_TESTS_COMM_VALUES_H
#define LK_TESTS_COMM_VALUES_H

#include "base/rng.h"
#include "comm/comm.h"

#include <math.h>

/* Elements [0,n) of leaf m, as f32 or f64. A function of (seed, m, element) alone. */
static inline void fill_leaf(uint64_t seed, int m, lk_comm_type type, int64_t n, void *out)
{
    const lk_rng r = lk_rng_make(seed, LK_RNG_TEST, (uint64_t)m);
    uint32_t w[64];

    for (int64_t at = 0; at < n; at += 32) {
        lk_rng_fill(r, 0, (uint64_t)at * 2, 64, w);
        for (int64_t i = at; i < n && i < at + 32; i++) {
            const uint32_t a = w[2 * (i - at)], b = w[2 * (i - at) + 1];
            /* 53 bits of fraction for f64; f32 rounds them once, here */
            const double v =
                ldexp((double)a * 0x1p21 + (double)(b >> 11), -53 + (int)(b & 31) - 16) * (b & 32 ? -1 : 1);
            if (type == LK_COMM_F32)
                ((float *)out)[i] = (float)v;
            else
                ((double *)out)[i] = v;
        }
    }
}

/* The reference, by other means than the code that is tested: n things are the sum of the first (n+1)/2 and of the
 * rest. */
#define DEFINE_REFERENCE(name, T) \
    static inline T name(const T *x, int64_t stride, int n) \
    { \
        const int left = (n + 1) / 2; \
        return n == 1 ? x[0] : name(x, stride, left) + name(x + left * stride, stride, n - left); \
    }

DEFINE_REFERENCE(reference_f32, float)
DEFINE_REFERENCE(reference_f64, double)

#endif
