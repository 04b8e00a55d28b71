/* The executor: runs a plan on one microbatch, on the calling thread, in an arena of its own. */
#ifndef LK_ENGINE_EXEC_H
#define LK_ENGINE_EXEC_H

#include "engine/plan.h"

typedef struct lk_exec lk_exec;

typedef struct lk_exec_run_args {
    const lk_micro *micro; /* its metrics are [losses][LK_MAX_METRICS] */
    const void *input[LK_MAX_INPUTS]; /* in the order of the plan's inputs; REAL ones in the backend's type */
    const void *weights;          /* flat */
    const void *packed;
    void *grads;                  /* leaf: [grad_first, grad_end) of the flat vector; written whole except padding, which is left as it is; NULL when not training */
    void *carry;                  /* [carry_bytes] state of these rows between steps, or NULL: from zero, and kept nowhere */
    /* Statistics: this is non-empty microbatch number `stat_index` of `stat_count` in the step; their fresh values are scaled so that the sum
     * over microbatches plus (1-momentum)^stat_count times the old value is the fold in microbatch order. */
    int stat_index, stat_count;
    /* Optional: called after each instruction from first_backward on. */
    void (*after)(void *arg, int instr);
    void *after_arg;
} lk_exec_run_args;

LK_MUST_USE lk_status lk_exec_create(const lk_plan *p, lk_exec **out);
/* Forward, and backward if the plan trains. A microbatch without valid rows gives zero gradients and zero metrics without running. Does not allocate. */
LK_MUST_USE lk_status lk_exec_run(lk_exec *e, const lk_exec_run_args *a);
/* Seconds per instruction are added up when profiling is on: [n_instr]; NULL turns it off. */
void lk_exec_profile(lk_exec *e, double *seconds);
void *lk_exec_arena(lk_exec *e);
/* The predictions of the last run, in the backend's type, in C H W order. */
const void *lk_exec_output(const lk_exec *e);
void lk_exec_destroy(lk_exec **e);

#endif
