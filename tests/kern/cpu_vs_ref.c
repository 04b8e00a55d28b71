/* The cpu backend against ref. */
#include "kern/harness.h"
#include "kern/tolerance.h"

static const lk_backend *const tested = &lk_backend_cpu;

static double tolerance_of(lk_op op)
{
    return tolerance[op];
}

static void setup(void)
{
    if (tested->thread_setup)
        tested->thread_setup();
}

#include "kern/vs_ref.h"

Test(cpu_vs_ref, sums_and_floats, .init = setup)
{
    for (size_t i = 0; i < sizeof opt_sizes / sizeof opt_sizes[0]; i++) {
        const int64_t n = opt_sizes[i];
        double *const v = kern_uniform(lk_rng_make(5, LK_RNG_TEST, i), n, -3, 3), *back = NULL;
        float *f = NULL, *x = NULL;
        KERN_OK(lk_alloc_array(n, sizeof *f, "test", &f));
        KERN_OK(lk_alloc_array(n, sizeof *x, "test", &x));
        KERN_OK(lk_alloc_array(n, sizeof *back, "test", &back));
        lk_backend_ref.to_float(n, v, f);
        lk_backend_ref.from_float(n, f, back);
        cr_assert(memcmp(v, back, (size_t)n * sizeof *v) == 0);
        lk_backend_cpu.from_float(n, f, x);
        cr_assert(memcmp(x, f, (size_t)n * sizeof *f) == 0);
        lk_backend_cpu.to_float(n, x, f);
        cr_assert(memcmp(x, f, (size_t)n * sizeof *f) == 0);
        /* Squares of floats are exact in double, sums in double differ by the order alone. */
        double a, b;
        lk_backend_ref.tile_squares(1, n, v, &a);
        lk_backend_cpu.tile_squares(1, n, x, &b);
        cr_assert(fabs(a - b) <= 1e-13 * a, "n %" PRId64 ": %.17g and %.17g", n, a, b);
        lk_free(f);
        lk_free(x);
        lk_free(back);
        lk_free(v);
    }
}
