/* flatten: [B,...] -> [B,n] in C H W order. From plain nothing moves, so it runs in place. */
#include "kern/cpu/cpu_int.h"

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    *out = (lk_kern_plan){0};
    if (lki_is_nhwc(&s->in[0], s->in_layout))
        out->scratch_forward = out->scratch_backward = lki_floats(lk_shape_row(&s->out));
    return LK_OK;
}

/* One row at a time through scratch where input and output are one buffer. */
static void move(const lk_call *c, bool back, const float *in, float *out)
{
    const lk_shape *const x = &c->spec->in[0];
    const int64_t row = lk_shape_row(x), rows = x->dim[0];
    if (!lki_is_nhwc(x, c->spec->in_layout)) {
        lki_copy(rows * row, in, out);
        return;
    }
    const int64_t channels = x->dim[1], area = lki_shape_area(x);
    for (int64_t b = 0; b < rows; b++, in += row, out += row) {
        const float *from = in;
        if (in == out) {
            lki_copy(row, in, c->scratch);
            from = c->scratch;
        }
        if (back)
            lki_plain_to_nhwc(1, channels, area, from, out);
        else
            lki_nhwc_to_plain(1, channels, area, from, out);
    }
}

static lk_status forward(const lk_call *c)
{
    move(c, false, c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    if (c->dx[0])
        move(c, true, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_flatten = {.out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward,
    .backward = backward};
