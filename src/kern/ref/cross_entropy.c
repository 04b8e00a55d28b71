/* cross_entropy: a sample's loss is log(sum_k exp(x[k])) - x[t], t its class id; "accuracy" counts samples whose largest
 * logit is the t-th (the first of equal ones). Backward: dx[k] = (softmax(x)[k] - [k = t]) grad_scale, 0 in padding
 * rows. */
#include "kern/ref/ref_int.h"
#include <math.h>

/* Place of the largest, the first of equal ones. */
static int64_t largest(const double *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t k = 1; k < n; k++)
        if (x[k] > x[best])
            best = k;
    return best;
}

/* log(sum exp(x)), the largest taken out so that no exp overflows. */
static double log_sum_exp(const double *x, int64_t n)
{
    const double top = x[largest(x, n)];
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += exp(x[k] - top);
    return top + log(sum);
}

static lk_status forward(const lk_call *c)
{
    const int64_t classes = c->spec->in[0].dim[1];
    const double *const x = c->x[0];
    const int64_t *const id = c->x[1];
    double loss = 0, correct = 0;

    for (int64_t b = 0; b < c->micro->valid; b++) {
        const double *const row = x + b * classes;
        if (id[b] < 0 || id[b] >= classes)
            return lki_class_fail(c->micro, b, id[b], classes);
        loss += log_sum_exp(row, classes) - row[id[b]];
        correct += largest(row, classes) == id[b];
    }
    c->micro->metrics[LK_METRIC_LOSS] = loss;
    c->micro->metrics[LK_METRIC_WEIGHT] = c->micro->metrics[LK_METRIC_COUNT] = (double)c->micro->valid;
    c->micro->metrics[LK_METRIC_NAMED] = correct;
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const int64_t rows = c->spec->in[0].dim[0], classes = c->spec->in[0].dim[1];
    const double *const x = c->x[0];
    const int64_t *const id = c->x[1];
    double *const dx = c->dx[0];

    for (int64_t b = 0; dx && b < rows; b++) {
        const bool valid = b < c->micro->valid;
        const double lse = valid ? log_sum_exp(x + b * classes, classes) : 0;
        for (int64_t k = 0; k < classes; k++)
            dx[b * classes + k] = valid ? (exp(x[b * classes + k] - lse) - (k == id[b])) * c->micro->grad_scale : 0;
    }
    return LK_OK;
}

const lk_kernel lk_kern_ref_cross_entropy = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward, .backward = backward};
