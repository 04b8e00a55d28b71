#include "comm/reduce_tree.h"
#include "comm/reduce.h"

#include "base/mem.h"

enum { BLOCK_HOST = 8192, BLOCK_ELSEWHERE = 16 << 20 };

/* Compiled once for each vector width and chosen at start; sanitizers do not work with that. An element's sum has one
 * order, so all widths give the same bits. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EACH_WIDTH __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define EACH_WIDTH
#endif

/* dst may be the same as a source, never a part of it elsewhere: that is what ivdep says. */
#define DEFINE_STEP(name, T) \
    EACH_WIDTH static void name(lk_sum_form form, int64_t n, T *dst, const T *a, const T *b, const T *c, const T *d) \
    { \
        switch (form) { \
        case LK_SUM_2: \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) dst[i] = a[i] + b[i]; \
            return; \
        case LK_SUM_3L: \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) dst[i] = (a[i] + b[i]) + c[i]; \
            return; \
        case LK_SUM_3R: \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) dst[i] = a[i] + (b[i] + c[i]); \
            return; \
        case LK_SUM_4: \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) dst[i] = (a[i] + b[i]) + (c[i] + d[i]); \
            return; \
        } \
    }

DEFINE_STEP(step_f32, float)
DEFINE_STEP(step_f64, double)

int64_t lki_sum_block(const lk_space *space)
{
    return space->host ? BLOCK_HOST : BLOCK_ELSEWHERE;
}

static lk_status run_step(const lk_space *space, lk_comm_type type, lk_sum_form form, int64_t n, char *const p[5])
{
    if (!space->host) {
        const float *const from[4] = {(float *)p[0], (float *)p[1], (float *)p[2], (float *)p[3]};
        return lk_space_sum(space, form, n, (float *)p[4], from);
    }
    if (type == LK_COMM_F32)
        step_f32(form, n, (float *)p[4], (float *)p[0], (float *)p[1], (float *)p[2], (float *)p[3]);
    else
        step_f64(form, n, (double *)p[4], (double *)p[0], (double *)p[1], (double *)p[2], (double *)p[3]);
    return LK_OK;
}

lk_status lki_sum_run(const lki_sum *s, const lk_space *space, lk_comm_type type, int64_t n, char *const *operand,
    char *scratch, int64_t block)
{
    const int64_t size = (int64_t)lk_comm_type_size(type), most = block / size;

    for (int64_t at = 0; at < n; at += most) {
        const int64_t m = n - at < most ? n - at : most;
        for (int i = 0; i < s->n_steps; i++) {
            const lki_step *t = &s->step[i];
            char *p[5];
            for (int k = 0; k < 5; k++) {
                const int o = k < 4 ? t->src[k] : t->dst;
                p[k] = o < s->n_operands ? operand[o] + at * size : scratch + (int64_t)(o - s->n_operands) * block;
            }
            LK_TRY(run_step(space, type, t->form, m, p));
        }
    }
    return LK_OK;
}

typedef struct writer {
    lki_sum *sum; /* step NULL: only counts */
    int (*operand)(const void *arg, int a, int b);
    const void *arg;
} writer;

/* The operand that holds node [a,b) after the steps written so far. A node that must be summed goes to `dst`, or to
 * scratch block `slot` when dst is -1; blocks from `slot` on are free. Two levels of the tree make one step where they
 * can. */
static int write_node(writer *w, int a, int b, int dst, int slot)
{
    lki_sum *s = w->sum;
    const int known = w->operand(w->arg, a, b);
    int cut[5], n = 0; /* the parts of this step: [cut[i],cut[i+1]) */
    const int mid = lki_tree_mid(a, b);
    bool split[2];

    if (known >= 0)
        return known;
    for (int side = 0; side < 2; side++) {
        const int from = side == 0 ? a : mid, to = side == 0 ? mid : b;
        split[side] = w->operand(w->arg, from, to) < 0;
        cut[n++] = from;
        if (split[side])
            cut[n++] = lki_tree_mid(from, to);
    }
    cut[n] = b;
    lki_step t = {.dst = dst >= 0 ? dst : s->n_operands + slot};
    t.form = split[0] ? (split[1] ? LK_SUM_4 : LK_SUM_3L) : split[1] ? LK_SUM_3R : LK_SUM_2;
    for (int i = 0, used = slot; i < n; i++) {
        t.src[i] = write_node(w, cut[i], cut[i + 1], -1, used);
        used += t.src[i] >= s->n_operands;
    }
    for (int i = n; i < 4; i++)
        t.src[i] = t.src[0]; /* not read */
    if (dst < 0 && slot + 1 > s->n_scratch)
        s->n_scratch = slot + 1;
    if (s->step != NULL)
        s->step[s->n_steps] = t;
    s->n_steps++;
    return t.dst;
}

lk_status lki_sum_init(
    lki_sum *s, int a, int b, int n_operands, int out, int (*operand)(const void *arg, int a, int b), const void *arg)
{
    writer w = {.sum = s, .operand = operand, .arg = arg};

    *s = (lki_sum){.n_operands = n_operands};
    int at = write_node(&w, a, b, out, 0);
    if (s->n_steps > 0) {
        LK_TRY(lk_alloc_array(s->n_steps, sizeof *s->step, "steps of a sum", &s->step));
        s->n_steps = 0;
        at = write_node(&w, a, b, out, 0);
    }
    LK_BUG_IF(at != out, "node [%d,%d) is at operand %d, not %d", a, b, at, out);
    return LK_OK;
}

void lki_sum_fini(lki_sum *s)
{
    lk_free(s->step);
    *s = (lki_sum){0};
}

static void add_open(int a, int b, int first, int end, int *starts, int *ends, int *n)
{
    if (b <= first || a >= end)
        return;
    if (a >= first && b <= end) {
        starts[*n] = a;
        ends[(*n)++] = b;
        return;
    }
    const int mid = lki_tree_mid(a, b);
    add_open(a, mid, first, end, starts, ends, n);
    add_open(mid, b, first, end, starts, ends, n);
}

int lki_open_nodes(int leaves, int first, int end, int starts[LKI_MAX_OPEN], int ends[LKI_MAX_OPEN])
{
    int n = 0;

    if (first < end)
        add_open(0, leaves, first, end, starts, ends, &n);
    return n;
}

int lk_block_first(int leaves, int nranks, int rank)
{
    return (int)((int64_t)rank * leaves / nranks);
}

int lk_block_end(int leaves, int nranks, int rank)
{
    return lk_block_first(leaves, nranks, rank + 1);
}

void lki_slice(int64_t a, int64_t b, int64_t tile, int bucket, int nranks, int rank, int64_t *first, int64_t *end)
{
    /* Cut k is floor((k * tiles + shift) / nranks), 0 <= shift < nranks; as tiles = whole * nranks + rest, without
     * overflow. */
    const int64_t tiles = (b - a) / tile, whole = tiles / nranks, rest = tiles % nranks, shift = bucket % nranks;

    *first = a + tile * (rank * whole + (rank * rest + shift) / nranks);
    *end = a + tile * ((rank + 1) * whole + ((rank + 1) * rest + shift) / nranks);
}

static double tree_column(const double *rows, int k, int a, int b)
{
    if (b - a == 1)
        return rows[(int64_t)a * k];
    const int mid = lki_tree_mid(a, b);
    return tree_column(rows, k, a, mid) + tree_column(rows, k, mid, b);
}

void lk_tree_sum(int leaves, int k, const double *rows, double *sum)
{
    for (int i = 0; i < k; i++)
        sum[i] = leaves > 0 ? tree_column(rows + i, k, 0, leaves) : 0.0;
}
