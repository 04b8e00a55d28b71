/* Exchanges in the memory of GPUs, through NCCL. Part of the CUDA module; plain C without NCCL's headers and CUDA's. */
#ifndef LK_COMM_NCCL_H
#define LK_COMM_NCCL_H

#include "comm/comm.h"

/* Takes a function that whoever waits for the GPU should ask now and then, on the thread of the communicator: a failure
 * ends the wait. NULL: there is nothing to ask any more. */
typedef void lk_comm_set_watch(lk_status (*watch)(void *arg), void *arg);

/* Exchanges and allreduce of memory in `space`, the memory of the GPU that is current on this thread and whose work
 * goes to `compute_stream` (a cudaStream_t), which is the queue of the space. They run on a stream of their own, behind
 * what is in the queue when they start and in front of what is queued after their end (comm.h): test and wait do not
 * wait for the GPU, and wait returns at once. All other calls are passed on to `inner`, whose space is the host's and
 * which is kept until destroy.
 *
 * NCCL takes one rank a GPU (lk_comm_distinct). It knows no tags: exchanges and allreduces must start in the same order
 * on all ranks; tags stand in messages only.
 *
 * `deadline`, in seconds, is that of lk_comm_set_deadline, which concerns this communicator alone and not `inner`: when
 * an exchange waits longer for other ranks, or NCCL's beginning takes longer, that is an error (0: they may wait for
 * ever). It is seen in start, test and wait, and while the host waits for the GPU: set_watch, unless it is NULL, is
 * given lk_comm_nccl_watch and the communicator, and NULL in destroy.
 *
 * Collective with same arguments but for the stream. Ends in an agreement over `inner`: all ranks have it, or none and
 * the same status. Errors: LK_E_ARG, LK_E_NOMEM; LK_E_LIBRARY with what NCCL says and where to look, after which
 * `inner` is as before, so that the caller may do without NCCL; LK_E_DEVICE; LK_E_COMM when `inner` fails. */
LK_MUST_USE lk_status lk_comm_create_nccl(lk_comm *inner, const lk_space *space, void *compute_stream, double deadline,
    lk_comm_set_watch *set_watch, lk_comm **out);
/* Asks NCCL whether `comm` (an lk_comm of the above) has failed, and looks how long what is in flight has been waiting
 * for other ranks. Errors: LK_E_COMM; then the communicator is dead, and what it had queued on the GPU ends. */
LK_MUST_USE lk_status lk_comm_nccl_watch(void *comm);
/* Version of the library, 2.28.3 -> 22803; 0 when it does not say. Local. */
int lk_comm_nccl_version(void);

#endif
