/* spectral_norm: see op/spectral_norm.c for the formula. Saved: v, the next u, s and |W^T u|.
 * Backward: dx = dy / s; with ds = -(dy . x) / s^2 and g = (W^T w - (v . W^T w) v) / |W^T u|, w the next u:
 * dW = ds (w v^T + u g^T), since s = w^T W v and v turns with W^T u; dbias = sums of dy. Sums in double. */
#include "kern/cuda/columns.cuh"
#include "kern/cuda/elements.cuh"

#include <algorithm>

enum { WEIGHT, U, BIAS };

static int64_t outputs_of(const lk_opspec *s)
{
    return s->attr.spectral_norm.weight.dim[0];
}

static int64_t rest_of(const lk_opspec *s)
{
    return lk_shape_row(&s->attr.spectral_norm.weight);
}

/* Elements behind one another in memory that belong to one output; channels-last the channels come last. */
static int64_t inner_of(const lk_opspec *s)
{
    const int axis = s->attr.spectral_norm.axis;
    const bool last = lk_shape_spatial(&s->in[0]) && s->in_layout == LK_LAYOUT_NHWC;
    int64_t n = last && axis > 1 ? s->in[0].dim[1] : 1;

    for (int i = axis + 1; i < s->in[0].ndim && !(last && axis == 1); i++)
        n *= s->in[0].dim[i];
    return n;
}

/* What the iteration leaves behind. */
struct spectral_state {
    float *v, *next, *size; /* size: s and |W^T u| */
};
static spectral_state state_of(const lk_opspec *s, void *at, size_t *bytes)
{
    spectral_state p;
    *bytes = 0;
    p.v = take_piece<float>(at, bytes, rest_of(s));
    p.next = take_piece<float>(at, bytes, outputs_of(s));
    p.size = take_piece<float>(at, bytes, 2);
    return p;
}

/* Forward: room for the sums, and, if nothing is saved, for the state. Backward: g, ds, room for the sums. */
struct spectral_room {
    float *g, *ds;
    void *sums;
    size_t bytes; /* in front of `sums` */
};
static spectral_room room_of(const lk_opspec *s, void *scratch)
{
    spectral_room r = {};
    r.g = take_piece<float>(scratch, &r.bytes, rest_of(s));
    r.ds = take_piece<float>(scratch, &r.bytes, 1);
    r.sums = scratch ? (char *)scratch + r.bytes : NULL;
    return r;
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t rows = outputs_of(s), cols = rest_of(s), n = lk_shape_count(&s->out);
    const size_t turned = columns_scratch<two_sums>(1, rows, cols);
    size_t state;
    *out = {};
    state_of(s, NULL, &state);
    out->saved_bytes = s->training ? state : 0;
    out->scratch_forward = turned + (s->training ? 0 : state);
    if (s->training)
        out->scratch_backward =
            room_of(s, NULL).bytes + std::max({turned, columns_scratch<two_sums>(1, n, 1), columns_scratch<two_sums>(1, n / rows, rows)});
    return LK_OK;
}

/* t = W^T u */
struct spectral_turned {
    typedef two_sums gathered;
    int64_t cols;
    const float *w, *u;
    float *t;
    __device__ two_sums gather(int64_t, int64_t c, int64_t first, int64_t end, int64_t step) const
    {
        two_sums sum = two_sums::none();
        for (int64_t i = first; i < end; i += step)
            sum.a += (double)w[i * cols + c] * (double)u[i];
        return sum;
    }
    __device__ void store(int64_t, int64_t c, const two_sums &sum) const
    {
        t[c] = (float)sum.a;
    }
};

/* One block: t = t / |t|, also to `copy` unless NULL; *size = |t|. */
static __global__ void spectral_unit(int64_t n, float *t, float *size, float *copy)
{
    __shared__ double shared[33];
    double squares = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        squares += (double)t[i] * (double)t[i];
    const double norm = fmax(sqrt(block_sum(squares, shared)), LKI_SPECTRAL_LEAST);
    const float factor = (float)(1 / norm);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        t[i] *= factor;
        if (copy)
            copy[i] = t[i];
    }
    if (threadIdx.x == 0)
        *size = (float)norm;
}

/* A block a row: y = W v */
static __global__ void spectral_products(int64_t cols, const float *w, const float *v, float *y)
{
    __shared__ double shared[33];
    double sum = 0;
    for (int64_t j = threadIdx.x; j < cols; j += blockDim.x)
        sum += (double)w[blockIdx.x * cols + j] * (double)v[j];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        y[blockIdx.x] = (float)sum;
}

struct spectral_forward {
    divisor inner, outputs;
    const float *size, *bias;
    __device__ void operator()(int64_t i, float x, float &y) const
    {
        const int64_t run = inner.quotient(i), output = run - outputs.quotient(run) * outputs.by;
        y = fmaf(x, 1 / *size, bias[output]);
    }
};

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = outputs_of(s), cols = rest_of(s);
    const float *const w = (const float *)c->param[WEIGHT];
    size_t bytes;
    const spectral_state p = state_of(s, s->training ? c->saved : c->scratch, &bytes);
    void *const sums = s->training ? c->scratch : (char *)c->scratch + bytes;

    LK_TRY(columns(1, rows, cols, spectral_turned{cols, w, (const float *)c->param[U], p.v}, sums));
    LK_TRY(launch(spectral_unit, dim3(1), dim3(LKI_BLOCK), 0, cols, p.v, p.size + 1, (float *)NULL));
    LK_TRY(launch(spectral_products, dim3(grid_of(rows)), dim3(LKI_BLOCK), 0, cols, w, p.v, p.next));
    LK_TRY(launch(spectral_unit, dim3(1), dim3(LKI_BLOCK), 0, rows, p.next, p.size, s->training ? (float *)c->dparam[U] : NULL));
    return elements(lk_shape_count(&s->out), spectral_forward{divisor(inner_of(s)), divisor(rows), p.size, (const float *)c->param[BIAS]},
        reads((const T *)c->x[0]), writes((T *)c->y));
}

/* ---- backward ---- */

/* ds */
template <class T> struct spectral_slope {
    typedef two_sums gathered;
    const T *x, *dy;
    const float *size;
    float *ds;
    __device__ float2 pair(int64_t i) const
    {
        return make_float2(to_float(dy[i]) * to_float(x[i]), 0);
    }
    __device__ two_sums gather(int64_t, int64_t, int64_t first, int64_t end, int64_t step) const
    {
        return sum_pairs(*this, first, end, step);
    }
    __device__ void store(int64_t, int64_t, const two_sums &sum) const
    {
        *ds = (float)(-sum.a / ((double)*size * (double)*size));
    }
};

/* Row r of a column is place r % inner of run r / inner of an output. */
template <class T> struct spectral_bias {
    typedef two_sums gathered;
    divisor inner;
    int64_t outputs;
    const T *dy;
    float *dbias;
    __device__ two_sums gather(int64_t, int64_t c, int64_t first, int64_t end, int64_t step) const
    {
        two_sums sum = two_sums::none();
        for (int64_t r = first; r < end; r += step) {
            const int64_t run = inner.quotient(r);
            sum.a += (double)to_float(dy[(run * outputs + c) * inner.by + (r - run * inner.by)]);
        }
        return sum;
    }
    __device__ void store(int64_t, int64_t c, const two_sums &sum) const
    {
        dbias[c] = (float)sum.a;
    }
};

/* One block: g = (g - (v . g) v) / norm */
static __global__ void spectral_across(int64_t n, const float *v, const float *norm, float *g)
{
    __shared__ double shared[33];
    double sum = 0;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        sum += (double)v[j] * (double)g[j];
    const float along = (float)block_sum(sum, shared), factor = 1 / *norm;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        g[j] = (g[j] - along * v[j]) * factor;
}

/* dw = ds (next v^T + u g^T) */
struct spectral_outer {
    divisor cols;
    const float *ds, *next, *v, *u, *g;
    float *dw;
    __device__ void operator()(int64_t i) const
    {
        const int64_t row = cols.quotient(i), col = i - row * cols.by;
        dw[i] = *ds * (next[row] * v[col] + u[row] * g[col]);
    }
};

struct spectral_backward {
    const float *size;
    __device__ void operator()(int64_t, float dy, float &dx) const
    {
        dx = dy * (1 / *size);
    }
};

/* The sums come first: dx may lie where dy does. */
template <class T> static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t rows = outputs_of(s), cols = rest_of(s), n = lk_shape_count(&s->out);
    const float *const w = (const float *)c->param[WEIGHT], *const u = (const float *)c->param[U];
    float *const dw = (float *)c->dparam[WEIGHT], *const dbias = (float *)c->dparam[BIAS];
    const T *const dy = (const T *)c->dy;
    const spectral_room r = room_of(s, c->scratch);
    size_t bytes;
    const spectral_state p = state_of(s, c->saved, &bytes);

    if (dbias)
        LK_TRY(columns(1, n / rows, rows, spectral_bias<T>{divisor(inner_of(s)), rows, dy, dbias}, r.sums));
    if (dw) {
        LK_TRY(columns(1, n, 1, spectral_slope<T>{(const T *)c->x[0], dy, p.size, r.ds}, r.sums));
        LK_TRY(columns(1, rows, cols, spectral_turned{cols, w, p.next, r.g}, r.sums));
        LK_TRY(launch(spectral_across, dim3(1), dim3(LKI_BLOCK), 0, cols, p.v, p.size + 1, r.g));
        LK_TRY(each(rows * cols, spectral_outer{divisor(cols), r.ds, p.next, p.v, u, r.g, dw}));
    }
    if (!c->dx[0])
        return LK_OK;
    return elements(n, spectral_backward{p.size}, reads(dy), writes((T *)c->dx[0]));
}

template <class T>
static constexpr lk_kernel kernel = {.in_place_dx = true, .plan = plan, .forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(spectral_norm, kernel);
