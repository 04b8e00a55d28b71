/* muon, the formulas of ref/muon.c. X stays as the parameter lies: with the longer side first A is X^T X and the step X <- a X + X (b A + c A A), which is
 * the transpose of the other; nothing is turned.
 *
 * Optimizers have no plan, so the products of a shape are planned when it comes for the first time, and kept as long as the process. */
#include "kern/cuda/whole.cuh"

typedef struct muon_products {
    int64_t rows, cols;
    bool tf32;
    lki_gemm *square, *polynomial, *apply; /* A = X X^T; B += c A A; Y += B X */
    struct muon_products *next;
} muon_products;

static muon_products *planned;

static lk_status products_create(muon_products *p)
{
    const bool tall = p->rows > p->cols;
    const int64_t side = tall ? p->cols : p->rows, wide = tall ? p->rows : p->cols;
    lki_gemm_spec square = {}, polynomial = {}, apply = {};

    square.m = square.n = side;
    square.k = wide;
    square.ta = tall;
    square.tb = !tall;
    LK_TRY(lki_gemm_create(&square, &p->square));
    polynomial.m = polynomial.n = polynomial.k = side;
    polynomial.add = true;
    LK_TRY(lki_gemm_create(&polynomial, &p->polynomial));
    apply.m = p->rows, apply.n = p->cols, apply.k = side;
    apply.add = true;
    return lki_gemm_create(&apply, &p->apply);
}

static lk_status products_of(int64_t rows, int64_t cols, const muon_products **out)
{
    muon_products *p;

    for (p = planned; p != NULL; p = p->next)
        if (p->rows == rows && p->cols == cols && p->tf32 == lki_cuda_device.tf32) {
            *out = p;
            return LK_OK;
        }
    LK_TRY(lk_alloc(sizeof *p, "products of muon", &p));
    p->rows = rows;
    p->cols = cols;
    p->tf32 = lki_cuda_device.tf32;
    const lk_status st = products_create(p);
    if (st != LK_OK) {
        lki_gemm_destroy(&p->square);
        lki_gemm_destroy(&p->polynomial);
        lki_gemm_destroy(&p->apply);
        lk_free(p);
        return lk_err_frame(st, __FILE__, __LINE__, __func__);
    }
    p->next = planned;
    planned = p;
    *out = p;
    return LK_OK;
}

/* Moves the mean of element i; its direction, and the square of that. */
struct muon_direction {
    float scale, momentum, rest;
    bool nesterov;
    const float *g;
    float *m, *x;
    __device__ void operator()(int64_t i, double &squares, double &) const
    {
        const float d = rest * (g[i] * scale), mean = fmaf(momentum, m[i], d), u = nesterov ? fmaf(momentum, mean, d) : mean;
        m[i] = mean;
        x[i] = u;
        squares += (double)u * (double)u;
    }
};
struct muon_factor {
    __device__ float operator()(double squares, double) const
    {
        return (float)(1 / (sqrt(squares) + LKI_MUON_EPS));
    }
};
struct muon_normal {
    const float *factor;
    __device__ void operator()(int64_t, float &x) const
    {
        x *= *factor;
    }
};
struct muon_times {
    float by;
    __device__ void operator()(int64_t, float x, float &y) const
    {
        y = by * x;
    }
};
struct muon_update {
    float step, keep;
    __device__ void operator()(int64_t, float x, float &p) const
    {
        p = fmaf(step, x, keep * p);
    }
};

static lk_status update(int64_t n, float *p, float *m, const float *g, const lk_opt_args *a)
{
    const int64_t rows = a->shape->dim[0], cols = a->shape->dim[1], side = lki_muon_side(a->shape);
    const size_t whole = lki_muon_bytes(rows, cols, sizeof(float)) / sizeof(float), square = lki_muon_bytes(side, side, sizeof(float)) / sizeof(float);
    float *x = (float *)a->scratch, *y = x + whole, *const aa = y + whole, *const b = aa + square;
    const float *factor = NULL;
    const muon_products *products = NULL;

    LK_TRY(products_of(rows, cols, &products));
    LK_TRY(pair_of_sums(n, muon_direction{(float)a->grad_scale, (float)a->momentum, (float)(1 - a->momentum), a->nesterov, g, m, x}, muon_factor{}, b + square, &factor));
    LK_TRY(elements(n, muon_normal{factor}, updates(x)));
    for (int step = 0; step < LKI_MUON_STEPS; step++) {
        LK_TRY(lki_gemm_run(products->square, 1, x, x, aa, NULL));
        LK_TRY(elements(side * side, muon_times{(float)LKI_MUON_B}, reads((const float *)aa), writes(b)));
        LK_TRY(lki_gemm_run(products->polynomial, (float)LKI_MUON_C, aa, aa, b, NULL));
        LK_TRY(elements(n, muon_times{(float)LKI_MUON_A}, reads((const float *)x), writes(y)));
        LK_TRY(rows > cols ? lki_gemm_run(products->apply, 1, x, b, y, NULL) : lki_gemm_run(products->apply, 1, b, x, y, NULL));
        float *const next = y;
        y = x;
        x = next;
    }
    const double scale = rows > cols ? sqrt((double)rows / (double)cols) : 1;
    return elements(n, muon_update{(float)(-a->lr * scale), (float)(1 - a->lr * a->weight_decay)}, reads((const float *)x), updates(p));
}

void lk_opt_cuda_muon(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    if (a->hidden)
        lki_cuda_defer(update(n, (float *)p, (float *)state[0], (const float *)g, a));
    else
        lk_opt_cuda_adamw(n, p, state, g, a);
}
