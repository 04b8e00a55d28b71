/* conv: y[b,f,o] = act(bias[f] + sum_{c,t} W[f,c,t] x[b, g C/G + c, o s + t d - before]), with o, t, s and d by axis, g
 * the group of filter f, c over the C/G channels of a group, and x zero outside of the input: a cross-correlation, as
 * every framework's convolution. Backward, with g = dy act'(.): each product W x adds g W to the dx, and g x to the dW,
 * of its factors. */
#include "kern/ref/ref_int.h"
#include <string.h>

static ref_window window(const lk_opspec *s)
{
    const lk_attr_conv *const a = &s->attr.conv;
    return ref_window_make(&s->in[0], &s->out, a->kernel, a->stride, a->dilation, a->pad_before);
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_conv *const a = &s->attr.conv;
    const ref_window v = window(s);
    const int64_t channels = s->in[0].dim[1], filters = a->filters, part = channels / a->groups;
    const double *const x = c->x[0], *const w = c->param[0], *const bias = a->bias ? c->param[1] : NULL;
    double *const y = c->y;

    for (int64_t b = 0; b < s->in[0].dim[0]; b++)
        for (int64_t f = 0; f < filters; f++)
            for (int64_t o = 0; o < v.places_out; o++) {
                const int64_t first = b * channels + f / (filters / a->groups) * part;
                double sum = bias ? bias[f] : 0;
                for (int64_t t = 0; t < v.taps; t++) {
                    const int64_t at = ref_window_place(&v, o, t);
                    for (int64_t k = 0; at >= 0 && k < part; k++)
                        sum += w[(f * part + k) * v.taps + t] * x[(first + k) * v.places_in + at];
                }
                y[(b * filters + f) * v.places_out + o] = a->act == LK_ACT_RELU ? ref_relu(sum) : sum;
            }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_conv *const a = &s->attr.conv;
    const ref_window v = window(s);
    const int64_t channels = s->in[0].dim[1], filters = a->filters, part = channels / a->groups;
    const double *const x = c->x[0], *const y = c->y, *const w = c->param[0], *const dy = c->dy;
    double *const dx = c->dx[0], *const dw = c->dparam[0], *const dbias = a->bias ? c->dparam[1] : NULL;

    if (dx)
        memset(dx, 0, (size_t)lk_shape_count(&s->in[0]) * sizeof *dx);
    if (dw)
        memset(dw, 0, (size_t)lk_shape_count(&s->param[0].shape) * sizeof *dw);
    if (dbias)
        memset(dbias, 0, (size_t)filters * sizeof *dbias);

    for (int64_t b = 0; b < s->in[0].dim[0]; b++)
        for (int64_t f = 0; f < filters; f++)
            for (int64_t o = 0; o < v.places_out; o++) {
                const int64_t first = b * channels + f / (filters / a->groups) * part;
                const int64_t out = (b * filters + f) * v.places_out + o;
                const double g = a->act == LK_ACT_RELU ? ref_relu_back(y[out], dy[out]) : dy[out];
                if (dbias)
                    dbias[f] += g;
                for (int64_t t = 0; t < v.taps; t++) {
                    const int64_t at = ref_window_place(&v, o, t);
                    for (int64_t k = 0; at >= 0 && k < part; k++) {
                        const int64_t at_x = (first + k) * v.places_in + at, at_w = (f * part + k) * v.taps + t;
                        if (dw)
                            dw[at_w] += g * x[at_x];
                        if (dx)
                            dx[at_x] += g * w[at_w];
                    }
                }
            }
    return LK_OK;
}

const lk_kernel lk_kern_ref_conv = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
