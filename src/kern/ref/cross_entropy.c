/* cross_entropy. At a place with logits x, lse = log(sum_k exp(x[k])), l[k] = lse - x[k], class weights w (1 if not
 * given) and smoothing s, it adds class id t    (1-s) w[t] l[t] + s/K sum_k w[k] l[k]            weight w[t] shares q
 * sum_k w[k] ((1-s) q[k] + s/K) l[k]               weight 1 to the loss. "accuracy" counts the places whose largest
 * logit is at t, or at the largest share (the first of equal ones). Backward: with c[k] what l[k] is multiplied by,
 * dx[k] = softmax(x)[k] sum(c) - c[k]; dq[k] = (1-s) w[k] l[k]; 0 in padding rows and where the id is the ignored one.
 */
#include "kern/ref/ref_int.h"
#include <math.h>

/* One place: its logits are x[k stride]. */
typedef struct place {
    const lk_attr_cross_entropy *a;
    const double *x, *share; /* share: NULL with class ids */
    int64_t classes, stride, id;
} place;

/* Of v[k stride], the first of equal ones. */
static int64_t largest(const double *v, const place *p)
{
    int64_t best = 0;
    for (int64_t k = 1; k < p->classes; k++)
        if (v[k * p->stride] > v[best * p->stride])
            best = k;
    return best;
}

/* log(sum exp(x)), the largest taken out so that no exp overflows. */
static double log_sum_exp(const place *p)
{
    const double top = p->x[largest(p->x, p) * p->stride];
    double sum = 0;
    for (int64_t k = 0; k < p->classes; k++)
        sum += exp(p->x[k * p->stride] - top);
    return top + log(sum);
}

static double class_weight(const place *p, int64_t k)
{
    return p->a->n_weights > 0 ? p->a->weight[k] : 1;
}

/* What l[k] is multiplied by. */
static double coefficient(const place *p, int64_t k)
{
    const double s = p->a->smoothing, rest = s / (double)p->classes * class_weight(p, k);
    const double share = p->share ? p->share[k * p->stride] : k == p->id;
    return (1 - s) * share * class_weight(p, k) + rest;
}

/* Place i of sample b; *counts: whether it is one that counts. */
static lk_status find(const lk_call *c, int64_t b, int64_t i, place *p, bool *counts)
{
    const lk_shape *const in = &c->spec->in[0];
    const bool image = in->ndim == 4;
    const int64_t classes = in->dim[image ? 1 : in->ndim - 1], places = lk_shape_row(in) / classes;
    const int64_t at = b * lk_shape_row(in) + (image ? i : i * classes);

    *p = (place){.a = &c->spec->attr.cross_entropy,
        .x = (const double *)c->x[0] + at,
        .classes = classes,
        .stride = image ? places : 1};
    *counts = b < c->micro->valid;
    if (c->spec->in_dtype[1] == LK_DT_REAL) {
        p->share = (const double *)c->x[1] + at;
        return LK_OK;
    }
    p->id = ((const int64_t *)c->x[1])[b * places + i];
    if (p->a->has_ignored && p->id == p->a->ignored)
        *counts = false;
    if (*counts && (p->id < 0 || p->id >= classes))
        return lki_class_fail(c->micro, b, p->id, classes);
    return LK_OK;
}

static int64_t place_count(const lk_shape *in)
{
    return lk_shape_row(in) / in->dim[in->ndim == 4 ? 1 : in->ndim - 1];
}

static lk_status forward(const lk_call *c)
{
    const int64_t places = place_count(&c->spec->in[0]);
    double loss = 0, weight = 0, count = 0, correct = 0;
    place p;
    bool counts;

    for (int64_t b = 0; b < c->micro->valid; b++)
        for (int64_t i = 0; i < places; i++) {
            LK_TRY(find(c, b, i, &p, &counts));
            if (!counts)
                continue;
            const double lse = log_sum_exp(&p);
            for (int64_t k = 0; k < p.classes; k++)
                if (coefficient(&p, k) != 0)
                    loss += coefficient(&p, k) * (lse - p.x[k * p.stride]);
            weight += p.share ? 1 : class_weight(&p, p.id);
            count++;
            correct += largest(p.x, &p) == (p.share ? largest(p.share, &p) : p.id);
        }
    c->micro->metrics[LK_METRIC_LOSS] = lki_or_one(c->spec->attr.cross_entropy.scale) * loss;
    c->micro->metrics[LK_METRIC_WEIGHT] = weight;
    c->micro->metrics[LK_METRIC_COUNT] = count;
    c->micro->metrics[LK_METRIC_NAMED] = correct;
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t rows = c->spec->in[0].dim[0], places = place_count(&c->spec->in[0]);
    const double factor = lki_or_one(c->spec->attr.cross_entropy.scale) * c->micro->grad_scale;
    place p;
    bool counts;

    for (int64_t b = 0; b < rows; b++)
        for (int64_t i = 0; i < places; i++) {
            LK_TRY(find(c, b, i, &p, &counts));
            const double lse = counts ? log_sum_exp(&p) : 0;
            double sum = 0;
            for (int64_t k = 0; counts && k < p.classes; k++)
                sum += coefficient(&p, k);
            for (int64_t k = 0; k < p.classes; k++) {
                const int64_t at = p.x - (const double *)c->x[0] + k * p.stride;
                const double x = p.x[k * p.stride];
                if (c->dx[0])
                    ((double *)c->dx[0])[at] = counts ? factor * (exp(x - lse) * sum - coefficient(&p, k)) : 0;
                if (c->dx[1])
                    ((double *)c->dx[1])[at] =
                        counts ? factor * (1 - p.a->smoothing) * class_weight(&p, k) * (lse - x) : 0;
            }
        }
    return LK_OK;
}

const lk_kernel lk_kern_ref_cross_entropy = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
