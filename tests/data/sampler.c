#include "base/support.h"

#include "data/sampler.h"

#include <stdlib.h>

static lk_sampler make(lk_order order, int64_t n, int64_t rows, int lanes, int64_t block, int64_t window)
{
    lk_sampler s = {
        .seed = 7, .order = order, .samples = n, .rows = rows, .lanes = lanes, .block = block, .window = window};

    EXPECT_OK(lk_sampler_init(&s));
    return s;
}

static const struct {
    int64_t n, rows;
    int lanes;
    int64_t block, window;
} shapes[] = {
    {1, 1, 1, 1, 1},
    {1, 4, 8, 16, 4},
    {7, 1, 1, 2, 1},
    {100, 8, 8, 256, 16},
    {1000, 4, 1, 10, 3},
    {1000, 4, 8, 10, 3},
    {1000, 3, 5, 7, 2},
    {1437, 8, 8, 16, 4},
    {4096, 8, 8, 16, 4},
    {4097, 8, 8, 16, 4},
    {4095, 8, 8, 16, 4},
    {10000, 16, 4, 64, 8},
    {10000, 7, 3, 1, 1},
    {10000, 7, 3, 1, 100},
    {12345, 1, 16, 33, 5},
    {640, 10, 8, 10, 8},
    {641, 10, 8, 10, 8},
    {64, 64, 64, 1, 1},
    {3000, 1, 1, 1000, 1},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

#define NAME_SHAPE "n %ld, rows %ld, lanes %d, block %ld, window %ld"
#define SHAPE_OF(s) (long)(s).samples, (long)(s).rows, (s).lanes, (long)(s).block, (long)(s).window

Test(sampler, each_sample_once_and_padding_last)
{
    for (int order = LK_ORDER_SHUFFLED; order <= LK_ORDER_STREAMS; order++) {
        for (int k = 0; k < N_SHAPES; k++) {
            if (order == LK_ORDER_STREAMS && shapes[k].n < shapes[k].rows * shapes[k].lanes)
                continue;
            const lk_sampler s =
                make((lk_order)order, shapes[k].n, shapes[k].rows, shapes[k].lanes, shapes[k].block, shapes[k].window);
            const int64_t batch = s.rows * s.lanes;
            const bool streams = order == LK_ORDER_STREAMS; /* leave out what does not fill a step */
            cr_expect(s.steps == (s.samples + (streams ? 0 : batch - 1)) / batch);
            cr_expect(s.used == (streams ? s.samples - s.samples % batch : s.samples));
            for (int64_t epoch = 0; epoch < 3; epoch++) {
                char *seen = calloc((size_t)s.samples, 1);
                int64_t total = 0;
                for (int64_t step = 0; step < s.steps; step++) {
                    int64_t most = 0, least = s.rows, in_step = 0;
                    for (int lane = 0; lane < s.lanes; lane++) {
                        int64_t valid = 0;
                        for (int64_t row = 0; row < s.rows; row++) {
                            const int64_t at = lk_sampler_at(&s, epoch, step, lane, row);
                            if (at < 0)
                                continue;
                            cr_assert(at < s.samples && !seen[at],
                                NAME_SHAPE ": sample %ld is out of range or came twice", SHAPE_OF(s), (long)at);
                            cr_assert(valid == row, NAME_SHAPE ": row %ld after padding", SHAPE_OF(s), (long)row);
                            seen[at] = 1;
                            valid++;
                        }
                        cr_assert(valid == lk_sampler_valid(&s, step, lane), NAME_SHAPE ": step %ld lane %d: valid %ld",
                            SHAPE_OF(s), (long)step, lane, (long)valid);
                        most = valid > most ? valid : most;
                        least = valid < least ? valid : least;
                        in_step += valid;
                    }
                    cr_assert(most - least <= 1, NAME_SHAPE ": step %ld: lanes have %ld to %ld", SHAPE_OF(s),
                        (long)step, (long)least, (long)most);
                    cr_assert((step == s.steps - 1 && !streams) || in_step == batch, NAME_SHAPE ": step %ld is short",
                        SHAPE_OF(s), (long)step);
                    cr_assert(in_step == lk_sampler_step_samples(&s, step));
                    total += in_step;
                }
                cr_assert(total == s.used);
                free(seen);
            }
        }
    }
}

Test(sampler, sequence_is_the_stored_order)
{
    const lk_sampler s = make(LK_ORDER_SEQUENTIAL, 103, 4, 3, 16, 2);

    for (int64_t step = 0; step < s.steps; step++)
        for (int lane = 0; lane < 3; lane++)
            for (int64_t row = 0; row < 4; row++) {
                const int64_t want = step * 12 + row * 3 + lane;
                cr_expect(lk_sampler_at(&s, 5, step, lane, row) == (want < 103 ? want : -1));
            }
}

Test(sampler, streams_go_on_from_step_to_step)
{
    const lk_sampler s = make(LK_ORDER_STREAMS, 103, 4, 3, 16, 2);

    cr_assert(s.steps == 8 && s.used == 96);
    for (int64_t step = 0; step < s.steps; step++)
        for (int lane = 0; lane < 3; lane++)
            for (int64_t row = 0; row < 4; row++) {
                const int64_t sample = lk_sampler_at(&s, 5, step, lane, row);
                cr_expect(sample == (4 * lane + row) * 8 + step);
                cr_expect(step == 0 || sample == lk_sampler_at(&s, 5, step - 1, lane, row) + 1);
            }
}

Test(sampler, epochs_and_seeds_differ)
{
    lk_sampler s = make(LK_ORDER_SHUFFLED, 4096, 8, 8, 16, 4);
    int same_epoch = 0, same_seed = 0, in_place = 0;

    for (int64_t step = 0; step < s.steps; step++)
        for (int lane = 0; lane < s.lanes; lane++)
            for (int64_t row = 0; row < s.rows; row++) {
                const int64_t a = lk_sampler_at(&s, 0, step, lane, row);
                s.seed = 8;
                same_seed += lk_sampler_at(&s, 0, step, lane, row) == a;
                s.seed = 7;
                same_epoch += lk_sampler_at(&s, 1, step, lane, row) == a;
                in_place += a == (step * 8 + row) * 8 + lane;
            }
    /* Two random orders of 4096 agree in one place on average: more than 9 has probability 1e-7. */
    cr_expect(same_epoch < 10);
    cr_expect(same_seed < 10);
    cr_expect(in_place < 10);
}

/* The order is a promise: same seed, same samples, on every machine and in every version. */
Test(sampler, order_is_pinned)
{
    const lk_sampler s = make(LK_ORDER_SHUFFLED, 1000, 4, 4, 16, 4);
    static const int64_t window_rows[] = {52, 57, 61, 531, 271, 528, 264, 536};
    static const int64_t pool_rows[] = {487, 505, 599, 592, 924, 68, 586, 584};

    for (int64_t i = 0; i < 8; i++) {
        cr_expect(lk_sampler_at(&s, 3, i / 4, 1, i % 4) == window_rows[i], "row %ld is %ld", (long)i,
            (long)lk_sampler_at(&s, 3, i / 4, 1, i % 4));
        cr_expect(lk_sampler_at(&s, 3, 60 + i / 4, 2, i % 4) == pool_rows[i], "pool row %ld is %ld", (long)i,
            (long)lk_sampler_at(&s, 3, 60 + i / 4, 2, i % 4));
    }
}

Test(sampler, a_window_reads_only_its_blocks)
{
    const lk_sampler s = make(LK_ORDER_SHUFFLED, 100000, 16, 8, 50, 10);
    enum { BLOCKS = 2000 };
    static int owner[BLOCKS];

    cr_assert(s.groups == 25);
    cr_assert(s.pool_first == 100000);
    for (int64_t group = 0; group < s.groups; group++) {
        for (int lane = 0; lane < s.lanes; lane++) {
            int blocks = 0;
            for (int64_t place = group * 500; place < (group + 1) * 500; place++) {
                const int64_t block = lk_sampler_at(&s, 2, place / s.rows, lane, place % s.rows) / s.block;
                const int mine = (int)(group * s.lanes + lane) + 1;
                cr_assert(owner[block] == 0 || owner[block] == mine, "block %ld is read by windows %d and %d",
                    (long)block, owner[block], mine);
                blocks += owner[block] == 0;
                owner[block] = mine;
            }
            cr_assert(blocks == 10);
        }
    }
}

Test(sampler, any_position_of_a_huge_dataset)
{
    const int64_t n = INT64_C(1) << 60;
    const lk_sampler s = make(LK_ORDER_SHUFFLED, n, 1024, 4096, 4096, 64);
    const int64_t a = lk_sampler_at(&s, 0, s.steps - 1, 4095, 0), b = lk_sampler_at(&s, 0, s.steps / 2, 17, 1023);

    cr_expect(a >= 0 && a < n && b >= 0 && b < n && a != b);
}

Test(sampler, refusals)
{
    lk_sampler s = {.samples = 0, .rows = 1, .lanes = 1, .block = 1, .window = 1};

    EXPECT_FAIL(lk_sampler_init(&s), LK_E_ARG, "sample order over 0 samples");
    s.samples = 10;
    s.rows = 0;
    EXPECT_FAIL(lk_sampler_init(&s), LK_E_ARG, "sample order: 1 microbatches of 0 rows");
    s.rows = 1;
    s.window = 0;
    EXPECT_FAIL(lk_sampler_init(&s), LK_E_ARG, "sample order: blocks of 1 samples in windows of 0");
    s.window = INT64_MAX;
    s.block = INT64_MAX;
    s.order = LK_ORDER_SHUFFLED;
    EXPECT_OK(lk_sampler_init(&s)); /* nothing fills such a window: all is pool */
    cr_expect(s.groups == 0);
    s.order = LK_ORDER_STREAMS;
    s.rows = 11;
    EXPECT_FAIL(lk_sampler_init(&s), LK_E_ARG, "sample order: 10 samples cannot be cut into 11 streams");
    s.rows = INT64_MAX;
    EXPECT_FAIL(lk_sampler_init(&s), LK_E_ARG,
        "sample order: 10 samples in batches of 1 times 9223372036854775807 are too many");
}
