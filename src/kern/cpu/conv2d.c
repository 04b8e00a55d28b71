/* conv2d: NHWC out, either layout in. The output is one pass (conv_pass.h). The gradient of the input is one for each
 * of the sh x sw positions that an element can have under the stride, since those of one position meet the same taps.
 *
 * Measured on a Zen 5 core in 3x3 layers of 16 to 512 channels: 200 to 300 GFLOP/s in each of the three passes (zeros
 * of the padding counted as work), as oneDNN 2.6.3 at its best there, and twice it where channels are few. */
#include "base/mem.h"
#include "kern/cpu/conv_pass.h"
#include <string.h>

typedef struct conv {
    lki_conv g;
    bool plain, bias, relu;
    lki_pass forward;
    int64_t n_data;
    lki_pass *data; /* [n_data]; training only */
    size_t *data_packed; /* [n_data] offset of its weights in `packed` */
    bool gaps; /* the stride steps over inputs that no window touches */
} conv;

static void destroy(void *state)
{
    conv *const v = state;
    if (!v)
        return;
    lk_free(v->data);
    lk_free(v->data_packed);
    lk_free(v);
}

/* One axis of the input's gradient for elements at `phase` under the stride: kernel taps phase, phase + stride, ...
 * meet them; element first + n stride reads dy from n - before on. */
typedef struct axis {
    int64_t taps, first, count, before;
} axis;

static axis axis_make(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t phase)
{
    const int64_t first = ((phase - pad) % stride + stride) % stride; /* first + pad = phase mod stride */
    const int64_t taps = (kernel - 1 - phase) / stride + 1;
    return (axis){
        taps, first, first < size ? (size - 1 - first) / stride + 1 : 0, taps - 1 - (first + pad - phase) / stride};
}

static void make_data(const lki_tiles *t, conv *v)
{
    const lki_conv *const g = &v->g;
    for (int64_t i = 0; i < lki_min(g->sh, g->kh); i++)
        for (int64_t j = 0; j < lki_min(g->sw, g->kw); j++) {
            const axis h = axis_make(g->h, g->kh, g->sh, g->top, i), w = axis_make(g->w, g->kw, g->sw, g->left, j);
            if (h.count == 0 || w.count == 0)
                continue;
            lki_pass *const p = &v->data[v->n_data++];
            *p = (lki_pass){.batch = g->batch,
                .in_h = g->oh,
                .in_w = g->ow,
                .depth = g->f,
                .out_h = h.count,
                .out_w = w.count,
                .cols = g->c,
                .out_start = (h.first * g->w + w.first) * g->c,
                .out_sample = g->h * g->w * g->c,
                .out_row = g->sh * g->w * g->c,
                .out_place = g->sw * g->c,
                .kh = h.taps,
                .kw = w.taps,
                .sh = 1,
                .sw = 1,
                .top = h.before,
                .left = w.before,
                /* the taps in falling order */
                .walk = {.start = (i + (h.taps - 1) * g->sh) * g->kw + j + (w.taps - 1) * g->sw,
                    .by_col = g->kh * g->kw,
                    .by_depth = g->c * g->kh * g->kw,
                    .by_h = -g->sh * g->kw,
                    .by_w = -g->sw}};
            lki_pass_init(p, t);
        }
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Bytes of the input in NHWC where it comes plain. */
static size_t turned_bytes(const conv *v)
{
    return v->plain ? lki_floats(v->g.batch * v->g.h * v->g.w * v->g.c) : 0;
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const lki_tiles *const t = lki_tiles_get();
    const lk_attr_conv2d *const a = &s->attr.conv2d;
    const int64_t *const x = s->in[0].dim, *const y = s->out.dim;
    conv *v = NULL;
    lk_status st;
    LK_TRY(lk_alloc(sizeof *v, "convolution", &v));
    v->g = (lki_conv){.batch = x[0],
        .c = x[1],
        .h = x[2],
        .w = x[3],
        .f = y[1],
        .oh = y[2],
        .ow = y[3],
        .kh = a->kernel[0],
        .kw = a->kernel[1],
        .sh = a->stride[0],
        .sw = a->stride[1],
        .top = a->pad_before[0],
        .left = a->pad_before[1]};
    const lki_conv *const g = &v->g;
    v->plain = s->in_layout == LK_LAYOUT_PLAIN && g->c > 1;
    v->bias = a->bias;
    v->relu = a->act == LK_ACT_RELU;
    v->gaps = g->sh > g->kh || g->sw > g->kw;
    v->forward = (lki_pass){.batch = g->batch,
        .in_h = g->h,
        .in_w = g->w,
        .depth = g->c,
        .out_h = g->oh,
        .out_w = g->ow,
        .cols = g->f,
        .out_sample = g->oh * g->ow * g->f,
        .out_row = g->ow * g->f,
        .out_place = g->f,
        .kh = g->kh,
        .kw = g->kw,
        .sh = g->sh,
        .sw = g->sw,
        .top = g->top,
        .left = g->left,
        .walk = {.by_col = g->c * g->kh * g->kw, .by_depth = g->kh * g->kw, .by_h = g->kw, .by_w = 1}};
    lki_pass_init(&v->forward, t);

    *out = (lk_kern_plan){.state = v,
        .packed_bytes = lki_pass_packed_bytes(&v->forward),
        .scratch_forward = turned_bytes(v) + lki_pass_scratch_bytes(&v->forward)};
    if (s->training) {
        const int64_t most = lki_min(g->sh, g->kh) * lki_min(g->sw, g->kw);
        LK_TRY_TO(st, fail, lk_alloc_array(most, sizeof *v->data, "convolution", &v->data));
        LK_TRY_TO(st, fail, lk_alloc_array(most, sizeof *v->data_packed, "convolution", &v->data_packed));
        make_data(t, v);
        size_t scratch = lki_weights_scratch_bytes(t, g);
        for (int64_t i = 0; i < v->n_data; i++) {
            v->data_packed[i] = out->packed_bytes;
            out->packed_bytes += lki_pass_packed_bytes(&v->data[i]);
            scratch = larger(scratch, lki_pass_scratch_bytes(&v->data[i]));
        }
        out->scratch_backward = (v->relu ? lki_floats(lk_shape_count(&s->out)) : 0) + turned_bytes(v) + scratch;
    }
    return LK_OK;

fail:
    destroy(v);
    return st;
}

static lk_status pack(const lk_call *c)
{
    const conv *const v = c->state;
    char *const packed = (char *)(uintptr_t)c->packed;
    lki_pass_pack(&v->forward, c->param[0], (float *)packed);
    for (int64_t i = 0; i < v->n_data; i++)
        lki_pass_pack(&v->data[i], c->param[0], (float *)(packed + v->data_packed[i]));
    return LK_OK;
}

/* The input in NHWC, in scratch if it comes plain. */
static const float *turned(const conv *v, const void *x, char *room)
{
    if (v->plain)
        lki_plain_to_nhwc(v->g.batch, v->g.c, v->g.h * v->g.w, x, (float *)room);
    return v->plain ? (const float *)room : x;
}

static lk_status forward(const lk_call *c)
{
    const conv *const v = c->state;
    char *const at = c->scratch;
    const float *const x = turned(v, c->x[0], at);
    lki_pass_run(&v->forward, x, c->packed, v->bias ? c->param[1] : NULL, v->relu, c->y, at + turned_bytes(v));
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const conv *const v = c->state;
    const lki_conv *const g = &v->g;
    const float *dz = c->dy;
    char *at = c->scratch;
    if (v->relu) {
        const int64_t n = lk_shape_count(&c->spec->out);
        lki_relu_backward(n, c->y, c->dy, (float *)at);
        dz = (const float *)at;
        at += lki_floats(n);
    }
    char *const rest = at + turned_bytes(v);
    if (c->dparam[0])
        lki_weights_run(v->forward.tiles, g, turned(v, c->x[0], at), dz, c->dparam[0], rest);
    if (v->bias && c->dparam[1])
        lki_column_sums(g->batch * g->oh * g->ow, g->f, dz, c->dparam[1]);
    if (c->dx[0]) {
        float *const dx = v->plain ? (float *)at : c->dx[0];
        if (v->gaps)
            memset(dx, 0, (size_t)lk_shape_count(&c->spec->in[0]) * sizeof *dx);
        for (int64_t i = 0; i < v->n_data; i++)
            lki_pass_run(
                &v->data[i], dz, (const float *)((const char *)c->packed + v->data_packed[i]), NULL, false, dx, rest);
        if (v->plain)
            lki_nhwc_to_plain(g->batch, g->c, g->h * g->w, dx, c->dx[0]);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_conv2d = {.out_rule = LK_LAYOUTS_NHWC,
    .plan = plan,
    .pack = pack,
    .forward = forward,
    .backward = backward,
    .destroy = destroy};
