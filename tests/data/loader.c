#include "files.h"

#include "base/thread.h"
#include "data/loader.h"
#include "data/synthetic.h"

#include <math.h>

TestSuite(loader, .init = make_dir, .fini = remove_dir);

static lk_sampler make_sampler(
    const lk_dataset *d, lk_order order, int64_t rows, int lanes, int64_t block, int64_t window)
{
    lk_sampler s = {.seed = 3,
        .order = order,
        .samples = lk_dataset_samples(d),
        .rows = rows,
        .lanes = lanes,
        .block = block,
        .window = window};

    EXPECT_OK(lk_sampler_init(&s));
    return s;
}

static lk_loader_opts options(lk_dataset *d, lk_sampler s)
{
    return (lk_loader_opts){.data = d,
        .sampler = s,
        .field = {{.field = 0, .as = LK_AS_REAL, .convert = {.scale = 1}}, {.field = 1, .as = LK_AS_ID}},
        .n_fields = 2,
        .first_lane = 0,
        .n_lanes = s.lanes,
        .end_epoch = -1,
        .readers = 2,
        .prefetch = 3};
}

static lk_dataset *open_dir(void)
{
    const char *fields[] = {"input", "label"};
    char *item[] = {(char *)"*.h5"};
    lk_dataset *d = NULL;

    EXPECT_OK(lk_dataset_open(&(lk_strings){item, 1}, dir, fields, 2, &d));
    return d;
}

/* Shards of 400, 3, 257 and 340 samples, see write_shard. */
static lk_dataset *open_thousand(void)
{
    write_shard("a.h5", 0, 400);
    write_shard("b.h5", 400, 3);
    write_shard("c.h5", 403, 257);
    write_shard("d.h5", 660, 340);
    return open_dir();
}

static const float *reals(const lk_lane_batch *b, int i)
{
    return b->field[i];
}

static const int64_t *ids(const lk_lane_batch *b, int i)
{
    return b->field[i];
}

static void check_lane(const lk_loader_opts *o, const lk_batch *b, int lane)
{
    const lk_sampler *s = &o->sampler;
    const lk_lane_batch *x = &b->lane[lane];

    cr_assert(x->valid == lk_sampler_valid(s, b->step, o->first_lane + lane));
    for (int64_t row = 0; row < s->rows; row++) {
        const int64_t at = lk_sampler_at(s, b->epoch, b->step, o->first_lane + lane, row);
        cr_assert(x->sample[row] == (at < 0 ? 0 : at));
        cr_assert(ids(x, 1)[row] == (at < 0 ? 0 : at));
        for (int k = 0; k < 3; k++)
            cr_assert(reals(x, 0)[3 * row + k] == (at < 0 ? 0.0f : (float)(uint8_t)(at + k)));
    }
}

/* Runs to the end or for so many steps; returns the steps seen. */
static int64_t check_run(const lk_loader_opts *o, int64_t limit)
{
    lk_loader *l = NULL;
    int64_t i = 0;

    EXPECT_OK(lk_loader_create(o, &l));
    cr_assert(l != NULL);
    for (;; i++) {
        const lk_batch *b = NULL;
        if (i == limit)
            break;
        EXPECT_OK(lk_loader_map(l, &b));
        if (b == NULL)
            break;
        cr_assert(b->epoch == o->epoch + (o->step + i) / o->sampler.steps);
        cr_assert(b->step == (o->step + i) % o->sampler.steps);
        cr_assert(b->samples == lk_sampler_step_samples(&o->sampler, b->step));
        for (int lane = 0; lane < o->n_lanes; lane++)
            check_lane(o, b, lane);
        lk_loader_unmap(l, &b);
        cr_assert(b == NULL);
    }
    int64_t predicted = 0;
    EXPECT_OK(lk_loader_predict(o, &predicted));
    cr_expect(lk_loader_bytes(l) == predicted, "%ld, predicted %ld", (long)lk_loader_bytes(l), (long)predicted);
    lk_loader_destroy(&l);
    cr_assert(l == NULL);
    return i;
}

Test(loader, every_order_delivers_what_the_sampler_says)
{
    lk_dataset *d = open_thousand();
    static const struct {
        int64_t rows;
        int lanes;
        int64_t block, window;
    } shapes[] = {{8, 8, 16, 4}, {8, 4, 8, 2}, {7, 3, 10, 1}, {1, 1, 1, 1}, {64, 2, 256, 16}, {5, 8, 33, 3}};

    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        for (int order = LK_ORDER_SHUFFLED; order <= LK_ORDER_STREAMS; order++) {
            for (int readers = 1; readers <= 4; readers += 3) {
                lk_loader_opts o = options(d, make_sampler(d, (lk_order)order, shapes[k].rows, shapes[k].lanes,
                                                  shapes[k].block, shapes[k].window));
                o.readers = readers;
                o.prefetch = 1 + (int)k % 3;
                o.end_epoch = shapes[k].rows == 1 ? 1 : 3;
                cr_expect(check_run(&o, -1) == o.end_epoch * o.sampler.steps);
            }
        }
    }
    lk_dataset_close(&d);
}

Test(loader, some_lanes_from_a_cursor_in_the_middle)
{
    lk_dataset *d = open_thousand();
    lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 8, 8, 16, 4));

    o.first_lane = 3;
    o.n_lanes = 2;
    o.epoch = 7;
    o.step = 11;
    cr_expect(check_run(&o, 50) == 50); /* goes on through epochs */
    o.end_epoch = 8;
    cr_expect(check_run(&o, -1) == o.sampler.steps - 11);
    o.step = o.sampler.steps; /* the end of an epoch is the start of the next */
    cr_expect(check_run(&o, -1) == 0);
    o.end_epoch = 9;
    cr_expect(check_run(&o, -1) == o.sampler.steps);
    o.end_epoch = 3;
    cr_expect(check_run(&o, -1) == 0);
    lk_dataset_close(&d);
}

Test(loader, conversions_are_rounded_once)
{
    static const uint8_t bytes[2 * 3 * 4] = {
        0, 1, 2, 3, 100, 101, 102, 103, 255, 254, 253, 252, 7, 77, 177, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    const int64_t dim[4] = {2, 3, 2, 2};
    lk_dataset *d = NULL;
    lk_loader *l = NULL;
    const lk_batch *b = NULL;
    char *item[] = {(char *)"c.h5"};
    hid_t file = -1;

    for (int type = LK_ELEM_U8; type <= LK_ELEM_F64; type++) {
        union {
            uint8_t u8[24];
            int8_t i8[24];
            int16_t i16[24];
            uint16_t u16[24];
            int32_t i32[24];
            uint32_t u32[24];
            int64_t i64[24];
            float f32[24];
            double f64[24];
        } v;
        double want[24];
        for (int i = 0; i < 24; i++) {
            switch ((lk_elem)type) {
            case LK_ELEM_U8:
                want[i] = v.u8[i] = bytes[i];
                break;
            case LK_ELEM_I8:
                want[i] = v.i8[i] = (int8_t)bytes[i];
                break;
            case LK_ELEM_I16:
                want[i] = v.i16[i] = (int16_t)(-bytes[i] * 100);
                break;
            case LK_ELEM_U16:
                want[i] = v.u16[i] = (uint16_t)(bytes[i] * 257);
                break;
            case LK_ELEM_I32:
                want[i] = v.i32[i] = -bytes[i] * 1000000;
                break;
            case LK_ELEM_U32:
                want[i] = v.u32[i] = bytes[i] * 16000000u;
                break;
            case LK_ELEM_I64:
                want[i] = (double)(v.i64[i] = -bytes[i] * INT64_C(1000000000000));
                break;
            case LK_ELEM_F32:
                want[i] = v.f32[i] = (float)bytes[i] * 0.1f;
                break;
            case LK_ELEM_F64:
                want[i] = v.f64[i] = bytes[i] * 0.1;
                break;
            }
        }
        EXPECT_OK(lk_h5_create(at("c.h5"), &file));
        add_field(file, "x", (lk_elem)type, 4, dim, &v);
        EXPECT_OK(lk_h5_close(&file, "c.h5"));
        EXPECT_OK(lk_dataset_open(&(lk_strings){item, 1}, dir, (const char *[]){"x"}, 1, &d));
        for (int n_norm = 0; n_norm <= 3; n_norm++) {
            lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SEQUENTIAL, 2, 1, 1, 1));
            o.field[0].convert = (lk_convert){.scale = n_norm == 0 ? 1 : 1.0 / 255,
                .mean = n_norm == 0 ? NULL : mean,
                .std = n_norm == 0 ? NULL : std,
                .n_norm = n_norm};
            o.field[1] = o.field[0];
            if (n_norm == 2) {
                EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_SHAPE,
                    "field \"x\": 2 means for samples of rank 3 with 3 in their first dimension; one mean, or one a "
                    "channel of [channels,height,width]");
                continue;
            }
            EXPECT_OK(lk_loader_create(&o, &l));
            EXPECT_OK(lk_loader_map(l, &b));
            cr_expect(b->lane[0].field[1] == b->lane[0].field[0]); /* the input is the target */
            for (int i = 0; i < 24; i++) {
                const int c = n_norm == 3 ? i / 4 % 3 : 0;
                const float y = n_norm == 0 ? (float)want[i] : (float)((want[i] * (1.0 / 255) - mean[c]) / std[c]);
                cr_expect(memcmp(&reals(&b->lane[0], 0)[i], &y, sizeof y) == 0,
                    "type %s, %d means, value %d: %a, not %a", lk_elem_name((lk_elem)type), n_norm, i,
                    (double)reals(&b->lane[0], 0)[i], (double)y);
            }
            lk_loader_unmap(l, &b);
            lk_loader_destroy(&l);
        }
        lk_dataset_close(&d);
    }
}

/* A mean for each place in the last dimension, whatever the type. */
Test(loader, conversions_by_the_last_dimension)
{
    static const double mean[3] = {10, 20, 30}, std[3] = {1, 2, 4};
    lk_dataset *d = open_thousand();
    lk_loader *l = NULL;
    const lk_batch *b = NULL;
    lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SEQUENTIAL, 8, 1, 1, 1));

    o.field[0].convert = (lk_convert){.scale = 0.5, .mean = mean, .std = std, .n_norm = 3, .last = true};
    EXPECT_OK(lk_loader_create(&o, &l));
    EXPECT_OK(lk_loader_map(l, &b));
    for (int i = 0; i < 24; i++)
        cr_expect(reals(&b->lane[0], 0)[i] == (float)((0.5 * (i / 3 + i % 3) - mean[i % 3]) / std[i % 3]));
    lk_loader_unmap(l, &b);
    lk_loader_destroy(&l);
    o.field[0].convert.n_norm = 2;
    EXPECT_FAIL(
        lk_loader_create(&o, &l), LK_E_SHAPE, "field \"input\": 2 means for samples with 3 in their last dimension");
    lk_dataset_close(&d);
}

Test(loader, float_targets_have_their_own_conversion)
{
    lk_dataset *d = NULL;
    lk_loader *l = NULL;
    const lk_batch *b = NULL;
    static const double mean[] = {2}, std[] = {4};

    write_shard("a.h5", 0, 5);
    d = open_dir();
    lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SEQUENTIAL, 4, 2, 1, 1));
    o.field[1] = (lk_loader_field){
        .field = 1, .as = LK_AS_REAL, .convert = {.scale = 0.5, .mean = mean, .std = std, .n_norm = 1}};
    EXPECT_OK(lk_loader_create(&o, &l));
    EXPECT_OK(lk_loader_map(l, &b));
    const float *y = reals(&b->lane[1], 1);
    cr_expect(b->lane[1].valid == 2); /* samples 1 and 3 */
    cr_expect(y[0] == (0.5f - 2) / 4 && y[1] == (1.5f - 2) / 4 && y[2] == 0 && y[3] == 0);
    lk_loader_unmap(l, &b);
    lk_loader_destroy(&l);
    lk_dataset_close(&d);
}

/* Fields of any number, in any order, as reals or ids; a field that comes twice with the same values is filled once. */
Test(loader, fields_as_they_are_asked_for)
{
    lk_dataset *d = open_thousand();
    static const double mean[] = {1};

    for (int readers = 1; readers <= 3; readers += 2) {
        lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 8, 4, 8, 2));
        lk_loader *l = NULL;
        o.readers = readers;
        o.n_fields = 7;
        o.field[0] = (lk_loader_field){.field = 1, .as = LK_AS_REAL, .convert = {.scale = 2}};
        o.field[1] = (lk_loader_field){.field = 0, .as = LK_AS_ID};
        o.field[2] = (lk_loader_field){.field = 1, .as = LK_AS_ID};
        o.field[3] = (lk_loader_field){.field = 0, .as = LK_AS_REAL, .convert = {.scale = 1}};
        o.field[4] = o.field[1];
        o.field[5] =
            (lk_loader_field){.field = 0, .as = LK_AS_REAL, .convert = {.scale = 1, .mean = mean, .n_norm = 1}};
        o.field[6] = o.field[5];
        EXPECT_OK(lk_loader_create(&o, &l));
        for (int64_t step = 0; step < 2 * o.sampler.steps; step++) {
            const lk_batch *b = NULL;
            EXPECT_OK(lk_loader_map(l, &b));
            for (int lane = 0; lane < 4; lane++) {
                const lk_lane_batch *x = &b->lane[lane];
                cr_assert(x->field[4] == x->field[1] && x->field[6] == x->field[5] && x->field[7] == NULL);
                for (int64_t row = 0; row < 8; row++) {
                    const int64_t at = lk_sampler_at(&o.sampler, b->epoch, b->step, lane, row);
                    cr_assert(reals(x, 0)[row] == (at < 0 ? 0.0f : 2.0f * (float)at));
                    cr_assert(ids(x, 2)[row] == (at < 0 ? 0 : at));
                    for (int k = 0; k < 3; k++) {
                        const int64_t v = (at + k) % 256;
                        cr_assert(ids(x, 1)[3 * row + k] == (at < 0 ? 0 : v));
                        cr_assert(reals(x, 3)[3 * row + k] == (at < 0 ? 0.0f : (float)v));
                        cr_assert(reals(x, 5)[3 * row + k] == (at < 0 ? 0.0f : (float)v - 1));
                    }
                }
            }
            lk_loader_unmap(l, &b);
        }
        lk_loader_destroy(&l);
    }
    lk_dataset_close(&d);
}

/* Pictures float32 [h,w] of samples 0 to n-1, no two values alike, and class ids sample % 5. */
static lk_dataset *open_pictures(int64_t n, int64_t h, int64_t w)
{
    float *x = calloc((size_t)(n * h * w), sizeof *x);
    int64_t *label = calloc((size_t)n, sizeof *label);
    hid_t file = -1;

    for (int64_t i = 0; i < n * h * w; i++)
        x[i] = (float)(i + 1);
    for (int64_t i = 0; i < n; i++)
        label[i] = i % 5;
    EXPECT_OK(lk_h5_create(at("p.h5"), &file));
    add_field(file, "input", LK_ELEM_F32, 3, (int64_t[]){n, h, w}, x);
    add_field(file, "label", LK_ELEM_I64, 1, (int64_t[]){n}, label);
    EXPECT_OK(lk_h5_close(&file, "p.h5"));
    free(x);
    free(label);
    return open_dir();
}

static lk_augment *parse_augment(const char *text)
{
    lk_yaml *list = NULL;
    lk_augment *a = NULL;

    EXPECT_OK(lk_yaml_parse_text(text, "a.yaml", &list));
    EXPECT_OK(lk_augment_parse(list, &a));
    lk_yaml_destroy(&list);
    return a;
}

/* Field 0 is what lk_augment_run makes of each sample, whatever the number of readers; others are as stored. */
Test(loader, inputs_are_augmented_by_sample_and_epoch)
{
    enum { H = 6, W = 5, ROW = H * W };
    lk_augment *a = parse_augment("[flip, crop: 1, noise: 0.1, cutout: 2]");
    lk_dataset *d = open_pictures(70, H, W);
    const lk_field_info *f = lk_dataset_field(d, 0);
    float want[ROW], scratch[ROW];
    int changed = 0;

    for (int readers = 1; readers <= 4; readers += 3) {
        lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 4, 4, 8, 2));
        lk_loader *l = NULL;
        o.readers = readers;
        o.augment = a;
        o.n_fields = 3;
        o.field[2] = o.field[0];
        EXPECT_OK(lk_loader_create(&o, &l));
        const int64_t count = lk_mem_count();
        for (int64_t step = 0; step < 3 * o.sampler.steps; step++) {
            const lk_batch *b = NULL;
            EXPECT_OK(lk_loader_map(l, &b));
            for (int lane = 0; lane < 4; lane++) {
                const lk_lane_batch *x = &b->lane[lane];
                for (int64_t row = 0; row < x->valid; row++) {
                    for (int i = 0; i < ROW; i++)
                        want[i] = (float)(x->sample[row] * ROW + i + 1);
                    cr_assert(memcmp(reals(x, 2) + row * ROW, want, sizeof want) == 0);
                    changed += memcmp(reals(x, 0) + row * ROW, want, sizeof want) != 0;
                    lk_augment_run(a, f, o.sampler.seed, b->epoch, x->sample[row], want, scratch);
                    cr_assert(memcmp(reals(x, 0) + row * ROW, want, sizeof want) == 0);
                }
                for (int64_t i = x->valid * ROW; i < 4 * ROW; i++)
                    cr_assert(reals(x, 0)[i] == 0);
            }
            lk_loader_unmap(l, &b);
        }
        cr_expect(lk_mem_count() == count);
        lk_loader_destroy(&l);
    }
    cr_expect(changed == 2 * 3 * 70);
    lk_dataset_close(&d);
    lk_augment_destroy(&a);
}

/* The share of row `row` that is the sample's own, and its partner: from the values, which count through the samples.
 */
static double find_partner(const lk_lane_batch *x, int64_t row, int64_t *partner)
{
    for (int64_t other = 0; other < x->valid; other++) {
        const float *y = reals(x, 0) + row * 30;
        const double own = (double)(x->sample[row] * 30 + 1), with = (double)(x->sample[other] * 30 + 1);
        const double share = own == with ? 1 : ((double)y[0] - with) / (own - with);
        const float *soft = reals(x, 1) + row * 5;
        bool fits = share > -1e-6 && share < 1 + 1e-6;
        for (int i = 0; fits && i < 30; i++)
            fits = fabs((double)y[i] - (share * (own + i) + (1 - share) * (with + i))) < 1e-3;
        for (int k = 0; fits && k < 5; k++) {
            const double v = (k == x->sample[row] % 5 ? share : 0) + (k == x->sample[other] % 5 ? 1 - share : 0);
            fits = fabs((double)soft[k] - v) < 1e-4;
        }
        if (fits) {
            *partner = other;
            return share;
        }
    }
    cr_assert(false, "row %ld is no mixture of two rows", (long)row);
    return 0;
}

static lk_loader_opts mixed(lk_dataset *d, lk_mix mix, int readers)
{
    lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 8, 4, 8, 2));

    o.readers = readers;
    o.field[1] = (lk_loader_field){.field = 1, .as = LK_AS_REAL, .classes = 5};
    o.mix = mix;
    return o;
}

Test(loader, mixup_of_rows_and_their_classes)
{
    lk_dataset *d = open_pictures(400, 6, 5);
    double sum = 0, squares = 0;
    int n = 0, alone = 0;
    const lk_loader_opts o = mixed(d, (lk_mix){.mixup = 1}, 2);
    lk_loader *l = NULL;

    EXPECT_OK(lk_loader_create(&o, &l));
    for (int64_t step = 0; step < 4 * o.sampler.steps; step++) {
        const lk_batch *b = NULL;
        EXPECT_OK(lk_loader_map(l, &b));
        for (int lane = 0; lane < 4; lane++) {
            const lk_lane_batch *x = &b->lane[lane];
            for (int64_t row = 0; row < x->valid; row++) {
                int64_t partner = 0;
                const double share = find_partner(x, row, &partner);
                alone += share == 1;
                sum += share < 1 ? share : 0;
                squares += share < 1 ? share * share : 0;
                n += share < 1;
            }
        }
        lk_loader_unmap(l, &b);
    }
    /* Beta(1,1) is uniform: mean 1/2 and mean square 1/3, with deviations of 0.0077 and 0.008 for 1400. A permutation
     * of 8 leaves one row in place on average: 200 of 1600. */
    cr_expect(n > 1300 && fabs(sum / n - 0.5) < 0.035 && fabs(squares / n - 1.0 / 3) < 0.035, "%d %g %g", n, sum / n,
        squares / n);
    cr_expect(alone > 100 && alone < 300, "%d rows are not mixed", alone);
    lk_loader_destroy(&l);
    lk_dataset_close(&d);
}

/* A number from Beta(0.2, 0.2) is near 0 or 1 more often than not. */
Test(loader, alpha_shapes_the_shares)
{
    static const struct {
        double alpha, low, high; /* share of shares within 0.1 of an end: 0.673, 0.2 and 7e-5 by the density */
    } cases[] = {{0.2, 0.60, 0.74}, {1, 0.14, 0.26}, {8, 0, 0.003}};
    lk_dataset *d = open_pictures(400, 6, 5);

    for (int k = 0; k < 3; k++) {
        const lk_loader_opts o = mixed(d, (lk_mix){.mixup = cases[k].alpha}, 1);
        lk_loader *l = NULL;
        int n = 0, ends = 0;
        EXPECT_OK(lk_loader_create(&o, &l));
        for (int64_t step = 0; step < 3 * o.sampler.steps; step++) {
            const lk_batch *b = NULL;
            EXPECT_OK(lk_loader_map(l, &b));
            for (int lane = 0; lane < 4; lane++)
                for (int64_t row = 0; row < b->lane[lane].valid; row++) {
                    const float *soft = reals(&b->lane[lane], 1) + row * 5;
                    const float own = soft[b->lane[lane].sample[row] % 5];
                    if (own == 1)
                        continue; /* alone, or with one of its class */
                    n++;
                    ends += own < 0.1f || own > 0.9f;
                }
            lk_loader_unmap(l, &b);
        }
        const double part = (double)ends / n;
        cr_expect(
            n > 600 && part >= cases[k].low && part <= cases[k].high, "alpha %g: %g of %d", cases[k].alpha, part, n);
        lk_loader_destroy(&l);
    }
    lk_dataset_close(&d);
}

Test(loader, cutmix_pastes_a_box_and_counts_its_area)
{
    lk_dataset *d = open_pictures(400, 6, 5);
    const lk_loader_opts o = mixed(d, (lk_mix){.cutmix = 1}, 2);
    lk_loader *l = NULL;
    int pasted = 0;

    EXPECT_OK(lk_loader_create(&o, &l));
    for (int64_t step = 0; step < 2 * o.sampler.steps; step++) {
        const lk_batch *b = NULL;
        EXPECT_OK(lk_loader_map(l, &b));
        for (int lane = 0; lane < 4; lane++) {
            const lk_lane_batch *x = &b->lane[lane];
            for (int64_t row = 0; row < x->valid; row++) {
                const float *y = reals(x, 0) + row * 30, *soft = reals(x, 1) + row * 5;
                int64_t from = x->sample[row], box[4] = {6, 0, 5, 0};
                int count = 0;
                for (int i = 0; i < 30; i++) {
                    const int64_t sample = ((int64_t)y[i] - 1) / 30;
                    cr_assert((int64_t)y[i] == sample * 30 + i + 1); /* in its place */
                    if (sample == x->sample[row])
                        continue;
                    cr_assert(count == 0 || from == sample);
                    from = sample;
                    count++;
                    box[0] = i / 5 < box[0] ? i / 5 : box[0];
                    box[1] = i / 5 + 1 > box[1] ? i / 5 + 1 : box[1];
                    box[2] = i % 5 < box[2] ? i % 5 : box[2];
                    box[3] = i % 5 + 1 > box[3] ? i % 5 + 1 : box[3];
                }
                pasted += count > 0;
                cr_assert(count == 0 || count == (box[1] - box[0]) * (box[3] - box[2]));
                bool there = false;
                for (int64_t r = 0; r < x->valid; r++)
                    there = there || x->sample[r] == from;
                cr_assert(there);
                if (from % 5 != x->sample[row] % 5)
                    cr_assert(fabsf(soft[from % 5] - (float)count / 30) < 1e-6f &&
                              fabsf(soft[x->sample[row] % 5] - 1 + (float)count / 30) < 1e-6f);
            }
        }
        lk_loader_unmap(l, &b);
    }
    cr_expect(pasted > 500);
    lk_loader_destroy(&l);
    lk_dataset_close(&d);
}

/* Readers, and which lanes a rank has, change nothing; nor is anything allocated. */
Test(loader, mixtures_are_the_same_for_all)
{
    enum { STEPS = 20 };
    static float all[STEPS][4][8 * 35];
    lk_dataset *d = open_pictures(333, 6, 5);
    const lk_mix mix = {.mixup = 0.4, .cutmix = 1};

    for (int k = 0; k < 3; k++) {
        lk_loader_opts o = mixed(d, mix, k == 0 ? 1 : 4);
        lk_loader *l = NULL;
        if (k == 2) {
            o.first_lane = 2;
            o.n_lanes = 2;
        }
        EXPECT_OK(lk_loader_create(&o, &l));
        const int64_t count = lk_mem_count();
        for (int step = 0; step < STEPS; step++) {
            const lk_batch *b = NULL;
            EXPECT_OK(lk_loader_map(l, &b));
            for (int lane = 0; lane < o.n_lanes; lane++) {
                float *one = all[step][o.first_lane + lane];
                if (k == 0) {
                    memcpy(one, b->lane[lane].field[0], 240 * sizeof *one);
                    memcpy(one + 240, b->lane[lane].field[1], 40 * sizeof *one);
                }
                cr_assert(memcmp(one, b->lane[lane].field[0], 240 * sizeof *one) == 0);
                cr_assert(memcmp(one + 240, b->lane[lane].field[1], 40 * sizeof *one) == 0);
            }
            lk_loader_unmap(l, &b);
        }
        cr_expect(lk_mem_count() == count);
        lk_loader_destroy(&l);
    }
    lk_dataset_close(&d);
}

Test(loader, refusals_of_augmentation_and_classes)
{
    lk_dataset *d = open_thousand();
    lk_augment *a = parse_augment("[flip]");
    lk_loader *l = NULL;
    const lk_loader_opts good = options(d, make_sampler(d, LK_ORDER_SEQUENTIAL, 8, 4, 8, 2));
    lk_loader_opts o = good;
    const lk_batch *b = NULL;

    o.augment = a;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_CONFIG,
        "a.yaml:1:2: flip: field \"input\" has samples [3]: pictures [C,H,W] or [H,W] are needed");
    o.field[0].as = LK_AS_ID;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "loader: augmentation and mixing of ids");
    o = good;
    o.mix.cutmix = 1;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_CONFIG,
        "data.mix.cutmix: field \"input\" has samples of rank 1; pictures [C,H,W] or [H,W] are needed");
    o = good;
    o.field[1].classes = 5;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "loader: field \"label\" as 5 classes");
    o.field[1] = (lk_loader_field){.field = 0, .as = LK_AS_REAL, .classes = 5};
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_DATA,
        "field \"input\" has 3 numbers a sample, of type uint8: a class is one whole number");
    o.field[1].field = 1;
    EXPECT_OK(lk_loader_create(&o, &l));
    EXPECT_FAIL(lk_loader_map(l, &b), LK_E_DATA, "field \"label\": class 8, but there are 5 (0 to 4)");
    lk_loader_destroy(&l);
    lk_augment_destroy(&a);
    lk_dataset_close(&d);
}

/* Larger than what is kept in memory: windows come and go, and the pool is read sample by sample or kept, by its size.
 */
Test(loader, datasets_that_do_not_fit_the_cache)
{
    enum { ROW = 30000 };
    static float want[ROW];
    lk_dataset *d = NULL;
    static const struct {
        int64_t samples, block, window;
        lk_order order;
    } shapes[] = {
        {3000, 16, 2, LK_ORDER_SHUFFLED}, /* groups of windows and a small pool */
        {3000, 50, 8, LK_ORDER_SHUFFLED}, /* 2 groups, a pool of 1400: 168 MB, kept */
        {3000, 1, 3000, LK_ORDER_SHUFFLED}, /* all is pool and too large */
        {2300, 16, 2, LK_ORDER_SEQUENTIAL}, {2301, 30, 2, LK_ORDER_STREAMS}, /* 4 streams of 575 */
    };

    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        EXPECT_OK(lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 1, .samples = shapes[k].samples, .dim = (int64_t[]){ROW}, .ndim = 1, .classes = 10}, &d));
        lk_loader_opts o = options(d, make_sampler(d, shapes[k].order, 2, 2, shapes[k].block, shapes[k].window));
        lk_loader *l = NULL;
        o.end_epoch = k == 0 ? 2 : 1;
        o.prefetch = 4;
        EXPECT_OK(lk_loader_create(&o, &l));
        if (k == 0)
            cr_expect(lk_loader_bytes(l) < 30 << 20); /* 8 blocks of 1.9 MB and 5 slots */
        int64_t i = 0;
        for (;; i++) {
            const lk_batch *b = NULL;
            EXPECT_OK(lk_loader_map(l, &b));
            if (b == NULL)
                break;
            for (int lane = 0; lane < 2; lane++)
                for (int64_t row = 0; row < b->lane[lane].valid; row++) {
                    const int64_t at = lk_sampler_at(&o.sampler, b->epoch, b->step, lane, row);
                    cr_assert(b->lane[lane].sample[row] == at);
                    if (i % 37 != 0)
                        continue;
                    int64_t label;
                    EXPECT_OK(lk_dataset_read(d, 0, at, 1, want));
                    EXPECT_OK(lk_dataset_read(d, 1, at, 1, &label));
                    cr_assert(memcmp(reals(&b->lane[lane], 0) + row * ROW, want, sizeof want) == 0,
                        "shape %zu step %ld: sample %ld", k, (long)i, (long)at);
                    cr_assert(ids(&b->lane[lane], 1)[row] == label);
                }
            lk_loader_unmap(l, &b);
        }
        cr_expect(i == o.end_epoch * o.sampler.steps);
        lk_loader_destroy(&l);
        lk_dataset_close(&d);
    }
}

Test(loader, nothing_is_allocated_after_creation)
{
    lk_dataset *d = open_thousand();
    lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 8, 4, 8, 2));
    lk_loader *l = NULL;
    const lk_batch *b = NULL;

    const int64_t bytes = lk_mem_bytes();
    EXPECT_OK(lk_loader_create(&o, &l));
    const int64_t count = lk_mem_count();
    for (int i = 0; i < 200; i++) {
        EXPECT_OK(lk_loader_map(l, &b));
        lk_loader_unmap(l, &b);
    }
    cr_expect(lk_mem_count() == count);
    cr_expect(llabs(lk_mem_bytes() - bytes - lk_loader_bytes(l)) < 20000, "says %ld, holds %ld",
        (long)lk_loader_bytes(l), (long)(lk_mem_bytes() - bytes));
    cr_expect(lk_loader_wait_seconds(l) >= 0);
    lk_loader_destroy(&l);
    cr_expect(lk_mem_bytes() == bytes);
    lk_dataset_close(&d);
}

Test(loader, ends_at_any_time)
{
    lk_dataset *d = open_thousand();
    lk_loader *l = NULL;
    const lk_batch *b = NULL;

    for (int i = 0; i < 60; i++) {
        lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 8, 4, 8, 2));
        o.readers = 1 + i % 4;
        o.prefetch = 1 + i % 5;
        EXPECT_OK(lk_loader_create(&o, &l));
        for (int k = 0; k < i % 7; k++) {
            EXPECT_OK(lk_loader_map(l, &b));
            if (k + 1 < i % 7 || i % 2 == 0) /* also while a batch is mapped */
                lk_loader_unmap(l, &b);
        }
        const double start = lk_now();
        lk_loader_destroy(&l);
        cr_expect(lk_now() - start < 20.0); /* a hang, not a busy machine */
    }
    lk_loader_destroy(&l);
    lk_dataset_close(&d);
}

/* Seconds of work are ahead, and nobody waits for them. */
Test(loader, ends_in_the_middle_of_slow_reading)
{
    lk_dataset *d = NULL;
    lk_loader *l = NULL;

    EXPECT_OK(lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 1, .samples = 100000, .dim = (int64_t[]){100000}, .ndim = 1, .classes = 10}, &d));
    lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 256, 1, 4, 8));
    EXPECT_OK(lk_loader_create(&o, &l));
    usleep(20000);
    const double start = lk_now();
    lk_loader_destroy(&l);
    cr_expect(lk_now() - start < 20.0);
    lk_dataset_close(&d);
}

Test(loader, a_failure_comes_with_its_batch)
{
    static uint8_t input[340 * 3];
    static int64_t label[340];
    lk_dataset *d = NULL;
    const lk_batch *b = NULL;
    lk_loader *l = NULL;
    hid_t file = -1;

    /* The last shard is cut at its sample 240, the dataset's 900; labels stand before. */
    lk_dataset *whole = open_thousand();
    EXPECT_OK(lk_dataset_read(whole, 0, 660, 340, input));
    EXPECT_OK(lk_dataset_read(whole, 1, 660, 340, label));
    lk_dataset_close(&whole);
    EXPECT_OK(lk_h5_create(at("d.h5"), &file));
    add_field(file, "label", LK_ELEM_I64, 1, (int64_t[]){340}, label);
    add_field(file, "input", LK_ELEM_U8, 2, (int64_t[]){340, 3}, input);
    EXPECT_OK(lk_h5_close(&file, "d.h5"));
    d = open_dir();
    EXPECT_OK(lk_h5_open(at("d.h5"), &file));
    const hid_t dset = H5Dopen2(file, "input", H5P_DEFAULT);
    const int64_t offset = (int64_t)H5Dget_offset(dset);
    EXPECT_OK(lk_h5_close(&file, "d.h5"));
    uint8_t one[3];
    EXPECT_OK(lk_dataset_read(d, 0, 900, 1, one)); /* opened now, so that it is cut while open */
    cr_assert(truncate(at("d.h5"), offset + 3 * 240) == 0);
    for (int readers = 1; readers <= 3; readers++) {
        lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SEQUENTIAL, 5, 2, 10, 2));
        o.readers = readers;
        EXPECT_OK(lk_loader_create(&o, &l));
        for (int step = 0; step < 90; step++) {
            EXPECT_OK(lk_loader_map(l, &b));
            check_lane(&o, b, 0);
            check_lane(&o, b, 1);
            lk_loader_unmap(l, &b);
        }
        for (int again = 0; again < 2; again++)
            EXPECT_FAIL_WITH(
                lk_loader_map(l, &b), LK_E_IO, about("DIR/d.h5: field \"input\", sample 240: the file shrank from "));
        cr_expect(b == NULL);
        lk_loader_destroy(&l);
    }
    lk_dataset_close(&d);
}

Test(loader, refusals)
{
    lk_dataset *d = open_thousand();
    lk_loader *l = NULL;
    const lk_sampler s = make_sampler(d, LK_ORDER_SHUFFLED, 8, 4, 8, 2);
    lk_loader_opts o = options(d, s);
    const lk_batch *b = NULL, *second = NULL;

    o.sampler.samples = 999;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "loader: the order has 999 samples, the dataset 1000");
    o = options(d, s);
    o.field[1].field = 2;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "loader: field 2 of 2");
    o = options(d, s);
    o.n_fields = 0;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "loader: 0 fields; 1 to 8 are possible");
    o = options(d, s);
    o.first_lane = 1;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "loader: microbatches 1 to 5 of 4");
    o = options(d, s);
    o.readers = 0;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "loader: 0 readers, 3 steps ahead");
    o = options(d, s);
    o.step = s.steps + 1;
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "loader: epoch 0, step 33 of 32");
    o = options(d, s);
    const double zero = 0;
    o.field[0].convert = (lk_convert){.scale = 1, .std = &zero, .n_norm = 1};
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_ARG, "field \"input\": scale 1, mean 0, deviation 0");
    cr_expect(l == NULL);

    o = options(d, s);
    EXPECT_OK(lk_loader_create(&o, &l));
    EXPECT_OK(lk_loader_map(l, &b));
    EXPECT_FAIL(lk_loader_map(l, &second), LK_E_ARG, "the loader's last batch is still mapped");
    lk_loader_unmap(l, &b);
    lk_loader_destroy(&l);
    lk_dataset_close(&d);

    EXPECT_OK(lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 1, .samples = 10, .dim = (int64_t[]){2}, .ndim = 1, .classes = 0}, &d));
    o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 2, 1, 4, 2));
    EXPECT_FAIL(lk_loader_create(&o, &l), LK_E_DATA, "field \"target\" has type float32: ids must be whole numbers");
    lk_dataset_close(&d);
}

Test(loader, out_of_memory_at_every_point)
{
    lk_dataset *d = open_thousand();
    lk_loader_opts o = options(d, make_sampler(d, LK_ORDER_SHUFFLED, 8, 4, 8, 2));
    lk_loader *l = NULL;
    lk_status st = LK_E_NOMEM;
    int64_t n = 0;

    o.field[1] = (lk_loader_field){.field = 1, .as = LK_AS_REAL, .convert = {.scale = 1}};
    const int64_t before = lk_mem_bytes();
    while (st != LK_OK) {
        lk_mem_fail_at(++n);
        st = lk_loader_create(&o, &l);
        lk_mem_fail_at(0);
        cr_assert(st == LK_OK || (st == LK_E_NOMEM && l == NULL && lk_mem_bytes() == before));
        cr_assert(n < 1000);
    }
    cr_expect(n > 10);
    lk_loader_destroy(&l);
    lk_dataset_close(&d);
}
