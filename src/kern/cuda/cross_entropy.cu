/* cross_entropy, the formulas of ref/cross_entropy.c. A place (one softmax) is a group of threads: a warp, a block for many classes, one thread where
 * the places lie side by side ([B,K,H,W] in plain layout). Of the softmax three numbers a place are saved, not the softmax itself: the logits are read
 * once forward (twice where all classes have a share in the target), and once backward.
 *
 * The largest logit and the sum of exp(x - top) take one pass: the sum so far is scaled when a larger one turns up (Milakov & Gimelshein 2018,
 * "Online normalizer calculation for softmax"). Exponentials in float, sums over threads and logarithm in double. */
#include "kern/cuda/cuda_int.h"
#include "kern/cuda/element_loss.cuh"
#include "kern/cuda/rows.cuh"

#include <float.h>

/* Classes above which a place takes a block. */
enum { WARP_CLASSES = 1024 };

/* What backward needs of a place: the largest logit; the sum of what its terms are multiplied by over the sum of exp(x - top); the logarithm of that. */
struct alignas(16) saved_place {
    float top, share, log_sum;
};

/* What a kernel knows. */
template <class T> struct place_job {
    lk_attr_cross_entropy a;
    const lk_live *live;
    int node;
    int64_t classes, places, count; /* places of a sample, and of all */
    int64_t pitch;                  /* from the classes of a place to those of the next, where they lie side by side */
    bool aligned;                   /* the arrays are */
    const T *x, *share;             /* share NULL: class ids */
    const int64_t *id;
    float rest, most;               /* what of a target goes to all classes, and to its own */
    double scale;

    __device__ float weight(int64_t k) const
    {
        return a.n_weights > 0 ? (float)a.weight[k] : 1;
    }
    /* Place p of class id *own counts. A bad id is noted, and does not count. */
    __device__ bool counts(int64_t p, int64_t *own) const
    {
        const int64_t b = p / places;
        *own = -1;
        if (p >= count || b >= live->valid)
            return false;
        if (share)
            return true;
        *own = id[p];
        if (a.has_ignored && *own == a.ignored)
            return false;
        if (*own >= 0 && *own < classes)
            return true;
        note_fault(live, LK_FAULT_CLASS, node, b, *own, classes);
        return false;
    }
};

/* Calls f.take<W>(k, at) for a thread's classes k of place p below n: W of them, which lie behind one another from place `at` of the arrays. */
template <int group, class T, class F> static __device__ inline void walk(const place_job<T> &j, int64_t p, int64_t n, F &f)
{
    if constexpr (group == 1) {
        const int64_t base = p / j.places * j.places * j.classes + p % j.places;
        for (int64_t k = 0; k < n; k++)
            f.template take<1>(k, base + k * j.places);
    } else {
        constexpr int W = vec<T>::n;
        const int64_t base = p * j.pitch, ahead = (W - base % W) % W;
        const int64_t head = j.aligned ? min(ahead, n) : n, body = (n - head) / W * W;
        for (int64_t k = lane_number<group>(); k < head; k += group)
            f.template take<1>(k, base + k);
        for (int64_t k = head + lane_number<group>() * W; k < head + body; k += group * W)
            f.template take<W>(k, base + k);
        for (int64_t k = head + body + lane_number<group>(); k < n; k += group)
            f.template take<1>(k, base + k);
    }
}

/* ---- forward ---- */

template <class T> struct place_normalizer {
    const T *x;
    float top, sum;
    int64_t first; /* place of the first `top` */
    template <int W> __device__ void take(int64_t k, int64_t at)
    {
        float v[W];
        load_run(x + at, v);
        float most = top;
        for (int i = 0; i < W; i++)
            most = fmaxf(most, v[i]);
        if (most > top) {
            sum *= expf(top - most);
            top = most;
            for (int i = W - 1; i >= 0; i--)
                first = v[i] == most ? k + i : first;
        }
        for (int i = 0; i < W; i++)
            sum += expf(v[i] - top);
    }
};

/* sum_k c[k] (lse - x[k]) and sum_k c[k], where c[k] = w[k] (rest + most q[k]); the largest share. */
template <class T> struct place_spread {
    const place_job<T> *j;
    float top, log_sum;
    float term, sum, share;
    int64_t first;
    template <int W> __device__ void take(int64_t k, int64_t at)
    {
        float v[W], q[W] = {};
        load_run(j->x + at, v);
        if (j->share)
            load_run(j->share + at, q);
        for (int i = 0; i < W; i++) {
            const float c = j->weight(k + i) * (j->rest + j->most * q[i]);
            term += c == 0 ? 0 : c * (log_sum + (top - v[i]));
            sum += c;
            if (q[i] > share) {
                share = q[i];
                first = k + i;
            }
        }
    }
};

/* The group's place: what it adds to the metrics, in its first thread. */
template <int group, class T>
static __device__ inline loss_sums place_sums(const place_job<T> &j, int64_t p, int64_t id, saved_place *saved)
{
    __shared__ float shared[33];
    __shared__ double shared_sum[33];
    __shared__ int64_t shared_place[33];
    loss_sums own = {};
    place_normalizer<T> z = {j.x, -FLT_MAX, 0, 0};
    double terms = 0, total = 0, weight = 1;
    int64_t right = id;

    walk<group>(j, p, j.classes, z);
    float top = z.top;
    group_first_largest<group>(&top, &z.first, shared, shared_place);
    const double sum = group_sum<group>((double)(z.sum * expf(z.top - top)), shared_sum), log_sum = log(sum);
    if (j.share || j.rest > 0) {
        place_spread<T> all = {&j, top, (float)log_sum, 0, 0, -FLT_MAX, 0};
        walk<group>(j, p, j.classes, all);
        terms = group_sum<group>((double)all.term, shared_sum);
        total = group_sum<group>((double)all.sum, shared_sum);
        if (j.share) {
            group_first_largest<group>(&all.share, &all.first, shared, shared_place);
            right = all.first;
        }
    }
    if (!j.share) {
        const int64_t at = group == 1 ? p / j.places * j.places * j.classes + p % j.places + id * j.places : p * j.pitch + id;
        weight = (double)j.weight(id);
        const double c = (double)j.most * weight;
        if (c != 0)
            terms += c * (log_sum + ((double)top - (double)to_float(j.x[at])));
        total += c;
    }
    if (lane_number<group>() == 0) {
        own = {{terms, weight, 1, z.first == right ? 1.0 : 0.0}};
        if (saved)
            saved[p] = {top, (float)(total / sum), (float)log_sum};
    }
    return own;
}

template <int group, class T> static __global__ void forward_kernel(place_job<T> j, saved_place *saved, loss_sums *part)
{
    const int64_t p = row_number<group>();
    int64_t id;
    loss_sums own = {};
    if (j.counts(p, &id))
        own = place_sums<group>(j, p, id, saved);
    store_block_sums(own, part);
}

/* ---- backward ---- */

/* dx[k] = factor (exp(x[k] - top) share - c[k]); dq[k] = factor most w[k] (log_sum + (top - x[k])). Behind the last class, zeros. dx may be x: each
 * place is read, then written, by one thread. */
template <class T> struct place_slopes {
    const place_job<T> *j;
    bool counts;
    int64_t id;
    saved_place s;
    float factor;
    T *dx, *dq;
    template <int W> __device__ void take(int64_t k, int64_t at)
    {
        float to_x[W] = {}, to_q[W] = {};
        if (counts) {
            float v[W], q[W] = {};
            load_run(j->x + at, v);
            if (j->share)
                load_run(j->share + at, q);
            for (int i = 0; i < W; i++) {
                if (k + i >= j->classes)
                    continue;
                const float w = j->weight(k + i), own = j->share ? q[i] : k + i == id ? 1 : 0;
                to_x[i] = factor * (expf(v[i] - s.top) * s.share - w * (j->rest + j->most * own));
                to_q[i] = factor * j->most * w * (s.log_sum + (s.top - v[i]));
            }
        }
        if (dx)
            store_run_whole(dx + at, to_x);
        if (dq)
            store_run_whole(dq + at, to_q);
    }
};

template <int group, class T> static __global__ void backward_kernel(place_job<T> j, const saved_place *saved, T *dx, T *dq)
{
    const int64_t p = row_number<group>();
    if (p >= j.count)
        return;
    place_slopes<T> f = {&j, false, 0, {}, (float)(j.scale * j.live->grad_scale), dx, dq};
    f.counts = j.counts(p, &f.id);
    if (f.counts)
        f.s = saved[p];
    walk<group>(j, p, group == 1 ? j.classes : j.pitch, f);
}

/* ---- the table ---- */

static int64_t class_count(const lk_shape *s)
{
    return s->dim[s->ndim == 4 ? 1 : s->ndim - 1];
}

/* Threads of a place. */
static int group_of(const lk_opspec *s)
{
    if (s->in[0].ndim == 4 && s->in_layout == LK_LAYOUT_PLAIN)
        return 1;
    return class_count(&s->in[0]) <= WARP_CLASSES ? 32 : ROW_BLOCK;
}

template <class T> static place_job<T> job_of(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    const lk_attr_cross_entropy *const a = &s->attr.cross_entropy;
    const int64_t k = class_count(&s->in[0]);
    const bool ids = s->in_dtype[1] == LK_DT_I64;
    place_job<T> j = {*a, c->live, c->node, k, lk_shape_row(&s->in[0]) / k, lk_shape_count(&s->in[0]) / k};

    j.pitch = s->in_pitch != 0 ? s->in_pitch : k;
    j.x = (const T *)c->x[0];
    j.share = ids ? NULL : (const T *)c->x[1];
    j.id = ids ? (const int64_t *)c->x[1] : NULL;
    j.aligned = aligned16(j.x) && aligned16(j.share);
    j.rest = (float)(a->smoothing / (double)k);
    j.most = (float)(1 - a->smoothing);
    j.scale = lki_or_one(a->scale);
    return j;
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    const int64_t count = lk_shape_count(&s->in[0]) / class_count(&s->in[0]);
    *out = {};
    out->saved_bytes = s->training ? (size_t)count * sizeof(saved_place) : 0;
    out->scratch_forward = (size_t)div_up(count * group_of(s), ROW_BLOCK) * sizeof(loss_sums);
    return LK_OK;
}

template <class T> static lk_status forward(const lk_call *c)
{
    const place_job<T> j = job_of<T>(c);
    const int group = group_of(c->spec);
    saved_place *const saved = (saved_place *)c->saved;
    loss_sums *const part = (loss_sums *)c->scratch;

    if (group == 1)
        LK_TRY(launch_rows<1>(forward_kernel<1, T>, j.count, j, saved, part));
    else if (group == 32)
        LK_TRY(launch_rows<32>(forward_kernel<32, T>, j.count, j, saved, part));
    else
        LK_TRY(launch_rows<ROW_BLOCK>(forward_kernel<ROW_BLOCK, T>, j.count, j, saved, part));
    return lki_loss_metrics(div_up(j.count * group, ROW_BLOCK), part, j.scale, c->micro->metrics);
}

template <class T> static lk_status backward(const lk_call *c)
{
    const saved_place *const saved = (const saved_place *)c->saved;
    const int group = group_of(c->spec);
    T *const dx = (T *)c->dx[0], *const dq = (T *)c->dx[1];
    place_job<T> j = job_of<T>(c);

    if (!dx && !dq)
        return LK_OK;
    j.aligned &= aligned16(dx) && aligned16(dq);
    if (group == 1)
        return launch_rows<1>(backward_kernel<1, T>, j.count, j, saved, dx, dq);
    if (group == 32)
        return launch_rows<32>(backward_kernel<32, T>, j.count, j, saved, dx, dq);
    return launch_rows<ROW_BLOCK>(backward_kernel<ROW_BLOCK, T>, j.count, j, saved, dx, dq);
}

/* Shares of classes would lie in other places than the logits. */
static bool in_pitch(const lk_opspec *s)
{
    return s->in_dtype[1] == LK_DT_I64 && group_of(s) > 1 && s->in_layout == LK_LAYOUT_PLAIN;
}

template <class T> static constexpr lk_kernel kernel = {.in_place_x = true, .in_pitch = in_pitch, .plan = plan, .forward = forward<T>, .backward = backward<T>};

LKI_KERNELS(cross_entropy, kernel);
