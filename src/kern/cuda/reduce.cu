/* reduce: the sum over the axes, or the mean; with lengths over the first so many places of axis 1, and 0 where there are none. */
#include "kern/cuda/fold.cuh"
#include "kern/cuda/lengths.cuh"

namespace {

fold_groups groups_of(const lk_opspec *s)
{
    return fold_groups_make(s->in[0].ndim, s->in[0].dim, s->attr.reduce.axes);
}

fold_whole whole_of(const lk_opspec *s, const fold_groups *g)
{
    return {{g->count, s->attr.reduce.mean ? 1.0f / (float)g->count : 1.0f}};
}

struct fold_lengths {
    row_lengths lengths;
    int node;
    bool mean;
    __device__ fold_part of(int64_t row) const
    {
        const int64_t n = row < lengths.live->valid ? lengths.of(row) : lengths.most;
        lengths.check(row, node);
        return {n, mean && n > 0 ? 1.0f / (float)n : 1.0f};
    }
};

fold_lengths lengths_of(const lk_call *c, const fold_groups *g)
{
    return {row_lengths_of(c, 1, g->count), c->node, c->spec->attr.reduce.mean};
}

lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const fold_groups g = groups_of(s);

    *out = {};
    out->scratch_forward = fold_scratch<one_sum>(&g);
    return LK_OK;
}

template <class T> lk_status forward(const lk_call *c)
{
    const fold_groups g = groups_of(c->spec);

    if (c->spec->n_in > 1)
        return fold_sums<T>(&g, lengths_of(c, &g), c->x[0], c->y, c->scratch);
    return fold_sums<T>(&g, whole_of(c->spec, &g), c->x[0], c->y, c->scratch);
}

template <class T> lk_status backward(const lk_call *c)
{
    const fold_groups g = groups_of(c->spec);

    if (!c->dx[0])
        return LK_OK;
    if (c->spec->n_in > 1)
        return spread<T>(&g, lengths_of(c, &g), c->dy, c->dx[0]);
    return spread<T>(&g, whole_of(c->spec, &g), c->dy, c->dx[0]);
}

template <class T>
constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .plan = plan,
    .forward = forward<T>,
    .backward = backward<T>};

} // namespace

LKI_KERNELS(reduce, kernel);
