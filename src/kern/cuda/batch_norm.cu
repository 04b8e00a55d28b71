/* batch_norm: y = (x - mean) scale + shift by channel, with scale = weight / sqrt(var + eps) and shift = bias; relu fused behind it. Values are
 * matrices [B D H W, C]. Training: statistics of the valid rows of this microbatch, in one pass, joined in double.
 * Backward, with g = dy where relu let it through, N elements a channel and t = x - mean:
 *   dbias = sum g, dweight = sum(g t) / sqrt(var + eps),
 *   dx = scale (g - sum(g) / N - t sum(g t) / (N (var + eps))).
 * With `running`, training takes the running statistics, too: dx = scale g, and sums only for the weights that ask. */
#include "kern/cuda/column_norm.cuh"

enum { WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR };

static column_values values_of(const lk_opspec *s, const lk_live *live)
{
    const int64_t channels = s->in[0].dim[1], area = lki_shape_area(&s->in[0]);
    return {1, s->in[0].dim[0] * area, channels, channels, 1, live, area};
}

/* Saved: mean and 1 / sqrt(var + eps). */
struct batch_norm_saved {
    float *mean, *inverse;
};

static batch_norm_saved saved_of(const lk_opspec *s, void *saved, size_t *bytes)
{
    *bytes = 0;
    float *const mean = take_piece<float>(saved, bytes, s->in[0].dim[1]);
    return {mean, take_piece<float>(saved, bytes, s->in[0].dim[1])};
}

/* Factors, and room for the sums. */
static column_factors factors_of(const lk_opspec *s, void *scratch, void **room, size_t *bytes)
{
    const int64_t channels = s->in[0].dim[1];
    column_factors f = {};
    *bytes = 0;
    f.mean = take_piece<float>(scratch, bytes, channels);
    f.scale = take_piece<float>(scratch, bytes, channels);
    f.constant = take_piece<float>(scratch, bytes, channels);
    f.slope = take_piece<float>(scratch, bytes, channels);
    *room = scratch ? (char *)scratch + *bytes : NULL;
    return f;
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const column_values v = values_of(s, NULL);
    size_t factors;
    void *room;
    *out = {};
    saved_of(s, NULL, &out->saved_bytes);
    factors_of(s, NULL, &room, &factors);
    out->saved_bytes = s->training ? out->saved_bytes : 0;
    out->scratch_forward = factors + (s->training ? columns_scratch<moments>(1, v.rows, v.cols) : 0);
    out->scratch_backward = s->training ? factors + columns_scratch<two_sums>(1, v.rows, v.cols) : 0;
    return LK_OK;
}

/* ---- forward ---- */

/* From a channel's statistics, those of this microbatch or the running ones, to everything that is made of them. */
template <class T> struct batch_norm_statistics {
    typedef moments gathered;
    column_values v;
    const T *x;
    float eps;
    const float *weight, *running_mean, *running_var;
    float *fresh_mean, *fresh_var; /* NULL: nobody asks */
    batch_norm_saved saved;        /* NULL: not training */
    column_factors f;

    __device__ void set(int64_t c, float mean, float var) const
    {
        const float inverse = 1 / sqrtf(var + eps);
        f.mean[c] = mean;
        f.scale[c] = weight[c] * inverse;
        if (saved.mean) {
            saved.mean[c] = mean;
            saved.inverse[c] = inverse;
        }
    }
    __device__ moments gather(int64_t b, int64_t c, int64_t first, int64_t end, int64_t step) const
    {
        return column_moments(v, x, b, c, first, end, step);
    }
    __device__ void store(int64_t, int64_t c, const moments &m) const
    {
        set(c, (float)m.mean, (float)(m.squares / (m.n > 0 ? m.n : 1)));
        if (fresh_mean)
            fresh_mean[c] = (float)m.mean;
        if (fresh_var)
            fresh_var[c] = (float)(m.squares / (m.n > 1 ? m.n - 1 : 1));
    }
    /* The running ones. The step adds up the fresh ones at momentum 0, so they are zeros. */
    __device__ void operator()(int64_t c) const
    {
        set(c, running_mean[c], running_var[c]);
        if (fresh_mean)
            fresh_mean[c] = 0;
        if (fresh_var)
            fresh_var[c] = 0;
    }
};

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_batch_norm *const a = &s->attr.batch_norm;
    size_t bytes;
    void *room;
    column_factors f = factors_of(s, c->scratch, &room, &bytes);
    const column_values v = values_of(s, c->live);
    const batch_norm_statistics<T> st = {v, (const T *)c->x[0], (float)a->eps, (const float *)c->param[WEIGHT], (const float *)c->param[RUNNING_MEAN],
        (const float *)c->param[RUNNING_VAR], (float *)c->dparam[RUNNING_MEAN], (float *)c->dparam[RUNNING_VAR],
        s->training ? saved_of(s, c->saved, &bytes) : batch_norm_saved{}, f};

    LK_TRY(s->training && !a->running ? columns(1, v.rows, v.cols, st, room) : each(v.cols, st));
    f.constant = f.slope = NULL;
    f.shift = (const float *)c->param[BIAS];
    return a->act == LK_ACT_RELU ? column_norm_pass<T, true>(v, f, st.x, NULL, (T *)c->y) : column_norm_pass<T, false>(v, f, st.x, NULL, (T *)c->y);
}

/* ---- backward ---- */

template <class T> struct batch_norm_gradients {
    typedef two_sums gathered;
    column_values v;
    const T *x, *dy;
    bool relu, running;
    const float *weight;
    batch_norm_saved saved;
    float *dweight, *dbias; /* NULL: nobody asks */
    column_factors f;

    __device__ two_sums gather(int64_t b, int64_t c, int64_t first, int64_t end, int64_t step) const
    {
        return column_gradients(v, x, dy, relu, saved.mean[c], weight[c] * saved.inverse[c], f.shift[c], b, c, first, end, step);
    }
    __device__ void store(int64_t, int64_t c, const two_sums &sum) const
    {
        const int64_t n = v.valid();
        const double inverse = (double)saved.inverse[c];
        const float scale = weight[c] * saved.inverse[c];
        const double share = (double)scale / (double)(n > 0 ? n : 1);
        f.mean[c] = saved.mean[c];
        f.scale[c] = scale;
        f.constant[c] = running ? 0 : (float)(share * sum.a);
        f.slope[c] = running ? 0 : (float)(share * sum.b * inverse * inverse);
        if (dweight)
            dweight[c] = (float)(sum.b * inverse);
        if (dbias)
            dbias[c] = (float)sum.a;
    }
    /* Where no sum is needed. */
    __device__ void operator()(int64_t c) const
    {
        store(0, c, two_sums::none());
    }
};

/* The sums come first: dx may lie where dy does. */
template <class T> static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const bool relu = s->attr.batch_norm.act == LK_ACT_RELU, running = s->attr.batch_norm.running;
    float *const dweight = (float *)c->dparam[WEIGHT], *const dbias = (float *)c->dparam[BIAS];
    T *const dx = (T *)c->dx[0];
    size_t bytes;
    void *room;
    column_factors f = factors_of(s, c->scratch, &room, &bytes);
    f.shift = (const float *)c->param[BIAS];
    const batch_norm_gradients<T> g = {values_of(s, c->live), (const T *)c->x[0], (const T *)c->dy, relu, running, (const float *)c->param[WEIGHT],
        saved_of(s, c->saved, &bytes), dweight, dbias, f};

    if (dweight || dbias || (dx && !running))
        LK_TRY(columns(1, g.v.rows, g.v.cols, g, room));
    else if (dx)
        LK_TRY(each(g.v.cols, g));
    if (!dx)
        return LK_OK;
    return relu ? column_norm_pass<T, true>(g.v, f, g.x, g.dy, dx) : column_norm_pass<T, false>(g.v, f, g.x, g.dy, dx);
}

/* Not in place: backward reads the input. */
template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_NHWC,
    .out_rule = LK_LAYOUTS_NHWC,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward<T>,
    .backward = backward<T>};

LKI_KERNELS(batch_norm, kernel);
