/* concat: each input is a box of the output. */
#include "kern/cpu/box.h"

/* Input k: where it begins in the output, along the axis. */
static void move(const lk_opspec *s, int k, int64_t first, const float *in, float *out, bool back)
{
    const lk_shape *const shape = &s->in[k];
    int64_t at[LK_MAX_DIMS] = {0}, size[LK_MAX_DIMS], whole[LK_MAX_DIMS], begin[LK_MAX_DIMS];
    static const int64_t zero[LK_MAX_DIMS];
    at[s->attr.axis.axis] = first;
    lki_memory_order(shape, s->in_layout, shape->dim, size);
    lki_memory_order(shape, s->in_layout, s->out.dim, whole);
    lki_memory_order(shape, s->in_layout, at, begin);
    if (back)
        lki_box_copy(shape->ndim, size, in, whole, begin, out, size, zero);
    else
        lki_box_copy(shape->ndim, size, in, size, zero, out, whole, begin);
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    int64_t first = 0;
    for (int k = 0; k < s->n_in; first += s->in[k].dim[s->attr.axis.axis], k++)
        move(s, k, first, c->x[k], c->y, false);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    int64_t first = 0;
    for (int k = 0; k < s->n_in; first += s->in[k].dim[s->attr.axis.axis], k++)
        if (c->dx[k])
            move(s, k, first, c->dy, c->dx[k], true);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_concat = {.forward = forward, .backward = backward};
