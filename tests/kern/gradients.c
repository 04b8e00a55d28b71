/* The backward pass of every operation in ref against central finite differences: of L = sum(dy y) for random dy (and sum(dsum s), where s goes on beside y), or of
 * L = grad_scale * loss, by each element of each input and weight. Also what a forward pass writes besides y.
 *
 * Step 2e-5: the cut-off error is h^2/6 L''' = 7e-11 L''', rounding gives about 1e-16 |L| / h = 1e-11, so 1e-6 leaves
 * room for third derivatives in the thousands (batch norm over two rows) and none for a wrong term. Data keep 1e-3 away
 * from kinks and ties. */
#include "kern/harness.h"

static const double step = 2e-5, tolerance = 1e-6;
static const uint64_t seeds[] = {3, 20};

/* L at the data as they stand. */
static double value(const kern_data *d)
{
    kern_result r;
    KERN_OK(kern_run(&lk_backend_ref, &d->spec, d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r));
    double sum = 0;
    if (lk_op_info(d->spec.op)->loss)
        sum = r.metrics[LK_METRIC_LOSS] * d->micro.grad_scale;
    else
        for (int64_t i = 0; i < lk_shape_count(&d->spec.out); i++)
            sum += d->dy[i] * r.y[i] + (d->dsum ? d->dsum[i] * (r.sum ? r.sum[i] : d->x[0][i]) : 0);
    kern_result_fini(&r);
    return sum;
}

/* `grad` is the gradient of L by v[n], one of the arrays in d; 0 beyond `moving`, in padding rows. */
static void check_gradient(
    kern_data *d, const char *what, int64_t n, int64_t moving, double *v, const double *grad, double scale, bool large)
{
    /* Relative to the largest element, or to a hundredth of the gradient that comes in where all of them cancel. */
    const double norm = fmax(kern_largest(n, grad), 0.01 * scale);
    for (int64_t i = 0; i < n && !large; i++) {
        const double at = v[i];
        v[i] = at + step;
        const double above = value(d);
        v[i] = at - step;
        const double below = value(d);
        v[i] = at;
        const double slope = (above - below) / (2 * step), error = fabs(slope - grad[i]) / norm;
        cr_assert(error <= tolerance, "%s: %s[%" PRId64 "]: gradient %.12g, finite difference %.12g, error %.3g",
            d->label, what, i, grad[i], slope, error);
    }
    for (int64_t i = moving; i < n; i++)
        cr_assert(
            grad[i] == 0, "%s: %s[%" PRId64 "] is in a padding row, its gradient is %g", d->label, what, i, grad[i]);

    /* All elements at once, each up or down by less: in a sum of many the way adds up, and must stay off the kinks. */
    const double short_step = step / 10;
    double *old = NULL;
    KERN_OK(lk_alloc_array(n, sizeof *old, "test", &old));
    memcpy(old, v, (size_t)n * sizeof *old);
    const lk_rng r = lk_rng_make(99, LK_RNG_TEST, 1);
    double along = 0, size = 0, ends[2];
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++) {
            const double sign = lk_rng_word(r, (uint64_t)i) & 1 ? 1 : -1;
            v[i] = old[i] + (side ? -sign : sign) * short_step;
            along += side ? 0 : sign * grad[i];
            size += side ? 0 : fabs(grad[i]);
        }
        ends[side] = value(d);
    }
    memcpy(v, old, (size_t)n * sizeof *old);
    lk_free(old);
    const double slope = (ends[0] - ends[1]) / (2 * short_step), error = fabs(slope - along) / fmax(size, 0.01 * scale);
    cr_assert(error <= tolerance, "%s: %s: directional gradient %.12g, finite difference %.12g, error %.3g", d->label,
        what, along, slope, error);
}

/* batch_norm's fresh statistics, by the formula in two passes over a channel's values. */
static void check_statistics(const kern_data *d, const kern_result *r)
{
    const lk_shape *const in = &d->spec.in[0];
    const int64_t area = lk_shape_row(in) / in->dim[1], n = d->micro.valid * area;
    for (int64_t c = 0; c < in->dim[1]; c++) {
        long double mean = 0, var = 0;
        for (int64_t i = 0; i < n; i++)
            mean += d->x[0][(i / area * in->dim[1] + c) * area + i % area] / (long double)n;
        for (int64_t i = 0; i < n; i++) {
            const long double e = d->x[0][(i / area * in->dim[1] + c) * area + i % area] - mean;
            var += e * e / (long double)(n > 1 ? n - 1 : 1);
        }
        cr_assert(fabsl(r->dparam[2][c] - mean) <= 1e-14L, "%s: mean of channel %" PRId64 " is %.17g, not %.17Lg",
            d->label, c, r->dparam[2][c], mean);
        cr_assert(fabsl(r->dparam[3][c] - var) <= 1e-14L * (1 + var),
            "%s: variance of channel %" PRId64 " is %.17g, not %.17Lg", d->label, c, r->dparam[3][c], var);
    }
}

static void check_case(lk_op op, int number, uint64_t seed)
{
    const kern_case *const k = &kern_cases[op].item[number];
    kern_data d;
    kern_result r;
    kern_data_fill(&d, op, k, number, seed);
    const lk_opspec *const s = &d.spec;
    const bool loss = lk_op_info(op)->loss;
    KERN_OK(kern_run(&lk_backend_ref, s, &d, &(kern_opts){.poison = 0xFF}, &r));

    if (!loss)
        cr_assert(isfinite(kern_largest(lk_shape_count(&s->out), r.y)), "%s: output is not finite", d.label);
    if (op == LK_OP_BATCH_NORM && !s->attr.batch_norm.running)
        check_statistics(&d, &r);
    double scale = loss ? d.micro.grad_scale : kern_largest(lk_shape_count(&s->out), d.dy);
    if (scale == 0) /* nothing but padding rows */
        scale = 1;
    for (int i = 0; i < s->n_in && !k->ties; i++) {
        if (s->in_dtype[i] != LK_DT_REAL)
            continue;
        char what[32];
        snprintf(what, sizeof what, "dx%d", i);
        check_gradient(&d, what, lk_shape_count(&s->in[i]), d.micro.valid * lk_shape_row(&s->in[i]), d.x[i], r.dx[i],
            scale, k->large);
    }
    for (int i = 0; i < s->n_params && !k->ties; i++)
        if (s->param[i].kind == LK_PARAM_WEIGHT) {
            const int64_t n = lk_shape_count(&s->param[i].shape);
            check_gradient(&d, s->param[i].suffix, n, n, d.param[i], r.dparam[i], scale, k->large);
        }
    kern_result_fini(&r);
    kern_data_fini(&d);
}

#define X(NAME, name) \
    Test(gradients, name) \
    { \
        cr_assert(kern_cases[LK_OP_##NAME].n > 0); \
        for (int i = 0; i < kern_cases[LK_OP_##NAME].n; i++) \
            for (size_t j = 0; j < sizeof seeds / sizeof seeds[0]; j++) \
                check_case(LK_OP_##NAME, i, seeds[j]); \
    }
LK_OP_LIST(X)
#undef X
