/* Small networks for the tests of the engine: each built by hand through the graph. */
#ifndef LK_TESTS_ENGINE_NETS_H
#define LK_TESTS_ENGINE_NETS_H

#include "engine/graph.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define OK(expr) \
    do { \
        const lk_status st_ = (expr); \
        cr_assert(st_ == LK_OK, "%s: %s", lk_status_name(st_), lk_err_last()->message); \
    } while (0)

static inline int net_add(lk_graph *g, const char *name, lk_op op, lk_attrs attr, int a, int b)
{
    const lk_node_def d = {.name = name, .where = "net:1:1", .op = op, .attr = attr, .in = {a, b}};
    int out = -1;

    OK(lk_graph_add(g, &d, &out));
    return out;
}

#define LINEAR(n) ((lk_attrs){.linear = {.units = (n), .bias = true}})
#define CONV(n, k, p) ((lk_attrs){.conv = {.filters = (n), .kernel = {k, k}, .stride = {1, 1}, .pad_before = {p, p}, .pad_after = {p, p}, .bias = true}})
#define POOL(k) ((lk_attrs){.pool = {.kernel = {k, k}, .stride = {k, k}}})
#define NORM ((lk_attrs){.batch_norm = {.eps = 1e-5, .momentum = 0.1}})
#define LAYER_NORM(b) ((lk_attrs){.norm = {.eps = 1e-5, .bias = (b)}})
#define DROP(p) ((lk_attrs){.dropout = {.rate = (p)}})
#define ACT(f) ((lk_attrs){.activation = {.act = LK_ACT_##f}})
#define NO_ATTR ((lk_attrs){0})

/* Classifier of 5 classes on [7]: linear, gelu, linear, relu, a sum of two branches, linear. */
static inline lk_graph *net_mlp(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, h, a, b;

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {7}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){0, {0}}, LK_DT_I64, &t));
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(11), x, 0);
    h = net_add(g, "gelu1", LK_OP_ACTIVATION, ACT(GELU), h, 0);
    a = net_add(g, "linear2", LK_OP_LINEAR, LINEAR(11), h, 0);
    a = net_add(g, "gelu2", LK_OP_ACTIVATION, ACT(GELU_TANH), a, 0);
    b = net_add(g, "add1", LK_OP_ADD, NO_ATTR, h, a);
    b = net_add(g, "dropout1", LK_OP_DROPOUT, DROP(0.3), b, 0);
    b = net_add(g, "linear3", LK_OP_LINEAR, LINEAR(5), b, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, b, t);
    return g;
}

/* Classifier of 4 classes on [3,6,6]: conv, norm, relu, residual of conv and relu, pools, flatten, linear. Layouts change on the way. */
static inline lk_graph *net_cnn(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, h, a;

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){3, {3, 6, 6}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){0, {0}}, LK_DT_I64, &t));
    h = net_add(g, "conv1", LK_OP_CONV, CONV(5, 3, 1), x, 0);
    h = net_add(g, "batch_norm1", LK_OP_BATCH_NORM, NORM, h, 0);
    h = net_add(g, "relu1", LK_OP_ACTIVATION, ACT(RELU), h, 0);
    a = net_add(g, "conv2", LK_OP_CONV, CONV(5, 3, 1), h, 0);
    a = net_add(g, "relu2", LK_OP_ACTIVATION, ACT(RELU), a, 0);
    a = net_add(g, "conv3", LK_OP_CONV, CONV(5, 1, 0), a, 0);
    h = net_add(g, "add1", LK_OP_ADD, NO_ATTR, h, a);
    h = net_add(g, "relu3", LK_OP_ACTIVATION, ACT(RELU), h, 0);
    h = net_add(g, "max_pool1", LK_OP_MAX_POOL, POOL(2), h, 0);
    h = net_add(g, "avg_pool1", LK_OP_AVG_POOL, (lk_attrs){.pool = {.kernel = {2, 2}, .stride = {1, 1}}}, h, 0);
    h = net_add(g, "flatten1", LK_OP_FLATTEN, NO_ATTR, h, 0);
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(4), h, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    return g;
}

/* Regression to [2] on [2,5,4]: conv, global pool, linear, MSE; the input is used twice. */
static inline lk_graph *net_regress(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, a, b, h;

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){3, {2, 5, 4}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {2}}, LK_DT_REAL, &t));
    a = net_add(g, "conv1", LK_OP_CONV, CONV(3, 3, 1), x, 0);
    b = net_add(g, "conv2", LK_OP_CONV, CONV(3, 1, 0), x, 0);
    h = net_add(g, "add1", LK_OP_ADD, NO_ATTR, a, b);
    h = net_add(g, "batch_norm1", LK_OP_BATCH_NORM, NORM, h, 0);
    h = net_add(g, "gelu1", LK_OP_ACTIVATION, ACT(GELU), h, 0);
    h = net_add(g, "global_pool1", LK_OP_GLOBAL_AVG_POOL, NO_ATTR, h, 0);
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(2), h, 0);
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, h, t);
    return g;
}

/* Classifier of each of 6 places into 4 classes: places, attention to itself beside the stream, attention to the input. */
static inline lk_graph *net_sequence(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, h, a, b;

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){2, {6, 8}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {6}}, LK_DT_I64, &t));
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(8), x, 0);
    h = net_add(g, "positions1", LK_OP_POSITIONS, (lk_attrs){.positions = {.max = 7, .deviation = 1}}, h, 0);
    a = net_add(g, "qkv", LK_OP_LINEAR, LINEAR(16), h, 0);
    a = net_add(g, "self", LK_OP_ATTENTION,
        (lk_attrs){.attention = {.heads = 2, .kv_heads = 1, .causal = true, .rotary = true, .rate = 0.2}}, a, 0);
    h = net_add(g, "add1", LK_OP_ADD, NO_ATTR, h, a);
    b = net_add(g, "kv", LK_OP_LINEAR, LINEAR(16), x, 0);
    const lk_node_def cross = {
        .name = "cross", .where = "net:1:1", .op = LK_OP_ATTENTION, .attr.attention = {.heads = 2}, .n_in = 2, .in = {h, b}};
    OK(lk_graph_add(g, &cross, &a));
    h = net_add(g, "add2", LK_OP_ADD, NO_ATTR, h, a);
    h = net_add(g, "linear2", LK_OP_LINEAR, LINEAR(4), h, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    return g;
}

/* Regression to [3] on [7] through sums: of one value with itself, of sums, with an activation, and of values that others read before and after. */
static inline lk_graph *net_sums(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, a, b, h, s;

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {7}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {3}}, LK_DT_REAL, &t));
    h = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(9), x, 0);
    a = net_add(g, "dropout1", LK_OP_DROPOUT, DROP(0.2), h, 0);
    s = net_add(g, "add1", LK_OP_ADD, NO_ATTR, a, a);
    b = net_add(g, "gelu1", LK_OP_ACTIVATION, ACT(GELU), h, 0);
    const lk_node_def three = {.name = "add2", .where = "net:1:1", .op = LK_OP_ADD, .n_in = 3, .in = {h, s, b}};
    OK(lk_graph_add(g, &three, &s));
    b = net_add(g, "add3", LK_OP_ADD, NO_ATTR, s, a);
    b = net_add(g, "tanh1", LK_OP_ACTIVATION, ACT(TANH), b, 0);
    b = net_add(g, "dropout2", LK_OP_DROPOUT, DROP(0.3), b, 0);
    s = net_add(g, "add4", LK_OP_ADD, NO_ATTR, b, s);
    h = net_add(g, "linear2", LK_OP_LINEAR, LINEAR(3), s, 0);
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, h, t);
    return g;
}

/* Language model of 5 ids over 6 places: blocks with norms in front and dropout behind, and one more norm, which is of the last block's sum. */
enum { NET_GPT_BLOCKS = 3 };
static inline lk_graph *net_gpt(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, h, a;
    char name[32];
#define NAME(n) (snprintf(name, sizeof name, n "%d", i), name)

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {6}}, LK_DT_I64, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {6}}, LK_DT_I64, &t));
    h = net_add(g, "embedding", LK_OP_EMBEDDING, (lk_attrs){.embedding = {.size = 5, .units = 8, .deviation = 1}}, x, 0);
    h = net_add(g, "positions", LK_OP_POSITIONS, (lk_attrs){.positions = {.max = 7, .deviation = 1}}, h, 0);
    for (int i = 0; i < NET_GPT_BLOCKS; i++) {
        a = i % 2 ? net_add(g, NAME("rms_norm"), LK_OP_RMS_NORM, LAYER_NORM(false), h, 0) : net_add(g, NAME("norm"), LK_OP_LAYER_NORM, LAYER_NORM(true), h, 0);
        a = net_add(g, NAME("qkv"), LK_OP_LINEAR, LINEAR(24), a, 0);
        a = net_add(g, NAME("attention"), LK_OP_ATTENTION, (lk_attrs){.attention = {.heads = 2, .causal = true, .rate = 0.1}}, a, 0);
        a = net_add(g, NAME("out"), LK_OP_LINEAR, LINEAR(8), a, 0);
        a = net_add(g, NAME("dropout"), LK_OP_DROPOUT, DROP(0.1), a, 0);
        h = net_add(g, NAME("add"), LK_OP_ADD, NO_ATTR, h, a);
        a = net_add(g, NAME("norm_of_units"), LK_OP_LAYER_NORM, LAYER_NORM(i % 2 == 0), h, 0);
        a = net_add(g, NAME("wide"), LK_OP_LINEAR, LINEAR(12), a, 0);
        a = net_add(g, NAME("gelu"), LK_OP_ACTIVATION, ACT(GELU), a, 0);
        a = net_add(g, NAME("narrow"), LK_OP_LINEAR, LINEAR(8), a, 0);
        h = net_add(g, NAME("add_units"), LK_OP_ADD, NO_ATTR, h, a);
    }
    h = net_add(g, "norm", LK_OP_LAYER_NORM, LAYER_NORM(true), h, 0);
    h = net_add(g, "linear", LK_OP_LINEAR, LINEAR(5), h, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    return g;
#undef NAME
}

/* Classifier of each of 6 places: norms that have two inputs in the graph itself. */
static inline lk_graph *net_two(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, h, a;
    char name[32];

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){2, {6, 8}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {6}}, LK_DT_I64, &t));
    h = net_add(g, "linear", LK_OP_LINEAR, LINEAR(8), x, 0);
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "gelu%d", i);
        a = i == 3 ? h : net_add(g, name, LK_OP_ACTIVATION, ACT(GELU), h, 0);
        snprintf(name, sizeof name, "norm%d", i);
        const lk_node_def two = {.name = name, .where = "net:1:1", .op = i % 2 ? LK_OP_RMS_NORM : LK_OP_LAYER_NORM, .attr = LAYER_NORM(i % 2 == 0), .n_in = 2, .in = {h, a}};
        OK(lk_graph_add(g, &two, &h));
    }
    h = net_add(g, "linear_last", LK_OP_LINEAR, LINEAR(4), h, 0);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    return g;
}

/* Regression to [3,4,5] on [3,4,5]: norms of sums that are read once and often, of a value with itself, of the input, behind other layouts and norms, and
 * such whose gradient is also that of what it is normed to. */
static inline lk_graph *net_norms(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, a, b, h, s;

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){3, {3, 4, 5}}, LK_DT_REAL, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){3, {3, 4, 5}}, LK_DT_REAL, &t));
    a = net_add(g, "layer_norm1", LK_OP_LAYER_NORM, LAYER_NORM(true), x, 0);
    h = net_add(g, "add1", LK_OP_ADD, NO_ATTR, a, a);
    a = net_add(g, "rms_norm1", LK_OP_RMS_NORM, LAYER_NORM(false), h, 0);
    h = net_add(g, "add2", LK_OP_ADD, NO_ATTR, h, a); /* one gradient for h and a */
    a = net_add(g, "layer_norm2", LK_OP_LAYER_NORM, LAYER_NORM(false), h, 0);
    b = net_add(g, "rms_norm2", LK_OP_RMS_NORM, LAYER_NORM(false), h, 0); /* the second of that sum */
    b = net_add(g, "linear1", LK_OP_LINEAR, LINEAR(5), b, 0);
    s = net_add(g, "add3", LK_OP_ADD, NO_ATTR, a, b);
    s = net_add(g, "rms_norm3", LK_OP_RMS_NORM, LAYER_NORM(false), s, 0); /* of a sum that nobody else reads */
    a = net_add(g, "conv1", LK_OP_CONV, CONV(3, 3, 1), s, 0);
    b = net_add(g, "conv2", LK_OP_CONV, CONV(3, 1, 0), h, 0);
    b = net_add(g, "add4", LK_OP_ADD, NO_ATTR, a, b); /* may lie channels last */
    a = net_add(g, "layer_norm3", LK_OP_LAYER_NORM, LAYER_NORM(true), b, 0);
    a = net_add(g, "dropout1", LK_OP_DROPOUT, DROP(0.2), a, 0);
    h = net_add(g, "add5", LK_OP_ADD, NO_ATTR, x, a);
    a = net_add(g, "layer_norm4", LK_OP_LAYER_NORM, LAYER_NORM(true), h, 0); /* half of the sum has no gradient */
    a = net_add(g, "dropout2", LK_OP_DROPOUT, DROP(0.2), a, 0);
    h = net_add(g, "add6", LK_OP_ADD, NO_ATTR, h, a);
    h = net_add(g, "dropout3", LK_OP_DROPOUT, DROP(0.3), h, 0); /* not there in evaluation */
    h = net_add(g, "rms_norm4", LK_OP_RMS_NORM, LAYER_NORM(false), h, 0);
    h = net_add(g, "linear2", LK_OP_LINEAR, LINEAR(5), h, 0);
    net_add(g, "loss", LK_OP_MSE, NO_ATTR, h, t);
    return g;
}

/* Language model of 5 ids over 6 places, whose last layer has the weight of its first. */
static inline lk_graph *net_tied(int64_t rows)
{
    lk_graph *g = NULL;
    int x, t, h;

    OK(lk_graph_create(rows, &g));
    OK(lk_graph_input(g, "input", &(lk_shape){1, {6}}, LK_DT_I64, &x));
    OK(lk_graph_input(g, "target", &(lk_shape){1, {6}}, LK_DT_I64, &t));
    h = net_add(g, "embedding1", LK_OP_EMBEDDING, (lk_attrs){.embedding = {.size = 5, .units = 8, .deviation = 1}}, x, 0);
    h = net_add(g, "gelu1", LK_OP_ACTIVATION, ACT(GELU), h, 0);
    const lk_node_def tied = {.name = "linear1", .where = "net:1:1", .op = LK_OP_LINEAR, .attr = LINEAR(5), .in = {h}, .share = "embedding1"};
    OK(lk_graph_add(g, &tied, &h));
    cr_assert_eq(g->n_params, 2);
    net_add(g, "loss", LK_OP_CROSS_ENTROPY, NO_ATTR, h, t);
    return g;
}

#endif
