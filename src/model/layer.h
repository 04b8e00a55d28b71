/* Inside the room: what a kind of layer is, and what its builder may use. A kind is one table of options (all begin with
 * `name` and `from`) and a function that turns them into operations of the graph; the families have a file each. Shapes
 * are the operations' own business; what they say of a mistake is passed on with the layer's name and place. */
#ifndef LK_MODEL_LAYER_H
#define LK_MODEL_LAYER_H

#include "engine/graph.h"
#include "model/config.h"

/* A new layer is a row here and an lki_layer_WORD in the file of its family. The order is that of docs/config.md. */
#define LKI_LAYER_LIST(X) \
    /* layer_basic.c */ \
    X(linear) \
    X(flatten) \
    X(dropout) \
    X(spatial_dropout) \
    X(drop_path) \
    /* layer_activation.c */ \
    X(relu) \
    X(leaky_relu) \
    X(elu) \
    X(gelu) \
    X(silu) \
    X(sigmoid) \
    X(tanh) \
    X(softplus) \
    X(softmax) \
    X(glu) \
    X(swiglu) \
    X(geglu) \
    /* layer_norm.c */ \
    X(layer_norm) \
    X(rms_norm) \
    X(group_norm) \
    X(instance_norm) \
    /* layer_shape.c */ \
    X(reshape) \
    X(permute) \
    X(pad) \
    X(slice) \
    X(scale) \
    X(mean) \
    X(sum) \
    /* layer_conv.c */ \
    X(conv1d) \
    X(conv) \
    X(conv3d) \
    X(conv_transpose1d) \
    X(conv_transpose) \
    X(conv_transpose3d) \
    X(batch_norm) \
    X(max_pool1d) \
    X(max_pool) \
    X(max_pool3d) \
    X(avg_pool1d) \
    X(avg_pool) \
    X(avg_pool3d) \
    X(adaptive_avg_pool) \
    X(global_pool) \
    X(upsample) \
    /* layer_sequence.c */ \
    X(embedding) \
    X(positions) \
    X(attention) \
    /* layer_recurrent.c */ \
    X(lstm) \
    X(gru) \
    X(rnn) \
    /* layer_block.c */ \
    X(residual) \
    X(repeat) \
    X(branch) \
    X(add) \
    X(multiply) \
    X(concat) \
    X(take) \
    /* layer_generative.c */ \
    X(gaussian) \
    X(spectral_norm)

enum { LKI_MAX_LATENT = LK_MAX_LOSSES - 1, LKI_WHERE_BYTES = 512, LKI_NAME_BYTES = 256, LKI_OPTS_BYTES = 512 };

/* How all options begin. */
#define LKI_LAYER_MEMBERS char *name, *from
typedef struct lki_layer_opts {
    LKI_LAYER_MEMBERS;
} lki_layer_opts;
#define LKI_LAYER_ROWS(type_) \
    LK_FIELD(type_, name, LK_T_STRING, .def = "", .help = "Name of the layer, its weights and its output; unset: kind and number."), \
        LK_FIELD(type_, from, LK_T_STRING, .def = "", .help = "Takes the output of the layer of that name, or that field of the data, in the place of the layer before.")

typedef struct lki_layer_kind lki_layer_kind;

/* One layer on its way into the graph. */
typedef struct lki_layer {
    const lki_layer_kind *kind;
    const lk_yaml *map; /* options: as written, or `made` */
    lk_yaml made, made_value; /* a map for what was written without one: `- relu`, `- linear: 10` */
    lk_yaml *made_child;
    _Alignas(16) char opts[LKI_OPTS_BYTES]; /* the kind's struct */
    char name[LKI_NAME_BYTES], where[LKI_WHERE_BYTES];
} lki_layer;

/* The options of a layer: const linear_opts *o = LKI_OPTS(l, linear_opts). */
#define LKI_OPTS(l_, type_) ((const type_ *)(const void *)(l_)->opts)

/* A value that layers can name. */
typedef struct lki_named {
    char name[LKI_NAME_BYTES];
    int value;
} lki_named;

typedef struct lki_builder {
    lk_graph *graph;
    int *count; /* [kinds] layers of each kind so far */
    int n_layers;
    const char *prefix; /* in front of all names: "generator." or "" */
    char scope[LKI_NAME_BYTES]; /* behind the names given in a `repeat`: ".0.2" */
    lki_named *named;
    int n_named, cap_named;
    struct {
        int mean, log_variance;
    } latent[LKI_MAX_LATENT]; /* of the `gaussian` layers so far */
    int n_latent;
    int again; /* a network applied once more, for the so many-th time: names get "@2", parameters are those of the first */
} lki_builder;

/* What a layer takes an input of two dimensions a sample for. */
typedef enum lki_layer_input {
    LKI_INPUT_ANY /* does not mind */,
    LKI_INPUT_IMAGE /* height, width: one channel */,
    LKI_INPUT_ROWS /* as it is */,
    LKI_INPUT_IDS /* whole numbers */
} lki_layer_input;

struct lki_layer_kind {
    const lk_table *table; /* its name is the layer's word */
    const char *short_form; /* option that a value other than a map gives (`linear: 10`); NULL: none */
    const char *inner; /* option that is a list of layers fed with the layer's own input; NULL: none */
    lki_layer_input input;
    lk_op op;
    /* Optional: attributes from options and the input's shape; NULL: the operation has none. */
    lk_status (*attrs)(const lki_layer *l, const lk_shape *in, lk_attrs *out);
    /* Optional: adds the layer, *value going from its input to its output; NULL: one node of `op`. */
    lk_status (*build)(lki_builder *b, const lki_layer *l, int *value);
};

#define X(word) extern const lki_layer_kind lki_layer_##word;
LKI_LAYER_LIST(X)
#undef X

/* ---- layers.c: the list ---- */
LK_MUST_USE lk_status lki_builder_init(lki_builder *b, lk_graph *g);
void lki_builder_fini(lki_builder *b);
/* The networks built from here on were built before, in the same order: they are applied a second time, with the same parameters. */
void lki_builder_again(lki_builder *b);
/* Layers are numbered from 1 again: a new network begins. */
void lki_builder_restart(lki_builder *b);
/* Builds a list of layers, *value going from its input to its output. */
LK_MUST_USE lk_status lki_build_layers(lki_builder *b, const lk_yaml *list, int *value);
/* What the first layer that minds takes its input for. Mistakes in the list are left to lki_build_layers. */
lki_layer_input lki_first_input(const lk_yaml *list);
/* Makes a value known under a name (cut at LKI_NAME_BYTES - 1). */
LK_MUST_USE lk_status lki_name_value(lki_builder *b, const char *name, int value);
/* The value of that name: an earlier layer's output or a field of the data, the innermost `repeat` first. LK_E_CONFIG at
 * the option's place with the nearest known name. */
LK_MUST_USE lk_status lki_find_value(lki_builder *b, const lki_layer *l, const char *option, const char *name, int *value);
void lki_layers_document(lk_buf *out);

/* ---- for the builders ---- */
/* "run.yaml:12:5", or "--set model" */
void lki_where_text(const lk_yaml *node, char out[LKI_WHERE_BYTES]);
/* "conv1 (run.yaml:12:5) gives [8,64,4,4]" */
void lki_describe_value(const lk_graph *g, int value, lk_buf *out);
/* LK_E_CONFIG at an option, "KIND.OPTION: TEXT". */
LK_MUST_USE lk_status lki_option_fail(const lki_layer *l, const char *option, const char *text);
/* One number for all sides, or one a side: `n` of them. */
LK_MUST_USE lk_status lki_sides(const lki_layer *l, const char *option, const lk_ints *given, int n, int64_t *out);
/* Adds a node; sizes beyond any memory are refused. The node's name is def->name, its place the layer's. */
LK_MUST_USE lk_status lki_add_node(lki_builder *b, const lki_layer *l, const lk_node_def *def, int *value);
/* One node called like the layer: kind->op with attributes from kind->attrs. */
LK_MUST_USE lk_status lki_build_node(lki_builder *b, const lki_layer *l, int *value);
/* A further node of the layer, called LAYER.SUFFIX, of one input. */
LK_MUST_USE lk_status lki_build_part(
    lki_builder *b, const lki_layer *l, const char *suffix, lk_op op, const lk_attrs *attr, int *value);

#endif
