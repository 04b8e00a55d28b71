/* muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): for the matrices [rows, cols]
 * inside of the network m = momentum m + (1-momentum) g; u = m, or (1-momentum) g + momentum m with nesterov; O = u
 * made nearly orthogonal by 5 steps X <- a X + (b A + c A A) X, A = X X^T, from X = u / (|u| + eps); p -= lr
 * (sqrt(max(1, rows / cols)) O + wd p). All else is updated by adamw. */
#include "kern/kern_int.h"
#include <math.h>

/* c [m][n] = a [m][k] times b [k][n], or b [n][k] transposed. */
static void product(int64_t m, int64_t n, int64_t k, const double *a, const double *b, bool transposed, double *c)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += a[i * k + l] * (transposed ? b[j * k + l] : b[l * n + j]);
            c[i * n + j] = sum;
        }
}

void lk_opt_ref_muon(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    if (!a->hidden) {
        lk_opt_ref_adamw(n, p, state, g, a);
        return;
    }
    const int64_t rows = a->shape->dim[0], cols = a->shape->dim[1], side = lki_muon_side(a->shape), wide = n / side;
    const size_t whole = lki_muon_bytes(rows, cols, sizeof(double)) / sizeof(double);
    double *const w = p, *const m = state[0], *const x = a->scratch, *const y = x + whole, *const aa = y + whole;
    double *const b = aa + lki_muon_bytes(side, side, sizeof(double)) / sizeof(double);
    const double *const grad = g;
    double squares = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = grad[i] * a->grad_scale;
        m[i] = a->momentum * m[i] + (1 - a->momentum) * d;
        const double u = a->nesterov ? (1 - a->momentum) * d + a->momentum * m[i] : m[i];
        x[rows > cols ? i % cols * rows + i / cols : i] = u; /* the shorter side first */
        squares += u * u;
    }
    for (int64_t i = 0; i < n; i++)
        x[i] /= sqrt(squares) + LKI_MUON_EPS;
    for (int step = 0; step < LKI_MUON_STEPS; step++) {
        product(side, side, wide, x, x, true, aa);
        product(side, side, side, aa, aa, false, b);
        for (int64_t i = 0; i < side * side; i++)
            b[i] = LKI_MUON_B * aa[i] + LKI_MUON_C * b[i];
        product(side, wide, side, b, x, false, y);
        for (int64_t i = 0; i < n; i++)
            x[i] = LKI_MUON_A * x[i] + y[i];
    }
    const double scale = rows > cols ? sqrt((double)rows / (double)cols) : 1;
    for (int64_t i = 0; i < n; i++)
        w[i] -= a->lr * (scale * x[rows > cols ? i % cols * rows + i / cols : i] + a->weight_decay * w[i]);
}
