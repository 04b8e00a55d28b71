/* The plan: a graph compiled for one backend. Fixed order, fixed memory, fused operations, buckets. All that can fail, fails in
 * lk_plan_create; a run has nothing left to fail but hardware and data. */
#ifndef LK_ENGINE_PLAN_H
#define LK_ENGINE_PLAN_H

#include "engine/graph.h"

typedef enum lk_instr_kind { LK_INSTR_FORWARD, LK_INSTR_BACKWARD, LK_INSTR_ACCUMULATE /* gradient += another consumer's */ } lk_instr_kind;

/* Where a buffer lies: in the arena, among the graph inputs, in the leaf of gradients, or nowhere. */
typedef struct lk_place {
    enum { LK_PLACE_NONE, LK_PLACE_ARENA, LK_PLACE_INPUT, LK_PLACE_GRADS } kind;
    int64_t at; /* byte offset in the arena, number of the input, element of the flat vector */
} lk_place;

typedef struct lk_plan_node {
    const char *name, *where; /* borrowed from the graph */
    lk_opspec spec;
    const lk_kernel *kernel;
    lk_kern_plan kp;
    int in[LK_MAX_IN], out; /* plan values */
    int sum; /* of the inputs, a second output (LK_NEEDS_SUM), or -1 */
    int param[LK_MAX_PARAMS]; /* of the graph */
    int64_t carry_at;
    int loss;               /* its number among the losses, or -1 */
    int64_t packed_at;
    lk_place saved;
} lk_plan_node;

typedef struct lk_instr {
    lk_instr_kind kind;
    int node; /* plan node; ACCUMULATE: -1 */
    lk_place x[LK_MAX_IN], y, sum, dy, dsum, dx[LK_MAX_IN], dparam[LK_MAX_PARAMS], saved, scratch;
    lk_opspec *spec; /* ACCUMULATE: an add of its own; else the node's */
    size_t bytes; /* read and written, for reports */
    double flops;
} lk_instr;

typedef struct lk_plan_opts {
    bool training;
    size_t bucket_bytes; /* as float32; buckets close once they hold at least this much */
    /* Training: the arena may have no more than this; 0: no limit. What does not fit is let go after the forward pass and computed again when the
     * backward pass comes to it (Chen et al. 2016, "Training deep nets with sublinear memory cost"), segment by segment; so that as little as possible runs twice. The same bits. */
    int64_t activation_bytes;
} lk_plan_opts;

typedef struct lk_plan {
    const lk_backend *backend;
    const lk_graph *graph; /* borrowed until destroy */
    bool training;
    lk_plan_node *node;
    int n_nodes;
    /* Forward, instruction i for node i; then backward: FORWARD there computes again what was let go, without statistics. */
    lk_instr *instr;
    int n_instr, n_forward;
    int n_segments, n_again; /* that were let go; operations that run twice */
    int input_value[LK_MAX_INPUTS], n_inputs; /* graph values that are inputs, in order */
    int loss_node[LK_MAX_LOSSES], n_losses; /* plan nodes */
    lk_place output; /* of the graph's output: predictions, in plain layout; valid after a run of a plan that does not train */
    lk_shape output_shape;
    int64_t arena_bytes, packed_bytes, carry_bytes;
    /* What is learned lies in [grad_first, grad_end) of the flat vector; a leaf holds just that. */
    int64_t grad_first, grad_end;
    /* Elements of the flat vector within that range that no instruction writes (frozen): [first, end) each. */
    int64_t (*unwritten)[2];
    int n_unwritten;
    /* Buckets of the learned range: rising elements of the flat vector, n_buckets + 1 of them, from grad_first to grad_end; bucket b is complete after instruction ready[b]. */
    int64_t *bucket;
    int *ready;
    int n_buckets;
    double flops; /* of a microbatch; what runs again counts once */
} lk_plan;

/* Local. Keeps `g` until destroy. Errors: LK_E_CONFIG with layer and place (also where activation_bytes cannot be reached: with
 * the smallest arena that was found and the layer that needs it), LK_E_UNSUPPORTED, LK_E_NOMEM. */
LK_MUST_USE lk_status lk_plan_create(const lk_graph *g, const lk_backend *backend, const lk_plan_opts *o, lk_plan **out);
/* How packed weights are rounded at random where values have fewer bits than weights: a draw is a function of seed, the parameter's name, `update` and the element. */
typedef struct lk_plan_rounding {
    uint64_t seed, update;
} lk_plan_rounding;
/* Packs weights (flat vector of the backend's real type) for all kernels into packed [packed_bytes]; call i of n shares the work by nodes. Scratch is taken from `arena` [arena_bytes]. `rounding` NULL:
 * to nearest. */
LK_MUST_USE lk_status lk_plan_pack(const lk_plan *p, const void *weights, void *packed, void *arena, const lk_plan_rounding *rounding, int part, int parts);
void lk_plan_destroy(lk_plan **p);

#endif
