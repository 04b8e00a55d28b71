/* The optimizer over the flat vector: each parameter by its kind, element by element, so that any cut into slices gives the same bits. */
#ifndef LK_ENGINE_OPTIM_H
#define LK_ENGINE_OPTIM_H

#include "engine/graph.h"

typedef struct lk_optim {
    const lk_graph *graph;
    const lk_backend *backend;
    lk_opt kind;
    double weight_decay, momentum, beta1, beta2, eps;
    bool nesterov;
} lk_optim;

typedef struct lk_optim_step {
    double lr;
    int64_t t;         /* update number, from 1 */
    double grad_scale; /* clipping factor, or 1 */
    int stat_count;    /* non-empty microbatches of the step */
} lk_optim_step;

/* Updates elements [first, end) of the flat vector `weights` from `sum` (flat too); `state[i]` [end - first] is this run's own piece. All are of the
 * backend's real type. Weight decay is applied to
 * weights of two and more dimensions (not to biases and norms); statistics become (1-momentum)^stat_count * old + sum. Local. */
void lk_optim_update(const lk_optim *o, const lk_optim_step *s, int64_t first, int64_t end, void *weights, void *const state[LK_MAX_OPT_STATE], const void *sum);
/* Sums of squares of the gradients of weights, per tile of LK_TILE elements, for the tiles of [first, end) (multiples of LK_TILE); tiles of statistics give 0. */
void lk_optim_tile_squares(const lk_optim *o, int64_t first, int64_t end, const void *sum, double *tiles);

#endif
