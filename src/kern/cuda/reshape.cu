/* reshape: the same numbers in the same order, in place where the plan likes. */
#include "kern/cuda/cuda_int.h"

template <class T> static lk_status forward(const lk_call *c)
{
    return lki_copy_cuda(sizeof(T), lk_shape_count(&c->spec->out), c->x[0], c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    return c->dx[0] ? lki_copy_cuda(sizeof(T), lk_shape_count(&c->spec->out), c->dy, c->dx[0]) : LK_OK;
}

template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward<T>,
    .backward = backward<T>};

LKI_KERNELS(reshape, kernel);
