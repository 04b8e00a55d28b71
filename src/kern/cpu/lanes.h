/* Sums over a run of neighbouring floats in 32 lanes and a tree, whatever the vector width: the same bits everywhere. */
#ifndef LK_KERN_CPU_LANES_H
#define LK_KERN_CPU_LANES_H

#include "kern/cpu/vmath.h"

enum { LKI_LANES = 16 }; /* of one vector; two run side by side */
typedef float lki_vec __attribute__((vector_size(64)));
typedef float lki_vec_at __attribute__((vector_size(64), aligned(4), may_alias));

#define LKI_VEC(p) ((lki_vec)(*(const lki_vec_at *)(p)))

/* Lanes 0-7 plus 8-15, of those 0-3 plus 4-7, and so on. */
LK_INLINE float lki_vec_tree(const float *lane)
{
    lki_vec v = LKI_VEC(lane);
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3);
    return v[0] + v[1];
}

/* out_ = sum over i < n_; vector_ is the term at i of 16 places from i on, scalar_ that of one place. */
#define LKI_RUN_SUM(out_, n_, vector_, scalar_) \
    do { \
        const int64_t n_run_ = (n_); \
        lki_vec s0_ = {0}, s1_ = {0}; \
        int64_t i = 0; \
        for (; i + 2 * LKI_LANES <= n_run_; i += LKI_LANES) { \
            s0_ += (vector_); \
            i += LKI_LANES; \
            s1_ += (vector_); \
        } \
        if (i + LKI_LANES <= n_run_) { \
            s0_ += (vector_); \
            i += LKI_LANES; \
        } \
        float lane_[LKI_LANES]; \
        *(lki_vec_at *)lane_ = s0_ + s1_; \
        for (int j_ = 0; i < n_run_; i++, j_++) \
            lane_[j_] += (scalar_); \
        (out_) = lki_vec_tree(lane_); \
    } while (0)

#endif
