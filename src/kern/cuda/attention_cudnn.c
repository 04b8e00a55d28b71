/* attention over cuDNN: the graphs of operations that its engines for attention know (its developer guide, "fused attention"). No matrix of queries by keys
 * leaves them.
 *
 * Backward comes in two kinds, which the library does not tell apart by a note. Where the gradients of queries go through a sum in float, blocks of threads add
 * to it as they come. Where they are the last product itself, as here, the gradients of the scores are first laid down in the workspace, in 16 bits: what
 * NVIDIA's front end calls deterministic is this graph, on devices up to sm_90; on others the library is not asked. (The kernels that cuDNN 9.19 takes for it
 * on an A100 and an H200 have no atomic operation on floats, those for the other graph have; docs/gpu-results.md.) So backward goes over a few samples at a
 * time, which bounds the workspace. */
#include "kern/cuda/attention_cudnn.h"

#ifdef LK_HAVE_CUDNN

#include "kern/cuda/cudnn_graph.h"
#include "kern/cuda/device.h"

#include <math.h>
#include <string.h>

#ifdef LK_STANDIN
enum { MOST_WORKSPACE = 160 << 10 }; /* so that small tests work in several runs */
#else
enum { MOST_WORKSPACE = 160 << 20 };
#endif
enum { MOST_WIDTH = 128, WIDTH_PART = 8 };
/* Older ones take sizes that are no multiples of 64 or 128 only with lengths beside them. */
enum { OLDEST = 91600 };
/* Queries and keys of a head are brought to whole multiples in the workspace. */
enum { WORKSPACE_PART = 128 };

enum { ID_Q = 1, ID_K, ID_V, ID_Y, ID_LOG_SUM, ID_DY, ID_DQ, ID_DK, ID_DV, ID_MEAN, ID_SCALE, ID_ONE, ID_LOWEST };

/* All that a plan depends on; numbers of one type, so that it can be compared as it lies. */
typedef struct asked {
    int64_t who, type, part;
    lki_attention_sizes sizes;
} asked;
#define ASKED ((int)(sizeof(asked) / sizeof(int64_t)))
_Static_assert(ASKED <= LKI_CUDNN_KEY, "a key is long enough");

struct lki_attention_cudnn {
    lki_cudnn_graph graph; /* the first, so that it is found by it */
    asked a;
    int64_t run;    /* samples at a time */
    size_t mean_at; /* in the scratch */
};

typedef cudnnBackendDescriptor_t tensor;

/* ---- tensors ---- */

static lk_status make(lki_attention_cudnn *p, int64_t id, cudnnDataType_t type, const int64_t size[LKI_CUDNN_DIMS], const int64_t stride[LKI_CUDNN_DIMS], tensor *out)
{
    lki_cudnn_tensor t = {.id = id, .type = type};

    memcpy(t.size, size, sizeof t.size);
    memcpy(t.stride, stride, sizeof t.stride);
    return lki_cudnn_tensor_make(&p->graph, &t, out);
}

static cudnnDataType_t value_type(const lki_attention_cudnn *p)
{
    return lki_cudnn_type((lki_type)p->a.type);
}

/* [heads][places][d]; on their side: [heads][d][places], in memory as before. */
static lk_status vectors(lki_attention_cudnn *p, int64_t id, int64_t heads, int64_t places, const lki_vectors *v, bool side, tensor *out)
{
    const int64_t d = p->a.sizes.d, size[] = {p->run, heads, side ? d : places, side ? places : d}, stride[] = {v->sample, v->head, side ? 1 : v->place, side ? v->place : 1};
    return make(p, id, value_type(p), size, stride, out);
}

static lk_status of_queries(lki_attention_cudnn *p, int64_t id, tensor *out)
{
    const lki_attention_sizes *const s = &p->a.sizes;
    return vectors(p, id, s->heads, s->t, &s->q, false, out);
}

static lk_status of_outputs(lki_attention_cudnn *p, int64_t id, tensor *out)
{
    const lki_attention_sizes *const s = &p->a.sizes;
    const lki_vectors packed = {s->t * s->heads * s->d, s->d, s->heads * s->d};
    return vectors(p, id, s->heads, s->t, &packed, false, out);
}

static lk_status of_keys(lki_attention_cudnn *p, int64_t id, bool side, tensor *out)
{
    const lki_attention_sizes *const s = &p->a.sizes;
    return vectors(p, id, s->kv_heads, s->s, id == ID_V || id == ID_DV ? &s->v : &s->k, side, out);
}

/* The graph's own. */
static lk_status apart(lki_attention_cudnn *p, cudnnDataType_t type, int64_t rows, int64_t columns, tensor *out)
{
    const int64_t heads = p->a.sizes.heads, size[] = {p->run, heads, rows, columns}, stride[] = {heads * rows * columns, rows * columns, columns, 1};
    return make(p, 0, type, size, stride, out);
}

static lk_status scores(lki_attention_cudnn *p, cudnnDataType_t type, tensor *out)
{
    return apart(p, type, p->a.sizes.t, p->a.sizes.s, out);
}

/* A number for each query. */
static lk_status rows(lki_attention_cudnn *p, int64_t id, tensor *out)
{
    const int64_t t = p->a.sizes.t, heads = p->a.sizes.heads, size[] = {p->run, heads, t, 1}, stride[] = {heads * t, t, 1, 1};
    return make(p, id, CUDNN_DATA_FLOAT, size, stride, out);
}

static lk_status number(lki_attention_cudnn *p, int64_t id, tensor *out)
{
    const lki_cudnn_tensor t = {.id = id, .type = CUDNN_DATA_FLOAT, .size = {1, 1, 1, 1}, .stride = {1, 1, 1, 1}, .by_value = true};
    return lki_cudnn_tensor_make(&p->graph, &t, out);
}

/* ---- graphs ---- */

/* *out = what `mode` makes of scores x (and b), as scores of a type. */
static lk_status pass(lki_attention_cudnn *p, cudnnPointwiseMode_t mode, tensor x, tensor b, cudnnDataType_t type, tensor *out)
{
    tensor y;

    LK_TRY(scores(p, type, &y));
    LK_TRY(lki_cudnn_pointwise(&p->graph, mode, x, b, y));
    *out = y;
    return LK_OK;
}

/* -inf where the key is behind the query. */
static lk_status hide(lki_attention_cudnn *p, tensor x, tensor *out)
{
    tensor query, key, seen, lowest;

    LK_TRY(scores(p, CUDNN_DATA_INT32, &query));
    LK_TRY(lki_cudnn_places(&p->graph, 2, x, query));
    LK_TRY(scores(p, CUDNN_DATA_INT32, &key));
    LK_TRY(lki_cudnn_places(&p->graph, 3, x, key));
    LK_TRY(scores(p, CUDNN_DATA_BOOLEAN, &seen));
    LK_TRY(lki_cudnn_not_less(&p->graph, query, key, seen));
    LK_TRY(number(p, ID_LOWEST, &lowest));
    LK_TRY(scores(p, CUDNN_DATA_FLOAT, out));
    return lki_cudnn_select(&p->graph, seen, x, lowest, *out);
}

/* scale q k */
static lk_status scaled(lki_attention_cudnn *p, tensor q, tensor k, tensor scale, tensor *out)
{
    tensor raw;

    LK_TRY(scores(p, CUDNN_DATA_FLOAT, &raw));
    LK_TRY(lki_cudnn_product(&p->graph, q, k, raw));
    return pass(p, CUDNN_POINTWISE_MUL, raw, scale, CUDNN_DATA_FLOAT, out);
}

static lk_status forward_graph(lki_attention_cudnn *p)
{
    lki_cudnn_graph *const g = &p->graph;
    tensor q, k, v, y, scale, s, hidden, top, below, e, sum, log_of, log_sum, probability;

    LK_TRY(of_queries(p, ID_Q, &q));
    LK_TRY(of_keys(p, ID_K, true, &k));
    LK_TRY(of_keys(p, ID_V, false, &v));
    LK_TRY(of_outputs(p, ID_Y, &y));
    LK_TRY(number(p, ID_SCALE, &scale));
    LK_TRY(scaled(p, q, k, scale, &s));
    hidden = s;
    if (p->a.sizes.causal)
        LK_TRY(hide(p, s, &hidden));
    LK_TRY(rows(p, 0, &top));
    LK_TRY(lki_cudnn_reduce(g, CUDNN_REDUCE_TENSOR_MAX, hidden, top));
    LK_TRY(pass(p, CUDNN_POINTWISE_SUB, hidden, top, CUDNN_DATA_FLOAT, &below));
    LK_TRY(pass(p, CUDNN_POINTWISE_EXP, below, NULL, CUDNN_DATA_FLOAT, &e));
    LK_TRY(rows(p, 0, &sum));
    LK_TRY(lki_cudnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, e, sum));
    LK_TRY(rows(p, 0, &log_of));
    LK_TRY(lki_cudnn_pointwise(g, CUDNN_POINTWISE_LOG, sum, NULL, log_of));
    LK_TRY(rows(p, p->a.part == LKI_ATTENTION_FORWARD ? ID_LOG_SUM : 0, &log_sum)); /* the engines want it, if only as an inner one */
    LK_TRY(lki_cudnn_pointwise(g, CUDNN_POINTWISE_ADD, top, log_of, log_sum));
    LK_TRY(pass(p, CUDNN_POINTWISE_DIV, e, sum, value_type(p), &probability));
    return lki_cudnn_product(g, probability, v, y);
}

/* Gradients of keys or values, weights^T x: those of all heads of queries, summed over those that share a head of keys. */
static lk_status summed(lki_attention_cudnn *p, tensor weights, tensor x, int64_t id)
{
    const lki_attention_sizes *const s = &p->a.sizes;
    const int64_t size[] = {p->run, s->heads, s->s, s->t}, stride[] = {s->heads * s->t * s->s, s->t * s->s, 1, s->s};
    tensor side, all, out;

    LK_TRY(make(p, 0, value_type(p), size, stride, &side));
    LK_TRY(lki_cudnn_reshape(&p->graph, weights, side));
    LK_TRY(of_keys(p, id, false, &out));
    if (s->heads == s->kv_heads)
        return lki_cudnn_product(&p->graph, side, x, out);
    LK_TRY(apart(p, value_type(p), s->s, s->d, &all));
    LK_TRY(lki_cudnn_product(&p->graph, side, x, all));
    return lki_cudnn_reduce(&p->graph, CUDNN_REDUCE_TENSOR_ADD, all, out);
}

/* mean = sum over a head of dy y. The engines take it times one (in place of a share that dropout keeps), and from memory. */
static lk_status mean_of(lki_attention_cudnn *p, tensor dy, tensor y, tensor *mean)
{
    const lki_attention_sizes *const s = &p->a.sizes;
    const int64_t size[] = {p->run, s->heads, s->t, s->d}, stride[] = {s->heads * s->t * s->d, s->t * s->d, s->heads * s->d, 1};
    tensor each, sum, one;

    LK_TRY(make(p, 0, CUDNN_DATA_FLOAT, size, stride, &each));
    LK_TRY(lki_cudnn_pointwise(&p->graph, CUDNN_POINTWISE_MUL, dy, y, each));
    LK_TRY(rows(p, 0, &sum));
    LK_TRY(lki_cudnn_reduce(&p->graph, CUDNN_REDUCE_TENSOR_ADD, each, sum));
    LK_TRY(number(p, ID_ONE, &one));
    LK_TRY(rows(p, ID_MEAN, mean));
    return lki_cudnn_pointwise(&p->graph, CUDNN_POINTWISE_MUL, sum, one, *mean);
}

static lk_status backward_graph(lki_attention_cudnn *p)
{
    lki_cudnn_graph *const g = &p->graph;
    const lki_attention_sizes *const sizes = &p->a.sizes;
    tensor q, k, v, y, dy, log_sum, mean, scale, s, below, hidden, e, de, less, by_e, ds, upright, dq;

    LK_TRY(of_queries(p, ID_Q, &q));
    LK_TRY(of_keys(p, ID_K, true, &k));
    LK_TRY(of_keys(p, ID_V, true, &v));
    LK_TRY(of_outputs(p, ID_Y, &y));
    LK_TRY(of_outputs(p, ID_DY, &dy));
    LK_TRY(rows(p, ID_LOG_SUM, &log_sum));
    LK_TRY(number(p, ID_SCALE, &scale));
    LK_TRY(mean_of(p, dy, y, &mean));

    LK_TRY(scaled(p, q, k, scale, &s));
    LK_TRY(pass(p, CUDNN_POINTWISE_SUB, s, log_sum, CUDNN_DATA_FLOAT, &below));
    hidden = below;
    if (sizes->causal)
        LK_TRY(hide(p, below, &hidden));
    LK_TRY(pass(p, CUDNN_POINTWISE_EXP, hidden, NULL, CUDNN_DATA_FLOAT, &e));
    LK_TRY(summed(p, e, dy, ID_DV));

    LK_TRY(scores(p, CUDNN_DATA_FLOAT, &de));
    LK_TRY(lki_cudnn_product(g, dy, v, de));
    LK_TRY(pass(p, CUDNN_POINTWISE_SUB, de, mean, CUDNN_DATA_FLOAT, &less));
    LK_TRY(pass(p, CUDNN_POINTWISE_MUL, less, e, CUDNN_DATA_FLOAT, &by_e));
    LK_TRY(pass(p, CUDNN_POINTWISE_MUL, by_e, scale, CUDNN_DATA_FLOAT, &ds));
    LK_TRY(summed(p, ds, q, ID_DK));

    LK_TRY(vectors(p, 0, sizes->kv_heads, sizes->s, &sizes->k, false, &upright));
    LK_TRY(lki_cudnn_reshape(g, k, upright));
    LK_TRY(of_queries(p, ID_DQ, &dq));
    return lki_cudnn_product(g, ds, upright, dq);
}

/* ---- setup ---- */

/* The same bits each time, sums in float. */
static bool acceptable(int64_t n, const cudnnBackendNumericalNote_t *notes, const void *arg)
{
    (void)arg;
    for (int64_t i = 0; i < n; i++)
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC || notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
            return false;
    return true;
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* Gradients of scores, which backward lays down; and, where heads share keys, their gradients of each. */
static int64_t workspace_of(const lki_attention_sizes *s, int64_t samples)
{
    const int64_t keys = round_up(s->s, WORKSPACE_PART), shared = s->heads != s->kv_heads ? 2 * s->d : 0;
    return samples * s->heads * keys * (round_up(s->t, WORKSPACE_PART) + shared) * 2;
}

/* Can so many samples be done at a time? Their logs must begin at a multiple of 16 bytes, as all data. */
static bool apart_by(const lki_attention_sizes *s, int64_t n)
{
    return s->batch % n == 0 && workspace_of(s, n) <= MOST_WORKSPACE && (n == s->batch || n * s->heads * s->t % 4 == 0);
}

/* The most; 0: not even one. */
static int64_t samples_at_a_time(const lki_attention_sizes *s, lki_attention_part part)
{
    int64_t n = s->batch;

    while (part == LKI_ATTENTION_BACKWARD && n > 0 && !apart_by(s, n))
        n--;
    return n;
}

static lk_status build(lki_attention_cudnn *p)
{
    const lki_attention_sizes *const s = &p->a.sizes;
    const bool back = p->a.part == LKI_ATTENTION_BACKWARD;

    LK_TRY(back ? backward_graph(p) : forward_graph(p));
    LK_TRY(lki_cudnn_plan(&p->graph, MOST_WORKSPACE, acceptable, NULL));
    /* An engine that lays no gradients of scores down would be one of the other kind. */
    if (back && p->graph.workspace_bytes < (size_t)(p->run * s->heads * s->t * s->s) * 2)
        lki_cudnn_graph_fini(&p->graph);
    p->mean_at = lki_part_bytes(p->graph.workspace_bytes);
    return LK_OK;
}

static lk_status plan_make(const asked *a, const int64_t *key, int64_t run, lki_attention_cudnn **out)
{
    lki_attention_cudnn *p = NULL;

    LK_TRY(lk_alloc(sizeof *p, "attention by cuDNN", &p));
    p->a = *a;
    p->run = run;
    const lk_status st = build(p);
    if (p->graph.plan != NULL) {
        lki_cudnn_share(&p->graph, ASKED, key);
        *out = p;
        return st;
    }
    lki_cudnn_graph_fini(&p->graph);
    lk_free(p);
    return st == LK_E_UNSUPPORTED ? LK_OK : st;
}

static bool whole(const lki_vectors *v)
{
    return v->sample % WIDTH_PART == 0 && v->head % WIDTH_PART == 0 && v->place % WIDTH_PART == 0;
}

/* What the engines take. A single query and key is told from nothing else by them. */
static bool fits(const lki_attention_sizes *s, lki_type t)
{
    return t != LKI_F32 && s->d <= MOST_WIDTH && s->d % WIDTH_PART == 0 && s->t > 1 && s->s > 1 && whole(&s->q) && whole(&s->k) && whole(&s->v) && cudnnGetVersion() >= OLDEST;
}

static lk_status known_device(bool *out)
{
    lk_cuda_gpu gpu;

    LK_TRY(lk_cuda_describe(lki_cuda_device.device, &gpu));
    *out = gpu.major == 8 || gpu.major == 9;
    return LK_OK;
}

lk_status lki_attention_cudnn_create(const lki_attention_sizes *s, lki_type t, lki_attention_part part, lki_attention_cudnn **out)
{
    const asked a = {.who = LKI_CUDNN_ATTENTION, .type = t, .part = part, .sizes = *s};
    const int64_t run = samples_at_a_time(s, part);
    int64_t key[ASKED];
    bool known = false;

    *out = NULL;
    if (!fits(s, t) || run == 0 || !lki_cudnn_wanted())
        return LK_OK;
    LK_TRY(known_device(&known));
    if (!known)
        return LK_OK;
    memcpy(key, &a, sizeof key);
    *out = (lki_attention_cudnn *)lki_cudnn_shared(ASKED, key);
    return *out != NULL ? LK_OK : plan_make(&a, key, run, out);
}

size_t lki_attention_cudnn_scratch(const lki_attention_cudnn *p)
{
    const lki_attention_sizes *const s = &p->a.sizes;
    return p->mean_at + (p->a.part == LKI_ATTENTION_BACKWARD ? (size_t)(p->run * s->heads * s->t) * sizeof(float) : 0);
}

void lki_attention_cudnn_destroy(lki_attention_cudnn **pp)
{
    lki_attention_cudnn *const p = *pp;

    *pp = NULL;
    if (p != NULL && lki_cudnn_leave(&p->graph))
        lk_free(p);
}

/* ---- run ---- */

enum { MOST_BOUND = 16 };
typedef struct bound {
    int n;
    int64_t id[MOST_BOUND];
    const void *at[MOST_BOUND];
} bound;

static void bind(bound *b, int64_t id, const void *at)
{
    b->id[b->n] = id;
    b->at[b->n++] = at;
}

/* Values of samples from `first` on, so many elements apart. */
static void bind_values(bound *b, int64_t id, const void *at, int64_t first, int64_t apart)
{
    bind(b, id, (const char *)at + (size_t)(first * apart) * 2);
}

lk_status lki_attention_cudnn_forward(const lki_attention_cudnn *p, float scale, const void *q, const void *k, const void *v, void *y, float *log_sum, void *scratch)
{
    const float lowest = -INFINITY;
    bound b = {0};

    bind(&b, ID_Q, q);
    bind(&b, ID_K, k);
    bind(&b, ID_V, v);
    bind(&b, ID_Y, y);
    bind(&b, ID_SCALE, &scale);
    if (p->a.sizes.causal)
        bind(&b, ID_LOWEST, &lowest);
    if (p->a.part == LKI_ATTENTION_FORWARD)
        bind(&b, ID_LOG_SUM, log_sum);
    return lki_cudnn_run(&p->graph, b.n, b.id, b.at, scratch);
}

lk_status lki_attention_cudnn_backward(const lki_attention_cudnn *p, float scale, const void *q, const void *k, const void *v, const void *y, const float *log_sum,
    const void *dy, void *dq, void *dk, void *dv, void *scratch)
{
    const lki_attention_sizes *const s = &p->a.sizes;
    const float one = 1, lowest = -INFINITY;
    const int64_t y_apart = s->t * s->heads * s->d;

    for (int64_t first = 0; first < s->batch; first += p->run) {
        bound b = {0};
        bind_values(&b, ID_Q, q, first, s->q.sample);
        bind_values(&b, ID_K, k, first, s->k.sample);
        bind_values(&b, ID_V, v, first, s->v.sample);
        bind_values(&b, ID_Y, y, first, y_apart);
        bind_values(&b, ID_DY, dy, first, y_apart);
        bind_values(&b, ID_DQ, dq, first, s->q.sample);
        bind_values(&b, ID_DK, dk, first, s->k.sample);
        bind_values(&b, ID_DV, dv, first, s->v.sample);
        bind(&b, ID_LOG_SUM, log_sum + first * s->heads * s->t);
        bind(&b, ID_MEAN, (const char *)scratch + p->mean_at);
        bind(&b, ID_SCALE, &scale);
        bind(&b, ID_ONE, &one);
        if (s->causal)
            bind(&b, ID_LOWEST, &lowest);
        LK_TRY(lki_cudnn_run(&p->graph, b.n, b.id, b.at, scratch));
    }
    return LK_OK;
}

#else

lk_status lki_attention_cudnn_create(const lki_attention_sizes *s, lki_type t, lki_attention_part part, lki_attention_cudnn **out)
{
    (void)s, (void)t, (void)part;
    *out = NULL;
    return LK_OK;
}

size_t lki_attention_cudnn_scratch(const lki_attention_cudnn *p)
{
    (void)p;
    return 0;
}

lk_status lki_attention_cudnn_forward(const lki_attention_cudnn *p, float scale, const void *q, const void *k, const void *v, void *y, float *log_sum, void *scratch)
{
    (void)p, (void)scale, (void)q, (void)k, (void)v, (void)y, (void)log_sum, (void)scratch;
    return LK_FAIL(LK_E_UNSUPPORTED, "this module was built without cuDNN");
}

lk_status lki_attention_cudnn_backward(const lki_attention_cudnn *p, float scale, const void *q, const void *k, const void *v, const void *y, const float *log_sum,
    const void *dy, void *dq, void *dk, void *dv, void *scratch)
{
    (void)p, (void)scale, (void)q, (void)k, (void)v, (void)y, (void)log_sum, (void)dy, (void)dq, (void)dk, (void)dv, (void)scratch;
    return LK_FAIL(LK_E_UNSUPPORTED, "this module was built without cuDNN");
}

void lki_attention_cudnn_destroy(lki_attention_cudnn **p)
{
    (void)p;
}

#endif
