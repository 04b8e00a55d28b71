/* flatten: [B,...] -> [B,n] in C H W order. From plain nothing moves, so it runs in place. */
#include "kern/cuda/copy.cuh"

/* A copy of the input, where that and the output are one buffer. */
template <class T> static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = {};
    if (lki_channels_last(&s->in[0], s->in_layout))
        out->scratch_forward = out->scratch_backward = (size_t)lk_shape_count(&s->in[0]) * sizeof(T);
    return LK_OK;
}

template <class T> static lk_status move(const lk_call *c, bool back, const void *from, void *to)
{
    const lk_shape *x = &c->spec->in[0];
    const int64_t n = lk_shape_count(x);

    if (!lki_channels_last(x, c->spec->in_layout))
        return lki_copy_cuda(sizeof(T), n, from, to);
    if (from == to) {
        LK_TRY(lki_copy_cuda(sizeof(T), n, from, c->scratch));
        from = c->scratch;
    }
    const int64_t channels = x->dim[1], area = lki_shape_area(x);
    return back ? lki_turn(sizeof(T), x->dim[0], channels, area, from, to) : lki_turn(sizeof(T), x->dim[0], area, channels, from, to);
}

template <class T> static lk_status forward(const lk_call *c)
{
    return move<T>(c, false, c->x[0], c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    return c->dx[0] ? move<T>(c, true, c->dy, c->dx[0]) : LK_OK;
}

template <class T>
static constexpr lk_kernel kernel = {.out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .plan = plan<T>,
    .forward = forward<T>,
    .backward = backward<T>};

LKI_KERNELS(flatten, kernel);
