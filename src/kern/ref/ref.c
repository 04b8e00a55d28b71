/* The reference backend: double precision in plain loops. Finite differences check it, and it checks the others. */
#include "kern/ref/ref_int.h"
#include <math.h>
#include <string.h>

double ref_gelu(double x)
{
    return 0.5 * x * (1 + erf(x * M_SQRT1_2));
}

double ref_gelu_slope(double x)
{
    const double density = exp(-0.5 * x * x) / sqrt(2 * M_PI);
    return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * density;
}

void ref_copy(int64_t n, const double *x, double *y)
{
    if (x != y)
        memcpy(y, x, (size_t)n * sizeof *y);
}

static double sum_squares(int64_t n, const void *x)
{
    const double *const v = x;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i] * v[i];
    return sum;
}

static void from_float(int64_t n, const float *x, void *out)
{
    double *const y = out;
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
}

static void to_float(int64_t n, const void *x, float *out)
{
    const double *const v = x;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)v[i];
}

const lk_backend lk_backend_ref = {
    .name = "ref",
    .real_size = sizeof(double),
    .kernel =
        {
#define X(NAME, name) [LK_OP_##NAME] = &lk_kern_ref_##name,
            LK_OP_LIST(X)
#undef X
        },
    .optimizer =
        {
#define X(NAME, name) [LK_OPT_##NAME] = lk_opt_ref_##name,
            LK_OPT_LIST(X)
#undef X
        },
    .sum_squares = sum_squares,
    .from_float = from_float,
    .to_float = to_float,
};
