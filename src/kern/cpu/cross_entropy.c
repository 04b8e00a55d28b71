/* cross_entropy, the formulas of ref/cross_entropy.c: exponentials in float, sums and logarithm in double. Of the
 * softmax three numbers a place are saved, not the softmax itself: a large vocabulary is read once forward, and once
 * backward. */
#include "kern/cpu/element_loss.h"
#include <math.h>
#include <string.h>

/* Classes that are looked at together. */
enum { CHUNK = 1024, LANES = 8, WIDE = 16 };

/* What backward needs of a place: the largest logit; the sum of what its terms are multiplied by over the sum of
 * exp(x - top); the logarithm of that. */
typedef struct saved_place {
    float top, share, log_sum;
} saved_place;

static bool is_plain_image(const lk_opspec *s)
{
    return s->in[0].ndim == 4 && s->in_layout == LK_LAYOUT_PLAIN;
}

static int64_t class_count(const lk_shape *s)
{
    return s->dim[s->ndim == 4 ? 1 : s->ndim - 1];
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t places = lk_shape_count(&s->in[0]) / class_count(&s->in[0]);
    const size_t sample = is_plain_image(s) ? lki_floats(lk_shape_row(&s->in[0])) : 0;
    *out = (lk_kern_plan){
        .saved_bytes = s->training ? (size_t)places * sizeof(saved_place) : 0,
        .scratch_forward = 2 * sample,
        .scratch_backward = 3 * sample,
    };
    return LK_OK;
}

/* The largest of x [n], or -infinity if all are NaN. */
LK_CLONES static float largest_value(int64_t n, const float *x)
{
    float lane[WIDE];
    for (int j = 0; j < WIDE; j++)
        lane[j] = -INFINITY;
    int64_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        for (int j = 0; j < WIDE; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int j = 0; i < n; i++, j++)
        lane[j] = x[i] > lane[j] ? x[i] : lane[j];
    for (int h = WIDE / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] = lane[j + h] > lane[j] ? lane[j + h] : lane[j];
    return lane[0];
}

/* Sum of exp(x[i] - top), n up to CHUNK. */
LK_CLONES static double exponentials(int64_t n, float top, const float *x)
{
    float e[CHUNK];
    double lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++)
        e[i] = lki_exp(x[i] - top);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)e[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)e[i];
    return lki_fold_lanes(lane);
}

/* The first place of the largest of v [n], and that. */
static int64_t largest(int64_t n, const float *v, float *top)
{
    int64_t at = 0;
    *top = v[0];
    for (int64_t c = 0; c < n; c += CHUNK) {
        const float most = largest_value(lki_min(CHUNK, n - c), v + c);
        if (!(most > *top) && (c > 0 || v[0] == most))
            continue;
        *top = most;
        at = c;
        while (at < n - 1 && v[at] != most)
            at++;
    }
    return at;
}

/* The largest logit with its place, and the sum of exp(x - top), in one pass: the sum so far is scaled when a larger
 * one turns up (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"). */
typedef struct normalizer {
    float top;
    int64_t at;
    double sum;
} normalizer;

static normalizer normalize(int64_t n, const float *x)
{
    normalizer s = {.top = -INFINITY};
    for (int64_t c = 0; c < n; c += CHUNK) {
        const int64_t m = lki_min(CHUNK, n - c);
        const float most = largest_value(m, x + c);
        if (most > s.top) {
            s.sum = c == 0 ? 0 : s.sum * exp((double)s.top - (double)most);
            s.top = most;
            for (s.at = c; s.at < c + m - 1 && x[s.at] != most;)
                s.at++;
        }
        s.sum += exponentials(m, s.top, x + c);
    }
    return s;
}

LK_CLONES static double plain_sum(int64_t n, const float *x)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)x[i];
    return lki_fold_lanes(lane);
}

/* sum_k c[k] (lse - x[k]) and sum_k c[k], where c[k] = w[k] (rest + most q[k]); no weights: 1; no shares: 0. */
static void spread_terms(
    int64_t n, double lse, double rest, double most, const double *w, const float *q, const float *x, double out[2])
{
    double term[LANES] = {0}, sum[LANES] = {0};
    if (!w && !q) { /* smoothing alone, perhaps over a large vocabulary */
        out[0] = rest * ((double)n * lse - plain_sum(n, x));
        out[1] = rest * (double)n;
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const double c = (w ? w[i] : 1) * (rest + (q ? most * (double)q[i] : 0));
        term[i % LANES] += c == 0 ? 0 : c * (lse - (double)x[i]);
        sum[i % LANES] += c;
    }
    out[0] = lki_fold_lanes(term);
    out[1] = lki_fold_lanes(sum);
}

typedef struct totals {
    double loss, weight, count, correct;
} totals;

/* One place with logits x [n]; q: its shares, or NULL. */
static void add_place(const lk_attr_cross_entropy *a, int64_t n, const float *x, const float *q, int64_t id, totals *t,
    saved_place *saved)
{
    const double *const w = a->n_weights > 0 ? a->weight : NULL;
    const double rest = a->smoothing / (double)n;
    const normalizer s = normalize(n, x);
    const double log_sum = log(s.sum), lse = log_sum + (double)s.top;
    double spread[2] = {0, 0};
    int64_t right = id;
    if (q || rest > 0)
        spread_terms(n, lse, rest, 1 - a->smoothing, w, q, x, spread);
    if (q) {
        float top;
        right = largest(n, q, &top);
        t->weight++;
    } else {
        const double own = w ? w[id] : 1, c = (1 - a->smoothing) * own;
        if (c != 0)
            spread[0] += c * (log_sum + ((double)s.top - (double)x[id]));
        spread[1] += c;
        t->weight += own;
    }
    t->loss += spread[0];
    t->count++;
    t->correct += s.at == right;
    if (saved)
        *saved = (saved_place){s.top, (float)(spread[1] / s.sum), (float)log_sum};
}

/* The logits, or shares, of sample b with the classes last. */
static const float *turned(const lk_call *c, int input, int64_t b)
{
    const int64_t row = lk_shape_row(&c->spec->in[0]), classes = class_count(&c->spec->in[0]);
    const float *const x = (const float *)c->x[input] + b * row;
    if (!is_plain_image(c->spec))
        return x;
    float *const out = (float *)((char *)c->scratch + (size_t)input * lki_floats(row));
    lki_transpose(classes, row / classes, x, out);
    return out;
}

static bool is_ignored(const lk_attr_cross_entropy *a, int64_t id)
{
    return a->has_ignored && id == a->ignored;
}

static lk_status forward(const lk_call *c)
{
    const lk_micro *const m = c->micro;
    const lk_attr_cross_entropy *const a = &c->spec->attr.cross_entropy;
    const int64_t k = class_count(&c->spec->in[0]), places = lk_shape_row(&c->spec->in[0]) / k;
    const bool ids = c->spec->in_dtype[1] == LK_DT_I64;
    saved_place *const saved = c->saved;
    totals t = {0};
    for (int64_t b = 0; b < m->valid; b++) {
        const float *const x = turned(c, 0, b), *const q = ids ? NULL : turned(c, 1, b);
        const int64_t *const id = ids ? (const int64_t *)c->x[1] + b * places : NULL;
        for (int64_t i = 0; i < places; i++) {
            if (ids && is_ignored(a, id[i]))
                continue;
            if (ids && (id[i] < 0 || id[i] >= k))
                return lki_class_fail(m, b, id[i], k);
            add_place(
                a, k, x + i * k, q ? q + i * k : NULL, ids ? id[i] : -1, &t, saved ? saved + b * places + i : NULL);
        }
    }
    m->metrics[LK_METRIC_LOSS] = lki_or_one(a->scale) * t.loss;
    m->metrics[LK_METRIC_WEIGHT] = t.weight;
    m->metrics[LK_METRIC_COUNT] = t.count;
    m->metrics[LK_METRIC_NAMED] = t.correct;
    return LK_OK;
}

/* dx[k] = exp(x[k] - top) scale - w[k] (rest + most q[k]); dx may be x. */
LK_CLONES static void slopes(int64_t n, float top, float scale, float rest, float most, const double *w, const float *q,
    const float *x, float *dx)
{
    if (w) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; i++)
            dx[i] = lki_exp(x[i] - top) * scale - (float)w[i] * (rest + (q ? most * q[i] : 0));
        return;
    }
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++)
        dx[i] = lki_exp(x[i] - top) * scale - rest;
    for (int64_t i = 0; q && i < n; i++)
        dx[i] -= most * q[i];
}

/* dq[k] = most w[k] (log_sum + (top - x[k])) */
LK_CLONES static void share_slopes(
    int64_t n, const saved_place *s, float most, const double *w, const float *x, float *restrict dq)
{
    const float log_sum = s->log_sum, top = s->top;
    for (int64_t i = 0; i < n; i++)
        dq[i] = most * (log_sum + (top - x[i]));
    for (int64_t i = 0; w && i < n; i++)
        dq[i] *= (float)w[i];
}

typedef struct backward_job {
    const lk_call *c;
    const lk_attr_cross_entropy *a;
    const double *w;
    int64_t classes, places;
    double factor;
} backward_job;

/* The gradient of input `wanted` at all places of sample b, classes last. */
static void sample_slopes(const backward_job *j, int wanted, int64_t b, float *d)
{
    const lk_call *const c = j->c;
    const int64_t k = j->classes;
    const bool ids = c->spec->in_dtype[1] == LK_DT_I64;
    const float *const x = turned(c, 0, b), *const q = ids ? NULL : turned(c, 1, b);
    const int64_t *const id = ids ? (const int64_t *)c->x[1] + b * j->places : NULL;
    const float rest = (float)(j->factor * j->a->smoothing / (double)k),
                most = (float)(j->factor * (1 - j->a->smoothing));
    for (int64_t i = 0; i < j->places; i++, d += k) {
        const saved_place *const s = (const saved_place *)c->saved + b * j->places + i;
        if (ids && is_ignored(j->a, id[i])) {
            memset(d, 0, (size_t)k * sizeof *d);
        } else if (wanted == 1) {
            share_slopes(k, s, most, j->w, x + i * k, d);
        } else {
            slopes(
                k, s->top, (float)(j->factor * (double)s->share), rest, most, j->w, q ? q + i * k : NULL, x + i * k, d);
            if (ids)
                d[id[i]] -= (float)(j->w ? j->w[id[i]] : 1) * most;
        }
    }
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_cross_entropy *const a = &c->spec->attr.cross_entropy;
    const int64_t k = class_count(&c->spec->in[0]), row = lk_shape_row(&c->spec->in[0]), valid = c->micro->valid;
    const backward_job j = {
        c, a, a->n_weights > 0 ? a->weight : NULL, k, row / k, lki_or_one(a->scale) * c->micro->grad_scale};
    float *const beside = (float *)((char *)c->scratch + 2 * lki_floats(row));
    for (int i = 1; i >= 0; i--) { /* dx[0] last: it may be x[0] */
        float *const d = c->dx[i];
        for (int64_t b = 0; d && b < valid; b++) {
            if (!is_plain_image(c->spec)) {
                sample_slopes(&j, i, b, d + b * row);
                continue;
            }
            sample_slopes(&j, i, b, beside);
            lki_transpose(j.places, k, beside, d + b * row);
        }
        if (d)
            memset(d + valid * row, 0, (size_t)((c->spec->in[0].dim[0] - valid) * row) * sizeof *d);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_cross_entropy = {.in_place_x = true, .plan = plan, .forward = forward, .backward = backward};
