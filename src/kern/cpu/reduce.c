/* reduce: neighbouring axes that are summed are one; of several such groups the last is summed first, each as
 * [outer][count][inner] in an order that its sizes fix. Backward spreads the same groups from the first on. */
#include "kern/cpu/cpu_int.h"
#include "kern/cpu/lanes.h"
#include <string.h>

typedef struct group {
    int64_t outer, count, inner; /* in the place of all dimensions in front of it; of it; of those behind it that stay */
} group;
enum { GROUPS = LK_MAX_DIMS / 2 };

static int groups_make(const lk_opspec *s, group g[GROUPS])
{
    const unsigned axes = s->attr.reduce.axes;
    int64_t before = 1;
    int n = 0;
    for (int i = 0; i < s->in[0].ndim; i++) {
        const int64_t size = s->in[0].dim[i];
        if (axes >> i & 1) {
            if (!(axes >> (i - 1) & 1)) /* dimension 0 is never summed */
                g[n++] = (group){before, 1, 1};
            g[n - 1].count *= size;
        } else {
            for (int k = 0; k < n; k++)
                g[k].inner *= size;
        }
        before *= size;
    }
    return n;
}

/* Two pieces for what is summed in part. */
static size_t piece_bytes(const group *g, int n)
{
    return n < 2 ? 0 : lki_floats(g[n - 1].outer * g[n - 1].inner);
}

static lk_status plan(const lk_opspec *s, lk_kern_plan *out)
{
    group g[GROUPS];
    const int n = groups_make(s, g);
    *out = (lk_kern_plan){.scratch_forward = 2 * piece_bytes(g, n), .scratch_backward = 2 * piece_bytes(g, n)};
    return LK_OK;
}

LK_CLONES static void run_sums(int64_t outer, int64_t count, const float *x, float *y)
{
    for (int64_t o = 0; o < outer; o++, x += count)
        LKI_RUN_SUM(y[o], count, LKI_VEC(x + i), x[i]);
}

LK_CLONES static void times(int64_t n, float factor, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] *= factor;
}

static void sums(const group *g, const float *x, float *y)
{
    if (g->inner == 1)
        run_sums(g->outer, g->count, x, y);
    else
        for (int64_t o = 0; o < g->outer; o++)
            lki_column_sums(g->count, g->inner, x + o * g->count * g->inner, y + o * g->inner);
}

/* dx [count][inner] = dy [inner] times a share. */
LK_CLONES static void spread(int64_t count, int64_t inner, float share, const float *restrict dy, float *restrict dx)
{
    if (inner == 1) {
        const float v = dy[0] * share;
        for (int64_t i = 0; i < count; i++)
            dx[i] = v;
        return;
    }
    for (int64_t k = 0; k < count; k++, dx += inner)
        for (int64_t i = 0; i < inner; i++)
            dx[i] = dy[i] * share;
}

static float share_of(const lk_opspec *s, int64_t places)
{
    return s->attr.reduce.mean && places > 0 ? 1 / (float)places : 1;
}

static lk_status forward_lengths(const lk_call *c, const group *g)
{
    const int64_t step = g->count * g->inner;
    for (int64_t b = 0; b < g->outer; b++) {
        float *const y = (float *)c->y + b * g->inner;
        const float *const x = (const float *)c->x[0] + b * step;
        int64_t length;
        LK_TRY(lki_length(c, b, &length));
        if (length == 0)
            memset(y, 0, (size_t)g->inner * sizeof *y);
        else
            sums(&(group){1, length, g->inner}, x, y);
        times(g->inner, share_of(c->spec, length), y);
    }
    return LK_OK;
}

static lk_status forward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    group g[GROUPS];
    const int n = groups_make(s, g);
    if (s->n_in > 1)
        return forward_lengths(c, g);
    const float *x = c->x[0];
    for (int k = n - 1; k >= 0; k--) {
        float *const to = k == 0 ? c->y : (float *)((char *)c->scratch + (size_t)(k % 2) * piece_bytes(g, n));
        sums(&g[k], x, to);
        x = to;
    }
    if (s->attr.reduce.mean)
        times(lk_shape_count(&s->out), share_of(s, lk_shape_count(&s->in[0]) / lk_shape_count(&s->out)), c->y);
    return LK_OK;
}

static lk_status backward_lengths(const lk_call *c, const group *g)
{
    const int64_t step = g->count * g->inner;
    for (int64_t b = 0; b < g->outer; b++) {
        float *const dx = (float *)c->dx[0] + b * step;
        int64_t length;
        LK_TRY(lki_length(c, b, &length));
        spread(length, g->inner, share_of(c->spec, length), (const float *)c->dy + b * g->inner, dx);
        memset(dx + length * g->inner, 0, (size_t)(step - length * g->inner) * sizeof *dx);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    const lk_opspec *const s = c->spec;
    group g[GROUPS];
    const int n = groups_make(s, g);
    if (!c->dx[0])
        return LK_OK;
    if (s->n_in > 1)
        return backward_lengths(c, g);
    const float *dy = c->dy;
    for (int k = 0; k < n; k++) {
        float *const to = k == n - 1 ? c->dx[0] : (float *)((char *)c->scratch + (size_t)(k % 2) * piece_bytes(g, n));
        const float share = k == 0 ? share_of(s, lk_shape_count(&s->in[0]) / lk_shape_count(&s->out)) : 1;
        for (int64_t o = 0; o < g[k].outer; o++)
            spread(g[k].count, g[k].inner, share, dy + o * g[k].inner, to + o * g[k].count * g[k].inner);
        dy = to;
    }
    return LK_OK;
}

const lk_kernel lk_kern_cpu_reduce = {
    .in_rule = LK_LAYOUTS_PLAIN, .out_rule = LK_LAYOUTS_PLAIN, .plan = plan, .forward = forward, .backward = backward};
