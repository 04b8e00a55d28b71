/* Inside the room: the arithmetic of the fixed tree, without ranks that talk and without buffers. */
#ifndef LK_COMM_REDUCE_TREE_H
#define LK_COMM_REDUCE_TREE_H

#include "base/space.h"
#include "comm/comm.h"

/* Node [a,b) with b - a > 1 is node [a,mid) + node [mid,b). */
static inline int lki_tree_mid(int a, int b)
{
    return a + (b - a + 1) / 2;
}

/* The largest nodes of the tree over `leaves` that lie inside [first,end), from left to right. A block has at most two
 * of each size. */
enum { LKI_MAX_OPEN = 64 };
int lki_open_nodes(int leaves, int first, int end, int starts[LKI_MAX_OPEN], int ends[LKI_MAX_OPEN]);

/* Elements [*first,*end) of slice `rank` of bucket number `bucket` that spans [a,b), cut at multiples of `tile`. Left
 * over tiles go to other ranks in each bucket, so that many small buckets do not all fall to the same. */
void lki_slice(int64_t a, int64_t b, int64_t tile, int bucket, int nranks, int rank, int64_t *first, int64_t *end);

/* A node written out as sums of operands. Operands 0 .. n_operands-1 are vectors of the caller; those behind are blocks
 * of scratch that hold what is between. */
typedef struct lki_step {
    lk_sum_form form;
    int dst, src[4];
} lki_step;

typedef struct lki_sum {
    int n_operands, n_scratch, n_steps;
    lki_step *step;
} lki_sum;

/* Writes node [a,b) as sums into operand `out`. operand(arg, a, b) says which operand holds node [a,b), or -1 when it
 * must be summed. When the node itself is an operand there is nothing to do (n_steps 0), and it must be `out`. */
LK_MUST_USE lk_status lki_sum_init(
    lki_sum *s, int a, int b, int n_operands, int out, int (*operand)(const void *arg, int a, int b), const void *arg);
void lki_sum_fini(lki_sum *s);
/* Sums go through memory in blocks of this many bytes: on the host what is between two of them stays in the first
 * cache; elsewhere a block is so long that starting its sums is little of the work. */
int64_t lki_sum_block(const lk_space *space);
/* Computes elements [0,n) of the sum in `space`, where operands and scratch are: n_scratch blocks of `block` bytes, at
 * most lki_sum_block of them. Type F32, or F64 on the host. `out` may be one of the operands that are read. Each
 * element by itself: the same bits whatever n, block, alignment, vector width and space. Queued where the space is not
 * the host. Errors: those of lk_space_sum; none on the host. */
LK_MUST_USE lk_status lki_sum_run(const lki_sum *s, const lk_space *space, lk_comm_type type, int64_t n,
    char *const *operand, char *scratch, int64_t block);

#endif
