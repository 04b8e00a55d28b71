/* positions: y[b,t,i] = x[b,t,i] + P[t,i]. Backward: dx = dy; dP[t,i] = sum_b dy[b,t,i], 0 for places that no sequence
 * reaches. */
#include "kern/ref/ref_int.h"

static lk_status forward(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    const int64_t row = lk_shape_row(in), units = in->dim[2];
    const double *const x = c->x[0], *const w = c->param[0];
    double *const y = c->y;

    for (int64_t i = 0; i < lk_shape_count(in); i++) {
        const int64_t at = i % row;
        y[i] = x[i] + (c->spec->attr.positions.sinusoidal ? lki_sinusoid(at / units, at % units, units) : w[at]);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    const int64_t row = lk_shape_row(in);
    const double *const dy = c->dy;
    double *const dw = c->dparam[0];

    if (dw)
        for (int64_t i = 0; i < lk_shape_count(&c->spec->param[0].shape); i++) {
            dw[i] = 0;
            for (int64_t b = 0; b < in->dim[0] && i < row; b++)
                dw[i] += dy[b * row + i];
        }
    if (c->dx[0])
        ref_copy(lk_shape_count(in), dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_ref_positions = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
