/* What layer_norm and rms_norm share: vectors along the last dimension, each with its own mean (0 if not centered) and
 * inverse deviation. A vector is read from memory once, and stays in the nearest cache for the passes over it.
 * Backward, t = x - mean, g = dy w: dx = inv (g - mean(g) - t inv^2 mean(g t)), the second term if centered. */
#ifndef LK_KERN_CPU_NORM_ROWS_H
#define LK_KERN_CPU_NORM_ROWS_H

#include "kern/cpu/cpu_int.h"
#include "kern/cpu/lanes.h"
#include <math.h>
#include <string.h>

enum { NORM_BLOCK = 64 }; /* rows whose shares of dw and db are summed in float before they go to double */

/* stat: [2 rows] mean and inverse of each, or NULL; b may be NULL. */
LK_INLINE void norm_rows_forward(bool center, int64_t rows, int64_t n, double eps, const float *x, const float *w,
    const float *b, float *y, float *stat)
{
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        float mean = 0, squares;
        if (center) {
            LKI_RUN_SUM(mean, n, LKI_VEC(x + i), x[i]);
            mean /= (float)n;
        }
        LKI_RUN_SUM(squares, n, (LKI_VEC(x + i) - mean) * (LKI_VEC(x + i) - mean), (x[i] - mean) * (x[i] - mean));
        const float inv = 1 / sqrtf(squares / (float)n + (float)eps);
        if (b) {
            LK_INDEPENDENT
            for (int64_t i = 0; i < n; i++)
                y[i] = (x[i] - mean) * inv * w[i] + b[i];
        } else {
            LK_INDEPENDENT
            for (int64_t i = 0; i < n; i++)
                y[i] = (x[i] - mean) * inv * w[i];
        }
        if (stat) {
            stat[2 * r] = mean;
            stat[2 * r + 1] = inv;
        }
    }
}

/* block: [2 n] floats for dw and db, total: [2 n] doubles; both NULL: those are not asked for. */
LK_INLINE void norm_rows_backward(bool center, int64_t rows, int64_t n, const float *x, const float *w,
    const float *stat, const float *dy, float *dx, float *block, double *total)
{
    if (total)
        memset(total, 0, 2 * (size_t)n * sizeof *total);
    for (int64_t r0 = 0; r0 < rows; r0 += NORM_BLOCK) {
        const int64_t r1 = lki_min(r0 + NORM_BLOCK, rows);
        if (block)
            memset(block, 0, 2 * (size_t)n * sizeof *block);
        for (int64_t r = r0; r < r1; r++, x += n, dy += n) {
            const float mean = stat[2 * r], inv = stat[2 * r + 1];
            if (block) {
                float *const dw = block, *const db = block + n;
                LK_INDEPENDENT
                for (int64_t i = 0; i < n; i++) {
                    dw[i] += dy[i] * ((x[i] - mean) * inv);
                    db[i] += dy[i];
                }
            }
            if (!dx)
                continue;
            float g = 0, gt;
            if (center)
                LKI_RUN_SUM(g, n, LKI_VEC(dy + i) * LKI_VEC(w + i), dy[i] * w[i]);
            LKI_RUN_SUM(gt, n, LKI_VEC(dy + i) * LKI_VEC(w + i) * (LKI_VEC(x + i) - mean), dy[i] * w[i] * (x[i] - mean));
            const float constant = g / (float)n, slope = gt / (float)n * inv * inv;
            LK_INDEPENDENT
            for (int64_t i = 0; i < n; i++)
                dx[i] = (dy[i] * w[i] - constant - (x[i] - mean) * slope) * inv;
            dx += n;
        }
        for (int64_t i = 0; block && i < 2 * n; i++)
            total[i] += (double)block[i];
    }
}

/* Mean and inverse of each row; room for block and total. */
static inline void norm_rows_plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t n = lki_shape_last(&s->in[0]);
    *out = (lk_kern_plan){.saved_bytes = s->training ? lki_floats(2 * lki_shape_lead(&s->in[0])) : 0,
        .scratch_backward = lki_floats(2 * n) + lki_floats(4 * n)};
}

static inline void norm_rows_result(int64_t n, const double *total, float *out)
{
    for (int64_t i = 0; out && i < n; i++)
        out[i] = (float)total[i];
}

#endif
