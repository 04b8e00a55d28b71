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

static void tile_squares(int64_t n_tiles, int64_t tile, const void *x, double *out)
{
    for (int64_t i = 0; i < n_tiles; i++)
        out[i] = lki_cpu_sum_squares(tile, (const float *)x + i * tile);
}

static void fold(int64_t n, double keep, void *old, const void *fresh)
{
    float *const w = old;
    const float *const f = fresh;

    for (int64_t i = 0; i < n; i++)
        w[i] = (float)keep * w[i] + f[i];
}

static void average(int64_t n, double share, const void *x, void *mean)
{
    float *const m = mean;
    const float *const w = x;

    for (int64_t i = 0; i < n; i++)
        m[i] = share == 1 ? w[i] : m[i] + (float)share * (w[i] - m[i]);
}

static void perturb(int64_t n, const lk_perturb *p, void *gradient)
{
    float *const g = gradient;

    for (int64_t i = 0; i < n; i++)
        g[i] = (float)lki_perturbed(p, (double)g[i], i);
}

static void scale_statistics(int n, const lk_stat_item *item, int64_t after, const lk_live *live, void *leaf)
{
    (void)live;
    for (int k = 0; k < n; k++) {
        const float w = (float)lki_statistic_weight(item[k].momentum, after);
        float *const x = (float *)leaf + item[k].first;

        for (int64_t i = 0; i < item[k].n; i++)
            x[i] *= w;
    }
}

const lk_backend lk_backend_cpu = {
    .name = "cpu",
    .space = &lk_space_host,
    .real_size = sizeof(float),
    .value_size = sizeof(float),
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
    .tile_squares = tile_squares,
    .from_float = copy_floats,
    .to_float = copy_reals,
    .fold = fold,
    .average = average,
    .perturb = perturb,
    .scale_statistics = scale_statistics,
};
