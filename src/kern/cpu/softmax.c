/* softmax along the last dimension, each row in passes over the nearest cache. */
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/lanes.h"

typedef int32_t mask __attribute__((vector_size(64)));

/* The largest. A NaN that this passes by comes back through the sum. */
LK_INLINE float largest(int64_t n, const float *x)
{
    float lane[LKI_LANES];
    int64_t i = 0;
    for (int j = 0; j < LKI_LANES; j++)
        lane[j] = x[0];
    lki_vec top = LKI_VEC(lane);
    for (; i + LKI_LANES <= n; i += LKI_LANES) {
        const lki_vec v = LKI_VEC(x + i);
        const mask above = v > top;
        top = (lki_vec)(((mask)v & above) | ((mask)top & ~above));
    }
    *(lki_vec_at *)lane = top;
    for (; i < n; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    for (int h = LKI_LANES / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] = lane[j + h] > lane[j] ? lane[j + h] : lane[j];
    return lane[0];
}

LK_CLONES static void run_forward(int64_t rows, int64_t n, const float *x, float *y)
{
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        const float top = largest(n, x);
        LK_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            y[i] = lki_exp(x[i] - top);
        float sum;
        LKI_RUN_SUM(sum, n, LKI_VEC(y + i), y[i]);
        const float share = 1 / sum;
        for (int64_t i = 0; i < n; i++)
            y[i] *= share;
    }
}

LK_CLONES static void run_backward(int64_t rows, int64_t n, const float *y, const float *dy, float *dx)
{
    for (int64_t r = 0; r < rows; r++, y += n, dy += n, dx += n) {
        float sum;
        LKI_RUN_SUM(sum, n, LKI_VEC(dy + i) * LKI_VEC(y + i), dy[i] * y[i]);
        LK_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            dx[i] = y[i] * (dy[i] - sum);
    }
}

static lk_status forward(const lk_call *c)
{
    run_forward(lki_shape_lead(&c->spec->in[0]), lki_shape_last(&c->spec->in[0]), c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        run_backward(lki_shape_lead(&c->spec->in[0]), lki_shape_last(&c->spec->in[0]), c->y, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_softmax = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward,
    .backward = backward};
