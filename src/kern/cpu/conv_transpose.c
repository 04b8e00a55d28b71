/* conv_transpose: channels last out, either layout in. As conv, with the two directions of conv_both.c exchanged, and
 * so what the weights' gradient takes for input and output. */
#include "kern/cpu/conv_pass.h"

typedef struct shapes {
    int64_t batch, channels, area; /* of the input */
    bool plain; /* the input has to be turned */
} shapes;

static shapes shapes_of(const lk_opspec *s)
{
    const int64_t *const x = s->in[0].dim;
    return (shapes){x[0], x[1], lki_shape_area(&s->in[0]), s->in_layout == LK_LAYOUT_PLAIN && x[1] > 1};
}

/* Bytes of the input channels last where it comes plain. */
static size_t turned_bytes(const shapes *v)
{
    return v->plain ? lki_floats(v->batch * v->channels * v->area) : 0;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const lk_attr_conv *const a = &s->attr.conv;
    const shapes v = shapes_of(s);
    lki_conv g = {.batch = v.batch, .groups = a->groups, .c = a->filters, .f = v.channels};
    lki_conv_both *both = NULL;
    lki_axes_size(&s->out, g.in);
    lki_axes_size(&s->in[0], g.out);
    lki_axes(&s->in[0], a->kernel, 1, g.kernel);
    lki_axes(&s->in[0], a->stride, 1, g.stride);
    lki_axes(&s->in[0], a->dilation, 1, g.dilation);
    lki_axes(&s->in[0], a->pad_before, 0, g.before);
    LK_TRY(lki_conv_create(&g, s->training, true, &both));
    *out = (lk_kern_plan){
        .state = both, .packed_bytes = both->packed_bytes, .scratch_forward = turned_bytes(&v) + both->scratch_up};
    if (s->training)
        out->scratch_backward = (a->act == LK_ACT_RELU ? lki_floats(lk_shape_count(&s->out)) : 0) + turned_bytes(&v) +
                                larger(both->scratch_down, both->scratch_weights);
    return LK_OK;
}

static void destroy(void *state)
{
    lki_conv_both *both = state;
    lki_conv_destroy(&both);
}

static lk_status pack(const lk_call *c)
{
    lki_conv_pack(c->state, c->param[0], (void *)(uintptr_t)c->packed);
    return LK_OK;
}

/* The input channels last, in scratch if it comes plain. */
static const float *turned(const shapes *v, const void *x, char *room)
{
    if (v->plain)
        lki_plain_to_nhwc(v->batch, v->channels, v->area, x, (float *)room);
    return v->plain ? (const float *)room : x;
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_conv *const a = &c->spec->attr.conv;
    const shapes v = shapes_of(c->spec);
    char *const at = c->scratch;
    lki_conv_up(c->state, turned(&v, c->x[0], at), c->packed, a->bias ? c->param[1] : NULL, a->act == LK_ACT_RELU, c->y,
        at + turned_bytes(&v));
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_conv *const a = &c->spec->attr.conv;
    const shapes v = shapes_of(c->spec);
    const int64_t n = lk_shape_count(&c->spec->out);
    const float *dz = c->dy;
    char *at = c->scratch;
    if (a->act == LK_ACT_RELU) {
        lki_relu_backward(n, c->y, c->dy, (float *)at);
        dz = (const float *)at;
        at += lki_floats(n);
    }
    char *const rest = at + turned_bytes(&v);
    if (c->dparam[0])
        lki_conv_weights(c->state, dz, turned(&v, c->x[0], at), c->dparam[0], rest);
    if (a->bias && c->dparam[1])
        lki_column_sums(n / a->filters, a->filters, dz, c->dparam[1]);
    if (c->dx[0]) {
        float *const dx = v.plain ? (float *)at : c->dx[0];
        lki_conv_down(c->state, dz, c->packed, NULL, false, dx, rest);
        if (v.plain)
            lki_nhwc_to_plain(v.batch, v.channels, v.area, dx, c->dx[0]);
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_conv_transpose = {.out_rule = LK_LAYOUTS_NHWC,
    .plan = plan,
    .pack = pack,
    .forward = forward,
    .backward = backward,
    .destroy = destroy};
