/* gru: r, z = sigmoid of the gates' sums; n = tanh(n_x + r n_h); h' = (1 - z) n + z h. A row of gates holds n_x, r, z, n_h,
 * so that those of W_ih are the first three blocks and those of W_hh the last three.
 * Backward, with dh by h': n_x gets dn = dh (1 - z) (1 - n^2), n_h gets dn r, r's sum dn n_h r (1 - r), z's
 * dh (h - n) z (1 - z), and h gets dh z around the gates. */
#include "kern/cpu/recurrent.h"
#include "kern/cpu/vmath.h"

LK_CLONES static void cell_forward(const lki_cell_row *row, bool relu)
{
    (void)relu;
    const int64_t units = row->units;
    float *restrict const n_x = row->gates, *restrict const gate_r = n_x + units, *restrict const gate_z = gate_r + units,
                          *restrict const n_h = gate_z + units;
    const float *restrict const h_before = row->h_before;
    float *restrict const h = row->h, *restrict const y = row->y;
    LK_INDEPENDENT
    for (int64_t j = 0; j < units; j++) {
        const float r = lki_sigmoid(gate_r[j]), z = lki_sigmoid(gate_z[j]), n = lki_tanh(n_x[j] + r * n_h[j]);
        n_x[j] = n;
        gate_r[j] = r;
        gate_z[j] = z;
        h[j] = y[j] = (1.0f - z) * n + z * h_before[j];
    }
}

LK_CLONES static void cell_backward(const lki_cell_row *row, bool relu)
{
    (void)relu;
    const int64_t units = row->units;
    float *restrict const n_x = row->gates, *restrict const gate_r = n_x + units, *restrict const gate_z = gate_r + units,
                          *restrict const n_h = gate_z + units;
    const float *restrict const h_before = row->h_before, *restrict const dy = row->dy;
    float *restrict const dh_after = row->dh;
    LK_INDEPENDENT
    for (int64_t j = 0; j < units; j++) {
        const float r = gate_r[j], z = gate_z[j], n = n_x[j], dh = dh_after[j] + dy[j];
        const float dn = dh * (1.0f - z) * (1.0f - n * n);
        n_x[j] = dn;
        gate_r[j] = dn * n_h[j] * (r * (1.0f - r));
        gate_z[j] = dh * (h_before[j] - n) * (z * (1.0f - z));
        n_h[j] = dn * r;
        dh_after[j] = dh * z;
    }
}

static const lki_cell cell = {.gates = 3,
    .cols = 4,
    .states = 1,
    .block = {2, 0, 1},
    .around = true,
    .forward = cell_forward,
    .backward = cell_backward};

LKI_RECURRENT_KERNEL(gru)
