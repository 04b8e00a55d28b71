/* last_step: y[b] = x[b,t], t = length[b] - 1, in reverse 0; zeros for a sample without steps. */
#include "kern/ref/ref_int.h"
#include <string.h>

/* Lengths. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const size_t bytes = (size_t)s->in[0].dim[0] * sizeof(int64_t);
    *out = (lk_kern_plan){.scratch_forward = bytes, .scratch_backward = bytes};
    return LK_OK;
}

/* Place in [B,T] of the step of row b. */
static int64_t place(const lk_call *c, const int64_t *length, int64_t b)
{
    return b * c->spec->in[0].dim[1] + (c->spec->attr.last_step.reverse ? 0 : length[b] - 1);
}

static lk_status forward(const lk_call *c)
{
    const int64_t rows = c->spec->in[0].dim[0], steps = c->spec->in[0].dim[1], n = c->spec->in[0].dim[2];
    int64_t *const length = c->scratch, longest;
    const double *const x = c->x[0];
    double *const y = c->y;
    LK_TRY(lki_lengths(c, 1, steps, length, &longest));
    for (int64_t b = 0; b < rows; b++) {
        if (length[b] > 0)
            ref_copy(n, x + place(c, length, b) * n, y + b * n);
        else
            memset(y + b * n, 0, (size_t)n * sizeof *y);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t rows = c->spec->in[0].dim[0], steps = c->spec->in[0].dim[1], n = c->spec->in[0].dim[2];
    int64_t *const length = c->scratch, longest;
    const double *const dy = c->dy;
    double *const dx = c->dx[0];
    if (!dx)
        return LK_OK;
    LK_TRY(lki_lengths(c, 1, steps, length, &longest));
    memset(dx, 0, (size_t)(rows * steps * n) * sizeof *dx);
    for (int64_t b = 0; b < rows; b++)
        if (length[b] > 0)
            ref_copy(n, dy + b * n, dx + place(c, length, b) * n);
    return LK_OK;
}

const lk_kernel lk_kern_ref_last_step = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
