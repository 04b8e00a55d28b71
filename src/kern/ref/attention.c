/* attention, for each sample and head: y[i] = sum_j m[i,j] p[i,j] v[j], p[i,.] the softmax over the keys that i sees of
 * scale q'[i] k'[j], q' and k' turned by their places if rotary, m 0 or 1/(1-rate) in training, else 1.
 * Backward: dp[i,j] = m[i,j] dy[i] v[j]; ds = p (dp - sum_j p dp); dq'[i] = scale sum_j ds k'[j]; dk'[j] = scale sum_i ds q'[i];
 * dv[j] = sum_i m p dy[i]; dq, dk turned back. */
#include "kern/ref/ref_int.h"
#include <math.h>
#include <string.h>

/* One row of keys' numbers twice: probabilities; their gradient. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const size_t row = (size_t)lki_heads_of(s).s * sizeof(double);
    *out = (lk_kern_plan){.scratch_forward = row, .scratch_backward = 2 * row};
    return LK_OK;
}

/* Element e of a head's vector at place t, turned; side -1: turned back. */
static double turned(const lk_opspec *s, const double *v, int64_t t, int64_t e, int64_t d, double side)
{
    if (!s->attr.attention.rotary)
        return v[e];
    const int64_t half = d / 2, c = e % half;
    const double angle = lki_rotary_angle(t, c, d);
    return e < half ? v[c] * cos(angle) - side * v[c + half] * sin(angle)
                    : v[c + half] * cos(angle) + side * v[c] * sin(angle);
}

/* Keys that query i sees. */
static int64_t seen(const lk_opspec *s, int64_t i, int64_t keys)
{
    return s->attr.attention.causal && i + 1 < keys ? i + 1 : keys;
}

static void probabilities(
    const lk_opspec *s, const lki_heads *h, const double *q, const double *k, int64_t i, int64_t n, double *p)
{
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        p[j] = 0;
        for (int64_t e = 0; e < h->d; e++)
            p[j] += turned(s, q, i, e, h->d, 1) * turned(s, k + j * h->kv_row, j, e, h->d, 1);
        p[j] *= h->scale;
        top = fmax(top, p[j]);
    }
    for (int64_t j = 0; j < n; j++) {
        p[j] = exp(p[j] - top);
        sum += p[j];
    }
    for (int64_t j = 0; j < n; j++)
        p[j] /= sum;
}

/* What dropout multiplies probability (head, i, j) of sample b by. */
static double kept(const lk_call *c, const lki_heads *h, int64_t b, int64_t head, int64_t i, int64_t j)
{
    const double rate = c->spec->attr.attention.rate;
    if (!c->spec->training || rate == 0)
        return 1;
    uint32_t word[4];
    const uint64_t at = lki_probability_word(h, head, i) + (uint64_t)j;
    lk_rng_block(lki_dropout_stream(c->spec, c->micro), (uint64_t)c->micro->sample[b], at / 4, word);
    return word[at % 4] < lki_dropout_limit(rate) ? 0 : 1 / (1 - rate);
}

static const int64_t *lengths_of(const lk_call *c, const lki_heads *h)
{
    return h->lengths_in < 0 ? NULL : c->x[h->lengths_in];
}

static lk_status forward(const lk_call *c)
{
    const lki_heads h = lki_heads_of(c->spec);
    double *const p = c->scratch;
    int64_t keys;

    for (int64_t b = 0; b < h.batch; b++) {
        LK_TRY(lki_keys(&h, c->micro, lengths_of(c, &h), b, &keys));
        for (int64_t head = 0; head < h.heads; head++) {
            const int64_t group = head / (h.heads / h.kv_heads);
            const double *const q = (const double *)c->x[0] + b * h.t * h.q_row + head * h.d;
            const double *const kv = (const double *)c->x[h.kv_in] + b * h.s * h.kv_row + group * h.d;
            for (int64_t i = 0; i < h.t; i++) {
                double *const y = (double *)c->y + ((b * h.t + i) * h.heads + head) * h.d;
                const int64_t n = seen(c->spec, i, keys);
                memset(y, 0, (size_t)h.d * sizeof *y);
                probabilities(c->spec, &h, q + i * h.q_row, kv + h.k_at, i, n, p);
                for (int64_t j = 0; j < n; j++)
                    for (int64_t e = 0; e < h.d; e++)
                        y[e] += kept(c, &h, b, head, i, j) * p[j] * kv[h.v_at + j * h.kv_row + e];
            }
        }
    }
    return LK_OK;
}

/* Turns the vectors of `heads` heads from v on, at each place of each sample, back. */
static void turn_back(const lk_opspec *s, const lki_heads *h, double *v, int64_t places, int64_t row, int64_t heads)
{
    for (int64_t p = 0; v && s->attr.attention.rotary && p < h->batch * places; p++)
        for (int64_t head = 0; head < heads; head++)
            for (int64_t e = 0; e < h->d / 2; e++) {
                double *const x = v + p * row + head * h->d;
                const double one = turned(s, x, p % places, e, h->d, -1);
                x[e + h->d / 2] = turned(s, x, p % places, e + h->d / 2, h->d, -1);
                x[e] = one;
            }
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lki_heads h = lki_heads_of(s);
    double *const p = c->scratch, *const dp = p + h.s, *const dq_all = c->dx[0], *const dkv_all = c->dx[h.kv_in];
    int64_t keys;

    for (int i = 0; i <= h.kv_in; i++)
        if (c->dx[i])
            memset(c->dx[i], 0, (size_t)lk_shape_count(&s->in[i]) * sizeof(double));
    for (int64_t b = 0; b < h.batch; b++) {
        LK_TRY(lki_keys(&h, c->micro, lengths_of(c, &h), b, &keys));
        for (int64_t head = 0; head < h.heads; head++) {
            const int64_t q_at = b * h.t * h.q_row + head * h.d;
            const int64_t kv_at = b * h.s * h.kv_row + head / (h.heads / h.kv_heads) * h.d;
            const double *const q = (const double *)c->x[0] + q_at, *const k = (const double *)c->x[h.kv_in] + kv_at + h.k_at,
                               *const v = (const double *)c->x[h.kv_in] + kv_at + h.v_at;
            for (int64_t i = 0; i < h.t; i++) {
                const double *const dy = (const double *)c->dy + ((b * h.t + i) * h.heads + head) * h.d;
                const int64_t n = seen(s, i, keys);
                double mean = 0;
                probabilities(s, &h, q + i * h.q_row, k, i, n, p);
                for (int64_t j = 0; j < n; j++) {
                    dp[j] = 0;
                    for (int64_t e = 0; e < h.d; e++)
                        dp[j] += dy[e] * v[j * h.kv_row + e];
                    dp[j] *= kept(c, &h, b, head, i, j);
                    mean += p[j] * dp[j];
                }
                for (int64_t j = 0; j < n; j++) {
                    const double ds = p[j] * (dp[j] - mean) * h.scale, m = kept(c, &h, b, head, i, j);
                    for (int64_t e = 0; e < h.d; e++) {
                        if (dq_all)
                            dq_all[q_at + i * h.q_row + e] += ds * turned(s, k + j * h.kv_row, j, e, h.d, 1);
                        if (!dkv_all)
                            continue;
                        dkv_all[kv_at + h.k_at + j * h.kv_row + e] += ds * turned(s, q + i * h.q_row, i, e, h.d, 1);
                        dkv_all[kv_at + h.v_at + j * h.kv_row + e] += m * p[j] * dy[e];
                    }
                }
            }
        }
    }
    turn_back(s, &h, dq_all, h.t, h.q_row, h.heads);
    turn_back(s, &h, dkv_all ? dkv_all + h.k_at : NULL, h.s, h.kv_row, h.kv_heads);
    return LK_OK;
}

const lk_kernel lk_kern_ref_attention = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
