/* Losses that are for each sample the mean over its elements: a file gives `element`, what one element adds and its
 * slopes, and LKI_ELEMENT_LOSS makes the loops over it. */
#ifndef LK_KERN_CPU_ELEMENT_LOSS_H
#define LK_KERN_CPU_ELEMENT_LOSS_H

#include "kern/cpu/cpu_int.h"
#include "kern/cpu/vmath.h"

/* What an element adds to the loss and to the number reported beside it; the slopes of the first by prediction and
 * target. */
typedef struct lki_element {
    float loss, named, dx, dt;
} lki_element;

typedef struct lki_element_loops {
    /* Of n elements: the sums of loss and named, in fixed lanes of double. */
    void (*sums)(int64_t n, const float *x, const float *t, const float *p, double out[2]);
    /* d[i] = slope factor */
    void (*dx)(int64_t n, const float *x, const float *t, const float *p, float factor, float *d);
    void (*dt)(int64_t n, const float *x, const float *t, const float *p, float factor, float *d);
} lki_element_loops;

/* Whole passes, with the numbers `p` that `element` takes, times `scale`; a loss without a target reads its input as
 * such. 0 in padding rows. */
void lki_element_forward(const lk_call *c, const lki_element_loops *l, const float *p, double scale);
void lki_element_backward(const lk_call *c, const lki_element_loops *l, const float *p, double scale);
/* LK_E_DATA for a target of a sample that is outside [0,1]. */
LK_MUST_USE lk_status lki_check_targets(const lk_call *c);

/* Folds `lane` [8] as a tree. */
static inline double lki_fold_lanes(double *lane)
{
    for (int h = 4; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

/* After LK_INLINE lki_element element(const float *p, float x, float t): defines `loops`. */
#define LKI_ELEMENT_LOSS \
    LK_CLONES static void element_sums(int64_t n, const float *x, const float *t, const float *p, double out[2]) \
    { \
        double loss[8] = {0}, named[8] = {0}; \
        int64_t i = 0; \
        for (; i + 8 <= n; i += 8) \
            for (int j = 0; j < 8; j++) { \
                const lki_element e = element(p, x[i + j], t[i + j]); \
                loss[j] += (double)e.loss; \
                named[j] += (double)e.named; \
            } \
        for (int j = 0; i < n; i++, j++) { \
            const lki_element e = element(p, x[i], t[i]); \
            loss[j] += (double)e.loss; \
            named[j] += (double)e.named; \
        } \
        out[0] = lki_fold_lanes(loss); \
        out[1] = lki_fold_lanes(named); \
    } \
    LK_CLONES static void element_dx( \
        int64_t n, const float *x, const float *t, const float *p, float factor, float *restrict d) \
    { \
        for (int64_t i = 0; i < n; i++) \
            d[i] = element(p, x[i], t[i]).dx * factor; \
    } \
    LK_CLONES static void element_dt( \
        int64_t n, const float *x, const float *t, const float *p, float factor, float *restrict d) \
    { \
        for (int64_t i = 0; i < n; i++) \
            d[i] = element(p, x[i], t[i]).dt * factor; \
    } \
    static const lki_element_loops loops = {element_sums, element_dx, element_dt};

#endif
