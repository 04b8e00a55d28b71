/* The data that comes with the source, and MNIST where it lies beside it. */
#include "importing.h"

#include "data/dataset.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(real_data, .init = make_dir, .fini = clean_up);

static void count_labels(lk_dataset *d, int field, int64_t count[10])
{
    const lk_field_info *f = lk_dataset_field(d, field);
    const int64_t n = lk_dataset_samples(d);
    unsigned char *raw = malloc((size_t)n * lk_elem_size(f->type));

    cr_assert(f->type == LK_ELEM_U8 || f->type == LK_ELEM_I64);
    EXPECT_OK(lk_dataset_read(d, field, 0, n, raw));
    for (int64_t i = 0; i < n; i++)
        count[f->type == LK_ELEM_U8 ? raw[i] : ((int64_t *)raw)[i]]++;
    free(raw);
}

Test(real_data, digits)
{
    static const int64_t rows[] = {600, 500, 337}, firsts[] = {0, 600, 1100};
    static uint8_t image[64];
    const char *fields[] = {"image", "label"};
    char *pattern[] = {(char *)"train-*.h5"};
    lk_dataset *d = NULL;
    int64_t min, max, first, n, label, count[10] = {0};

    EXPECT_OK(lk_dataset_open(&(lk_strings){pattern, 1}, LK_SOURCE_DIR "/data/digits", fields, 2, &d));
    cr_assert(lk_dataset_shards(d) == 3);
    for (int i = 0; i < 3; i++) {
        lk_dataset_shard(d, i, &first, &n);
        cr_expect(first == firsts[i] && n == rows[i]);
    }
    const lk_field_info *f = lk_dataset_field(d, 0);
    cr_expect(f->type == LK_ELEM_U8 && f->ndim == 3 && f->dim[0] == 1 && f->dim[1] == 8 && f->dim[2] == 8);
    EXPECT_OK(lk_dataset_range(d, 0, &min, &max, NULL, NULL));
    cr_expect(min == 0 && max == 16);
    EXPECT_OK(lk_dataset_range(d, 1, &min, &max, NULL, NULL));
    cr_expect(min == 0 && max == 9);
    EXPECT_OK(lk_dataset_read(d, 0, 1, 1, image));
    EXPECT_OK(lk_dataset_read(d, 1, 1, 1, &label));
    cr_expect(label == 1 && memcmp(image, (uint8_t[]){0, 0, 0, 12, 13, 5, 0, 0, 0, 0, 0, 11, 16, 9}, 14) == 0);
    count_labels(d, 1, count);
    lk_dataset_close(&d);

    pattern[0] = (char *)"valid-*.h5";
    EXPECT_OK(lk_dataset_open(&(lk_strings){pattern, 1}, LK_SOURCE_DIR "/data/digits", fields, 2, &d));
    cr_expect(lk_dataset_samples(d) == 360);
    count_labels(d, 1, count);
    lk_dataset_close(&d);
    /* All 1797: the counts that the set is published with. */
    cr_expect(memcmp(count, (int64_t[]){178, 182, 177, 183, 181, 182, 181, 179, 174, 180}, sizeof count) == 0);
}

#define MNIST LK_SOURCE_DIR "/../shared/data/mnist/"

Test(real_data, mnist)
{
    const char *fields[] = {"image", "label"};
    char *pattern[] = {(char *)"mnist-*.h5"};
    lk_dataset *d = NULL;
    int64_t count[10] = {0};

    if (!lk_file_exists(MNIST "train-images-idx3-ubyte.gz"))
        cr_skip("MNIST is not in %s", MNIST);
    EXPECT_OK(run_import("idx",
        MNIST "train-images-idx3-ubyte.gz " MNIST "train-labels-idx1-ubyte.gz DIR/mnist --shard-rows 25000,rest"));
    EXPECT_TEXT(lk_buf_text(&report),
        about("DIR/mnist-000.h5: 25000 samples, image uint8 [25000,1,28,28], label uint8 [25000]\n"
              "DIR/mnist-001.h5: 35000 samples, image uint8 [35000,1,28,28], label uint8 [35000]\n"));
    EXPECT_OK(lk_dataset_open(&(lk_strings){pattern, 1}, dir, fields, 2, &d));
    cr_expect(lk_dataset_samples(d) == 60000);
    count_labels(d, 1, count);
    cr_expect(
        memcmp(count, (int64_t[]){5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}, sizeof count) == 0);
    lk_dataset_close(&d);
    EXPECT_FAIL(run_import("idx", MNIST "train-images-idx3-ubyte.gz " MNIST "t10k-labels-idx1-ubyte.gz DIR/x.h5"),
        LK_E_FORMAT,
        MNIST "train-images-idx3-ubyte.gz has 60000 images, " MNIST "t10k-labels-idx1-ubyte.gz has 10000 labels");
}
