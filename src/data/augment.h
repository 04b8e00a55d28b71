/* Augmentation: a list of steps that change a sample at random, each a word with options (docs/config.md). What is
 * drawn is a function of (seed, epoch, sample, place in the list) alone. */
#ifndef LK_DATA_AUGMENT_H
#define LK_DATA_AUGMENT_H

#include "base/buf.h"
#include "base/yaml.h"
#include "data/dataset.h"

typedef struct lk_augment lk_augment;

/* Reads a list of steps; an empty node is an empty list. Keeps nothing of `list`. Local. Errors: LK_E_CONFIG with
 * file:line:column: unknown steps and options with the nearest known, values out of range. */
LK_MUST_USE lk_status lk_augment_parse(const lk_yaml *list, lk_augment **out);
void lk_augment_destroy(lk_augment **a);
int lk_augment_steps(const lk_augment *a); /* NULL: 0 */
/* Whether each step can work on samples like these: [C,H,W] or [H,W] for what moves or covers parts of a picture.
 * Errors: LK_E_CONFIG with the step's place and the field's shape. */
LK_MUST_USE lk_status lk_augment_check(const lk_augment *a, const lk_field_info *f);
/* One sample in place: x [f->row], in plain order; scratch [f->row], overwritten. Draws words of the stream (seed,
 * LK_RNG_AUGMENT, epoch), row `sample`; step i of the list has blocks i * 2^40 on. Values are computed in double and
 * rounded once a step. Any thread. */
void lk_augment_run(const lk_augment *a, const lk_field_info *f, uint64_t seed, int64_t epoch, int64_t sample, float *x,
    float *scratch);
/* Markdown of all steps and their options. */
void lk_augment_document(lk_buf *out);

#endif
