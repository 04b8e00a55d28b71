/* glu: y = a act(b), x = [a, b] in halves along the last dimension. Backward takes act(b) anew, in pieces. */
#include "kern/cpu/cpu_int.h"

LK_CLONES static void multiply(int64_t n, const float *a, const float *b, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] * b[i];
}

static lk_status forward(const lk_call *c)
{
    const lk_act act = c->spec->attr.glu.act;
    const int64_t rows = lki_shape_lead(&c->spec->out), n = lki_shape_last(&c->spec->out);
    const float *x = c->x[0];
    float *y = c->y;
    for (int64_t r = 0; r < rows; r++, x += 2 * n, y += n)
        for (int64_t i = 0; i < n; i += LK_PIECE) {
            const int64_t m = lki_min(LK_PIECE, n - i);
            lki_act_forward(act, 0, m, x + n + i, y + i);
            multiply(m, x + i, y + i, y + i);
        }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_act act = c->spec->attr.glu.act;
    const int64_t rows = lki_shape_lead(&c->spec->out), n = lki_shape_last(&c->spec->out);
    const float *x = c->x[0], *dy = c->dy;
    float *dx = c->dx[0];
    float gate[LK_PIECE], g[LK_PIECE];
    if (!dx)
        return LK_OK;
    for (int64_t r = 0; r < rows; r++, x += 2 * n, dx += 2 * n, dy += n)
        for (int64_t i = 0; i < n; i += LK_PIECE) {
            const int64_t m = lki_min(LK_PIECE, n - i);
            lki_act_forward(act, 0, m, x + n + i, gate);
            multiply(m, dy + i, gate, dx + i);
            multiply(m, dy + i, x + i, g);
            lki_act_backward(act, 0, m, lki_act_by_output(act) ? gate : x + n + i, g, dx + n + i);
        }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_glu = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
