/* group_norm: y = (x - mean) scale + shift, mean and deviation of a sample's group of channels, scale = weight /
 * deviation and shift = bias by channel. One sample at a time: in NHWC a matrix of places by channels, else each channel
 * a run of its own.
 * Backward, t = x - mean, n elements a group, by channel S = sum dy and T = sum(dy t):
 *   dbias = sum S, dweight = sum(T inv) over samples,
 *   dx = scale dy - inv (sum(w S) / n) - t inv^3 (sum(w T) / n), sums over the group. */
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/lanes.h"
#include <math.h>
#include <string.h>

/* One channel alone: sums over its n places in float lanes. */
LK_CLONES static float run_sum(int64_t n, const float *x)
{
    float sum;
    LKI_RUN_SUM(sum, n, LKI_VEC(x + i), x[i]);
    return sum;
}

LK_CLONES static float run_squares(int64_t n, const float *x, float mean)
{
    float sum;
    LKI_RUN_SUM(sum, n, (LKI_VEC(x + i) - mean) * (LKI_VEC(x + i) - mean), (x[i] - mean) * (x[i] - mean));
    return sum;
}

LK_CLONES static float run_products(int64_t n, const float *x, float mean, const float *dy)
{
    float sum;
    LKI_RUN_SUM(sum, n, LKI_VEC(dy + i) * (LKI_VEC(x + i) - mean), dy[i] * (x[i] - mean));
    return sum;
}

LK_CLONES static void run_normalize(int64_t n, const float *x, float mean, float scale, float shift, float *y)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * scale + shift;
}

LK_CLONES static void run_gradient(
    int64_t n, const float *x, const float *dy, float mean, float scale, float constant, float slope, float *dx)
{
    LK_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = scale * dy[i] - constant - (x[i] - mean) * slope;
}

/* A sample is `blocks` runs of rows x cols elements, `step` apart, each with channels [block cols, block cols + cols). */
typedef struct view {
    int64_t blocks, cols, rows, step, width; /* width: channels of a group */
    lki_fold fold;
} view;

static view view_make(const lk_opspec *s)
{
    const int64_t channels = s->in[0].dim[1], area = lk_shape_row(&s->in[0]) / channels;
    const bool columns = area == 1 || lki_is_nhwc(&s->in[0], s->in_layout);
    view v = columns ? (view){1, channels, area, 0, 0, {0}} : (view){channels, 1, area, area, 0, {0}};
    v.width = channels / s->attr.norm.groups;
    v.fold = lki_fold_make(v.cols);
    return v;
}

typedef struct room {
    double *sum, *sum_t, *wide, *dweight, *dbias; /* [C]; wide [2 width of the fold] */
    float *mean, *scale, *constant, *slope; /* [C] */
    float *w_mean, *w_scale, *w_shift, *w_constant, *w_slope; /* folded */
} room;

static size_t room_bytes(int64_t channels, int64_t width)
{
    return 4 * lki_floats(2 * channels) + lki_floats(4 * width) + 4 * lki_floats(channels) + 5 * lki_floats(width);
}

static room room_make(void *scratch, int64_t channels, int64_t width)
{
    room r;
    char *at = scratch;
    r.sum = (double *)at, at += lki_floats(2 * channels);
    r.sum_t = (double *)at, at += lki_floats(2 * channels);
    r.dweight = (double *)at, at += lki_floats(2 * channels);
    r.dbias = (double *)at, at += lki_floats(2 * channels);
    r.wide = (double *)at, at += lki_floats(4 * width);
    r.mean = (float *)at, at += lki_floats(channels);
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

/* Saved: mean and inverse deviation of each sample's group. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t channels = s->in[0].dim[1];
    const view v = view_make(s);
    *out = (lk_kern_plan){.saved_bytes = s->training ? lki_floats(2 * s->in[0].dim[0] * s->attr.norm.groups) : 0,
        .scratch_forward = room_bytes(channels, v.fold.width),
        .scratch_backward = room_bytes(channels, v.fold.width)};
    return LK_OK;
}

/* to[c] = the value of the channel's group; from every second place. */
static void to_channels(int64_t groups, int64_t width, const float *group, float *to)
{
    for (int64_t g = 0; g < groups; g++)
        for (int64_t i = 0; i < width; i++)
            to[g * width + i] = group[2 * g];
}

static double group_sum(int64_t width, const double *sum)
{
    double s = 0;
    for (int64_t i = 0; i < width; i++)
        s += sum[i];
    return s;
}

/* stat [groups][2]: mean and inverse of one sample; mean also by channel in r->mean. */
static void statistics(const lk_call *c, const view *v, const room *r, const float *x, float *stat)
{
    const lk_attr_norm *const a = &c->spec->attr.norm;
    const int64_t channels = c->spec->in[0].dim[1];
    const double n = (double)(v->width * (lk_shape_row(&c->spec->in[0]) / channels));
    memset(r->sum, 0, (size_t)channels * sizeof *r->sum);
    memset(r->sum_t, 0, (size_t)channels * sizeof *r->sum_t);
    for (int64_t b = 0; b < v->blocks; b++) {
        if (v->cols == 1)
            r->sum[b] = (double)run_sum(v->rows, x + b * v->step);
        else
            lki_sums(&v->fold, v->rows, x + b * v->step, r->wide, r->sum + b * v->cols);
    }
    for (int64_t g = 0; g < a->groups; g++)
        stat[2 * g] = (float)(group_sum(v->width, r->sum + g * v->width) / n);
    to_channels(a->groups, v->width, stat, r->mean);
    for (int64_t b = 0; b < v->blocks; b++) {
        if (v->cols == 1) {
            r->sum_t[b] = (double)run_squares(v->rows, x + b * v->step, r->mean[b]);
            continue;
        }
        lki_fold_repeat(&v->fold, r->mean + b * v->cols, r->w_mean);
        lki_square_sums(&v->fold, v->rows, x + b * v->step, r->w_mean, r->wide, r->sum_t + b * v->cols);
    }
    for (int64_t g = 0; g < a->groups; g++)
        stat[2 * g + 1] = (float)(1 / sqrt(group_sum(v->width, r->sum_t + g * v->width) / n + a->eps));
}

LK_CLONES static void normalize(int64_t rows, int64_t width, const float *x, const float *restrict mean,
    const float *restrict scale, const float *restrict shift, float *y)
{
    for (int64_t r = 0; r < rows; r++, x += width, y += width) {
        LK_INDEPENDENT
        for (int64_t j = 0; j < width; j++)
            y[j] = (x[j] - mean[j]) * scale[j] + shift[j];
    }
}

LK_CLONES static void input_gradient(int64_t rows, int64_t width, const float *x, const float *dy,
    const float *restrict mean, const float *restrict scale, const float *restrict constant,
    const float *restrict slope, float *dx)
{
    for (int64_t r = 0; r < rows; r++, x += width, dy += width, dx += width) {
        LK_INDEPENDENT
        for (int64_t j = 0; j < width; j++)
            dx[j] = scale[j] * dy[j] - constant[j] - (x[j] - mean[j]) * slope[j];
    }
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t channels = s->in[0].dim[1], groups = s->attr.norm.groups, sample = lk_shape_row(&s->in[0]);
    const view v = view_make(s);
    const room r = room_make(c->scratch, channels, v.fold.width);
    const float *const weight = c->param[0], *const bias = c->param[1];
    const int64_t full = v.rows / v.fold.repeat, left = (v.rows - full * v.fold.repeat) * v.cols,
                  tail = full * v.fold.width;
    for (int64_t b = 0; b < s->in[0].dim[0]; b++) {
        const float *const x = (const float *)c->x[0] + b * sample;
        float *const y = (float *)c->y + b * sample;
        float *const stat = c->saved ? (float *)c->saved + b * 2 * groups : (float *)r.dweight; /* free in forward */
        statistics(c, &v, &r, x, stat);
        to_channels(groups, v.width, stat + 1, r.scale);
        for (int64_t i = 0; i < channels; i++)
            r.scale[i] *= weight[i];
        for (int64_t k = 0; k < v.blocks; k++) {
            const int64_t at = k * v.step;
            if (v.cols == 1) {
                run_normalize(v.rows, x + at, r.mean[k], r.scale[k], bias[k], y + at);
                continue;
            }
            lki_fold_repeat(&v.fold, r.mean + k * v.cols, r.w_mean);
            lki_fold_repeat(&v.fold, r.scale + k * v.cols, r.w_scale);
            lki_fold_repeat(&v.fold, bias + k * v.cols, r.w_shift);
            normalize(full, v.fold.width, x + at, r.w_mean, r.w_scale, r.w_shift, y + at);
            if (left > 0)
                normalize(1, left, x + at + tail, r.w_mean, r.w_scale, r.w_shift, y + at + tail);
        }
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t channels = s->in[0].dim[1], groups = s->attr.norm.groups, sample = lk_shape_row(&s->in[0]);
    const view v = view_make(s);
    const room r = room_make(c->scratch, channels, v.fold.width);
    const float *const weight = c->param[0];
    const int64_t full = v.rows / v.fold.repeat, left = (v.rows - full * v.fold.repeat) * v.cols,
                  tail = full * v.fold.width;
    const double n = (double)(v.width * (sample / channels));
    memset(r.dweight, 0, (size_t)channels * sizeof *r.dweight);
    memset(r.dbias, 0, (size_t)channels * sizeof *r.dbias);
    for (int64_t b = 0; b < s->in[0].dim[0]; b++) {
        const float *const x = (const float *)c->x[0] + b * sample, *const dy = (const float *)c->dy + b * sample;
        const float *const stat = (const float *)c->saved + b * 2 * groups;
        to_channels(groups, v.width, stat, r.mean);
        memset(r.sum, 0, (size_t)channels * sizeof *r.sum);
        memset(r.sum_t, 0, (size_t)channels * sizeof *r.sum_t);
        for (int64_t k = 0; k < v.blocks; k++) {
            if (v.cols == 1) {
                r.sum[k] = (double)run_sum(v.rows, dy + k * v.step);
                r.sum_t[k] = (double)run_products(v.rows, x + k * v.step, r.mean[k], dy + k * v.step);
                continue;
            }
            lki_fold_repeat(&v.fold, r.mean + k * v.cols, r.w_mean);
            lki_norm_sums(&v.fold, v.rows, x + k * v.step, dy + k * v.step, false, r.w_mean, NULL, NULL, r.wide,
                r.sum + k * v.cols, r.sum_t + k * v.cols);
        }
        for (int64_t g = 0; g < groups; g++) {
            const double inv = (double)stat[2 * g + 1];
            double sum = 0, sum_t = 0;
            for (int64_t i = g * v.width; i < (g + 1) * v.width; i++) {
                r.dweight[i] += r.sum_t[i] * inv;
                r.dbias[i] += r.sum[i];
                sum += r.sum[i] * (double)weight[i];
                sum_t += r.sum_t[i] * (double)weight[i];
            }
            for (int64_t i = g * v.width; i < (g + 1) * v.width; i++) {
                r.scale[i] = weight[i] * stat[2 * g + 1];
                r.constant[i] = (float)(inv * sum / n);
                r.slope[i] = (float)(inv * inv * inv * sum_t / n);
            }
        }
        if (!c->dx[0])
            continue;
        float *const dx = (float *)c->dx[0] + b * sample;
        for (int64_t k = 0; k < v.blocks; k++) {
            const int64_t at = k * v.step;
            if (v.cols == 1) {
                run_gradient(v.rows, x + at, dy + at, r.mean[k], r.scale[k], r.constant[k], r.slope[k], dx + at);
                continue;
            }
            lki_fold_repeat(&v.fold, r.mean + k * v.cols, r.w_mean);
            lki_fold_repeat(&v.fold, r.scale + k * v.cols, r.w_scale);
            lki_fold_repeat(&v.fold, r.constant + k * v.cols, r.w_constant);
            lki_fold_repeat(&v.fold, r.slope + k * v.cols, r.w_slope);
            input_gradient(
                full, v.fold.width, x + at, dy + at, r.w_mean, r.w_scale, r.w_constant, r.w_slope, dx + at);
            if (left > 0)
                input_gradient(1, left, x + at + tail, dy + at + tail, r.w_mean, r.w_scale, r.w_constant, r.w_slope,
                    dx + at + tail);
        }
    }
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; c->dparam[k] && i < channels; i++)
            ((float *)c->dparam[k])[i] = (float)(k == 0 ? r.dweight : r.dbias)[i];
    return LK_OK;
}

const lk_kernel lk_kern_cpu_group_norm = {
    .in_place = true, .in_place_dx = true, .plan = plan, .forward = forward, .backward = backward};
