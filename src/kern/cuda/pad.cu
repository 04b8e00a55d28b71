/* pad: the input is a box of the output, and a constant stands around it. */
#include "kern/cuda/copy.cuh"

#include <string.h>

static lki_box box_of(const lk_opspec *s)
{
    return lki_box_make(&s->in[0], s->in_layout, s->in[0].dim, s->out.dim, s->attr.pad.before);
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lki_box b = box_of(c->spec);
    const T value = from_float<T>((float)c->spec->attr.pad.value);
    uint32_t bits = 0;

    for (size_t i = 0; i < sizeof bits; i += sizeof value)
        memcpy((char *)&bits + i, &value, sizeof value);
    return lki_box_put_filled(sizeof(T), &b, c->x[0], c->y, bits);
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lki_box b = box_of(c->spec);

    return c->dx[0] ? lki_box_take(sizeof(T), &b, c->dy, c->dx[0]) : LK_OK;
}

template <class T> static constexpr lk_kernel kernel = {.forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(pad, kernel);
