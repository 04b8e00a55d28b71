#include "files.h"

#include "data/h5.h"

TestSuite(h5, .init = make_dir, .fini = remove_dir);

Test(h5, arrays_go_round)
{
    const float w[6] = {1, 2, 3, 4, 5, 6};
    const int64_t whole = -7;
    float back[6] = {0};
    int64_t whole_back = 0;
    const lk_h5_shape shape = {.type = LK_ELEM_F32, .ndim = 2, .dim = {2, 3}}, single = {.type = LK_ELEM_I64};
    lk_h5_shape is;
    hid_t file = -1;
    char **names = NULL;
    int n = 0;

    EXPECT_OK(lk_h5_create(at("w.h5"), &file));
    EXPECT_OK(lk_h5_write_array(file, "weights/linear1/weight", &shape, w));
    EXPECT_OK(lk_h5_write_array(file, "weights/linear1/bias", &shape, NULL));
    EXPECT_OK(lk_h5_write_rows(file, "weights/linear1/bias", 1, 1, w));
    EXPECT_OK(lk_h5_write_array(file, "step", &single, &whole));
    EXPECT_OK(lk_h5_close(&file, "w.h5"));
    cr_expect(file < 0);
    EXPECT_OK(lk_h5_close(&file, "w.h5"));

    EXPECT_OK(lk_h5_open(at("w.h5"), &file));
    EXPECT_OK(lk_h5_array_shape(file, "weights/linear1/weight", &is));
    cr_expect(is.type == LK_ELEM_F32 && is.ndim == 2 && is.dim[0] == 2 && is.dim[1] == 3);
    EXPECT_OK(lk_h5_read_array(file, "weights/linear1/weight", &shape, back));
    cr_expect(memcmp(back, w, sizeof w) == 0);
    EXPECT_OK(lk_h5_read_rows(file, "weights/linear1/bias", 1, 1, back));
    cr_expect(memcmp(back, w, 3 * sizeof w[0]) == 0);
    EXPECT_OK(lk_h5_read_array(file, "step", &single, &whole_back));
    cr_expect(whole_back == -7);
    EXPECT_OK(lk_h5_list(file, &names, &n));
    cr_assert(n == 3);
    cr_expect(strcmp(names[0], "step") == 0);
    cr_expect(strcmp(names[1], "weights/linear1/bias") == 0);
    cr_expect(strcmp(names[2], "weights/linear1/weight") == 0);
    lk_strings_free(&names, n);

    EXPECT_FAIL(lk_h5_read_array(file, "weights/linear1/weight", &single, back), LK_E_SHAPE,
        "array \"weights/linear1/weight\" is float32 [2,3], int64 [] was expected");
    EXPECT_FAIL(lk_h5_read_rows(file, "weights/linear1/weight", 1, 2, back), LK_E_RANGE,
        "array \"weights/linear1/weight\": rows 1 to 3 of 2");
    EXPECT_FAIL(lk_h5_array_shape(file, "weights/linear2", &is), LK_E_NOT_FOUND,
        "array \"weights/linear2\" is not there (arrays: step, weights/linear1/bias, weights/linear1/weight)");
    EXPECT_FAIL(lk_h5_array_shape(file, "weights", &is), LK_E_FORMAT, "array \"weights\": it is a group, not an array");
    EXPECT_OK(lk_h5_close(&file, "w.h5"));
}

Test(h5, attributes_go_round)
{
    hid_t file = -1;
    char *text = NULL;
    int64_t i = 0;
    double x = 0;

    EXPECT_OK(lk_h5_create(at("a.h5"), &file));
    add_field(file, "group/w", LK_ELEM_F32, 1, (int64_t[]){1}, &(float){1});
    EXPECT_OK(lk_h5_set_text(file, ".", "source", "first"));
    EXPECT_OK(lk_h5_set_text(file, ".", "source", "a longer one \xc3\xa9"));
    EXPECT_OK(lk_h5_set_text(file, ".", "empty", ""));
    EXPECT_OK(lk_h5_set_i64(file, "group/w", "step", INT64_MIN));
    EXPECT_OK(lk_h5_set_f64(file, "group", "loss", 0.1));
    EXPECT_OK(lk_h5_close(&file, "a.h5"));

    EXPECT_OK(lk_h5_open(at("a.h5"), &file));
    EXPECT_OK(lk_h5_get_text(file, ".", "source", &text));
    cr_expect(strcmp(text, "a longer one \xc3\xa9") == 0);
    lk_free(text);
    EXPECT_OK(lk_h5_get_text(file, ".", "empty", &text));
    cr_expect(strcmp(text, "") == 0);
    lk_free(text);
    EXPECT_OK(lk_h5_get_i64(file, "group/w", "step", &i));
    cr_expect(i == INT64_MIN);
    EXPECT_OK(lk_h5_get_f64(file, "group", "loss", &x));
    cr_expect(x == 0.1);
    EXPECT_OK(lk_h5_get_f64(file, "group/w", "step", &x)); /* a whole number is a number */
    cr_expect(lk_h5_has_attr(file, ".", "source") && !lk_h5_has_attr(file, ".", "nothing") &&
              !lk_h5_has_attr(file, "nobody", "x"));
    EXPECT_FAIL(lk_h5_get_i64(file, "group", "loss", &i), LK_E_FORMAT,
        "attribute \"loss\" of \"group\": it is no whole number");
    EXPECT_FAIL(
        lk_h5_get_i64(file, ".", "source", &i), LK_E_FORMAT, "attribute \"source\" of \".\": it is no whole number");
    EXPECT_FAIL(
        lk_h5_get_text(file, "group", "loss", &text), LK_E_FORMAT, "attribute \"loss\" of \"group\": it is no text");
    EXPECT_FAIL(
        lk_h5_get_text(file, ".", "nothing", &text), LK_E_NOT_FOUND, "attribute \"nothing\" of \".\": it is not there");
    EXPECT_OK(lk_h5_close(&file, "a.h5"));
}

Test(h5, equal_content_gives_equal_files)
{
    char *a = NULL, *b = NULL;
    size_t na = 0, nb = 0;

    write_shard("a.h5", 3, 10);
    sleep(1); /* a time stamp would differ */
    write_shard("b.h5", 3, 10);
    EXPECT_OK(lk_file_read(at("a.h5"), 0, &a, &na));
    EXPECT_OK(lk_file_read(at("b.h5"), 0, &b, &nb));
    cr_expect(na == nb && memcmp(a, b, na) == 0);
    lk_free(a);
    lk_free(b);
}

Test(h5, files_that_cannot_be_opened)
{
    hid_t file = -1;
    char *whole = NULL;
    size_t bytes = 0;

    EXPECT_FAIL(
        lk_h5_open(at("none.h5"), &file), LK_E_NOT_FOUND, about("DIR/none.h5: open: No such file or directory"));
    EXPECT_FAIL(lk_h5_open(dir, &file), LK_E_FORMAT, about("DIR: a folder, not an HDF5 file"));
    write_text("text.h5", "hello", 5);
    EXPECT_FAIL(lk_h5_open(at("text.h5"), &file), LK_E_FORMAT, about("DIR/text.h5: not an HDF5 file"));
    write_text("empty.h5", "", 0);
    EXPECT_FAIL(lk_h5_open(at("empty.h5"), &file), LK_E_FORMAT, about("DIR/empty.h5: not an HDF5 file (it is empty)"));
    EXPECT_FAIL(lk_h5_create(at("no/such.h5"), &file), LK_E_NOT_FOUND,
        about("DIR/no/such.h5: create: No such file or directory"));

    write_shard("whole.h5", 0, 100);
    EXPECT_OK(lk_file_read(at("whole.h5"), 0, &whole, &bytes));
    write_text("cut.h5", whole, bytes - 100);
    EXPECT_FAIL_WITH(lk_h5_open(at("cut.h5"), &file), LK_E_IO,
        about("DIR/cut.h5: HDF5: unable to open file: truncated file: eof = "));
    lk_free(whole);
    cr_expect(file < 0);
}
