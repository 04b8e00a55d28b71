/* cross_entropy: log sum exp of the logits minus the logit of the class; exponentials in float, sums and logarithm in
 * double. Saved: the softmax. */
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/vmath.h"
#include <math.h>
#include <string.h>

enum { LANES = 8 };

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){.saved_bytes = s->training ? lki_floats(lk_shape_count(&s->in[0])) : 0,
        .scratch_forward = s->training ? 0 : lki_floats(lki_shape_last(&s->in[0]))};
    return LK_OK;
}

/* The largest (a NaN if there is one), the first place of it. */
static int64_t largest(int64_t n, const float *x)
{
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[at] || (x[i] != x[i] && x[at] == x[at]))
            at = i;
    return at;
}

/* e[i] = exp(x[i] - top); returns the sum, in fixed lanes. */
LK_CLONES static double exponentials(int64_t n, float top, const float *restrict x, float *restrict e)
{
    double lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++)
        e[i] = lki_exp(x[i] - top);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)e[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)e[i];
    for (int h = LANES / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

LK_CLONES static void scaled(int64_t n, float factor, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor;
}

static lk_status forward(const lk_call *c)
{
    const lk_micro *const m = c->micro;
    const int64_t k = lki_shape_last(&c->spec->in[0]);
    const float *x = c->x[0];
    const int64_t *const id = c->x[1];
    float *p = c->saved;
    double loss = 0, correct = 0;
    for (int64_t b = 0; b < m->valid; b++, x += k) {
        if (id[b] < 0 || id[b] >= k)
            return lki_class_fail(m, b, id[b], k);
        const int64_t top = largest(k, x);
        float *const e = p ? p : c->scratch;
        const double sum = exponentials(k, x[top], x, e);
        loss += log(sum) + ((double)x[top] - (double)x[id[b]]);
        correct += top == id[b];
        if (p) {
            scaled(k, (float)(1 / sum), e, p);
            p += k;
        }
    }
    m->metrics[LK_METRIC_LOSS] = loss;
    m->metrics[LK_METRIC_WEIGHT] = m->metrics[LK_METRIC_COUNT] = (double)m->valid;
    m->metrics[LK_METRIC_NAMED] = correct;
    return LK_OK;
}

/* dx = (softmax - one at the class) grad_scale */
static lk_status backward(const lk_call *c)
{
    const lk_micro *const m = c->micro;
    const int64_t k = lki_shape_last(&c->spec->in[0]), rows = c->spec->in[0].dim[0];
    const int64_t *const id = c->x[1];
    float *const dx = c->dx[0];
    const float *const p = c->saved;
    if (!dx)
        return LK_OK;
    const float factor = (float)m->grad_scale;
    scaled(m->valid * k, factor, p, dx);
    for (int64_t b = 0; b < m->valid; b++)
        dx[b * k + id[b]] = (p[b * k + id[b]] - 1) * factor;
    memset(dx + m->valid * k, 0, (size_t)((rows - m->valid) * k) * sizeof *dx);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_cross_entropy = {.plan = plan, .forward = forward, .backward = backward};
