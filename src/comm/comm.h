/* Ranks and what they say to each other. Implementations: `self` (one rank, no MPI), `mpi`, `staged`, which takes the
 * memory of a device through another communicator, and `fault`, which wraps another and fails a chosen call
 * on a chosen rank (for tests). mpi.h stays inside this folder.
 *
 * A communicator that failed (any status of damage COMM or worse) is dead: every later call returns the same status and
 * message until it is destroyed, and buffers of what was under way may still be read or written until then. A refused
 * argument (LK_E_ARG) does no harm. Every rank makes the same collective calls in the same order; where a rank alone
 * may fail, the caller closes the local call with lk_comm_agree. All calls of one communicator come from one thread.
 *
 * Data is host memory, but for what lk_comm_alltoallv_start and lk_comm_allreduce move: that lies in lk_comm_space(c),
 * the host's unless the communicator was made for another. There, what was queued before a start is in what is sent, and
 * completion means that whatever is queued from then on finds what was received; the host may be far ahead of both. */
#ifndef LK_COMM_COMM_H
#define LK_COMM_COMM_H

#include "base/space.h"
#include "base/status.h"
#include <stddef.h>

typedef struct lk_comm lk_comm;
typedef struct lk_comm_req lk_comm_req; /* a started operation; freed when it completes */

typedef enum lk_comm_type { LK_COMM_F32, LK_COMM_F64, LK_COMM_I64, LK_COMM_BYTE } lk_comm_type;
size_t lk_comm_type_size(lk_comm_type t);

/* One rank. Local. */
LK_MUST_USE lk_status lk_comm_create_self(lk_comm **out);
/* MPI_COMM_WORLD; initializes MPI (thread level FUNNELED is enough) unless someone has, and then finalizes it in
 * destroy. Where a host has more ranks than processors, Open MPI is told to yield while it waits. Errors: LK_E_COMM;
 * LK_E_UNSUPPORTED when MPI has ended in this process. Collective. */
LK_MUST_USE lk_status lk_comm_create_mpi(lk_comm **out);
/* Wraps `inner` (adopted on success): the call number `call` (from 1) on rank `rank` fails with LK_E_COMM "injected
 * fault at call N (NAME)" and does not happen; other ranks are not told, as in a real failure. Barrier, bcast,
 * allgather, allreduce, alltoallv_start and agree count, one each; test and wait do not, since how often they are
 * called depends on timing. Collective with same arguments. */
LK_MUST_USE lk_status lk_comm_create_fault(lk_comm *inner, int rank, int64_t call, lk_comm **out);
/* Whether MPI takes memory of CUDA devices where it takes the host's, on all ranks: what it says of itself (Open MPI,
 * MPICH 4), or in its place LOCKSTEP_MPI_CUDA=0 or 1 in the environment. A communicator without MPI says no. Collective.
 * Errors: LK_E_CONFIG, on every rank the same: the variable has another value, or is not the same on all ranks;
 * LK_E_COMM. */
LK_MUST_USE lk_status lk_comm_takes_cuda(lk_comm *c, bool *takes);
/* Exchanges and allreduce of memory in `space`, through pinned host memory and the exchanges of `inner`, whose own space
 * is the host's. `direct`: without pinned memory; `inner` is handed what lies in `space`, once what was queued in front
 * of it has been done: for an inner one that takes such memory (lk_comm_takes_cuda); the same on all ranks. Keeps `inner` until destroy, and does not end it; an exchange of the caller on it must not be in flight
 * with a tag that is used here. All else is passed on to it, deadline included. The host takes part: an exchange goes on
 * while some call is made on the communicator. Pinned memory: once what is sent to and received from other ranks by the
 * exchanges in flight. Local. Errors: LK_E_ARG, LK_E_NOMEM. Exchanges fail with what the space says of a lost device, else with
 * LK_E_COMM. */
LK_MUST_USE lk_status lk_comm_create_staged(lk_comm *inner, const lk_space *space, bool direct, lk_comm **out);
bool lk_comm_is_staged(const lk_comm *c); /* and takes pinned memory */
/* True when this process was started as a rank of several (or one) by mpirun, srun with PMI, or alike: looks at the
 * environment only (OMPI_COMM_WORLD_SIZE, PMIX_RANK, PMI_RANK, PMI_SIZE; not SLURM_PROCID, which a process without
 * MPI's help has too). */
bool lk_comm_under_mpi(void);
/* Collective, where it ends MPI: that waits for all ranks. Who has reason to doubt that they come calls lk_world_abort.
 */
void lk_comm_destroy(lk_comm **c);

int lk_comm_rank(const lk_comm *c);
int lk_comm_nranks(const lk_comm *c);
const char *lk_comm_name(const lk_comm *c); /* "self", "mpi", "fault(mpi)", "staged(mpi)", "direct(mpi)" */
const char *lk_comm_way(const lk_comm *c); /* what data travels over, for people: "MPI through pinned host memory" */
const lk_space *lk_comm_space(const lk_comm *c); /* where buffers of exchanges and of allreduce lie; never NULL */
const char *lk_comm_host(const lk_comm *c, int rank); /* host name of a rank; gathered at creation */
int lk_comm_local_rank(const lk_comm *c); /* number of this rank among those of its host */

/* Whether no two ranks have the same device, which `device` names among those of its host (at most 63 characters, such as
 * the address on the bus). If some have, `why` [size] says "ranks 0 and 2 on HOST have the same device NAME". Collective.
 * Errors: LK_E_ARG, LK_E_NOMEM, on every rank the same; LK_E_COMM. */
LK_MUST_USE lk_status lk_comm_distinct(lk_comm *c, const char *device, bool *distinct, char *why, size_t size);

/* Collective, blocking. Byte counts are the same on all ranks. */
LK_MUST_USE lk_status lk_comm_barrier(lk_comm *c);
LK_MUST_USE lk_status lk_comm_bcast(lk_comm *c, int root, void *data, size_t bytes);
/* recv [nranks * bytes], in rank order. */
LK_MUST_USE lk_status lk_comm_allgather(lk_comm *c, const void *send, size_t bytes, void *recv);
/* In the library's own order: not for numbers that must be exact. For `reduction: fast` and for comparison. Sum, in
 * place. */
LK_MUST_USE lk_status lk_comm_allreduce(lk_comm *c, void *data, int64_t count, lk_comm_type t);

/* Starts an exchange in bytes: piece r of `send` (scount[r] bytes at sdispl[r]) goes to rank r, piece r of `recv` comes
 * from rank r. Counts may differ by pair, and be 0 or beyond 2^31; the own piece is copied. Buffers and arrays must
 * live until completion. `tag` tells exchanges in flight apart (0 and up; MPI promises at least 32,764 of them, Open
 * MPI 2^31); all ranks start them with the same tags (any order). Two in flight with one tag are matched in the order
 * in which they start. Collective; does not allocate once as many exchanges as large have been in flight. A rank that
 * cannot allocate has LK_E_COMM. */
LK_MUST_USE lk_status lk_comm_alltoallv_start(lk_comm *c, int tag, const void *send, const int64_t *scount,
    const int64_t *sdispl, void *recv, const int64_t *rcount, const int64_t *rdispl, lk_comm_req **out);
/* Progress; *done tells completion, then *req is freed and NULL. A NULL *req is done. */
LK_MUST_USE lk_status lk_comm_test(lk_comm *c, lk_comm_req **req, bool *done);
LK_MUST_USE lk_status lk_comm_wait(lk_comm *c, lk_comm_req **req);

/* Agreement on the worst local status: returns LK_OK on all ranks, or on every rank the status and the message of the
 * lowest rank with the worst status, as "rank R on HOST: message" (nranks 1: the message alone), in this thread's
 * record. Collective; damage >= COMM locally makes it return that at once (agreement is impossible then), and the
 * communicator is dead on this rank. `local` goes with this thread's record; where that has another code, the general
 * text of the status is told. Nonblocking inside, with the deadline; a long wait sleeps. */
LK_MUST_USE lk_status lk_comm_agree(lk_comm *c, lk_status local);
/* Seconds that a blocking call may wait before LK_E_COMM "no answer from rank R on HOST for S s (CALL)"; 0: for ever.
 * Default 0. Local; the same on all ranks. With a deadline bcast and allreduce begin with a roll call of one byte a
 * pair of ranks, and only that is watched: the library's own collective behind it cannot say who is missing. Waits for
 * exchanges, allgather, barrier and agree are watched to the end. */
void lk_comm_set_deadline(lk_comm *c, double seconds);

/* Ends all ranks with this exit code; does not return. The one place that does. For self and NULL: _exit(code). From
 * any thread. */
_Noreturn void lk_world_abort(lk_comm *c, int exit_code);

#endif
