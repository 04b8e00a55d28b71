/* attention: what its kernels share. How many keys a query sees, which probabilities dropout keeps, how a head's numbers move between the
 * packed rows of a sequence and rows of their own. */
#ifndef LK_KERN_CUDA_ATTENTION_CUH
#define LK_KERN_CUDA_ATTENTION_CUH

#include "kern/cuda/lengths.cuh"

/* What attention works on: `group` heads of queries share a head of keys; such a head of a sample is a unit, of which there are batch times
 * kv_heads. */
typedef struct attention_shape {
    int batch, t, s, heads, kv_heads, group, d;
    bool causal;
} attention_shape;

static inline attention_shape attention_shape_of(const lk_opspec *spec, const lki_heads *h)
{
    return {(int)h->batch, (int)h->t, (int)h->s, (int)h->heads, (int)h->kv_heads, (int)(h->heads / h->kv_heads), (int)h->d,
        spec->attr.attention.causal};
}

/* Keys of each sample that count. */
static inline row_lengths attention_keys_of(const lk_call *c, const lki_heads &h)
{
    return row_lengths_of(c, h.lengths_in, h.s);
}

/* ---- dropout ---- */
typedef struct attention_drop {
    const uint32_t *key;
    uint32_t limit; /* drops words below */
    float keep;     /* else times this */
} attention_drop;

static inline bool drops(const lk_opspec *s)
{
    return s->training && s->attr.attention.rate > 0;
}

static inline attention_drop attention_drop_of(const lk_call *c)
{
    const double rate = c->spec->attr.attention.rate;
    const uint64_t limit = lki_dropout_limit(rate);

    if (!drops(c->spec))
        return {NULL, 0, 1};
    return {c->key, limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit,
        limit > UINT32_MAX ? 0.0f : (float)(1 / (1 - rate))}; /* a rate that is 1 but for a rounding */
}

/* The words of probabilities (head, i, j) to (head, i, j + 3), j a multiple of 4: lki_probability_word. */
static __device__ inline words4 probability_words(
    const attention_drop &drop, const attention_shape &a, const lk_live *live, int b, int head, int i, int j)
{
    const uint64_t row = (uint64_t)((int64_t)head * a.t + i) * (uint64_t)((a.s + 3) / 4);
    return random_block(drop.key, (uint64_t)live->sample[b], row + (uint64_t)(j / 4));
}

static __device__ inline float kept(const attention_drop &drop, uint32_t word)
{
    return word >= drop.limit ? drop.keep : 0.0f;
}

/* ---- rows of their own ---- */
/* Packed rows of sequences: [batch][places][row], the numbers of head `head` from `at` + head d on. */
template <class T> struct packed_heads {
    T *base;
    int64_t row, at;
    int places, of; /* heads of such numbers a unit */
};

/* Where rows of their own are from: [units][blocks][of][rows][width] from unit `first` on, a block the next `rows` places. */
typedef struct own_rows {
    int first, blocks, rows, width;
} own_rows;

typedef struct own_place {
    int b, head, place; /* b is beyond the batch in units that only fill up */
} own_place;

static __device__ inline own_place own_place_of(const own_rows &o, int of, int kv_heads, uint32_t r)
{
    const uint32_t block_row = r / (uint32_t)o.rows, in_block = r % (uint32_t)o.rows;
    const uint32_t unit_block = block_row / (uint32_t)of, head = block_row % (uint32_t)of;
    const uint32_t unit = unit_block / (uint32_t)o.blocks + (uint32_t)o.first, block = unit_block % (uint32_t)o.blocks;

    return {(int)(unit / (uint32_t)kv_heads), (int)(unit % (uint32_t)kv_heads) * of + (int)head,
        (int)(block * (uint32_t)o.rows + in_block)};
}

/* Element e of a vector at place `t`, and its partner, e -+ d/2, that it is turned with (lki_rotary_angle): side 1, or back: -1. */
typedef struct rotary_table {
    const float *cosine, *sine; /* [places][d/2]; NULL: nothing turns */
} rotary_table;

/* `turns`: cosines of all places and pairs, then sines; or NULL. */
static inline rotary_table rotary_table_of(const lki_heads &h, const float *turns)
{
    return {turns, turns != NULL ? turns + (h.t > h.s ? h.t : h.s) * (h.d / 2) : NULL};
}

static __device__ inline float turned(const rotary_table &table, float side, int d, int t, int e, float own, float partner)
{
    const int pairs = d / 2, c = e < pairs ? e : e - pairs;
    const float cosine = table.cosine[(int64_t)t * pairs + c], sine = table.sine[(int64_t)t * pairs + c];
    return own * cosine + (e < pairs ? -side : side) * partner * sine;
}

/* n elements a thread: packed to rows of their own, turned; 0 in what is beyond the sequence, the keys that count (`keys`), or d. */
template <class T, int n> struct bring_heads {
    attention_shape a;
    row_lengths rows;
    bool keys; /* else queries, all of which count */
    int node;
    packed_heads<const T> from;
    own_rows own;
    rotary_table table;
    T *to;
    __device__ void operator()(int64_t i) const
    {
        const uint32_t wide = (uint32_t)(own.width / n), at = (uint32_t)i;
        const own_place p = own_place_of(own, from.of, a.kv_heads, at / wide);
        const int e = (int)(at % wide) * n;
        vec<T, n> v;

        for (int k = 0; k < n; k++)
            v.at[k] = from_float<T>(0);
        if (keys && e == 0 && p.place == 0 && p.head == 0 && p.b < a.batch)
            rows.check(p.b, node);
        if (e < a.d && p.b < a.batch && p.place < (keys ? (int)rows.of(p.b) : from.places)) {
            const T *const head = from.base + ((int64_t)p.b * from.places + p.place) * from.row + from.at + (int64_t)p.head * a.d;
            v = load_vec<n>(head + e);
            if (table.cosine != NULL) {
                const vec<T, n> other = load_vec<n>(head + (e < a.d / 2 ? e + a.d / 2 : e - a.d / 2));
                for (int k = 0; k < n; k++)
                    v.at[k] = from_float<T>(turned(table, 1, a.d, p.place, e + k, to_float(v.at[k]), to_float(other.at[k])));
            }
        }
        store_vec(to + i * n, v);
    }
};

/* The way back, turned back; 0 from place `filled` on. */
template <class F, class T, int n> struct take_heads {
    attention_shape a;
    int filled;
    const F *from;
    own_rows own;
    rotary_table table;
    packed_heads<T> to;
    __device__ void operator()(int64_t i) const
    {
        const uint32_t wide = (uint32_t)(own.width / n), at = (uint32_t)i, r = at / wide;
        const own_place p = own_place_of(own, to.of, a.kv_heads, r);
        const int e = (int)(at % wide) * n;

        if (e >= a.d || p.b >= a.batch || p.place >= to.places)
            return;
        const F *const head = from + (int64_t)r * own.width;
        vec<F, n> v = {}, other = {};
        vec<T, n> out;
        if (p.place < filled) {
            v = load_vec<n>(head + e);
            if (table.cosine != NULL)
                other = load_vec<n>(head + (e < a.d / 2 ? e + a.d / 2 : e - a.d / 2));
        }
        for (int k = 0; k < n; k++) {
            const float x = to_float(v.at[k]);
            out.at[k] = from_float<T>(table.cosine != NULL ? turned(table, -1, a.d, p.place, e + k, x, to_float(other.at[k])) : x);
        }
        store_vec(to.base + ((int64_t)p.b * to.places + p.place) * to.row + to.at + (int64_t)p.head * a.d + e, out);
    }
};

#endif
