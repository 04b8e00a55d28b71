/* reorder: PLAIN <-> NHWC, where neighbours in the plan differ. */
#include "kern/cpu/cpu_int.h"

static void move(const lk_shape *s, lk_layout from, lk_layout to, const float *in, float *out)
{
    if (from == to)
        lki_copy(lk_shape_count(s), in, out);
    else if (from == LK_LAYOUT_PLAIN)
        lki_plain_to_nhwc(s->dim[0], s->dim[1], lki_shape_area(s), in, out);
    else
        lki_nhwc_to_plain(s->dim[0], s->dim[1], lki_shape_area(s), in, out);
}

static lk_status forward(const lk_call *c)
{
    move(&c->spec->in[0], c->spec->in_layout, c->spec->out_layout, c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        move(&c->spec->in[0], c->spec->out_layout, c->spec->in_layout, c->dy, c->dx[0]);
    return LK_OK;
}

/* The plan sets out_layout itself. */
const lk_kernel lk_kern_cpu_reorder = {.forward = forward, .backward = backward};
