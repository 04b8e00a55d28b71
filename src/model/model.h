/* From the layer list of a config to a graph. */
#ifndef LK_MODEL_MODEL_H
#define LK_MODEL_MODEL_H

#include "engine/graph.h"
#include "model/config.h"

/* What a field of the data looks like to the model. */
typedef struct lk_model_field {
    const char *name;
    lk_shape sample; /* of one sample, without rows */
    bool whole;      /* stored as whole numbers */
} lk_model_field;

typedef struct lk_model_input {
    lk_shape sample, target_sample; /* of data.input and data.target */
    bool whole, target_whole;
    bool no_target;       /* it is not read (lk_model_reads_target): the input "target" is fed with nothing, and has the shape that the loss wants */
    lk_model_field more[LK_MAX_INPUTS]; /* data.fields */
    int n_more;
} lk_model_input;

/* What a graph input is to be filled with. */
enum { LK_FEED_NOTHING = -1 };
typedef struct lk_model_feed {
    int field;            /* 0 data.input, 1 data.target, then data.fields; LK_FEED_NOTHING: zeros, what comes of them is not looked at */
    bool ids;             /* whole numbers */
    int64_t first, count; /* count above 0: only these elements of the sample */
} lk_model_feed;

enum { LK_MODEL_PHASES = 2 };

/* What is learned together, see lki_phase in train. */
typedef struct lk_model_phase {
    const char *name; /* "generator"; "" where there is one */
    lk_graph *graph;  /* all graphs of a model have the same parameters; those a phase does not learn are frozen in its graph */
    int64_t every;    /* takes part in each so many-th step */
} lk_model_phase;

typedef struct lk_model {
    lk_model_phase phase[LK_MODEL_PHASES];
    int n_phases;
    lk_graph *evaluated; /* one of the above: what evaluation runs */
    lk_graph *predicted; /* predictions: `evaluated`, or a graph of its own that makes samples from noise (vae, gan) */
    lk_model_feed feed[LK_MAX_INPUTS]; /* the inputs of all graphs, in their order */
    int n_feeds;
    int64_t classes;     /* class ids of the target are in [0, classes); 0: it holds none */
    bool has_ignored;
    int64_t ignored;     /* an id that may stand beside the classes */
} lk_model;

/* Builds the graphs of the config's model for microbatches of batch / microbatches rows: inputs 0 "input" and 1 "target", those of data.fields, then
 * the layers and the losses by objective. Local.
 *   input    [rows, sample...]; a sample [H,W] counts as [1,H,W] where the first layer that minds wants a picture
 *            (conv, pooling, batch_norm); whole numbers where it is an embedding
 *   target   by objective; regress: in the output's shape where the two differ in sizes of 1 only or one is the other
 *            flattened: the same elements in the same order, so what the loader delivers fits
 *   names    `name:`, or kind and number ("conv1", "batch_norm2"), counted per kind through all nested lists; with
 *            several networks ("generator.conv1") behind the network's
 * Errors, with nothing left behind: LK_E_CONFIG with file:line:column, layer and shapes (unknown layer or option with
 * the nearest known, name taken, shapes that do not fit); LK_E_SHAPE where samples have too many dimensions. */
LK_MUST_USE lk_status lk_model_build(const lk_config *c, const lk_model_input *in, lk_model *out);
/* Whether predictions of a model with this objective depend on data.target (seq2seq: a decoder reads it). */
bool lk_model_reads_target(int objective);
void lk_model_fini(lk_model *m);
/* Applies train.groups and train.init to the parameters of the graphs of a model, by patterns of their names; with n 0 the lists are only
 * checked. Errors: LK_E_CONFIG with file:line:column; a pattern that matches nothing is one. */
LK_MUST_USE lk_status lk_model_rules(const lk_config *c, lk_graph *const *graph, int n);
/* Markdown of these lists. */
void lk_model_rules_document(lk_buf *out);
/* Markdown of all layers and their options, for docs/config.md. */
void lk_model_document(lk_buf *out);

#endif
