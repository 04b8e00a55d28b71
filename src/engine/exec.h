/* The executor: runs a plan on one microbatch, on the calling thread, in an arena of its own. In a space that is not the host's it queues the
 * work and returns; what changes from microbatch to microbatch goes into a slot of device memory in front of it, so that the work itself can be
 * recorded once and replayed. */
#ifndef LK_ENGINE_EXEC_H
#define LK_ENGINE_EXEC_H

#include "engine/plan.h"

typedef struct lk_exec lk_exec;

typedef struct lk_exec_run_args {
    const lk_micro *micro; /* its metrics are [losses][LK_MAX_METRICS], on the host */
    int slot;              /* which of the executor's slots; one in use is free again after finish */
    const void *input[LK_MAX_INPUTS]; /* on the host (pinned: lk_space_alloc_pinned, or it takes longer), in the order of the plan's inputs; REAL ones in the backend's real type (cuda: float). They may change once
                                       * the run was finished. This and what follows lies in the backend's space but for inputs */
    const void *weights;          /* flat */
    const void *packed;
    void *grads;                  /* leaf: [grad_first, grad_end) of the flat vector; written whole except padding, which is left as it is; NULL when not training */
    void *carry;                  /* [carry_bytes] state of these rows between steps, or NULL: from zero, and kept nowhere */
    /* Statistics: this is non-empty microbatch number `stat_index` of `stat_count` in the step; their fresh values are scaled so that the sum
     * over microbatches plus (1-momentum)^stat_count times the old value is the fold in microbatch order. */
    int stat_index, stat_count;
    /* Optional: called after instructions of the backward pass: each, or, of recorded work, those that complete a bucket. */
    void (*after)(void *arg, int instr);
    void *after_arg;
} lk_exec_run_args;

/* For so many runs that are not finished yet. */
LK_MUST_USE lk_status lk_exec_create(const lk_plan *p, int slots, lk_exec **out);
/* Forward, and backward if the plan trains. A microbatch without valid rows gives zero gradients and zero metrics without running. Does not allocate
 * on the host. Errors: LK_E_DATA with layer and sample; LK_E_DEVICE. */
LK_MUST_USE lk_status lk_exec_run(lk_exec *e, const lk_exec_run_args *a);
/* Once for each run that succeeded, with its slot and microbatch: waits until the forward pass is done and fills the metrics. On the host there is nothing left to
 * do. Errors: LK_E_DATA, what a device found wrong with the data; LK_E_DEVICE. */
LK_MUST_USE lk_status lk_exec_finish(lk_exec *e, int slot, const lk_micro *micro);
/* Seconds per instruction are added up when profiling is on: [n_instr]; NULL turns it off. */
void lk_exec_profile(lk_exec *e, double *seconds);
void *lk_exec_arena(lk_exec *e);
/* The predictions of the last run as floats on the host [output_shape], in C H W order; of a plan that does not train. */
LK_MUST_USE lk_status lk_exec_output(lk_exec *e, float *to);
/* Bytes that lk_exec_create allocates in the backend's space. */
int64_t lk_exec_bytes(const lk_plan *p, int slots);
void lk_exec_destroy(lk_exec **e);

#endif
