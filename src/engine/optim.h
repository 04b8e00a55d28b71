/* The optimizer over the flat vector: each parameter by its kind and its rule; element by element, so that any cut into slices gives the same
 * bits, or (lk_opt_info.whole) a whole parameter at a time. */
#ifndef LK_ENGINE_OPTIM_H
#define LK_ENGINE_OPTIM_H

#include "engine/graph.h"

/* How one parameter is updated. */
typedef struct lk_opt_rule {
    double lr;           /* the step's rate is multiplied by this */
    double weight_decay;
    bool hidden;         /* a matrix inside of the network: neither an embedding nor of a layer that feeds a loss directly */
} lk_opt_rule;

typedef struct lk_optim {
    const lk_graph *graph;
    const lk_backend *backend;
    lk_opt kind;
    const lk_opt_rule *rule; /* [graph->n_params], borrowed */
    double momentum, beta1, beta2, eps, trust;
    bool nesterov;
    double clip_value;         /* each element of the gradient is brought into [-clip_value, clip_value]; 0: none */
    double noise, noise_decay; /* then a normal draw of variance noise / t^noise_decay is added (Neelakantan et al. 2015, "Adding gradient
                                * noise improves learning for very deep networks", section 3); 0: none */
    uint64_t seed;
    struct lk_optim_table *table; /* lk_optim_prepare's, or NULL */
} lk_optim;

typedef struct lk_optim_step {
    double lr;
    int64_t t;         /* update number, from 1 */
    double grad_scale; /* clipping factor, or 1 */
    int stat_count;    /* non-empty microbatches of the step */
    void *scratch;     /* [lk_optim_scratch] of this call alone */
} lk_optim_step;

/* The rules of all parameters [n_params], to be freed: where they have none of their own, rate 1, and `weight_decay` for weights of two and
 * more dimensions and 0 for others (biases, norms). */
LK_MUST_USE lk_status lk_optim_rules(const lk_graph *g, double weight_decay, lk_opt_rule **out);
/* Bytes of scratch that the largest update takes. */
size_t lk_optim_scratch(const lk_optim *o);
/* Where the backend updates many parameters in one call (lk_backend.flat): the table for that, so that an update is one call for each LK_FLAT_GROUPS
 * combinations of rate and weight decay, and not one a parameter. The bits are the same. Setup time; the graph and the rules must stay. */
LK_MUST_USE lk_status lk_optim_prepare(lk_optim *o);
/* What that takes of the backend's space. */
int64_t lk_optim_table_bytes(const lk_optim *o);
/* Frees the table; fine without one. */
void lk_optim_fini(lk_optim *o);

/* Updates elements [first, end) of the flat vector: weights, sum and state[i] [end - first] each begin at element `first` (clipping by value and noise may change the sum). All are of the
 * backend's real type. Statistics become (1-momentum)^stat_count * old + sum. All lie in the backend's space. The cut must be at parameters where the optimizer takes whole ones, at tiles where there is a table. Local. */
void lk_optim_update(const lk_optim *o, const lk_optim_step *s, int64_t first, int64_t end, void *weights, void *const state[LK_MAX_OPT_STATE], void *sum);
/* Moves the running mean `mean` [end - first] of the weights towards elements [first, end) of the flat vector (`weights` begins at `first`) after update t: mean += (1 - d) (weight -
 * mean), d the smaller of `decay` and t / (t + 9), so that the first weights are soon forgotten. What is no weight is copied. */
void lk_optim_average(const lk_optim *o, double decay, int64_t t, int64_t first, int64_t end, const void *weights, void *mean);
/* Sums of squares of the gradient, per tile of LK_TILE elements, for the tiles of [first, end) (multiples of LK_TILE); `sum` begins at element `first`; `tiles` lies in the backend's space. */
void lk_optim_tile_squares(const lk_optim *o, int64_t first, int64_t end, const void *sum, double *tiles);
/* Of those, brought to the host, what counts for a norm: tiles of statistics and of what is frozen become 0. */
void lk_optim_tile_mask(const lk_optim *o, int64_t first, int64_t end, double *tiles);

#endif
