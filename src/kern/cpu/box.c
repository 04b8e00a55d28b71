/* Copies of boxes, run by run. */
#include "kern/cpu/box.h"
#include <string.h>

void lki_memory_order(const lk_shape *s, lk_layout layout, const int64_t by_dim[LK_MAX_DIMS], int64_t out[LK_MAX_DIMS])
{
    const bool nhwc = lki_is_nhwc(s, layout);
    for (int i = 0; i < s->ndim; i++)
        out[i] = by_dim[!nhwc || i == 0 ? i : i == s->ndim - 1 ? 1 : i + 1];
}

void lki_box_copy(int ndim, const int64_t *size, const float *in, const int64_t *in_dim, const int64_t *in_at, float *out,
    const int64_t *out_dim, const int64_t *out_at)
{
    int64_t run = 1, in_step[LK_MAX_DIMS], out_step[LK_MAX_DIMS], index[LK_MAX_DIMS] = {0};
    int64_t a = 1, b = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        in += in_at[i] * a;
        out += out_at[i] * b;
        in_step[i] = a;
        out_step[i] = b;
        a *= in_dim[i];
        b *= out_dim[i];
    }
    /* Dimensions from the last on that are whole in both make one run with the one in front of them. */
    int outer = ndim;
    while (outer > 0) {
        outer--;
        run *= size[outer];
        if (size[outer] != in_dim[outer] || size[outer] != out_dim[outer])
            break;
    }
    for (;;) {
        memcpy(out, in, (size_t)run * sizeof *out);
        int i = outer - 1;
        for (; i >= 0; i--) {
            in += in_step[i];
            out += out_step[i];
            if (++index[i] < size[i])
                break;
            in -= size[i] * in_step[i];
            out -= size[i] * out_step[i];
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}
