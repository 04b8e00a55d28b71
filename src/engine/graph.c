#include "engine/graph.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <math.h>
#include <string.h>

lk_status lk_graph_create(int64_t rows, lk_graph **out)
{
    lk_graph *g = NULL;

    if (rows < 1)
        return LK_FAIL(LK_E_ARG, "a microbatch of %" PRId64 " rows", rows);
    LK_TRY(lk_alloc(sizeof *g, "graph", &g));
    g->rows = rows;
    g->output = -1;
    *out = g;
    return LK_OK;
}

/* Makes room for one more item in a growing array. */
static lk_status grow(int n, int *cap, size_t size, const char *what, void *array)
{
    if (n < *cap)
        return LK_OK;
    const int more = *cap == 0 ? 16 : 2 * *cap;
    LK_TRY(lk_realloc_array(*cap, more, size, what, array));
    *cap = more;
    return LK_OK;
}

lk_status lk_graph_input(lk_graph *g, const char *name, const lk_shape *sample, lk_dtype dtype, int *value)
{
    lk_value v = {.dtype = dtype, .producer = -1};

    if (sample->ndim + 1 > LK_MAX_DIMS)
        return LK_FAIL(LK_E_SHAPE, "input \"%s\" has %d dimensions a sample, at most %d are possible", name, sample->ndim, LK_MAX_DIMS - 1);
    v.shape.ndim = sample->ndim + 1;
    v.shape.dim[0] = g->rows;
    memcpy(v.shape.dim + 1, sample->dim, (size_t)sample->ndim * sizeof sample->dim[0]);
    LK_TRY(lk_shape_check(&v.shape, name));
    LK_TRY(grow(g->n_values, &g->cap_values, sizeof *g->value, "graph values", &g->value));
    LK_TRY(lk_strdup(name, &v.name));
    g->value[g->n_values] = v;
    *value = g->n_values++;
    return LK_OK;
}

/* Who made a value, for messages: "conv1 (run.yaml:12:5)" or "input \"image\"". */
static void describe_value(const lk_graph *g, int value, lk_buf *out)
{
    const lk_value *v = &g->value[value];
    char shape[LK_SHAPE_TEXT];

    if (v->producer < 0)
        lk_buf_printf(out, "\"%s\" is %s", v->name, lk_shape_print(&v->shape, shape));
    else
        lk_buf_printf(out, "%s (%s) gives %s", g->node[v->producer].name, g->node[v->producer].where, lk_shape_print(&v->shape, shape));
}

static lk_status fail_infer(const lk_graph *g, const lk_node_def *d, const lk_opinfo *info, int n_in, lk_status st)
{
    lk_buf b = {0};
    char message[LK_ERR_MESSAGE];

    snprintf(message, sizeof message, "%s", lk_err_last()->message);
    for (int i = 0; i < n_in; i++) {
        lk_buf_add(&b, i == 0 ? "; " : ", ");
        describe_value(g, d->in[i], &b);
    }
    st = LK_FAIL(st == LK_E_NOMEM ? st : LK_E_CONFIG, "%s: layer %s (%s): %s%s", d->where, d->name, info->name, message, lk_buf_text(&b));
    lk_buf_fini(&b);
    return st;
}

/* Where the node of that name stands in the index, or the free place where it belongs. A node's key is the hash of its name. */
static int *named_place(const lk_graph *g, uint64_t key, const char *name)
{
    const uint64_t mask = (uint64_t)g->cap_named - 1;

    for (uint64_t at = key & mask;; at = (at + 1) & mask) {
        const int i = g->named[at];

        if (i < 0 || (g->node[i].spec.key == key && strcmp(g->node[i].name, name) == 0))
            return &g->named[at];
    }
}

int lk_graph_find(const lk_graph *g, const char *name)
{
    return g->cap_named == 0 ? -1 : *named_place(g, lk_hash64(name, strlen(name)), name);
}

/* Keeps half of the index free, with one more node in it. */
static lk_status grow_named(lk_graph *g)
{
    int *named = NULL;

    if (2 * (g->n_nodes + 1) <= g->cap_named)
        return LK_OK;
    const int more = g->cap_named == 0 ? 32 : 2 * g->cap_named;
    LK_TRY(lk_alloc_array(more, sizeof *named, "names of nodes", &named));
    memset(named, 0xff, (size_t)more * sizeof *named); /* all -1 */
    lk_free(g->named);
    g->named = named;
    g->cap_named = more;
    for (int i = 0; i < g->n_nodes; i++)
        *named_place(g, g->node[i].spec.key, g->node[i].name) = i;
    return LK_OK;
}

/* The parameter of that suffix of an earlier node, or -1. */
static int shared_param(const lk_graph *g, int from, const char *suffix)
{
    const lk_node *n = from < 0 ? NULL : &g->node[from];

    for (int i = 0; n != NULL && i < n->spec.n_params; i++)
        if (strcmp(n->spec.param[i].suffix, suffix) == 0)
            return n->param[i];
    return -1;
}

static lk_status new_param(lk_graph *g, const char *prefix, const lk_param_info *info)
{
    lk_param p = {.info = *info, .node = g->n_nodes, .first = g->flat};
    lk_buf name = {0};

    p.count = lk_shape_count(&p.info.shape);
    lk_buf_printf(&name, "%s.%s", prefix, p.info.suffix);
    lk_status st = lk_buf_status(&name);
    if (st == LK_OK)
        st = lk_strdup(lk_buf_text(&name), &p.name);
    lk_buf_fini(&name);
    LK_TRY(st);
    st = grow(g->n_params, &g->cap_params, sizeof *g->param, "graph parameters", &g->param);
    if (st != LK_OK) {
        lk_free(p.name);
        return lk_err_frame(st, __FILE__, __LINE__, __func__);
    }
    g->param[g->n_params++] = p;
    g->flat += (p.count + LK_TILE - 1) / LK_TILE * LK_TILE;
    return LK_OK;
}

static lk_status add_params(lk_graph *g, lk_node *n, const lk_node_def *d)
{
    const int from = d->share == NULL ? -1 : lk_graph_find(g, d->share);
    bool any = false;

    LK_BUG_IF(d->share != NULL && from < 0, "layer %s shares the parameters of %s, which is not there", n->name, d->share);
    for (int i = 0; i < n->spec.n_params; i++) {
        const int shared = shared_param(g, from, n->spec.param[i].suffix);

        if (shared < 0) {
            n->param[i] = g->n_params;
            LK_TRY(new_param(g, d->param_prefix != NULL ? d->param_prefix : n->name, &n->spec.param[i]));
            continue;
        }
        char mine[LK_SHAPE_TEXT], other[LK_SHAPE_TEXT];
        if (!lk_shape_equal(&n->spec.param[i].shape, &g->param[shared].info.shape))
            return LK_FAIL(LK_E_CONFIG, "%s: layer %s: its %s is %s, that of %s (%s), which it is to share, is %s", n->where, n->name, n->spec.param[i].suffix,
                lk_shape_print(&n->spec.param[i].shape, mine), g->node[from].name, g->node[from].where, lk_shape_print(&g->param[shared].info.shape, other));
        n->param[i] = shared;
        any = true;
    }
    if (from >= 0 && !any)
        return LK_FAIL(LK_E_CONFIG, "%s: layer %s: has no parameter in common with %s (%s), which it is to share", n->where, n->name, g->node[from].name, g->node[from].where);
    return LK_OK;
}

lk_status lk_graph_add(lk_graph *g, const lk_node_def *d, int *value)
{
    const lk_opinfo *info = lk_op_info(d->op);
    lk_node n = {.spec = {.op = d->op, .attr = d->attr, .training = true, .n_in = d->n_in > 0 ? d->n_in : info->n_in}, .out = -1};

    const int taken = lk_graph_find(g, d->name);
    if (taken >= 0)
        return LK_FAIL(LK_E_CONFIG, "%s: layer name \"%s\" is taken by the layer at %s", d->where, d->name, g->node[taken].where);
    for (int i = 0; i < n.spec.n_in; i++) {
        LK_BUG_IF(d->in[i] < 0 || d->in[i] >= g->n_values, "layer %s: input %d is value %d of %d", d->name, i, d->in[i], g->n_values);
        n.in[i] = d->in[i];
        n.spec.in[i] = g->value[d->in[i]].shape;
        n.spec.in_dtype[i] = g->value[d->in[i]].dtype;
    }
    n.spec.key = lk_hash64(d->name, strlen(d->name));
    const lk_status st = info->infer(&n.spec);
    if (st != LK_OK)
        return fail_infer(g, d, info, n.spec.n_in, st);

    LK_TRY(grow(g->n_nodes, &g->cap_nodes, sizeof *g->node, "graph nodes", &g->node));
    LK_TRY(grow(g->n_values, &g->cap_values, sizeof *g->value, "graph values", &g->value));
    LK_TRY(grow_named(g));
    g->node[g->n_nodes] = n;
    lk_node *added = &g->node[g->n_nodes];
    LK_TRY(lk_strdup(d->name, &added->name));
    LK_TRY(lk_strdup(d->where, &added->where));
    LK_TRY(add_params(g, added, d));
    if (!info->loss) {
        added->out = g->n_values;
        g->value[g->n_values++] = (lk_value){.shape = n.spec.out, .dtype = n.spec.out_dtype, .producer = g->n_nodes};
    }
    for (int i = 0; i < n.spec.n_in; i++)
        g->value[n.in[i]].consumers++;
    *named_place(g, n.spec.key, added->name) = g->n_nodes++;
    if (value != NULL)
        *value = added->out;
    return LK_OK;
}

void lk_graph_destroy(lk_graph **gp)
{
    lk_graph *g = *gp;

    if (g == NULL)
        return;
    /* One past the end: an addition that failed halfway may have left names there; unused places are zero. */
    for (int i = 0; i <= g->n_nodes && i < g->cap_nodes; i++) {
        lk_free(g->node[i].name);
        lk_free(g->node[i].where);
    }
    for (int i = 0; i < g->n_values; i++)
        lk_free(g->value[i].name);
    for (int i = 0; i < g->n_params; i++)
        lk_free(g->param[i].name);
    lk_free(g->node);
    lk_free(g->value);
    lk_free(g->param);
    lk_free(g->named);
    lk_free(g);
    *gp = NULL;
}

int64_t lk_graph_weights(const lk_graph *g)
{
    int64_t n = 0;

    for (int i = 0; i < g->n_params; i++)
        if (g->param[i].info.kind == LK_PARAM_WEIGHT)
            n += g->param[i].count;
    return n;
}

/* The first draw of element e that is within two deviations; the tries are rows of the stream. */
static double truncated_normal(lk_rng r, uint64_t e)
{
    for (uint64_t row = 0;; row++) {
        const double x = lk_rng_normal_row(r, row, e);

        if (fabs(x) <= 2)
            return x;
    }
}

/* In eight fixed lanes. */
static double dot(int64_t n, const double *a, const double *b)
{
    double lane[8] = {0};

    for (int64_t i = 0; i < n; i += 8)
        for (int j = 0; j < 8 && i + j < n; j++)
            lane[j] += a[i + j] * b[i + j];
    for (int h = 4; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

/* Normal vectors, orthonormalized one after the other by the modified Gram-Schmidt process, each twice (Giraud et al. 2005: that is enough);
 * as Q of a QR with a positive diagonal it is uniform among all such matrices (Mezzadri 2007, "How to generate random matrices from the
 * classical compact groups"; Saxe et al. 2014 have it as first weights). */
static lk_status init_orthogonal(const lk_param *p, lk_rng r, float *w)
{
    const int64_t rows = p->info.shape.dim[0], cols = p->count / rows;
    const bool tall = rows > cols;
    const int64_t vectors = tall ? cols : rows, length = tall ? rows : cols;
    double *q = NULL;

    LK_TRY(lk_alloc_array(p->count, sizeof *q, "orthogonal weights", &q));
    for (int64_t i = 0; i < vectors; i++) {
        double *const v = q + i * length;

        for (int64_t k = 0; k < length; k++)
            v[k] = lk_rng_normal(r, (uint64_t)(i * length + k));
        for (int again = 0; again < 2; again++) {
            for (int64_t j = 0; j < i; j++) {
                const double along = dot(length, q + j * length, v);

                for (int64_t k = 0; k < length; k++)
                    v[k] -= along * q[j * length + k];
            }
            const double size = sqrt(dot(length, v, v));
            for (int64_t k = 0; k < length; k++)
                v[k] /= size;
        }
    }
    for (int64_t e = 0; e < p->count; e++)
        w[e] = (float)(p->info.value * (tall ? q[e % cols * length + e / cols] : q[e]));
    lk_free(q);
    return LK_OK;
}

lk_status lk_graph_init_weights(const lk_graph *g, uint64_t seed, float *flat)
{
    memset(flat, 0, (size_t)g->flat * sizeof *flat);
    for (int i = 0; i < g->n_params; i++) {
        const lk_param *p = &g->param[i];
        const lk_rng r = lk_rng_make(seed, LK_RNG_INIT, lk_hash64(p->name, strlen(p->name)));
        float *w = flat + p->first;

        switch (p->info.init) {
        case LK_INIT_CONSTANT:
            for (int64_t e = 0; e < p->count; e++)
                w[e] = (float)p->info.value;
            break;
        case LK_INIT_UNIFORM:
            for (int64_t e = 0; e < p->count; e += 4) {
                uint32_t word[4];

                lk_rng_block(r, 0, (uint64_t)e / 4, word);
                for (int64_t j = 0; j < 4 && e + j < p->count; j++)
                    w[e + j] = (float)(((double)word[j] * 0x1p-31 - 1.0) * p->info.value);
            }
            break;
        case LK_INIT_NORMAL:
            for (int64_t e = 0; e < p->count; e++)
                w[e] = (float)(lk_rng_normal(r, (uint64_t)e) * p->info.value);
            break;
        case LK_INIT_TRUNCATED_NORMAL:
            for (int64_t e = 0; e < p->count; e++)
                w[e] = (float)(truncated_normal(r, (uint64_t)e) * p->info.value);
            break;
        case LK_INIT_ORTHOGONAL:
            LK_TRY(init_orthogonal(p, r, w));
            break;
        }
    }
    return LK_OK;
}

uint64_t lk_graph_hash(const lk_graph *g)
{
    uint64_t h = 0;

    /* Chained over fixed-size records: field by field, since structs have padding. */
    for (int i = 0; i < g->n_nodes; i++) {
        const lk_node *n = &g->node[i];
        uint64_t record[4 + LK_MAX_IN + LK_MAX_DIMS] = {h, lk_hash64(n->name, strlen(n->name))};
        const char *op = lk_op_info(n->spec.op)->name;

        record[2] = lk_hash64(op, strlen(op));
        record[3] = (uint64_t)n->spec.n_in;
        if (n->spec.op == LK_OP_ACTIVATION)
            record[3] |= (uint64_t)n->spec.attr.activation.act << 32;
        for (int k = 0; k < n->spec.n_in; k++)
            record[4 + k] = (uint64_t)n->in[k];
        for (int k = 1; k < n->spec.out.ndim; k++) /* not the rows: another microbatch size is the same model */
            record[4 + LK_MAX_IN + k] = (uint64_t)n->spec.out.dim[k];
        h = lk_hash64(record, sizeof record);
    }
    for (int i = 0; i < g->n_params; i++) {
        const lk_param *p = &g->param[i];
        uint64_t record[3 + LK_MAX_DIMS] = {h, lk_hash64(p->name, strlen(p->name)), (uint64_t)p->info.shape.ndim};

        for (int k = 0; k < p->info.shape.ndim; k++)
            record[3 + k] = (uint64_t)p->info.shape.dim[k];
        h = lk_hash64(record, sizeof record);
    }
    return h;
}
