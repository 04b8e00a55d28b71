#include "files.h"

#include "data/moments.h"
#include "data/windows.h"

#include <math.h>

TestSuite(moments, .init = make_dir, .fini = remove_dir);

static lk_dataset *open_one(const char *field)
{
    char *item[] = {(char *)"*.h5"};
    lk_dataset *d = NULL;

    EXPECT_OK(lk_dataset_open(&(lk_strings){item, 1}, dir, &field, 1, &d));
    return d;
}

/* x float64 [n,...], value i of a sample s being 1e6 * (i + 1) + s + i: a large mean beside a small deviation. */
static void write_x(const char *name, int64_t first, int ndim, const int64_t *dim)
{
    int64_t row = 1;
    hid_t file = -1;

    for (int i = 1; i < ndim; i++)
        row *= dim[i];
    double *x = calloc((size_t)(dim[0] * row), sizeof *x);
    for (int64_t s = 0; s < dim[0]; s++)
        for (int64_t i = 0; i < row; i++)
            x[s * row + i] = 1e6 * (double)(i + 1) + (double)(first + s + i);
    EXPECT_OK(lk_h5_create(at(name), &file));
    add_field(file, "x", LK_ELEM_F64, ndim, dim, x);
    EXPECT_OK(lk_h5_close(&file, name));
    free(x);
}

static void near(double got, double want, double relative)
{
    cr_expect(fabs(got - want) <= relative * fabs(want), "%.17g, not %.17g", got, want);
}

Test(moments, features_of_samples_through_shards)
{
    lk_dataset *d = NULL;
    double mean[3], std[3];
    int n = 0;

    write_x("a.h5", 0, 2, (int64_t[]){40, 3});
    write_x("b.h5", 40, 2, (int64_t[]){61, 3});
    d = open_one("x");
    EXPECT_OK(lk_dataset_moments_count(d, 0, LK_NORMALIZE_FEATURE, &n));
    cr_assert(n == 3);
    EXPECT_OK(lk_dataset_moments(d, 0, LK_NORMALIZE_FEATURE, 0.5, mean, std));
    for (int i = 0; i < 3; i++) {
        near(mean[i], 0.5 * (1e6 * (i + 1) + 50 + i), 1e-15);
        near(std[i], 0.5 * sqrt((101.0 * 101 - 1) / 12), 1e-13); /* of 0 to 100 */
    }
    /* Windows of the series: each row counts once, however often it is cut out. */
    const lk_windows_opts o = {.stride = 1, .n_fields = 2, .field = {{.length = 7}, {.ahead = 90, .length = 1}}};
    EXPECT_OK(lk_dataset_create_windows(d, &o, &d));
    double again[3], deviation[3];
    EXPECT_OK(lk_dataset_moments_count(d, 0, LK_NORMALIZE_FEATURE, &n));
    cr_assert(n == 3);
    EXPECT_OK(lk_dataset_moments(d, 0, LK_NORMALIZE_FEATURE, 0.5, again, deviation));
    cr_expect(memcmp(mean, again, sizeof mean) == 0 && memcmp(std, deviation, sizeof std) == 0);
    lk_dataset_close(&d);
}

Test(moments, channels_all_and_none)
{
    lk_dataset *d = NULL;
    double mean[3], std[3];
    int n = 9;

    write_x("a.h5", 0, 4, (int64_t[]){5, 3, 1, 2});
    d = open_one("x");
    EXPECT_OK(lk_dataset_moments_count(d, 0, LK_NORMALIZE_CHANNEL, &n));
    cr_assert(n == 3);
    EXPECT_OK(lk_dataset_moments(d, 0, LK_NORMALIZE_CHANNEL, 1, mean, std));
    for (int c = 0; c < 3; c++) {
        /* Values 2 c and 2 c + 1: 1000001 apart, each with deviation sqrt(2). */
        near(mean[c], 1e6 * (2 * c + 1.5) + 2 + 2 * c + 0.5, 1e-15);
        near(std[c], sqrt(1000001.0 * 1000001.0 / 4 + 2), 1e-12);
    }
    EXPECT_OK(lk_dataset_moments_count(d, 0, LK_NORMALIZE_ALL, &n));
    cr_assert(n == 1);
    EXPECT_OK(lk_dataset_moments(d, 0, LK_NORMALIZE_ALL, 1, mean, std));
    near(mean[0], 3.5e6 + 2 + 2.5, 1e-15);
    near(std[0], sqrt(1000001.0 * 1000001.0 * 35 / 12 + 2), 1e-12); /* of 0 to 5, scaled */
    EXPECT_OK(lk_dataset_moments_count(d, 0, LK_NORMALIZE_NONE, &n));
    cr_expect(n == 0);
    lk_dataset_close(&d);
}

Test(moments, values_that_do_not_change_or_are_none)
{
    static float x[] = {3, 1, 3, 2, 3, 3};
    lk_dataset *d = NULL;
    double mean[2], std[2];
    hid_t file = -1;
    int n;

    for (int bad = 0; bad < 2; bad++) {
        x[3] = bad ? NAN : 2;
        EXPECT_OK(lk_h5_create(at("x.h5"), &file));
        add_field(file, "x", LK_ELEM_F32, 2, (int64_t[]){3, 2}, x);
        EXPECT_OK(lk_h5_close(&file, "x.h5"));
        d = open_one("x");
        if (bad) {
            EXPECT_FAIL(lk_dataset_moments(d, 0, LK_NORMALIZE_FEATURE, 1, mean, std), LK_E_DATA,
                about(
                    "DIR/x.h5: field \"x\" has values that are not finite (number 1 of the mean is nan): it cannot be "
                    "normalized"));
            EXPECT_FAIL(lk_dataset_moments_count(d, 0, LK_NORMALIZE_CHANNEL, &n), LK_E_SHAPE,
                about("DIR/x.h5: field \"x\" has samples of rank 1; channels are those of [channels,height,width]"));
        } else {
            EXPECT_OK(lk_dataset_moments(d, 0, LK_NORMALIZE_FEATURE, 1, mean, std));
            cr_expect(mean[0] == 3 && std[0] == 1 && mean[1] == 2);
            near(std[1], sqrt(2.0 / 3), 1e-15);
        }
        lk_dataset_close(&d);
    }
}

/* A univariate series is one feature. */
Test(moments, series_without_columns)
{
    lk_dataset *d = NULL;
    double mean, std;
    int n = 0;

    write_x("a.h5", 0, 1, (int64_t[]){100});
    const lk_windows_opts o = {.stride = 3, .n_fields = 1, .field = {{.length = 4}}};
    EXPECT_OK(lk_dataset_create_windows(open_one("x"), &o, &d));
    EXPECT_OK(lk_dataset_moments_count(d, 0, LK_NORMALIZE_FEATURE, &n));
    cr_assert(n == 1);
    EXPECT_OK(lk_dataset_moments(d, 0, LK_NORMALIZE_FEATURE, 1, &mean, &std));
    near(mean, 1e6 + 49.5, 1e-15);
    lk_dataset_close(&d);
}
