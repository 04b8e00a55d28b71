/* What an objective makes of the output of the layers: the losses. */
#include "model/objective.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The sizes of a sample without those of 1. */
static int bare_sizes(const lk_shape *s, int64_t out[LK_MAX_DIMS])
{
    int n = 0;

    for (int i = 1; i < s->ndim; i++) {
        if (s->dim[i] != 1)
            out[n++] = s->dim[i];
    }
    return n;
}

/* Whether a target's elements are the output's in the same order: equal but for sizes of 1, or one of the two
 * flattened. */
static bool same_elements(const lk_shape *a, const lk_shape *b)
{
    int64_t sa[LK_MAX_DIMS], sb[LK_MAX_DIMS];
    const int na = bare_sizes(a, sa), nb = bare_sizes(b, sb);

    if (lk_shape_row(a) != lk_shape_row(b))
        return false;
    return na <= 1 || nb <= 1 || (na == nb && memcmp(sa, sb, (size_t)na * sizeof sa[0]) == 0);
}

/* "model: linear1 (run.yaml:3:3) gives [8,1], but objective ... needs ...". */
static lk_status output_fail(const lki_builder *b, const lk_config *c, int output, const char *needs)
{
    lk_buf last = {0};
    char objective[32];

    lki_describe_value(b->graph, output, &last);
    const lk_status st = lk_yaml_fail(c->model, "model: %s, but objective %s needs %s", lk_buf_text(&last),
        lk_choice_text(LK_OBJECTIVE_CHOICES, c->train.objective, objective, sizeof objective), needs);
    lk_buf_fini(&last);
    return st;
}

static lk_node_def loss_def(const lk_config *c, const char *name, lk_op op, char where[LKI_WHERE_BYTES])
{
    return (lk_node_def){.name = name, .where = lk_config_where(c, "train.objective", where, LKI_WHERE_BYTES), .op = op};
}

/* ---- class ids ---- */
/* The dimension of the output that the classes lie along. */
static int class_axis(int objective, const lk_shape *y)
{
    return objective == LK_OBJECTIVE_SEGMENT ? 1 : y->ndim - 1;
}

static lk_shape without_axis(const lk_shape *s, int axis)
{
    lk_shape out = {.ndim = s->ndim - 1};

    for (int i = 0; i < out.ndim; i++)
        out.dim[i] = s->dim[i < axis ? i : i + 1];
    return out;
}

static lk_status check_classes(const lki_builder *b, const lk_config *c, int output)
{
    const lk_shape *y = &b->graph->value[output].shape;

    switch (c->train.objective) {
    case LK_OBJECTIVE_CLASSIFY:
        if (y->ndim == 2 && y->dim[1] >= 2)
            return LK_OK;
        return output_fail(b, c, output, y->ndim == 2 ? "[rows, classes] with at least 2 classes; end the list with \"- linear: CLASSES\""
                                                      : "[rows, classes] with at least 2 classes; end the list with \"- flatten\" and \"- linear: CLASSES\"");
    case LK_OBJECTIVE_SEGMENT:
        return y->ndim == 4 && y->dim[1] >= 2 ? LK_OK : output_fail(b, c, output, "[rows, classes, height, width] with at least 2 classes");
    default:
        return y->ndim == 3 && y->dim[2] >= 2 ? LK_OK : output_fail(b, c, output, "[rows, steps, classes] with at least 2 classes; end the list with \"- linear: CLASSES\"");
    }
}

static lk_status class_loss(lki_builder *b, const lk_config *c, int output, int target, lk_model *m)
{
    lk_graph *g = b->graph;
    const lk_train_opts *t = &c->train;
    char where[LKI_WHERE_BYTES];

    LK_TRY(check_classes(b, c, output));
    const lk_shape y = g->value[output].shape;
    m->classes = y.dim[class_axis(t->objective, &y)];
    if (lk_is_mixed(&c->data.mix))
        g->value[target].shape = y; /* shares of classes */
    else if (m->feed[1].field == LK_FEED_NOTHING)
        g->value[target].shape = without_axis(&y, class_axis(t->objective, &y));
    if (t->class_weights.n > 0 && t->class_weights.n != m->classes)
        return LK_FAIL(LK_E_CONFIG, "%s: train.class_weights: %d numbers, but the model tells apart %" PRId64 " classes",
            lk_config_where(c, "train.class_weights", where, sizeof where), t->class_weights.n, m->classes);
    lk_node_def d = loss_def(c, "loss", lk_config_loss(c) == LK_LOSS_HINGE ? LK_OP_HINGE : LK_OP_CROSS_ENTROPY, where);
    d.in[0] = output;
    d.in[1] = target;
    if (d.op == LK_OP_CROSS_ENTROPY) {
        m->has_ignored = t->ignore.n > 0 || t->objective == LK_OBJECTIVE_SEQ2SEQ;
        m->ignored = t->ignore.n > 0 ? t->ignore.item[0] : 0;
        d.attr.cross_entropy = (lk_attr_cross_entropy){
            .smoothing = t->label_smoothing, .has_ignored = m->has_ignored, .ignored = m->ignored, .n_weights = t->class_weights.n};
        for (int i = 0; i < t->class_weights.n; i++)
            d.attr.cross_entropy.weight[i] = t->class_weights.item[i];
    }
    return lk_graph_add(g, &d, NULL);
}

/* ---- real numbers ---- */
static lk_status real_loss(lki_builder *b, const lk_config *c, int output, int target, double scale)
{
    char where[LKI_WHERE_BYTES];
    lk_node_def d = loss_def(c, "loss", LK_OP_MSE, where);

    d.in[0] = output;
    d.in[1] = target;
    switch (lk_config_loss(c)) {
    case LK_LOSS_MAE:
        d.op = LK_OP_MAE;
        d.attr.loss.scale = scale;
        break;
    case LK_LOSS_HUBER:
        d.op = LK_OP_HUBER;
        d.attr.huber = (lk_attr_huber){.scale = scale, .delta = c->train.huber_delta};
        break;
    case LK_LOSS_BCE:
        d.op = LK_OP_BCE_LOGITS;
        d.attr.bce_logits.scale = scale;
        break;
    case LK_LOSS_HINGE:
        d.op = LK_OP_HINGE;
        d.attr.loss.scale = scale;
        break;
    default:
        d.attr.loss.scale = scale;
        break;
    }
    return lk_graph_add(b->graph, &d, NULL);
}

static lk_status target_loss(lki_builder *b, const lk_config *c, int output, int target, const lk_model *m)
{
    lk_value *v = b->graph->value;

    if (m->feed[1].field == LK_FEED_NOTHING || same_elements(&v[output].shape, &v[target].shape))
        v[target].shape = v[output].shape;
    return real_loss(b, c, output, target, 1);
}

lk_status lki_as_input(lki_builder *b, const lk_config *c, int input, int *output)
{
    lk_graph *g = b->graph;
    char where[LKI_WHERE_BYTES];
    const lk_shape *want = &g->value[input].shape, *got = &g->value[*output].shape;

    if (lk_shape_equal(got, want) || !same_elements(got, want))
        return LK_OK;
    lk_node_def d = loss_def(c, "as_input", LK_OP_RESHAPE, where);
    d.in[0] = *output;
    d.attr.reshape.sample.ndim = want->ndim - 1;
    memcpy(d.attr.reshape.sample.dim, want->dim + 1, (size_t)d.attr.reshape.sample.ndim * sizeof(int64_t));
    return lk_graph_add(g, &d, output);
}

/* The output against the input; of a vae the sum over its elements, so that it and the divergence are the bound of the likelihood. */
static lk_status input_loss(lki_builder *b, const lk_config *c, int output, int input)
{
    lk_graph *g = b->graph;

    LK_TRY(lki_as_input(b, c, input, &output));
    g->output = output;
    return real_loss(b, c, output, input, c->train.objective == LK_OBJECTIVE_VAE ? (double)lk_shape_row(&g->value[input].shape) : 1);
}

static lk_status divergence(lki_builder *b, const lk_config *c)
{
    char where[LKI_WHERE_BYTES];

    if (b->n_latent == 0)
        return lk_yaml_fail(c->model, "model: objective vae needs a layer \"gaussian\" between encoder and decoder");
    for (int i = 0; i < b->n_latent; i++) {
        char name[32];
        snprintf(name, sizeof name, i == 0 ? "kl" : "kl%d", i + 1);
        lk_node_def d = loss_def(c, name, LK_OP_KL_NORMAL, where);
        d.in[0] = b->latent[i].mean;
        d.in[1] = b->latent[i].log_variance;
        d.attr.loss.scale = c->train.kl_weight;
        if (c->train.kl_weight > 0)
            LK_TRY(lk_graph_add(b->graph, &d, NULL));
    }
    return LK_OK;
}

lk_status lki_add_losses(lki_builder *b, const lk_config *c, int output, const int *input, lk_model *m)
{
    switch (c->train.objective) {
    case LK_OBJECTIVE_REGRESS:
    case LK_OBJECTIVE_MULTILABEL:
        return target_loss(b, c, output, input[1], m);
    case LK_OBJECTIVE_AUTOENCODE:
        return input_loss(b, c, output, input[0]);
    case LK_OBJECTIVE_VAE:
        LK_TRY(input_loss(b, c, output, input[0]));
        return divergence(b, c);
    default:
        return class_loss(b, c, output, input[1], m);
    }
}

lk_status lki_add_gan_loss(lki_builder *b, const lk_config *c, const char *name, lk_gan_role role, int scores)
{
    char where[LKI_WHERE_BYTES];
    lk_node_def d = loss_def(c, name, LK_OP_GAN, where);

    d.in[0] = scores;
    d.attr.gan = (lk_attr_gan){.kind = (lk_gan_kind)c->train.gan.loss, .role = role};
    return lk_graph_add(b->graph, &d, NULL);
}
