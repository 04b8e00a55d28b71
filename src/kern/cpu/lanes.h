/* Sums over a run of neighbouring floats in 32 lanes and a tree, whatever the vector width: the same bits everywhere. */
#ifndef LK_KERN_CPU_LANES_H
#define LK_KERN_CPU_LANES_H

#include "kern/cpu/vmath.h"

enum { LKI_LANES = 16 }; /* of one vector; two run side by side */
typedef float lki_vec __attribute__((vector_size(64)));
typedef float lki_vec_at __attribute__((vector_size(64), aligned(4), may_alias));

#define LKI_VEC(p) ((lki_vec)(*(const lki_vec_at *)(p)))

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
        for (int h_ = LKI_LANES / 2; h_ > 0; h_ /= 2) \
            for (int j_ = 0; j_ < h_; j_++) \
                lane_[j_] += lane_[j_ + h_]; \
        (out_) = lane_[0]; \
    } while (0)

#endif
