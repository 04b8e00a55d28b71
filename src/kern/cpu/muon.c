/* muon, the formulas of ref/muon.c: products by tiles, one thread. */
#include "kern/cpu/cpu_int.h"
#include <math.h>

LK_CLONES static void direction(int64_t n, float *restrict m, const float *restrict g, float scale, float momentum,
    float rest, bool nesterov, float *restrict u)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * scale;
        m[i] = momentum * m[i] + rest * d;
        u[i] = nesterov ? rest * d + momentum * m[i] : m[i];
    }
}

LK_CLONES static void scaled(int64_t n, float factor, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* y = p x + q y */
LK_CLONES static void mixed(int64_t n, float p, const float *restrict x, float q, float *restrict y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = p * x[i] + q * y[i];
}

void lk_opt_cpu_muon(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    if (!a->hidden) {
        lk_opt_cpu_adamw(n, p, state, g, a);
        return;
    }
    const lki_tiles *const t = lki_tiles_get();
    const int64_t rows = a->shape->dim[0], cols = a->shape->dim[1], side = lki_muon_side(a->shape), wide = n / side;
    const size_t whole = lki_muon_bytes(rows, cols, sizeof(float)) / sizeof(float);
    float *x = a->scratch, *y = x + whole;
    float *const aa = y + whole, *const b = aa + lki_muon_bytes(side, side, sizeof(float)) / sizeof(float);
    direction(n, state[0], g, (float)a->grad_scale, (float)a->momentum, (float)(1 - a->momentum), a->nesterov,
        rows > cols ? y : x);
    if (rows > cols) /* the shorter side first */
        lki_transpose(rows, cols, y, x);
    scaled(n, (float)(1 / (sqrt(lki_cpu_sum_squares(n, x)) + LKI_MUON_EPS)), x);
    for (int step = 0; step < LKI_MUON_STEPS; step++) {
        lki_gemm_nt(t, side, side, wide, x, wide, x, wide, aa, side);
        lki_gemm_nn(t, side, side, side, aa, side, 1, aa, side, b, side, false);
        mixed(side * side, (float)LKI_MUON_B, aa, (float)LKI_MUON_C, b);
        lki_gemm_nn(t, side, wide, side, b, side, 1, x, wide, y, wide, false);
        mixed(n, (float)LKI_MUON_A, x, 1, y);
        float *const next = y;
        y = x;
        x = next;
    }
    if (rows > cols) {
        lki_transpose(cols, rows, x, y);
        x = y;
    }
    const double scale = rows > cols ? sqrt((double)rows / (double)cols) : 1;
    mixed(n, (float)(-a->lr * scale), x, (float)(1 - a->lr * a->weight_decay), p);
}
