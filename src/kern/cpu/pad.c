/* pad: the input is a box of the output, and a constant stands around it. */
#include "kern/cpu/box.h"

static void move(const lk_opspec *s, const float *in, float *out, bool back)
{
    const lk_shape *const shape = &s->in[0];
    int64_t size[LK_MAX_DIMS], whole[LK_MAX_DIMS], begin[LK_MAX_DIMS];
    static const int64_t zero[LK_MAX_DIMS];
    lki_memory_order(shape, s->in_layout, shape->dim, size);
    lki_memory_order(shape, s->in_layout, s->out.dim, whole);
    lki_memory_order(shape, s->in_layout, s->attr.pad.before, begin);
    if (back)
        lki_box_copy(shape->ndim, size, in, whole, begin, out, size, zero);
    else
        lki_box_copy(shape->ndim, size, in, size, zero, out, whole, begin);
}

static lk_status forward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out);
    const float value = (float)c->spec->attr.pad.value;
    float *const y = c->y;
    for (int64_t i = 0; i < n; i++)
        y[i] = value;
    move(c->spec, c->x[0], y, false);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        move(c->spec, c->dy, c->dx[0], true);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_pad = {.forward = forward, .backward = backward};
