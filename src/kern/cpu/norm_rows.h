/* What layer_norm and rms_norm share: vectors along the last dimension, each with its own mean (0 if not centered) and
 * inverse deviation. A vector is read from memory once, and stays in the nearest cache for the passes over it.
 * Of two inputs x is the sum, which is written on the way. Backward, t = x - mean, g = dy w: dx = inv (g - mean(g) - t inv^2 mean(g t)), the second term if centered,
 * and what comes to x from elsewhere is added. */
#ifndef LK_KERN_CPU_NORM_ROWS_H
#define LK_KERN_CPU_NORM_ROWS_H

#include "kern/cpu/cpu_int.h"
#include "kern/cpu/lanes.h"
#include <math.h>
#include <string.h>

enum { NORM_BLOCK = 64 }; /* rows whose shares of dw and db are summed in float before they go to double */

LK_INLINE void norm_rows_forward(bool center, const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = lki_shape_lead(&s->in[0]), n = lki_shape_last(&s->in[0]);
    const float *const w = c->param[0], *const b = s->n_params > 1 ? c->param[1] : NULL;
    float *const stat = c->saved;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)c->x[0] + r * n;
        float *const y = (float *)c->y + r * n;
        if (s->n_in > 1) {
            const float *const more = (const float *)c->x[1] + r * n;
            float *const sum = (float *)c->sum + r * n;
            LK_INDEPENDENT
            for (int64_t i = 0; i < n; i++)
                sum[i] = x[i] + more[i];
            x = sum;
        }
        float mean = 0, squares;
        if (center) {
            LKI_RUN_SUM(mean, n, LKI_VEC(x + i), x[i]);
            mean /= (float)n;
        }
        LKI_RUN_SUM(squares, n, (LKI_VEC(x + i) - mean) * (LKI_VEC(x + i) - mean), (x[i] - mean) * (x[i] - mean));
        const float inv = 1 / sqrtf(squares / (float)n + (float)s->attr.norm.eps);
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

static inline void norm_rows_result(int64_t n, const double *total, float *out)
{
    for (int64_t i = 0; out && i < n; i++)
        out[i] = (float)total[i];
}

LK_INLINE void norm_rows_backward(bool center, const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = lki_shape_lead(&s->in[0]), n = lki_shape_last(&s->in[0]);
    const float *x = s->n_in > 1 ? c->sum : c->x[0], *const w = c->param[0], *const stat = c->saved, *dy = c->dy, *dsum = c->dsum;
    float *dx = c->dx[0], *const dw = c->dparam[0], *const db = s->n_params > 1 ? c->dparam[1] : NULL;
    /* Those of dw and db side by side: [2 n] floats of some rows, [2 n] doubles of all. NULL: not asked for. */
    float *const block = dw || db ? c->scratch : NULL;
    double *const total = block ? (double *)((char *)c->scratch + lki_floats(2 * n)) : NULL;
    if (total)
        memset(total, 0, 2 * (size_t)n * sizeof *total);
    for (int64_t r0 = 0; r0 < rows; r0 += NORM_BLOCK) {
        const int64_t r1 = lki_min(r0 + NORM_BLOCK, rows);
        if (block)
            memset(block, 0, 2 * (size_t)n * sizeof *block);
        for (int64_t r = r0; r < r1; r++, x += n, dy += n) {
            const float mean = stat[2 * r], inv = stat[2 * r + 1];
            if (block) {
                float *const dw_block = block, *const db_block = block + n;
                LK_INDEPENDENT
                for (int64_t i = 0; i < n; i++) {
                    dw_block[i] += dy[i] * ((x[i] - mean) * inv);
                    db_block[i] += dy[i];
                }
            }
            if (!dx)
                continue;
            float g = 0, gt;
            if (center)
                LKI_RUN_SUM(g, n, LKI_VEC(dy + i) * LKI_VEC(w + i), dy[i] * w[i]);
            LKI_RUN_SUM(gt, n, LKI_VEC(dy + i) * LKI_VEC(w + i) * (LKI_VEC(x + i) - mean), dy[i] * w[i] * (x[i] - mean));
            const float constant = g / (float)n, slope = gt / (float)n * inv * inv;
            if (dsum) {
                LK_INDEPENDENT
                for (int64_t i = 0; i < n; i++)
                    dx[i] = dsum[i] + (dy[i] * w[i] - constant - (x[i] - mean) * slope) * inv;
                dsum += n;
            } else {
                LK_INDEPENDENT
                for (int64_t i = 0; i < n; i++)
                    dx[i] = (dy[i] * w[i] - constant - (x[i] - mean) * slope) * inv;
            }
            dx += n;
        }
        for (int64_t i = 0; block && i < 2 * n; i++)
            total[i] += (double)block[i];
    }
    if (block) {
        norm_rows_result(n, total, dw);
        norm_rows_result(n, total + n, db);
    }
}

/* Mean and inverse of each row; room for block and total. */
static inline void norm_rows_plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t n = lki_shape_last(&s->in[0]);
    *out = (lk_kern_plan){.saved_bytes = s->training ? lki_floats(2 * lki_shape_lead(&s->in[0])) : 0,
        .scratch_backward = lki_floats(2 * n) + lki_floats(4 * n)};
}

#endif
