/* upsample: y[b,c,o] = sum over places i of the shares of i in o along each axis, times x[b,c,i]. Nearest: i = floor(o
 * / factor). Linear: o lies at p = (o + 1/2) / factor - 1/2, at least 0; the two places around it have shares 1 - |p -
 * i|, and beyond the last place there is but that one. Backward: each dx is the sum of its shares. */
#include "kern/ref/ref_int.h"
#include <string.h>

static double axis_share(const lk_opspec *s, int axis, int64_t in, int64_t out, int64_t i, int64_t o)
{
    (void)axis;
    const int64_t factor = out / in;
    if (!s->attr.resize.linear)
        return i == o / factor ? 1 : 0;
    double p = ((double)o + 0.5) / (double)factor - 0.5;
    if (p < 0)
        p = 0;
    if (p > (double)(in - 1))
        p = (double)(in - 1);
    const double distance = p < (double)i ? (double)i - p : p - (double)i;
    return distance < 1 ? 1 - distance : 0;
}

/* The share of input place i in output place o: the product over the axes. */
static double share(
    const lk_opspec *s, const int64_t in[LK_MAX_AXES], const int64_t out[LK_MAX_AXES], int64_t i, int64_t o)
{
    double product = 1;
    for (int axis = LK_MAX_AXES - 1; axis >= 0; axis--) {
        product *= axis_share(s, axis, in[axis], out[axis], i % in[axis], o % out[axis]);
        i /= in[axis];
        o /= out[axis];
    }
    return product;
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t area = lki_shape_area(&s->in[0]), places = lki_shape_area(&s->out);
    const double *const x = c->x[0];
    double *const y = c->y;
    int64_t in[LK_MAX_AXES], out[LK_MAX_AXES];
    lki_axes_size(&s->in[0], in);
    lki_axes_size(&s->out, out);
    for (int64_t k = 0; k < lk_shape_count(&s->out) / places; k++)
        for (int64_t o = 0; o < places; o++) {
            double sum = 0;
            for (int64_t i = 0; i < area; i++) {
                const double w = share(s, in, out, i, o);
                if (w != 0)
                    sum += w * x[k * area + i];
            }
            y[k * places + o] = sum;
        }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t area = lki_shape_area(&s->in[0]), places = lki_shape_area(&s->out);
    const double *const dy = c->dy;
    double *const dx = c->dx[0];
    int64_t in[LK_MAX_AXES], out[LK_MAX_AXES];
    if (!dx)
        return LK_OK;
    lki_axes_size(&s->in[0], in);
    lki_axes_size(&s->out, out);
    memset(dx, 0, (size_t)lk_shape_count(&s->in[0]) * sizeof *dx);
    for (int64_t k = 0; k < lk_shape_count(&s->out) / places; k++)
        for (int64_t o = 0; o < places; o++)
            for (int64_t i = 0; i < area; i++)
                dx[k * area + i] += share(s, in, out, i, o) * dy[k * places + o];
    return LK_OK;
}

const lk_kernel lk_kern_ref_upsample = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
