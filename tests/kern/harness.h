/* Runs a kernel the way a plan does (infer, plan, buffers, pack, forward, backward) and watches it: outputs are
 * poisoned before each call, scratch too, guard bytes stand around every buffer (out of bounds for the address
 * sanitizer as well), and what a kernel may only read must not have changed.
 *
 * Test data are doubles that are exactly floats, in plain layout, so that all backends and layouts get the same
 * numbers. */
#ifndef LK_TESTS_KERN_HARNESS_H
#define LK_TESTS_KERN_HARNESS_H

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kern/cases.h"
#include "kern/kern.h"
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

/* What must hold for a test to make sense at all. */
#define KERN_OK(expr) \
    do { \
        lk_status kern_s_ = (expr); \
        cr_assert(kern_s_ == LK_OK, "%s: %s: %s", #expr, lk_status_name(kern_s_), lk_err_last()->message); \
    } while (0)

/* ---- buffers ---- */
enum { KERN_GUARD = 64, KERN_GUARD_BYTE = 0xC3 };

typedef struct kern_buf {
    unsigned char *base; /* guard, bytes, guard */
    size_t bytes;
    unsigned char *frozen; /* copy of the content that must not change; NULL: may */
} kern_buf;

/* NULL for an empty buffer, as the plan gives it. */
static inline void *kern_ptr(const kern_buf *b)
{
    return b->bytes ? b->base + KERN_GUARD : NULL;
}

static inline void kern_fill(kern_buf *b, unsigned char poison)
{
    if (b->bytes)
        memset(kern_ptr(b), poison, b->bytes);
}

static inline void kern_buf_init(kern_buf *b, size_t bytes, unsigned char poison)
{
    *b = (kern_buf){.bytes = bytes};
    KERN_OK(lk_alloc(bytes + 2 * KERN_GUARD, "test buffer", &b->base));
    memset(b->base, KERN_GUARD_BYTE, bytes + 2 * KERN_GUARD);
    kern_fill(b, poison);
    ASAN_POISON_MEMORY_REGION(b->base, KERN_GUARD);
    ASAN_POISON_MEMORY_REGION(b->base + KERN_GUARD + bytes, KERN_GUARD);
}

static inline void kern_freeze(kern_buf *b)
{
    if (!b->bytes)
        return;
    if (!b->frozen)
        KERN_OK(lk_alloc(b->bytes, "test buffer", &b->frozen));
    memcpy(b->frozen, kern_ptr(b), b->bytes);
}

/* Guards stand, frozen content is as it was. */
static inline void kern_buf_check(kern_buf *b, const char *what, const char *label)
{
    if (!b->base)
        return;
    ASAN_UNPOISON_MEMORY_REGION(b->base, b->bytes + 2 * KERN_GUARD);
    for (size_t i = 0; i < KERN_GUARD; i++) {
        cr_assert(b->base[i] == KERN_GUARD_BYTE, "%s: %s: written %zu bytes in front", label, what, KERN_GUARD - i);
        cr_assert(b->base[KERN_GUARD + b->bytes + i] == KERN_GUARD_BYTE, "%s: %s: written %zu bytes behind", label,
            what, i + 1);
    }
    ASAN_POISON_MEMORY_REGION(b->base, KERN_GUARD);
    ASAN_POISON_MEMORY_REGION(b->base + KERN_GUARD + b->bytes, KERN_GUARD);
    if (b->frozen)
        cr_assert(
            memcmp(b->frozen, kern_ptr(b), b->bytes) == 0, "%s: %s: changed, but is only to be read", label, what);
}

static inline void kern_buf_fini(kern_buf *b)
{
    if (b->base)
        ASAN_UNPOISON_MEMORY_REGION(b->base, b->bytes + 2 * KERN_GUARD);
    lk_free(b->base);
    lk_free(b->frozen);
    *b = (kern_buf){0};
}

/* ---- plain doubles <-> a backend's numbers in a layout ---- */
/* Place in a [B,C,...] array of that layout of the element that is the i-th in plain order. */
static inline int64_t kern_place(const lk_shape *s, lk_layout layout, int64_t i)
{
    if (!lk_shape_spatial(s) || layout == LK_LAYOUT_PLAIN)
        return i;
    const int64_t channels = s->dim[1], area = lk_shape_row(s) / channels;
    const int64_t b = i / (channels * area), c = i / area % channels, at = i % area;
    return (b * area + at) * channels + c;
}

static inline void kern_put(const lk_backend *be, const lk_shape *s, lk_layout layout, const double *from, void *to)
{
    const int64_t n = lk_shape_count(s);
    for (int64_t i = 0; i < n; i++) {
        if (be->real_size == sizeof(double))
            ((double *)to)[kern_place(s, layout, i)] = from[i];
        else
            ((float *)to)[kern_place(s, layout, i)] = (float)from[i];
    }
}

static inline void kern_get(const lk_backend *be, const lk_shape *s, lk_layout layout, const void *from, double *to)
{
    const int64_t n = lk_shape_count(s);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = kern_place(s, layout, i);
        to[i] = be->real_size == sizeof(double) ? ((const double *)from)[at] : (double)((const float *)from)[at];
    }
}

/* ---- data of a case ---- */
typedef struct kern_data {
    lk_opspec spec; /* plain layouts, training, inferred */
    lk_micro micro;
    int64_t *sample;
    double *x[LK_MAX_IN];
    int64_t *id[LK_MAX_IN]; /* inputs of whole numbers */
    double *param[LK_MAX_PARAMS];
    double *dy; /* 0 in padding rows, and where a fused activation is within 1e-3 of its kink */
    char label[256];
} kern_data;

typedef struct kern_result {
    double *y, *dx[LK_MAX_IN], *dparam[LK_MAX_PARAMS];
    double *carry; /* what forward left there */
    int64_t n_carry;
    double metrics[LK_MAX_METRICS];
} kern_result;

typedef struct kern_opts {
    unsigned char poison;
    bool forward_only;
    bool in_place; /* y over x[0] */
    bool in_place_dx; /* dx[0] over dy */
    unsigned skip_dx; /* bit i: dx[i] is not asked for */
    bool frozen; /* no gradient of a weight is asked for */
    bool no_carry; /* the kernel is given none: it starts from zero */
} kern_opts;

static inline void kern_result_fini(kern_result *r)
{
    lk_free(r->y);
    lk_free(r->carry);
    for (int i = 0; i < LK_MAX_IN; i++)
        lk_free(r->dx[i]);
    for (int i = 0; i < LK_MAX_PARAMS; i++)
        lk_free(r->dparam[i]);
    *r = (kern_result){0};
}

static inline void kern_data_fini(kern_data *d)
{
    for (int i = 0; i < LK_MAX_IN; i++) {
        lk_free(d->x[i]);
        lk_free(d->id[i]);
    }
    for (int i = 0; i < LK_MAX_PARAMS; i++)
        lk_free(d->param[i]);
    lk_free(d->dy);
    lk_free(d->sample);
    *d = (kern_data){0};
}

/* Doubles that hold floats, uniform in [low, high). */
static inline double *kern_uniform(lk_rng r, int64_t n, double low, double high)
{
    double *v = NULL;
    KERN_OK(lk_alloc_array(n, sizeof *v, "test data", &v));
    for (int64_t i = 0; i < n; i++)
        v[i] = (double)(float)(low + (high - low) * (double)lk_rng_unit(lk_rng_word(r, (uint64_t)i)));
    return v;
}

/* A shuffled grid over [-2, 2]: any two values are 4/n apart, and none is within 2/n of 0. So an input of at most 2000
 * values has no tie within 2e-3 and no kink of relu within 1e-3. */
static inline double *kern_grid(lk_rng r, int64_t n)
{
    double *v = NULL;
    KERN_OK(lk_alloc_array(n, sizeof *v, "test data", &v));
    for (int64_t i = 0; i < n; i++)
        v[i] = (double)(float)((((double)lk_rng_permute(r, n, i) + 0.5) / (double)n - 0.5) * 4);
    for (int64_t i = 0; i < n; i++)
        if (v[i] == 0) /* the middle of an odd number */
            v[i] = (double)(float)(1.0 / (double)n);
    return v;
}

static inline lk_status kern_run(
    const lk_backend *be, const lk_opspec *spec, const kern_data *d, const kern_opts *o, kern_result *r);

/* Draws the data of a case from a seed. */
static inline void kern_data_fill(kern_data *d, lk_op op, const kern_case *k, int number, uint64_t seed)
{
    *d = (kern_data){.spec = {.op = op, .attr = k->attr, .training = true, .key = 77 + seed}};
    lk_opspec *const s = &d->spec;
    const lk_opinfo *const info = lk_op_info(op);
    uint64_t stream = 100;
#define NEXT lk_rng_make(seed, LK_RNG_TEST, stream++)

    s->n_in = info->n_in;
    while (s->n_in < info->n_in + info->n_optional && k->in[s->n_in].ndim > 0)
        s->n_in++;
    for (int i = 0; i < s->n_in; i++) {
        s->in[i] = k->in[i];
        s->in_dtype[i] = k->ids[i].high > 0 ? LK_DT_I64 : LK_DT_REAL;
    }
    KERN_OK(info->infer(s));

    char shape[LK_SHAPE_TEXT];
    const int64_t rows = k->in[0].dim[0], valid = rows - k->padding;
    snprintf(d->label, sizeof d->label, "%s case %d %s valid %" PRId64 " seed %" PRIu64, info->name, number,
        lk_shape_print(&s->in[0], shape), valid, seed);

    KERN_OK(lk_alloc_array(rows, sizeof *d->sample, "test data", &d->sample));
    for (int64_t i = 0; i < rows; i++)
        d->sample[i] = i == 1 ? INT64_C(1) << 40 : 1000 - 7 * i;
    d->micro =
        (lk_micro){.rows = rows, .valid = valid, .sample = d->sample, .seed = seed, .step = 3, .grad_scale = 0.375};

    for (int i = 0; i < s->n_in; i++) {
        const int64_t n = lk_shape_count(&s->in[i]);
        if (s->in_dtype[i] == LK_DT_I64) {
            const lk_rng rng = NEXT;
            const int64_t row = lk_shape_row(&s->in[i]);
            KERN_OK(lk_alloc_array(n, sizeof *d->id[i], "test data", &d->id[i]));
            for (int64_t j = 0; j < n; j++) {
                const int64_t range = k->ids[i].high - k->ids[i].low;
                d->id[i][j] = k->ids[i].low + (int64_t)(lk_rng_word(rng, (uint64_t)j) % (uint64_t)range);
                if (j >= valid * row) /* those of padding rows mean nothing; a loss must not even look */
                    d->id[i][j] = info->loss ? -5 : 0;
            }
            continue;
        }
        d->x[i] = kern_grid(NEXT, n);
        const double low = k->real[i].low, high = k->real[i].high;
        for (int64_t j = 0; high > low && j < n; j++)
            d->x[i][j] = (double)(float)(low + (high - low) * (d->x[i][j] / 4 + 0.5));
        for (int64_t j = 0; j < n && i == 0; j++)
            d->x[i][j] = (double)(float)((k->ties ? round(d->x[i][j]) : d->x[i][j]) + k->offset);
    }
    for (int i = 0; i < s->n_params; i++) {
        const lk_param_info *const p = &s->param[i];
        const int64_t n = lk_shape_count(&p->shape);
        const bool variance = strcmp(p->suffix, "running_var") == 0;
        if (variance)
            d->param[i] = kern_uniform(NEXT, n, 0.5, 2);
        else if (p->init == LK_INIT_UNIFORM)
            d->param[i] = kern_uniform(NEXT, n, -2 * p->value, 2 * p->value);
        else
            d->param[i] = kern_uniform(NEXT, n, -1.5, 1.5);
    }
    if (info->loss)
        return;

    const int64_t n = lk_shape_count(&s->out), row = lk_shape_row(&s->out);
    d->dy = kern_uniform(NEXT, n, -1, 1);
    for (int64_t i = valid * row; i < n; i++)
        d->dy[i] = 0;
    lk_opspec bare = *s;
    lk_act *const act = op == LK_OP_LINEAR       ? &bare.attr.linear.act
                        : op == LK_OP_CONV || op == LK_OP_CONV_TRANSPOSE ? &bare.attr.conv.act
                        : op == LK_OP_BATCH_NORM ? &bare.attr.batch_norm.act
                        : op == LK_OP_ADD        ? &bare.attr.add.act
                                                 : NULL;
    if (act && (*act == LK_ACT_RELU || *act == LK_ACT_LEAKY_RELU || *act == LK_ACT_ELU)) {
        *act = LK_ACT_NONE;
        kern_result r;
        KERN_OK(kern_run(&lk_backend_ref, &bare, d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r));
        for (int64_t i = 0; i < n; i++)
            if (fabs(r.y[i]) < 1e-3)
                d->dy[i] = 0;
        kern_result_fini(&r);
    }
#undef NEXT
}

/* ---- the run ---- */
/* One forward and, if the spec is in training, one backward pass of `spec` (d->spec, perhaps with other layouts or
 * `training`) on new buffers. The kernel's status; everything else that is wrong fails the test. */
static inline lk_status kern_run(
    const lk_backend *be, const lk_opspec *spec, const kern_data *d, const kern_opts *o, kern_result *r)
{
    const lk_kernel *const k = be->kernel[spec->op];
    const lk_opinfo *const info = lk_op_info(spec->op);
    const unsigned needs = info->needs(spec);
    const size_t real = be->real_size;
    char label[320];
    snprintf(label, sizeof label, "%s %s%s%s%s", be->name, d->label, spec->training ? "" : " eval",
        spec->in_layout == LK_LAYOUT_NHWC ? " NHWC" : "", spec->out_layout == LK_LAYOUT_NHWC ? " -> NHWC" : "");
    *r = (kern_result){0};

    lk_kern_plan plan = {0};
    if (k->plan)
        KERN_OK(k->plan(spec, &plan));

    kern_buf x[LK_MAX_IN] = {0}, param[LK_MAX_PARAMS] = {0}, dparam[LK_MAX_PARAMS] = {0}, dx[LK_MAX_IN] = {0};
    kern_buf y = {0}, dy = {0}, saved, scratch_forward, scratch_backward, packed, carry = {0};
    double metrics[LK_MAX_METRICS];
    for (int i = 0; i < LK_MAX_METRICS; i++)
        metrics[i] = NAN;
    lk_micro micro = d->micro;
    micro.metrics = metrics;

    kern_buf_init(&saved, plan.saved_bytes, o->poison);
    kern_buf_init(&scratch_forward, plan.scratch_forward, o->poison);
    kern_buf_init(&scratch_backward, plan.scratch_backward, o->poison);
    kern_buf_init(&packed, plan.packed_bytes, o->poison);
    if (plan.carry_bytes && !o->no_carry) {
        const lk_shape flat = {1, {(int64_t)(plan.carry_bytes / real)}};
        double *const state = kern_uniform(lk_rng_make(micro.seed, LK_RNG_TEST, 99), flat.dim[0], -1, 1);
        kern_buf_init(&carry, plan.carry_bytes, o->poison);
        kern_put(be, &flat, LK_LAYOUT_PLAIN, state, kern_ptr(&carry));
        lk_free(state);
    }
    for (int i = 0; i < spec->n_in; i++) {
        const size_t n = (size_t)lk_shape_count(&spec->in[i]);
        if (spec->in_dtype[i] == LK_DT_I64) {
            kern_buf_init(&x[i], n * sizeof(int64_t), o->poison);
            memcpy(kern_ptr(&x[i]), d->id[i], n * sizeof(int64_t));
        } else {
            kern_buf_init(&x[i], n * real, o->poison);
            kern_put(be, &spec->in[i], spec->in_layout, d->x[i], kern_ptr(&x[i]));
        }
        kern_freeze(&x[i]);
    }
    for (int i = 0; i < spec->n_params; i++) {
        const size_t n = (size_t)lk_shape_count(&spec->param[i].shape);
        kern_buf_init(&param[i], n * real, o->poison);
        kern_buf_init(&dparam[i], n * real, o->poison);
        kern_put(be, &spec->param[i].shape, LK_LAYOUT_PLAIN, d->param[i], kern_ptr(&param[i]));
        kern_freeze(&param[i]);
    }
    const int64_t n_out = info->loss ? 0 : lk_shape_count(&spec->out);
    const bool in_place = o->in_place && k->in_place;
    if (n_out && !in_place)
        kern_buf_init(&y, (size_t)n_out * real, o->poison);
    if (in_place) {
        lk_free(x[0].frozen);
        x[0].frozen = NULL;
    }
    void *const out = in_place ? kern_ptr(&x[0]) : kern_ptr(&y);

    lk_call base = {.spec = spec, .micro = &micro, .state = plan.state};
    for (int i = 0; i < spec->n_params; i++)
        base.param[i] = kern_ptr(&param[i]);
    if (k->pack) {
        lk_call c = base;
        c.packed = kern_ptr(&packed);
        c.scratch = kern_ptr(&scratch_forward);
        KERN_OK(k->pack(&c));
        kern_fill(&scratch_forward, o->poison);
        kern_freeze(&packed);
    }
    base.packed = kern_ptr(&packed);
    base.saved = spec->training ? kern_ptr(&saved) : NULL;

    lk_call f = base;
    for (int i = 0; i < spec->n_in; i++)
        f.x[i] = kern_ptr(&x[i]);
    f.y = out;
    f.scratch = kern_ptr(&scratch_forward);
    f.carry = kern_ptr(&carry);
    for (int i = 0; i < spec->n_params; i++)
        if (spec->training && spec->param[i].kind == LK_PARAM_STATISTIC)
            f.dparam[i] = kern_ptr(&dparam[i]);
    int64_t allocations = lk_mem_count();
    lk_status st = k->forward(&f);
    cr_assert(lk_mem_count() == allocations, "%s: forward allocates", label);

    if (st == LK_OK && n_out) {
        KERN_OK(lk_alloc_array(n_out, sizeof(double), "test result", &r->y));
        kern_get(be, &spec->out, spec->out_layout, out, r->y);
    }
    if (st == LK_OK && carry.bytes) {
        r->n_carry = (int64_t)(carry.bytes / real);
        KERN_OK(lk_alloc_array(r->n_carry, sizeof(double), "test result", &r->carry));
        kern_get(be, &(lk_shape){1, {r->n_carry}}, LK_LAYOUT_PLAIN, kern_ptr(&carry), r->carry);
    }
    if (st == LK_OK && spec->training && !o->forward_only) {
        lk_call b = base;
        for (int i = 0; i < spec->n_in; i++) {
            b.x[i] = needs & LK_NEEDS_IN(i) ? kern_ptr(&x[i]) : NULL;
            if (spec->in_dtype[i] == LK_DT_REAL && !(o->skip_dx >> i & 1)) {
                if (i == 0 && o->in_place_dx && k->in_place_dx && n_out)
                    continue;
                kern_buf_init(&dx[i], x[i].bytes, o->poison);
                b.dx[i] = kern_ptr(&dx[i]);
            }
        }
        b.y = needs & LK_NEEDS_Y ? out : NULL;
        if (y.bytes)
            kern_freeze(&y);
        if (n_out) {
            kern_buf_init(&dy, (size_t)n_out * real, o->poison);
            kern_put(be, &spec->out, spec->out_layout, d->dy, kern_ptr(&dy));
            b.dy = kern_ptr(&dy);
            if (o->in_place_dx && k->in_place_dx && !(o->skip_dx & 1))
                b.dx[0] = kern_ptr(&dy);
            else
                kern_freeze(&dy);
        }
        for (int i = 0; i < spec->n_params; i++)
            if (spec->param[i].kind == LK_PARAM_WEIGHT)
                b.dparam[i] = o->frozen ? NULL : kern_ptr(&dparam[i]);
            else
                kern_freeze(&dparam[i]);
        b.scratch = kern_ptr(&scratch_backward);
        allocations = lk_mem_count();
        st = k->backward(&b);
        cr_assert(lk_mem_count() == allocations, "%s: backward allocates", label);
        if (st == LK_OK)
            for (int i = 0; i < spec->n_in; i++)
                if (b.dx[i]) {
                    KERN_OK(lk_alloc_array(lk_shape_count(&spec->in[i]), sizeof(double), "test result", &r->dx[i]));
                    kern_get(be, &spec->in[i], spec->in_layout, b.dx[i], r->dx[i]);
                }
    }
    for (int i = 0; st == LK_OK && spec->training && i < spec->n_params; i++) {
        if ((o->forward_only || o->frozen) && spec->param[i].kind == LK_PARAM_WEIGHT)
            continue;
        KERN_OK(lk_alloc_array(lk_shape_count(&spec->param[i].shape), sizeof(double), "test result", &r->dparam[i]));
        kern_get(be, &spec->param[i].shape, LK_LAYOUT_PLAIN, kern_ptr(&dparam[i]), r->dparam[i]);
    }
    memcpy(r->metrics, metrics, sizeof metrics);

    for (int i = 0; i < LK_MAX_IN; i++) {
        kern_buf_check(&x[i], "x", label);
        kern_buf_check(&dx[i], "dx", label);
        kern_buf_fini(&x[i]);
        kern_buf_fini(&dx[i]);
    }
    for (int i = 0; i < LK_MAX_PARAMS; i++) {
        kern_buf_check(&param[i], "param", label);
        kern_buf_check(&dparam[i], "dparam", label);
        kern_buf_fini(&param[i]);
        kern_buf_fini(&dparam[i]);
    }
    kern_buf *const rest[] = {&y, &dy, &saved, &scratch_forward, &scratch_backward, &packed, &carry};
    static const char *const rest_name[] = {
        "y", "dy", "saved", "forward scratch", "backward scratch", "packed", "carry"};
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        kern_buf_check(rest[i], rest_name[i], label);
        kern_buf_fini(rest[i]);
    }
    if (k->destroy)
        k->destroy(plan.state);
    if (st != LK_OK)
        kern_result_fini(r);
    return st;
}

/* Largest |v|; NaN if there is one. */
static inline double kern_largest(int64_t n, const double *v)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(v[i]))
            return NAN;
        top = fmax(top, fabs(v[i]));
    }
    return top;
}

/* Largest |a - b|; NaN if there is one. */
static inline double kern_distance(int64_t n, const double *a, const double *b)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(a[i] - b[i]))
            return NAN;
        top = fmax(top, fabs(a[i] - b[i]));
    }
    return top;
}

#endif
