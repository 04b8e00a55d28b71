/* add: the sum of two values, with relu where the plan fused one. */
#include "kern/cpu/cpu_int.h"

LK_CLONES static void add(int64_t n, const float *a, const float *b, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

LK_CLONES static void add_relu(int64_t n, const float *a, const float *b, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const float s = a[i] + b[i];
        y[i] = s < 0 ? 0 : s;
    }
}

static lk_status forward(const lk_call *c)
{
    (c->spec->attr.add.act == LK_ACT_RELU ? add_relu : add)(lk_shape_count(&c->spec->out), c->x[0], c->x[1], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t n = lk_shape_count(&c->spec->out);
    for (int i = 1; i >= 0; i--) { /* dx[0] may be dy, so it comes last */
        if (!c->dx[i])
            continue;
        if (c->spec->attr.add.act == LK_ACT_RELU)
            lki_relu_backward(n, c->y, c->dy, c->dx[i]);
        else
            lki_copy(n, c->dy, c->dx[i]);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_add = {.in_place = true, .in_place_dx = true, .forward = forward, .backward = backward};
