/* Element-wise loops and changes of order that several operations share. */
#include "kern/cpu/cpu_int.h"
#include <string.h>

LK_CLONES void lki_relu(int64_t n, const float *x, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] < 0 ? 0 : x[i];
}

LK_CLONES void lki_relu_backward(int64_t n, const float *y, const float *dy, float *dx)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

void lki_copy(int64_t n, const float *in, float *out)
{
    if (out != in)
        memcpy(out, in, (size_t)n * sizeof *out);
}

/* In tiles that stay in the nearest cache for both sides. */
LK_CLONES void lki_transpose(int64_t rows, int64_t cols, const float *restrict in, float *restrict out)
{
    enum { TILE = 16 };
    for (int64_t r0 = 0; r0 < rows; r0 += TILE) {
        const int64_t r1 = lki_min(r0 + TILE, rows);
        for (int64_t c = 0; c < cols; c++)
            for (int64_t r = r0; r < r1; r++)
                out[c * rows + r] = in[r * cols + c];
    }
}

void lki_plain_to_nhwc(int64_t b, int64_t c, int64_t area, const float *in, float *out)
{
    if (c == 1 || area == 1) {
        lki_copy(b * c * area, in, out);
        return;
    }
    for (int64_t i = 0; i < b; i++)
        lki_transpose(c, area, in + i * c * area, out + i * c * area);
}

void lki_nhwc_to_plain(int64_t b, int64_t c, int64_t area, const float *in, float *out)
{
    lki_plain_to_nhwc(b, area, c, in, out);
}
