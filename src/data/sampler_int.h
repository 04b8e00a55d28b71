/* Inside src/data: the sample order row after row without making its keys anew, and the blocks that a lane is about to
 * need. */
#ifndef LK_DATA_SAMPLER_INT_H
#define LK_DATA_SAMPLER_INT_H

#include "base/rng.h"
#include "data/sampler.h"

/* The keys of an epoch, and of the window that was asked for last. */
typedef struct lki_row_reader {
    const lk_sampler *s;
    int64_t epoch;
    lk_rng blocks, pool, window;
    int64_t window_of;
} lki_row_reader;

lki_row_reader lki_sampler_rows(const lk_sampler *s, int64_t epoch);
int64_t lki_sampler_row(lki_row_reader *r, int64_t step, int lane, int64_t row); /* as lk_sampler_at */

/* Block j in [0, window) of a lane's window `group`; block j in [0, pool blocks) of the pool, the short last one
 * included. */
int64_t lki_sampler_window_block(const lk_sampler *s, int64_t epoch, int lane, int64_t group, int64_t j);
int64_t lki_sampler_pool_blocks(const lk_sampler *s);
int64_t lki_sampler_pool_block(const lk_sampler *s, int64_t epoch, int64_t j);

#endif
