/* The CUDA backends, one for each type of values, and what they do beside operations: sums of the reduction, statistics, what the optimizer
 * and clipping need. */
#include "kern/cuda/cuda_int.h"

/* ---- sums along the tree ---- */

template <lk_sum_form form> struct sum_of {
    float *to;
    const float *a, *b, *c, *d;
    __device__ void operator()(int64_t i) const
    {
        if (form == LK_SUM_2)
            to[i] = a[i] + b[i];
        else if (form == LK_SUM_3L)
            to[i] = (a[i] + b[i]) + c[i];
        else if (form == LK_SUM_3R)
            to[i] = a[i] + (b[i] + c[i]);
        else
            to[i] = (a[i] + b[i]) + (c[i] + d[i]);
    }
};

/* Four at a time, where all of them are aligned. */
template <lk_sum_form form> struct sum_of_four {
    float *to;
    const float *a, *b, *c, *d;
    __device__ void operator()(int64_t i) const
    {
        vec<float> x = load_vec(a + 4 * i), y = load_vec(b + 4 * i), z = {}, w = {}, r;
        if (form != LK_SUM_2)
            z = load_vec(c + 4 * i);
        if (form == LK_SUM_4)
            w = load_vec(d + 4 * i);
        for (int k = 0; k < 4; k++)
            r.at[k] = form == LK_SUM_2 ? x.at[k] + y.at[k] : form == LK_SUM_3L ? (x.at[k] + y.at[k]) + z.at[k] : form == LK_SUM_3R ? x.at[k] + (y.at[k] + z.at[k]) : (x.at[k] + y.at[k]) + (z.at[k] + w.at[k]);
        store_vec(to + 4 * i, r);
    }
};

template <lk_sum_form form> static lk_status sum_form(int64_t n, float *to, const float *const from[4])
{
    const int used = form == LK_SUM_2 ? 2 : form == LK_SUM_4 ? 4 : 3;
    const float *p[4] = {};
    bool aligned = aligned16(to);

    for (int k = 0; k < used; k++) {
        p[k] = from[k];
        aligned &= aligned16(p[k]);
    }
    const int64_t whole = aligned ? n / 4 * 4 : 0;
    LK_TRY(each(whole / 4, sum_of_four<form>{to, p[0], p[1], p[2], p[3]}));
    for (int k = 0; k < used; k++)
        p[k] += whole;
    return each(n - whole, sum_of<form>{to + whole, p[0], p[1], p[2], p[3]});
}

lk_status lki_cuda_sum(lk_sum_form form, int64_t n, float *to, const float *const from[4])
{
    switch (form) {
    case LK_SUM_2:
        return sum_form<LK_SUM_2>(n, to, from);
    case LK_SUM_3L:
        return sum_form<LK_SUM_3L>(n, to, from);
    case LK_SUM_3R:
        return sum_form<LK_SUM_3R>(n, to, from);
    default:
        return sum_form<LK_SUM_4>(n, to, from);
    }
}

/* ---- element by element ---- */

struct fold_statistic {
    float keep, *old;
    const float *fresh;
    __device__ void operator()(int64_t i) const
    {
        old[i] = keep * old[i] + fresh[i];
    }
};

static void fold(int64_t n, double keep, void *old, const void *fresh)
{
    lki_cuda_defer(each(n, fold_statistic{(float)keep, (float *)old, (const float *)fresh}));
}

struct move_mean {
    bool copy;
    float share, *mean;
    const float *x;
    __device__ void operator()(int64_t i) const
    {
        mean[i] = copy ? x[i] : mean[i] + share * (x[i] - mean[i]);
    }
};

static void average(int64_t n, double share, const void *x, void *mean)
{
    lki_cuda_defer(each(n, move_mean{share == 1, (float)share, (float *)mean, (const float *)x}));
}

/* As lki_perturbed. */
struct perturb_gradient {
    lk_perturb p;
    float *g;
    __device__ void operator()(int64_t i) const
    {
        const double noise = p.deviation > 0 ? p.deviation * random_normal(p.rng.key, p.row, p.first + (uint64_t)i) : 0;
        double v = (double)g[i] * p.scale;
        if (p.clip > 0)
            v = v > p.clip ? p.clip : v < -p.clip ? -p.clip : v;
        g[i] = (float)(v + noise);
    }
};

static void perturb(int64_t n, const lk_perturb *p, void *gradient)
{
    lki_cuda_defer(each(n, perturb_gradient{*p, (float *)gradient}));
}

static void cast(lki_type from_type, int64_t n, const void *from, lki_type to_type, void *to)
{
    lki_cuda_defer(lki_convert(n, from_type, from, to_type, to));
}

template <lki_type t> static void from_floats(int64_t n, const float *x, void *out)
{
    cast(LKI_F32, n, x, t, out);
}

template <lki_type t> static void to_floats(int64_t n, const void *x, float *out)
{
    cast(t, n, x, LKI_F32, out);
}

/* ---- sums ---- */

enum { SQUARES_BLOCK = 128 };

/* A block a tile: each thread its elements in rising order, then over the block. */
__global__ void tile_squares_kernel(int64_t tile, const float *x, double *out)
{
    __shared__ double shared[33];
    const float *own = x + blockIdx.x * tile;
    double sum = 0;

    for (int64_t i = threadIdx.x; i < tile; i += blockDim.x)
        sum += (double)own[i] * (double)own[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

static void tile_squares(int64_t n_tiles, int64_t tile, const void *x, double *out)
{
    if (n_tiles > 0)
        lki_cuda_defer(launch(tile_squares_kernel, dim3(grid_of(n_tiles)), dim3(SQUARES_BLOCK), 0, tile, (const float *)x, out));
}

/* A block a statistic. */
__global__ void statistics_kernel(const lk_stat_item *item, const lk_live *live, float *leaf)
{
    const lk_stat_item own = item[blockIdx.x];
    const float w = (float)(own.momentum * pow(1.0 - own.momentum, (double)live->folds_after));

    for (int64_t i = threadIdx.x; i < own.n; i += blockDim.x)
        leaf[own.first + i] *= w;
}

static void scale_statistics(int n, const lk_stat_item *item, int64_t after, const lk_live *live, void *leaf)
{
    (void)after;
    if (n > 0)
        lki_cuda_defer(launch(statistics_kernel, dim3(grid_of(n)), dim3(LKI_BLOCK), 0, item, live, (float *)leaf));
}

/* ---- the tables ---- */

template <lki_type t> static lk_backend make(const char *name)
{
    lk_backend b = {};

    b.name = name;
    b.space = &lki_space_cuda;
    b.real_size = sizeof(float);
    b.value_size = lki_type_size(t);
#define X(NAME, op) b.kernel[LK_OP_##NAME] = lk_kern_cuda_##op != NULL ? lk_kern_cuda_##op[t] : NULL;
    LK_OP_LIST(X)
#undef X
#define X(NAME, opt) b.optimizer[LK_OPT_##NAME] = lk_opt_cuda_##opt;
    LK_OPT_LIST(X)
#undef X
    b.tile_squares = tile_squares;
    b.from_float = from_floats<t>;
    b.to_float = to_floats<t>;
    b.fold = fold;
    b.average = average;
    b.perturb = perturb;
    b.scale_statistics = scale_statistics;
    return b;
}

extern "C" const lk_backend *lki_cuda_backend(lki_type t)
{
    static const lk_backend backends[LKI_TYPES] = {make<LKI_F32>("cuda"), make<LKI_BF16>("cuda bf16"), make<LKI_F16>("cuda fp16")};

    return &backends[t];
}
