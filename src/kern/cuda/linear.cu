/* linear: y = act(x W^T + b), x [rows, features], W [units, features]; backward, with dz = dy act'(.): dx = dz W, dW = dz^T x, db the sum of dz over
 * rows. Products with 16-bit values take W and b in that type (packed); dW and db are sums in float.
 *
 * Saved where the activation's gradient needs it: x W^T + b. The library's own relu is not used, since it may turn a NaN into a 0.
 *
 * The library's fast kernels take rows that begin at multiples of 16 bytes, and counts of 16 bytes, which 50,257 classes are not. So rows of y may have a
 * pitch: W packed in 16 bits has rows of zeros up to it, and the products compute what lies between rows, too. dW, which has no room for that, is
 * computed in two parts. */
#include "kern/cuda/rounding.cuh"

#include <type_traits>

enum { PITCH_UNIT = 8, WIDE = 1024, WIDE_PITCH_UNIT = 64 }; /* elements: of 16 bits, 16 bytes; from WIDE units on a cache line */

typedef struct linear_state {
    lki_gemm *forward, *dx, *dw, *dw_rest;
} linear_state;

typedef struct linear_sizes {
    int64_t rows, features, units;
    int64_t pitch;       /* of rows of y */
    int64_t computed;    /* of them: units, or all */
    int64_t even;        /* units of the first part of dW */
    bool apart;          /* the activation's input is not its output, and wanted later */
    size_t values, sums; /* bytes of dz, where dy is not it; of what sums over rows take */
} linear_sizes;

template <class T> static linear_sizes sizes_of(const lk_opspec *s)
{
    const lk_attr_linear *const a = &s->attr.linear;
    linear_sizes z = {};

    z.rows = lki_shape_lead(&s->in[0]);
    z.features = lki_shape_last(&s->in[0]);
    z.units = a->units;
    z.pitch = s->out_pitch != 0 ? s->out_pitch : a->units;
    z.computed = std::is_same_v<T, float> ? z.units : z.pitch;
    z.even = s->out_pitch != 0 ? z.units / PITCH_UNIT * PITCH_UNIT : z.units;
    z.apart = s->training && !lki_act_by_output(a->act);
    z.values = a->act != LK_ACT_NONE ? lki_part_bytes((size_t)(z.rows * z.pitch) * sizeof(T)) : 0;
    z.sums = a->bias ? lki_column_sums_scratch(z.rows, z.units) : 0;
    return z;
}

static void destroy(void *state)
{
    linear_state *const l = (linear_state *)state;

    if (l == NULL)
        return;
    lki_gemm_destroy(&l->forward);
    lki_gemm_destroy(&l->dx);
    lki_gemm_destroy(&l->dw);
    lki_gemm_destroy(&l->dw_rest);
    lk_free(l);
}

template <class T> static lk_status products_create(const lk_opspec *s, linear_state *l)
{
    constexpr lki_type t = lki_type_of<T>::value;
    const linear_sizes z = sizes_of<T>(s);
    lki_gemm_spec forward = {}, dx = {}, dw = {};

    forward.tb = true;
    forward.m = z.rows, forward.n = z.computed, forward.k = z.features;
    forward.ldc = z.pitch;
    forward.a = forward.b = forward.c = t;
    forward.bias = s->attr.linear.bias;
    LK_TRY(lki_gemm_create(&forward, &l->forward));
    if (!s->training)
        return LK_OK;
    dx.m = z.rows, dx.n = z.features, dx.k = z.computed;
    dx.lda = z.pitch;
    dx.a = dx.b = dx.c = t;
    LK_TRY(lki_gemm_create(&dx, &l->dx));
    dw.ta = true;
    dw.m = z.even, dw.n = z.features, dw.k = z.rows;
    dw.lda = z.pitch;
    dw.a = dw.b = t;
    dw.c = LKI_F32;
    LK_TRY(lki_gemm_create(&dw, &l->dw));
    dw.m = z.units - z.even;
    return lki_gemm_create(&dw, &l->dw_rest);
}

template <class T> static size_t packed_weight_bytes(const linear_sizes *z)
{
    return lki_part_bytes((size_t)(z->computed * z->features) * sizeof(T));
}

template <class T> static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const linear_sizes z = sizes_of<T>(s);
    linear_state *l = NULL;

    LK_TRY(lk_alloc(sizeof *l, "products of a linear layer", &l));
    const lk_status st = products_create<T>(s, l);
    if (st != LK_OK) {
        destroy(l);
        return lk_err_frame(st, __FILE__, __LINE__, __func__);
    }
    *out = {};
    out->state = l;
    out->saved_bytes = z.apart ? (size_t)(z.rows * z.pitch) * sizeof(T) : 0;
    out->scratch_backward = s->training ? z.values + z.sums : 0;
    if (!std::is_same_v<T, float>)
        out->packed_bytes = packed_weight_bytes<T>(&z) + (s->attr.linear.bias ? (size_t)z.computed * sizeof(T) : 0);
    return LK_OK;
}

/* ---- weights in the type of the values ---- */

template <class T> static const void *weight_of(const lk_call *c)
{
    return std::is_same_v<T, float> ? c->param[0] : c->packed;
}

template <class T> static const void *bias_of(const lk_call *c)
{
    const linear_sizes z = sizes_of<T>(c->spec);

    if (!c->spec->attr.linear.bias)
        return NULL;
    return std::is_same_v<T, float> ? c->param[1] : (const char *)c->packed + packed_weight_bytes<T>(&z);
}

/* The n numbers of a parameter, and zeros up to `all` of them. */
template <class T> static lk_status pack_numbers(const lk_call *c, int param, int64_t n, int64_t all, void *to)
{
    LK_TRY(lki_convert_param(rounding_of(c, param), 0, n, c->param[param], lki_type_of<T>::value, to));
    return all > n ? LK_CUDA(cudaMemsetAsync((T *)to + n, 0, (size_t)(all - n) * sizeof(T), lki_cuda_device.queue)) : LK_OK;
}

template <class T> static lk_status pack(const lk_call *c)
{
    const linear_sizes z = sizes_of<T>(c->spec);

    LK_TRY(pack_numbers<T>(c, 0, z.units * z.features, z.computed * z.features, (void *)weight_of<T>(c)));
    return c->spec->attr.linear.bias ? pack_numbers<T>(c, 1, z.units, z.computed, (void *)bias_of<T>(c)) : LK_OK;
}

/* ---- passes ---- */

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_attr_linear *const a = &c->spec->attr.linear;
    const linear_sizes z = sizes_of<T>(c->spec);
    const linear_state *const l = (const linear_state *)c->state;
    void *const sum = z.apart ? c->saved : c->y;

    LK_TRY(lki_gemm_run(l->forward, 1, c->x[0], weight_of<T>(c), sum, bias_of<T>(c)));
    if (a->act == LK_ACT_NONE)
        return LK_OK;
    return lki_act_forward_cuda(lki_type_of<T>::value, a->act, a->alpha, z.rows * z.pitch, sum, c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    constexpr lki_type t = lki_type_of<T>::value;
    const lk_attr_linear *const a = &c->spec->attr.linear;
    const linear_sizes z = sizes_of<T>(c->spec);
    const linear_state *const l = (const linear_state *)c->state;
    const void *dz = c->dy;

    if (a->act != LK_ACT_NONE) {
        LK_TRY(lki_act_backward_cuda(t, a->act, a->alpha, z.rows * z.pitch, z.apart ? c->saved : c->y, c->dy, c->scratch));
        dz = c->scratch;
    }
    if (c->dx[0] != NULL)
        LK_TRY(lki_gemm_run(l->dx, 1, dz, weight_of<T>(c), c->dx[0], NULL));
    if (c->dparam[0] != NULL) {
        LK_TRY(lki_gemm_run(l->dw, 1, dz, c->x[0], c->dparam[0], NULL));
        LK_TRY(lki_gemm_run(l->dw_rest, 1, (const T *)dz + z.even, c->x[0], (float *)c->dparam[0] + z.even * z.features, NULL));
    }
    if (!a->bias || c->dparam[1] == NULL)
        return LK_OK;
    return lki_column_sums_cuda(t, z.rows, z.units, z.pitch, dz, (float *)c->dparam[1], (char *)c->scratch + z.values);
}

static int64_t out_pitch(const lk_opspec *s)
{
    const int64_t units = s->attr.linear.units, unit = units >= WIDE ? WIDE_PITCH_UNIT : PITCH_UNIT;

    return units % PITCH_UNIT == 0 ? 0 : div_up(units, unit) * unit;
}

template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .out_pitch = out_pitch,
    .plan = plan<T>,
    .pack = std::is_same_v<T, float> ? NULL : pack<T>,
    .forward = forward<T>,
    .backward = backward<T>,
    .destroy = destroy};

LKI_KERNELS(linear, kernel);
