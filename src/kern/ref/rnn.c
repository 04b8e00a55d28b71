/* rnn (Elman 1990, as torch.nn.RNN has it): h' = tanh(gx + gh), or relu. */
#include "kern/ref/recurrent.h"
#include <math.h>

static void cell_forward(const lk_opspec *s, const double *gx, const double *gh, const double *before, double *after)
{
    (void)before;
    for (int64_t j = 0; j < s->attr.recurrent.units; j++)
        after[j] = s->attr.recurrent.relu ? ref_relu(gx[j] + gh[j]) : tanh(gx[j] + gh[j]);
}

static void cell_backward(const lk_opspec *s, const double *gx, const double *gh, const double *before,
    const double *after, double *dstate, double *dgx, double *dgh)
{
    (void)gx, (void)gh, (void)before;
    for (int64_t j = 0; j < s->attr.recurrent.units; j++) {
        const double h = after[j];
        dgx[j] = dgh[j] = s->attr.recurrent.relu ? ref_relu_back(h, dstate[j]) : dstate[j] * (1 - h * h);
        dstate[j] = 0;
    }
}

static const ref_cell cell = {.gates = 1, .states = 1, .forward = cell_forward, .backward = cell_backward};

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

const lk_kernel lk_kern_ref_rnn = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
