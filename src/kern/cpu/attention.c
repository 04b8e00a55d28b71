/* attention in blocks of queries and keys, so that no matrix of all queries by all keys ever stands in memory: a running
 * maximum and sum for each query (Rabe & Staats 2021, "Self-attention does not need O(n^2) memory"), kept as the log of
 * the sum for backward, which works the probabilities out again (Dao et al. 2022, FlashAttention, algorithms 1 and 4).
 * Keys, and values for backward, are turned on their side once for each sample and head of keys, so that the lanes of a
 * vector are neighbouring keys. All sums over keys go from the first block to the last, over queries and the heads of a
 * group likewise. Saved: log of the sum of exponentials, [B,H,T]. */
#include "base/mem.h"
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/lanes.h"
#include <math.h>
#include <string.h>

enum { QUERIES = 32, KEYS = 256 /* of a block */ };

/* Cosines of all places and pairs [places][d/2], then sines. */
static lk_status rotary_make(const lki_heads *h, float **out)
{
    const int64_t half = h->d / 2, n = (h->t > h->s ? h->t : h->s) * half;
    float *turn = NULL;
    LK_TRY(lk_alloc_array(2 * n, sizeof *turn, "rotary positions", &turn));
    for (int64_t i = 0; i < n; i++) {
        const double angle = lki_rotary_angle(i / half, i % half, h->d);
        turn[i] = (float)cos(angle);
        turn[n + i] = (float)sin(angle);
    }
    *out = turn;
    return LK_OK;
}

static void destroy(void *state)
{
    lk_free(state);
}

/* ---- scratch ---- */
typedef struct room {
    size_t bytes;
    float *k, *k_side, *v_side; /* [keys][d], turned by place; on their side: [d][keys] */
    float *q; /* [QUERIES][d], turned and scaled */
    float *p, *dp; /* [QUERIES][KEYS] */
    float *top, *sum; /* [QUERIES]: the largest so far and the sum of exponentials; backward: log of the sum, mean of dp */
    uint32_t *word; /* [QUERIES][KEYS] */
} room;

/* The next n floats behind `bytes`; NULL where there is no base yet. */
static void *cut(char *base, size_t *bytes, int64_t n)
{
    void *const p = base ? base + *bytes : NULL;
    *bytes += lki_floats(n);
    return p;
}

static room room_make(const lki_heads *h, bool back, bool drop, char *base)
{
    room r = {0};
    r.k = cut(base, &r.bytes, h->s * h->d);
    r.k_side = cut(base, &r.bytes, h->s * h->d);
    if (back)
        r.v_side = cut(base, &r.bytes, h->s * h->d);
    r.q = cut(base, &r.bytes, QUERIES * h->d);
    r.p = cut(base, &r.bytes, QUERIES * KEYS);
    if (back)
        r.dp = cut(base, &r.bytes, QUERIES * KEYS);
    r.top = cut(base, &r.bytes, QUERIES);
    r.sum = cut(base, &r.bytes, QUERIES);
    if (drop)
        r.word = cut(base, &r.bytes, QUERIES * KEYS);
    return r;
}

static bool drops(const lk_opspec *s)
{
    return s->training && s->attr.attention.rate > 0;
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const lki_heads h = lki_heads_of(s);
    float *turn = NULL;
    if (s->attr.attention.rotary)
        LK_TRY(rotary_make(&h, &turn));
    *out = (lk_kern_plan){.state = turn,
        .saved_bytes = s->training ? lki_floats(h.batch * h.heads * h.t) : 0,
        .scratch_forward = room_make(&h, false, drops(s), NULL).bytes,
        .scratch_backward = room_make(&h, true, drops(s), NULL).bytes};
    return LK_OK;
}

/* ---- vectors of heads ---- */
/* n vectors from place t on, at a distance of `from_row`, turned by their places (side -1: back) and scaled, to `to`,
 * which may be `from`. */
LK_CLONES static void turn(const lki_heads *h, const float *table, float side, float scale, int64_t t, int64_t n,
    const float *from, int64_t from_row, float *to, int64_t to_row)
{
    const int64_t half = h->d / 2, all = (h->t > h->s ? h->t : h->s) * half;
    for (int64_t r = 0; r < n; r++, from += from_row, to += to_row) {
        if (!table) {
            LK_INDEPENDENT
            for (int64_t i = 0; i < h->d; i++)
                to[i] = from[i] * scale;
            continue;
        }
        const float *const cosine = table + (t + r) * half, *const sine = cosine + all;
        LK_INDEPENDENT
        for (int64_t i = 0; i < half; i++) {
            const float a = from[i], b = from[i + half];
            to[i] = (a * cosine[i] - side * b * sine[i]) * scale;
            to[i + half] = (b * cosine[i] + side * a * sine[i]) * scale;
        }
    }
}

/* ---- rows of a block, at a distance of KEYS ---- */
/* In all of these, row r of `rows` has its first max(0, min(n, first + r * step)) numbers: the keys that its query sees. */
typedef struct seen {
    int64_t rows, n, first, step;
} seen;

LK_INLINE int64_t seen_of(const seen *s, int64_t r)
{
    const int64_t n = s->first + r * s->step;
    return n < 0 ? 0 : n < s->n ? n : s->n;
}

typedef int32_t mask __attribute__((vector_size(64)));

/* v[.] = the larger of the two; by pointers, since wide vectors are not passed alike by all sets of instructions. */
LK_INLINE void keep_larger(lki_vec *v, const lki_vec *w)
{
    const mask above = *w > *v;
    *v = (lki_vec)(((mask)*w & above) | ((mask)*v & ~above));
}

/* The largest of `before` and n numbers, a whole number of vectors. A NaN that this passes by comes back through the sum. */
LK_INLINE float largest(int64_t n, const float *x, float before)
{
    lki_vec v = before - (lki_vec){0}, w;
    for (int64_t i = 0; i < n; i += LKI_LANES) {
        w = LKI_VEC(x + i);
        keep_larger(&v, &w);
    }
    w = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    keep_larger(&v, &w);
    w = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
    keep_larger(&v, &w);
    w = __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
    keep_larger(&v, &w);
    return v[0] > v[1] ? v[0] : v[1];
}

/* Scores to exponentials, 0 behind a row's own; top and sum go on from the blocks before, whose share of y [d], at a
 * distance of y_row, is brought to the new maximum. */
LK_CLONES static void softmax_rows(
    const seen *s, float *restrict p, float *restrict top, float *restrict sum, float *restrict y, int64_t y_row, int64_t d)
{
    for (int64_t r = 0; r < s->rows; r++, p += KEYS, y += y_row) {
        const int64_t n = seen_of(s, r), wide = (n + LKI_LANES - 1) / LKI_LANES * LKI_LANES;
        for (int64_t i = n; i < wide; i++)
            p[i] = -INFINITY;
        const float high = largest(wide, p, top[r]);
        for (int64_t i = 0; i < wide; i++)
            p[i] = lki_exp(p[i] - high);
        for (int64_t i = n; i < wide || i < s->n; i++)
            p[i] = 0;
        float part;
        LKI_RUN_SUM(part, wide, LKI_VEC(p + i), p[i]);
        const float before = high > top[r] ? lki_exp(top[r] - high) : 1;
        sum[r] = sum[r] * before + part;
        if (before != 1)
            for (int64_t i = 0; i < d; i++)
                y[i] *= before;
        top[r] = high;
    }
}

/* y over the sum, 0 where no key was seen; log of the sum of exponentials to lse, if there is one. */
LK_CLONES static void finish_rows(
    int64_t rows, const float *top, const float *sum, float *restrict y, int64_t y_row, int64_t d, float *lse)
{
    for (int64_t r = 0; r < rows; r++, y += y_row) {
        const float factor = sum[r] == 0 ? 0 : 1 / sum[r];
        for (int64_t i = 0; i < d; i++)
            y[i] *= factor;
        if (lse)
            lse[r] = sum[r] == 0 ? 0 : top[r] + logf(sum[r]);
    }
}

/* Drops by words, and scales the rest. */
LK_CLONES static void drop_rows(
    const seen *s, uint32_t limit, float scale, const uint32_t *restrict word, int64_t word_row, float *restrict p)
{
    for (int64_t r = 0; r < s->rows; r++, p += KEYS, word += word_row)
        for (int64_t i = 0; i < s->n; i++)
            p[i] = word[i] >= limit ? p[i] * scale : 0;
}

/* Scores p and gradients dp of the dropped probabilities, to: p the dropped probabilities, dp the scores' gradient.
 * word NULL: nothing is dropped. */
LK_CLONES static void gradient_rows(const seen *s, const float *restrict lse, const float *restrict mean, uint32_t limit,
    float scale, const uint32_t *restrict word, int64_t word_row, float *restrict p, float *restrict dp)
{
    for (int64_t r = 0; r < s->rows; r++, p += KEYS, dp += KEYS) {
        const int64_t n = seen_of(s, r);
        if (word) {
            for (int64_t i = 0; i < n; i++) {
                const float e = lki_exp(p[i] - lse[r]), keep = word[i] >= limit ? scale : 0;
                p[i] = e * keep;
                dp[i] = e * (dp[i] * keep - mean[r]);
            }
            word += word_row;
        } else {
            const int64_t wide = lki_min((n + LKI_LANES - 1) / LKI_LANES * LKI_LANES, KEYS);
            for (int64_t i = 0; i < wide; i++) { /* beyond n nobody reads, or it is made 0 below */
                const float e = lki_exp(p[i] - lse[r]);
                p[i] = e;
                dp[i] = e * (dp[i] - mean[r]);
            }
        }
        for (int64_t i = n; i < s->n; i++)
            p[i] = dp[i] = 0;
    }
}

/* out[r] = sum over i < d of a[r][i] b[r][i] */
LK_CLONES static void dot_rows(int64_t rows, int64_t d, const float *a, const float *b, int64_t row, float *out)
{
    for (int64_t r = 0; r < rows; r++, a += row, b += row) {
        LKI_RUN_SUM(out[r], d, LKI_VEC(a + i) * LKI_VEC(b + i), a[i] * b[i]);
    }
}

/* ---- passes ---- */
/* A call with what follows from it. */
typedef struct pass {
    const lk_call *c;
    lki_heads h;
    room r;
    const lki_tiles *tiles;
    bool causal, drops;
    lk_rng stream;
    uint32_t limit; /* drops below */
    float keep; /* else times this */
} pass;

static pass pass_make(const lk_call *c, bool back)
{
    const lk_attr_attention *const a = &c->spec->attr.attention;
    pass p = {.c = c, .h = lki_heads_of(c->spec), .tiles = lki_tiles_get(), .causal = a->causal, .drops = drops(c->spec)};
    p.r = room_make(&p.h, back, p.drops, c->scratch);
    if (p.drops) {
        const uint64_t limit = lki_dropout_limit(a->rate);
        p.stream = lki_dropout_stream(c->spec, c->micro);
        p.limit = limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
        p.keep = limit > UINT32_MAX ? 0 : (float)(1 / (1 - a->rate)); /* a rate that is 1 but for a rounding */
    }
    return p;
}

/* Keys of this sample. */
static lk_status pass_keys(const pass *p, int64_t b, int64_t *n)
{
    return lki_keys(&p->h, p->c->micro, p->h.lengths_in < 0 ? NULL : p->c->x[p->h.lengths_in], b, n);
}

/* Words of queries i0 and on for keys j0 and on; returns the distance of the rows. Rows that one block of keys holds are
 * drawn together. */
static int64_t draw(const pass *p, int64_t b, int64_t head, int64_t i0, int64_t rows, int64_t j0, int64_t n)
{
    const uint64_t sample = (uint64_t)p->c->micro->sample[b];
    const int64_t row = (p->h.s + 3) / 4 * 4;
    if (row <= KEYS) {
        lk_rng_fill(p->stream, sample, lki_probability_word(&p->h, head, i0), rows * row, p->r.word);
        return row;
    }
    for (int64_t r = 0; r < rows; r++)
        lk_rng_fill(p->stream, sample, lki_probability_word(&p->h, head, i0 + r) + (uint64_t)j0, n, p->r.word + r * KEYS);
    return KEYS;
}

/* Keys of a sample and a head of keys, turned, and on their side. */
static void keys_ready(const pass *p, const float *k, int64_t keys)
{
    turn(&p->h, p->c->state, 1, 1, 0, keys, k, p->h.kv_row, p->r.k, p->h.d);
    lki_transpose(keys, p->h.d, p->r.k, p->r.k_side);
}

/* The block of queries i0 and on, turned and scaled. */
static void queries_ready(const pass *p, const float *q, int64_t i0, int64_t rows)
{
    turn(&p->h, p->c->state, 1, (float)p->h.scale, i0, rows, q + i0 * p->h.q_row, p->h.q_row, p->r.q, p->h.d);
}

/* What rows of queries i0 and on see of the keys j0 to j1. */
static seen seen_make(const pass *p, int64_t i0, int64_t rows, int64_t j0, int64_t j1)
{
    const int64_t n = j1 - j0;
    return p->causal ? (seen){rows, n, i0 + 1 - j0, 1} : (seen){rows, n, n, 0};
}

/* Keys that the last of the queries before i1 sees. */
static int64_t reach(const pass *p, int64_t i1, int64_t keys)
{
    return p->causal ? lki_min(i1, keys) : keys;
}

static void forward_head(const pass *p, int64_t b, int64_t head, const float *q, const float *v, int64_t keys)
{
    const lki_heads *const h = &p->h;
    const room *const r = &p->r;
    const int64_t y_row = h->heads * h->d;
    float *const lse = p->c->saved ? (float *)p->c->saved + (b * h->heads + head) * h->t : NULL;
    for (int64_t i0 = 0; i0 < h->t; i0 += QUERIES) {
        const int64_t rows = lki_min(QUERIES, h->t - i0), end = reach(p, i0 + rows, keys);
        float *const y = (float *)p->c->y + (b * h->t + i0) * y_row + head * h->d;
        queries_ready(p, q, i0, rows);
        for (int64_t i = 0; i < rows; i++) {
            r->top[i] = -INFINITY;
            r->sum[i] = 0;
            memset(y + i * y_row, 0, (size_t)h->d * sizeof *y);
        }
        for (int64_t j0 = 0; j0 < end; j0 += KEYS) {
            const int64_t n = lki_min(KEYS, end - j0);
            const seen s = seen_make(p, i0, rows, j0, j0 + n);
            lki_gemm_nn(p->tiles, rows, n, h->d, r->q, h->d, 1, r->k_side + j0, keys, r->p, KEYS, false);
            softmax_rows(&s, r->p, r->top, r->sum, y, y_row, h->d);
            if (p->drops) {
                const int64_t word_row = draw(p, b, head, i0, rows, j0, n);
                drop_rows(&s, p->limit, p->keep, r->word, word_row, r->p);
            }
            lki_gemm_nn(p->tiles, rows, h->d, n, r->p, KEYS, 1, v + j0 * h->kv_row, h->kv_row, y, y_row, true);
        }
        finish_rows(rows, r->top, r->sum, y, y_row, h->d, lse ? lse + i0 : NULL);
    }
}

static lk_status forward(const lk_call *c)
{
    const pass p = pass_make(c, false);
    const lki_heads *const h = &p.h;
    const int64_t per_group = h->heads / h->kv_heads;
    int64_t keys;
    for (int64_t b = 0; b < h->batch; b++) {
        LK_TRY(pass_keys(&p, b, &keys));
        for (int64_t head = 0; head < h->heads; head++) {
            const float *const q = (const float *)c->x[0] + b * h->t * h->q_row + head * h->d;
            const float *const kv = (const float *)c->x[h->kv_in] + b * h->s * h->kv_row + head / per_group * h->d;
            if (head % per_group == 0)
                keys_ready(&p, kv + h->k_at, keys);
            forward_head(&p, b, head, q, kv + h->v_at, keys);
        }
    }
    return LK_OK;
}

/* Adds to dq, dk and dv, of which those may be NULL that nobody asks for. */
static void backward_head(const pass *p, int64_t b, int64_t head, const float *q, int64_t keys, float *dq, float *dk, float *dv)
{
    const lki_heads *const h = &p->h;
    const room *const r = &p->r;
    const int64_t y_row = h->heads * h->d;
    const float *const lse = (const float *)p->c->saved + (b * h->heads + head) * h->t;
    for (int64_t i0 = 0; i0 < h->t; i0 += QUERIES) {
        const int64_t rows = lki_min(QUERIES, h->t - i0), end = reach(p, i0 + rows, keys);
        const int64_t at = (b * h->t + i0) * y_row + head * h->d;
        const float *const dy = (const float *)p->c->dy + at;
        queries_ready(p, q, i0, rows);
        dot_rows(rows, h->d, dy, (const float *)p->c->y + at, y_row, r->sum);
        for (int64_t j0 = 0; j0 < end; j0 += KEYS) {
            const int64_t n = lki_min(KEYS, end - j0);
            const seen s = seen_make(p, i0, rows, j0, j0 + n);
            const int64_t word_row = p->drops ? draw(p, b, head, i0, rows, j0, n) : 0;
            lki_gemm_nn(p->tiles, rows, n, h->d, r->q, h->d, 1, r->k_side + j0, keys, r->p, KEYS, false);
            lki_gemm_nn(p->tiles, rows, n, h->d, dy, y_row, 1, r->v_side + j0, keys, r->dp, KEYS, false);
            gradient_rows(&s, lse + i0, r->sum, p->limit, p->keep, r->word, word_row, r->p, r->dp);
            if (dq)
                lki_gemm_nn(p->tiles, rows, h->d, n, r->dp, KEYS, 1, r->k + j0 * h->d, h->d, dq + i0 * h->q_row,
                    h->q_row, true);
            if (dk) {
                lki_gemm_nn(
                    p->tiles, n, h->d, rows, r->dp, 1, KEYS, r->q, h->d, dk + j0 * h->kv_row, h->kv_row, true);
                lki_gemm_nn(p->tiles, n, h->d, rows, r->p, 1, KEYS, dy, y_row, dv + j0 * h->kv_row, h->kv_row, true);
            }
        }
    }
    if (dq)
        turn(h, p->c->state, -1, (float)h->scale, 0, h->t, dq, h->q_row, dq, h->q_row);
}

static lk_status backward(const lk_call *c)
{
    const pass p = pass_make(c, true);
    const lki_heads *const h = &p.h;
    const int64_t per_group = h->heads / h->kv_heads;
    int64_t keys;
    if (!c->dx[0] && !c->dx[h->kv_in])
        return LK_OK;
    for (int i = 0; i <= h->kv_in; i++)
        if (c->dx[i])
            memset(c->dx[i], 0, (size_t)lk_shape_count(&c->spec->in[i]) * sizeof(float));
    for (int64_t b = 0; b < h->batch; b++) {
        LK_TRY(pass_keys(&p, b, &keys));
        for (int64_t head = 0; head < h->heads; head++) {
            const int64_t q_at = b * h->t * h->q_row + head * h->d;
            const int64_t kv_at = b * h->s * h->kv_row + head / per_group * h->d;
            const float *const kv = (const float *)c->x[h->kv_in] + kv_at;
            float *const dq = c->dx[0] ? (float *)c->dx[0] + q_at : NULL;
            float *const dkv = c->dx[h->kv_in] ? (float *)c->dx[h->kv_in] + kv_at : NULL;
            float *const dk = dkv ? dkv + h->k_at : NULL, *const dv = dkv ? dkv + h->v_at : NULL;
            if (head % per_group == 0) {
                turn(h, NULL, 1, 1, 0, keys, kv + h->v_at, h->kv_row, p.r.k, h->d);
                lki_transpose(keys, h->d, p.r.k, p.r.v_side);
                keys_ready(&p, kv + h->k_at, keys);
            }
            backward_head(&p, b, head, (const float *)c->x[0] + q_at, keys, dq, dk, dv);
            if (dk && c->state && head % per_group == per_group - 1)
                turn(h, c->state, -1, 1, 0, keys, dk, h->kv_row, dk, h->kv_row);
        }
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_attention = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .destroy = destroy};
