/* hinge, the formulas of ref/hinge.c. With class ids a warp a sample. */
#include "kern/cuda/element_loss.cuh"
#include "kern/cuda/rows.cuh"

#include <float.h>

struct hinge_element {
    static constexpr bool sum = false, checked = true;
    static hinge_element of(const lk_attrs *)
    {
        return {};
    }
    static double share(const lk_attrs *a)
    {
        return a->loss.scale;
    }
    __device__ lki_formula_loss operator()(float x, float t) const
    {
        return lki_formula_hinge(x, t);
    }
};

/* Scores x [rows, scores]: of two classes, where there is one score. */
template <class T> struct class_job {
    const lk_live *live;
    int node;
    int64_t rows, scores;
    double scale;
    const T *x;
    const int64_t *id;

    /* Sample b counts. A bad id is noted, and does not count. */
    __device__ bool counts(int64_t b) const
    {
        const int64_t classes = scores == 1 ? 2 : scores;
        if (b >= live->valid)
            return false;
        if (id[b] >= 0 && id[b] < classes)
            return true;
        note_fault(live, LK_FAULT_CLASS, node, b, id[b], classes);
        return false;
    }
    /* What the score of another class than `own` costs. */
    __device__ float margin(float own, float other) const
    {
        return 1.0f - own + other;
    }
};

/* What sample b adds to the metrics. */
template <class T> static __device__ inline loss_sums class_sums(const class_job<T> &j, int64_t b)
{
    const T *const x = j.x + b * j.scores;
    const int64_t own = j.id[b];
    float loss = 0, top = -FLT_MAX;
    int64_t first = 0;

    if (j.scores == 1) {
        const lki_formula_loss l = lki_formula_hinge(to_float(x[0]), (float)own);
        return {{(double)l.loss, 1, 1, (double)l.named}};
    }
    for (int64_t k = threadIdx.x % 32; k < j.scores; k += 32) {
        const float v = to_float(x[k]);
        if (v > top) {
            top = v;
            first = k;
        }
        if (k != own)
            loss += lki_formula_relu(j.margin(to_float(x[own]), v));
    }
    loss = warp_sum(loss);
    group_first_largest<32>(&top, &first, NULL, NULL);
    return {{(double)loss / (double)j.scores, 1, 1, first == own ? 1.0 : 0.0}};
}

template <class T> static __global__ void class_forward(class_job<T> j, loss_sums *part)
{
    const int64_t b = row_number<32>();
    loss_sums own = {};
    if (j.counts(b))
        own = class_sums(j, b);
    if (lane_number<32>() != 0)
        own = {};
    store_block_sums(own, part);
}

/* dx[k] = share where the margin of k is above 0, dx[own] = minus the sum of the others; zeros for what does not count. */
template <class T> static __global__ void class_backward(class_job<T> j, T *dx)
{
    const int64_t b = row_number<32>();
    if (b >= j.rows)
        return;
    const T *const x = j.x + b * j.scores;
    const bool counts = j.counts(b);
    const int64_t own = counts ? j.id[b] : -1;
    const float factor = (float)(j.scale * j.live->grad_scale), share = factor / (float)j.scores;
    int over = 0;

    for (int64_t k = lane_number<32>(); k < j.scores; k += 32) {
        float d = 0;
        if (counts && j.scores == 1)
            d = factor * lki_formula_hinge(to_float(x[0]), (float)own).dx;
        else if (counts && k != own && !(j.margin(to_float(x[own]), to_float(x[k])) <= 0)) {
            d = share;
            over++;
        }
        if (j.scores == 1 || k != own)
            dx[b * j.scores + k] = from_float<T>(d);
    }
    over = warp_sum(over);
    if (counts && j.scores > 1 && lane_number<32>() == 0)
        dx[b * j.scores + own] = from_float<T>(-share * (float)over);
}

template <class T> static class_job<T> job_of(const lk_call *c)
{
    const lk_shape *const in = &c->spec->in[0];
    return {c->live, c->node, in->dim[0], lk_shape_row(in), lki_or_one(c->spec->attr.loss.scale), (const T *)c->x[0], (const int64_t *)c->x[1]};
}

static int64_t class_blocks(const lk_opspec *s)
{
    return div_up(s->in[0].dim[0] * 32, ROW_BLOCK);
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    LK_TRY(element_loss_plan(s, out));
    if (s->in_dtype[1] == LK_DT_I64)
        out->scratch_forward = (size_t)class_blocks(s) * sizeof(loss_sums);
    return LK_OK;
}

template <class T> static lk_status forward(const lk_call *c)
{
    loss_sums *const part = (loss_sums *)c->scratch;
    if (c->spec->in_dtype[1] == LK_DT_REAL)
        return element_loss_forward<T, hinge_element>(c);
    const class_job<T> j = job_of<T>(c);
    LK_TRY(launch_rows<32>(class_forward<T>, j.rows, j, part));
    return lki_loss_metrics(class_blocks(c->spec), part, j.scale, c->micro->metrics);
}

template <class T> static lk_status backward(const lk_call *c)
{
    if (c->spec->in_dtype[1] == LK_DT_REAL)
        return element_loss_backward<T, hinge_element>(c);
    const class_job<T> j = job_of<T>(c);
    return c->dx[0] ? launch_rows<32>(class_backward<T>, j.rows, j, (T *)c->dx[0]) : LK_OK;
}

template <class T> static constexpr lk_kernel kernel = {.plan = plan, .forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(hinge, kernel);
