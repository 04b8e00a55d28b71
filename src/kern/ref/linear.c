/* linear: y[r,o] = act(b[o] + sum_i x[r,i] W[o,i]), r over all dimensions but the last.
 * Backward, with g = dy act'(.): dx[r,i] = sum_o g[r,o] W[o,i]; dW[o,i] = sum_r g[r,o] x[r,i]; db[o] = sum_r g[r,o]. */
#include "kern/ref/ref_int.h"

/* Some activations' slopes need what went into them. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){0};
    if (!lki_act_by_output(s->attr.linear.act) && s->training)
        out->saved_bytes = (size_t)lk_shape_count(&s->out) * sizeof(double);
    return LK_OK;
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_linear *const a = &c->spec->attr.linear;
    const int64_t rows = lki_shape_lead(&c->spec->in[0]), n_in = lki_shape_last(&c->spec->in[0]), n_out = a->units;
    const double *const x = c->x[0], *const w = c->param[0], *const bias = a->bias ? c->param[1] : NULL;
    double *const y = c->y, *const saved = c->saved;

    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < n_out; o++) {
            double sum = bias ? bias[o] : 0;
            for (int64_t i = 0; i < n_in; i++)
                sum += x[r * n_in + i] * w[o * n_in + i];
            if (saved)
                saved[r * n_out + o] = sum;
            y[r * n_out + o] = ref_act(a->act, a->alpha, sum);
        }
    return LK_OK;
}

/* dy act'(.) of output i. */
static double grad(const lk_call *c, int64_t i)
{
    const lk_attr_linear *const a = &c->spec->attr.linear;
    const double *const dy = c->dy, *const v = lki_act_by_output(a->act) ? c->y : c->saved;
    return a->act == LK_ACT_NONE ? dy[i] : ref_act_back(a->act, a->alpha, v[i], dy[i]);
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_linear *const a = &c->spec->attr.linear;
    const int64_t rows = lki_shape_lead(&c->spec->in[0]), n_in = lki_shape_last(&c->spec->in[0]), n_out = a->units;
    const double *const x = c->x[0], *const w = c->param[0];
    double *const dx = c->dx[0], *const dw = c->dparam[0], *const dbias = a->bias ? c->dparam[1] : NULL;

    if (dx)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < n_in; i++) {
                double sum = 0;
                for (int64_t o = 0; o < n_out; o++)
                    sum += grad(c, r * n_out + o) * w[o * n_in + i];
                dx[r * n_in + i] = sum;
            }
    for (int64_t o = 0; o < n_out; o++) {
        for (int64_t i = 0; dw && i < n_in; i++) {
            double sum = 0;
            for (int64_t r = 0; r < rows; r++)
                sum += grad(c, r * n_out + o) * x[r * n_in + i];
            dw[o * n_in + i] = sum;
        }
        if (dbias) {
            double sum = 0;
            for (int64_t r = 0; r < rows; r++)
                sum += grad(c, r * n_out + o);
            dbias[o] = sum;
        }
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_linear = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
