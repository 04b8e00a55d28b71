/* attention: by the kernels of attention_fused.cuh where it is small, else by cuDNN where that can (attention_cudnn.h), else by products.
 *
 * cuDNN reads queries, keys and values where they lie, and writes gradients there; queries and keys that rotary positions turn, and their gradients, lie in
 * the scratch, as [B,heads,T,d].
 *
 * By products: for a block of queries S = scale q k^T, P = softmax of its rows, y = P v (op/attention.c, ref/attention.c have the
 * formulas). Nothing of all queries by all keys is kept; backward works P out again from S and the log of the sum of exponentials of each
 * row, as in Dao et al. 2022, FlashAttention, algorithm 4. Saved: those logs, [B,H,T].
 *
 * A head of keys in a sample, with the heads of queries that it serves, is a unit. Queries, keys and values of as many units as the scratch
 * holds are first brought into rows of their own: [units][blocks][heads of the unit][rows of a block][width] and [units][keys][width], turned
 * by place if rotary, with zeros up to sizes that suit the products, and in place of keys that do not count. So one batched product serves all
 * units at once, and sums over the heads of a unit lie inside of a product. A causal block takes the keys up to its end, rounded up so that
 * there are at most LENGTHS different products. Blocks go backward from the last to the first: the last sees all keys, and the gradients
 * of keys and values that it writes are those that the others add to. */
#include "kern/cuda/attention_cudnn.h"
#include "kern/cuda/attention_fused.cuh"

#include <inttypes.h>
#include <math.h>

enum {
    BLOCK_ROWS = 512,    /* queries of a block, over the heads of a unit: at most so many, */
    BLOCK_QUERIES = 128, /* and of a head; */
    LEAST_QUERIES = 16,  /* but not fewer */
    PART = 8,            /* sizes are whole multiples: 16 bytes of 16-bit values */
    MOST_UNITS = 32768,
    ROW_WARPS = 8, /* of a block of threads; a warp a row */
    QUAD = 4       /* neighbouring keys, of one block of random words */
};

#ifdef LK_STANDIN
/* So that small tests work in several runs, and round up lengths; and the same shape comes both ways. */
enum { SCRATCH_BYTES = 64 << 10, LENGTHS = 2 };
static bool small(const lk_opspec *s)
{
    return s->key % 2 == 1;
}
#else
enum { SCRATCH_BYTES = 64 << 20, LENGTHS = 16 };
/* Multiplications and additions of a forward pass that take no longer, done without tensor cores at some 10 to 20 a picosecond, than the
 * dozen launches that products need. */
#define FUSED_FLOPS 2.5e8
static bool small(const lk_opspec *s)
{
    return lk_op_attention.flops(s) <= FUSED_FLOPS;
}
#endif

/* ---- the plan ---- */
typedef struct plan_state {
    lki_heads h;
    attention_shape a;
    bool fused;
    float *turns; /* cosines, sines; NULL unless rotary */
    lki_attention_cudnn *ahead, *back; /* NULL: by products, which all that follows is for */
    int run;            /* units at a time */
    int queries, keys, width;   /* of a block, of all, of a vector: padded */
    int blocks, step, lengths; /* product i is for (i + 1) step keys, or all */
    lki_gemm *scores[LENGTHS]; /* [rows,keys] = [rows,width] [keys,width]^T */
    lki_gemm *mixes[LENGTHS];  /* [rows,width] = [rows,keys] [keys,width] */
    lki_gemm *sums[LENGTHS];   /* [keys,width] += [rows,keys]^T [rows,width] */
    lki_gemm *first_sum;       /* =, of the last block */
} plan_state;

static int round_up(int64_t n, int64_t to)
{
    return (int)(div_up(n, to) * to);
}

/* The product of a block. */
static int length_of(const plan_state *p, int block)
{
    const int64_t steps = div_up((int64_t)(block + 1) * p->queries, p->step);
    return !p->a.causal ? 0 : steps < p->lengths ? (int)steps - 1 : p->lengths - 1;
}

static int keys_of_length(const plan_state *p, int i)
{
    const int64_t n = (int64_t)(i + 1) * p->step;
    return n < p->keys ? (int)n : p->keys;
}

/* ---- scratch ---- */
typedef struct room {
    size_t bytes;
    void *q, *dy;  /* T [run][blocks][group][queries][width]; y and dq are written over q */
    void *k, *v;   /* T [run][keys][width] */
    float *s, *ds; /* [run][group queries][keys]; ds: of the dropped probabilities */
    void *p, *dp;  /* T likewise: dropped probabilities; gradients of the scores */
    float *dk, *dv; /* [run][keys][width] */
} room;

static room room_make(const plan_state *p, int run, size_t size, bool back, void *base)
{
    const int64_t rows = (int64_t)run * p->a.group * p->queries, q = rows * p->blocks * p->width, k = (int64_t)run * p->keys * p->width;
    room r = {};

    r.q = take_piece<char>(base, &r.bytes, q * (int64_t)size);
    r.k = take_piece<char>(base, &r.bytes, k * (int64_t)size);
    r.v = take_piece<char>(base, &r.bytes, k * (int64_t)size);
    r.s = take_piece<float>(base, &r.bytes, rows * p->keys);
    r.p = take_piece<char>(base, &r.bytes, rows * p->keys * (int64_t)size);
    if (!back)
        return r;
    r.dy = take_piece<char>(base, &r.bytes, q * (int64_t)size);
    r.ds = take_piece<float>(base, &r.bytes, rows * p->keys);
    r.dp = take_piece<char>(base, &r.bytes, rows * p->keys * (int64_t)size);
    r.dk = take_piece<float>(base, &r.bytes, k);
    r.dv = take_piece<float>(base, &r.bytes, k);
    return r;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* An element of a run is counted by an int. */
static lk_status size_make(plan_state *p, const lk_opspec *s, size_t size)
{
    const lki_heads *h = &p->h;
    const int64_t units = h->batch * h->kv_heads, group = h->heads / h->kv_heads, most = INT32_MAX / 2;
    const double unit = (double)(h->d + PART) * (double)(h->t > h->s ? h->t + BLOCK_ROWS : h->s + PART) * (double)group;

    if (unit > (double)most || units > most || h->heads * h->t > most)
        return LK_FAIL(LK_E_UNSUPPORTED, "attention on a GPU: %" PRId64 " queries, %" PRId64 " keys, %" PRId64 " heads (%" PRId64 " of keys) of %" PRId64 " numbers and %" PRId64 " samples are more than its kernels count", h->t, h->s, h->heads, h->kv_heads, h->d, h->batch);
    p->a = attention_shape_of(s, h);
    const int64_t queries = least(BLOCK_QUERIES, BLOCK_ROWS / group > LEAST_QUERIES ? BLOCK_ROWS / group : (int64_t)LEAST_QUERIES);
    p->queries = round_up(div_up(h->t, div_up(h->t, queries)), PART);
    p->blocks = (int)div_up(h->t, p->queries);
    p->keys = round_up(h->s, PART);
    p->width = round_up(h->d, PART);
    p->step = p->keys;
    p->lengths = 1;
    if (p->a.causal) {
        p->step = p->queries * (int)div_up(p->blocks, LENGTHS);
        p->lengths = (int)div_up(least((int64_t)p->blocks * p->queries, p->keys), p->step);
    }
    const int64_t rows = group * p->blocks * p->queries, one = (int64_t)room_make(p, 1, size, s->training, NULL).bytes;
    int64_t run = least(least(SCRATCH_BYTES / one, MOST_UNITS), most / (p->width * (rows > p->keys ? rows : p->keys)));
    run = run < 1 ? 1 : least(run, units);
    p->run = (int)div_up(units, div_up(units, run)); /* in runs of a size */
    return LK_OK;
}

static void destroy(void *state)
{
    plan_state *p = (plan_state *)state;

    if (p == NULL)
        return;
    for (int i = 0; i < LENGTHS; i++) {
        lki_gemm_destroy(&p->scores[i]);
        lki_gemm_destroy(&p->mixes[i]);
        lki_gemm_destroy(&p->sums[i]);
    }
    lki_gemm_destroy(&p->first_sum);
    lki_attention_cudnn_destroy(&p->ahead);
    lki_attention_cudnn_destroy(&p->back);
    lk_space_free(&lki_space_cuda, p->turns);
    lk_free(p);
}

static lk_status turns_make(const lki_heads *h, float **out)
{
    const int64_t pairs = h->d / 2, n = (h->t > h->s ? h->t : h->s) * pairs;
    float *turn = NULL;
    lk_status st;

    LK_TRY(lk_alloc_array(2 * n, sizeof *turn, "rotary positions", &turn));
    for (int64_t i = 0; i < n; i++) {
        const double angle = lki_rotary_angle(i / pairs, i % pairs, h->d);
        turn[i] = (float)cos(angle);
        turn[n + i] = (float)sin(angle);
    }
    LK_TRY_TO(st, done, lk_space_alloc(&lki_space_cuda, (size_t)(2 * n) * sizeof *turn, "rotary positions", out));
    st = lk_space_copy(&lki_space_cuda, *out, turn, (size_t)(2 * n) * sizeof *turn, LK_COPY_IN);
done:
    lk_free(turn);
    return st;
}

static lk_status products_make(plan_state *p, lki_type t, bool back)
{
    const int64_t rows = (int64_t)p->a.group * p->queries, width = p->width;
    const int64_t q = rows * p->blocks * width, k = (int64_t)p->keys * width;

    for (int i = 0; i < p->lengths; i++) {
        const int64_t n = keys_of_length(p, i);
        const lki_gemm_spec scores = {.tb = true, .m = rows, .n = n, .k = width, .batch = p->run, .stride_a = q, .stride_b = k, .stride_c = rows * n, .a = t, .b = t, .c = LKI_F32};
        const lki_gemm_spec mixes = {.m = rows, .n = width, .k = n, .batch = p->run, .stride_a = rows * n, .stride_b = k, .stride_c = q, .a = t, .b = t, .c = t};
        lki_gemm_spec sums = {.ta = true, .m = n, .n = width, .k = rows, .batch = p->run, .stride_a = rows * n, .stride_b = q, .stride_c = k, .a = t, .b = t, .c = LKI_F32, .add = true};

        LK_TRY(lki_gemm_create(&scores, &p->scores[i]));
        LK_TRY(lki_gemm_create(&mixes, &p->mixes[i]));
        if (!back)
            continue;
        if (p->blocks > 1)
            LK_TRY(lki_gemm_create(&sums, &p->sums[i]));
        sums.add = false;
        if (i == length_of(p, p->blocks - 1))
            LK_TRY(lki_gemm_create(&sums, &p->first_sum));
    }
    return LK_OK;
}

/* ---- by cuDNN: its scratch ---- */
typedef struct cudnn_room {
    size_t bytes;
    void *work;
    void *q, *k, *dq, *dk;     /* T [B,heads,T,d]; turned. NULL unless rotary */
    void *spare_q, *spare_kv;  /* where gradients go that nobody asks for */
} cudnn_room;

static cudnn_room cudnn_room_make(const plan_state *p, size_t size, bool back, void *base)
{
    const lki_heads *h = &p->h;
    const int64_t q = h->batch * h->heads * h->t * h->d, k = h->batch * h->kv_heads * h->s * h->d;
    cudnn_room r = {};

    r.work = take_piece<char>(base, &r.bytes, (int64_t)lki_attention_cudnn_scratch(back ? p->back : p->ahead));
    if (p->turns != NULL) {
        r.q = take_piece<char>(base, &r.bytes, q * (int64_t)size);
        r.k = take_piece<char>(base, &r.bytes, k * (int64_t)size);
    }
    if (p->turns != NULL && back) {
        r.dq = take_piece<char>(base, &r.bytes, q * (int64_t)size);
        r.dk = take_piece<char>(base, &r.bytes, k * (int64_t)size);
    }
    if (h->kv_in != 0 && back) {
        r.spare_q = take_piece<char>(base, &r.bytes, h->batch * h->t * h->q_row * (int64_t)size);
        r.spare_kv = take_piece<char>(base, &r.bytes, h->batch * h->s * h->kv_row * (int64_t)size);
    }
    return r;
}

/* The vectors of turned heads are counted by an int. */
static bool cudnn_fits(const plan_state *p, const lk_opspec *s)
{
    const lki_heads *h = &p->h;
    const double most = INT32_MAX / 2, turned = (double)(h->batch * h->d) * (double)(h->heads * (h->t > h->s ? h->t : h->s));
    return !drops(s) && h->lengths_in < 0 && (!s->attr.attention.rotary || turned < most);
}

static lki_vectors apart(int64_t heads, int64_t places, int64_t d)
{
    return {heads * places * d, places * d, d};
}

static lk_status ask_cudnn(plan_state *p, const lk_opspec *s, lki_type t)
{
    const lki_heads *h = &p->h;
    const lki_vectors q = {h->t * h->q_row, h->d, h->q_row}, kv = {h->s * h->kv_row, h->d, h->kv_row};
    const bool rotary = s->attr.attention.rotary;
    const lki_attention_sizes sizes = {h->batch, h->heads, h->kv_heads, h->t, h->s, h->d, p->a.causal, rotary ? apart(h->heads, h->t, h->d) : q, rotary ? apart(h->kv_heads, h->s, h->d) : kv, kv};

    LK_TRY(lki_attention_cudnn_create(&sizes, t, s->training ? LKI_ATTENTION_FORWARD : LKI_ATTENTION_ALONE, &p->ahead));
    return s->training ? lki_attention_cudnn_create(&sizes, t, LKI_ATTENTION_BACKWARD, &p->back) : LK_OK;
}

static lk_status plan_fill(plan_state *p, const lk_opspec *s, lki_type t)
{
    LK_TRY(size_make(p, s, lki_type_size(t)));
    if (s->attr.attention.rotary)
        LK_TRY(turns_make(&p->h, &p->turns));
    p->fused = fused_fits(p->a) && small(s);
    if (p->fused)
        return LK_OK;
    if (cudnn_fits(p, s))
        LK_TRY(ask_cudnn(p, s, t));
    return p->ahead != NULL && (p->back != NULL || !s->training) ? LK_OK : products_make(p, t, s->training);
}

static size_t scratch_of(const plan_state *p, size_t size, bool back)
{
    if (p->fused)
        return back ? fused_scratch(p->a) : 0;
    return (back ? p->back : p->ahead) != NULL ? cudnn_room_make(p, size, back, NULL).bytes : room_make(p, p->run, size, back, NULL).bytes;
}

template <class T> static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    plan_state *p = NULL;

    LK_TRY(lk_alloc(sizeof *p, "attention", &p));
    p->h = lki_heads_of(s);
    const lk_status st = plan_fill(p, s, lki_type_of<T>::value);
    if (st != LK_OK) {
        destroy(p);
        return lk_err_frame(st, __FILE__, __LINE__, __func__);
    }
    *out = {};
    out->state = p;
    out->saved_bytes = s->training ? (size_t)(p->h.batch * p->h.heads * p->h.t) * sizeof(float) : 0;
    out->scratch_forward = scratch_of(p, sizeof(T), false);
    out->scratch_backward = s->training ? scratch_of(p, sizeof(T), true) : 0;
    return LK_OK;
}

/* ---- rows of scores ---- */
/* A block of queries of a run of units: rows [units][heads of a unit][queries], a warp each, of n numbers. */
typedef struct score_rows {
    attention_shape a;
    row_lengths rows;
    attention_drop drop;
    int first, run, queries, block, n;
} score_rows;

typedef struct score_row {
    int64_t at;      /* of the row among the run's */
    int b, head, i;
    int seen;        /* keys; 0 in what only fills up */
    bool there, query; /* is a row; of a query */
} score_row;

static __device__ inline score_row score_row_of(const score_rows &r)
{
    const int64_t at = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32, per_unit = (int64_t)r.a.group * r.queries;
    const int run = (int)(at / per_unit), unit = r.first + run, in_unit = (int)(at % per_unit);
    score_row o = {};

    o.at = at;
    o.there = run < r.run;
    o.b = unit / r.a.kv_heads;
    o.head = unit % r.a.kv_heads * r.a.group + in_unit / r.queries;
    o.i = r.block * r.queries + in_unit % r.queries;
    o.query = o.there && o.b < r.a.batch && o.i < r.a.t;
    if (o.query) {
        const int keys = (int)r.rows.of(o.b);
        o.seen = r.a.causal && o.i + 1 < keys ? o.i + 1 : keys;
    }
    return o;
}

/* s to p, which dropout has gone over, and the log of the sum of exponentials to `lse` [B,H,T], if there is one. */
template <class T, bool drop> static __global__ void softmax_rows(score_rows r, const float *s, T *p, float *lse)
{
    const score_row o = score_row_of(r);
    const int lane = threadIdx.x % 32;
    float high = -INFINITY, sum = 0;

    if (!o.there)
        return;
    s += o.at * r.n;
    p += o.at * r.n;
    for (int j = QUAD * lane; j < o.seen; j += 32 * QUAD) {
        const vec<float, QUAD> v = load_vec<QUAD>(s + j);
        float top = high;
        for (int k = 0; k < QUAD; k++)
            if (j + k < o.seen && !(v.at[k] <= top))
                top = v.at[k]; /* a NaN, too, shows in the sum */
        sum *= high == top ? 1.0f : expf(high - top);
        for (int k = 0; k < QUAD; k++)
            sum += j + k < o.seen ? expf(v.at[k] - top) : 0.0f;
        high = top;
    }
    const float top = warp_max(high);
    sum = warp_sum(high == top ? sum : sum * expf(high - top));
    const float factor = o.seen > 0 ? 1 / sum : 0.0f;
    if (lse != NULL && lane == 0 && o.query)
        lse[((int64_t)o.b * r.a.heads + o.head) * r.a.t + o.i] = o.seen > 0 ? top + logf(sum) : 0.0f;

    for (int j = QUAD * lane; j < r.n; j += 32 * QUAD) {
        vec<T, QUAD> out;
        for (int k = 0; k < QUAD; k++)
            out.at[k] = from_float<T>(0);
        if (j < o.seen) {
            const vec<float, QUAD> v = load_vec<QUAD>(s + j);
            words4 w = {};
            if (drop)
                w = probability_words(r.drop, r.a, r.rows.live, o.b, o.head, o.i, j);
            for (int k = 0; k < QUAD; k++)
                if (j + k < o.seen)
                    out.at[k] = from_float<T>(expf(v.at[k] - top) * factor * (drop ? kept(r.drop, w.at[k]) : 1.0f));
        }
        store_vec(p + j, out);
    }
}

/* Scores s and gradients ds of the dropped probabilities, to the dropped probabilities p and the gradients dp of the scores; ds is left as
 * those of the probabilities. Their mean is made from them in float: y, rounded to 16 bits, would give it with a multiple of the error. */
template <class T, bool drop>
static __global__ void gradient_rows(score_rows r, const float *lse, const float *s, float *ds, T *p, T *dp)
{
    const score_row o = score_row_of(r);
    const int lane = threadIdx.x % 32;
    const float log_sum = o.seen > 0 ? lse[((int64_t)o.b * r.a.heads + o.head) * r.a.t + o.i] : 0.0f;
    float mean = 0;

    if (!o.there)
        return;
    s += o.at * r.n;
    ds += o.at * r.n;
    p += o.at * r.n;
    dp += o.at * r.n;
    for (int j = QUAD * lane; j < r.n; j += 32 * QUAD) {
        vec<T, QUAD> out;
        for (int k = 0; k < QUAD; k++)
            out.at[k] = from_float<T>(0);
        if (j < o.seen) {
            const vec<float, QUAD> v = load_vec<QUAD>(s + j);
            vec<float, QUAD> dv = load_vec<QUAD>(ds + j);
            words4 w = {};
            if (drop)
                w = probability_words(r.drop, r.a, r.rows.live, o.b, o.head, o.i, j);
            for (int k = 0; k < QUAD && j + k < o.seen; k++) {
                const float e = expf(v.at[k] - log_sum), keep = drop ? kept(r.drop, w.at[k]) : 1.0f;
                out.at[k] = from_float<T>(e * keep);
                dv.at[k] *= keep;
                mean += e * dv.at[k];
            }
            if (drop)
                store_vec(ds + j, dv);
        }
        store_vec(p + j, out);
    }
    mean = warp_sum(mean);
    for (int j = QUAD * lane; j < r.n; j += 32 * QUAD) {
        vec<T, QUAD> out;
        for (int k = 0; k < QUAD; k++)
            out.at[k] = from_float<T>(0);
        if (j < o.seen) {
            const vec<float, QUAD> v = load_vec<QUAD>(s + j);
            const vec<float, QUAD> dv = load_vec<QUAD>(ds + j);
            for (int k = 0; k < QUAD && j + k < o.seen; k++)
                out.at[k] = from_float<T>(expf(v.at[k] - log_sum) * (dv.at[k] - mean));
        }
        store_vec(dp + j, out);
    }
}

/* ---- rows of their own ---- */
/* Brings vectors of a run of units there, turned if rotary, and takes them back. */
template <class T> struct moves {
    const lk_call *c;
    const plan_state *p;
    row_lengths rows;
    rotary_table table;
    int run, queries, blocks, all_keys, width; /* as in plan_state */
    int filled; /* keys that are taken; zeros behind them */
    int first;  /* unit of the run */

    own_rows of_queries() const
    {
        return {first, blocks, queries, width};
    }
    own_rows of_keys() const
    {
        return {first, 1, all_keys, width};
    }
    int64_t vectors(bool keys) const
    {
        return (int64_t)run * (keys ? all_keys : p->a.group * blocks * queries) * width;
    }
    /* Elements a thread that all rows of `at` allow. */
    bool wide(const void *at, bool turns) const
    {
        return aligned16(at) && p->a.d % (turns ? 2 * vec<T>::n : vec<T>::n) == 0;
    }

    lk_status bring(bool keys, const void *from, int64_t row, int64_t at, bool turns, void *to) const
    {
        const packed_heads<const T> packed = {(const T *)from, row, at, keys ? p->a.s : p->a.t, keys ? 1 : p->a.group};
        const own_rows own = keys ? of_keys() : of_queries();
        const rotary_table by = turns ? table : rotary_table{};

        if (wide(from, by.cosine != NULL))
            return each(vectors(keys) / vec<T>::n, bring_heads<T, vec<T>::n>{p->a, rows, keys, c->node, packed, own, by, (T *)to});
        return each(vectors(keys), bring_heads<T, 1>{p->a, rows, keys, c->node, packed, own, by, (T *)to});
    }

    template <class F> lk_status take(bool keys, const F *from, int64_t row, int64_t at, bool turns, void *to) const
    {
        const packed_heads<T> packed = {(T *)to, row, at, keys ? p->a.s : p->a.t, keys ? 1 : p->a.group};
        const own_rows own = keys ? of_keys() : of_queries();
        const rotary_table by = turns ? table : rotary_table{};

        if (wide(to, by.cosine != NULL))
            return each(vectors(keys) / vec<T>::n, take_heads<F, T, vec<T>::n>{p->a, keys ? filled : p->a.t, from, own, by, packed});
        return each(vectors(keys), take_heads<F, T, 1>{p->a, keys ? filled : p->a.t, from, own, by, packed});
    }
};

/* ---- passes by products ---- */
template <class T> struct pass {
    const lk_call *c;
    const plan_state *p;
    room r;
    attention_drop drop;
    moves<T> m;

    pass(const lk_call *call, bool back) : c(call), p((const plan_state *)call->state)
    {
        r = room_make(p, p->run, sizeof(T), back, c->scratch);
        drop = attention_drop_of(c);
        m = {c, p, attention_keys_of(c, p->h), rotary_table_of(p->h, p->turns), p->run, p->queries, p->blocks, p->keys, p->width, keys_of_length(p, p->lengths - 1), 0};
    }

    /* Queries, keys and values of the run. */
    lk_status bring_inputs() const
    {
        const lki_heads *h = &p->h;
        LK_TRY(m.bring(false, c->x[0], h->q_row, 0, true, r.q));
        LK_TRY(m.bring(true, c->x[h->kv_in], h->kv_row, h->k_at, true, r.k));
        return m.bring(true, c->x[h->kv_in], h->kv_row, h->v_at, false, r.v);
    }

    T *block_of(void *queries, int block) const
    {
        return (T *)queries + (int64_t)block * p->a.group * p->queries * p->width;
    }
    score_rows rows_of(int block) const
    {
        return {p->a, m.rows, drop, m.first, p->run, p->queries, block, keys_of_length(p, length_of(p, block))};
    }
    dim3 row_blocks() const
    {
        return dim3(grid_of(div_up((int64_t)p->run * p->a.group * p->queries, ROW_WARPS)));
    }

    lk_status forward_block(int block) const
    {
        const int i = length_of(p, block);
        T *const q = block_of(r.q, block);

        LK_TRY(lki_gemm_run(p->scores[i], (float)p->h.scale, q, r.k, r.s, NULL));
        LK_TRY(launch(drop.key != NULL ? softmax_rows<T, true> : softmax_rows<T, false>, row_blocks(), dim3(32 * ROW_WARPS), 0, rows_of(block), (const float *)r.s, (T *)r.p, (float *)c->saved));
        return lki_gemm_run(p->mixes[i], 1, r.p, r.v, q, NULL);
    }

    lk_status backward_block(int block, bool of_q, bool of_kv) const
    {
        const int i = length_of(p, block);
        const lki_gemm *const sums = block == p->blocks - 1 ? p->first_sum : p->sums[i];
        const float scale = (float)p->h.scale;
        T *const q = block_of(r.q, block), *const dy = block_of(r.dy, block);

        LK_TRY(lki_gemm_run(p->scores[i], scale, q, r.k, r.s, NULL));
        LK_TRY(lki_gemm_run(p->scores[i], 1, dy, r.v, r.ds, NULL));
        LK_TRY(launch(drop.key != NULL ? gradient_rows<T, true> : gradient_rows<T, false>, row_blocks(), dim3(32 * ROW_WARPS), 0, rows_of(block), (const float *)c->saved, (const float *)r.s, r.ds, (T *)r.p, (T *)r.dp));
        if (of_kv) {
            LK_TRY(lki_gemm_run(sums, 1, r.p, dy, r.dv, NULL));
            LK_TRY(lki_gemm_run(sums, scale, r.dp, q, r.dk, NULL));
        }
        return of_q ? lki_gemm_run(p->mixes[i], scale, r.dp, r.k, q, NULL) : LK_OK;
    }
};

template <class T> static lk_status forward_products(const lk_call *c)
{
    pass<T> a(c, false);
    const plan_state *p = a.p;
    const int units = p->a.batch * p->a.kv_heads;

    for (; a.m.first < units; a.m.first += p->run) {
        LK_TRY(a.bring_inputs());
        for (int block = 0; block < p->blocks; block++)
            LK_TRY(a.forward_block(block));
        LK_TRY(a.m.take(false, (const T *)a.r.q, p->h.heads * p->h.d, 0, false, c->y));
    }
    return LK_OK;
}

template <class T> static lk_status backward_products(const lk_call *c)
{
    pass<T> a(c, true);
    const plan_state *p = a.p;
    const lki_heads *h = &p->h;
    const int units = p->a.batch * p->a.kv_heads;
    void *const dq = c->dx[0], *const dkv = c->dx[h->kv_in];

    for (; a.m.first < units; a.m.first += p->run) {
        LK_TRY(a.bring_inputs());
        LK_TRY(a.m.bring(false, c->dy, h->heads * h->d, 0, false, a.r.dy));
        for (int block = p->blocks - 1; block >= 0; block--)
            LK_TRY(a.backward_block(block, dq != NULL, dkv != NULL));
        if (dq != NULL)
            LK_TRY(a.m.take(false, (const T *)a.r.q, h->q_row, 0, true, dq));
        if (dkv != NULL) {
            LK_TRY(a.m.take(true, (const float *)a.r.dk, h->kv_row, h->k_at, true, dkv));
            LK_TRY(a.m.take(true, (const float *)a.r.dv, h->kv_row, h->v_at, false, dkv));
        }
    }
    return LK_OK;
}

/* ---- passes by cuDNN, which takes padding rows for samples ---- */
enum { ZERO_BLOCKS = 8 }; /* a sample */

template <class T> static __global__ void zero_padding(const lk_live *live, int64_t row, T *x)
{
    const int64_t b = blockIdx.x / ZERO_BLOCKS;

    if (b < live->valid)
        return;
    for (int64_t i = (int64_t)(blockIdx.x % ZERO_BLOCKS) * blockDim.x + threadIdx.x; i < row; i += (int64_t)ZERO_BLOCKS * blockDim.x)
        x[b * row + i] = from_float<T>(0);
}

template <class T> static lk_status without_padding(const lk_call *c, const lk_shape *s, void *x)
{
    return x == NULL ? LK_OK : launch(zero_padding<T>, dim3(grid_of(s->dim[0] * ZERO_BLOCKS)), dim3(LKI_BLOCK), 0, c->live, lk_shape_row(s), (T *)x);
}

/* Queries, keys and values, where cuDNN reads them. */
template <class T> struct cudnn_pass {
    const lk_call *c;
    const plan_state *p;
    cudnn_room r;
    moves<T> m;
    const T *q, *k, *v;

    cudnn_pass(const lk_call *call, bool back) : c(call), p((const plan_state *)call->state)
    {
        const lki_heads *h = &p->h;
        const T *const kv = (const T *)c->x[h->kv_in];

        r = cudnn_room_make(p, sizeof(T), back, c->scratch);
        m = {c, p, attention_keys_of(c, p->h), rotary_table_of(p->h, p->turns), p->a.batch * p->a.kv_heads, p->a.t, 1, p->a.s, p->a.d, p->a.s, 0};
        q = p->turns != NULL ? (const T *)r.q : (const T *)c->x[0];
        k = p->turns != NULL ? (const T *)r.k : kv + h->k_at;
        v = kv + h->v_at;
    }

    lk_status turn() const
    {
        if (p->turns == NULL)
            return LK_OK;
        LK_TRY(m.bring(false, c->x[0], p->h.q_row, 0, true, r.q));
        return m.bring(true, c->x[p->h.kv_in], p->h.kv_row, p->h.k_at, true, r.k);
    }
};

template <class T> static lk_status forward_cudnn(const lk_call *c)
{
    const cudnn_pass<T> a(c, false);

    LK_TRY(a.turn());
    LK_TRY(lki_attention_cudnn_forward(a.p->ahead, (float)a.p->h.scale, a.q, a.k, a.v, c->y, (float *)c->saved, a.r.work));
    return without_padding<T>(c, &c->spec->out, c->y);
}

template <class T> static lk_status backward_cudnn(const lk_call *c)
{
    const cudnn_pass<T> a(c, true);
    const lki_heads *h = &a.p->h;
    const bool turned = a.p->turns != NULL;
    T *const dq = (T *)(c->dx[0] != NULL ? c->dx[0] : a.r.spare_q), *const dkv = (T *)(c->dx[h->kv_in] != NULL ? c->dx[h->kv_in] : a.r.spare_kv);

    LK_TRY(a.turn());
    LK_TRY(lki_attention_cudnn_backward(a.p->back, (float)h->scale, a.q, a.k, a.v, c->y, (const float *)c->saved, c->dy, turned ? a.r.dq : dq, turned ? a.r.dk : dkv + h->k_at, dkv + h->v_at, a.r.work));
    if (turned) {
        LK_TRY(a.m.take(false, (const T *)a.r.dq, h->q_row, 0, true, dq));
        LK_TRY(a.m.take(true, (const T *)a.r.dk, h->kv_row, h->k_at, true, dkv));
    }
    for (int i = 0; i <= h->kv_in; i++)
        LK_TRY(without_padding<T>(c, &c->spec->in[i], c->dx[i]));
    return LK_OK;
}

/* ---- the operation ---- */
template <class T> static lk_status forward(const lk_call *c)
{
    const plan_state *p = (const plan_state *)c->state;
    return p->fused ? fused_run<T>(c, p->h, p->turns, false) : p->ahead != NULL ? forward_cudnn<T>(c) : forward_products<T>(c);
}

template <class T> static lk_status backward(const lk_call *c)
{
    const plan_state *p = (const plan_state *)c->state;
    if (c->dx[0] == NULL && c->dx[p->h.kv_in] == NULL)
        return LK_OK;
    return p->fused ? fused_run<T>(c, p->h, p->turns, true) : p->back != NULL ? backward_cudnn<T>(c) : backward_products<T>(c);
}

template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .plan = plan<T>,
    .forward = forward<T>,
    .backward = backward<T>,
    .destroy = destroy};

LKI_KERNELS(attention, kernel);
