/* global_avg_pool: y[b,c] = mean over all places p of x[b,c,p]. Backward: dx[b,c,p] = dy[b,c] / places. */
#include "kern/ref/ref_int.h"

static lk_status forward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out), area = lki_shape_area(&c->spec->in[0]);
    const double *const x = c->x[0];
    double *const y = c->y;
    for (int64_t o = 0; o < n; o++) {
        double sum = 0;
        for (int64_t i = 0; i < area; i++)
            sum += x[o * area + i];
        y[o] = sum / (double)area;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out), area = lki_shape_area(&c->spec->in[0]);
    const double *const dy = c->dy;
    double *const dx = c->dx[0];
    for (int64_t o = 0; dx && o < n; o++)
        for (int64_t i = 0; i < area; i++)
            dx[o * area + i] = dy[o] / (double)area;
    return LK_OK;
}

const lk_kernel lk_kern_ref_global_avg_pool = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
