/* Inside the room: losses by objective. */
#ifndef LK_MODEL_OBJECTIVE_H
#define LK_MODEL_OBJECTIVE_H

#include "model/layer.h"
#include "model/model.h"

/* An output with as many elements as the input, in its shape; else left as it is, for the loss to judge. */
LK_MUST_USE lk_status lki_as_input(lki_builder *b, const lk_config *c, int input, int *output);
/* Adds the losses of the config's objective (not gan) to the graph; `input` are its inputs. Fills classes and what is ignored of m. */
LK_MUST_USE lk_status lki_add_losses(lki_builder *b, const lk_config *c, int output, const int *input, lk_model *m);
/* Adds a loss of objective gan on a discriminator's scores. */
LK_MUST_USE lk_status lki_add_gan_loss(lki_builder *b, const lk_config *c, const char *name, lk_gan_role role, int scores);

#endif
