#include "base/support.h"

#include "data/synthetic.h"

#include <math.h>

Test(synthetic, values_are_a_function_of_sample_and_element)
{
    enum { N = 500, ROW = 3 * 33 * 32 };
    lk_dataset *d = NULL, *again = NULL;
    static float a[ROW * 4], b[ROW];
    int64_t label[N], other[1], count[7] = {0};
    double sum = 0, squares = 0;

    EXPECT_OK(lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 5, .samples = N, .dim = (int64_t[]){3, 33, 32}, .ndim = 3, .classes = 7}, &d));
    EXPECT_OK(lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 5, .samples = N, .dim = (int64_t[]){3, 33, 32}, .ndim = 3, .classes = 7}, &again));
    cr_expect(lk_dataset_samples(d) == N);
    const lk_field_info *f = lk_dataset_field(d, 0);
    cr_expect(f->type == LK_ELEM_F32 && f->ndim == 3 && f->dim[1] == 33 && f->row == ROW);
    cr_expect(strcmp(lk_dataset_field(d, 1)->name, "label") == 0);
    EXPECT_OK(lk_dataset_read(d, 0, 10, 4, a));
    EXPECT_OK(lk_dataset_read(again, 0, 12, 1, b));
    cr_expect(memcmp(a + 2 * ROW, b, sizeof b) == 0);
    cr_expect(memcmp(a, b, sizeof b) != 0);
    for (int i = 0; i < 4 * ROW; i++) {
        sum += a[i];
        squares += (double)a[i] * a[i];
        cr_assert(fabsf(a[i]) < 3.46f);
    }
    /* 12672 values: the mean has a deviation of 0.009, the variance of about 0.012. */
    cr_expect(fabs(sum / (4 * ROW)) < 0.05 && fabs(squares / (4 * ROW) - 1) < 0.06);
    EXPECT_OK(lk_dataset_read(d, 1, 0, N, label));
    EXPECT_OK(lk_dataset_read(again, 1, 499, 1, other));
    cr_expect(other[0] == label[499]);
    for (int i = 0; i < N; i++) {
        cr_assert(label[i] >= 0 && label[i] < 7);
        count[label[i]]++;
    }
    for (int c = 0; c < 7; c++)
        cr_expect(
            count[c] > 35 && count[c] < 110, "class %d: %ld of 500", c, (long)count[c]); /* 71 expected, deviation 8 */
    lk_dataset_close(&d);
    lk_dataset_close(&again);
    cr_expect(d == NULL);
}

Test(synthetic, targets_without_classes)
{
    lk_dataset *d = NULL;
    float y[3];

    EXPECT_OK(lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 5, .samples = 3, .dim = NULL, .ndim = 0, .classes = 0}, &d));
    cr_expect(lk_dataset_field(d, 0)->row == 1);
    cr_expect(strcmp(lk_dataset_field(d, 1)->name, "target") == 0);
    cr_expect(lk_dataset_field(d, 1)->type == LK_ELEM_F32 && lk_dataset_field(d, 1)->ndim == 1);
    EXPECT_OK(lk_dataset_read(d, 1, 0, 3, y));
    cr_expect(y[0] != y[1]);
    lk_dataset_close(&d);
    EXPECT_FAIL(
        lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 5, .samples = 0, .dim = NULL, .ndim = 0, .classes = 0}, &d), LK_E_ARG, "made-up data: 0 samples of rank 0, 0 classes");
    EXPECT_FAIL(lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 5, .samples = 3, .dim = (int64_t[]){2, 0}, .ndim = 2, .classes = 0}, &d), LK_E_ARG,
        "made-up data: dimension 2 of a sample is 0");
    EXPECT_FAIL(lk_dataset_create_synthetic(&(lk_synthetic_data){.seed = 5, .samples = INT64_MAX, .dim = (int64_t[]){2}, .ndim = 1, .classes = 0}, &d), LK_E_ARG,
        "made-up data: 9223372036854775807 samples of 2 values are too many");
}
