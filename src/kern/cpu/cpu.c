/* The cpu backend: float, one thread a call, no library below: products and convolutions are tile.h's loops, chosen at
 * run time by what the machine has. Nothing here is set by thread, so there is no thread_setup. */
#include "kern/cpu/cpu_int.h"
#include <string.h>

static void copy_floats(int64_t n, const float *x, void *out)
{
    memcpy(out, x, (size_t)n * sizeof *x);
}

static void copy_reals(int64_t n, const void *x, float *out)
{
    memcpy(out, x, (size_t)n * sizeof *out);
}

const lk_backend lk_backend_cpu = {
    .name = "cpu",
    .real_size = sizeof(float),
    .kernel =
        {
#define X(NAME, name) [LK_OP_##NAME] = &lk_kern_cpu_##name,
            LK_OP_LIST(X)
#undef X
        },
    .optimizer =
        {
#define X(NAME, name) [LK_OPT_##NAME] = lk_opt_cpu_##name,
            LK_OPT_LIST(X)
#undef X
        },
    .sum_squares = lki_cpu_sum_squares,
    .from_float = copy_floats,
    .to_float = copy_reals,
};
