/* group_norm: y = (x - mean) scale + shift, mean and deviation of a sample's group of channels, scale = weight / deviation and shift = bias by channel.
 * A sample is a matrix of places by channels; what is gathered by channel is then joined over the channels of a group.
 * Backward, t = x - mean, n elements a group, by channel S = sum dy and T = sum(dy t):
 *   dbias = sum S, dweight = sum(T inv) over samples,
 *   dx = scale dy - inv (sum(w S) / n) - t inv^3 (sum(w T) / n), sums over the group. */
#include "kern/cuda/column_norm.cuh"
#include "kern/cuda/rows.cuh"

/* Values of 3 to 5 dimensions lie channels last; of others a channel's places are neighbours. */
static column_values values_of(const lk_opspec *s)
{
    const int64_t channels = s->in[0].dim[1], area = lki_shape_area(&s->in[0]);
    const bool last = s->in_layout == LK_LAYOUT_NHWC && lk_shape_spatial(&s->in[0]);
    return {s->in[0].dim[0], area, channels, last ? channels : 1, last ? 1 : area, NULL, 0};
}

/* Scratch: what is gathered by channel of each sample, factors likewise, room for sums. */
template <class G> struct group_norm_room {
    G *channel;
    column_factors f;
    void *sums;
    size_t bytes; /* in front of `sums` */
};
template <class G> static group_norm_room<G> room_of(const lk_opspec *s, void *scratch)
{
    const int64_t n = s->in[0].dim[0] * s->in[0].dim[1];
    group_norm_room<G> r = {};
    r.channel = take_piece<G>(scratch, &r.bytes, n);
    r.f.mean = take_piece<float>(scratch, &r.bytes, n);
    r.f.scale = take_piece<float>(scratch, &r.bytes, n);
    r.f.constant = take_piece<float>(scratch, &r.bytes, n);
    r.f.slope = take_piece<float>(scratch, &r.bytes, n);
    r.sums = scratch ? (char *)scratch + r.bytes : NULL;
    return r;
}

/* Saved: mean and inverse deviation of each sample's group. */
static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const column_values v = values_of(s);
    *out = {};
    out->saved_bytes = s->training ? (size_t)(v.batch * s->attr.norm.groups) * sizeof(float2) : 0;
    out->scratch_forward = room_of<moments>(s, NULL).bytes + columns_scratch<moments>(v.batch, v.rows, v.cols);
    if (s->training)
        out->scratch_backward = room_of<two_sums>(s, NULL).bytes +
                                std::max(columns_scratch<two_sums>(v.batch, v.rows, v.cols), columns_scratch<two_sums>(1, v.batch, v.cols));
    return LK_OK;
}

/* ---- forward ---- */

template <class T> struct group_norm_moments {
    typedef moments gathered;
    column_values v;
    const T *x;
    moments *channel;
    __device__ moments gather(int64_t b, int64_t c, int64_t first, int64_t end, int64_t step) const
    {
        return column_moments(v, x, b, c, first, end, step);
    }
    __device__ void store(int64_t b, int64_t c, const moments &m) const
    {
        channel[b * v.cols + c] = m;
    }
};

/* A warp a group of `width` channels, all of which have as many elements. */
static __global__ void join_groups(
    int64_t count, int64_t groups, int64_t width, double eps, const moments *channel, const float *weight, float2 *saved, column_factors f)
{
    const int64_t r = row_number<32>(), first = r * width, of_weight = r % groups * width;
    double mean = 0, squares = 0;

    if (r >= count)
        return;
    for (int64_t k = lane_number<32>(); k < width; k += 32)
        mean += channel[first + k].mean;
    mean = warp_sum(mean) / (double)width;
    for (int64_t k = lane_number<32>(); k < width; k += 32) {
        const moments m = channel[first + k];
        squares += m.squares + m.n * (m.mean - mean) * (m.mean - mean);
    }
    const float inverse = (float)(1 / sqrt(warp_sum(squares) / ((double)width * channel[first].n) + eps));
    for (int64_t k = lane_number<32>(); k < width; k += 32) {
        f.mean[first + k] = (float)mean;
        f.scale[first + k] = weight[of_weight + k] * inverse;
    }
    if (saved && lane_number<32>() == 0)
        saved[r] = make_float2((float)mean, inverse);
}

template <class T> static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t groups = s->attr.norm.groups;
    const column_values v = values_of(s);
    const T *const x = (const T *)c->x[0];
    group_norm_room<moments> r = room_of<moments>(s, c->scratch);

    LK_TRY(columns(v.batch, v.rows, v.cols, group_norm_moments<T>{v, x, r.channel}, r.sums));
    LK_TRY(launch_rows<32>(join_groups, v.batch * groups, v.batch * groups, groups, v.cols / groups, s->attr.norm.eps, r.channel,
        (const float *)c->param[0], (float2 *)c->saved, r.f));
    r.f.shift = (const float *)c->param[1];
    return column_norm_pass<T, false>(v, r.f, x, NULL, (T *)c->y);
}

/* ---- backward ---- */

template <class T> struct group_norm_sums {
    typedef two_sums gathered;
    column_values v;
    int64_t width;
    const T *x, *dy;
    const float2 *saved;
    two_sums *channel;
    __device__ two_sums gather(int64_t b, int64_t c, int64_t first, int64_t end, int64_t step) const
    {
        return column_gradients(v, x, dy, false, saved[(b * v.cols + c) / width].x, 0, 0, b, c, first, end, step);
    }
    __device__ void store(int64_t b, int64_t c, const two_sums &sum) const
    {
        channel[b * v.cols + c] = sum;
    }
};

/* A warp a group of n elements. */
static __global__ void group_gradients(int64_t count, int64_t groups, int64_t width, double n, const two_sums *channel, const float *weight,
    const float2 *saved, column_factors f)
{
    const int64_t r = row_number<32>(), first = r * width, of_weight = r % groups * width;
    two_sums sum = two_sums::none();

    if (r >= count)
        return;
    for (int64_t k = lane_number<32>(); k < width; k += 32) {
        const double w = (double)weight[of_weight + k];
        sum.add({w * channel[first + k].a, w * channel[first + k].b});
    }
    const float2 stat = saved[r];
    const double inverse = (double)stat.y;
    const float constant = (float)(inverse * warp_sum(sum.a) / n), slope = (float)(inverse * inverse * inverse * warp_sum(sum.b) / n);
    for (int64_t k = lane_number<32>(); k < width; k += 32) {
        f.mean[first + k] = stat.x;
        f.scale[first + k] = weight[of_weight + k] * stat.y;
        f.constant[first + k] = constant;
        f.slope[first + k] = slope;
    }
}

/* Over the samples. */
struct group_norm_weights {
    typedef two_sums gathered;
    int64_t cols, width;
    const two_sums *channel;
    const float2 *saved;
    float *dweight, *dbias; /* NULL: nobody asks */
    __device__ two_sums gather(int64_t, int64_t c, int64_t first, int64_t end, int64_t step) const
    {
        two_sums sum = two_sums::none();
        for (int64_t b = first; b < end; b += step) {
            const int64_t at = b * cols + c;
            sum.add({channel[at].b * (double)saved[at / width].y, channel[at].a});
        }
        return sum;
    }
    __device__ void store(int64_t, int64_t c, const two_sums &sum) const
    {
        if (dweight)
            dweight[c] = (float)sum.a;
        if (dbias)
            dbias[c] = (float)sum.b;
    }
};

/* The sums come first: dx may lie where dy does. */
template <class T> static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const int64_t groups = s->attr.norm.groups, width = s->in[0].dim[1] / groups;
    const column_values v = values_of(s);
    const T *const x = (const T *)c->x[0], *const dy = (const T *)c->dy;
    const float2 *const saved = (const float2 *)c->saved;
    float *const dweight = (float *)c->dparam[0], *const dbias = (float *)c->dparam[1];
    const group_norm_room<two_sums> r = room_of<two_sums>(s, c->scratch);

    LK_TRY(columns(v.batch, v.rows, v.cols, group_norm_sums<T>{v, width, x, dy, saved, r.channel}, r.sums));
    if (dweight || dbias)
        LK_TRY(columns(1, v.batch, v.cols, group_norm_weights{v.cols, width, r.channel, saved, dweight, dbias}, r.sums));
    if (!c->dx[0])
        return LK_OK;
    LK_TRY(launch_rows<32>(group_gradients, v.batch * groups, v.batch * groups, groups, width, (double)(width * v.rows), r.channel,
        (const float *)c->param[0], saved, r.f));
    return column_norm_pass<T, false>(v, r.f, x, dy, (T *)c->dx[0]);
}

template <class T>
static constexpr lk_kernel kernel = {.in_rule = LK_LAYOUTS_NHWC,
    .out_rule = LK_LAYOUTS_NHWC,
    .in_place = true,
    .in_place_dx = true,
    .plan = plan,
    .forward = forward<T>,
    .backward = backward<T>};

LKI_KERNELS(group_norm, kernel);
