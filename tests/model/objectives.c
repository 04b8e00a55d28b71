/* What objectives make of a model: networks, losses, what is learned in which phase, and what inputs are filled with. */
#include "model/support.h"

#include <stdio.h>

static const lk_shape picture = {3, {1, 4, 4}};

static lk_status build(const char *text, const lk_model_input *in, lk_model *m)
{
    lk_config *c = NULL;

    EXPECT_OK(parse(text, &c));
    const lk_status st = lk_model_build(c, in, m);
    lk_config_destroy(&c);
    return st;
}

static const lk_node *node(const lk_graph *g, const char *name)
{
    const int i = lk_graph_find(g, name);

    cr_assert(i >= 0, "there is no node %s", name);
    return &g->node[i];
}

static const char gan[] = "data: {train: a.h5, input: image}\n"
                          "model:\n"
                          "  generator:\n"
                          "    - linear: 16\n"
                          "    - batch_norm\n"
                          "    - reshape: {to: [1, 4, 4]}\n"
                          "  discriminator:\n"
                          "    - flatten\n"
                          "    - linear: 5\n"
                          "    - leaky_relu: 0.2\n"
                          "    - linear: 1\n"
                          "train: {batch: 16, microbatches: 2, lr: 1e-3, objective: gan, gan: {latent: 3, generator_every: 2}}\n";

Test(objectives, gan_has_two_phases_over_the_same_parameters)
{
    const lk_model_input in = {.sample = picture, .target_sample = picture};
    lk_model m = {0};

    EXPECT_OK(build(gan, &in, &m));
    cr_assert(m.n_phases == 2 && m.phase[0].every == 1 && m.phase[1].every == 2);
    const lk_graph *d = m.phase[0].graph, *g = m.phase[1].graph;
    cr_assert(d->n_params == g->n_params && d->flat == g->flat && m.predicted == g);
    for (int i = 0; i < d->n_params; i++) {
        const bool generator = strncmp(d->param[i].name, "generator.", 10) == 0;

        cr_assert_str_eq(d->param[i].name, g->param[i].name);
        cr_assert(d->param[i].first == g->param[i].first);
        cr_assert(d->param[i].frozen == generator && g->param[i].frozen == !generator, "%s", d->param[i].name);
    }
    /* The discriminator sees both with one set of weights. */
    const lk_node *real = node(d, "discriminator.linear1"), *fake = node(d, "discriminator.linear1@2");
    cr_assert(real->param[0] == fake->param[0] && real->param[1] == fake->param[1]);
    cr_assert(node(d, "real")->spec.op == LK_OP_GAN && node(d, "fake")->spec.op == LK_OP_GAN && node(g, "loss")->spec.op == LK_OP_GAN);
    cr_assert(lk_shape_equal(&node(d, "noise")->spec.out, &(lk_shape){2, {8, 3}}));
    lk_model_fini(&m);
}

Test(objectives, spectral_norm_shares_the_weight_in_front)
{
    static const char text[] = "data: {train: a.h5}\nmodel: [flatten, {linear: {units: 5, bias: false}}, spectral_norm]\ntrain: {batch: 8, lr: 1}\n";
    const lk_model_input in = {.sample = picture};
    lk_model m = {0};

    EXPECT_OK(build(text, &in, &m));
    const lk_graph *g = m.phase[0].graph;
    cr_assert(g->n_params == 3 && node(g, "spectral_norm1")->param[0] == node(g, "linear1")->param[0]);
    cr_assert_str_eq(g->param[0].name, "linear1.weight");
    cr_assert_str_eq(g->param[1].name, "spectral_norm1.u");
    lk_model_fini(&m);
}

Test(objectives, vae_adds_the_divergence_and_a_graph_of_samples)
{
    static const char text[] = "data: {train: a.h5}\n"
                               "model:\n"
                               "  encoder: [flatten, {linear: 8}, relu, {gaussian: 2}]\n"
                               "  decoder: [{linear: 16}]\n"
                               "train: {batch: 8, lr: 1e-3, objective: vae, kl_weight: 0.5}\n";
    const lk_model_input in = {.sample = picture, .target_sample = picture};
    lk_model m = {0};

    EXPECT_OK(build(text, &in, &m));
    const lk_graph *g = m.phase[0].graph;
    cr_assert(node(g, "loss")->spec.op == LK_OP_BCE_LOGITS && node(g, "loss")->spec.attr.bce_logits.scale == 16);
    cr_assert(node(g, "kl")->spec.op == LK_OP_KL_NORMAL && node(g, "kl")->spec.attr.loss.scale == 0.5);
    cr_assert(m.predicted != m.evaluated && m.predicted->flat == g->flat);
    cr_assert(lk_shape_equal(&node(m.predicted, "noise")->spec.out, &(lk_shape){2, {1, 2}}));
    lk_model_fini(&m);
}

Test(objectives, seq2seq_shifts_its_target)
{
    static const char text[] = "data: {train: a.h5, input: source, target: target}\n"
                               "model:\n"
                               "  encoder: [{linear: 6}]\n"
                               "  decoder: [{linear: {units: 3, from: encoder}}]\n"
                               "train: {batch: 8, lr: 1e-3, objective: seq2seq}\n";
    const lk_model_input in = {.sample = {2, {9, 5}}, .target_sample = {1, {10}}, .target_whole = true};
    lk_model m = {0};

    EXPECT_OK(build(text, &in, &m));
    cr_assert(m.n_feeds == 3 && m.classes == 3 && m.has_ignored && m.ignored == 0);
    cr_assert(m.feed[1].field == 1 && m.feed[1].ids && m.feed[1].first == 1 && m.feed[1].count == 9);
    cr_assert(m.feed[2].field == 1 && m.feed[2].ids && m.feed[2].first == 0 && m.feed[2].count == 9);
    cr_assert_str_eq(m.phase[0].graph->value[2].name, "decoder_input");
    lk_model_fini(&m);
}

Test(objectives, losses_by_objective)
{
    static const struct {
        const char *train;
        lk_op op;
    } cases[] = {
        {"objective: regress", LK_OP_MSE},
        {"objective: regress, loss: mae", LK_OP_MAE},
        {"objective: regress, loss: huber, huber_delta: 2", LK_OP_HUBER},
        {"objective: multilabel", LK_OP_BCE_LOGITS},
        {"objective: autoencode", LK_OP_MSE},
        {"objective: autoencode, loss: bce", LK_OP_BCE_LOGITS},
        {"objective: classify, label_smoothing: 0.1", LK_OP_CROSS_ENTROPY},
        {"objective: classify, loss: hinge", LK_OP_HINGE},
    };
    const lk_model_input in = {.sample = {1, {4}}, .target_sample = {1, {4}}};
    char text[512];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lk_model m = {0};

        snprintf(text, sizeof text, "data: {train: a.h5}\nmodel: [{linear: 4}]\ntrain: {batch: 8, lr: 1, %s}\n", cases[i].train);
        EXPECT_OK(build(text, &in, &m));
        cr_expect(node(m.phase[0].graph, "loss")->spec.op == cases[i].op, "%s", cases[i].train);
        lk_model_fini(&m);
    }
}

Test(objectives, errors)
{
    static const struct {
        const char *model, *train, *message;
    } cases[] = {
        {"[flatten]", "objective: gan", "run.yaml:2:8: model: objective gan needs a map of two lists of layers, generator and discriminator"},
        {"{generator: [flatten]}", "objective: gan", "run.yaml:2:8: model.discriminator: missing; objective gan has generator and discriminator"},
        {"{generator: [{linear: 3}], discriminator: [flatten, {linear: 1}]}", "objective: gan, gan: {latent: 2}",
            "run.yaml:2:20: model.generator: generator.linear1 (run.yaml:2:21) gives [1,3], but the data is [1,1,4,4]"},
        {"{encoder: [flatten], critic: [flatten]}", "objective: vae", "run.yaml:2:37: model.critic: no such network; objective vae has encoder and decoder"},
        {"[flatten, {linear: 16}]", "objective: vae", "run.yaml:2:8: model: objective vae needs a layer \"gaussian\" between encoder and decoder"},
        {"[{gaussian: 3}]", "objective: vae", "run.yaml:2:9: layer gaussian1 (gaussian): \"input\" is [1,1,4,4], expected [rows, features]; put \"- flatten\" in front"},
        {"[flatten, {linear: 5}]", "objective: language_model",
            "run.yaml:2:8: model: linear1 (run.yaml:2:18) gives [1,5], but objective language_model needs [rows, steps, classes] with at least 2 classes; end the "
            "list with \"- linear: CLASSES\""},
        {"[flatten, {linear: 5}, spectral_norm]", "objective: classify",
            "run.yaml:2:31: layer spectral_norm1 (spectral_norm): must stand right behind a linear layer or a convolution with bias: false; linear1 "
            "(run.yaml:2:18) gives [1,5]"},
        {"[flatten, {linear: 5}]", "objective: classify, class_weights: [1, 2]",
            "run.yaml:3:47: train.class_weights: 2 numbers, but the model tells apart 5 classes"},
    };
    const lk_model_input in = {.sample = picture, .target_sample = picture};
    char text[512];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int64_t bytes = lk_mem_bytes();
        lk_model m = {0};

        snprintf(text, sizeof text, "data: {train: a.h5}\nmodel: %s\ntrain: {batch: 8, lr: 1, %s}\n", cases[i].model, cases[i].train);
        cr_expect(build(text, &in, &m) == LK_E_CONFIG);
        cr_expect(strcmp(lk_err_last()->message, cases[i].message) == 0, "says  %s\nnot   %s", lk_err_last()->message, cases[i].message);
        cr_expect(lk_mem_bytes() == bytes);
    }
}
