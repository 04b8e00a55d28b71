/* What layer_norm and rms_norm share: rows along the last dimension, each with its own mean (0 if not centered) and inverse deviation. Of two inputs x is the
 * sum, which is written on the way. Backward, t = x - mean, g = dy w: dx = inv (g - mean(g) - t inv^2 mean(g t)), the second term if centered, and what comes to x from elsewhere is added; dw = sum(dy t inv), db = sum(dy) over
 * the rows. Saved: mean and inverse of each row. */
#ifndef LK_KERN_CUDA_ROW_NORM_CUH
#define LK_KERN_CUDA_ROW_NORM_CUH

#include "kern/cuda/columns.cuh"
#include "kern/cuda/rows.cuh"

/* ---- forward ---- */
template <class T, bool center, int group, int width, int held>
static __global__ void norm_rows_forward(
    int64_t rows, int64_t n, float eps, const T *x, const T *more, T *sum, const float *w, const float *b, T *y, float2 *stat)
{
    __shared__ float shared[33];
    const int64_t r = row_number<group>();
    if (r >= rows)
        return;
    row_part<T, group, width, held> own(x + r * n, n);
    float mean = 0, squares = 0;

    if (more) {
        LKI_UNROLL
        for (int k = 0; k < own.pieces(); k++)
            if (own.inside(k)) {
                float v[width], add[width];
                own.get(k, v);
                load_run(more + r * n + own.at(k), add);
                for (int j = 0; j < width; j++)
                    v[j] = to_float(from_float<T>(v[j] + add[j])); /* as others read it */
                store_run(sum + r * n + own.at(k), v);
                own.keep(k, v);
            }
        own.row = sum + r * n;
    }
    if constexpr (center) {
        LKI_UNROLL
        for (int k = 0; k < own.pieces(); k++)
            if (own.inside(k)) {
                float v[width];
                own.get(k, v);
                for (int j = 0; j < width; j++)
                    mean += v[j];
            }
        mean = group_sum<group>(mean, shared) / (float)n;
    }
    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width];
            own.get(k, v);
            for (int j = 0; j < width; j++)
                squares += (v[j] - mean) * (v[j] - mean);
        }
    const float inv = 1 / sqrtf(group_sum<group>(squares, shared) / (float)n + eps);
    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width], weight[width], shift[width] = {};
            own.get(k, v);
            load_run(w + own.at(k), weight);
            if (b)
                load_run(b + own.at(k), shift);
            for (int j = 0; j < width; j++)
                v[j] = (v[j] - mean) * inv * weight[j] + shift[j];
            store_run(y + r * n + own.at(k), v);
        }
    if (stat && lane_number<group>() == 0)
        stat[r] = make_float2(mean, inv);
}

template <class T, bool center> struct norm_rows_forward_run {
    int64_t rows, n;
    float eps;
    const T *x, *more;
    T *sum;
    const float *w, *b;
    T *y;
    float2 *stat;
    template <int group, int width, int held> lk_status run() const
    {
        return launch_rows<group>(norm_rows_forward<T, center, group, width, held>, rows, rows, n, eps, x, more, sum, w, b, y, stat);
    }
};

template <class T, bool center> static lk_status row_norm_forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const norm_rows_forward_run<T, center> f = {lki_shape_lead(&s->in[0]), lki_shape_last(&s->in[0]), (float)s->attr.norm.eps, (const T *)c->x[0],
        s->n_in > 1 ? (const T *)c->x[1] : NULL, (T *)c->sum, (const float *)c->param[0], s->n_params > 1 ? (const float *)c->param[1] : NULL, (T *)c->y, (float2 *)c->saved};
    return for_rows<T>(f.n, aligned16(f.x) && aligned16(f.more) && aligned16(f.sum) && aligned16(f.y) && aligned16(f.w) && aligned16(f.b), f);
}

/* ---- backward ---- */
template <class T, bool center, int group, int width, int held>
static __global__ void norm_rows_backward(int64_t rows, int64_t n, const T *x, const float *w, const float2 *stat, const T *dy, const T *dsum, T *dx)
{
    __shared__ float shared[33];
    const int64_t r = row_number<group>();
    if (r >= rows)
        return;
    const row_part<T, group, width, held> own(x + r * n, n), given(dy + r * n, n);
    const float mean = stat[r].x, inv = stat[r].y;
    float g = 0, gt = 0;

    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width], d[width], weight[width];
            own.get(k, v);
            given.get(k, d);
            load_run(w + own.at(k), weight);
            for (int j = 0; j < width; j++) {
                g += d[j] * weight[j];
                gt += d[j] * weight[j] * (v[j] - mean);
            }
        }
    const float constant = center ? group_sum<group>(g, shared) / (float)n : 0;
    const float slope = group_sum<group>(gt, shared) / (float)n * inv * inv;
    LKI_UNROLL
    for (int k = 0; k < own.pieces(); k++)
        if (own.inside(k)) {
            float v[width], d[width], weight[width];
            own.get(k, v);
            given.get(k, d);
            load_run(w + own.at(k), weight);
            for (int j = 0; j < width; j++)
                d[j] = (d[j] * weight[j] - constant - (v[j] - mean) * slope) * inv;
            if (dsum) {
                float other[width];
                load_run(dsum + r * n + own.at(k), other);
                for (int j = 0; j < width; j++)
                    d[j] += other[j];
            }
            store_run(dx + r * n + own.at(k), d);
        }
}

template <class T, bool center> struct norm_rows_backward_run {
    int64_t rows, n;
    const T *x;
    const float *w;
    const float2 *stat;
    const T *dy, *dsum;
    T *dx;
    template <int group, int width, int held> lk_status run() const
    {
        return launch_rows<group>(norm_rows_backward<T, center, group, width, held>, rows, rows, n, x, w, stat, dy, dsum, dx);
    }
};

/* dw and db. */
template <class T> struct norm_rows_column {
    const T *x, *dy;
    int64_t n;
    const float2 *stat;
    __device__ float2 pair(int64_t row) const
    {
        const float d = to_float(dy[row * n]);
        const float2 s = stat[row];
        return make_float2(d * ((to_float(x[row * n]) - s.x) * s.y), d);
    }
};
template <class T> struct norm_rows_weights {
    typedef two_sums gathered;
    norm_rows_column<T> first;
    float *dw, *db;
    __device__ two_sums gather(int64_t, int64_t col, int64_t begin, int64_t end, int64_t step) const
    {
        return sum_pairs(norm_rows_column<T>{first.x + col, first.dy + col, first.n, first.stat}, begin, end, step);
    }
    __device__ void store(int64_t, int64_t col, const two_sums &v) const
    {
        if (dw)
            dw[col] = (float)v.a;
        if (db)
            db[col] = (float)v.b;
    }
};

/* The sums come first: dx may lie where dy does. */
template <class T, bool center> static lk_status row_norm_backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const norm_rows_backward_run<T, center> f = {lki_shape_lead(&s->in[0]), lki_shape_last(&s->in[0]), (const T *)(s->n_in > 1 ? c->sum : c->x[0]),
        (const float *)c->param[0], (const float2 *)c->saved, (const T *)c->dy, (const T *)c->dsum, (T *)c->dx[0]};
    float *const dw = (float *)c->dparam[0], *const db = s->n_params > 1 ? (float *)c->dparam[1] : NULL;

    if (dw || db)
        LK_TRY(columns(1, f.rows, f.n, norm_rows_weights<T>{{f.x, f.dy, f.n, f.stat}, dw, db}, c->scratch));
    return f.dx ? for_rows<T>(f.n, aligned16(f.x) && aligned16(f.dy) && aligned16(f.dsum) && aligned16(f.dx) && aligned16(f.w), f) : LK_OK;
}

static lk_status row_norm_plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t rows = lki_shape_lead(&s->in[0]);
    *out = {};
    out->saved_bytes = s->training ? (size_t)rows * sizeof(float2) : 0;
    out->scratch_backward = s->training ? columns_scratch<two_sums>(1, rows, lki_shape_last(&s->in[0])) : 0;
    return LK_OK;
}

template <class T, bool center>
static constexpr lk_kernel row_norm_kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .residual = true,
    .plan = row_norm_plan,
    .forward = row_norm_forward<T, center>,
    .backward = row_norm_backward<T, center>};

#endif
