/* activation: functions of one number, in place where the plan likes. */
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/vmath.h"

/* name, f(x), f'(v) where v is f(x) if lki_act_by_output, else x; `a` is alpha. */
#define FUNCTIONS(X) \
    X(leaky_relu, x > 0 ? x : a * x, v > 0 ? 1 : a) \
    X(elu, x > 0 ? x : a * lki_expm1_down(x), v > 0 ? 1 : v + a) \
    X(gelu, lki_gelu_erf(x), lki_gelu_erf_slope(v)) \
    X(gelu_tanh, lki_gelu_tanh(x), lki_gelu_tanh_slope(v)) \
    X(silu, x *lki_sigmoid(x), lki_silu_slope(v)) \
    X(sigmoid, lki_sigmoid(x), v *(1 - v)) \
    X(tanh, lki_tanh(x), 1 - v * v) \
    X(softplus, lki_softplus(x), -lki_expm1_down(-v))

#define LOOPS(name, value, slope) \
    LK_CLONES static void name##_forward(int64_t n, float a, const float *in, float *y) \
    { \
        (void)a; \
        LK_INDEPENDENT \
        for (int64_t i = 0; i < n; i++) { \
            const float x = in[i]; \
            y[i] = value; \
        } \
    } \
    LK_CLONES static void name##_backward(int64_t n, float a, const float *in, const float *dy, float *dx) \
    { \
        (void)a; \
        LK_INDEPENDENT \
        for (int64_t i = 0; i < n; i++) { \
            const float v = in[i]; \
            dx[i] = dy[i] * (slope); \
        } \
    }
FUNCTIONS(LOOPS)

static void relu_forward(int64_t n, float a, const float *x, float *y)
{
    (void)a;
    lki_relu(n, x, y);
}

static void relu_backward(int64_t n, float a, const float *y, const float *dy, float *dx)
{
    (void)a;
    lki_relu_backward(n, y, dy, dx);
}

static const struct loops {
    void (*forward)(int64_t n, float a, const float *x, float *y);
    void (*backward)(int64_t n, float a, const float *v, const float *dy, float *dx);
} loops[LK_ACT_COUNT] = {
    [LK_ACT_RELU] = {relu_forward, relu_backward},
    [LK_ACT_LEAKY_RELU] = {leaky_relu_forward, leaky_relu_backward},
    [LK_ACT_ELU] = {elu_forward, elu_backward},
    [LK_ACT_GELU] = {gelu_forward, gelu_backward},
    [LK_ACT_GELU_TANH] = {gelu_tanh_forward, gelu_tanh_backward},
    [LK_ACT_SILU] = {silu_forward, silu_backward},
    [LK_ACT_SIGMOID] = {sigmoid_forward, sigmoid_backward},
    [LK_ACT_TANH] = {tanh_forward, tanh_backward},
    [LK_ACT_SOFTPLUS] = {softplus_forward, softplus_backward},
};

void lki_act_forward(lk_act act, double alpha, int64_t n, const float *x, float *y)
{
    loops[act].forward(n, (float)alpha, x, y);
}

void lki_act_backward(lk_act act, double alpha, int64_t n, const float *v, const float *dy, float *dx)
{
    loops[act].backward(n, (float)alpha, v, dy, dx);
}

static lk_status forward(const lk_call *c)
{
    const lk_attr_activation *const a = &c->spec->attr.activation;
    lki_act_forward(a->act, a->alpha, lk_shape_count(&c->spec->out), c->x[0], c->y);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_attr_activation *const a = &c->spec->attr.activation;
    if (c->dx[0])
        lki_act_backward(a->act, a->alpha, lk_shape_count(&c->spec->out), lki_act_by_output(a->act) ? c->y : c->x[0],
            c->dy, c->dx[0]);
    return LK_OK;
}

/* Where backward reads the input, the plan keeps it. */
const lk_kernel lk_kern_cpu_activation = {
    .in_place = true, .in_place_dx = true, .forward = forward, .backward = backward};
