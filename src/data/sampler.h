/* The order of samples as a pure function: (epoch, step, microbatch, row) -> sample id, in O(1), no state. It knows M
 * and the batch, never the ranks.
 *
 * Shuffled: the n samples are cut into blocks of `block` consecutive ones. Full blocks are permuted by (seed, epoch)
 * and dealt out, `window` blocks at a time, to the M microbatch lanes; each lane draws its window of window*block
 * samples in a permuted order. So a rank that runs some of the lanes reads only their blocks. What does not fill a
 * window for all lanes (blocks left over and the short last block) is one pool, permuted as a whole and dealt row by
 * row round the lanes: so the microbatches of the last, short step differ by at most one sample.
 * That is all of a dataset that is smaller than window * block * M.
 *
 * Sequential (evaluation): sample = step * batch + row * M + microbatch, so that a short step is even too.
 *
 * Streams (state that is carried from step to step): the samples are cut into one run of steps = n / batch consecutive
 * samples for each row of each lane, and step s takes the s-th of each: sample = (microbatch * rows + row) * steps + s.
 * Every step is full; the n % batch samples at the end are left out, of every epoch the same ones. */
#ifndef LK_DATA_SAMPLER_H
#define LK_DATA_SAMPLER_H

#include "base/status.h"

typedef enum lk_order { LK_ORDER_SHUFFLED, LK_ORDER_SEQUENTIAL, LK_ORDER_STREAMS } lk_order;
#define LK_ORDER_CHOICES "shuffled|sequential|streams"

typedef struct lk_sampler {
    uint64_t seed;
    lk_order order;
    int64_t samples; /* n of the dataset */
    int64_t rows; /* of a microbatch; batch = rows * lanes */
    int lanes; /* M */
    int64_t block; /* samples of a block */
    int64_t window; /* blocks a lane mixes at a time */
    /* derived by lk_sampler_init */
    int64_t steps; /* of an epoch: ceil(n / batch); streams: floor */
    int64_t used; /* samples of an epoch: n, or with streams steps * batch */
    int64_t full_blocks; /* blocks of `block` samples */
    int64_t groups; /* times that all lanes draw a window */
    int64_t pool_first, pool; /* samples drawn through windows; samples left to the pool */
} lk_sampler;

/* Fills the derived members. Errors: LK_E_ARG, also for fewer samples than streams. */
LK_MUST_USE lk_status lk_sampler_init(lk_sampler *s);
/* Sample id of a row (step in [0,steps), lane in [0,lanes), row in [0,rows)), or -1 where the row is padding; padding
 * rows come last in their microbatch. Permutations are lk_rng_permute with the keys of (seed, LK_RNG_ORDER, XXH3-64 of
 * {epoch, kind, index} as little-endian 64-bit words); kind and index: 1, 0 for the blocks; 2, group * lanes + lane for
 * a window; 3, 0 for the pool. */
int64_t lk_sampler_at(const lk_sampler *s, int64_t epoch, int64_t step, int lane, int64_t row);
/* Valid rows of a microbatch; and of a whole step. */
int64_t lk_sampler_valid(const lk_sampler *s, int64_t step, int lane);
int64_t lk_sampler_step_samples(const lk_sampler *s, int64_t step);

#endif
