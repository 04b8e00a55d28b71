/* Convolutions over one to three axes, for conv and conv_transpose, which are the two directions of one. Two sides: the wide one, x
 * [batch][in][c], which windows read, and the narrow one, y [batch][out][f], with a place for each window; channels last; weights
 * [f][c/groups][taps]. All is D, H, W here: axes that a value has not are of size 1. For each group
 *
 *   down     y  = act(columns(x) W^T + bias)       columns(x) [batch out][taps c/groups]: the windows, zeros where they reach beyond x
 *   up       x  = act(gather(y W) + bias)          gather: each place of x sums what the windows that hold it have for it
 *   weights  dW = dy^T columns(x)
 *
 * so that conv goes down and conv_transpose up, and the gradient of the input goes the other way. Columns are made for so many rows at a
 * time that they stay below COLUMNS_BYTES. Where windows are single places, x is its own columns. A filter for each channel (depthwise) has
 * loops of its own. What cuDNN has a plan for (conv_cudnn.h: at most two axes, with windows, not depthwise) it does instead.
 *
 * Sums run in an order fixed by the shape: products one chunk after the other, taps in rising order. */
#ifndef LK_KERN_CUDA_CONV_CUH
#define LK_KERN_CUDA_CONV_CUH

#include "kern/cuda/conv_cudnn.h"
#include "kern/cuda/rounding.cuh"
#include "kern/formula.h"

#include <inttypes.h>

/* ---- places and windows ---- */
struct window {
    int batch, groups, c, f;
    int in[LK_MAX_AXES], out[LK_MAX_AXES];
    int kernel[LK_MAX_AXES], stride[LK_MAX_AXES], dilation[LK_MAX_AXES], before[LK_MAX_AXES];
};

/* The i-th place of [batch][size], and those behind it. */
struct place {
    int64_t b;
    int at[LK_MAX_AXES];
    __device__ place(const int size[LK_MAX_AXES], int64_t i)
    {
        for (int a = LK_MAX_AXES - 1; a >= 0; a--) {
            at[a] = (int)(i % size[a]);
            i /= size[a];
        }
        b = i;
    }
    __device__ void next(const int size[LK_MAX_AXES])
    {
        for (int a = LK_MAX_AXES - 1; a >= 0; a--) {
            if (++at[a] < size[a])
                return;
            at[a] = 0;
        }
        b++;
    }
};

static __device__ inline void tap_of(const window &v, int tap, int t[LK_MAX_AXES])
{
    for (int a = LK_MAX_AXES - 1; a >= 0; a--) {
        t[a] = tap % v.kernel[a];
        tap /= v.kernel[a];
    }
}

/* The wide place, counted over all samples, under tap t of the window at narrow place p; -1: beyond. */
static __device__ inline int64_t wide_place(const window &v, const place &p, const int t[LK_MAX_AXES])
{
    int64_t at = p.b;
    for (int a = 0; a < LK_MAX_AXES; a++) {
        const int i = p.at[a] * v.stride[a] - v.before[a] + t[a] * v.dilation[a];
        if (i < 0 || i >= v.in[a])
            return -1;
        at = at * v.in[a] + i;
    }
    return at;
}

/* Calls f(tap, narrow place counted over all samples) for all windows that hold wide place p, taps in rising order. */
template <class F> static __device__ inline void each_window(const window &v, const place &p, F &f)
{
    int o[LK_MAX_AXES];
    for (int t0 = 0; t0 < v.kernel[0]; t0++) {
        const int n0 = p.at[0] + v.before[0] - t0 * v.dilation[0];
        o[0] = n0 / v.stride[0];
        if (n0 < 0 || o[0] * v.stride[0] != n0 || o[0] >= v.out[0])
            continue;
        for (int t1 = 0; t1 < v.kernel[1]; t1++) {
            const int n1 = p.at[1] + v.before[1] - t1 * v.dilation[1];
            o[1] = n1 / v.stride[1];
            if (n1 < 0 || o[1] * v.stride[1] != n1 || o[1] >= v.out[1])
                continue;
            for (int t2 = 0; t2 < v.kernel[2]; t2++) {
                const int n2 = p.at[2] + v.before[2] - t2 * v.dilation[2];
                o[2] = n2 / v.stride[2];
                if (n2 < 0 || o[2] * v.stride[2] != n2 || o[2] >= v.out[2])
                    continue;
                f((t0 * v.kernel[1] + t1) * v.kernel[2] + t2, ((p.b * v.out[0] + o[0]) * v.out[1] + o[1]) * v.out[2] + o[2]);
            }
        }
    }
}

/* N neighbouring channels as one access: 1, or as many as 16 bytes hold. */
static __device__ inline float activated(float v, bool relu)
{
    return relu ? lki_formula_relu(v) : v;
}

/* ---- columns ---- */
enum { ROWS_A_THREAD = 8 };

/* col [groups][rows][cols], rows from narrow place `first` on. A thread has N columns of one group and ROWS_A_THREAD rows one after the
 * other. */
template <class T, int N> static __global__ void columns_kernel(window v, int64_t first, int64_t rows, int cols, const T *x, T *col)
{
    const int part = v.c / v.groups, wide = v.groups * (cols / N), tiles = (wide + (int)blockDim.x - 1) / (int)blockDim.x;
    const int own = (int)(blockIdx.x % tiles * blockDim.x + threadIdx.x);
    int64_t row = ((int64_t)(blockIdx.x / tiles) * blockDim.y + threadIdx.y) * ROWS_A_THREAD;
    if (own >= wide || row >= rows)
        return;
    const int group = own / (cols / N), column = own % (cols / N) * N, tap = column / part;
    const bool behind = tap >= v.kernel[0] * v.kernel[1] * v.kernel[2]; /* columns of zeros */
    const int64_t end = row + ROWS_A_THREAD < rows ? row + ROWS_A_THREAD : rows;
    int t[LK_MAX_AXES];
    tap_of(v, tap, t);
    x += group * part + column % part;
    col += (group * rows + row) * cols + column;
    for (place p(v.out, first + row); row < end; row++, p.next(v.out), col += cols) {
        const int64_t at = behind ? -1 : wide_place(v, p, t);
        store_vec(col, at < 0 ? vec<T, N>{} : load_vec<N>(x + at * v.c));
    }
}

template <class T, int N> static lk_status columns_run(const window &v, int64_t first, int64_t rows, int64_t cols, const T *x, T *col)
{
    const int64_t wide = v.groups * (cols / N), block = LKI_BLOCK;
    const int64_t lanes = wide < block ? div_up(wide, 32) * 32 : block, lines = block / lanes;

    return launch(columns_kernel<T, N>, dim3(grid_of(div_up(wide, lanes) * div_up(rows, lines * ROWS_A_THREAD))), dim3((unsigned)lanes, (unsigned)lines), 0, v, first, rows, (int)cols, x, col);
}

/* From columns of the narrow side's places back to the wide side: col [groups][rows][cols] -> x. */
template <class T, int N> struct gather_columns {
    window v;
    int64_t rows, cols;
    const T *col;
    const float *bias;
    bool relu;
    T *x;
    struct sum {
        const T *col;
        int64_t cols, part;
        float at[N];
        __device__ void operator()(int tap, int64_t row)
        {
            const vec<T, N> own = load_vec<N>(col + row * cols + tap * part);
            for (int k = 0; k < N; k++)
                at[k] += to_float(own.at[k]);
        }
    };
    __device__ void operator()(int64_t i) const
    {
        const int part = v.c / v.groups, channel = (int)(i % (v.c / N)) * N, group = channel / part;
        const place p(v.in, i / (v.c / N));
        sum s = {col + group * rows * cols + channel % part, cols, part, {}};
        vec<T, N> out;
        for (int k = 0; k < N; k++)
            s.at[k] = bias != NULL ? bias[channel + k] : 0;
        each_window(v, p, s);
        for (int k = 0; k < N; k++)
            out.at[k] = from_float<T>(activated(s.at[k], relu));
        store_vec(x + i * N, out);
    }
};

/* ---- depthwise: weights as [tap][c] ---- */
template <class T, int N> struct depthwise_down {
    window v;
    const T *x;
    const float *w, *bias;
    bool relu;
    T *y;
    __device__ void operator()(int64_t i) const
    {
        const int channel = (int)(i % (v.c / N)) * N;
        const place p(v.out, i / (v.c / N));
        float sum[N];
        vec<T, N> out;
        int t[LK_MAX_AXES];
        const float *tap = w + channel;
        for (int k = 0; k < N; k++)
            sum[k] = bias != NULL ? bias[channel + k] : 0;
        for (t[0] = 0; t[0] < v.kernel[0]; t[0]++)
            for (t[1] = 0; t[1] < v.kernel[1]; t[1]++)
                for (t[2] = 0; t[2] < v.kernel[2]; t[2]++, tap += v.c) {
                    const int64_t at = wide_place(v, p, t);
                    if (at < 0)
                        continue;
                    const vec<T, N> own = load_vec<N>(x + at * v.c + channel);
                    for (int k = 0; k < N; k++)
                        sum[k] += tap[k] * to_float(own.at[k]);
                }
        for (int k = 0; k < N; k++)
            out.at[k] = from_float<T>(activated(sum[k], relu));
        store_vec(y + i * N, out);
    }
};

template <class T, int N> struct depthwise_up {
    window v;
    const T *y;
    const float *w, *bias;
    bool relu;
    T *x;
    struct sum {
        const T *y;
        const float *w;
        int c;
        float at[N];
        __device__ void operator()(int tap, int64_t row)
        {
            const vec<T, N> own = load_vec<N>(y + row * c);
            for (int k = 0; k < N; k++)
                at[k] += w[(int64_t)tap * c + k] * to_float(own.at[k]);
        }
    };
    __device__ void operator()(int64_t i) const
    {
        const int channel = (int)(i % (v.c / N)) * N;
        const place p(v.in, i / (v.c / N));
        sum s = {y + channel, w + channel, v.c, {}};
        vec<T, N> out;
        for (int k = 0; k < N; k++)
            s.at[k] = bias != NULL ? bias[channel + k] : 0;
        each_window(v, p, s);
        for (int k = 0; k < N; k++)
            out.at[k] = from_float<T>(activated(s.at[k], relu));
        store_vec(x + i * N, out);
    }
};

/* Gradient of the weights, in two stages: a block sums at most PART_ROWS narrow places for one tap of TILE channels, slice after slice; then the
 * parts are added. Their number follows from the number of places alone. */
enum { TILE = 32, SLICES = 8, PART_ROWS = 1024 };

/* out [parts][taps][c] */
template <class T> static __global__ void depthwise_parts(window v, int64_t rows, const T *x, const T *dy, float *out)
{
    __shared__ float slices[SLICES][TILE];
    const int tiles = (v.c + TILE - 1) / TILE, taps = v.kernel[0] * v.kernel[1] * v.kernel[2];
    const int channel = (int)(blockIdx.x % tiles) * TILE + threadIdx.x, tap = (int)(blockIdx.x / tiles % taps);
    const int64_t part = blockIdx.x / tiles / taps;
    int64_t row = part * PART_ROWS + (int64_t)threadIdx.y * (PART_ROWS / SLICES);
    const int64_t end = row + PART_ROWS / SLICES < rows ? row + PART_ROWS / SLICES : rows;
    float sum = 0;

    if (channel < v.c) {
        int t[LK_MAX_AXES];
        tap_of(v, tap, t);
        for (place p(v.out, row); row < end; row++, p.next(v.out)) {
            const int64_t at = wide_place(v, p, t);
            if (at >= 0)
                sum += to_float(dy[row * v.c + channel]) * to_float(x[at * v.c + channel]);
        }
    }
    slices[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || channel >= v.c)
        return;
    for (int s = 1; s < SLICES; s++)
        sum += slices[s][threadIdx.x];
    out[(part * taps + tap) * v.c + channel] = sum;
}

/* [parts][taps][c] -> dw [c][taps] */
struct add_depthwise {
    int64_t parts, taps, c;
    const float *part;
    float *dw;
    __device__ void operator()(int64_t i) const
    {
        float sum = 0;
        for (int64_t p = 0; p < parts; p++)
            sum += part[p * taps * c + i];
        dw[i % c * taps + i / c] = sum;
    }
};

/* ---- element by element ---- */
/* Weights: plain [f][part][taps] to [f][cols], a row tap by tap, zeros behind; and a gradient of it back. */
template <class T> struct pack_weights {
    int64_t part, taps, cols;
    const float *w;
    T *out;
    rounder<T> round;
    __device__ void operator()(int64_t i) const
    {
        const int64_t f = i / cols, at = i % cols, tap = at / part, k = at % part, from = (f * part + k) * taps + tap;
        out[i] = tap < taps ? round(from, w[from]) : from_float<T>(0);
    }
};
struct unpack_weights {
    int64_t part, taps, cols;
    const float *packed;
    float *dw;
    __device__ void operator()(int64_t i) const
    {
        const int64_t tap = i % taps, k = i / taps % part, f = i / taps / part;
        dw[i] = packed[f * cols + tap * part + k];
    }
};

/* y = act(y + bias), in place */
template <class T, int N> struct finish_channels {
    int64_t c;
    const float *bias;
    bool relu;
    T *y;
    __device__ void operator()(int64_t i) const
    {
        const int64_t channel = i * N % c;
        vec<T, N> own = load_vec<N>(y + i * N);
        for (int k = 0; k < N; k++)
            own.at[k] = from_float<T>(activated(to_float(own.at[k]) + (bias != NULL ? bias[channel + k] : 0), relu));
        store_vec(y + i * N, own);
    }
};

/* ---- plans ---- */
/* Of columns at a time: enough for the products to be large, little beside the values of a network. On the host, where shapes are small, so
 * little that there are several chunks. */
#ifdef LK_STANDIN
static constexpr int64_t COLUMNS_BYTES = 64 << 10;
#else
static constexpr int64_t COLUMNS_BYTES = 64 << 20;
#endif
/* Chunks start at multiples of so many rows, so that their addresses are as good as the first one's. */
static constexpr int64_t CHUNK_ROWS = 128;
/* Sizes in `int`, and sums of two of them. */
static constexpr int64_t MOST = (INT64_C(1) << 30) - 1;

static inline size_t larger_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* One of the three products, in n chunks: all of `rows` rows but for the last one, which has `rest`. */
struct products {
    int64_t n, rows, rest;
    lki_gemm *first, *middle, *last;
};
constexpr lki_conv_part DOWN = LKI_CONV_DOWN, UP = LKI_CONV_UP, WEIGHTS = LKI_CONV_WEIGHTS;

struct convolution {
    window v;
    lki_type type;
    int64_t places_in, places_out, taps;
    int64_t cols;   /* columns of a group: taps c/groups, and zeros to the next 16 bytes */
    bool depthwise, direct; /* direct: x is its own columns */
    bool same_order; /* the parameter lies as weights are wanted, */
    bool plain;      /* and is used as it is */
    bool fused_bias; /* the products of the way forward add the bias: of type `type`, behind the packed weights where that is not float */
    bool left_bias, left_relu; /* they, or cuDNN, leave the bias, or relu, which must keep a NaN, to a kernel of its own */
    /* A chunk of the way up: so many whole samples, or so many places of one along `axis`, which are reached from so many narrow places. */
    int axis;
    int64_t samples, band, reach;
    products part[LKI_CONV_PARTS];
    lki_conv_cudnn *cudnn[LKI_CONV_PARTS]; /* in place of the products, where it is not NULL */
    size_t packed_bytes, bias_at, scratch[LKI_CONV_PARTS];
    size_t sum_at; /* in the scratch of the weights: their gradient, where it is not made in place */
};

static inline int64_t volume(const int v[LK_MAX_AXES])
{
    return (int64_t)v[0] * v[1] * v[2];
}

static inline void products_destroy(products *p)
{
    lki_gemm_destroy(&p->first);
    lki_gemm_destroy(&p->middle);
    lki_gemm_destroy(&p->last);
}

static inline void conv_destroy(void *state)
{
    convolution *v = (convolution *)state;

    if (v == NULL)
        return;
    for (products &p : v->part)
        products_destroy(&p);
    for (lki_conv_cudnn *&p : v->cudnn)
        lki_conv_cudnn_destroy(&p);
    lk_free(v);
}

/* Of the addresses where chunks start. */
static inline int64_t chunk_align(const convolution *v, lki_conv_part part)
{
    const int64_t most = 16, others = v->band < v->v.in[v->axis] ? v->places_out / v->v.out[v->axis] : v->samples * v->places_out;
    const int64_t apart = others * v->v.f * (int64_t)lki_type_size(v->type);

    return part != UP || v->part[UP].n == 1 || (apart & -apart) > most ? most : apart & -apart;
}

static inline lki_gemm_spec spec_of(const convolution *v, lki_conv_part part, int64_t rows, bool bias, bool add)
{
    const int64_t c = v->v.c, f = v->v.f, groups = v->v.groups;
    const int64_t lead = v->direct ? c : v->cols, apart = v->direct ? c / groups : rows * v->cols; /* of columns; of groups of them */
    lki_gemm_spec s = {};

    s.batch = groups;
    s.a = s.b = s.c = v->type;
    s.bias = bias;
    s.align = chunk_align(v, part);
    switch (part) {
    case DOWN:
        s.tb = true;
        s.m = rows;
        s.n = f / groups;
        s.k = v->cols;
        s.lda = lead;
        s.ldb = v->cols;
        s.ldc = f;
        s.stride_a = apart;
        s.stride_b = f / groups * v->cols;
        s.stride_c = f / groups;
        break;
    case UP:
        s.m = rows;
        s.n = v->cols;
        s.k = f / groups;
        s.lda = f;
        s.ldb = v->cols;
        s.ldc = lead;
        s.stride_a = f / groups;
        s.stride_b = f / groups * v->cols;
        s.stride_c = apart;
        break;
    case WEIGHTS:
        s.ta = true;
        s.m = f / groups;
        s.n = v->cols;
        s.k = rows;
        s.lda = f;
        s.ldb = lead;
        s.ldc = v->cols;
        s.stride_a = f / groups;
        s.stride_b = apart;
        s.stride_c = f / groups * v->cols;
        s.c = LKI_F32;
        s.add = add;
        break;
    default:
        break;
    }
    return s;
}

static inline lk_status products_create(convolution *v, lki_conv_part part, bool bias)
{
    products *p = &v->part[part];
    const lki_gemm_spec first = spec_of(v, part, p->rows, bias, false), middle = spec_of(v, part, p->rows, bias, true);
    const lki_gemm_spec last = spec_of(v, part, p->rest, bias, p->n > 1);

    if (p->n > 1)
        LK_TRY(lki_gemm_create(&first, &p->first));
    if (p->n > 2)
        LK_TRY(lki_gemm_create(&middle, &p->middle));
    return lki_gemm_create(&last, &p->last);
}

static inline const lki_gemm *products_at(const products *p, int64_t i)
{
    return i == p->n - 1 ? p->last : i == 0 ? p->first : p->middle;
}

/* Rows of columns that fit. */
static inline int64_t rows_that_fit(const convolution *v)
{
    const int64_t rows = COLUMNS_BYTES / (v->v.groups * v->cols * (int64_t)lki_type_size(v->type)) / CHUNK_ROWS * CHUNK_ROWS;

    return rows > CHUNK_ROWS ? rows : CHUNK_ROWS;
}

static inline void chunk_rows(convolution *v, products *p)
{
    const int64_t all = v->v.batch * v->places_out, most = v->direct ? all : rows_that_fit(v);

    p->rows = v->direct ? all : div_up(div_up(all, div_up(all, most)), CHUNK_ROWS) * CHUNK_ROWS;
    p->n = div_up(all, p->rows);
    p->rest = all - (p->n - 1) * p->rows;
}

/* Narrow places along `axis` that reach `band` wide ones. */
static inline int64_t reach_of(const window *v, int axis, int64_t band)
{
    const int64_t n = (band - 1 + (int64_t)(v->kernel[axis] - 1) * v->dilation[axis]) / v->stride[axis] + 1;

    return n < v->out[axis] ? n : v->out[axis];
}

/* Chunks of the way up must have all windows of the places that they write: whole samples, or, where one has too many windows, bands of one
 * along its first axis; neighbouring bands then make some columns twice. */
static inline void chunk_samples(convolution *v, products *p)
{
    const window *w = &v->v;
    const int64_t most = v->direct ? w->batch * v->places_out : rows_that_fit(v);

    for (v->axis = 0; v->axis < LK_MAX_AXES - 1 && w->in[v->axis] == 1 && w->out[v->axis] == 1;)
        v->axis++;
    const int64_t others = v->places_out / w->out[v->axis];
    v->samples = most / v->places_out;
    v->band = w->in[v->axis];
    for (int64_t n = 2; v->samples == 0 && v->band > 1 && reach_of(w, v->axis, v->band) * others > most; n++)
        v->band = div_up(w->in[v->axis], n);
    v->reach = v->band < w->in[v->axis] ? reach_of(w, v->axis, v->band) : w->out[v->axis];
    v->samples = v->samples > 1 ? div_up(w->batch, div_up(w->batch, v->samples)) : 1;
    p->n = div_up(w->batch, v->samples) * div_up(w->in[v->axis], v->band);
    p->rows = v->samples * v->reach * others;
    p->rest = v->band < w->in[v->axis] ? p->rows : (w->batch - (p->n - 1) * v->samples) * v->places_out;
}

static inline lk_status window_size(int64_t n, const char *what, int *out)
{
    if (n > MOST)
        return LK_FAIL(LK_E_UNSUPPORTED, "convolution on a GPU: %s is %" PRId64 ", at most %" PRId64 " can be computed with", what, n, MOST);
    *out = (int)n;
    return LK_OK;
}

static inline lk_status window_make(const lk_opspec *s, bool transposed, window *out)
{
    const lk_attr_conv *a = &s->attr.conv;
    const lk_shape *wide = transposed ? &s->out : &s->in[0], *narrow = transposed ? &s->in[0] : &s->out;
    int64_t in[LK_MAX_AXES], places[LK_MAX_AXES], kernel[LK_MAX_AXES], stride[LK_MAX_AXES], dilation[LK_MAX_AXES], before[LK_MAX_AXES];
    int unused;

    lki_axes_size(wide, in);
    lki_axes_size(narrow, places);
    lki_axes(wide, a->kernel, 1, kernel);
    lki_axes(wide, a->stride, 1, stride);
    lki_axes(wide, a->dilation, 1, dilation);
    lki_axes(wide, a->pad_before, 0, before);
    *out = {};
    LK_TRY(window_size(wide->dim[0], "the batch", &out->batch));
    LK_TRY(window_size(8 * wide->dim[1] * (lk_shape_row(&s->param[0].shape) / s->param[0].shape.dim[1]), "8 times channels times taps", &unused)); /* 8: zeros behind */
    LK_TRY(window_size(narrow->dim[1], "the number of channels", &out->f));
    LK_TRY(window_size(in[0] * in[1] * in[2], "places of a sample", &unused));
    LK_TRY(window_size(places[0] * places[1] * places[2], "places of a sample", &unused));
    out->c = (int)wide->dim[1];
    out->groups = (int)a->groups;
    for (int i = 0; i < LK_MAX_AXES; i++) {
        LK_TRY(window_size((kernel[i] - 1) * dilation[i], "the reach of a window", &unused));
        LK_TRY(window_size((places[i] - 1) * stride[i], "the reach of the stride", &unused));
        LK_TRY(window_size(before[i], "padding", &out->before[i]));
        out->in[i] = (int)in[i];
        out->out[i] = (int)places[i];
        out->kernel[i] = (int)kernel[i];
        out->stride[i] = (int)stride[i];
        out->dilation[i] = kernel[i] > 1 ? (int)dilation[i] : 1;
    }
    return LK_OK;
}

/* Asks cuDNN for the parts; with the bias, unless relu follows, which takes a kernel of its own that adds it as well. */
static inline lk_status ask_cudnn(convolution *v, const bool used[LKI_CONV_PARTS], lki_conv_part forward, bool bias, bool relu)
{
    const window *w = &v->v;
    lki_cudnn_sizes s = {w->batch, w->groups, w->c, w->f, {}, {}, {}, {}, {}, {}};

    if (w->in[AT_D] != 1 || w->out[AT_D] != 1 || w->kernel[AT_D] != 1 || w->before[AT_D] != 0)
        return LK_OK;
    for (int i = 0; i < LKI_CUDNN_AXES; i++) {
        s.in[i] = w->in[AT_H + i];
        s.out[i] = w->out[AT_H + i];
        s.kernel[i] = w->kernel[AT_H + i];
        s.stride[i] = w->stride[AT_H + i];
        s.dilation[i] = w->dilation[AT_H + i];
        s.before[i] = w->before[AT_H + i];
    }
    for (int i = 0; i < LKI_CONV_PARTS; i++)
        if (used[i])
            LK_TRY(lki_conv_cudnn_create(&s, v->type, (lki_conv_part)i, i == forward && bias && !relu, &v->cudnn[i]));
    return LK_OK;
}

static inline bool without_windows(const window *w)
{
    for (int i = 0; i < LK_MAX_AXES; i++)
        if (w->kernel[i] != 1 || w->in[i] != w->out[i] || (w->stride[i] != 1 && w->out[i] != 1) || w->before[i] != 0)
            return false;
    return true;
}

/* What of bias and relu the way forward does itself. */
static inline void share_out(convolution *v, lki_conv_part forward, bool bias, bool relu)
{
    const lki_conv_cudnn *p = v->cudnn[forward];
    const bool by_products = p == NULL && (forward == DOWN || v->direct); /* else cuDNN, or the kernel that gathers, which does both */

    v->fused_bias = by_products && bias && v->v.groups == 1;
    v->left_bias = bias && (p != NULL ? !lki_conv_cudnn_bias(p) : by_products && !v->fused_bias);
    v->left_relu = relu && (p != NULL || by_products);
    v->bias_at = lki_part_bytes(v->packed_bytes);
    if (v->fused_bias && v->type != LKI_F32)
        v->packed_bytes = v->bias_at + (size_t)(forward == DOWN ? v->v.f : v->v.c) * lki_type_size(v->type);
}

static inline lk_status conv_fill(convolution *v, const bool used[LKI_CONV_PARTS], lki_conv_part forward, bool bias, bool relu)
{
    const window *w = &v->v;
    const int64_t each_16 = 16 / (int64_t)lki_type_size(v->type), exact = w->c / w->groups * v->taps;

    v->direct = without_windows(w);
    if (!v->direct)
        LK_TRY(ask_cudnn(v, used, forward, bias, relu));
    v->cols = v->direct || v->cudnn[DOWN] != NULL || v->cudnn[UP] != NULL || v->cudnn[WEIGHTS] != NULL ? exact : div_up(exact, each_16) * each_16;
    v->same_order = v->cols == exact && (v->taps == 1 || w->c == w->groups);
    v->plain = v->same_order && v->type == LKI_F32;
    v->packed_bytes = v->plain ? 0 : (size_t)(w->f * v->cols) * lki_type_size(v->type);
    share_out(v, forward, bias, relu);
    chunk_rows(v, &v->part[DOWN]);
    chunk_rows(v, &v->part[WEIGHTS]);
    chunk_samples(v, &v->part[UP]);
    for (int i = 0; i < LKI_CONV_PARTS; i++) {
        if (!used[i])
            continue;
        if (v->cudnn[i] == NULL)
            LK_TRY(products_create(v, (lki_conv_part)i, i == forward && v->fused_bias));
        const size_t columns = v->direct ? 0 : (size_t)(v->part[i].rows * w->groups * v->cols) * lki_type_size(v->type);
        v->scratch[i] = lki_part_bytes(v->cudnn[i] != NULL ? lki_conv_cudnn_scratch(v->cudnn[i]) : columns);
    }
    v->sum_at = v->scratch[WEIGHTS];
    if (used[WEIGHTS] && !v->same_order)
        v->scratch[WEIGHTS] += (size_t)(w->f * v->cols) * sizeof(float);
    return LK_OK;
}

/* `used`: the parts that will be asked for; `forward`, which is the way forward, has bias and relu. */
static inline lk_status conv_create(lki_type type, const window *w, const bool used[LKI_CONV_PARTS], lki_conv_part forward, bool bias, bool relu, convolution **out)
{
    convolution *v = NULL;
    lk_status st = LK_OK;

    LK_TRY(lk_alloc(sizeof *v, "convolution", &v));
    v->v = *w;
    v->type = type;
    v->places_in = volume(w->in);
    v->places_out = volume(w->out);
    v->taps = volume(w->kernel);
    v->depthwise = w->groups > 1 && w->c == w->groups && w->f == w->groups;
    if (v->depthwise) {
        v->packed_bytes = (size_t)(w->c * v->taps) * sizeof(float);
        v->scratch[WEIGHTS] = (size_t)(div_up(w->batch * v->places_out, PART_ROWS) * v->taps * w->c) * sizeof(float);
    } else {
        st = conv_fill(v, used, forward, bias, relu);
    }
    if (st == LK_OK)
        *out = v;
    else
        conv_destroy(v);
    return st;
}

/* ---- runs ---- */
/* Whether groups of channels go 16 bytes at a time. */
template <class T> static bool by_16(const window *v, const void *a, const void *b)
{
    return v->c / v->groups % vec<T>::n == 0 && aligned16(a) && aligned16(b);
}
/* The same without regard to groups. */
template <class T> static bool all_by_16(const window *v, const void *a, const void *b)
{
    return v->c % vec<T>::n == 0 && aligned16(a) && aligned16(b);
}

template <class T> static lk_status conv_pack(const lk_call *c, const convolution *v, int64_t n_bias)
{
    const float *const w = (const float *)c->param[0];
    void *const packed = (void *)c->packed;
    const int64_t part = v->v.c / v->v.groups;

    if (v->depthwise)
        return each(v->v.c * v->taps, pack_weights<float>{v->v.c, v->taps, v->v.c * v->taps, w, (float *)packed, rounder<float>(NULL)});
    if (!v->plain)
        LK_TRY(each(v->v.f * v->cols, pack_weights<T>{part, v->taps, v->cols, w, (T *)packed, rounder<T>(rounding_of(c, 0))}));
    if (v->fused_bias && v->type != LKI_F32)
        LK_TRY(lki_convert_param(rounding_of(c, 1), 0, n_bias, c->param[1], v->type, (char *)packed + v->bias_at));
    return LK_OK;
}

template <class T> static lk_status make_columns(const convolution *v, int64_t first, int64_t rows, const T *x, T *col)
{
    return by_16<T>(&v->v, x, col) ? columns_run<T, vec<T>::n>(v->v, first, rows, v->cols, x, col) : columns_run<T, 1>(v->v, first, rows, v->cols, x, col);
}

/* The bias as products take it; NULL on the way back. */
static inline const void *bias_of_products(const convolution *v, const void *w, const float *bias)
{
    if (!v->fused_bias || bias == NULL)
        return NULL;
    return v->type == LKI_F32 ? (const void *)bias : (const char *)w + v->bias_at;
}

/* What was left to be done. */
template <class T> static lk_status conv_finish(const convolution *v, int64_t places, int64_t c, const float *bias, bool relu, T *y)
{
    const int64_t n = v->v.batch * places * c;

    relu = relu && v->left_relu;
    if (!v->left_bias || bias == NULL)
        return relu ? lki_act_forward_cuda(v->type, LK_ACT_RELU, 0, n, y, y) : LK_OK;
    if (c % vec<T>::n == 0 && aligned16(y))
        return each(n / vec<T>::n, finish_channels<T, vec<T>::n>{c, bias, relu, y});
    return each(n, finish_channels<T, 1>{c, bias, relu, y});
}

/* y = act(down(x) + bias); bias [f] or NULL */
template <class T> static lk_status conv_down(const convolution *v, const T *x, const void *w, const float *bias, bool relu, T *y, void *scratch)
{
    const products *p = &v->part[DOWN];
    const window *g = &v->v;

    if (v->depthwise && all_by_16<T>(g, x, y))
        return each(g->batch * v->places_out * g->c / vec<T>::n, depthwise_down<T, vec<T>::n>{*g, x, (const float *)w, bias, relu, y});
    if (v->depthwise)
        return each(g->batch * v->places_out * g->c, depthwise_down<T, 1>{*g, x, (const float *)w, bias, relu, y});
    if (v->cudnn[DOWN] != NULL) {
        LK_TRY(lki_conv_cudnn_run(v->cudnn[DOWN], x, w, y, lki_conv_cudnn_bias(v->cudnn[DOWN]) ? bias : NULL, scratch));
        return conv_finish<T>(v, v->places_out, g->f, bias, relu, y);
    }
    for (int64_t i = 0; i < p->n; i++) {
        const int64_t first = i * p->rows, rows = i == p->n - 1 ? p->rest : p->rows;
        const void *a = x;
        if (!v->direct) {
            LK_TRY(make_columns<T>(v, first, rows, x, (T *)scratch));
            a = scratch;
        }
        LK_TRY(lki_gemm_run(products_at(p, i), 1, a, w, y + first * g->f, bias_of_products(v, w, bias)));
    }
    return conv_finish<T>(v, v->places_out, g->f, bias, relu, y);
}

template <class T> static lk_status gather(const window &v, int64_t rows, int64_t cols, const T *col, const float *bias, bool relu, T *x)
{
    const int64_t n = v.batch * volume(v.in) * v.c;

    if (by_16<T>(&v, col, x))
        return each(n / vec<T>::n, gather_columns<T, vec<T>::n>{v, rows, cols, col, bias, relu, x});
    return each(n, gather_columns<T, 1>{v, rows, cols, col, bias, relu, x});
}

/* x = act(up(y) + bias); bias [c] or NULL */
template <class T> static lk_status conv_up(const convolution *v, const T *y, const void *w, const float *bias, bool relu, T *x, void *scratch)
{
    const products *p = &v->part[UP];
    const window *g = &v->v;
    const int a = v->axis;

    if (v->depthwise && all_by_16<T>(g, x, y))
        return each(g->batch * v->places_in * g->c / vec<T>::n, depthwise_up<T, vec<T>::n>{*g, y, (const float *)w, bias, relu, x});
    if (v->depthwise)
        return each(g->batch * v->places_in * g->c, depthwise_up<T, 1>{*g, y, (const float *)w, bias, relu, x});
    if (v->cudnn[UP] != NULL) {
        LK_TRY(lki_conv_cudnn_run(v->cudnn[UP], x, w, y, lki_conv_cudnn_bias(v->cudnn[UP]) ? bias : NULL, scratch));
        return conv_finish<T>(v, v->places_in, g->c, bias, relu, x);
    }
    if (v->direct) {
        LK_TRY(lki_gemm_run(p->last, 1, y, w, x, bias_of_products(v, w, bias)));
        return conv_finish<T>(v, v->places_in, g->c, bias, relu, x);
    }
    const int64_t bands = div_up(g->in[a], v->band);
    for (int64_t i = 0; i < p->n; i++) {
        const int64_t sample = i / bands * v->samples, from = i % bands * v->band;
        window now = *g;
        /* The narrow places that reach the band, moved so that there are `reach` of them. */
        const int64_t least = from + g->before[a] - (int64_t)(g->kernel[a] - 1) * g->dilation[a];
        int64_t first = least > 0 ? div_up(least, g->stride[a]) : 0;
        first = first < g->out[a] - v->reach ? first : g->out[a] - v->reach;
        now.batch = (int)(g->batch - sample < v->samples ? g->batch - sample : v->samples);
        now.in[a] = (int)(g->in[a] - from < v->band ? g->in[a] - from : v->band);
        now.out[a] = (int)v->reach;
        now.before[a] = (int)(g->before[a] + from - first * g->stride[a]);
        const T *rows = y + (sample * v->places_out + first * (v->places_out / g->out[a])) * g->f;
        LK_TRY(lki_gemm_run(products_at(p, i), 1, rows, w, scratch, NULL));
        LK_TRY(gather<T>(now, now.batch * volume(now.out), v->cols, (const T *)scratch, bias, relu, x + (sample * v->places_in + from * (v->places_in / g->in[a])) * g->c));
    }
    return LK_OK;
}

/* dw [f][c/groups][taps] of x and dy */
template <class T> static lk_status conv_weights(const convolution *v, const T *x, const T *dy, float *dw, void *scratch)
{
    const products *p = &v->part[WEIGHTS];
    const window *g = &v->v;

    if (v->depthwise) {
        const int64_t rows = g->batch * v->places_out, parts = div_up(rows, PART_ROWS);
        LK_TRY(launch(depthwise_parts<T>, dim3(grid_of(div_up(g->c, TILE) * v->taps * parts)), dim3(TILE, SLICES), 0, *g, rows, x, dy, (float *)scratch));
        return each(v->taps * g->c, add_depthwise{parts, v->taps, g->c, (const float *)scratch, dw});
    }
    float *sum = v->same_order ? dw : (float *)((char *)scratch + v->sum_at);
    if (v->cudnn[WEIGHTS] != NULL)
        LK_TRY(lki_conv_cudnn_run(v->cudnn[WEIGHTS], x, sum, dy, NULL, scratch));
    for (int64_t i = 0; i < p->n && v->cudnn[WEIGHTS] == NULL; i++) {
        const int64_t first = i * p->rows, rows = i == p->n - 1 ? p->rest : p->rows;
        const void *b = x;
        if (!v->direct) {
            LK_TRY(make_columns<T>(v, first, rows, x, (T *)scratch));
            b = scratch;
        }
        LK_TRY(lki_gemm_run(products_at(p, i), 1, dy + first * g->f, b, sum, NULL));
    }
    return sum == dw ? LK_OK : each(g->f * (g->c / g->groups) * v->taps, unpack_weights{g->c / g->groups, v->taps, v->cols, sum, dw});
}

/* ---- the operations ---- */
template <class T, bool transposed> struct conv_operation {
    static constexpr lki_conv_part ahead = transposed ? UP : DOWN, back = transposed ? DOWN : UP;

    static size_t mask_bytes(const lk_opspec *s)
    {
        return s->attr.conv.act == LK_ACT_RELU ? lki_part_bytes((size_t)lk_shape_count(&s->out) * sizeof(T)) : 0;
    }

    static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
    {
        const lk_attr_conv *a = &s->attr.conv;
        const bool used[LKI_CONV_PARTS] = {ahead == DOWN || s->training, ahead == UP || s->training, s->training};
        window w;
        convolution *v = NULL;

        LK_TRY(window_make(s, transposed, &w));
        LK_TRY(conv_create(lki_type_of<T>::value, &w, used, ahead, a->bias, a->act == LK_ACT_RELU, &v));
        *out = {};
        out->state = v;
        out->packed_bytes = v->packed_bytes;
        out->scratch_forward = v->scratch[ahead];
        if (s->training) {
            const size_t sums = a->bias ? lki_column_sums_scratch(lk_shape_count(&s->out) / a->filters, a->filters) : 0;
            out->scratch_backward = mask_bytes(s) + larger_size(sums, larger_size(v->scratch[back], v->scratch[WEIGHTS]));
        }
        return LK_OK;
    }

    static lk_status pack(const lk_call *c)
    {
        return conv_pack<T>(c, (const convolution *)c->state, c->spec->attr.conv.filters);
    }

    static const void *weights(const lk_call *c)
    {
        return ((const convolution *)c->state)->plain ? c->param[0] : c->packed;
    }

    static lk_status forward(const lk_call *c)
    {
        const lk_attr_conv *a = &c->spec->attr.conv;
        const convolution *v = (const convolution *)c->state;
        const float *bias = a->bias ? (const float *)c->param[1] : NULL;
        const bool relu = a->act == LK_ACT_RELU;

        return (transposed ? conv_up<T> : conv_down<T>)(v, (const T *)c->x[0], weights(c), bias, relu, (T *)c->y, c->scratch);
    }

    static lk_status backward(const lk_call *c)
    {
        const lk_attr_conv *a = &c->spec->attr.conv;
        const convolution *v = (const convolution *)c->state;
        const int64_t n = lk_shape_count(&c->spec->out);
        const T *x = (const T *)c->x[0], *dz = (const T *)c->dy;
        void *scratch = (char *)c->scratch + mask_bytes(c->spec);

        if (a->act == LK_ACT_RELU) {
            LK_TRY(lki_act_backward_cuda(v->type, LK_ACT_RELU, 0, n, c->y, dz, c->scratch));
            dz = (const T *)c->scratch;
        }
        if (c->dparam[0] != NULL)
            LK_TRY(conv_weights<T>(v, transposed ? dz : x, transposed ? x : dz, (float *)c->dparam[0], scratch));
        if (a->bias && c->dparam[1] != NULL)
            LK_TRY(lki_column_sums_cuda(v->type, n / a->filters, a->filters, a->filters, dz, (float *)c->dparam[1], scratch));
        if (c->dx[0] != NULL)
            LK_TRY((transposed ? conv_down<T> : conv_up<T>)(v, dz, weights(c), NULL, false, (T *)c->dx[0], scratch));
        return LK_OK;
    }

    static constexpr lk_kernel kernel = {
        .in_rule = LK_LAYOUTS_NHWC,
        .out_rule = LK_LAYOUTS_NHWC,
        .plan = plan,
        .pack = pack,
        .forward = forward,
        .backward = backward,
        .destroy = conv_destroy,
    };
};

#endif
