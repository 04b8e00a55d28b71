/* gaussian: mean + exp(v/2) times lki_noise_stream's draw of the element; the second term is saved, since the slope by
 * v is half of it. */
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/vmath.h"

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){.saved_bytes = s->training ? lki_floats(lk_shape_count(&s->out)) : 0};
    return LK_OK;
}

LK_CLONES static void spread(
    int64_t n, const float *restrict m, const float *restrict v, float *restrict noise, float *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        noise[i] *= lki_exp(0.5f * v[i]);
        y[i] = m[i] + noise[i];
    }
}

LK_CLONES static void half_product(int64_t n, const float *a, const float *b, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = 0.5f * a[i] * b[i];
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = s->out.dim[0], n = lk_shape_row(&s->out);
    if (!s->training) {
        lki_copy(rows * n, c->x[0], c->y);
        return LK_OK;
    }
    const lk_rng stream = lki_noise_stream(s, c->micro);
    float *const noise = c->saved;
    for (int64_t b = 0; b < rows; b++)
        for (int64_t e = 0; e < n; e++)
            noise[b * n + e] = (float)lk_rng_normal_row(stream, (uint64_t)c->micro->sample[b], (uint64_t)e);
    spread(rows * n, c->x[0], c->x[1], noise, c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out);
    if (c->dx[1]) /* first: dx[0] may be dy */
        half_product(n, c->dy, c->saved, c->dx[1]);
    if (c->dx[0])
        lki_copy(n, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_gaussian = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward,
    .backward = backward};
