/* slice: a box of the input. */
#include "kern/cpu/box.h"
#include <string.h>

static void move(const lk_opspec *s, const float *in, float *out, bool back)
{
    const lk_shape *const shape = &s->in[0];
    int64_t at[LK_MAX_DIMS] = {0}, size[LK_MAX_DIMS], whole[LK_MAX_DIMS], begin[LK_MAX_DIMS];
    static const int64_t zero[LK_MAX_DIMS];
    at[s->attr.axis.axis] = s->attr.axis.start;
    lki_memory_order(shape, s->in_layout, s->out.dim, size);
    lki_memory_order(shape, s->in_layout, shape->dim, whole);
    lki_memory_order(shape, s->in_layout, at, begin);
    if (back)
        lki_box_copy(shape->ndim, size, in, size, zero, out, whole, begin);
    else
        lki_box_copy(shape->ndim, size, in, whole, begin, out, size, zero);
}

static lk_status forward(const lk_call *c)
{
    move(c->spec, c->x[0], c->y, false);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (!c->dx[0])
        return LK_OK;
    memset(c->dx[0], 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof(float));
    move(c->spec, c->dy, c->dx[0], true);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_slice = {.forward = forward, .backward = backward};
