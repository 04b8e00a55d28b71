/* lstm: i, f, o = sigmoid, g = tanh of the gates' sums; c' = f c + i g; h' = o tanh(c'). Kept: tanh(c').
 * Backward, with dh and dc by h' and c': dc += dh o (1 - tanh(c')^2); the gates' sums get
 *   di = dc g i (1 - i), df = dc c f (1 - f), dg = dc i (1 - g^2), do = dh tanh(c') o (1 - o);  c gets dc f. */
#include "kern/cpu/recurrent.h"
#include "kern/cpu/vmath.h"

LK_CLONES static void cell_forward(const lki_cell_row *r, bool relu)
{
    (void)relu;
    const int64_t n = r->units;
    float *restrict const gate_i = r->gates, *restrict const gate_f = gate_i + n, *restrict const gate_g = gate_f + n,
                          *restrict const gate_o = gate_g + n;
    const float *restrict const c_before = r->c_before;
    float *restrict const c = r->c, *restrict const h = r->h, *restrict const kept = r->kept, *restrict const y = r->y;
    LK_INDEPENDENT
    for (int64_t j = 0; j < n; j++) {
        const float i = lki_sigmoid(gate_i[j]), f = lki_sigmoid(gate_f[j]), g = lki_tanh(gate_g[j]),
                    o = lki_sigmoid(gate_o[j]);
        const float next = f * c_before[j] + i * g, t = lki_tanh(next);
        gate_i[j] = i;
        gate_f[j] = f;
        gate_g[j] = g;
        gate_o[j] = o;
        c[j] = next;
        kept[j] = t;
        h[j] = y[j] = o * t;
    }
}

LK_CLONES static void cell_backward(const lki_cell_row *r, bool relu)
{
    (void)relu;
    const int64_t n = r->units;
    float *restrict const gate_i = r->gates, *restrict const gate_f = gate_i + n, *restrict const gate_g = gate_f + n,
                          *restrict const gate_o = gate_g + n;
    const float *restrict const c_before = r->c_before, *restrict const kept = r->kept, *restrict const dy = r->dy,
                                *restrict const dh_after = r->dh;
    float *restrict const dc_after = r->dc;
    LK_INDEPENDENT
    for (int64_t j = 0; j < n; j++) {
        const float i = gate_i[j], f = gate_f[j], g = gate_g[j], o = gate_o[j], t = kept[j];
        const float dh = dh_after[j] + dy[j], dc = dc_after[j] + dh * o * (1.0f - t * t);
        gate_i[j] = dc * g * (i * (1.0f - i));
        gate_f[j] = dc * c_before[j] * (f * (1.0f - f));
        gate_g[j] = dc * i * (1.0f - g * g);
        gate_o[j] = dh * t * (o * (1.0f - o));
        dc_after[j] = dc * f;
    }
}

static const lki_cell cell = {.gates = 4,
    .cols = 4,
    .states = 2,
    .block = {0, 1, 2, 3},
    .forward = cell_forward,
    .backward = cell_backward};

LKI_RECURRENT_KERNEL(lstm)
