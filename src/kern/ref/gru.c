/* gru (Cho et al. 2014, in the form of torch.nn.GRU, where r scales W_hn h + b_hn):
 *   r, z = sigmoid(gx + gh);  n = tanh(gx + r gh);  h' = (1 - z) n + z h. */
#include "kern/ref/recurrent.h"
#include <math.h>

static void cell_forward(const lk_opspec *s, const double *gx, const double *gh, const double *before, double *after)
{
    const int64_t u = s->attr.recurrent.units;
    for (int64_t j = 0; j < u; j++) {
        const double r = ref_sigmoid(gx[j] + gh[j]), z = ref_sigmoid(gx[u + j] + gh[u + j]);
        const double n = tanh(gx[2 * u + j] + r * gh[2 * u + j]);
        after[j] = (1 - z) * n + z * before[j];
    }
}

static void cell_backward(const lk_opspec *s, const double *gx, const double *gh, const double *before,
    const double *after, double *dstate, double *dgx, double *dgh)
{
    const int64_t u = s->attr.recurrent.units;
    (void)after;
    for (int64_t j = 0; j < u; j++) {
        const double r = ref_sigmoid(gx[j] + gh[j]), z = ref_sigmoid(gx[u + j] + gh[u + j]);
        const double n = tanh(gx[2 * u + j] + r * gh[2 * u + j]), dh = dstate[j];
        const double dn = dh * (1 - z) * (1 - n * n);
        dgx[j] = dgh[j] = dn * gh[2 * u + j] * r * (1 - r);
        dgx[u + j] = dgh[u + j] = dh * (before[j] - n) * z * (1 - z);
        dgx[2 * u + j] = dn;
        dgh[2 * u + j] = dn * r;
        dstate[j] = dh * z;
    }
}

static const ref_cell cell = {.gates = 3, .states = 1, .forward = cell_forward, .backward = cell_backward};

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    return ref_recurrent_plan(s, &cell, out);
}

static lk_status forward(const lk_call *c)
{
    return ref_recurrent_forward(c, &cell);
}

static lk_status backward(const lk_call *c)
{
    return ref_recurrent_backward(c, &cell);
}

const lk_kernel lk_kern_ref_gru = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
