/* permute: dimension i of y is dimension order[i] of x. */
#include "kern/cuda/copy.cuh"

/* From x to y, or from dy to dx: the order of the array that is written, so its index is the one that walks. */
template <class T> static lk_status move(const lk_opspec *s, bool back, const void *from, void *to)
{
    const int *order = s->attr.permute.order;
    const lk_shape *x = &s->in[0], *y = &s->out;
    int64_t x_step[LK_MAX_DIMS], y_step[LK_MAX_DIMS];
    lki_walk w = {};

    w.n = x->ndim;
    lki_steps(w.n, x->dim, x_step);
    lki_steps(w.n, y->dim, y_step);
    for (int i = 0; i < w.n; i++) {
        const int k = back ? order[i] : i; /* dimension i of y as one of what is written */
        w.size[k] = y->dim[i];
        w.from[k] = back ? y_step[i] : x_step[order[i]];
        w.to[k] = back ? x_step[order[i]] : y_step[i];
    }
    return lki_walk_copy(sizeof(T), &w, from, to);
}

template <class T> static lk_status forward(const lk_call *c)
{
    return move<T>(c->spec, false, c->x[0], c->y);
}

template <class T> static lk_status backward(const lk_call *c)
{
    return c->dx[0] ? move<T>(c->spec, true, c->dy, c->dx[0]) : LK_OK;
}

template <class T>
static constexpr lk_kernel kernel = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(permute, kernel);
