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
enum { KERN_GUARD = 256, KERN_GUARD_BYTE = 0xC3 };

/* Memory in a backend's space, with a view of it on the host (the same memory where the space is the host's). */
typedef struct kern_buf {
    const lk_space *space;
    unsigned char *base, *view; /* guard, bytes, guard */
    size_t bytes;
    unsigned char *frozen; /* copy of the content that must not change; NULL: may */
} kern_buf;

/* NULL for an empty buffer, as the plan gives it. */
static inline void *kern_ptr(const kern_buf *b)
{
    return b->bytes ? b->base + KERN_GUARD : NULL;
}

/* The content on the host; as it is in the space only after kern_bring_out. */
static inline void *kern_view(const kern_buf *b)
{
    return b->bytes ? b->view + KERN_GUARD : NULL;
}

static inline void kern_bring_in(kern_buf *b)
{
    if (b->view != b->base)
        KERN_OK(lk_space_copy(b->space, b->base, b->view, b->bytes + 2 * KERN_GUARD, LK_COPY_IN));
}

static inline void kern_bring_out(kern_buf *b)
{
    if (b->view != b->base)
        KERN_OK(lk_space_copy(b->space, b->view, b->base, b->bytes + 2 * KERN_GUARD, LK_COPY_OUT));
}

static inline void kern_fill(kern_buf *b, unsigned char poison)
{
    if (!b->bytes)
        return;
    memset(kern_view(b), poison, b->bytes);
    kern_bring_in(b);
}

static inline void kern_buf_init(kern_buf *b, const lk_backend *be, size_t bytes, unsigned char poison)
{
    *b = (kern_buf){.space = be->space, .bytes = bytes};
    KERN_OK(lk_alloc(bytes + 2 * KERN_GUARD, "test buffer", &b->view));
    b->base = b->view;
    if (!be->space->host)
        KERN_OK(lk_space_alloc(be->space, bytes + 2 * KERN_GUARD, "test buffer", &b->base));
    memset(b->view, KERN_GUARD_BYTE, bytes + 2 * KERN_GUARD);
    kern_bring_in(b);
    kern_fill(b, poison);
    ASAN_POISON_MEMORY_REGION(b->view, KERN_GUARD);
    ASAN_POISON_MEMORY_REGION(b->view + KERN_GUARD + bytes, KERN_GUARD);
}

static inline void kern_unguard(kern_buf *b)
{
    ASAN_UNPOISON_MEMORY_REGION(b->view, b->bytes + 2 * KERN_GUARD);
}

static inline void kern_freeze(kern_buf *b)
{
    if (!b->bytes)
        return;
    kern_unguard(b);
    kern_bring_out(b);
    if (!b->frozen)
        KERN_OK(lk_alloc(b->bytes, "test buffer", &b->frozen));
    memcpy(b->frozen, kern_view(b), b->bytes);
}

/* Guards stand, frozen content is as it was. */
static inline void kern_buf_check(kern_buf *b, const char *what, const char *label)
{
    if (!b->view)
        return;
    kern_unguard(b);
    kern_bring_out(b);
    for (size_t i = 0; i < KERN_GUARD; i++) {
        cr_assert(b->view[i] == KERN_GUARD_BYTE, "%s: %s: written %zu bytes in front", label, what, KERN_GUARD - i);
        cr_assert(b->view[KERN_GUARD + b->bytes + i] == KERN_GUARD_BYTE, "%s: %s: written %zu bytes behind", label,
            what, i + 1);
    }
    if (b->frozen)
        cr_assert(
            memcmp(b->frozen, kern_view(b), b->bytes) == 0, "%s: %s: changed, but is only to be read", label, what);
}

static inline void kern_buf_fini(kern_buf *b)
{
    if (b->view) {
        kern_unguard(b);
        if (b->base != b->view)
            lk_space_free(b->space, b->base);
    }
    lk_free(b->view);
    lk_free(b->frozen);
    *b = (kern_buf){0};
}

/* ---- plain doubles <-> a backend's numbers in a layout ---- */
/* Place in a [B,C,...] array of that layout, or of rows `pitch` apart, of the element that is the i-th in plain order. */
static inline int64_t kern_place(const lk_shape *s, lk_layout layout, int64_t pitch, int64_t i)
{
    if (pitch)
        return i / s->dim[s->ndim - 1] * pitch + i % s->dim[s->ndim - 1];
    if (!lk_shape_spatial(s) || layout == LK_LAYOUT_PLAIN)
        return i;
    const int64_t channels = s->dim[1], area = lk_shape_row(s) / channels;
    const int64_t b = i / (channels * area), c = i / area % channels, at = i % area;
    return (b * area + at) * channels + c;
}


typedef enum kern_type { KERN_F64, KERN_F32, KERN_BF16, KERN_F16 } kern_type;

static inline kern_type kern_real_type(const lk_backend *be)
{
    return be->real_size == sizeof(double) ? KERN_F64 : KERN_F32;
}

static inline kern_type kern_value_type(const lk_backend *be)
{
    return be->value_size == be->real_size ? kern_real_type(be) : strstr(be->name, "bf16") ? KERN_BF16 : KERN_F16;
}

static inline size_t kern_type_size(kern_type t)
{
    return t == KERN_F64 ? 8 : t == KERN_F32 ? 4 : 2;
}

/* Rounds to nearest, ties to even, to `bits` behind the point and exponents from `least` on. */
static inline double kern_round(double v, int bits, int least)
{
    int e;
    if (v == 0 || !isfinite(v))
        return v;
    frexp(v, &e);
    e = e - 1 < least ? least : e - 1;
    return ldexp(rint(ldexp(v, bits - e)), e - bits);
}

static inline double kern_quantize(kern_type t, double v)
{
    return t == KERN_F64 ? v : t == KERN_F32 ? (double)(float)v : t == KERN_BF16 ? kern_round(v, 7, -126) : kern_round(v, 10, -14);
}

static inline void kern_store(kern_type t, double v, void *to, int64_t i)
{
    const float f = (float)kern_quantize(t, v);
    uint32_t w;
    memcpy(&w, &f, sizeof w);
    switch (t) {
    case KERN_F64:
        ((double *)to)[i] = v;
        break;
    case KERN_F32:
        ((float *)to)[i] = f;
        break;
    case KERN_BF16:
        ((uint16_t *)to)[i] = (uint16_t)(w >> 16);
        break;
    case KERN_F16: {
        const uint16_t sign = (uint16_t)(w >> 16 & 0x8000);
        const double a = fabs((double)f);
        ((uint16_t *)to)[i] = isnan(f)       ? (uint16_t)(sign | 0x7e00)
                              : a >= 0x1p16  ? (uint16_t)(sign | 0x7c00)
                              : a < 0x1p-14  ? (uint16_t)(sign | (uint16_t)(a * 0x1p24))
                                             : (uint16_t)(sign | ((w >> 13 & 0x3ffff) - ((127 - 15) << 10)));
        break;
    }
    }
}

static inline double kern_load(kern_type t, const void *from, int64_t i)
{
    if (t == KERN_F64)
        return ((const double *)from)[i];
    if (t == KERN_F32)
        return (double)((const float *)from)[i];
    const uint16_t h = ((const uint16_t *)from)[i];
    if (t == KERN_BF16) {
        const uint32_t w = (uint32_t)h << 16;
        float f;
        memcpy(&f, &w, sizeof f);
        return (double)f;
    }
    const int e = h >> 10 & 31, m = h & 1023;
    const double a = e == 31 ? (m ? NAN : INFINITY) : e == 0 ? m * 0x1p-24 : ldexp(1024 + m, e - 25);
    return h & 0x8000 ? -a : a;
}

static inline void kern_put_rows(kern_type t, const lk_shape *s, lk_layout layout, int64_t pitch, const double *from, kern_buf *to)
{
    const int64_t n = lk_shape_count(s);
    for (int64_t i = 0; i < n; i++)
        kern_store(t, from[i], kern_view(to), kern_place(s, layout, pitch, i));
    kern_unguard(to);
    kern_bring_in(to);
}

static inline void kern_put(kern_type t, const lk_shape *s, lk_layout layout, const double *from, kern_buf *to)
{
    kern_put_rows(t, s, layout, 0, from, to);
}

static inline void kern_get_rows(kern_type t, const lk_shape *s, lk_layout layout, int64_t pitch, kern_buf *from, double *to)
{
    const int64_t n = lk_shape_count(s);
    kern_unguard(from);
    kern_bring_out(from);
    for (int64_t i = 0; i < n; i++)
        to[i] = kern_load(t, kern_view(from), kern_place(s, layout, pitch, i));
}

static inline void kern_get(kern_type t, const lk_shape *s, lk_layout layout, kern_buf *from, double *to)
{
    kern_get_rows(t, s, layout, 0, from, to);
}

/* What lies between rows of a gradient is 0. */
static inline void kern_check_between(kern_type t, const lk_shape *s, int64_t pitch, const kern_buf *of, const char *label)
{
    const int64_t row = s->dim[s->ndim - 1];
    for (int64_t i = 0; pitch && i < lk_shape_pitched(s, pitch); i++)
        cr_assert(i % pitch < row || kern_load(t, kern_view(of), i) == 0, "%s: %g between rows of a gradient", label, kern_load(t, kern_view(of), i));
}

/* ---- data of a case ---- */
/* What data are rounded to, so that all backends get the same numbers, and how near to its kink a fused activation has no gradient. */
static kern_type kern_data_type = KERN_F32;
static double kern_kink = 1e-3;

typedef struct kern_data {
    lk_opspec spec; /* plain layouts, training, inferred */
    lk_micro micro;
    int64_t *sample;
    double *x[LK_MAX_IN];
    int64_t *id[LK_MAX_IN]; /* inputs of whole numbers */
    double *param[LK_MAX_PARAMS];
    double *dsum; /* kernels with `residual`: from elsewhere, 0 in padding rows; NULL: none */
    double *dy; /* 0 in padding rows, and where a fused activation is within kern_kink of its kink */
    char label[256];
} kern_data;

typedef struct kern_result {
    double *y, *sum, *dx[LK_MAX_IN], *dparam[LK_MAX_PARAMS];
    double *carry; /* what forward left there */
    int64_t n_carry;
    double metrics[LK_MAX_METRICS];
} kern_result;

typedef struct kern_opts {
    unsigned char poison;
    bool forward_only;
    bool in_place; /* y over x[0]; with a sum: that over x[0], y over x[1] */
    bool in_place_other; /* with a sum: that over x[1], y over x[0] */
    bool in_place_dx; /* dx[0] over dy */
    bool in_place_dsum; /* dx[0] over dsum */
    bool in_place_x; /* dx[0] over x[0] */
    unsigned skip_dx; /* bit i: dx[i] is not asked for */
    bool frozen; /* no gradient of a weight is asked for */
    bool no_carry; /* the kernel is given none: it starts from zero */
} kern_opts;

static inline void kern_result_fini(kern_result *r)
{
    lk_free(r->y);
    lk_free(r->sum);
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
    lk_free(d->dsum);
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

/* rnn with relu: rows in which a small change of the bias turns a unit on or off have no gradient. */
static inline void kern_drop_kinks(kern_data *d)
{
    const double change = kern_kink / 4; /* smaller than elsewhere: one unit of one step takes the whole row with it */
    const int64_t n = lk_shape_count(&d->spec.out), row = lk_shape_row(&d->spec.out), units = d->spec.attr.recurrent.units;
    double *const bias = d->param[2], *changed = NULL;
    kern_result r[2];

    KERN_OK(lk_alloc_array(units, sizeof *changed, "test data", &changed));
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < units; i++)
            changed[i] = bias[i] + (side ? change : -change);
        d->param[2] = changed;
        KERN_OK(kern_run(&lk_backend_ref, &d->spec, d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r[side]));
    }
    d->param[2] = bias;
    lk_free(changed);
    for (int64_t i = 0; i < n; i++)
        if ((r[0].y[i] > 0) != (r[1].y[i] > 0))
            memset(d->dy + i / row * row, 0, (size_t)row * sizeof *d->dy);
    kern_result_fini(&r[0]);
    kern_result_fini(&r[1]);
}

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
        for (int64_t j = 0; j < n; j++)
            d->x[i][j] = kern_quantize(kern_data_type, d->x[i][j]);
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
    for (int64_t i = 0; i < n; i++)
        d->dy[i] = kern_quantize(kern_data_type, d->dy[i]);
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
            if (fabs(r.y[i]) < kern_kink)
                d->dy[i] = 0;
        kern_result_fini(&r);
    }
    if (op == LK_OP_RNN && s->attr.recurrent.relu)
        kern_drop_kinks(d);
    if (lk_backend_ref.kernel[op]->residual) {
        d->dsum = kern_uniform(NEXT, n, -1, 1);
        for (int64_t i = 0; i < n; i++)
            d->dsum[i] = i < valid * row ? kern_quantize(kern_data_type, d->dsum[i]) : 0;
    }
#undef NEXT
}

/* ---- the run ---- */
/* What a device kernel reads in place of the microbatch: lk_live, then the key, then the samples; nothing on the host. */
enum { KERN_KEY_AT = 64, KERN_SAMPLE_AT = 128 };
static inline void kern_live(const lk_backend *be, const lk_opspec *spec, lk_micro *m, kern_buf *live, kern_buf *fault)
{
    *live = (kern_buf){0};
    if (be->space->host)
        return;
    const size_t samples = (size_t)m->rows * sizeof(int64_t);
    kern_buf_init(fault, be, LK_FAULT_WORDS * sizeof(int64_t), 0);
    kern_buf_init(live, be, KERN_SAMPLE_AT + samples, 0);
    const lk_live content = {.valid = m->valid,
        .grad_scale = m->grad_scale,
        .sample = (const int64_t *)((char *)kern_ptr(live) + KERN_SAMPLE_AT),
        .fault = kern_ptr(fault)};
    memcpy(kern_view(live), &content, sizeof content);
    if (lk_op_info(spec->op)->stream) {
        const lk_rng r = lk_op_info(spec->op)->stream(spec, m);
        memcpy((char *)kern_view(live) + KERN_KEY_AT, r.key, sizeof r.key);
    }
    memcpy((char *)kern_view(live) + KERN_SAMPLE_AT, m->sample, samples);
    kern_unguard(live);
    kern_bring_in(live);
    kern_freeze(live);
    /* None of these may be looked at by a kernel's host side. */
    m->valid = -1;
    m->grad_scale = NAN;
    m->sample = NULL;
}

/* All that was queued is done; what it found wrong with the data. */
static inline lk_status kern_settle(const lk_backend *be, const lk_micro *m, kern_buf *fault)
{
    if (be->space->host)
        return LK_OK;
    LK_TRY(lk_space_wait(be->space));
    kern_unguard(fault);
    kern_bring_out(fault);
    const int64_t *const note = kern_view(fault);
    cr_assert(note[LK_FAULT_KIND] == LK_FAULT_NONE || note[LK_FAULT_NODE] == 7, "a note of bad data names node %" PRId64, note[LK_FAULT_NODE]);
    return lk_fault_status(m, note);
}

/* One forward and, if the spec is in training, one backward pass of `spec` (d->spec, perhaps with other layouts or
 * `training`) on new buffers. The kernel's status; everything else that is wrong fails the test. */
static inline lk_status kern_run(
    const lk_backend *be, const lk_opspec *spec, const kern_data *d, const kern_opts *o, kern_result *r)
{
    const lk_kernel *const k = be->kernel[spec->op];
    const lk_opinfo *const info = lk_op_info(spec->op);
    const unsigned needs = info->needs(spec);
    const kern_type real = kern_real_type(be), value = kern_value_type(be);
    const size_t real_size = be->real_size, value_size = be->value_size;
    char label[320];
    snprintf(label, sizeof label, "%s %s%s%s%s", be->name, d->label, spec->training ? "" : " eval",
        spec->in_layout == LK_LAYOUT_NHWC ? " NHWC" : "", spec->out_layout == LK_LAYOUT_NHWC ? " -> NHWC" : "");
    *r = (kern_result){0};

    lk_kern_plan plan = {0};
    if (k->plan)
        KERN_OK(k->plan(spec, &plan));

    kern_buf x[LK_MAX_IN] = {0}, param[LK_MAX_PARAMS] = {0}, dparam[LK_MAX_PARAMS] = {0}, dx[LK_MAX_IN] = {0};
    kern_buf y = {0}, sum = {0}, dy = {0}, dsum = {0}, saved, scratch_forward, scratch_backward, packed, carry = {0};
    kern_buf metrics, live, fault = {0};
    kern_buf_init(&metrics, be, LK_MAX_METRICS * sizeof(double), 0xFF); /* NaN */
    lk_micro micro = d->micro;
    micro.metrics = kern_ptr(&metrics);
    kern_live(be, spec, &micro, &live, &fault);

    kern_buf_init(&saved, be, plan.saved_bytes, o->poison);
    kern_buf_init(&scratch_forward, be, plan.scratch_forward, o->poison);
    kern_buf_init(&scratch_backward, be, plan.scratch_backward, o->poison);
    kern_buf_init(&packed, be, plan.packed_bytes, o->poison);
    if (plan.carry_bytes && !o->no_carry) {
        const lk_shape flat = {1, {(int64_t)(plan.carry_bytes / real_size)}};
        double *const state = kern_uniform(lk_rng_make(micro.seed, LK_RNG_TEST, 99), flat.dim[0], -1, 1);
        kern_buf_init(&carry, be, plan.carry_bytes, o->poison);
        kern_put(real, &flat, LK_LAYOUT_PLAIN, state, &carry);
        lk_free(state);
    }
    for (int i = 0; i < spec->n_in; i++) {
        const int64_t pitch = i == 0 ? spec->in_pitch : 0;
        const size_t n = (size_t)lk_shape_pitched(&spec->in[i], pitch);
        if (spec->in_dtype[i] == LK_DT_I64) {
            kern_buf_init(&x[i], be, n * sizeof(int64_t), o->poison);
            memcpy(kern_view(&x[i]), d->id[i], n * sizeof(int64_t));
            kern_unguard(&x[i]);
            kern_bring_in(&x[i]);
        } else {
            kern_buf_init(&x[i], be, n * value_size, o->poison);
            kern_put_rows(value, &spec->in[i], spec->in_layout, pitch, d->x[i], &x[i]);
        }
        kern_freeze(&x[i]);
    }
    for (int i = 0; i < spec->n_params; i++) {
        const size_t n = (size_t)lk_shape_count(&spec->param[i].shape);
        kern_buf_init(&param[i], be, n * real_size, o->poison);
        kern_buf_init(&dparam[i], be, n * real_size, o->poison);
        kern_put(real, &spec->param[i].shape, LK_LAYOUT_PLAIN, d->param[i], &param[i]);
        kern_freeze(&param[i]);
    }
    const int64_t n_out = info->loss ? 0 : lk_shape_count(&spec->out), out_bytes = info->loss ? 0 : lk_shape_pitched(&spec->out, spec->out_pitch) * (int64_t)value_size;
    const bool sums = needs & LK_NEEDS_SUM;
    const bool in_place = (o->in_place || (sums && o->in_place_other)) && k->in_place;
    kern_buf *const y_at = !in_place ? &y : sums && !o->in_place_other ? &x[1] : &x[0];
    kern_buf *const sum_at = !in_place ? &sum : o->in_place_other ? &x[1] : &x[0];
    if (n_out && !in_place)
        kern_buf_init(&y, be, (size_t)out_bytes, o->poison);
    if (sums && !in_place)
        kern_buf_init(&sum, be, (size_t)n_out * value_size, o->poison);
    for (int i = 0; in_place && i < (sums ? 2 : 1); i++) {
        lk_free(x[i].frozen);
        x[i].frozen = NULL;
    }
    void *const out = kern_ptr(y_at);

    lk_call base = {.spec = spec, .micro = &micro, .state = plan.state, .node = 7};
    if (live.bytes) {
        base.live = kern_ptr(&live);
        base.key = (const uint32_t *)((const char *)kern_ptr(&live) + KERN_KEY_AT);
    }
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
    f.sum = sums ? kern_ptr(sum_at) : NULL;
    f.scratch = kern_ptr(&scratch_forward);
    f.carry = kern_ptr(&carry);
    for (int i = 0; i < spec->n_params; i++)
        if (spec->training && spec->param[i].kind == LK_PARAM_STATISTIC)
            f.dparam[i] = kern_ptr(&dparam[i]);
    int64_t allocations = lk_mem_count();
    lk_status st = k->forward(&f);
    cr_assert(lk_mem_count() == allocations, "%s: forward allocates", label);
    if (st == LK_OK)
        st = kern_settle(be, &d->micro, &fault);

    if (st == LK_OK && n_out) {
        KERN_OK(lk_alloc_array(n_out, sizeof(double), "test result", &r->y));
        kern_get_rows(value, &spec->out, spec->out_layout, spec->out_pitch, y_at, r->y);
    }
    if (st == LK_OK && sums) {
        KERN_OK(lk_alloc_array(n_out, sizeof(double), "test result", &r->sum));
        kern_get(value, &spec->in[0], spec->in_layout, sum_at, r->sum);
        kern_freeze(sum_at);
    }
    if (st == LK_OK && carry.bytes) {
        r->n_carry = (int64_t)(carry.bytes / real_size);
        KERN_OK(lk_alloc_array(r->n_carry, sizeof(double), "test result", &r->carry));
        kern_get(real, &(lk_shape){1, {r->n_carry}}, LK_LAYOUT_PLAIN, &carry, r->carry);
    }
    if (st == LK_OK && spec->training && !o->forward_only) {
        lk_call b = base;
        const bool in_dsum = o->in_place_dsum && k->in_place_dx && d->dsum;
        const bool over_x = o->in_place_x && k->in_place_x && !(o->skip_dx & 1);
        if (over_x) {
            lk_free(x[0].frozen);
            x[0].frozen = NULL;
            b.dx[0] = kern_ptr(&x[0]);
        }
        /* The gradient of a sum is that of both inputs, and asked for if either is. */
        const unsigned skip_dx = !sums ? o->skip_dx : (o->skip_dx & 3) == 3 ? 3 : 2;
        for (int i = 0; i < spec->n_in; i++) {
            b.x[i] = needs & LK_NEEDS_IN(i) ? kern_ptr(&x[i]) : NULL;
            if (spec->in_dtype[i] == LK_DT_REAL && !(skip_dx >> i & 1)) {
                if (i == 0 && (over_x || (o->in_place_dx && k->in_place_dx && n_out) || in_dsum))
                    continue;
                kern_buf_init(&dx[i], be, x[i].bytes, o->poison);
                b.dx[i] = kern_ptr(&dx[i]);
            }
        }
        b.y = needs & LK_NEEDS_Y ? out : NULL;
        b.sum = f.sum;
        if (y.bytes)
            kern_freeze(&y);
        if (n_out) {
            kern_buf_init(&dy, be, (size_t)out_bytes, spec->out_pitch ? 0 : o->poison);
            kern_put_rows(value, &spec->out, spec->out_layout, spec->out_pitch, d->dy, &dy);
            b.dy = kern_ptr(&dy);
            if (o->in_place_dx && k->in_place_dx && !(skip_dx & 1))
                b.dx[0] = kern_ptr(&dy);
            else
                kern_freeze(&dy);
        }
        if (d->dsum) {
            kern_buf_init(&dsum, be, (size_t)n_out * value_size, o->poison);
            kern_put(value, &spec->in[0], spec->in_layout, d->dsum, &dsum);
            b.dsum = kern_ptr(&dsum);
            if (in_dsum && !(skip_dx & 1))
                b.dx[0] = kern_ptr(&dsum);
            else
                kern_freeze(&dsum);
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
            st = kern_settle(be, &d->micro, &fault);
        if (st == LK_OK)
            for (int i = 0; i < spec->n_in; i++)
                if (b.dx[sums ? 0 : i]) {
                    kern_buf *const at = b.dx[0] && b.dx[0] == kern_ptr(&dy)     ? &dy
                                         : b.dx[0] && b.dx[0] == kern_ptr(&dsum) ? &dsum
                                         : b.dx[0] && b.dx[0] == kern_ptr(&x[0]) ? &x[0]
                                                                                 : &dx[0];
                    KERN_OK(lk_alloc_array(lk_shape_count(&spec->in[i]), sizeof(double), "test result", &r->dx[i]));
                    const int64_t pitch = i == 0 ? spec->in_pitch : 0;
                    kern_get_rows(value, &spec->in[i], spec->in_layout, pitch, i == 0 || sums ? at : &dx[i], r->dx[i]);
                    kern_check_between(value, &spec->in[i], pitch, i == 0 || sums ? at : &dx[i], label);
                }
    }
    for (int i = 0; st == LK_OK && spec->training && i < spec->n_params; i++) {
        if ((o->forward_only || o->frozen) && spec->param[i].kind == LK_PARAM_WEIGHT)
            continue;
        KERN_OK(lk_alloc_array(lk_shape_count(&spec->param[i].shape), sizeof(double), "test result", &r->dparam[i]));
        kern_get(real, &spec->param[i].shape, LK_LAYOUT_PLAIN, &dparam[i], r->dparam[i]);
    }
    kern_unguard(&metrics);
    kern_bring_out(&metrics);
    memcpy(r->metrics, kern_view(&metrics), sizeof r->metrics);

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
    kern_buf *const rest[] = {&y, &sum, &dy, &dsum, &saved, &scratch_forward, &scratch_backward, &packed, &carry, &metrics, &live, &fault};
    static const char *const rest_name[] = {
        "y", "sum", "dy", "dsum", "saved", "forward scratch", "backward scratch", "packed", "carry", "metrics", "live", "fault"};
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
