/* The plan: a graph compiled for one backend. Fixed order, fixed memory, fused operations, buckets. All that can fail, fails in
 * lk_plan_create; a run has nothing left to fail but hardware and data. */
#ifndef LK_ENGINE_PLAN_H
#define LK_ENGINE_PLAN_H

#include "engine/graph.h"

typedef enum lk_instr_kind { LK_INSTR_FORWARD, LK_INSTR_BACKWARD, LK_INSTR_ACCUMULATE /* gradient += another consumer's */ } lk_instr_kind;

/* Where a buffer lies: in the arena, among the graph inputs, or nowhere. */
typedef struct lk_place {
    enum { LK_PLACE_NONE, LK_PLACE_ARENA, LK_PLACE_INPUT } kind;
    int64_t at; /* byte offset, or number of the input */
} lk_place;

typedef struct lk_plan_node {
    const char *name, *where; /* borrowed from the graph */
    lk_opspec spec;
    const lk_kernel *kernel;
    lk_kern_plan kp;
    int in[LK_MAX_IN], out; /* plan values */
    int first_param;        /* of the graph */
    int64_t packed_at;
    lk_place saved;
} lk_plan_node;

typedef struct lk_instr {
    lk_instr_kind kind;
    int node; /* plan node; ACCUMULATE: -1 */
    lk_place x[LK_MAX_IN], y, dy, dx[LK_MAX_IN], saved, scratch;
    lk_opspec *spec; /* ACCUMULATE: an add of its own; else the node's */
    size_t bytes; /* read and written, for reports */
    double flops;
} lk_instr;

typedef struct lk_plan_opts {
    bool training;
    size_t bucket_bytes; /* as float32; buckets close once they hold at least this much */
} lk_plan_opts;

typedef struct lk_plan {
    const lk_backend *backend;
    const lk_graph *graph; /* borrowed until destroy */
    bool training;
    lk_plan_node *node;
    int n_nodes;
    lk_instr *instr; /* forward, then backward */
    int n_instr, n_forward;
    int input_value[LK_MAX_IN], n_inputs; /* graph values that are inputs, in order */
    int loss_node;  /* plan node of the loss, or -1 */
    lk_place output; /* of the value that feeds the loss (or the last value): predictions; plain layout not promised */
    int64_t arena_bytes, packed_bytes;
    /* Buckets of the flat vector: rising element offsets, n_buckets + 1 of them; bucket b is complete after instruction ready[b]. */
    int64_t *bucket;
    int *ready;
    int n_buckets;
    double flops; /* of a microbatch */
} lk_plan;

/* Local. Keeps `g` until destroy. Errors: LK_E_CONFIG with layer and place, LK_E_UNSUPPORTED, LK_E_NOMEM. */
LK_MUST_USE lk_status lk_plan_create(const lk_graph *g, const lk_backend *backend, const lk_plan_opts *o, lk_plan **out);
/* Packs weights (flat vector of the backend's real type) for all kernels into packed [packed_bytes]; call i of n shares the work by nodes. Scratch is taken from `arena` [arena_bytes]. */
LK_MUST_USE lk_status lk_plan_pack(const lk_plan *p, const void *weights, void *packed, void *arena, int part, int parts);
void lk_plan_destroy(lk_plan **p);

#endif
