/* multiply: y = x0 x1 of one shape, or of [B,C,...] and a number for each channel of each sample. Backward: dx0 = dy x1, dx1 = dy x0, in the second
 * form summed over a channel's places, in float, in an order fixed by the shape. */
#include "kern/cuda/elements.cuh"

/* Where the channel of element i of [B,C,places] stands in [B,C]. */
struct gate_places {
    bool last; /* channels are: [B,places,C] */
    divisor places, channels, sample;
    __device__ int64_t of(int64_t i) const
    {
        if (!last)
            return places.quotient(i);
        const int64_t b = sample.quotient(i), place = channels.quotient(i);
        return b * channels.by + (i - place * channels.by);
    }
};

template <class T> struct gate_array {
    typedef T type;
    const T *at;
    gate_places where;
    bool runs(int) const
    {
        return true;
    }
    template <int w> __device__ void load(int64_t i, float (&v)[w]) const
    {
        for (int k = 0; k < w; k++)
            v[k] = to_float(at[where.of(i + k)]);
    }
    template <int w> __device__ void store(int64_t, const float (&)[w]) const
    {
    }
};

struct multiply_forward {
    __device__ void operator()(int64_t, float a, float b, float &y) const
    {
        y = a * b;
    }
};
struct multiply_backward {
    __device__ void operator()(int64_t, float x0, float x1, float dy, float &dx0, float &dx1) const
    {
        dx0 = dy * x1;
        dx1 = dy * x0;
    }
};

/* ---- sums of a channel's places ---- */
enum { ROWS = LKI_BLOCK / 32, LANES = 8 };

/* [rows,places]: a warp a row. */
template <class T> static __global__ void sum_gate_rows(int64_t rows, int64_t places, const T *x, const T *dy, T *out)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = (int64_t)blockIdx.x * ROWS + threadIdx.x / 32;
    float sum = 0;

    if (row >= rows)
        return;
    for (int64_t i = row * places + lane; i < (row + 1) * places; i += 32)
        sum += to_float(x[i]) * to_float(dy[i]);
    sum = warp_sum(sum);
    if (lane == 0)
        out[row] = from_float<T>(sum);
}

/* [B,places,C]: 32 channels of a sample a block, each summed by LANES threads every LANES-th place, then those in rising order. */
template <class T> static __global__ void sum_gate_columns(int64_t places, int64_t channels, const T *x, const T *dy, T *out)
{
    __shared__ float part[LANES][32];
    const int64_t tiles = (channels + 31) / 32, b = blockIdx.x / tiles, c = blockIdx.x % tiles * 32 + threadIdx.x;
    float sum = 0;

    if (c < channels)
        for (int64_t p = threadIdx.y; p < places; p += LANES) {
            const int64_t i = (b * places + p) * channels + c;
            sum += to_float(x[i]) * to_float(dy[i]);
        }
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= channels)
        return;
    for (int k = 1; k < LANES; k++)
        sum += part[k][threadIdx.x];
    out[b * channels + c] = from_float<T>(sum);
}

/* ---- the operation ---- */
static bool by_channel(const lk_opspec *s)
{
    return lk_shape_count(&s->in[0]) > lk_shape_count(&s->in[1]);
}

static gate_places gates_of(const lk_opspec *s)
{
    const int64_t channels = s->in[0].dim[1], sample = lk_shape_row(&s->in[0]);
    return {lk_shape_spatial(&s->in[0]) && s->in_layout == LK_LAYOUT_NHWC, divisor(sample / channels), divisor(channels), divisor(sample)};
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_count(&s->out);
    const T *const x1 = (const T *)c->x[1];

    if (!by_channel(s))
        return elements(n, multiply_forward(), reads((const T *)c->x[0]), reads(x1), writes((T *)c->y));
    return elements(n, multiply_forward(), reads((const T *)c->x[0]), gate_array<T>{x1, gates_of(s)}, writes((T *)c->y));
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t n = lk_shape_count(&s->out), rows = s->in[0].dim[0];
    const T *const x0 = (const T *)c->x[0], *const x1 = (const T *)c->x[1], *const dy = (const T *)c->dy;
    T *const dx0 = (T *)c->dx[0], *const dx1 = (T *)c->dx[1];

    if (!by_channel(s))
        return dx0 == NULL && dx1 == NULL ? LK_OK : elements(n, multiply_backward(), reads(x0), reads(x1), reads(dy), writes(dx0), writes(dx1));
    const gate_places where = gates_of(s);
    const int64_t channels = where.channels.by, places = where.places.by;
    if (dx1 != NULL) { /* first: dx0 may be dy */
        if (where.last)
            LK_TRY(launch(sum_gate_columns<T>, dim3(grid_of(rows * div_up(channels, 32))), dim3(32, LANES), 0, places, channels, x0, dy, dx1));
        else
            LK_TRY(launch(sum_gate_rows<T>, dim3(grid_of(div_up(rows * channels, ROWS))), dim3(LKI_BLOCK), 0, rows * channels, places, x0, dy, dx1));
    }
    return dx0 == NULL ? LK_OK : elements(n, multiply_forward(), reads(dy), gate_array<T>{x1, where}, writes(dx0));
}

template <class T>
static constexpr lk_kernel kernel = {
    .in_place = true, .in_place_dx = true, .forward = forward<T>, .backward = backward<T>};
LKI_KERNELS(multiply, kernel);
