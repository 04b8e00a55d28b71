/* batch_norm: y = (x - mean) scale + shift by channel, with scale = weight / sqrt(var + eps) and shift = bias; relu
 * fused behind it. Training: statistics of the valid rows of this microbatch, in two passes.
 * Backward, with g = dy where relu let it through, N elements a channel and t = x - mean:
 *   dbias = sum g, dweight = sum(g t) / sqrt(var + eps),
 *   dx = scale (g - sum(g) / N - t sum(g t) / (N (var + eps))).
 * With `running`, training takes the running statistics, too: dx = scale g, and sums only for the weights that ask. */
#include "kern/cpu/cpu_int.h"
#include <math.h>
#include <string.h>

/* How a value is walked: `groups` blocks of `cols` channels, each in `segments` runs of `rows` x cols elements.
 * NHWC and [B,C] are one group of all channels in one run; plain is one group a channel, one run a sample. */
typedef struct view {
    int64_t groups, cols, segments, rows, group_step, segment_step;
    lki_fold fold;
} view;

static view view_make(const lk_opspec *s, int64_t batch)
{
    const int64_t channels = s->in[0].dim[1], area = lki_shape_area(&s->in[0]);
    view v;
    if (lk_shape_spatial(&s->in[0]) && s->in_layout == LK_LAYOUT_PLAIN)
        v = (view){channels, 1, batch, area, area, channels * area, {0}};
    else
        v = (view){1, channels, 1, batch * area, 0, 0, {0}};
    v.fold = lki_fold_make(v.cols);
    return v;
}

/* Scratch: sums [2][C] and wide sums [2][width] in double; in float, vectors by channel and folded ones. */
typedef struct room {
    double *sum, *sum_x, *wide;
    float *scale, *constant, *slope; /* [C] */
    float *w_mean, *w_scale, *w_shift, *w_constant, *w_slope;
} room;

static size_t room_bytes(int64_t channels, int64_t width)
{
    return 2 * lki_floats(2 * channels) + lki_floats(4 * width) + 3 * lki_floats(channels) + 5 * lki_floats(width);
}

static room room_make(void *scratch, int64_t channels, int64_t width)
{
    room r;
    char *at = scratch;
    r.sum = (double *)at, at += lki_floats(2 * channels);
    r.sum_x = (double *)at, at += lki_floats(2 * channels);
    r.wide = (double *)at, at += lki_floats(4 * width);
    r.scale = (float *)at, at += lki_floats(channels);
    r.constant = (float *)at, at += lki_floats(channels);
    r.slope = (float *)at, at += lki_floats(channels);
    r.w_mean = (float *)at, at += lki_floats(width);
    r.w_scale = (float *)at, at += lki_floats(width);
    r.w_shift = (float *)at, at += lki_floats(width);
    r.w_constant = (float *)at, at += lki_floats(width);
    r.w_slope = (float *)at;
    return r;
}

/* Kept from forward to backward, and the same in both: mean and 1 / deviation, [C] each. */
static size_t saved_bytes(int64_t channels)
{
    return 2 * lki_floats(channels);
}

static float *saved_inverse(void *saved, int64_t channels)
{
    return (float *)((char *)saved + lki_floats(channels));
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t channels = s->in[0].dim[1];
    const view v = view_make(s, s->in[0].dim[0]);
    *out = (lk_kern_plan){.saved_bytes = s->training ? saved_bytes(channels) : 0,
        .scratch_forward = room_bytes(channels, v.fold.width),
        .scratch_backward = room_bytes(channels, v.fold.width)};
    return LK_OK;
}

LK_CLONES static void normalize(int64_t rows, int64_t width, bool relu, const float *x, const float *restrict mean,
    const float *restrict scale, const float *restrict shift, float *y)
{
    for (int64_t r = 0; r < rows; r++, x += width, y += width) {
        if (relu) {
            LK_INDEPENDENT
            for (int64_t j = 0; j < width; j++) {
                const float z = (x[j] - mean[j]) * scale[j] + shift[j];
                y[j] = z < 0 ? 0 : z;
            }
        } else {
            LK_INDEPENDENT
            for (int64_t j = 0; j < width; j++)
                y[j] = (x[j] - mean[j]) * scale[j] + shift[j];
        }
    }
}

/* dx = scale g - constant - (x - mean) slope */
LK_CLONES static void input_gradient(
    int64_t rows, int64_t width, bool relu, const float *x, const float *dy, const room *v, float *dx)
{
    const float *const restrict mean = v->w_mean, *const restrict scale = v->w_scale;
    const float *const restrict shift = v->w_shift, *const restrict constant = v->w_constant;
    const float *const restrict slope = v->w_slope;
    for (int64_t r = 0; r < rows; r++, x += width, dy += width, dx += width) {
        if (relu) {
            LK_INDEPENDENT
            for (int64_t j = 0; j < width; j++) {
                const float t = x[j] - mean[j];
                const float g = t * scale[j] + shift[j] > 0 ? dy[j] : 0;
                dx[j] = scale[j] * g - constant[j] - t * slope[j];
            }
        } else {
            LK_INDEPENDENT
            for (int64_t j = 0; j < width; j++)
                dx[j] = scale[j] * dy[j] - constant[j] - (x[j] - mean[j]) * slope[j];
        }
    }
}

/* rows x cols elements: whole folded rows, then what is left of one. */
static void normalize_run(const view *v, const room *r, bool relu, const float *x, float *y)
{
    const lki_fold *const f = &v->fold;
    const int64_t full = v->rows / f->repeat, left = (v->rows - full * f->repeat) * f->cols, at = full * f->width;
    normalize(full, f->width, relu, x, r->w_mean, r->w_scale, r->w_shift, y);
    if (left > 0)
        normalize(1, left, relu, x + at, r->w_mean, r->w_scale, r->w_shift, y + at);
}

static void statistics(const lk_call *c, const view *v, const room *r, int64_t count)
{
    const int64_t channels = c->spec->in[0].dim[1];
    const float *const x = c->x[0];
    float *const mean = c->saved, *const var = c->dparam[3], *const inverse = saved_inverse(c->saved, channels);
    const double n = count > 0 ? (double)count : 1;
    memset(r->sum, 0, (size_t)channels * sizeof *r->sum);
    memset(r->sum_x, 0, (size_t)channels * sizeof *r->sum_x);
    for (int64_t g = 0; g < v->groups; g++) {
        float *const m = mean + g * v->cols;
        for (int64_t i = 0; i < v->segments; i++)
            lki_sums(&v->fold, v->rows, x + g * v->group_step + i * v->segment_step, r->wide, r->sum + g * v->cols);
        for (int64_t i = 0; i < v->cols; i++)
            m[i] = (float)(r->sum[g * v->cols + i] / n);
        lki_fold_repeat(&v->fold, m, r->w_mean);
        for (int64_t i = 0; i < v->segments; i++)
            lki_square_sums(&v->fold, v->rows, x + g * v->group_step + i * v->segment_step, r->w_mean, r->wide,
                r->sum_x + g * v->cols);
    }
    if (c->dparam[2])
        memcpy(c->dparam[2], mean, (size_t)channels * sizeof *mean);
    for (int64_t i = 0; i < channels; i++) {
        inverse[i] = (float)(1 / sqrt(r->sum_x[i] / n + c->spec->attr.batch_norm.eps));
        if (var)
            var[i] = (float)(r->sum_x[i] / (count > 1 ? n - 1 : 1));
    }
}

/* The running statistics in the place of the microbatch's. The step adds up the fresh ones at momentum 0, so they are zeros. */
static void take_running(const lk_call *c)
{
    const int64_t channels = c->spec->in[0].dim[1];
    const float *const var = c->param[3];
    float *const inverse = saved_inverse(c->saved, channels);
    memcpy(c->saved, c->param[2], (size_t)channels * sizeof(float));
    for (int64_t i = 0; i < channels; i++)
        inverse[i] = (float)(1 / sqrt((double)var[i] + c->spec->attr.batch_norm.eps));
    for (int i = 2; i <= 3; i++)
        if (c->dparam[i])
            memset(c->dparam[i], 0, (size_t)channels * sizeof(float));
}

/* The folded mean, scale and shift of group g. */
static void fold_vectors(const lk_call *c, const view *v, const room *r, int64_t g, const float *mean)
{
    const float *const bias = c->param[1];
    lki_fold_repeat(&v->fold, mean + g * v->cols, r->w_mean);
    lki_fold_repeat(&v->fold, r->scale + g * v->cols, r->w_scale);
    lki_fold_repeat(&v->fold, bias + g * v->cols, r->w_shift);
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t channels = s->in[0].dim[1];
    const view all = view_make(s, s->in[0].dim[0]);
    const room r = room_make(c->scratch, channels, all.fold.width);
    const float *const weight = c->param[0], *const running_var = c->param[3];
    const float *mean = c->param[2];
    if (s->training) {
        const view valid = view_make(s, c->micro->valid);
        if (s->attr.batch_norm.running)
            take_running(c);
        else
            statistics(c, &valid, &r, c->micro->valid * lki_shape_area(&s->in[0]));
        mean = c->saved;
    }
    for (int64_t i = 0; i < channels; i++)
        r.scale[i] = weight[i] * (s->training ? saved_inverse(c->saved, channels)[i]
                                              : (float)(1 / sqrt((double)running_var[i] + s->attr.batch_norm.eps)));
    for (int64_t g = 0; g < all.groups; g++) {
        fold_vectors(c, &all, &r, g, mean);
        for (int64_t i = 0; i < all.segments; i++) {
            const int64_t at = g * all.group_step + i * all.segment_step;
            normalize_run(
                &all, &r, s->attr.batch_norm.act == LK_ACT_RELU, (const float *)c->x[0] + at, (float *)c->y + at);
        }
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t channels = s->in[0].dim[1], row = lk_shape_row(&s->in[0]);
    const int64_t count = c->micro->valid * lki_shape_area(&s->in[0]);
    const bool relu = s->attr.batch_norm.act == LK_ACT_RELU, running = s->attr.batch_norm.running;
    const view v = view_make(s, c->micro->valid);
    const room r = room_make(c->scratch, channels, v.fold.width);
    const float *const x = c->x[0], *const dy = c->dy, *const weight = c->param[0];
    const float *const mean = c->saved, *const inverse = saved_inverse(c->saved, channels);
    float *const dweight = c->dparam[0], *const dbias = c->dparam[1], *const dx = c->dx[0];
    const double n = count > 0 ? (double)count : 1;

    memset(r.sum, 0, (size_t)channels * sizeof *r.sum);
    memset(r.sum_x, 0, (size_t)channels * sizeof *r.sum_x);
    for (int64_t i = 0; i < channels; i++)
        r.scale[i] = weight[i] * inverse[i];
    for (int64_t g = 0; g < v.groups; g++) {
        fold_vectors(c, &v, &r, g, mean);
        for (int64_t i = 0; i < v.segments && (!running || dweight || dbias); i++) {
            const int64_t at = g * v.group_step + i * v.segment_step;
            lki_norm_sums(&v.fold, v.rows, x + at, dy + at, relu, r.w_mean, r.w_scale, r.w_shift, r.wide,
                r.sum + g * v.cols, r.sum_x + g * v.cols);
        }
    }
    for (int64_t i = 0; i < channels; i++) {
        if (dweight)
            dweight[i] = (float)(r.sum_x[i] * (double)inverse[i]);
        if (dbias)
            dbias[i] = (float)r.sum[i];
        r.constant[i] = running ? 0 : (float)((double)r.scale[i] * r.sum[i] / n);
        r.slope[i] = running ? 0 : (float)((double)r.scale[i] * r.sum_x[i] * (double)inverse[i] * (double)inverse[i] / n);
    }
    if (!dx)
        return LK_OK;
    const int64_t full = v.rows / v.fold.repeat, left = (v.rows - full * v.fold.repeat) * v.cols,
                  tail = full * v.fold.width;
    for (int64_t g = 0; g < v.groups; g++) {
        fold_vectors(c, &v, &r, g, mean);
        lki_fold_repeat(&v.fold, r.constant + g * v.cols, r.w_constant);
        lki_fold_repeat(&v.fold, r.slope + g * v.cols, r.w_slope);
        for (int64_t i = 0; i < v.segments; i++) {
            const int64_t at = g * v.group_step + i * v.segment_step;
            input_gradient(full, v.fold.width, relu, x + at, dy + at, &r, dx + at);
            if (left > 0)
                input_gradient(1, left, relu, x + at + tail, dy + at + tail, &r, dx + at + tail);
        }
    }
    memset(dx + c->micro->valid * row, 0, (size_t)((s->in[0].dim[0] - c->micro->valid) * row) * sizeof *dx);
    return LK_OK;
}

/* Not in place: backward reads the input. */
const lk_kernel lk_kern_cpu_batch_norm = {.in_place_dx = true, .plan = plan, .forward = forward, .backward = backward};
