/* From a config to a graph: the inputs, the layers (layers.c), and what the objective makes of their output. */
#include "model/model.h"
#include "model/layer.h"

#include <string.h>

/* ---- the loss ---- */
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

static lk_status add_loss(lki_builder *b, const lk_config *c, int output, int target, int64_t *classes)
{
    lk_graph *g = b->graph;
    const lk_shape y = g->value[output].shape;
    char where[LKI_WHERE_BYTES];
    lk_node_def def = {
        .name = "loss", .where = lk_config_where(c, "train.objective", where, sizeof where), .in = {output, target}};

    if (c->train.objective == LK_OBJECTIVE_REGRESS) {
        if (same_elements(&y, &g->value[target].shape))
            g->value[target].shape = y;
        def.op = LK_OP_MSE;
        LK_TRY(lk_graph_add(g, &def, NULL));
        *classes = 0;
        return LK_OK;
    }
    if (y.ndim != 2 || y.dim[1] < 2) {
        lk_buf last = {0};
        lki_describe_value(g, output, &last);
        const lk_status st = lk_yaml_fail(c->model,
            "model: %s, but objective classify needs [rows, classes] with at least 2 classes; end the list with %s\"- "
            "linear: CLASSES\"",
            lk_buf_text(&last), y.ndim == 2 ? "" : "\"- flatten\" and ");
        lk_buf_fini(&last);
        return st;
    }
    if (lk_is_mixed(&c->data.mix))
        g->value[target].shape = y; /* shares of classes */
    def.op = LK_OP_CROSS_ENTROPY;
    LK_TRY(lk_graph_add(g, &def, NULL));
    *classes = y.dim[1];
    return LK_OK;
}

lk_status lk_model_build(const lk_config *c, const lk_model_input *in, lk_model *out)
{
    const bool regress = c->train.objective == LK_OBJECTIVE_REGRESS;
    lk_shape sample = in->sample;
    const lk_shape target_sample = regress ? in->target_sample : (lk_shape){0};
    lki_builder b = {0};
    lk_graph *g = NULL;
    int64_t classes = 0;
    int value, target;
    char where[LKI_WHERE_BYTES];
    lk_status st;

    if (sample.ndim == 2 && lki_first_input(c->model) == LKI_INPUT_IMAGE)
        sample = (lk_shape){3, {1, sample.dim[0], sample.dim[1]}};
    LK_TRY_TO(st, out, lk_graph_create(c->train.batch / c->train.microbatches, &g));
    LK_TRY_TO(st, out, lki_builder_init(&b, g));
    st = lk_graph_input(g, "input", &sample, LK_DT_REAL, &value);
    if (st != LK_OK) {
        lk_err_prefix(st, "%s: data.input: ", lk_config_where(c, "data.input", where, sizeof where));
        goto out;
    }
    st = lk_graph_input(g, "target", &target_sample, regress || lk_is_mixed(&c->data.mix) ? LK_DT_REAL : LK_DT_I64, &target);
    if (st != LK_OK) {
        lk_err_prefix(st, "%s: data.target: ", lk_config_where(c, "data.target", where, sizeof where));
        goto out;
    }
    LK_TRY_TO(st, out, lki_name_value(&b, "input", value));
    LK_TRY_TO(st, out, lki_build_layers(&b, c->model, &value));
    LK_TRY_TO(st, out, add_loss(&b, c, value, target, &classes));
    LK_TRY_TO(st, out, lk_model_rules(c, &g, 1));
    *out = (lk_model){.phase = {{"", g, 1}}, .n_phases = 1, .evaluated = g, .classes = classes};
    g = NULL;
out:
    lki_builder_fini(&b);
    lk_graph_destroy(&g);
    return st;
}

void lk_model_fini(lk_model *m)
{
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
                    "What comes out of the last layer goes into the loss of `train.objective`: `classify` takes "
                    "`[rows, classes]`; `regress` takes\n"
                    "the target's shape.\n\n");
    lki_layers_document(out);
}
