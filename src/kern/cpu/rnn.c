/* rnn: h' = tanh or relu of the gate's sum. Backward: dh (1 - h'^2), or dh where h' > 0. */
#include "kern/cpu/recurrent.h"
#include "kern/cpu/vmath.h"

LK_CLONES static void cell_forward(const lki_cell_row *r, bool relu)
{
    const float *restrict const gate = r->gates;
    float *restrict const h = r->h, *restrict const y = r->y;
    if (relu) {
        LK_INDEPENDENT
        for (int64_t j = 0; j < r->units; j++)
            h[j] = y[j] = gate[j] < 0 ? 0 : gate[j];
    } else {
        LK_INDEPENDENT
        for (int64_t j = 0; j < r->units; j++)
            h[j] = y[j] = lki_tanh(gate[j]);
    }
}

LK_CLONES static void cell_backward(const lki_cell_row *r, bool relu)
{
    float *restrict const gate = r->gates;
    const float *restrict const h = r->h, *restrict const dy = r->dy, *restrict const dh = r->dh;
    if (relu) {
        LK_INDEPENDENT
        for (int64_t j = 0; j < r->units; j++)
            gate[j] = h[j] <= 0 ? 0 : dh[j] + dy[j];
    } else {
        LK_INDEPENDENT
        for (int64_t j = 0; j < r->units; j++)
            gate[j] = (dh[j] + dy[j]) * (1.0f - h[j] * h[j]);
    }
}

static const lki_cell cell = {
    .gates = 1, .cols = 1, .states = 1, .block = {0}, .forward = cell_forward, .backward = cell_backward};

LKI_RECURRENT_KERNEL(rnn)
