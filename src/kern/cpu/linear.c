/* linear: y = act(x W^T + b), x [rows][features], W [units][features]. Saved where the activation's
 * gradient needs it: x W^T + b. */
#include "kern/cpu/cpu_int.h"

static int64_t rows_of(const lk_opspec *s)
{
    return lki_shape_lead(&s->in[0]);
}

/* The activation's input is not y. */
static bool apart(lk_act act)
{
    return !lki_act_by_output(act);
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const size_t y = lki_floats(lk_shape_count(&s->out));
    *out = (lk_kern_plan){.saved_bytes = apart(s->attr.linear.act) && s->training ? y : 0,
        .scratch_backward = s->attr.linear.act != LK_ACT_NONE ? y : 0};
    return LK_OK;
}

LK_CLONES static void add_bias(int64_t rows, int64_t n, const float *restrict bias, bool relu, float *restrict y)
{
    for (int64_t r = 0; r < rows; r++, y += n) {
        if (relu) {
            for (int64_t i = 0; i < n; i++) {
                const float z = y[i] + bias[i];
                y[i] = z < 0 ? 0 : z;
            }
        } else {
            for (int64_t i = 0; i < n; i++)
                y[i] += bias[i];
        }
    }
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_linear *const a = &c->spec->attr.linear;
    const int64_t rows = rows_of(c->spec), features = lki_shape_last(&c->spec->in[0]), units = a->units;
    const bool relu = a->act == LK_ACT_RELU;
    float *const y = c->y, *const z = c->saved ? c->saved : y;
    lki_gemm_nt(lki_tiles_get(), rows, units, features, c->x[0], features, c->param[0], features, z, units);
    /* Bias and activation in pieces of rows that stay in the nearest cache. */
    const int64_t piece = LK_PIECE / units + 1;
    for (int64_t r = 0; r < rows; r += piece) {
        const int64_t n = lki_min(piece, rows - r), at = r * units;
        if (a->bias)
            add_bias(n, units, c->param[1], relu, z + at);
        if (a->act != LK_ACT_NONE && !(relu && a->bias))
            lki_act_forward(a->act, a->alpha, n * units, z + at, y + at);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_linear *const a = &c->spec->attr.linear;
    const int64_t rows = rows_of(c->spec), features = lki_shape_last(&c->spec->in[0]), units = a->units;
    const float *dz = c->dy;
    if (a->act != LK_ACT_NONE) {
        lki_act_backward(a->act, a->alpha, rows * units, apart(a->act) ? c->saved : c->y, c->dy, c->scratch);
        dz = c->scratch;
    }
    if (c->dx[0])
        lki_gemm_nn(lki_tiles_get(), rows, features, units, dz, units, 1, c->param[0], features, c->dx[0], features, false);
    if (c->dparam[0])
        lki_gemm_nn(lki_tiles_get(), units, features, rows, dz, 1, units, c->x[0], features, c->dparam[0], features, false);
    if (a->bias && c->dparam[1])
        lki_column_sums(rows, units, dz, c->dparam[1]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_linear = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
