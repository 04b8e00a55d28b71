/* attention in one kernel forward and two backward, for shapes whose products would be many and small. Blocks of threads own TILE queries
 * (or, for the gradients of keys and values, TILE keys) of a head and walk over the other side in tiles, forward with a running maximum and
 * sum of exponentials. All arithmetic in float; nothing beside the logs of the sums is kept, and a mean for each row from the first kernel of
 * backward to the second.
 *
 * Backward by queries takes one walk: with e the probabilities, g their gradients times e, and mean the sum of g, dq = scale (sum of g k - mean
 * times the sum of e k). */
#ifndef LK_KERN_CUDA_ATTENTION_FUSED_CUH
#define LK_KERN_CUDA_ATTENTION_FUSED_CUH

#include "kern/cuda/attention.cuh"

enum {
    TILE = 32,
    LANES = 8, /* neighbours in a warp share rows of the tile that is owned */
    STRIPES = TILE / 2,
    FUSED_THREADS = LANES * STRIPES,
    OWN = TILE / STRIPES,  /* rows of a thread: its stripe and that STRIPES further */
    OTHER = TILE / LANES,  /* and neighbours of the other side: one block of random words, where those are keys */
    FUSED_WIDTH = 64,      /* numbers of a head at most */
    WEIGHT_ROW = TILE + 4, /* floats of a row of weights: a whole number of 16 bytes, rows on different banks */
    COLUMNS = 4 * LANES    /* a thread has four neighbours of each so many */
};

template <class T> struct fused_input {
    attention_shape a;
    row_lengths rows;
    attention_drop drop;
    rotary_table table;
    float scale;
    int fours; /* rows may be read and written by four */
    const T *q, *k, *v;
    int64_t q_row, kv_row;
};

/* ---- tiles ---- */
template <int parts> static constexpr int tile_row = COLUMNS *parts + 4;
template <int parts> static constexpr int tile_floats = TILE *tile_row<parts>;
static constexpr int weight_floats = TILE * WEIGHT_ROW;

/* Where row r of the other side lies, so that the OTHER neighbours of a thread are LANES rows apart, and its lanes read different banks. */
static __device__ inline int other_slot(int r)
{
    return r % OTHER * LANES + r / OTHER;
}

/* Vectors at places `first` and on of those before `end`, turned if there is a table; zeros in all else. */
template <int parts, bool other, class T>
static __device__ inline void load_tile(
    float *tile, const T *from, int64_t row, int first, int end, int d, bool fours, const rotary_table &table)
{
    constexpr int quads = COLUMNS * parts / 4;

    for (int i = threadIdx.x; i < TILE * quads; i += FUSED_THREADS) {
        const int r = i / quads, e = i % quads * 4, place = first + r;
        const T *const v = from + (int64_t)place * row;
        vec<float, 4> own = {}, partner = {};
        if (place < end && fours && e < d) {
            const vec<T, 4> x = load_vec<4>(v + e);
            for (int k = 0; k < 4; k++)
                own.at[k] = to_float(x.at[k]);
            if (table.cosine != NULL) {
                const vec<T, 4> y = load_vec<4>(v + (e < d / 2 ? e + d / 2 : e - d / 2));
                for (int k = 0; k < 4; k++)
                    partner.at[k] = to_float(y.at[k]);
            }
        } else if (place < end) {
            for (int k = 0; k < 4 && e + k < d; k++) {
                own.at[k] = to_float(v[e + k]);
                if (table.cosine != NULL)
                    partner.at[k] = to_float(v[e + k < d / 2 ? e + k + d / 2 : e + k - d / 2]);
            }
        }
        if (table.cosine != NULL && place < end)
            for (int k = 0; k < 4 && e + k < d; k++)
                own.at[k] = turned(table, 1, d, place, e + k, own.at[k], partner.at[k]);
        store_vec(tile + (other ? other_slot(r) : r) * tile_row<parts> + e, own);
    }
}

/* The way back, turned back; rows in their order. */
template <int parts, class T>
static __device__ inline void store_tile(
    const float *tile, T *to, int64_t row, int first, int end, int d, bool fours, const rotary_table &table)
{
    constexpr int quads = COLUMNS * parts / 4;

    for (int i = threadIdx.x; i < TILE * quads; i += FUSED_THREADS) {
        const int r = i / quads, e = i % quads * 4, place = first + r;
        const float *const v = tile + r * tile_row<parts>;
        vec<T, 4> out;
        if (place >= end || e >= d)
            continue;
        for (int k = 0; k < 4 && e + k < d; k++) {
            const int at = e + k;
            out.at[k] = from_float<T>(
                table.cosine != NULL ? turned(table, -1, d, place, at, v[at], v[at < d / 2 ? at + d / 2 : at - d / 2]) : v[at]);
        }
        if (fours)
            store_vec(to + (int64_t)place * row + e, out);
        else
            for (int k = 0; k < 4 && e + k < d; k++)
                to[(int64_t)place * row + e + k] = out.at[k];
    }
}

static __device__ inline int own_row(int u)
{
    return (int)threadIdx.x / LANES + u * STRIPES;
}

/* out [own row][neighbour] = sum over d of own and other */
template <int parts> static __device__ inline void dots(float (&out)[OWN][OTHER], const float *own, const float *other, int d)
{
    const int lane = threadIdx.x % LANES;

    for (int u = 0; u < OWN; u++)
        for (int k = 0; k < OTHER; k++)
            out[u][k] = 0;
    for (int e = 0; e < d; e += 4) {
        vec<float, 4> a[OWN];
        for (int u = 0; u < OWN; u++)
            a[u] = load_vec<4>(own + own_row(u) * tile_row<parts> + e);
        for (int k = 0; k < OTHER; k++) {
            const vec<float, 4> b = load_vec<4>(other + (lane + k * LANES) * tile_row<parts> + e);
            for (int u = 0; u < OWN; u++)
                for (int c = 0; c < 4; c++)
                    out[u][k] = fmaf(a[u].at[c], b.at[c], out[u][k]);
        }
    }
}

/* A thread's columns of its rows: lane 4 neighbours, and the same COLUMNS further. */
template <int parts> struct sums {
    float at[OWN][parts][4];
};

static __device__ inline float *weight_of(float *weights, int u, int k)
{
    return weights + own_row(u) * WEIGHT_ROW + threadIdx.x % LANES + k * LANES;
}

/* sum += weights [own row][slot] times the other side's vectors */
template <int parts> static __device__ inline void mix(sums<parts> &sum, const float *weights, const float *other)
{
    const int lane = threadIdx.x % LANES;

    for (int j = 0; j < TILE; j += 4) {
        vec<float, 4> w[OWN];
        for (int u = 0; u < OWN; u++)
            w[u] = load_vec<4>(weights + own_row(u) * WEIGHT_ROW + j);
        for (int i = 0; i < 4; i++)
            for (int p = 0; p < parts; p++) {
                const vec<float, 4> v = load_vec<4>(other + (j + i) * tile_row<parts> + p * COLUMNS + 4 * lane);
                for (int u = 0; u < OWN; u++)
                    for (int c = 0; c < 4; c++)
                        sum.at[u][p][c] = fmaf(w[u].at[i], v.at[c], sum.at[u][p][c]);
            }
    }
}

/* Rows times a factor each, to a tile. */
template <int parts> static __device__ inline void lay_down(const sums<parts> &sum, const float (&factor)[OWN], float *tile)
{
    const int lane = threadIdx.x % LANES;

    for (int u = 0; u < OWN; u++)
        for (int p = 0; p < parts; p++) {
            vec<float, 4> v;
            for (int c = 0; c < 4; c++)
                v.at[c] = sum.at[u][p][c] * factor[u];
            store_vec(tile + own_row(u) * tile_row<parts> + p * COLUMNS + 4 * lane, v);
        }
}

/* Over the lanes that share a row. */
static __device__ inline float lanes_sum(float v)
{
    for (int d = LANES / 2; d > 0; d /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
}
static __device__ inline float lanes_max(float v)
{
    for (int d = LANES / 2; d > 0; d /= 2) {
        const float o = __shfl_xor_sync(0xffffffffu, v, d);
        v = v != v || v > o ? v : o;
    }
    return v;
}

/* Keys that query i sees. */
static __device__ inline int seen_of(const attention_shape &a, int keys, int i)
{
    return i >= a.t ? 0 : a.causal && i + 1 < keys ? i + 1 : keys;
}

/* A block of threads' tile of a head. */
typedef struct fused_place {
    int b, head, first;
} fused_place;

static __device__ inline fused_place fused_place_of(int places, int heads)
{
    const int tiles = (places + TILE - 1) / TILE, at = blockIdx.x / tiles;
    return {at / heads, at % heads, (int)(blockIdx.x % tiles) * TILE};
}

/* ---- kernels ---- */
/* Grid: tiles of queries, heads, samples. */
template <class T, int parts, bool drop> static __global__ void fused_forward(fused_input<T> in, int node, T *y, float *lse)
{
    LKI_DYNAMIC_SHARED(float, own);
    float *const key_tile = own + tile_floats<parts>, *const value_tile = key_tile + tile_floats<parts>, *const weights = value_tile + tile_floats<parts>;
    const attention_shape &a = in.a;
    const fused_place p = fused_place_of(a.t, a.heads);
    const int lane = threadIdx.x % LANES, keys = (int)in.rows.of(p.b), end = seen_of(a, keys, min(p.first + TILE, a.t) - 1);
    const T *const k = in.k + (int64_t)p.b * a.s * in.kv_row + p.head / a.group * a.d, *const v = in.v + (k - in.k);
    sums<parts> sum = {};
    float high[OWN], total[OWN] = {}, factor[OWN];

    if (p.head == 0 && p.first == 0 && threadIdx.x == 0)
        in.rows.check(p.b, node);
    for (int u = 0; u < OWN; u++)
        high[u] = -INFINITY;
    load_tile<parts, false>(own, in.q + (int64_t)p.b * a.t * in.q_row + p.head * a.d, in.q_row, p.first, a.t, a.d, in.fours, in.table);
    for (int j0 = 0; j0 < end; j0 += TILE) {
        float s[OWN][OTHER];
        const int j = j0 + lane * OTHER;
        __syncthreads();
        load_tile<parts, true>(key_tile, k, in.kv_row, j0, keys, a.d, in.fours, in.table);
        load_tile<parts, true>(value_tile, v, in.kv_row, j0, keys, a.d, in.fours, rotary_table{});
        __syncthreads();
        dots<parts>(s, own, key_tile, a.d);
        for (int u = 0; u < OWN; u++) {
            const int i = p.first + own_row(u), seen = seen_of(a, keys, i);
            float top = -INFINITY, part = 0;
            for (int n = 0; n < OTHER && j + n < seen; n++) {
                s[u][n] *= in.scale;
                if (!(s[u][n] <= top))
                    top = s[u][n]; /* a NaN, too, shows in the sum */
            }
            top = lanes_max(top);
            if (top <= high[u])
                top = high[u];
            const float before = high[u] == top ? 1.0f : expf(high[u] - top);
            words4 w = {};
            if (drop && j < seen)
                w = probability_words(in.drop, a, in.rows.live, p.b, p.head, i, j);
            for (int n = 0; n < OTHER; n++) {
                const float e = j + n < seen ? expf(s[u][n] - top) : 0.0f;
                part += e;
                *weight_of(weights, u, n) = drop ? e * kept(in.drop, w.at[n]) : e;
            }
            total[u] = total[u] * before + lanes_sum(part);
            for (int q = 0; q < parts; q++)
                for (int c = 0; c < 4; c++)
                    sum.at[u][q][c] *= before;
            high[u] = top;
        }
        __syncwarp();
        mix(sum, weights, value_tile);
    }
    for (int u = 0; u < OWN; u++) {
        const int i = p.first + own_row(u), seen = seen_of(a, keys, i);
        factor[u] = seen > 0 ? 1 / total[u] : 0.0f;
        if (lse != NULL && lane == 0 && i < a.t)
            lse[((int64_t)p.b * a.heads + p.head) * a.t + i] = seen > 0 ? high[u] + logf(total[u]) : 0.0f;
    }
    __syncthreads();
    lay_down(sum, factor, own);
    __syncthreads();
    const int64_t y_row = (int64_t)a.heads * a.d;
    store_tile<parts>(own, y + (int64_t)p.b * a.t * y_row + p.head * a.d, y_row, p.first, a.t, a.d, in.fours, rotary_table{});
}

/* Grid likewise. Writes dq, if there is one, and the mean of each row of [B,H,T]. */
template <class T, int parts, bool drop>
static __global__ void fused_back_queries(fused_input<T> in, const T *dy, const float *lse, T *dq, float *mean)
{
    LKI_DYNAMIC_SHARED(float, own);
    float *const own_dy = own + tile_floats<parts>, *const key_tile = own_dy + tile_floats<parts>, *const value_tile = key_tile + tile_floats<parts>;
    float *const weights = value_tile + tile_floats<parts>, *const gradients = weights + weight_floats;
    const attention_shape &a = in.a;
    const fused_place p = fused_place_of(a.t, a.heads);
    const int lane = threadIdx.x % LANES, keys = (int)in.rows.of(p.b), end = seen_of(a, keys, min(p.first + TILE, a.t) - 1);
    const T *const k = in.k + (int64_t)p.b * a.s * in.kv_row + p.head / a.group * a.d, *const v = in.v + (k - in.k);
    const int64_t y_row = (int64_t)a.heads * a.d, q_at = (int64_t)p.b * a.t * in.q_row + p.head * a.d;
    const int64_t stat = ((int64_t)p.b * a.heads + p.head) * a.t;
    sums<parts> of_gradients = {}, of_weights = {};
    float total[OWN] = {}, log_sum[OWN], factor[OWN];

    for (int u = 0; u < OWN; u++) {
        const int i = p.first + own_row(u);
        log_sum[u] = i < a.t ? lse[stat + i] : 0.0f;
        factor[u] = in.scale;
    }
    load_tile<parts, false>(own, in.q + q_at, in.q_row, p.first, a.t, a.d, in.fours, in.table);
    load_tile<parts, false>(own_dy, dy + (int64_t)p.b * a.t * y_row + p.head * a.d, y_row, p.first, a.t, a.d, in.fours, rotary_table{});
    for (int j0 = 0; j0 < end; j0 += TILE) {
        float s[OWN][OTHER], ds[OWN][OTHER];
        const int j = j0 + lane * OTHER;
        __syncthreads();
        load_tile<parts, true>(key_tile, k, in.kv_row, j0, keys, a.d, in.fours, in.table);
        load_tile<parts, true>(value_tile, v, in.kv_row, j0, keys, a.d, in.fours, rotary_table{});
        __syncthreads();
        dots<parts>(s, own, key_tile, a.d);
        dots<parts>(ds, own_dy, value_tile, a.d);
        for (int u = 0; u < OWN; u++) {
            const int i = p.first + own_row(u), seen = seen_of(a, keys, i);
            words4 w = {};
            if (drop && j < seen)
                w = probability_words(in.drop, a, in.rows.live, p.b, p.head, i, j);
            for (int n = 0; n < OTHER; n++) {
                const float e = j + n < seen ? expf(s[u][n] * in.scale - log_sum[u]) : 0.0f;
                const float g = j + n < seen ? e * (drop ? ds[u][n] * kept(in.drop, w.at[n]) : ds[u][n]) : 0.0f;
                total[u] += g;
                *weight_of(weights, u, n) = e;
                *weight_of(gradients, u, n) = g;
            }
        }
        __syncwarp();
        mix(of_gradients, gradients, key_tile);
        mix(of_weights, weights, key_tile);
    }
    for (int u = 0; u < OWN; u++) {
        const int i = p.first + own_row(u);
        total[u] = lanes_sum(total[u]);
        if (lane == 0 && i < a.t)
            mean[stat + i] = total[u];
        for (int q = 0; q < parts; q++)
            for (int c = 0; c < 4; c++)
                of_gradients.at[u][q][c] -= total[u] * of_weights.at[u][q][c];
    }
    if (dq == NULL)
        return;
    __syncthreads();
    lay_down(of_gradients, factor, own);
    __syncthreads();
    store_tile<parts>(own, dq + q_at, in.q_row, p.first, a.t, a.d, in.fours, in.table);
}

/* Grid: tiles of keys, heads of keys, samples. The heads that share keys go one after the other, their queries in rising order. */
template <class T, int parts, bool drop>
static __global__ void fused_back_keys(fused_input<T> in, const T *dy, const float *lse, const float *mean, T *dk, T *dv)
{
    LKI_DYNAMIC_SHARED(float, own);
    float *const own_values = own + tile_floats<parts>, *const query_tile = own_values + tile_floats<parts>, *const dy_tile = query_tile + tile_floats<parts>;
    float *const weights = dy_tile + tile_floats<parts>, *const gradients = weights + weight_floats;
    const attention_shape &a = in.a;
    const fused_place p = fused_place_of(a.s, a.kv_heads);
    const int lane = threadIdx.x % LANES, keys = (int)in.rows.of(p.b);
    const int64_t y_row = (int64_t)a.heads * a.d, kv_at = (int64_t)p.b * a.s * in.kv_row + p.head * a.d;
    sums<parts> of_keys = {}, of_values = {};
    const float one[OWN] = {1, 1}, scale[OWN] = {in.scale, in.scale};

    load_tile<parts, false>(own, in.k + kv_at, in.kv_row, p.first, keys, a.d, in.fours, in.table);
    load_tile<parts, false>(own_values, in.v + kv_at, in.kv_row, p.first, keys, a.d, in.fours, rotary_table{});
    for (int h = 0; h < a.group && p.first < keys; h++) {
        const int head = p.head * a.group + h;
        const T *const q = in.q + (int64_t)p.b * a.t * in.q_row + head * a.d, *const dy_head = dy + (int64_t)p.b * a.t * y_row + head * a.d;
        const int64_t stat = ((int64_t)p.b * a.heads + head) * a.t;
        for (int i0 = a.causal ? p.first : 0; i0 < a.t; i0 += TILE) {
            float s[OWN][OTHER], ds[OWN][OTHER];
            __syncthreads();
            load_tile<parts, true>(query_tile, q, in.q_row, i0, a.t, a.d, in.fours, in.table);
            load_tile<parts, true>(dy_tile, dy_head, y_row, i0, a.t, a.d, in.fours, rotary_table{});
            __syncthreads();
            dots<parts>(s, own, query_tile, a.d);
            dots<parts>(ds, own_values, dy_tile, a.d);
            for (int n = 0; n < OTHER; n++) {
                const int i = i0 + lane * OTHER + n, seen = seen_of(a, keys, i);
                const float log_sum = seen > 0 ? lse[stat + i] : 0.0f, middle = seen > 0 ? mean[stat + i] : 0.0f;
                for (int u = 0; u < OWN; u++) {
                    const int j = p.first + own_row(u);
                    float keep = 1, e = 0, g = 0;
                    if (j < seen) {
                        if (drop)
                            keep = kept(in.drop, word_of(probability_words(in.drop, a, in.rows.live, p.b, head, i, j), (uint64_t)j));
                        e = expf(s[u][n] * in.scale - log_sum);
                        g = e * (ds[u][n] * keep - middle);
                    }
                    *weight_of(weights, u, n) = e * keep;
                    *weight_of(gradients, u, n) = g;
                }
            }
            __syncwarp();
            mix(of_values, weights, dy_tile);
            mix(of_keys, gradients, query_tile);
        }
    }
    __syncthreads();
    lay_down(of_keys, scale, own);
    lay_down(of_values, one, own_values);
    __syncthreads();
    store_tile<parts>(own, dk + kv_at, in.kv_row, p.first, a.s, a.d, in.fours, in.table);
    store_tile<parts>(own_values, dv + kv_at, in.kv_row, p.first, a.s, a.d, in.fours, rotary_table{});
}

/* ---- launches ---- */
static inline bool fused_fits(const attention_shape &a)
{
    return a.d <= FUSED_WIDTH;
}

/* Of backward. */
static inline size_t fused_scratch(const attention_shape &a)
{
    return (size_t)a.batch * (size_t)a.heads * (size_t)a.t * sizeof(float);
}

template <class T> static fused_input<T> fused_input_of(const lk_call *c, const lki_heads &h, const float *turns)
{
    const attention_shape a = attention_shape_of(c->spec, &h);
    const T *const q = (const T *)c->x[0], *const kv = (const T *)c->x[h.kv_in];
    const bool fours = a.d % (turns != NULL ? 8 : 4) == 0 && aligned16(q) && aligned16(kv) && aligned16(c->y) && aligned16(c->dy) && aligned16(c->dx[0]) && aligned16(c->dx[h.kv_in]);

    return {a, attention_keys_of(c, h), attention_drop_of(c), rotary_table_of(h, turns), (float)h.scale, fours, q, kv + h.k_at, kv + h.v_at, h.q_row, h.kv_row};
}

template <int parts> static size_t fused_bytes(int tiles, int weights)
{
    return sizeof(float) * (size_t)(tiles * tile_floats<parts> + weights * weight_floats);
}

template <class T, int parts, bool drop> static lk_status fused_run_forward(const lk_call *c, const fused_input<T> &in)
{
    const dim3 grid(grid_of(div_up(in.a.t, TILE) * in.a.heads * in.a.batch));
    return launch(fused_forward<T, parts, drop>, grid, dim3(FUSED_THREADS), fused_bytes<parts>(3, 1), in, c->node, (T *)c->y, (float *)c->saved);
}

template <class T, int parts, bool drop> static lk_status fused_run_backward(const lk_call *c, const fused_input<T> &in, const lki_heads &h)
{
    const dim3 queries(grid_of(div_up(in.a.t, TILE) * in.a.heads * in.a.batch)), keys(grid_of(div_up(in.a.s, TILE) * in.a.kv_heads * in.a.batch));
    const T *const dy = (const T *)c->dy;
    const float *const lse = (const float *)c->saved;
    T *const dkv = (T *)c->dx[h.kv_in];
    float *const mean = (float *)c->scratch;

    LK_TRY(launch(fused_back_queries<T, parts, drop>, queries, dim3(FUSED_THREADS), fused_bytes<parts>(4, 2), in, dy, lse, (T *)c->dx[0], mean));
    return dkv == NULL ? LK_OK : launch(fused_back_keys<T, parts, drop>, keys, dim3(FUSED_THREADS), fused_bytes<parts>(4, 2), in, dy, lse, (const float *)mean, dkv + h.k_at, dkv + h.v_at);
}

/* By the width of a head, and whether dropout draws. */
template <class T> static lk_status fused_run(const lk_call *c, const lki_heads &h, const float *turns, bool back)
{
    const fused_input<T> in = fused_input_of<T>(c, h, turns);
    const bool drop = in.drop.key != NULL;

    if (in.a.d <= COLUMNS) {
        if (back)
            return drop ? fused_run_backward<T, 1, true>(c, in, h) : fused_run_backward<T, 1, false>(c, in, h);
        return drop ? fused_run_forward<T, 1, true>(c, in) : fused_run_forward<T, 1, false>(c, in);
    }
    if (back)
        return drop ? fused_run_backward<T, 2, true>(c, in, h) : fused_run_backward<T, 2, false>(c, in, h);
    return drop ? fused_run_forward<T, 2, true>(c, in) : fused_run_forward<T, 2, false>(c, in);
}

#endif
