/* From the layer list of a config to a graph. */
#ifndef LK_MODEL_MODEL_H
#define LK_MODEL_MODEL_H

#include "engine/graph.h"
#include "model/config.h"

/* What the data looks like to the model. */
typedef struct lk_model_input {
    lk_shape sample; /* of one sample, without rows */
    lk_shape target_sample; /* regress: of one target; classify: ignored */
} lk_model_input;

/* Builds the graph of the config's model for microbatches of batch / microbatches rows: inputs 0 "input" (REAL) and
 * 1 "target" (I64 [rows] for classify, with data.mix REAL [rows, K]; REAL for regress), the layers, and the node "loss" by objective. Local.
 *   input    [rows, sample...]; a sample [H,W] counts as [1,H,W] where the first layer that minds wants a picture
 *            (conv, pooling, batch_norm)
 *   target   regress: [rows, target_sample...], in the output's shape where the two differ in sizes of 1 only or one
 *            is the other flattened: the same elements in the same order, so what the loader delivers fits
 *   names    `name:`, or kind and number ("conv1", "batch_norm2"), counted per kind through all nested lists
 *   classes  K of the last layer's [rows, K] (classify), else 0
 * Errors, with nothing left behind: LK_E_CONFIG with file:line:column, layer and shapes (unknown layer or option with
 * the nearest known, name taken, shapes that do not fit); LK_E_SHAPE where samples have too many dimensions. */
LK_MUST_USE lk_status lk_model_build(const lk_config *c, const lk_model_input *in, lk_graph **out, int64_t *classes);
/* Applies train.groups and train.init to the parameters of the graphs of a model, by patterns of their names; with n 0 the lists are only
 * checked. Errors: LK_E_CONFIG with file:line:column; a pattern that matches nothing is one. */
LK_MUST_USE lk_status lk_model_rules(const lk_config *c, lk_graph *const *graph, int n);
/* Markdown of these lists. */
void lk_model_rules_document(lk_buf *out);
/* Markdown of all layers and their options, for docs/config.md. */
void lk_model_document(lk_buf *out);

#endif
