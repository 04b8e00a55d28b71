/* What losses share: their metrics, added up in an order fixed by the shape, and the passes of those that are for each sample a mean (or a sum) over its
 * elements. */
#ifndef LK_KERN_CUDA_ELEMENT_LOSS_CUH
#define LK_KERN_CUDA_ELEMENT_LOSS_CUH

#include "kern/cuda/elements.cuh"

#include <algorithm>

/* ---- metrics ---- */
/* Of some rows, before the loss's share. */
struct loss_sums {
    double at[LK_METRIC_NAMED + 1]; /* by LK_METRIC_ */
};

/* Stores the sums over the block's threads, all of which must call, as number blockIdx.x of `part`. */
static __device__ inline void store_block_sums(const loss_sums &own, loss_sums *part)
{
    __shared__ double shared[33];
    loss_sums sum;
    for (int i = 0; i <= LK_METRIC_NAMED; i++)
        sum.at[i] = block_sum(own.at[i], shared);
    if (threadIdx.x == 0)
        part[blockIdx.x] = sum;
}

/* element_loss.cu: metrics = the sums over part [parts], the loss times `scale`. */
LK_MUST_USE lk_status lki_loss_metrics(int64_t parts, const loss_sums *part, double scale, double *metrics);

/* ---- losses by element ---- */
/* F, a struct, is what an element of prediction x and target t (0, if there is no target) adds:
 *     lki_formula_loss operator()(float x, float t) const;
 *     static F of(const lk_attrs *a);
 *     static double share(const lk_attrs *a);   of the loss, 0 for 1
 *     static constexpr bool sum, checked;       over the elements of a sample, not their mean; targets outside of [0, 1] leave a note */

/* Elements that a thread takes before there are more blocks, and blocks at most. */
enum { LOSS_RUN = 32, LOSS_BLOCKS = 1024 };
static inline int64_t loss_blocks(const lk_opspec *s)
{
    return std::min(div_up(lk_shape_count(&s->in[0]), (int64_t)LOSS_RUN * LKI_BLOCK), (int64_t)LOSS_BLOCKS);
}

/* Of samples of n elements each; `share`: what an element counts. */
template <class T, class F>
static __global__ void element_loss_kernel(int64_t n, double share, const lk_live *live, int node, bool aligned, F f, const T *x, const T *t, loss_sums *part)
{
    constexpr int W = vec<T>::n;
    const int64_t end = live->valid * n, step = (int64_t)gridDim.x * blockDim.x * W;
    double loss = 0, named = 0;

    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * W; i < end; i += step) {
        float a[W] = {}, b[W] = {}, some = 0, some_named = 0;
        const int count = (int)min((int64_t)W, end - i);
        if (aligned && count == W) {
            load_run(x + i, a);
            if (t)
                load_run(t + i, b);
        } else {
            for (int k = 0; k < W; k++) {
                a[k] = k < count ? to_float(x[i + k]) : 0;
                b[k] = t && k < count ? to_float(t[i + k]) : 0;
            }
        }
        for (int k = 0; k < W; k++) {
            if (k >= count)
                continue;
            if (F::checked && !(b[k] >= 0 && b[k] <= 1)) {
                note_fault(live, LK_FAULT_TARGET, node, (i + k) / n, __double_as_longlong((double)b[k]), 0);
                continue;
            }
            const lki_formula_loss l = f(a[k], b[k]);
            some += l.loss;
            some_named += l.named;
        }
        loss += (double)some;
        named += (double)some_named;
    }
    const double valid = blockIdx.x == 0 && threadIdx.x == 0 ? (double)live->valid : 0;
    store_block_sums({{loss * share, valid, valid, named * share}}, part);
}

/* Zeros in padding rows. */
template <class F> struct element_loss_slopes {
    F f;
    int64_t n;
    double factor;
    const lk_live *live;
    __device__ void operator()(int64_t i, float x, float t, float &dx, float &dt) const
    {
        const float times = (float)(factor * live->grad_scale);
        lki_formula_loss l = {};
        if (i < live->valid * n)
            l = f(x, t);
        dx = l.dx * times;
        dt = l.dt * times;
    }
};

static inline lk_status element_loss_plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = {};
    out->scratch_forward = (size_t)loss_blocks(s) * sizeof(loss_sums);
    return LK_OK;
}

template <class T, class F> static lk_status element_loss_forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_row(&s->in[0]), blocks = loss_blocks(s);
    const T *const x = (const T *)c->x[0], *const t = s->n_in > 1 ? (const T *)c->x[1] : NULL;
    loss_sums *const part = (loss_sums *)c->scratch;

    LK_TRY(launch(element_loss_kernel<T, F>, dim3(grid_of(blocks)), dim3(LKI_BLOCK), 0, n, F::sum ? 1.0 : 1.0 / (double)n, c->live, c->node,
        aligned16(x) && aligned16(t), F::of(&s->attr), x, t, part));
    return lki_loss_metrics(blocks, part, lki_or_one(F::share(&s->attr)), c->micro->metrics);
}
template <class T, class F> static lk_status element_loss_backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_row(&s->in[0]);
    const T *const x = (const T *)c->x[0], *const t = s->n_in > 1 ? (const T *)c->x[1] : x;
    const element_loss_slopes<F> slopes = {F::of(&s->attr), n, lki_or_one(F::share(&s->attr)) / (F::sum ? 1.0 : (double)n), c->live};

    if (!c->dx[0] && !c->dx[1])
        return LK_OK;
    return elements(lk_shape_count(&s->in[0]), slopes, reads(x), reads(t), writes((T *)c->dx[0]), writes((T *)c->dx[1]));
}
template <class T, class F>
static constexpr lk_kernel element_loss = {
    .plan = element_loss_plan, .forward = element_loss_forward<T, F>, .backward = element_loss_backward<T, F>};

#endif
