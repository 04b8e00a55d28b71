/* From a config to graphs: the inputs, the networks (layers.c), and what the objective makes of them. */
#include "model/model.h"
#include "model/layer.h"
#include "model/objective.h"

#include <inttypes.h>
#include <string.h>

/* One graph on its way. */
typedef struct assembly {
    const lk_config *config;
    const lk_model_input *in;
    lk_model *model; /* feeds are filled by the first graph, the same for all */
    lki_builder b;
    lk_graph *graph;
    int input[LK_MAX_INPUTS]; /* values */
} assembly;

/* ---- networks ---- */
/* A list of the model by its name; NULL: the model has none of that name. */
static const lk_yaml *network(const lk_config *c, const char *name)
{
    return c->model->kind == LK_YAML_MAP ? lk_yaml_get(c->model, name) : NULL;
}

/* The networks that an objective's model may be a map of; NULL: a plain list. */
static const char *const *networks_of(int objective)
{
    static const char *const two[] = {"encoder", "decoder"}, *const players[] = {"generator", "discriminator"};

    switch (objective) {
    case LK_OBJECTIVE_SEQ2SEQ:
    case LK_OBJECTIVE_AUTOENCODE:
    case LK_OBJECTIVE_VAE:
        return two;
    case LK_OBJECTIVE_GAN:
        return players;
    default:
        return NULL;
    }
}

static lk_status check_networks(const lk_config *c)
{
    const char *const *names = networks_of(c->train.objective);
    char objective[32];

    lk_choice_text(LK_OBJECTIVE_CHOICES, c->train.objective, objective, sizeof objective);
    if (c->model->kind != LK_YAML_MAP) {
        if (c->train.objective == LK_OBJECTIVE_GAN)
            return lk_yaml_fail(c->model, "model: objective gan needs a map of two lists of layers, generator and discriminator");
        return LK_OK;
    }
    if (names == NULL)
        return lk_yaml_fail(c->model, "model: expected a list of layers, got a map; objective %s has one network", objective);
    for (int i = 0; i < c->model->n_child; i++) {
        const char *key = c->model->child[i]->key;
        if (strcmp(key, names[0]) != 0 && strcmp(key, names[1]) != 0)
            return lk_yaml_fail(c->model->child[i], "model.%.80s: no such network; objective %s has %s and %s", key, objective, names[0], names[1]);
    }
    for (int i = 0; i < 2; i++) {
        if (network(c, names[i]) == NULL)
            return lk_yaml_fail(c->model, "model.%s: missing; objective %s has %s and %s", names[i], objective, names[0], names[1]);
    }
    return LK_OK;
}

/* The list that the input goes into. */
static const lk_yaml *first_list(const lk_config *c)
{
    if (c->model->kind != LK_YAML_MAP)
        return c->model;
    return network(c, c->train.objective == LK_OBJECTIVE_GAN ? "discriminator" : "encoder");
}

static lk_status build_network(assembly *a, const char *name, int *value)
{
    static const char *const prefixes[][2] = {{"encoder", "encoder."}, {"decoder", "decoder."}, {"generator", "generator."}, {"discriminator", "discriminator."}};

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strcmp(prefixes[i][0], name) == 0)
            a->b.prefix = prefixes[i][1];
    lki_builder_restart(&a->b);
    const lk_status st = lki_build_layers(&a->b, network(a->config, name), value);
    a->b.prefix = "";
    return st;
}

/* ---- inputs ---- */
bool lk_model_reads_target(int objective)
{
    return objective == LK_OBJECTIVE_SEQ2SEQ;
}

static lk_status add_input(assembly *a, const char *name, const char *key, const lk_shape *sample, lk_model_feed feed)
{
    const int n = a->graph->n_values;
    char where[LKI_WHERE_BYTES];

    if (n == LK_MAX_INPUTS)
        return LK_FAIL(LK_E_CONFIG, "%s: more than %d inputs", lk_config_where(a->config, key, where, sizeof where), LK_MAX_INPUTS);
    const lk_status st = lk_graph_input(a->graph, name, sample, feed.ids ? LK_DT_I64 : LK_DT_REAL, &a->input[n]);
    if (st != LK_OK)
        return lk_err_prefix(st, "%s: %s: ", lk_config_where(a->config, key, where, sizeof where), key);
    a->model->feed[n] = feed;
    a->model->n_feeds = n + 1;
    return lki_name_value(&a->b, name, a->input[n]);
}

/* Sequences to be told apart by a shift: what goes in, and what is to come out. */
static lk_status add_shifted(assembly *a)
{
    const lk_shape *t = &a->in->target_sample;
    char where[LKI_WHERE_BYTES], text[LK_SHAPE_TEXT];

    if (t->ndim != 1 || t->dim[0] < 2 || !a->in->target_whole)
        return LK_FAIL(LK_E_CONFIG, "%s: data.target: samples of %s %s; objective seq2seq needs a sequence of at least 2 ids",
            lk_config_where(a->config, "data.target", where, sizeof where), a->in->target_whole ? "ids" : "real numbers", lk_shape_print(t, text));
    const lk_shape shorter = {1, {t->dim[0] - 1}};
    return add_input(a, "target", "data.target", &shorter, (lk_model_feed){.field = 1, .ids = true, .first = 1, .count = shorter.dim[0]});
}

static lk_status add_inputs(assembly *a)
{
    const lk_config *c = a->config;
    const bool classes = lk_objective_has_classes(c->train.objective), mixed = lk_is_mixed(&c->data.mix);
    const lki_layer_input first = lki_first_input(first_list(c));
    lk_shape sample = a->in->sample, target = a->in->target_sample;
    char where[LKI_WHERE_BYTES];

    if (sample.ndim == 2 && first == LKI_INPUT_IMAGE)
        sample = (lk_shape){3, {1, sample.dim[0], sample.dim[1]}};
    if (first == LKI_INPUT_IDS && !a->in->whole)
        return LK_FAIL(LK_E_CONFIG, "%s: data.input: holds real numbers, but the first layer is an embedding and needs ids",
            lk_config_where(c, "data.input", where, sizeof where));
    LK_TRY(add_input(a, "input", "data.input", &sample, (lk_model_feed){.field = 0, .ids = first == LKI_INPUT_IDS}));
    if (c->train.objective == LK_OBJECTIVE_CLASSIFY)
        target = (lk_shape){0};
    if (lk_objective_of_input(c->train.objective))
        LK_TRY(add_input(a, "target", "data.target", &sample, (lk_model_feed){.field = 0}));
    else if (c->train.objective == LK_OBJECTIVE_SEQ2SEQ)
        LK_TRY(add_shifted(a));
    else
        LK_TRY(add_input(a, "target", "data.target", &target, (lk_model_feed){.field = a->in->no_target ? LK_FEED_NOTHING : 1, .ids = classes && !mixed}));
    for (int i = 0; i < a->in->n_more; i++)
        LK_TRY(add_input(a, a->in->more[i].name, "data.fields", &a->in->more[i].sample, (lk_model_feed){.field = 2 + i, .ids = a->in->more[i].whole}));
    if (c->train.objective != LK_OBJECTIVE_SEQ2SEQ)
        return LK_OK;
    const lk_shape shorter = {1, {target.dim[0] - 1}};
    return add_input(a, "decoder_input", "data.target", &shorter, (lk_model_feed){.field = 1, .ids = true, .count = shorter.dim[0]});
}

/* ---- graphs ---- */
static lk_status begin(assembly *a)
{
    LK_TRY(lk_graph_create(a->config->train.batch / a->config->train.microbatches, &a->graph));
    LK_TRY(lki_builder_init(&a->b, a->graph));
    return add_inputs(a);
}

/* One network, or encoder and decoder one behind the other. A decoder of seq2seq goes on with "decoder_input", and finds the encoder's output as
 * "encoder". */
static lk_status build_plain(assembly *a)
{
    const lk_config *c = a->config;
    int value;

    LK_TRY(begin(a));
    value = a->input[0];
    if (c->model->kind != LK_YAML_MAP) {
        LK_TRY(lki_build_layers(&a->b, c->model, &value));
        return lki_add_losses(&a->b, c, value, a->input, a->model);
    }
    LK_TRY(build_network(a, "encoder", &value));
    LK_TRY(lki_name_value(&a->b, "encoder", value));
    if (c->train.objective == LK_OBJECTIVE_SEQ2SEQ)
        value = a->input[a->model->n_feeds - 1];
    LK_TRY(build_network(a, "decoder", &value));
    return lki_add_losses(&a->b, c, value, a->input, a->model);
}

/* Standard normal numbers of that shape. */
static lk_status add_noise(assembly *a, const int64_t *dim, int ndim, int *value)
{
    char where[LKI_WHERE_BYTES];
    lk_node_def d = {.name = "noise", .where = lk_config_where(a->config, "train.objective", where, sizeof where), .op = LK_OP_NOISE, .in = {a->input[0]}};

    d.attr.noise.ndim = ndim;
    for (int i = 0; i < ndim && i < LK_MAX_DIMS - 1; i++)
        d.attr.noise.dim[i] = dim[i];
    return lk_graph_add(a->graph, &d, value);
}

/* Samples of a vae: noise in the place of what the encoder gives. The encoder is there for its parameters' places alone. */
static lk_status build_decoded(assembly *a)
{
    int value, latent;

    LK_TRY(begin(a));
    value = a->input[0];
    LK_TRY(build_network(a, "encoder", &value));
    const lk_shape z = a->graph->value[value].shape;
    LK_TRY(add_noise(a, z.dim + 1, z.ndim - 1, &latent));
    LK_TRY(build_network(a, "decoder", &latent));
    LK_TRY(lki_as_input(&a->b, a->config, a->input[0], &latent));
    a->graph->output = latent;
    return LK_OK;
}

static lk_status generate(assembly *a, int *fake)
{
    const lk_gan_opts *o = &a->config->train.gan;
    const lk_shape real = a->graph->value[a->input[0]].shape;
    lk_buf text = {0};
    char shape[LK_SHAPE_TEXT];

    LK_TRY(add_noise(a, o->latent.item, o->latent.n, fake));
    LK_TRY(build_network(a, "generator", fake));
    if (lk_shape_equal(&a->graph->value[*fake].shape, &real))
        return LK_OK;
    lki_describe_value(a->graph, *fake, &text);
    const lk_status st = lk_yaml_fail(network(a->config, "generator"), "model.generator: %s, but the data is %s", lk_buf_text(&text), lk_shape_print(&real, shape));
    lk_buf_fini(&text);
    return st;
}

/* The graphs of a gan have the parameters of both networks in the same order: the generator's, then the discriminator's. */
static lk_status build_discriminating(assembly *a)
{
    int fake, real;

    LK_TRY(begin(a));
    LK_TRY(generate(a, &fake));
    real = a->input[0];
    LK_TRY(build_network(a, "discriminator", &real));
    lki_builder_again(&a->b);
    LK_TRY(build_network(a, "discriminator", &fake));
    LK_TRY(lki_add_gan_loss(&a->b, a->config, "real", LK_GAN_REAL, real));
    return lki_add_gan_loss(&a->b, a->config, "fake", LK_GAN_FAKE, fake);
}

static lk_status build_generating(assembly *a)
{
    int fake;

    LK_TRY(begin(a));
    LK_TRY(generate(a, &fake));
    a->graph->output = fake;
    LK_TRY(build_network(a, "discriminator", &fake));
    return lki_add_gan_loss(&a->b, a->config, "loss", LK_GAN_GENERATOR, fake);
}

/* Runs a builder; the graph goes to *out. */
static lk_status assemble(const lk_config *c, const lk_model_input *in, lk_model *m, lk_status (*build)(assembly *), lk_graph **out)
{
    assembly a = {.config = c, .in = in, .model = m};
    const lk_status st = build(&a);

    lki_builder_fini(&a.b);
    if (st != LK_OK) {
        lk_graph_destroy(&a.graph);
        return st;
    }
    *out = a.graph;
    return LK_OK;
}

static void freeze(lk_graph *g, const char *prefix)
{
    for (int i = 0; i < g->n_params; i++)
        if (strncmp(g->param[i].name, prefix, strlen(prefix)) == 0)
            g->param[i].frozen = true;
}

static lk_status build_gan(const lk_config *c, const lk_model_input *in, lk_model *m)
{
    lk_graph *graphs[LK_MODEL_PHASES];

    m->phase[0].name = "discriminator";
    m->phase[0].every = 1;
    LK_TRY(assemble(c, in, m, build_discriminating, &m->phase[0].graph));
    m->phase[1].name = "generator";
    m->phase[1].every = c->train.gan.generator_every;
    LK_TRY(assemble(c, in, m, build_generating, &m->phase[1].graph));
    m->n_phases = 2;
    for (int i = 0; i < 2; i++)
        graphs[i] = m->phase[i].graph;
    LK_TRY(lk_model_rules(c, graphs, 2));
    freeze(m->phase[0].graph, "generator.");
    freeze(m->phase[1].graph, "discriminator.");
    m->evaluated = m->phase[0].graph;
    m->predicted = m->phase[1].graph;
    return LK_OK;
}

static lk_status build_one(const lk_config *c, const lk_model_input *in, lk_model *m)
{
    m->phase[0] = (lk_model_phase){.name = "", .every = 1};
    LK_TRY(assemble(c, in, m, build_plain, &m->phase[0].graph));
    m->n_phases = 1;
    LK_TRY(lk_model_rules(c, &m->phase[0].graph, 1));
    m->evaluated = m->predicted = m->phase[0].graph;
    if (c->train.objective == LK_OBJECTIVE_VAE && c->model->kind == LK_YAML_MAP)
        return assemble(c, in, m, build_decoded, &m->predicted);
    return LK_OK;
}

lk_status lk_model_build(const lk_config *c, const lk_model_input *in, lk_model *out)
{
    lk_model m = {0};

    LK_TRY(check_networks(c));
    const lk_status st = c->train.objective == LK_OBJECTIVE_GAN ? build_gan(c, in, &m) : build_one(c, in, &m);
    if (st != LK_OK) {
        lk_model_fini(&m);
        return st;
    }
    *out = m;
    return LK_OK;
}

void lk_model_fini(lk_model *m)
{
    bool own = m->predicted != NULL;

    for (int i = 0; i < LK_MODEL_PHASES; i++)
        own = own && m->predicted != m->phase[i].graph;
    if (own)
        lk_graph_destroy(&m->predicted);
    for (int i = 0; i < LK_MODEL_PHASES; i++)
        lk_graph_destroy(&m->phase[i].graph);
    *m = (lk_model){0};
}

void lk_model_document(lk_buf *out)
{
    lk_buf_add(out, "## Layers\n\n"
                    "`model` is a list of layers, each fed by the one before. A layer is a word (`- relu`), or a key "
                    "with a map of options\n"
                    "(`- conv: {filters: 32, kernel: 3}`); where a layer says so, a plain value stands for its main "
                    "option (`- linear: 10`). A layer\n"
                    "without a name is called after its kind and its number among the layers of that kind, counted "
                    "through the whole list and the\n"
                    "lists in it: `conv1`, `conv2`, `linear1`. Weights are called after the layer: `conv1.weight`, "
                    "`conv1.bias`, with PyTorch's shapes.\n\n"
                    "What comes out of the last layer goes into the loss of `train.objective`.\n\n"
                    "`model` may also be a map of several lists, the networks of the model: `encoder` and `decoder` "
                    "(autoencode, vae, seq2seq), `generator` and\n"
                    "`discriminator` (gan). Their layers are called after the network: `generator.conv1`.\n\n"
                    "## Objectives\n\n"
                    "| `train.objective` | the last layer gives | `data.target` holds | minimized |\n"
                    "| --- | --- | --- | --- |\n"
                    "| `classify` | `[rows, classes]` | a class id from 0 | `cross_entropy`, or `hinge` |\n"
                    "| `regress` | the target's shape | numbers | `mse`, `mae`, `huber` |\n"
                    "| `language_model` | `[rows, steps, classes]` | the id of each step: with `data.sequence.ahead: 1` the next one | `cross_entropy` |\n"
                    "| `sequence_label` | `[rows, steps, classes]` | the class id of each step; `train.ignore` for padding | `cross_entropy` |\n"
                    "| `seq2seq` | `[rows, steps - 1, classes]` | ids of a sequence that begins with a begin mark, padded with 0; layers find all but the last id as `decoder_input` | `cross_entropy` of each id from the second on, padding left out |\n"
                    "| `segment` | `[rows, classes, height, width]` | the class id of each pixel; `train.ignore` for pixels of none | `cross_entropy` |\n"
                    "| `multilabel` | the target's shape | 0 or 1 for each label | `bce` (of logits), `hinge` |\n"
                    "| `autoencode` | the input's shape | not used | `mse`, `mae`, `huber`, `bce` (of logits) against the input |\n"
                    "| `vae` | the input's shape | not used | `bce` (of logits) or `mse`, summed over a sample, and the divergence of the `gaussian` layers |\n"
                    "| `gan` | generator: the input's shape; discriminator: `[rows, 1]` | not used | `train.gan.loss`, in turn |\n\n"
                    "## The layers\n\n");
    lki_layers_document(out);
}
