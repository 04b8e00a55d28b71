/* concat: each input is a box of the output. */
#include "kern/cuda/copy.cuh"

/* Input k, which begins at place `first` of the axis. */
static lki_box box_of(const lk_opspec *s, int k, int64_t first)
{
    int64_t at[LK_MAX_DIMS] = {};

    at[s->attr.axis.axis] = first;
    return lki_box_make(&s->in[k], s->in_layout, s->in[k].dim, s->out.dim, at);
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_opspec *s = c->spec;
    int64_t first = 0;

    for (int k = 0; k < s->n_in; first += s->in[k].dim[s->attr.axis.axis], k++) {
        const lki_box b = box_of(s, k, first);
        LK_TRY(lki_box_put(sizeof(T), &b, c->x[k], c->y));
    }
    return LK_OK;
}

template <class T> static lk_status backward(const lk_call *c)
{
    const lk_opspec *s = c->spec;
    int64_t first = 0;

    for (int k = 0; k < s->n_in; first += s->in[k].dim[s->attr.axis.axis], k++) {
        const lki_box b = box_of(s, k, first);
        if (c->dx[k])
            LK_TRY(lki_box_take(sizeof(T), &b, c->dy, c->dx[k]));
    }
    return LK_OK;
}

template <class T> static constexpr lk_kernel kernel = {.forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(concat, kernel);
