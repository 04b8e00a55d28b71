/* Loops of resize.h: sums over input places, in D H W order; and the other way round, output by output. */
#include "kern/cpu/resize.h"
#include <string.h>

LK_CLONES static void set_scaled(int64_t n, float w, const float *restrict x, float *restrict y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = w * x[i];
}

LK_CLONES static void add_scaled(int64_t n, float w, const float *restrict x, float *restrict y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += w * x[i];
}

static double share_of(const lki_share *s, int64_t i)
{
    return i == 0 ? s->first : s->others;
}

/* Plain is channels last of one channel with more samples. */
static void run(const lk_call *c, lki_share_fn share, const float *x, float *y, const float *dy, float *dx)
{
    const lk_opspec *const s = c->spec;
    const bool last = s->in_layout == LK_LAYOUT_NHWC;
    const int64_t batch = s->in[0].dim[0] * (last ? 1 : s->in[0].dim[1]), channels = last ? s->in[0].dim[1] : 1;
    const int64_t in_size = lki_shape_area(&s->in[0]) * channels;
    int64_t in[LK_MAX_AXES], out[LK_MAX_AXES], out_at = 0;
    lki_axes_size(&s->in[0], in);
    lki_axes_size(&s->out, out);
    for (int64_t b = 0; b < batch; b++)
        for (int64_t d = 0; d < out[AT_D]; d++) {
            const lki_share sd = share(s, in[AT_D], out[AT_D], d);
            for (int64_t h = 0; h < out[AT_H]; h++) {
                const lki_share sh = share(s, in[AT_H], out[AT_H], h);
                for (int64_t w = 0; w < out[AT_W]; w++, out_at += channels) {
                    const lki_share sw = share(s, in[AT_W], out[AT_W], w);
                    for (int64_t t = 0; t < sd.n * sh.n * sw.n; t++) {
                        const int64_t i = t / (sh.n * sw.n), j = t / sw.n % sh.n, k = t % sw.n;
                        const float part = (float)(share_of(&sd, i) * share_of(&sh, j) * share_of(&sw, k));
                        const int64_t at =
                            b * in_size +
                            (((sd.from + i) * in[AT_H] + sh.from + j) * in[AT_W] + sw.from + k) * channels;
                        if (dx)
                            add_scaled(channels, part, dy + out_at, dx + at);
                        else
                            (t == 0 ? set_scaled : add_scaled)(channels, part, x + at, y + out_at);
                    }
                }
            }
        }
}

void lki_resize_forward(const lk_call *c, lki_share_fn share)
{
    run(c, share, c->x[0], c->y, NULL, NULL);
}

void lki_resize_backward(const lk_call *c, lki_share_fn share)
{
    if (!c->dx[0])
        return;
    memset(c->dx[0], 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof(float));
    run(c, share, NULL, NULL, c->dy, c->dx[0]);
}
