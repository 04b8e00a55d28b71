/* conv2d: y[b,f,p,q] = act(bias[f] + sum_{c,i,j} W[f,c,i,j] x[b, c, p sh + i - top, q sw + j - left]), x zero outside
 * of the input: a cross-correlation, as every framework's convolution. Backward, with g = dy act'(.): each product W x
 * adds g W to the dx, and g x to the dW, of its factors. */
#include "kern/ref/ref_int.h"
#include <string.h>

/* The range [low, high) of window places k for which 0 <= first + k < size. */
static void inside(int64_t first, int64_t kernel, int64_t size, int64_t *low, int64_t *high)
{
    *low = first < 0 ? -first : 0;
    *high = first + kernel > size ? size - first : kernel;
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_conv2d *const a = &s->attr.conv2d;
    const lk_shape *const in = &s->in[0], *const out = &s->out, *const ws = &s->param[0].shape;
    const double *const x = c->x[0], *const w = c->param[0], *const bias = a->bias ? c->param[1] : NULL;
    double *const y = c->y;

    for (int64_t b = 0; b < out->dim[0]; b++)
        for (int64_t f = 0; f < out->dim[1]; f++)
            for (int64_t p = 0; p < out->dim[2]; p++)
                for (int64_t q = 0; q < out->dim[3]; q++) {
                    const int64_t top = p * a->stride[0] - a->pad_before[0], left = q * a->stride[1] - a->pad_before[1];
                    int64_t i0, i1, j0, j1;
                    inside(top, a->kernel[0], in->dim[2], &i0, &i1);
                    inside(left, a->kernel[1], in->dim[3], &j0, &j1);
                    double sum = bias ? bias[f] : 0;
                    for (int64_t k = 0; k < in->dim[1]; k++)
                        for (int64_t i = i0; i < i1; i++)
                            for (int64_t j = j0; j < j1; j++)
                                sum += w[ref_at(ws, f, k, i, j)] * x[ref_at(in, b, k, top + i, left + j)];
                    y[ref_at(out, b, f, p, q)] = a->act == LK_ACT_RELU ? ref_relu(sum) : sum;
                }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_conv2d *const a = &s->attr.conv2d;
    const lk_shape *const in = &s->in[0], *const out = &s->out, *const ws = &s->param[0].shape;
    const double *const x = c->x[0], *const y = c->y, *const w = c->param[0], *const dy = c->dy;
    double *const dx = c->dx[0], *const dw = c->dparam[0], *const dbias = a->bias ? c->dparam[1] : NULL;

    if (dx)
        memset(dx, 0, (size_t)lk_shape_count(in) * sizeof *dx);
    if (dw)
        memset(dw, 0, (size_t)lk_shape_count(ws) * sizeof *dw);
    if (dbias)
        memset(dbias, 0, (size_t)a->filters * sizeof *dbias);

    for (int64_t b = 0; b < out->dim[0]; b++)
        for (int64_t f = 0; f < out->dim[1]; f++)
            for (int64_t p = 0; p < out->dim[2]; p++)
                for (int64_t q = 0; q < out->dim[3]; q++) {
                    const int64_t top = p * a->stride[0] - a->pad_before[0], left = q * a->stride[1] - a->pad_before[1];
                    int64_t i0, i1, j0, j1;
                    inside(top, a->kernel[0], in->dim[2], &i0, &i1);
                    inside(left, a->kernel[1], in->dim[3], &j0, &j1);
                    const int64_t o = ref_at(out, b, f, p, q);
                    const double g = a->act == LK_ACT_RELU ? ref_relu_back(y[o], dy[o]) : dy[o];
                    if (dbias)
                        dbias[f] += g;
                    for (int64_t k = 0; k < in->dim[1]; k++)
                        for (int64_t i = i0; i < i1; i++)
                            for (int64_t j = j0; j < j1; j++) {
                                const int64_t at_x = ref_at(in, b, k, top + i, left + j), at_w = ref_at(ws, f, k, i, j);
                                if (dw)
                                    dw[at_w] += g * x[at_x];
                                if (dx)
                                    dx[at_x] += g * w[at_w];
                            }
                }
    return LK_OK;
}

const lk_kernel lk_kern_ref_conv2d = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
