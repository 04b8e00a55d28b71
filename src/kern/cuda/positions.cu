/* positions: one row of places times features, learned or made at plan time, added to every sample. Backward: dx = dy; the row's gradient is the sum
 * over samples, 0 for places that no sequence reaches. */
#include "kern/cuda/elements.cuh"

extern "C" {
#include "base/mem.h"
}

struct positions_forward {
    __device__ void operator()(int64_t, float x, float row, float &y) const
    {
        y = x + row;
    }
};

/* In the space. */
static lk_status make_row(const lk_shape *in, float *host, float *row)
{
    const int64_t units = in->dim[2], n = lk_shape_row(in);
    for (int64_t i = 0; i < n; i++)
        host[i] = (float)lki_sinusoid(i / units, i % units, units);
    return lk_space_copy(&lki_space_cuda, row, host, (size_t)n * sizeof(float), LK_COPY_IN);
}

static void destroy(void *state)
{
    lk_space_free(&lki_space_cuda, state);
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const lk_shape *const in = &s->in[0];
    const int64_t n = lk_shape_row(in);
    float *host = NULL, *row = NULL;

    *out = lk_kern_plan{};
    if (!s->attr.positions.sinusoidal) {
        out->scratch_backward = lki_column_sums_scratch(in->dim[0], n);
        return LK_OK;
    }
    LK_TRY(lk_space_alloc(&lki_space_cuda, (size_t)n * sizeof(float), "positions", &row));
    lk_status st = lk_alloc_array(n, sizeof *host, "positions", &host);
    if (st == LK_OK)
        st = make_row(in, host, row);
    lk_free(host);
    if (st != LK_OK) {
        destroy(row);
        return st;
    }
    out->state = row;
    return LK_OK;
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    const float *const row = (const float *)(c->state != NULL ? c->state : c->param[0]);

    return elements(lk_shape_count(in), positions_forward(), reads((const T *)c->x[0]), repeats(row, lk_shape_row(in)), writes((T *)c->y));
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    const int64_t n = lk_shape_row(in);
    float *const dw = (float *)c->dparam[0];

    if (dw != NULL) {
        const int64_t unused = lk_shape_count(&c->spec->param[0].shape) - n;
        LK_TRY(lki_column_sums_cuda(lki_type_of<T>::value, in->dim[0], n, n, c->dy, dw, c->scratch));
        if (unused > 0)
            LK_TRY(lk_space_zero(&lki_space_cuda, dw + n, (size_t)unused * sizeof *dw));
    }
    return c->dx[0] == NULL ? LK_OK : lki_copy_cuda(sizeof(T), lk_shape_count(in), c->dy, c->dx[0]);
}

template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_PLAIN,
    .out_rule = LK_LAYOUTS_PLAIN,
    .in_place = true,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward<T>,
    .backward = backward<T>,
    .destroy = destroy};
LKI_KERNELS(positions, kernel);
