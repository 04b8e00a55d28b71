/* attention: softmax(scale q k^T) v in several heads (Vaswani et al. 2017, section 3.2), with grouped queries (Ainslie et
 * al. 2023), causal, and with keys masked by the sequences' lengths. A query that sees no key gives 0. */
#include "kern/kern_int.h"
#include <inttypes.h>
#include <math.h>

/* The inputs by their number and kind, and what their last dimensions make a head. */
lk_status lki_heads_check(const lk_opspec *s, lki_heads *out)
{
    const lk_attr_attention *const a = &s->attr.attention;
    char q[LK_SHAPE_TEXT], kv[LK_SHAPE_TEXT];
    lki_heads h = {.heads = a->heads, .kv_heads = a->kv_heads ? a->kv_heads : a->heads, .lengths_in = -1};

    if (h.heads < 1 || h.kv_heads < 1 || h.heads > 1 << 20 || h.heads % h.kv_heads != 0)
        return LK_FAIL(LK_E_RANGE,
            "heads %" PRId64 ", kv_heads %" PRId64 ": both must be at least 1, and kv_heads divide heads", h.heads,
            h.kv_heads);
    LK_TRY(lki_input_check(s, 0, 3, 3, "[batch, places, features]"));
    h.kv_in = s->n_in > 1 && s->in_dtype[1] == LK_DT_REAL;
    if (s->n_in > 1 + h.kv_in)
        h.lengths_in = 1 + h.kv_in;
    if (s->n_in > 2 + h.kv_in)
        return LK_FAIL(LK_E_SHAPE, "takes packed queries, keys and values, or queries and packed keys and values, and lengths");

    const lk_shape *const in = &s->in[0], *const pair = &s->in[h.kv_in];
    const int64_t parts = h.kv_in ? h.heads : h.heads + 2 * h.kv_heads;
    h.batch = in->dim[0];
    h.t = in->dim[1];
    h.q_row = in->dim[2];
    h.d = h.q_row / parts;
    if (h.q_row % parts != 0)
        return LK_FAIL(LK_E_SHAPE, "input %s: the last dimension must be a multiple of %" PRId64 " (%s)",
            lk_shape_print(in, q), parts, h.kv_in ? "heads" : "heads + 2 kv_heads");
    if (h.kv_in) {
        LK_TRY(lki_input_check(s, 1, 3, 3, "[batch, places, features]"));
        if (pair->dim[0] != h.batch || pair->dim[2] != 2 * h.kv_heads * h.d)
            return LK_FAIL(LK_E_SHAPE,
                "queries %s and keys with values %s do not fit: these must be [%" PRId64 ",places,%" PRId64 "]",
                lk_shape_print(in, q), lk_shape_print(pair, kv), h.batch, 2 * h.kv_heads * h.d);
    }
    h.s = pair->dim[1];
    h.kv_row = pair->dim[2];
    h.k_at = h.kv_in ? 0 : h.heads * h.d;
    h.v_at = h.k_at + h.kv_heads * h.d;
    if (h.lengths_in > 0) {
        LK_TRY(lki_ids_check(s, h.lengths_in, 1, 1, "lengths", "[batch]"));
        if (s->in[h.lengths_in].dim[0] != h.batch)
            return LK_FAIL(LK_E_SHAPE, "input %s and lengths %s do not fit: one length a sample",
                lk_shape_print(in, q), lk_shape_print(&s->in[h.lengths_in], kv));
    }
    if (a->rotary && h.d % 2 != 0)
        return LK_FAIL(LK_E_SHAPE, "rotary turns pairs of numbers, but a head has %" PRId64, h.d);
    if (!(a->scale >= 0 && a->scale <= 1e6))
        return LK_FAIL(LK_E_RANGE, "scale is %g, must be in [0, 1e6] (0: by the size of a head)", a->scale);
    if (!(a->rate >= 0 && a->rate < 1))
        return LK_FAIL(LK_E_RANGE, "rate is %g, must be in [0, 1)", a->rate);
    h.scale = a->scale > 0 ? a->scale : 1 / sqrt((double)h.d);
    *out = h;
    return LK_OK;
}

lki_heads lki_heads_of(const lk_opspec *s)
{
    lki_heads h = {0};
    const lk_status st = lki_heads_check(s, &h);
    (void)st; /* infer has passed the same spec */
    return h;
}

lk_status lki_keys(const lki_heads *h, const lk_micro *m, const int64_t *lengths, int64_t b, int64_t *n)
{
    *n = b < m->valid ? h->s : 0;
    if (!lengths || b >= m->valid)
        return LK_OK;
    if (lengths[b] < 0 || lengths[b] > h->s)
        return lki_length_fail(m, b, lengths[b], h->s);
    *n = lengths[b];
    return LK_OK;
}

uint64_t lki_probability_word(const lki_heads *h, int64_t head, int64_t i)
{
    return (uint64_t)(head * h->t + i) * (uint64_t)((h->s + 3) / 4 * 4);
}

double lki_rotary_angle(int64_t t, int64_t c, int64_t d)
{
    return (double)t * pow(10000, -2 * (double)c / (double)d);
}

static lk_status infer(lk_opspec *s)
{
    lki_heads h;
    LK_TRY(lki_heads_check(s, &h));
    s->out = (lk_shape){3, {h.batch, h.t, h.heads * h.d}};
    s->n_params = 0;
    return LK_OK;
}

/* Backward works the probabilities out again from the inputs, and their gradient's mean from y. */
static unsigned needs(const lk_opspec *s)
{
    (void)s;
    return LK_NEEDS_X | LK_NEEDS_Y;
}

/* Two products; causal, half of them. */
static double flops(const lk_opspec *s)
{
    const lki_heads h = lki_heads_of(s);
    return 4.0 * (double)lk_shape_count(&s->out) * (double)h.s * (s->attr.attention.causal ? 0.5 : 1);
}

const lk_opinfo lk_op_attention = {
    .name = "attention", .n_in = 1, .n_optional = 2, .infer = infer, .needs = needs, .flops = flops, .stream = lki_dropout_stream};
