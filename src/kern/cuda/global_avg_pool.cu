/* global_avg_pool: the mean over all places of a channel, [B,C,...] -> [B,C]. */
#include "kern/cuda/fold.cuh"

static fold_whole mean_of(const fold_groups *g)
{
    return {{g->count, 1.0f / (float)g->count}};
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const fold_groups g = fold_places(s);

    *out = {};
    out->scratch_forward = fold_scratch<one_sum>(&g);
    return LK_OK;
}

template <class T> static lk_status forward(const lk_call *c)
{
    const fold_groups g = fold_places(c->spec);

    return fold_sums<T>(&g, mean_of(&g), c->x[0], c->y, c->scratch);
}

template <class T> static lk_status backward(const lk_call *c)
{
    const fold_groups g = fold_places(c->spec);

    return c->dx[0] ? spread<T>(&g, mean_of(&g), c->dy, c->dx[0]) : LK_OK;
}

template <class T>
static constexpr lk_kernel kernel = {
    .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(global_avg_pool, kernel);
