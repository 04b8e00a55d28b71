/* What optimizers that go element by element share: an update of one parameter, and of a slice of the flat vector in one launch, where each element finds
 * out whose it is. An optimizer is its struct, made from its coefficients alone, with
 *
 *     __device__ void operator()(int64_t, float g, float &p, float &state...) const
 */
#ifndef LK_KERN_CUDA_OPTIMIZER_CUH
#define LK_KERN_CUDA_OPTIMIZER_CUH

#include "kern/cuda/elements.cuh"

/* ---- what is done to an element beside the update: each is written with fmaf, so that it gives the same bits wherever it is compiled in ---- */

/* As lki_perturbed; element e of the parameter whose stream `key` is. */
static __device__ inline float changed_gradient(const lk_perturb &c, const uint32_t *key, uint64_t e, float g)
{
    double v = (double)g * c.scale;

    if (c.clip > 0)
        v = v > c.clip ? c.clip : v < -c.clip ? -c.clip : v;
    return (float)(c.deviation > 0 ? fma(c.deviation, random_normal(key, c.row, e), v) : v);
}

struct fold_statistic {
    float keep;
    __device__ void operator()(int64_t, float fresh, float &old) const
    {
        old = fmaf(keep, old, fresh);
    }
};

struct move_mean {
    bool copy;
    float share;
    __device__ void operator()(int64_t, float x, float &mean) const
    {
        mean = copy ? x : fmaf(share, x - mean, mean);
    }
};

/* ---- a slice of the flat vector ---- */

enum { FLAT_RUN = 4 }; /* elements a thread */

struct flat_slice {
    lk_flat_map map;
    divisor tile;
    int64_t first, n;
    flat_slice(const lk_flat_map &m, int64_t from, int64_t count) : map(m), tile(m.tile), first(from), n(count)
    {
    }
    /* Whose element `at` of the slice is. */
    __device__ lk_flat_param owner(int64_t at) const
    {
        return map.param[map.param_of[tile.quotient(first + at)]];
    }
};

static inline dim3 flat_grid(int64_t n)
{
    return dim3(grid_of(div_up(n, (int64_t)FLAT_RUN * LKI_BLOCK)));
}

/* f, called for the elements [at, at + FLAT_RUN) of the arrays that come before `end`. */
template <class F, class... A> static __device__ inline void work_flat(int64_t at, int64_t end, bool runs, F f, A... a)
{
    if (runs && at + FLAT_RUN <= end) {
        work_run<FLAT_RUN>(at, f, held_run<FLAT_RUN, A>(a, at)...);
        return;
    }
    for (int64_t i = at; i < end && i < at + FLAT_RUN; i++)
        work_run<1>(i, f, held_run<1, A>(a, i)...);
}

/* The update behind a change of the gradient. */
template <class U> struct changed_update {
    U update;
    lk_perturb change;
    lk_rng rng;
    int64_t begin; /* of the parameter, counted as i is */
    template <class... S> __device__ void operator()(int64_t i, float g, S &...s) const
    {
        update(i, changed_gradient(change, rng.key, (uint64_t)(i - begin), g), s...);
    }
};

/* By value in a launch: what its threads choose from. */
struct flat_group {
    bool fold;
    float keep;
    lki_formula_opt k;
};
struct flat_groups {
    int first, n;
    flat_group at[LK_FLAT_GROUPS];
};

template <bool changes, class U, class... S> static __global__ void flat_update_kernel(flat_slice slice, bool runs, flat_groups groups, lk_perturb change, read_array<float> g, update_array<float> p, S... state)
{
    const int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * FLAT_RUN;
    if (at >= slice.n)
        return;
    const lk_flat_param own = slice.owner(at);
    const int64_t begin = own.first - slice.first, end = begin + own.count;
    const int group = own.group - groups.first;
    if (group < 0 || group >= groups.n)
        return;
    const flat_group &what = groups.at[group];
    if (what.fold)
        work_flat(at, end, runs, fold_statistic{what.keep}, g, p);
    else if constexpr (changes)
        work_flat(at, end, runs, changed_update<U>{U{what.k}, change, own.rng, begin}, g, p, state...);
    else
        work_flat(at, end, runs, U{what.k}, g, p, state...);
}

template <class U, class... S> static lk_status flat_update(const lk_flat_call *c, S... state)
{
    const auto g = reads((const float *)c->sum);
    const auto p = updates((float *)c->weights);
    const bool runs = g.runs(FLAT_RUN) && p.runs(FLAT_RUN) && (state.runs(FLAT_RUN) && ...);
    const dim3 grid = flat_grid(c->n), block(LKI_BLOCK);
    const flat_slice slice(c->map, c->first, c->n);
    flat_groups groups = {};

    groups.first = c->first_group;
    groups.n = c->n_groups;
    for (int i = 0; i < c->n_groups; i++)
        groups.at[i] = {c->group[i].fold, (float)c->group[i].keep, lki_formula_opt_make(&c->group[i].args)};
    return c->change != NULL ? launch(flat_update_kernel<true, U, S...>, grid, block, 0, slice, runs, groups, *c->change, g, p, state...)
                             : launch(flat_update_kernel<false, U, S...>, grid, block, 0, slice, runs, groups, lk_perturb{}, g, p, state...);
}

/* ---- the functions of an optimizer with one array of state, or two ---- */

template <class U> static lk_status update_one(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    return elements(n, U{lki_formula_opt_make(a)}, reads((const float *)g), updates((float *)p), updates((float *)state[0]));
}
template <class U> static lk_status update_two(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a)
{
    return elements(n, U{lki_formula_opt_make(a)}, reads((const float *)g), updates((float *)p), updates((float *)state[0]), updates((float *)state[1]));
}
template <class U> static lk_status flat_one(const lk_flat_call *c)
{
    return flat_update<U>(c, updates((float *)c->state[0]));
}
template <class U> static lk_status flat_two(const lk_flat_call *c)
{
    return flat_update<U>(c, updates((float *)c->state[0]), updates((float *)c->state[1]));
}

/* LKI_OPTIMIZER(adamw, two, adamw_update) */
#define LKI_OPTIMIZER(name, states, update) \
    void lk_opt_cuda_##name(int64_t n, void *p, void *const state[LK_MAX_OPT_STATE], const void *g, const lk_opt_args *a) \
    { \
        lki_cuda_defer(update_##states<update>(n, p, state, g, a)); \
    } \
    void lk_flat_cuda_##name(const lk_flat_call *c) \
    { \
        lki_cuda_defer(flat_##states<update>(c)); \
    }

#endif
