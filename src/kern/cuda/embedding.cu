/* embedding: y[p,.] = W[id[p],.], 0 in padding rows. Backward: dW[v,.] = sum of dy[p,.] over the places p with id v, in an order that the ids alone
 * fix: the places are sorted by id, those of one id in rising order, and each id that occurs is summed by one block of threads. */
#include "kern/cuda/elements.cuh"

/* ---- forward ---- */
enum { WARPS = LKI_BLOCK / 32 };

struct embedding_shape {
    int64_t places, row; /* ids; of one sample */
    int64_t size, units;
};

/* A warp a place. */
template <int w, class T>
static __global__ void embedding_forward(embedding_shape s, const lk_live *live, int node, const int64_t *id, const float *weight, T *y)
{
    const int64_t p = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;

    if (p >= s.places)
        return;
    const bool counts = p < live->valid * s.row;
    const int64_t v = counts ? id[p] : -1;
    const bool known = v >= 0 && v < s.size;
    if (counts && !known && lane == 0)
        note_fault(live, LK_FAULT_ID, node, p / s.row, v, s.size);
    for (int64_t i = (int64_t)lane * w; i < s.units; i += 32 * w) {
        float x[w] = {};
        if (known)
            load_run(weight + v * s.units + i, x);
        store_run(y + p * s.units + i, x);
    }
}

/* ---- places by id ---- */
struct entry {
    uint32_t id; /* `size` where there is none */
    uint32_t place;
};

enum { ORDER_WARPS = 32, ORDER_THREADS = 32 * ORDER_WARPS, DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS };

/* Exclusive sums of DIGITS counts, in place, by the first warp. */
static __device__ inline void add_up_digits(uint32_t *count)
{
    constexpr int own = DIGITS / 32;
    uint32_t sum = 0;

    for (int k = 0; k < own; k++)
        sum += count[threadIdx.x * own + k];
    uint32_t before = sum;
    for (int d = 1; d < 32; d *= 2) {
        const uint32_t left = __shfl_up_sync(0xffffffffu, before, d);
        before += (int)threadIdx.x >= d ? left : 0;
    }
    before -= sum;
    for (int k = 0; k < own; k++) {
        const uint32_t c = count[threadIdx.x * own + k];
        count[threadIdx.x * own + k] = before;
        before += c;
    }
}

/* One block sorts all: by DIGIT_BITS bits of the id in each pass, the lowest first; entries with the same digit keep their order. Tiles of a
 * thread an entry go one after the other; within a tile an entry's place is that of its digit, behind those of the warps in front and of the
 * lanes in front. The result is in `a` if `passes` is even, else in `b`. */
static __global__ void order_places(embedding_shape s, int passes, const lk_live *live, const int64_t *id, entry *a, entry *b)
{
    __shared__ uint32_t next[DIGITS], count[ORDER_WARPS][DIGITS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t valid = live->valid * s.row;

    for (int64_t p = threadIdx.x; p < s.places; p += ORDER_THREADS) {
        const int64_t v = p < valid ? id[p] : -1;
        a[p] = {(uint32_t)(v >= 0 && v < s.size ? v : s.size), (uint32_t)p};
    }
    for (int pass = 0; pass < passes; pass++) {
        const int shift = pass * DIGIT_BITS;
        const entry *const from = pass % 2 ? b : a;
        entry *const to = pass % 2 ? a : b;

        if (threadIdx.x < DIGITS)
            next[threadIdx.x] = 0;
        __syncthreads();
        for (int64_t p = threadIdx.x; p < s.places; p += ORDER_THREADS)
            atomicAdd(&next[from[p].id >> shift & (DIGITS - 1)], 1u);
        __syncthreads();
        if (warp == 0)
            add_up_digits(next);
        for (int64_t tile = 0; tile < s.places; tile += ORDER_THREADS) {
            const bool there = tile + threadIdx.x < s.places;
            const entry e = there ? from[tile + threadIdx.x] : entry{0, 0};
            const uint32_t digit = e.id >> shift & (DIGITS - 1);

            for (int k = threadIdx.x; k < ORDER_WARPS * DIGITS; k += ORDER_THREADS)
                count[k / DIGITS][k % DIGITS] = 0;
            unsigned alike = __ballot_sync(0xffffffffu, there); /* lanes with this digit */
            for (int bit = 0; bit < DIGIT_BITS; bit++) {
                const unsigned ones = __ballot_sync(0xffffffffu, digit >> bit & 1);
                alike &= digit >> bit & 1 ? ones : ~ones;
            }
            const int in_front = __popc(alike & ((1u << lane) - 1));
            __syncthreads();
            if (there && in_front == 0)
                count[warp][digit] = (uint32_t)__popc(alike);
            __syncthreads();
            if (threadIdx.x < DIGITS) {
                uint32_t at = next[threadIdx.x];
                for (int k = 0; k < ORDER_WARPS; k++) {
                    const uint32_t c = count[k][threadIdx.x];
                    count[k][threadIdx.x] = at;
                    at += c;
                }
                next[threadIdx.x] = at;
            }
            __syncthreads();
            if (there)
                to[count[warp][digit] + in_front] = e;
            __syncthreads();
        }
    }
}

/* ---- sums ---- */
/* A block of GROUPS warps for the entries of one id, from the first of them on, and for 32 w columns: each warp sums every GROUPS-th of them in
 * rising order, AHEAD of them on their way at once, then the first warp the warps. Blocks at entries that are no id's first have nothing to do. */
enum { GROUPS = 8, AHEAD = 4 };

template <int w, class T> static __global__ void embedding_backward(embedding_shape s, const entry *order, const T *dy, float *dw)
{
    __shared__ float part[GROUPS][32 * w];
    const int64_t tiles = (s.units + 32 * w - 1) / (32 * w), first = blockIdx.x / tiles;
    const int64_t column = (blockIdx.x % tiles * 32 + threadIdx.x) * w;
    const uint32_t id = order[first].id;
    float sum[w] = {};

    if (id == (uint32_t)s.size || (first > 0 && order[first - 1].id == id))
        return;
    bool more = column < s.units;
    for (int64_t j = first + threadIdx.y; more; j += GROUPS * AHEAD) {
        float v[AHEAD][w] = {};
        for (int k = 0; k < AHEAD && more; k++) {
            const int64_t at = j + k * GROUPS;
            more = at < s.places && order[at].id == id;
            if (more)
                load_run(dy + order[at].place * s.units + column, v[k]);
        }
        for (int k = 0; k < AHEAD; k++)
            for (int q = 0; q < w; q++)
                sum[q] += v[k][q];
    }
    for (int q = 0; q < w; q++)
        part[threadIdx.y][threadIdx.x * w + q] = sum[q];
    __syncthreads();
    if (threadIdx.y != 0 || column >= s.units)
        return;
    for (int g = 1; g < GROUPS; g++)
        for (int q = 0; q < w; q++)
            sum[q] += part[g][threadIdx.x * w + q];
    store_run(dw + id * s.units + column, sum);
}

/* ---- the operation ---- */
static embedding_shape shape_of(const lk_opspec *s)
{
    return {lk_shape_count(&s->in[0]), lk_shape_row(&s->in[0]), s->attr.embedding.size, s->attr.embedding.units};
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const embedding_shape e = shape_of(s);

    *out = lk_kern_plan{};
    if (e.places > INT32_MAX || e.size > INT32_MAX)
        return LK_FAIL(LK_E_UNSUPPORTED, "embedding of %lld ids a microbatch with a table of %lld: at most 2^31 - 1 each on a GPU", (long long)e.places, (long long)e.size);
    out->scratch_backward = s->training ? 2 * (size_t)e.places * sizeof(entry) : 0;
    return LK_OK;
}

template <class T> static lk_status forward(const lk_call *c)
{
    const embedding_shape s = shape_of(c->spec);
    const bool vectors = s.units % vec<T>::n == 0 && aligned16(c->param[0]) && aligned16(c->y);

    return launch(vectors ? embedding_forward<vec<T>::n, T> : embedding_forward<1, T>, dim3(grid_of(div_up(s.places, WARPS))),
        dim3(LKI_BLOCK), 0, s, c->live, c->node, (const int64_t *)c->x[0], (const float *)c->param[0], (T *)c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    const embedding_shape s = shape_of(c->spec);
    const bool vectors = s.units % vec<T>::n == 0 && aligned16(c->dy) && aligned16(c->dparam[0]);
    const int64_t columns = 32 * (vectors ? vec<T>::n : 1);
    entry *const a = (entry *)c->scratch, *const b = a + s.places;
    int passes = 0;

    if (c->dparam[0] == NULL)
        return LK_OK;
    while (s.size >> passes * DIGIT_BITS != 0) /* ids go up to `size`: none */
        passes++;
    LK_TRY(lk_space_zero(&lki_space_cuda, c->dparam[0], (size_t)(s.size * s.units) * sizeof(float)));
    LK_TRY(launch(order_places, dim3(1), dim3(ORDER_THREADS), 0, s, passes, c->live, (const int64_t *)c->x[0], a, b));
    return launch(vectors ? embedding_backward<vec<T>::n, T> : embedding_backward<1, T>, dim3(grid_of(s.places * div_up(s.units, columns))),
        dim3(32, GROUPS), 0, s, (const entry *)(passes % 2 ? b : a), (const T *)c->dy, (float *)c->dparam[0]);
}

template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .plan = plan,
    .forward = forward<T>,
    .backward = backward<T>};
LKI_KERNELS(embedding, kernel);
