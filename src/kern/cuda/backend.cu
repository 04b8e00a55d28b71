/* The CUDA backends, one for each type of values, and what they do beside operations: sums of the reduction, statistics, what the optimizer
 * and clipping need. */
#include "kern/cuda/optimizer.cuh"

/* ---- sums along the tree ---- */

struct sum_of_2 {
    __device__ void operator()(int64_t, float a, float b, float &to) const
    {
        to = a + b;
    }
};
struct sum_of_3_left {
    __device__ void operator()(int64_t, float a, float b, float c, float &to) const
    {
        to = (a + b) + c;
    }
};
struct sum_of_3_right {
    __device__ void operator()(int64_t, float a, float b, float c, float &to) const
    {
        to = a + (b + c);
    }
};
struct sum_of_4 {
    __device__ void operator()(int64_t, float a, float b, float c, float d, float &to) const
    {
        to = (a + b) + (c + d);
    }
};

lk_status lki_cuda_sum(lk_sum_form form, int64_t n, float *to, const float *const from[4])
{
    const auto a = reads(from[0]), b = reads(from[1]);

    switch (form) {
    case LK_SUM_2:
        return elements(n, sum_of_2(), a, b, writes(to));
    case LK_SUM_3L:
        return elements(n, sum_of_3_left(), a, b, reads(from[2]), writes(to));
    case LK_SUM_3R:
        return elements(n, sum_of_3_right(), a, b, reads(from[2]), writes(to));
    default:
        return elements(n, sum_of_4(), a, b, reads(from[2]), reads(from[3]), writes(to));
    }
}

/* ---- element by element ---- */

static void fold(int64_t n, double keep, void *old, const void *fresh)
{
    lki_cuda_defer(elements(n, fold_statistic{(float)keep}, reads((const float *)fresh), updates((float *)old)));
}

static void average(int64_t n, double share, const void *x, void *mean)
{
    lki_cuda_defer(elements(n, move_mean{share == 1, (float)share}, reads((const float *)x), updates((float *)mean)));
}

__global__ void flat_average_kernel(flat_slice slice, bool runs, move_mean weights, read_array<float> x, update_array<float> mean)
{
    const int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * FLAT_RUN;
    if (at >= slice.n)
        return;
    const lk_flat_param own = slice.owner(at);

    work_flat(at, own.first + own.count - slice.first, runs, own.weight ? weights : move_mean{true, 0}, x, mean);
}

static void flat_average(const lk_flat_map *map, int64_t first, int64_t n, double share, const void *from, void *to)
{
    const auto x = reads((const float *)from);
    const auto mean = updates((float *)to);

    lki_cuda_defer(launch(flat_average_kernel, flat_grid(n), dim3(LKI_BLOCK), 0, flat_slice(*map, first, n), x.runs(FLAT_RUN) && mean.runs(FLAT_RUN), move_mean{share == 1, (float)share}, x, mean));
}

struct perturb_gradient {
    lk_perturb p;
    __device__ void operator()(int64_t i, float &g) const
    {
        g = changed_gradient(p, p.rng.key, p.first + (uint64_t)i, g);
    }
};

static void perturb(int64_t n, const lk_perturb *p, void *gradient)
{
    lki_cuda_defer(elements(n, perturb_gradient{*p}, updates((float *)gradient)));
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
#define X(NAME, opt) \
    b.optimizer[LK_OPT_##NAME] = lk_opt_cuda_##opt; \
    b.flat[LK_OPT_##NAME] = lk_flat_cuda_##opt;
    LK_OPT_LIST(X)
#undef X
    b.tile_squares = tile_squares;
    b.from_float = from_floats<t>;
    b.to_float = to_floats<t>;
    b.fold = fold;
    b.average = average;
    b.perturb = perturb;
    b.flat_average = flat_average;
    b.scale_statistics = scale_statistics;
    return b;
}

extern "C" const lk_backend *lki_cuda_backend(lki_type t)
{
    static const lk_backend backends[LKI_TYPES] = {make<LKI_F32>("cuda"), make<LKI_BF16>("cuda bf16"), make<LKI_F16>("cuda fp16")};

    return &backends[t];
}
