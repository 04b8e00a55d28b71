/* conv_transpose: each x[b,c,o] adds W[c,f,t] x[b,c,o] to y[b, h F/G + f, o s + t d - before], with o, t, s and d by
 * axis, h the group of channel c, f over the F/G filters of a group; places outside of y are left out; then y = act(y +
 * bias). Backward, with g = dy act'(.): each product W x adds g W to the dx, and g x to the dW, of its factors. */
#include "kern/ref/ref_int.h"
#include <string.h>

/* Of the convolution from y to x. */
static ref_window window(const lk_opspec *s)
{
    const lk_attr_conv *const a = &s->attr.conv;
    return ref_window_make(&s->out, &s->in[0], a->kernel, a->stride, a->dilation, a->pad_before);
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_conv *const a = &s->attr.conv;
    const ref_window v = window(s);
    const int64_t channels = s->in[0].dim[1], filters = a->filters, part = filters / a->groups,
                  n = lk_shape_count(&s->out);
    const double *const x = c->x[0], *const w = c->param[0], *const bias = a->bias ? c->param[1] : NULL;
    double *const y = c->y;

    for (int64_t i = 0; i < n; i++)
        y[i] = bias ? bias[i / v.places_in % filters] : 0;
    for (int64_t b = 0; b < s->in[0].dim[0]; b++)
        for (int64_t k = 0; k < channels; k++)
            for (int64_t o = 0; o < v.places_out; o++)
                for (int64_t t = 0; t < v.taps; t++) {
                    const int64_t first = b * filters + k / (channels / a->groups) * part;
                    const int64_t at = ref_window_place(&v, o, t);
                    for (int64_t f = 0; at >= 0 && f < part; f++)
                        y[(first + f) * v.places_in + at] +=
                            w[(k * part + f) * v.taps + t] * x[(b * channels + k) * v.places_out + o];
                }
    for (int64_t i = 0; i < n && a->act == LK_ACT_RELU; i++)
        y[i] = ref_relu(y[i]);
    return LK_OK;
}

/* dy act'(.) of element i of the output. */
static double grad(const lk_call *c, int64_t i)
{
    const double *const y = c->y, *const dy = c->dy;
    return c->spec->attr.conv.act == LK_ACT_RELU ? ref_relu_back(y[i], dy[i]) : dy[i];
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_conv *const a = &s->attr.conv;
    const ref_window v = window(s);
    const int64_t channels = s->in[0].dim[1], filters = a->filters, part = filters / a->groups;
    const double *const x = c->x[0], *const w = c->param[0];
    double *const dx = c->dx[0], *const dw = c->dparam[0], *const dbias = a->bias ? c->dparam[1] : NULL;

    if (dx)
        memset(dx, 0, (size_t)lk_shape_count(&s->in[0]) * sizeof *dx);
    if (dw)
        memset(dw, 0, (size_t)lk_shape_count(&s->param[0].shape) * sizeof *dw);
    if (dbias)
        memset(dbias, 0, (size_t)filters * sizeof *dbias);
    for (int64_t i = 0; dbias && i < lk_shape_count(&s->out); i++)
        dbias[i / v.places_in % filters] += grad(c, i);
    for (int64_t b = 0; b < s->in[0].dim[0]; b++)
        for (int64_t k = 0; k < channels; k++)
            for (int64_t o = 0; o < v.places_out; o++)
                for (int64_t t = 0; t < v.taps; t++) {
                    const int64_t first = b * filters + k / (channels / a->groups) * part;
                    const int64_t at = ref_window_place(&v, o, t), at_x = (b * channels + k) * v.places_out + o;
                    for (int64_t f = 0; at >= 0 && f < part; f++) {
                        const int64_t at_w = (k * part + f) * v.taps + t;
                        const double g = grad(c, (first + f) * v.places_in + at);
                        if (dw)
                            dw[at_w] += g * x[at_x];
                        if (dx)
                            dx[at_x] += g * w[at_w];
                    }
                }
    return LK_OK;
}

const lk_kernel lk_kern_ref_conv_transpose = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
