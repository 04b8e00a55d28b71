/* What reduce and the global pools share: values of which some dimensions are folded into one number. Neighbouring dimensions of a kind are one
 * group, so that groups 0, 2, 4 stay and groups 1, 3, 5 are folded. Outputs lie in the order of the groups that stay. */
#ifndef LK_KERN_CUDA_FOLD_CUH
#define LK_KERN_CUDA_FOLD_CUH

#include "kern/cuda/columns.cuh"
#include "kern/cuda/elements.cuh"

struct fold_groups {
    int n; /* 2 at least */
    int64_t size[LK_MAX_DIMS], step[LK_MAX_DIMS], out_step[LK_MAX_DIMS]; /* elements to the next one in the input; in the output, 0 where folded */
    int64_t outputs, count; /* how many numbers become one */
    /* Of the first number that becomes output j. */
    __device__ int64_t of_output(int64_t j) const
    {
        int64_t at = 0;
        for (int k = (n - 1) / 2 * 2; k > 0; k -= 2)
            at += digit(j, size[k]) * step[k];
        return at + j * step[0];
    }
    /* From there to number r. */
    __device__ int64_t of_place(int64_t r) const
    {
        int64_t at = 0;
        for (int k = n / 2 * 2 - 1; k > 1; k -= 2)
            at += digit(r, size[k]) * step[k];
        return at + r * step[1];
    }
    /* The output that element i is folded into, and its indices along groups 0 and 1. */
    __device__ int64_t output_of(int64_t i, int64_t *row, int64_t *place) const
    {
        int64_t at = 0;
        for (int k = n - 1; k > 1; k--)
            at += digit(i, size[k]) * out_step[k];
        *place = digit(i, size[1]);
        *row = i;
        return at + i * out_step[0];
    }
};

/* Sizes in the order in memory; bit i of `folded`: dimension i, one at least and not the first. */
static inline fold_groups fold_groups_make(int ndim, const int64_t *dim, unsigned folded)
{
    fold_groups g = {};

    g.outputs = g.count = 1;
    for (int i = 0; i < ndim; i++) {
        const bool fold = folded >> i & 1;
        if (g.n == 0 || fold != (g.n % 2 == 0))
            g.size[g.n++] = 1;
        g.size[g.n - 1] *= dim[i];
        *(fold ? &g.count : &g.outputs) *= dim[i];
    }
    int64_t step = 1, out_step = 1;
    for (int k = g.n - 1; k >= 0; k--) {
        g.step[k] = step;
        g.out_step[k] = k % 2 == 0 ? out_step : 0;
        step *= g.size[k];
        out_step *= k % 2 == 0 ? g.size[k] : 1;
    }
    return g;
}

/* All places of a channel are folded. */
static inline fold_groups fold_places(const lk_opspec *s)
{
    const lk_shape *x = &s->in[0];
    const int64_t area = lki_shape_area(x), plain[] = {x->dim[0] * x->dim[1], area}, last[] = {x->dim[0], area, x->dim[1]};

    return lk_shape_spatial(x) && s->in_layout == LK_LAYOUT_NHWC ? fold_groups_make(3, last, 2) : fold_groups_make(2, plain, 2);
}

/* ---- forward: columns.cuh, where a column is an output ---- */
/* Below so many numbers an output, a thread has many outputs rather than a block one. */
enum { FOLD_FEW = 64 };
struct fold_columns {
    int64_t batch, cols;
};
static inline fold_columns fold_columns_of(const fold_groups *g)
{
    if (g->n % 2 == 1)
        return {g->outputs / g->size[g->n - 1], g->size[g->n - 1]};
    return g->count <= FOLD_FEW ? fold_columns{1, g->outputs} : fold_columns{g->outputs, 1};
}
template <class G> static size_t fold_scratch(const fold_groups *g)
{
    const fold_columns c = fold_columns_of(g);

    return columns_scratch<G>(c.batch, g->count, c.cols);
}
/* F: `gathered`, and
 *     gathered take(int64_t output, int64_t first, int64_t end, int64_t step) const;    of numbers first, first + step ... below end
 *     void store(int64_t output, const gathered &) const; */
template <class F> struct fold_as_columns {
    typedef typename F::gathered gathered;
    F f;
    int64_t cols;
    __device__ gathered gather(int64_t batch, int64_t col, int64_t first, int64_t end, int64_t step) const
    {
        return f.take(batch * cols + col, first, end, step);
    }
    __device__ void store(int64_t batch, int64_t col, const gathered &v) const
    {
        f.store(batch * cols + col, v);
    }
};
template <class F> static lk_status fold(const fold_groups *g, const F &f, void *scratch)
{
    const fold_columns c = fold_columns_of(g);

    return columns(c.batch, g->count, c.cols, fold_as_columns<F>{f, c.cols}, scratch);
}

/* ---- sums ---- */
/* How many places of group 1 count, and what the sum is multiplied by. */
struct fold_part {
    int64_t places;
    float share;
};
/* The same for all: by the index along group 0. */
struct fold_whole {
    fold_part part;
    __device__ fold_part of(int64_t) const
    {
        return part;
    }
};

/* Number r of those that become an output. */
template <class T> struct fold_element {
    const fold_groups *g;
    const T *from; /* the first */
    __device__ float value(int64_t r) const
    {
        return to_float(from[g->of_place(r)]);
    }
};

/* y = sum of x times a share. */
template <class T, class W> struct fold_shares {
    typedef one_sum gathered;
    fold_groups g;
    W which;
    int64_t row; /* outputs of an index along group 0 */
    const T *x;
    T *y;
    __device__ fold_part part_of(int64_t output) const
    {
        digit(output, row);
        return which.of(output);
    }
    __device__ one_sum take(int64_t output, int64_t first, int64_t end, int64_t step) const
    {
        return sum_values(fold_element<T>{&g, x + g.of_output(output)}, first, min(end, part_of(output).places), step);
    }
    __device__ void store(int64_t output, const one_sum &v) const
    {
        y[output] = from_float<T>((float)(v.sum * (double)part_of(output).share));
    }
};
template <class T, class W> static lk_status fold_sums(const fold_groups *g, const W &which, const void *x, void *y, void *scratch)
{
    return fold(g, fold_shares<T, W>{*g, which, g->outputs / g->size[0], (const T *)x, (T *)y}, scratch);
}

/* ---- and back: dx = dy times the share, 0 at places that do not count ---- */
template <class T, class W, int width> struct spread_shares {
    fold_groups g;
    W which;
    const T *dy;
    T *dx;
    __device__ void operator()(int64_t i) const
    {
        int64_t row, place;
        const T *from = dy + g.output_of(i * width, &row, &place);
        float v[width];
        if (g.n % 2 == 1)
            load_run(from, v);
        else
            for (int k = 0; k < width; k++)
                v[k] = to_float(*from);
        const fold_part part = which.of(row);
        for (int k = 0; k < width; k++)
            v[k] = (g.n == 2 ? place + k : place) < part.places ? v[k] * part.share : 0.0f;
        store_run(dx + i * width, v);
    }
};
template <class T, class W> static lk_status spread(const fold_groups *g, const W &which, const void *dy, void *dx)
{
    constexpr int width = vec<T>::n;
    const int64_t n = g->outputs * g->count;

    if (aligned16(dy) && aligned16(dx) && g->size[g->n - 1] % width == 0)
        return each(n / width, spread_shares<T, W, width>{*g, which, (const T *)dy, (T *)dx});
    return each(n, spread_shares<T, W, 1>{*g, which, (const T *)dy, (T *)dx});
}

#endif
