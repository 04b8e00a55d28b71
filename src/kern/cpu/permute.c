/* permute: runs are copied where the last dimension stays the last; else tiles of the two dimensions that are the last
 * ones of the input and of the output are turned. */
#include "kern/cpu/cpu_int.h"
#include <string.h>

/* out [rows][cols] at steps (out_row, 1) from in at steps (1, in_col). */
LK_CLONES static void turn(
    int64_t rows, int64_t cols, const float *restrict in, int64_t in_col, float *restrict out, int64_t out_row)
{
    enum { TILE = 16 };
    for (int64_t c0 = 0; c0 < cols; c0 += TILE) {
        const int64_t c1 = lki_min(c0 + TILE, cols);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = c0; c < c1; c++)
                out[r * out_row + c] = in[c * in_col + r];
    }
}

/* out of `dim`, its dimension i the dimension order[i] of in. */
static void move(int ndim, const int64_t *dim, const int *order, const float *in, float *out)
{
    int64_t in_dim[LK_MAX_DIMS], step[LK_MAX_DIMS], size[LK_MAX_DIMS], in_step[LK_MAX_DIMS], out_step[LK_MAX_DIMS];
    int64_t index[LK_MAX_DIMS] = {0};
    for (int i = 0; i < ndim; i++)
        in_dim[order[i]] = dim[i];
    for (int64_t i = ndim - 1, s = 1; i >= 0; s *= in_dim[i], i--)
        step[i] = s;
    /* Dimensions of more than one place; neighbours in both arrays are one. */
    int n = 0;
    for (int i = 0; i < ndim; i++) {
        if (dim[i] == 1)
            continue;
        if (n > 0 && in_step[n - 1] == dim[i] * step[order[i]]) {
            size[n - 1] *= dim[i];
            in_step[n - 1] = step[order[i]];
        } else {
            size[n] = dim[i];
            in_step[n++] = step[order[i]];
        }
    }
    for (int64_t i = n - 1, s = 1; i >= 0; s *= size[i], i--)
        out_step[i] = s;
    if (n == 0 || (n == 1 && in_step[0] == 1)) {
        memcpy(out, in, (size_t)(n == 0 ? 1 : size[0]) * sizeof *out);
        return;
    }
    int last = n - 1, inner = n - 1; /* inner: the output's dimension that is the input's last */
    while (in_step[inner] != 1)
        inner--;
    for (;;) {
        if (inner == last)
            memcpy(out, in, (size_t)size[last] * sizeof *out);
        else
            turn(size[inner], size[last], in, in_step[last], out, out_step[inner]);
        int i = last - 1;
        for (; i >= 0; i--) {
            if (i == inner)
                continue;
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

static lk_status forward(const lk_call *c)
{
    move(c->spec->out.ndim, c->spec->out.dim, c->spec->attr.permute.order, c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    int back[LK_MAX_DIMS] = {0};
    for (int i = 0; i < s->out.ndim; i++)
        back[s->attr.permute.order[i]] = i;
    if (c->dx[0])
        move(s->out.ndim, s->in[0].dim, back, c->dy, c->dx[0]);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_permute = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
