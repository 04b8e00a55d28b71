#include "base/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "data/augment.h"

#include <math.h>
#include <string.h>

enum { SIZE = 4096 };

static lk_augment *parse(const char *text)
{
    lk_yaml *list = NULL;
    lk_augment *a = NULL;

    EXPECT_OK(lk_yaml_parse_text(text, "a.yaml", &list));
    EXPECT_OK(lk_augment_parse(list, &a));
    lk_yaml_destroy(&list);
    cr_assert(a != NULL, "%s", text);
    return a;
}

static lk_field_info shape(int ndim, int64_t a, int64_t b, int64_t c)
{
    lk_field_info f = {.name = "x", .type = LK_ELEM_F32, .ndim = ndim, .dim = {a, b, c}, .row = 1};

    for (int i = 0; i < ndim; i++)
        f.row *= f.dim[i];
    cr_assert(f.row <= SIZE);
    return f;
}

static void run(const lk_augment *a, const lk_field_info *f, int64_t epoch, int64_t sample, float *x)
{
    static float scratch[SIZE];

    for (int i = 0; i < SIZE; i++)
        scratch[i] = NAN; /* nothing of it is used before it is written */
    EXPECT_OK(lk_augment_check(a, f));
    lk_augment_run(a, f, 5, epoch, sample, x, scratch);
}

/* 1, 2, 3, ...: no two alike, and none 0. */
static void count_up(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i + 1);
}

static const char *const all_steps[] = {"[crop: 2]", "[crop: {pad: 2, mode: reflect}]", "[flip]",
    "[shift: {rows: 2, columns: 3}]", "[rotate: 20]", "[affine: {scale: [0.5, 1.5], shear: 10, translate: 0.2}]",
    "[brightness]", "[contrast]", "[saturation]", "[noise]", "[cutout: 4]", "[time_mask: 3]",
    "[frequency_mask: {width: 3}]"};
enum { N_STEPS = sizeof all_steps / sizeof all_steps[0] };

static lk_field_info fitting(int step)
{
    return step == 8 ? shape(3, 3, 8, 9) : shape(3, 1, 8, 9);
}

Test(augment, a_function_of_seed_epoch_and_sample)
{
    static float x[SIZE], y[SIZE];
    float scratch[SIZE];

    for (int k = 0; k < N_STEPS; k++) {
        lk_augment *a = parse(all_steps[k]);
        const lk_field_info f = fitting(k);
        const size_t bytes = (size_t)f.row * sizeof *x;
        int other_epoch = 0, other_sample = 0, other_seed = 0;
        for (int64_t sample = 0; sample < 30; sample++) {
            count_up(x, f.row);
            run(a, &f, 3, sample, x);
            count_up(y, f.row);
            run(a, &f, 3, sample, y);
            cr_expect(memcmp(x, y, bytes) == 0, "%s: sample %ld is not the same again", all_steps[k], (long)sample);
            count_up(y, f.row);
            run(a, &f, 4, sample, y);
            other_epoch += memcmp(x, y, bytes) != 0;
            count_up(y, f.row);
            run(a, &f, 3, sample + 30, y);
            other_sample += memcmp(x, y, bytes) != 0;
            count_up(y, f.row);
            lk_augment_run(a, &f, 6, 3, sample, y, scratch);
            other_seed += memcmp(x, y, bytes) != 0;
        }
        /* A flip is there or not, so half of them agree; the others nearly never do. */
        const int least = k == 2 ? 5 : 15;
        cr_expect(other_epoch >= least && other_sample >= least && other_seed >= least, "%s: %d %d %d of 30",
            all_steps[k], other_epoch, other_sample, other_seed);
        lk_augment_destroy(&a);
    }
}

/* The place in the list is part of the key: the same step twice draws twice. */
Test(augment, steps_of_a_list_draw_apart)
{
    lk_augment *a = parse("[brightness, brightness]"), *b = parse("[brightness]");
    const lk_field_info f = shape(1, 1, 1, 1);
    int twice = 0;

    for (int64_t sample = 0; sample < 10; sample++) {
        float x = 0, y = 0;
        run(a, &f, 0, sample, &x);
        run(b, &f, 0, sample, &y);
        cr_expect(fabsf(y) <= 0.2f && fabsf(x) <= 0.4f && y != 0);
        twice += x == 2 * y;
    }
    cr_expect(twice == 0);
    lk_augment_destroy(&a);
    lk_augment_destroy(&b);
}

Test(augment, flip)
{
    lk_augment *always = parse("[flip: 1]"), *never = parse("[{flip: {probability: 0}}]"), *half = parse("[flip]");
    lk_field_info f = shape(3, 2, 2, 3);
    static const float flipped[12] = {3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10};
    float x[12], y[12];
    int count = 0;

    count_up(y, 12);
    count_up(x, 12);
    run(always, &f, 0, 7, x);
    cr_expect(memcmp(x, flipped, sizeof x) == 0);
    run(always, &f, 0, 8, x);
    cr_expect(memcmp(x, y, sizeof x) == 0); /* twice is not at all */
    run(never, &f, 0, 7, x);
    cr_expect(memcmp(x, y, sizeof x) == 0);
    for (int64_t i = 0; i < 1000; i++) {
        count_up(x, 12);
        run(half, &f, 1, i, x);
        count += x[0] == 3;
    }
    cr_expect(count > 420 && count < 580); /* 500, deviation 16 */
    lk_augment_destroy(&always);
    lk_augment_destroy(&never);
    lk_augment_destroy(&half);
}

/* Where the picture went: x holds the counted-up picture, moved by whole pixels. Checks all of it. */
static void find_move(const float *x, int64_t h, int64_t w, int64_t most, bool mirrored, int64_t *down, int64_t *right)
{
    for (int64_t dy = -most; dy <= most; dy++)
        for (int64_t dx = -most; dx <= most; dx++) {
            bool same = true;
            for (int64_t i = 0; same && i < h * w; i++) {
                int64_t fy = i / w + dy, fx = i % w + dx;
                if (mirrored) {
                    fy = fy < 0 ? -fy : fy >= h ? 2 * (h - 1) - fy : fy;
                    fx = fx < 0 ? -fx : fx >= w ? 2 * (w - 1) - fx : fx;
                }
                const bool in = fy >= 0 && fy < h && fx >= 0 && fx < w;
                same = x[i] == (in ? (float)(fy * w + fx + 1) : 0);
            }
            if (same) {
                *down = dy;
                *right = dx;
                return;
            }
        }
    cr_assert(false, "the picture is not one that was moved by at most %ld", (long)most);
}

Test(augment, shift_and_crop_move_by_every_distance)
{
    static const struct {
        const char *text;
        int64_t rows, columns;
        bool mirrored;
    } cases[] = {{"[shift: {rows: 2, columns: 1}]", 2, 1, false}, {"[shift: {columns: 3}]", 0, 3, false},
        {"[crop: 2]", 2, 2, false}, {"[crop: {pad: 3, mode: reflect}]", 3, 3, true}};
    const lk_field_info f = shape(2, 5, 6, 0);
    float x[30];

    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        lk_augment *a = parse(cases[k].text);
        bool seen[7][7] = {{false}};
        int count = 0;
        for (int64_t i = 0; i < 500; i++) {
            int64_t down = 0, right = 0;
            count_up(x, 30);
            run(a, &f, 0, i, x);
            find_move(x, 5, 6, 3, cases[k].mirrored, &down, &right);
            cr_assert(llabs(down) <= cases[k].rows && llabs(right) <= cases[k].columns);
            count += !seen[down + 3][right + 3];
            seen[down + 3][right + 3] = true;
        }
        cr_expect(count == (2 * cases[k].rows + 1) * (2 * cases[k].columns + 1), "%s: %d", cases[k].text, count);
        lk_augment_destroy(&a);
    }
}

/* Two channels that hold each pixel's row and column, from the middle: bilinear is exact on them, so away from the edge
 * they say where a value came from. */
static void coordinates(float *x, int64_t n)
{
    for (int64_t i = 0; i < n * n; i++) {
        x[i] = (float)(i / n - n / 2);
        x[n * n + i] = (float)(i % n - n / 2);
    }
}

Test(augment, rotate_turns_about_the_middle)
{
    enum { N = 21, M = N * N };
    lk_augment *a = parse("[rotate: 30]"), *none = parse("[rotate: 0]");
    const lk_field_info f = shape(3, 2, N, N);
    static float x[2 * M], y[2 * M];
    double low = 0, high = 0;

    coordinates(y, N);
    memcpy(x, y, sizeof x);
    run(none, &f, 0, 0, x);
    cr_expect(memcmp(x, y, sizeof x) == 0);
    for (int64_t i = 0; i < 100; i++) {
        coordinates(x, N);
        run(a, &f, 0, i, x);
        cr_expect(x[M / 2] == 0 && x[M + M / 2] == 0);
        /* The pixel to the right of the middle tells the angle, the others must agree. */
        const double angle = atan2((double)x[M / 2 + 1], (double)x[M + M / 2 + 1]), c = cos(angle), s = sin(angle);
        low = angle < low ? angle : low;
        high = angle > high ? angle : high;
        for (int dy = -6; dy <= 6; dy++)
            for (int dx = -6; dx <= 6; dx++) {
                const int at = M / 2 + dy * N + dx;
                cr_assert(fabs((double)x[at] - (c * dy + s * dx)) < 1e-5);
                cr_assert(fabs((double)x[M + at] - (c * dx - s * dy)) < 1e-5);
            }
        /* Corners come from outside. */
        if (fabs(angle) > 0.3)
            cr_expect(x[0] == 0 && x[M] == 0);
    }
    cr_expect(low > -0.5236 && low < -0.45 && high < 0.5236 && high > 0.45); /* 30 degrees are 0.5236 */
    lk_augment_destroy(&a);
    lk_augment_destroy(&none);
}

Test(augment, affine_scales_shears_and_moves)
{
    enum { N = 41, M = N * N };
    static const struct {
        const char *text;
        double scale[2], lean, move;
    } cases[] = {{"[affine: {scale: [0.8, 1.25]}]", {0.8, 1.25}, 0, 0}, {"[affine: {shear: 20}]", {1, 1}, 0.36398, 0},
        {"[affine: {translate: 0.1}]", {1, 1}, 0, 4.1}};
    const lk_field_info f = shape(3, 2, N, N);
    static float x[2 * M];

    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        lk_augment *a = parse(cases[k].text);
        double scale[2] = {9, 0}, lean = 0, move = 0;
        for (int64_t i = 0; i < 100; i++) {
            coordinates(x, N);
            run(a, &f, 0, i, x);
            /* A linear map, read off at the middle and its neighbours below and to the right. */
            const double y0 = (double)x[M / 2], x0 = (double)x[M + M / 2];
            const double yy = (double)x[M / 2 + N] - y0, xy = (double)x[M + M / 2 + N] - x0;
            const double yx = (double)x[M / 2 + 1] - y0, xx = (double)x[M + M / 2 + 1] - x0;
            cr_expect(fabs(yx) < 1e-5 && fabs(yy - xx) < 1e-5);
            scale[0] = fmin(scale[0], 1 / xx);
            scale[1] = fmax(scale[1], 1 / xx);
            lean = fmax(lean, fabs(xy / xx));
            move = fmax(move, fmax(fabs(x0), fabs(y0)));
            for (int dy = -6; dy <= 6; dy++)
                for (int dx = -6; dx <= 6; dx++) {
                    const int at = M / 2 + dy * N + dx;
                    cr_assert(fabs((double)x[at] - (y0 + yy * dy)) < 2e-4);
                    cr_assert(fabs((double)x[M + at] - (x0 + xy * dy + xx * dx)) < 2e-4);
                }
        }
        cr_expect(scale[0] > cases[k].scale[0] - 1e-4 && scale[0] < cases[k].scale[0] + 0.02, "%s", cases[k].text);
        cr_expect(scale[1] < cases[k].scale[1] + 1e-4 && scale[1] > cases[k].scale[1] - 0.02, "%s", cases[k].text);
        cr_expect(lean < cases[k].lean + 1e-4 && lean > 0.9 * cases[k].lean - 1e-4, "%s: %g", cases[k].text, lean);
        cr_expect(move < cases[k].move + 1e-4 && move > 0.9 * cases[k].move - 1e-4, "%s: %g", cases[k].text, move);
        lk_augment_destroy(&a);
    }
}

Test(augment, brightness_and_contrast)
{
    lk_augment *bright = parse("[brightness: 0.5]"), *contrast = parse("[contrast: 0.5]");
    const lk_field_info f = shape(1, 5, 0, 0);
    double low = 9, high = 0;

    for (int64_t i = 0; i < 100; i++) {
        float x[5] = {0, 1, 2, 3, 4}, y[5] = {0, 1, 2, 3, 4};
        run(bright, &f, 0, i, x);
        for (int k = 0; k < 5; k++)
            cr_expect(fabsf(x[k] - x[0] - (float)k) < 1e-6f && fabsf(x[0]) <= 0.5f);
        run(contrast, &f, 0, i, y);
        const double factor = (double)(y[3] - y[2]);
        for (int k = 0; k < 5; k++)
            cr_expect(fabs((double)y[k] - (2 + factor * (k - 2))) < 1e-6); /* the mean stays */
        low = fmin(low, factor);
        high = fmax(high, factor);
    }
    cr_expect(low >= 0.5 && low < 0.6 && high <= 1.5 && high > 1.4);
    lk_augment_destroy(&bright);
    lk_augment_destroy(&contrast);
}

Test(augment, saturation_leaves_grey)
{
    lk_augment *a = parse("[saturation: 0.5]");
    const lk_field_info f = shape(3, 3, 1, 2);
    bool changed = false;

    for (int64_t i = 0; i < 20; i++) {
        /* One grey pixel, and one of 1, 0.5, 0 whose grey is 0.299 + 0.2935 = 0.5925. */
        float x[6] = {0.25f, 1, 0.25f, 0.5f, 0.25f, 0};
        run(a, &f, 0, i, x);
        for (int c = 0; c < 3; c++)
            cr_expect(fabsf(x[2 * c] - 0.25f) < 1e-6f);
        const float factor = (x[1] - x[5]);
        cr_expect(factor >= 0.5f && factor <= 1.5f);
        cr_expect(fabsf(x[5] - (0.5925f - factor * 0.5925f)) < 1e-6f);
        cr_expect(fabsf(x[3] - (0.5925f - factor * 0.0925f)) < 1e-6f);
        changed = changed || fabsf(factor - 1) > 0.1f;
    }
    cr_expect(changed);
    lk_augment_destroy(&a);
}

Test(augment, noise_is_normal)
{
    lk_augment *a = parse("[flip, noise: 0.5]");
    const lk_field_info f = shape(2, 40, 50, 0);
    static float x[2000];
    double sum = 0, squares = 0, beyond = 0, neighbours = 0;

    for (int64_t s = 0; s < 10; s++) {
        memset(x, 0, sizeof x);
        run(a, &f, 2, s, x);
        for (int i = 0; i < 2000; i++) {
            sum += (double)x[i];
            squares += (double)x[i] * (double)x[i];
            beyond += fabsf(x[i]) > 1;
            neighbours += i > 0 ? (double)x[i] * (double)x[i - 1] : 0;
        }
    }
    /* 20000 values: the mean has a deviation of 0.0035, the variance of 0.0025, the product of 0.0018; 4.55 % are
     * beyond two deviations. */
    cr_expect(fabs(sum / 20000) < 0.015 && fabs(squares / 20000 - 0.25) < 0.011);
    cr_expect(fabs(neighbours / 20000) < 0.008);
    cr_expect(beyond > 780 && beyond < 1040);
    lk_augment_destroy(&a);
}

/* What was set to 0, as a box; all else is as it was. */
static void find_box(const float *x, int64_t c, int64_t h, int64_t w, int64_t box[4])
{
    box[0] = h;
    box[1] = 0;
    box[2] = w;
    box[3] = 0;
    for (int64_t y = 0; y < h; y++)
        for (int64_t i = 0; i < w; i++)
            if (x[y * w + i] == 0) {
                box[0] = y < box[0] ? y : box[0];
                box[1] = y >= box[1] ? y + 1 : box[1];
                box[2] = i < box[2] ? i : box[2];
                box[3] = i >= box[3] ? i + 1 : box[3];
            }
    for (int64_t at = 0; at < c * h * w; at++) {
        const int64_t y = at / w % h, i = at % w;
        const bool in = y >= box[0] && y < box[1] && i >= box[2] && i < box[3];
        cr_assert(x[at] == (in ? 0 : (float)(at + 1)));
    }
}

Test(augment, cutout_covers_a_square)
{
    lk_augment *a = parse("[cutout: 4]");
    const lk_field_info f = shape(3, 2, 9, 10);
    static float x[180];
    int whole = 0, cut = 0;

    for (int64_t i = 0; i < 300; i++) {
        int64_t box[4];
        count_up(x, 180);
        run(a, &f, 0, i, x);
        find_box(x, 2, 9, 10, box);
        const int64_t h = box[1] - box[0], w = box[3] - box[2];
        cr_assert(h >= 2 && h <= 4 && w >= 2 && w <= 4);
        whole += h == 4 && w == 4;
        cut += h < 4 || w < 4;
        cr_assert(h == 4 || box[0] == 0 || box[1] == 9);
        cr_assert(w == 4 || box[2] == 0 || box[3] == 10);
    }
    cr_expect(whole > 50 && cut > 50);
    lk_augment_destroy(&a);
}

Test(augment, masks_of_spectrograms_in_either_order)
{
    static const struct {
        const char *text;
        int ndim;
        bool rows; /* bands of rows */
    } cases[] = {{"[time_mask: 3]", 2, true}, {"[time_mask: 3]", 3, false}, {"[frequency_mask: 3]", 2, false},
        {"[frequency_mask: 3]", 3, true}};
    float x[70];

    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        lk_augment *a = parse(cases[k].text);
        const lk_field_info f = cases[k].ndim == 2 ? shape(2, 7, 10, 0) : shape(3, 1, 7, 10);
        int width[4] = {0};
        for (int64_t i = 0; i < 200; i++) {
            int64_t box[4];
            count_up(x, 70);
            run(a, &f, 0, i, x);
            find_box(x, 1, 7, 10, box);
            if (box[1] == 0) {
                width[0]++;
                continue;
            }
            const int64_t rows = box[1] - box[0], columns = box[3] - box[2];
            cr_assert(cases[k].rows ? columns == 10 && rows <= 3 : rows == 7 && columns <= 3);
            width[cases[k].rows ? rows : columns]++;
        }
        for (int w = 0; w < 4; w++)
            cr_expect(width[w] > 20, "%s: width %d came %d times of 200", cases[k].text, w, width[w]);
        lk_augment_destroy(&a);
    }
    lk_augment *five = parse("[time_mask: {width: 1, count: 50}]");
    const lk_field_info f = shape(2, 7, 10, 0);
    int64_t zeros = 0;
    count_up(x, 70);
    run(five, &f, 0, 1, x);
    for (int i = 0; i < 70; i++)
        zeros += x[i] == 0;
    cr_expect(zeros >= 30);
    lk_augment_destroy(&five);
}

Test(augment, refuses_what_does_not_fit)
{
    static const struct {
        const char *text;
        int ndim;
        int64_t dim[3];
        const char *want;
    } cases[] = {
        {"[brightness, flip]", 1, {12},
            "a.yaml:1:14: flip: field \"x\" has samples [12]: pictures [C,H,W] or [H,W] are needed"},
        {"[saturation]", 3, {1, 4, 4},
            "a.yaml:1:2: saturation: field \"x\" has samples [1,4,4]: pictures of three colours, [3,H,W], are needed"},
        {"[time_mask]", 3, {2, 20, 20},
            "a.yaml:1:2: time_mask: field \"x\" has samples [2,20,20]: spectrograms [time,frequency] or "
            "[1,frequency,time] are needed"},
        {"[time_mask: 10]", 2, {9, 20},
            "a.yaml:1:2: time_mask: field \"x\" has samples [9,20]: the width is more than there are times"},
        {"[frequency_mask: 10]", 3, {1, 9, 20},
            "a.yaml:1:2: frequency_mask: field \"x\" has samples [1,9,20]: the width is more than there are "
            "frequencies"},
        {"[crop: {pad: 4, mode: reflect}]", 2, {4, 5},
            "a.yaml:1:2: crop: field \"x\" has samples [4,5]: reflect needs a pad that is smaller than the picture"},
    };

    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        lk_augment *a = parse(cases[k].text);
        const lk_field_info f = shape(cases[k].ndim, cases[k].dim[0], cases[k].dim[1], cases[k].dim[2]);
        EXPECT_FAIL(lk_augment_check(a, &f), LK_E_CONFIG, cases[k].want);
        lk_augment_destroy(&a);
    }
    cr_expect(lk_augment_steps(NULL) == 0);
    lk_augment *none = parse("[]");
    cr_expect(lk_augment_steps(none) == 0);
    lk_augment_destroy(&none);
}

Test(augment, out_of_memory_at_every_point)
{
    lk_yaml *list = NULL;
    lk_augment *a = NULL;
    lk_status st = LK_E_NOMEM;
    int64_t n = 0;

    EXPECT_OK(lk_yaml_parse_text("[affine: {scale: [1, 2]}, affine]", "a.yaml", &list));
    const int64_t bytes = lk_mem_bytes();
    while (st != LK_OK) {
        lk_mem_fail_at(++n);
        st = lk_augment_parse(list, &a);
        lk_mem_fail_at(0);
        cr_assert(st == LK_OK || (st == LK_E_NOMEM && a == NULL && lk_mem_bytes() == bytes));
        cr_assert(n < 100);
    }
    cr_expect(n > 2);
    lk_augment_destroy(&a);
    lk_yaml_destroy(&list);
}
