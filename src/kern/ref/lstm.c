/* lstm (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000; gates as torch.nn.LSTM orders them):
 *   i, f, o = sigmoid(gx + gh), g = tanh(gx + gh);  c' = f c + i g;  h' = o tanh(c'). */
#include "kern/ref/recurrent.h"
#include <math.h>

static void cell_forward(const lk_opspec *s, const double *gx, const double *gh, const double *before, double *after)
{
    const int64_t n = s->attr.recurrent.units;
    for (int64_t j = 0; j < n; j++) {
        const double i = ref_sigmoid(gx[j] + gh[j]), f = ref_sigmoid(gx[n + j] + gh[n + j]);
        const double g = tanh(gx[2 * n + j] + gh[2 * n + j]), o = ref_sigmoid(gx[3 * n + j] + gh[3 * n + j]);
        after[n + j] = f * before[n + j] + i * g;
        after[j] = o * tanh(after[n + j]);
    }
}

static void cell_backward(const lk_opspec *s, const double *gx, const double *gh, const double *before,
    const double *after, double *dstate, double *dgx, double *dgh)
{
    const int64_t n = s->attr.recurrent.units;
    for (int64_t j = 0; j < n; j++) {
        const double i = ref_sigmoid(gx[j] + gh[j]), f = ref_sigmoid(gx[n + j] + gh[n + j]);
        const double g = tanh(gx[2 * n + j] + gh[2 * n + j]), o = ref_sigmoid(gx[3 * n + j] + gh[3 * n + j]);
        const double t = tanh(after[n + j]), dh = dstate[j], dc = dstate[n + j] + dh * o * (1 - t * t);
        dgx[j] = dc * g * i * (1 - i);
        dgx[n + j] = dc * before[n + j] * f * (1 - f);
        dgx[2 * n + j] = dc * i * (1 - g * g);
        dgx[3 * n + j] = dh * t * o * (1 - o);
        dstate[j] = 0;
        dstate[n + j] = dc * f;
    }
    ref_copy(4 * n, dgx, dgh);
}

static const ref_cell cell = {.gates = 4, .states = 2, .forward = cell_forward, .backward = cell_backward};

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

const lk_kernel lk_kern_ref_lstm = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
