/* From the layer list of a config to a graph. */
#ifndef LK_MODEL_MODEL_H
#define LK_MODEL_MODEL_H

#include "engine/graph.h"
#include "model/config.h"

/* What the data looks like to the model. */
typedef struct lk_model_input {
    lk_shape sample;        /* of one sample, without rows */
    lk_shape target_sample; /* regress: of one target; classify: ignored */
} lk_model_input;

/* Builds the graph of the config's model for microbatches of batch / microbatches rows: inputs 0 "input" (REAL) and 1 "target" (I64 for classify, REAL
 * for regress), the layers, the loss node "loss" by objective. Input of shape [H,W] for a conv is taken as [1,H,W]. Layer names: `name:` or kind and number ("conv1", "linear2", "batch_norm1"),
 * numbered per kind. Errors: LK_E_CONFIG with file:line:column, layer, both shapes: unknown layer (nearest known), unknown option, duplicate name, shapes that do not fit, last layer not [rows, K]
 * for classify. *classes gets K (classify), else 0. Local. */
LK_MUST_USE lk_status lk_model_build(const lk_config *c, const lk_model_input *in, lk_graph **out, int64_t *classes);
/* Markdown of all layers and their options, for docs/config.md. */
void lk_model_document(lk_buf *out);

#endif
