/* slice: a box of the input; backward leaves 0 around it. */
#include "kern/cuda/copy.cuh"

static lki_box box_of(const lk_opspec *s)
{
    int64_t at[LK_MAX_DIMS] = {};

    at[s->attr.axis.axis] = s->attr.axis.start;
    return lki_box_make(&s->in[0], s->in_layout, s->out.dim, s->in[0].dim, at);
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lki_box b = box_of(c->spec);

    return lki_box_take(sizeof(T), &b, c->x[0], c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lki_box b = box_of(c->spec);

    return c->dx[0] ? lki_box_put_filled(sizeof(T), &b, c->dy, c->dx[0], 0) : LK_OK;
}

template <class T> static constexpr lk_kernel kernel = {.forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(slice, kernel);
