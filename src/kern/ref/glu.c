/* glu (Dauphin et al. 2017, "Language modeling with gated convolutional networks"; with other gates Shazeer 2020, "GLU
 * variants improve transformer"): x = [a, b] in halves along the last dimension, y = a act(b). PyTorch's order.
 * Backward: da = dy act(b), db = dy a act'(b). */
#include "kern/ref/ref_int.h"

static lk_status forward(const lk_call *c)
{
    const lk_act act = c->spec->attr.glu.act;
    const int64_t rows = lki_shape_lead(&c->spec->out), n = lki_shape_last(&c->spec->out);
    const double *x = c->x[0];
    double *y = c->y;
    for (int64_t r = 0; r < rows; r++, x += 2 * n, y += n)
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] * ref_act(act, 0, x[n + i]);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_act act = c->spec->attr.glu.act;
    const int64_t rows = lki_shape_lead(&c->spec->out), n = lki_shape_last(&c->spec->out);
    const double *x = c->x[0], *dy = c->dy;
    double *dx = c->dx[0];
    if (!dx)
        return LK_OK;
    for (int64_t r = 0; r < rows; r++, x += 2 * n, dx += 2 * n, dy += n)
        for (int64_t i = 0; i < n; i++) {
            const double f = ref_act(act, 0, x[n + i]);
            dx[i] = dy[i] * f;
            dx[n + i] = ref_act_back(act, 0, lki_act_by_output(act) ? f : x[n + i], dy[i] * x[i]);
        }
    return LK_OK;
}

const lk_kernel lk_kern_ref_glu = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
