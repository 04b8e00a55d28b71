/* softmax: y[i] = exp(x[i] - top) / sum_k exp(x[k] - top) along the last dimension. Backward: dx[i] = y[i] (dy[i] - sum_k dy[k] y[k]). */
#include "kern/cuda/rows.cuh"

#include <math.h>

template <class T, int group, int width, int held> static __global__ void forward_kernel(int64_t rows, int64_t n, const T *x, T *y)
{
    __shared__ float shared[33];
    const int64_t r = row_number<group>();
    if (r >= rows)
        return;
    row_part<T, group, width, held> own(x + r * n, n);
    float top = -INFINITY, sum = 0;

    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width];
            own.get(k, v);
            for (int j = 0; j < width; j++)
                top = fmaxf(top, v[j]); /* passes NaN by, which comes back through the sum */
        }
    top = group_max<group>(top, shared);
    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width];
            own.get(k, v);
            for (int j = 0; j < width; j++) {
                v[j] = expf(v[j] - top);
                sum += v[j];
            }
            own.keep(k, v);
        }
    const float share = 1 / group_sum<group>(sum, shared);
    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width];
            own.get(k, v);
            for (int j = 0; j < width; j++)
                v[j] = (held > 0 ? v[j] : expf(v[j] - top)) * share;
            store_run(y + r * n + own.at(k), v);
        }
}

template <class T> struct softmax_forward {
    int64_t rows, n;
    const T *x;
    T *y;
    template <int group, int width, int held> lk_status run() const
    {
        return launch_rows<group>(forward_kernel<T, group, width, held>, rows, rows, n, x, y);
    }
};

template <class T, int group, int width, int held>
static __global__ void backward_kernel(int64_t rows, int64_t n, const T *y, const T *dy, T *dx)
{
    __shared__ float shared[33];
    const int64_t r = row_number<group>();
    if (r >= rows)
        return;
    const row_part<T, group, width, held> own(y + r * n, n), given(dy + r * n, n);
    float sum = 0;

    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width], d[width];
            own.get(k, v);
            given.get(k, d);
            for (int j = 0; j < width; j++)
                sum += v[j] * d[j];
        }
    sum = group_sum<group>(sum, shared);
    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width], d[width];
            own.get(k, v);
            given.get(k, d);
            for (int j = 0; j < width; j++)
                d[j] = v[j] * (d[j] - sum);
            store_run(dx + r * n + own.at(k), d);
        }
}

template <class T> struct softmax_backward {
    int64_t rows, n;
    const T *y, *dy;
    T *dx;
    template <int group, int width, int held> lk_status run() const
    {
        return launch_rows<group>(backward_kernel<T, group, width, held>, rows, rows, n, y, dy, dx);
    }
};

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    const softmax_forward<T> f = {lki_shape_lead(in), lki_shape_last(in), (const T *)c->x[0], (T *)c->y};
    return for_rows<T>(f.n, aligned16(f.x) && aligned16(f.y), f);
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    const softmax_backward<T> f = {lki_shape_lead(in), lki_shape_last(in), (const T *)c->y, (const T *)c->dy, (T *)c->dx[0]};
    return f.dx ? for_rows<T>(f.n, aligned16(f.y) && aligned16(f.dy) && aligned16(f.dx), f) : LK_OK;
}

template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .forward = forward<T>,
    .backward = backward<T>};

LKI_KERNELS(softmax, kernel);
