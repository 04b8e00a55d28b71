/* Windows over one to three axes: convolution and pooling. */
#include "kern/ref/ref_int.h"

ref_window ref_window_make(const lk_shape *in, const lk_shape *out, const int64_t *kernel, const int64_t *stride,
    const int64_t *dilation, const int64_t *before)
{
    static const int64_t ones[LK_MAX_AXES] = {1, 1, 1};
    ref_window w = {.places_in = lki_shape_area(in), .places_out = lki_shape_area(out), .taps = 1};
    lki_axes_size(in, w.in);
    lki_axes_size(out, w.out);
    lki_axes(in, kernel, 1, w.kernel);
    lki_axes(in, stride, 1, w.stride);
    lki_axes(in, dilation ? dilation : ones, 1, w.dilation);
    lki_axes(in, before, 0, w.before);
    for (int i = 0; i < LK_MAX_AXES; i++)
        w.taps *= w.kernel[i];
    return w;
}

int64_t ref_window_place(const ref_window *w, int64_t o, int64_t t)
{
    int64_t place = 0, step = 1;
    for (int i = LK_MAX_AXES - 1; i >= 0; i--) {
        const int64_t at = o % w->out[i] * w->stride[i] + t % w->kernel[i] * w->dilation[i] - w->before[i];
        if (at < 0 || at >= w->in[i])
            return -1;
        place += at * step;
        step *= w->in[i];
        o /= w->out[i];
        t /= w->kernel[i];
    }
    return place;
}
