/* avg_pool2d: y[b,c,p,q] = 1/(kh kw) sum over i, j of x[b, c, p sh + i - top, q sw + j - left], zero outside of the
 * input. Backward: dy / (kh kw) is added to each dx under the window. */
#include "kern/ref/ref_int.h"
#include <string.h>

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_pool2d *const a = &c->spec->attr.pool2d;
    const lk_shape *const in = &c->spec->in[0], *const out = &c->spec->out;
    const double *const x = c->x[0];
    double *const y = c->y;

    for (int64_t b = 0; b < out->dim[0]; b++)
        for (int64_t k = 0; k < out->dim[1]; k++)
            for (int64_t p = 0; p < out->dim[2]; p++)
                for (int64_t q = 0; q < out->dim[3]; q++) {
                    const int64_t top = p * a->stride[0] - a->pad[0], left = q * a->stride[1] - a->pad[1];
                    double sum = 0;
                    for (int64_t h = max64(top, 0); h < min64(top + a->kernel[0], in->dim[2]); h++)
                        for (int64_t w = max64(left, 0); w < min64(left + a->kernel[1], in->dim[3]); w++)
                            sum += x[ref_at(in, b, k, h, w)];
                    y[ref_at(out, b, k, p, q)] = sum / (double)(a->kernel[0] * a->kernel[1]);
                }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_pool2d *const a = &c->spec->attr.pool2d;
    const lk_shape *const in = &c->spec->in[0], *const out = &c->spec->out;
    const double *const dy = c->dy;
    double *const dx = c->dx[0];

    if (!dx)
        return LK_OK;
    memset(dx, 0, (size_t)lk_shape_count(in) * sizeof *dx);
    for (int64_t b = 0; b < out->dim[0]; b++)
        for (int64_t k = 0; k < out->dim[1]; k++)
            for (int64_t p = 0; p < out->dim[2]; p++)
                for (int64_t q = 0; q < out->dim[3]; q++) {
                    const int64_t top = p * a->stride[0] - a->pad[0], left = q * a->stride[1] - a->pad[1];
                    const double g = dy[ref_at(out, b, k, p, q)] / (double)(a->kernel[0] * a->kernel[1]);
                    for (int64_t h = max64(top, 0); h < min64(top + a->kernel[0], in->dim[2]); h++)
                        for (int64_t w = max64(left, 0); w < min64(left + a->kernel[1], in->dim[3]); w++)
                            dx[ref_at(in, b, k, h, w)] += g;
                }
    return LK_OK;
}

const lk_kernel lk_kern_ref_avg_pool2d = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
