/* The ordered reduction: the sum of M leaves (gradients of the M microbatches) along one fixed balanced binary tree, the
 * same bits for every number of ranks from 1 to M, every bucket size and every timing.
 *
 * The tree: node [a,b) with b-a > 1 is node [a,mid) + node [mid,b), mid = a + (b-a+1)/2. Rank r of N owns the leaves
 * [r*M/N, (r+1)*M/N) (64-bit products, rounded down) and folds them into its open nodes (the largest nodes inside its
 * block). For each bucket, each rank owns one slice: slice k of a bucket goes to rank k, cut at multiples of `tile`
 * elements as evenly as whole tiles allow (which ranks get the tiles that are left over depends on the bucket's number;
 * ask lk_reduce_slice). Every rank sends slice k of its nodes to rank k, which finishes the tree for it. At N a power of
 * two that divides M this moves what reduce-scatter + all-gather in a ring move.
 *
 * A step: for each wave of at most `width` consecutive local leaves: write the wave's leaves, in any order or at the same
 * time, to lk_reduce_leaf(r, m), and call lk_reduce_ready(r, m, b) for each of them and each bucket b (leaves of one
 * bucket in rising order of m; buckets in any order, for the last leaf in the same order on all ranks with `fast` and where
 * the communicator does not match exchanges by tag, as that of comm/nccl.h). A leaf
 * may be ready on one bucket while its other buckets, and other leaves of the wave, are still being written. The next wave
 * may be written once every leaf of this one is ready on every bucket: it may get the same buffers. With the last local
 * leaf of a bucket its exchange starts. lk_reduce_poll drives what is in flight; lk_reduce_finish waits for all; then the
 * own slices of the sum are at lk_reduce_sum. After create nothing allocates. One reduction of a communicator has a step
 * under way at a time, and no one else has exchanges in flight on it then (tags).
 *
 * All buffers lie in lk_comm_space(c). Where that is not the host, sums are queued there in the order of these calls: a leaf
 * is what the work queued before lk_reduce_ready has written, and lk_reduce_sum is complete for what is queued behind
 * lk_reduce_finish, gather and collect for what is queued behind them. The additions are the same: the same bits in every
 * space. `fast` is queued likewise.
 *
 * A rank whose own work failed still makes all these calls, with whatever is in its leaves: the others wait for it. */
#ifndef LK_COMM_REDUCE_H
#define LK_COMM_REDUCE_H

#include "comm/comm.h"

typedef struct lk_reduce lk_reduce;

typedef struct lk_reduce_opts {
    int64_t n; /* elements of the flat vector, a multiple of tile */
    lk_comm_type type; /* F32, or F64 on the host */
    int64_t tile; /* elements; slices and buckets begin and end at multiples */
    int n_buckets;
    const int64_t *bucket; /* [n_buckets + 1] first elements, rising, bucket[0] = 0, bucket[n_buckets] = n; copied */
    int leaves; /* M, 1 .. ; at least nranks */
    int width; /* leaves written at the same time (compute threads), >= 1 */
    bool fast; /* lk_comm_allreduce in place of the tree across ranks: in ready of the last leaf, blocking */
} lk_reduce_opts;

/* First leaf of rank r's block, and one past its last. */
int lk_block_first(int leaves, int nranks, int rank);
int lk_block_end(int leaves, int nranks, int rank);

/* Collective with same arguments. Allocates everything and ends in an agreement, so that all ranks have a reduction or
 * none. Errors: LK_E_ARG ("5 ranks, but train.microbatches is 4: raise it or start at most 4 ranks"), LK_E_NOMEM. Keeps `c`
 * until destroy. Memory: lk_reduce_buffer_bytes; with width 1 about 1 + log2 of the local leaves vectors, and one more to
 * receive what others send. */
LK_MUST_USE lk_status lk_reduce_create(lk_comm *c, const lk_reduce_opts *o, lk_reduce **out);
/* Buffer [n] for leaf m of this rank in the running step, 64-byte aligned (256 where it is not the host's); the same one in every step. Leaves of one wave
 * ([first + k*width, first + (k+1)*width)) have distinct buffers, none of which holds a node of earlier waves. */
void *lk_reduce_leaf(lk_reduce *r, int m);
/* Leaf m is complete on bucket b: folds it into the open nodes; the last local leaf starts the exchange. Collective for the
 * last leaf. Errors: LK_E_ARG when it is another leaf's turn (nothing changed); LK_E_COMM. */
LK_MUST_USE lk_status lk_reduce_ready(lk_reduce *r, int m, int b);
/* Progress, and the sums of what has come in completely. Does not wait. Local. Errors: LK_E_COMM. */
LK_MUST_USE lk_status lk_reduce_poll(lk_reduce *r);
/* Waits for all exchanges of the step and finishes their sums; then the next step may begin. Collective. Errors: LK_E_ARG
 * when some leaf is not ready on some bucket (nothing changed); LK_E_COMM. */
LK_MUST_USE lk_status lk_reduce_finish(lk_reduce *r);
/* The flat vector [n] whose own slices hold the sum after finish (other places undefined); at nranks 1 all of it. It is the
 * buffer of the first local leaf: valid until that is written in the next step. */
const void *lk_reduce_sum(const lk_reduce *r);
/* This rank's slice of bucket b: [*first, *end), maybe empty. And any rank's. */
void lk_reduce_slice(const lk_reduce *r, int b, int rank, int64_t *first, int64_t *end);
/* All-gathers the slices of a flat vector [n] of the same type in place: each rank gives its own slices, all get all.
 * Collective, between steps. */
LK_MUST_USE lk_status lk_reduce_gather(lk_reduce *r, void *flat);
/* Sends all ranks' slices to `root` only: flat [n] on root is complete after, and unchanged elsewhere. Collective, between
 * steps. */
LK_MUST_USE lk_status lk_reduce_collect(lk_reduce *r, int root, void *flat);
/* Seconds that the host of this rank spent since creation waiting for exchanges in finish, gather and collect, and in the
 * allreduce of `fast`. A device that waits for them while the host goes on does not count. */
double lk_reduce_wait_seconds(const lk_reduce *r);
/* Bytes of the leaves' buffers and of the receive buffer; where they are not the host's, of what is between sums too. */
int64_t lk_reduce_buffer_bytes(const lk_reduce *r);
/* The same for buffers in any space, any rank of any number of ranks, before there is a reduction. `pinned` gets the most
 * that a communicator of lk_comm_create_staged takes of pinned host memory for the exchanges. Local. Errors: LK_E_ARG,
 * LK_E_NOMEM. */
LK_MUST_USE lk_status lk_reduce_predict(
    const lk_reduce_opts *o, const lk_space *space, int nranks, int rank, int64_t *bytes, int64_t *pinned);
/* Elements of a rank's slices of all buckets. */
int64_t lk_reduce_own(const lk_reduce_opts *o, int nranks, int rank);
/* Local. In the middle of a step, with exchanges in flight, it gives them up: the communicator is dead then, and the
 * buffers that others may still read are left to the end of the process. */
void lk_reduce_destroy(lk_reduce **r);

/* The same tree over small records: rows [leaves][k] of doubles, of which this rank gives those of its block; `sum` [k] gets
 * the tree sum on all ranks. Columns may also carry flags that are summed. Fewer leaves than ranks are fine (some blocks
 * are empty), no leaves sum to 0. One lk_comm_allgather; allocates only when it is larger than any before on this
 * communicator. Collective with same arguments. Errors: LK_E_ARG, LK_E_COMM. */
LK_MUST_USE lk_status lk_reduce_small(lk_comm *c, int leaves, int k, const double *local_rows, double *sum);
/* Tree sum of rows that are all here, same order; 0 where there are none. Local. */
void lk_tree_sum(int leaves, int k, const double *rows, double *sum);

#endif
