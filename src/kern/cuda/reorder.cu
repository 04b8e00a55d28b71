/* reorder: PLAIN <-> NHWC, where neighbours in the plan differ. */
#include "kern/cuda/copy.cuh"

template <class T> static lk_status move(const lk_shape *s, lk_layout from_layout, lk_layout to_layout, const void *from, void *to)
{
    const int64_t channels = s->dim[1], area = lki_shape_area(s);

    if (from_layout == to_layout)
        return lki_copy_cuda(sizeof(T), lk_shape_count(s), from, to);
    if (from_layout == LK_LAYOUT_PLAIN)
        return lki_turn(sizeof(T), s->dim[0], channels, area, from, to);
    return lki_turn(sizeof(T), s->dim[0], area, channels, from, to);
}

template <class T> static lk_status forward(const lk_call *c)
{
    return move<T>(&c->spec->in[0], c->spec->in_layout, c->spec->out_layout, c->x[0], c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    return c->dx[0] ? move<T>(&c->spec->in[0], c->spec->out_layout, c->spec->in_layout, c->dy, c->dx[0]) : LK_OK;
}

/* The plan sets out_layout itself. */
template <class T> static constexpr lk_kernel kernel = {.forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(reorder, kernel);
