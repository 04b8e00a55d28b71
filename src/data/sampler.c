#include "data/sampler_int.h"
#include "base/hash.h"
#include "base/rng.h"

#include <inttypes.h>

typedef enum order_kind {
    ORDER_BLOCKS = 1,
    ORDER_WINDOW = 2,
    ORDER_POOL = 3
} order_kind; /* numbers are part of the promise */

/* The permutation of (seed, epoch, kind, index). */
static lk_rng order(const lk_sampler *s, int64_t epoch, order_kind kind, int64_t index)
{
    const uint64_t words[3] = {(uint64_t)epoch, (uint64_t)kind, (uint64_t)index};
    unsigned char bytes[sizeof words]; /* little-endian, as in lk_rng_make */

    for (int i = 0; i < 24; i++)
        bytes[i] = (unsigned char)(words[i / 8] >> (8 * (i % 8)));
    return lk_rng_make(s->seed, LK_RNG_ORDER, lk_hash64(bytes, sizeof bytes));
}

lk_status lk_sampler_init(lk_sampler *s)
{
    int64_t batch, most;

    if (s->samples < 1)
        return LK_FAIL(LK_E_ARG, "sample order over %" PRId64 " samples", s->samples);
    if (s->rows < 1 || s->lanes < 1)
        return LK_FAIL(LK_E_ARG, "sample order: %d microbatches of %" PRId64 " rows", s->lanes, s->rows);
    if (s->block < 1 || s->window < 1)
        return LK_FAIL(
            LK_E_ARG, "sample order: blocks of %" PRId64 " samples in windows of %" PRId64, s->block, s->window);
    /* Positions up to a step beyond the last sample are formed. */
    if (__builtin_mul_overflow(s->rows, (int64_t)s->lanes, &batch) ||
        __builtin_add_overflow(s->samples, batch, &most) || most > INT64_MAX / 2)
        return LK_FAIL(LK_E_ARG, "sample order: %" PRId64 " samples in batches of %d times %" PRId64 " are too many",
            s->samples, s->lanes, s->rows);

    int64_t group_blocks, window_samples;
    const bool huge = __builtin_mul_overflow(s->window, (int64_t)s->lanes, &group_blocks) ||
                      __builtin_mul_overflow(s->window, s->block, &window_samples);
    if (s->order == LK_ORDER_STREAMS && s->samples < batch)
        return LK_FAIL(
            LK_E_ARG, "sample order: %" PRId64 " samples cannot be cut into %" PRId64 " streams", s->samples, batch);
    s->steps = s->order == LK_ORDER_STREAMS ? s->samples / batch : (s->samples + batch - 1) / batch;
    s->used = s->order == LK_ORDER_STREAMS ? s->steps * batch : s->samples;
    s->full_blocks = s->samples / s->block;
    s->groups = s->order != LK_ORDER_SHUFFLED || huge ? 0 : s->full_blocks / group_blocks;
    s->pool_first = s->groups > 0 ? s->groups * group_blocks * s->block : 0;
    s->pool = s->order == LK_ORDER_SHUFFLED ? s->samples - s->pool_first : 0;
    return LK_OK;
}

int64_t lki_sampler_window_block(const lk_sampler *s, int64_t epoch, int lane, int64_t group, int64_t j)
{
    return lk_rng_permute(order(s, epoch, ORDER_BLOCKS, 0), s->full_blocks, (group * s->lanes + lane) * s->window + j);
}

int64_t lki_sampler_pool_blocks(const lk_sampler *s)
{
    return (s->pool + s->block - 1) / s->block;
}

int64_t lki_sampler_pool_block(const lk_sampler *s, int64_t epoch, int64_t j)
{
    const int64_t at = s->pool_first / s->block + j;

    return at < s->full_blocks ? lk_rng_permute(order(s, epoch, ORDER_BLOCKS, 0), s->full_blocks, at) : s->full_blocks;
}

lki_row_reader lki_sampler_rows(const lk_sampler *s, int64_t epoch)
{
    lki_row_reader r = {.s = s, .epoch = epoch, .window_of = -1};

    if (s->order == LK_ORDER_SHUFFLED) {
        r.blocks = order(s, epoch, ORDER_BLOCKS, 0);
        r.pool = order(s, epoch, ORDER_POOL, 0);
    }
    return r;
}

int64_t lki_sampler_row(lki_row_reader *r, int64_t step, int lane, int64_t row)
{
    const lk_sampler *s = r->s;

    if (s->order == LK_ORDER_STREAMS)
        return (lane * s->rows + row) * s->steps + step;
    if (s->order == LK_ORDER_SEQUENTIAL) {
        const int64_t sample = (step * s->rows + row) * s->lanes + lane;
        return sample < s->samples ? sample : -1;
    }
    const int64_t place = step * s->rows + row; /* in the lane */
    const int64_t window_samples = s->groups > 0 ? s->window * s->block : 1;
    if (place < s->groups * window_samples) {
        const int64_t group = place / window_samples;
        const int64_t window = group * s->lanes + lane;
        if (r->window_of != window) {
            r->window = order(s, r->epoch, ORDER_WINDOW, window);
            r->window_of = window;
        }
        const int64_t x = lk_rng_permute(r->window, window_samples, place % window_samples);
        const int64_t block = lk_rng_permute(r->blocks, s->full_blocks, window * s->window + x / s->block);
        return block * s->block + x % s->block;
    }
    const int64_t dealt = (place - s->groups * window_samples) * s->lanes + lane;
    if (dealt >= s->pool)
        return -1;
    const int64_t x = s->pool_first + lk_rng_permute(r->pool, s->pool, dealt);
    if (x / s->block >= s->full_blocks)
        return x; /* the short last block is where it is */
    return lk_rng_permute(r->blocks, s->full_blocks, x / s->block) * s->block + x % s->block;
}

int64_t lk_sampler_at(const lk_sampler *s, int64_t epoch, int64_t step, int lane, int64_t row)
{
    lki_row_reader r = lki_sampler_rows(s, epoch);

    return lki_sampler_row(&r, step, lane, row);
}

/* Rows of a lane in an epoch: windows are alike for all lanes, and what is dealt round gives the first lanes one more.
 * In sequence all is dealt round, and so is what streams
 * leave over of the epoch: nothing. */
static int64_t lane_rows(const lk_sampler *s, int lane)
{
    const int64_t dealt = s->used - s->pool_first;
    const int64_t windows = s->pool_first / s->lanes;

    return windows + (dealt > lane ? (dealt - lane - 1) / s->lanes + 1 : 0);
}

int64_t lk_sampler_valid(const lk_sampler *s, int64_t step, int lane)
{
    const int64_t left = lane_rows(s, lane) - step * s->rows;

    return left < 0 ? 0 : left < s->rows ? left : s->rows;
}

int64_t lk_sampler_step_samples(const lk_sampler *s, int64_t step)
{
    const int64_t batch = s->rows * s->lanes;
    const int64_t left = s->used - step * batch;

    return left < 0 ? 0 : left < batch ? left : batch;
}
