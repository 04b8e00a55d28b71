/* A convolution in both directions. Down is one pass (conv_pass.h). Up is one for each position that an element can
 * have under the stride, since those of one position meet the same taps. */
#include "base/mem.h"
#include "kern/cpu/conv_pass.h"
#include <string.h>

void lki_conv_destroy(lki_conv_both **vp)
{
    lki_conv_both *const v = *vp;
    if (!v)
        return;
    lk_free(v->up);
    lk_free(v->up_packed);
    lk_free(v);
    *vp = NULL;
}

static int64_t greatest_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* How many positions under the stride meet taps: those of the first so many taps, no two of which are the same. */
static int64_t positions(const lki_conv *g, int i)
{
    return lki_min(g->kernel[i], g->stride[i] / greatest_divisor(g->stride[i], g->dilation[i]));
}

/* One axis of the way up for the elements at the n-th position: kernel taps n, n + step, ... meet them; element
 * first + m stride reads y from m - before on, `dilation` apart. */
typedef struct axis {
    int64_t taps, step, first, count, dilation, before;
} axis;

static axis axis_make(const lki_conv *g, int i, int64_t n)
{
    const int64_t stride = g->stride[i], pad = g->before[i], tap = n * g->dilation[i];
    const int64_t common = greatest_divisor(stride, g->dilation[i]), step = stride / common;
    axis a = {.taps = (g->kernel[i] - 1 - n) / step + 1, .step = step, .dilation = g->dilation[i] / common};
    a.first = ((tap - pad) % stride + stride) % stride; /* first + pad = tap mod stride */
    a.count = a.first < g->in[i] ? (g->in[i] - 1 - a.first) / stride + 1 : 0;
    a.before = (a.taps - 1) * a.dilation - (a.first + pad - tap) / stride;
    return a;
}

static void make_up(const lki_tiles *t, lki_conv_both *v)
{
    const lki_conv *const g = &v->g;
    int64_t n[LK_MAX_AXES], taps = 1, step = g->c;
    for (n[0] = 0; n[0] < positions(g, 0); n[0]++)
        for (n[1] = 0; n[1] < positions(g, 1); n[1]++)
            for (n[2] = 0; n[2] < positions(g, 2); n[2]++) {
                lki_pass *const p = &v->up[v->n_up];
                *p = (lki_pass){.batch = g->batch,
                    .groups = g->groups,
                    .in_place = g->f,
                    .depth = g->f / g->groups,
                    .cols = g->c / g->groups,
                    .out_sample = lki_product(g->in) * g->c};
                bool some = true;
                taps = 1;
                step = g->c;
                for (int i = LK_MAX_AXES - 1; i >= 0; i--) {
                    const axis a = axis_make(g, i, n[i]);
                    some = some && a.count > 0;
                    p->in[i] = g->out[i];
                    p->out[i] = a.count;
                    p->out_start += a.first * step;
                    p->out_step[i] = g->stride[i] * step;
                    p->kernel[i] = a.taps;
                    p->stride[i] = 1;
                    p->dilation[i] = a.taps > 1 ? a.dilation : 1;
                    p->before[i] = a.before;
                    /* the taps in falling order */
                    p->walk.start += (n[i] + (a.taps - 1) * a.step) * taps;
                    p->walk.by_tap[i] = -a.step * taps;
                    taps *= g->kernel[i];
                    step *= g->in[i];
                }
                p->walk.by_col = taps;
                p->walk.by_depth = p->cols * taps;
                p->walk.by_group = p->depth * p->walk.by_depth;
                if (!some)
                    continue;
                lki_pass_init(p, t);
                v->n_up++;
            }
}

static void make_down(const lki_tiles *t, lki_conv_both *v)
{
    const lki_conv *const g = &v->g;
    lki_pass *const p = &v->down;
    int64_t taps = 1, step = g->f;
    *p = (lki_pass){.batch = g->batch,
        .groups = g->groups,
        .in_place = g->c,
        .depth = g->c / g->groups,
        .cols = g->f / g->groups,
        .out_sample = lki_product(g->out) * g->f};
    for (int i = LK_MAX_AXES - 1; i >= 0; i--) {
        p->in[i] = g->in[i];
        p->out[i] = g->out[i];
        p->out_step[i] = step;
        p->kernel[i] = g->kernel[i];
        p->stride[i] = g->stride[i];
        p->dilation[i] = g->dilation[i];
        p->before[i] = g->before[i];
        p->walk.by_tap[i] = taps;
        taps *= g->kernel[i];
        step *= g->out[i];
    }
    p->walk.by_depth = taps;
    p->walk.by_col = p->depth * taps;
    p->walk.by_group = p->cols * p->walk.by_col;
    lki_pass_init(p, t);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

lk_status lki_conv_create(const lki_conv *g, bool down, bool up, lki_conv_both **out)
{
    const lki_tiles *const t = lki_tiles_get();
    lki_conv_both *v = NULL;
    lk_status st;
    LK_TRY(lk_alloc(sizeof *v, "convolution", &v));
    v->g = *g;
    for (int i = 0; i < LK_MAX_AXES; i++)
        if (g->kernel[i] == 1)
            v->g.dilation[i] = 1;
    v->depthwise = lki_is_depthwise(g);
    if (v->depthwise) {
        v->packed_bytes = lki_depthwise_packed_bytes(g);
        v->scratch_weights = lki_depthwise_scratch_bytes(g);
        *out = v;
        return LK_OK;
    }
    v->scratch_weights = lki_weights_scratch_bytes(t, &v->g);
    if (down) {
        make_down(t, v);
        v->packed_bytes = lki_pass_packed_bytes(&v->down);
        v->scratch_down = lki_pass_scratch_bytes(&v->down);
    }
    if (up) {
        int64_t most = 1;
        for (int i = 0; i < LK_MAX_AXES; i++) {
            most *= positions(&v->g, i);
            v->gaps = v->gaps || positions(&v->g, i) < g->stride[i];
        }
        LK_TRY_TO(st, fail, lk_alloc_array(most, sizeof *v->up, "convolution", &v->up));
        LK_TRY_TO(st, fail, lk_alloc_array(most, sizeof *v->up_packed, "convolution", &v->up_packed));
        make_up(t, v);
        for (int64_t i = 0; i < v->n_up; i++) {
            v->up_packed[i] = v->packed_bytes;
            v->packed_bytes += lki_pass_packed_bytes(&v->up[i]);
            v->scratch_up = larger(v->scratch_up, lki_pass_scratch_bytes(&v->up[i]));
        }
    }
    *out = v;
    return LK_OK;

fail:
    lki_conv_destroy(&v);
    return st;
}

void lki_conv_pack(const lki_conv_both *v, const float *w, void *packed)
{
    if (v->depthwise) {
        lki_depthwise_pack(&v->g, w, packed);
        return;
    }
    if (v->down.tiles)
        lki_pass_pack(&v->down, w, packed);
    for (int64_t i = 0; i < v->n_up; i++)
        lki_pass_pack(&v->up[i], w, (float *)((char *)packed + v->up_packed[i]));
}

void lki_conv_down(
    const lki_conv_both *v, const float *x, const void *packed, const float *bias, bool relu, float *y, void *scratch)
{
    if (v->depthwise)
        lki_depthwise_down(&v->g, x, packed, bias, relu, y);
    else
        lki_pass_run(&v->down, x, packed, bias, relu, y, scratch);
}

void lki_conv_up(
    const lki_conv_both *v, const float *y, const void *packed, const float *bias, bool relu, float *x, void *scratch)
{
    const lki_conv *const g = &v->g;
    const int64_t places = g->batch * lki_product(g->in);
    if (v->depthwise) {
        lki_depthwise_up(g, y, packed, bias, relu, x);
        return;
    }
    if (v->gaps && bias)
        for (int64_t i = 0; i < places * g->c; i++)
            x[i] = relu && bias[i % g->c] < 0 ? 0 : bias[i % g->c];
    else if (v->gaps)
        memset(x, 0, (size_t)(places * g->c) * sizeof *x);
    for (int64_t i = 0; i < v->n_up; i++)
        lki_pass_run(&v->up[i], y, (const float *)((const char *)packed + v->up_packed[i]), bias, relu, x, scratch);
}

void lki_conv_weights(const lki_conv_both *v, const float *x, const float *y, float *dw, void *scratch)
{
    if (v->depthwise)
        lki_depthwise_weights(&v->g, x, y, dw, scratch);
    else
        lki_weights_run(lki_tiles_get(), &v->g, x, y, dw, scratch);
}
