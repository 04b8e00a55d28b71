#include "files.h"

#include "data/windows.h"

TestSuite(windows, .init = make_dir, .fini = remove_dir);

/* Rows `first` on of a series: `x` float32 [n,5] with row r, column c holding 10 r + c, and `token` uint16 [n] = r. */
static void write_series(const char *name, int64_t first, int64_t n)
{
    float *x = calloc((size_t)(5 * n), sizeof *x);
    uint16_t *token = calloc((size_t)n, sizeof *token);
    hid_t file = -1;

    for (int64_t i = 0; i < n; i++) {
        for (int c = 0; c < 5; c++)
            x[5 * i + c] = (float)(10 * (first + i) + c);
        token[i] = (uint16_t)(first + i);
    }
    EXPECT_OK(lk_h5_create(at(name), &file));
    add_field(file, "x", LK_ELEM_F32, 2, (int64_t[]){n, 5}, x);
    add_field(file, "token", LK_ELEM_U16, 1, (int64_t[]){n}, token);
    EXPECT_OK(lk_h5_close(&file, name));
    free(x);
    free(token);
}

static lk_dataset *open_series(void)
{
    const char *fields[] = {"x", "token"};
    char *item[] = {(char *)"*.h5"};
    lk_dataset *d = NULL;

    EXPECT_OK(lk_dataset_open(&(lk_strings){item, 1}, dir, fields, 2, &d));
    return d;
}

/* 100 rows in three shards. */
static lk_dataset *open_hundred(void)
{
    write_series("a.h5", 0, 41);
    write_series("b.h5", 41, 2);
    write_series("c.h5", 43, 57);
    return open_series();
}

static lk_windows_opts cut(int64_t stride, int64_t ahead, int64_t length)
{
    return (lk_windows_opts){.stride = stride,
        .n_fields = 3,
        .field = {{.field = 0, .length = length}, {.field = 0, .ahead = ahead, .length = 7},
            {.field = 1, .ahead = 1, .length = length}}};
}

Test(windows, rows_of_every_window_through_shards)
{
    static const struct {
        int64_t stride, ahead, length;
    } shapes[] = {{1, 1, 12}, {12, 12, 12}, {5, 0, 12}, {12, 1, 1}, {30, 2, 12}, {7, 93, 3}};
    static float x[100 * 12 * 5], y[100 * 7 * 5];
    static uint16_t t[100 * 12];

    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        const int64_t stride = shapes[k].stride, ahead = shapes[k].ahead, length = shapes[k].length;
        const lk_windows_opts o = cut(stride, ahead, length);
        lk_dataset *d = NULL;
        EXPECT_OK(lk_dataset_create_windows(open_hundred(), &o, &d));
        const int64_t last = ahead + 7 > length + 1 ? ahead + 7 : length + 1;
        const int64_t samples = (100 - last) / stride + 1;
        cr_assert(lk_dataset_samples(d) == samples, "shape %zu: %ld samples", k, (long)lk_dataset_samples(d));
        const lk_field_info *f = lk_dataset_field(d, 1);
        cr_expect(f->ndim == 2 && f->dim[0] == 7 && f->dim[1] == 5 && f->row == 35 && f->type == LK_ELEM_F32);
        EXPECT_TEXT(f->name, "x");
        f = lk_dataset_field(d, 2);
        cr_expect(f->ndim == 1 && f->dim[0] == length && f->row == length && f->type == LK_ELEM_U16);
        /* Any run of windows. */
        for (int64_t first = 0; first < samples; first += 1 + first) {
            const int64_t n = samples - first;
            EXPECT_OK(lk_dataset_read(d, 0, first, n, x));
            EXPECT_OK(lk_dataset_read(d, 1, first, n, y));
            EXPECT_OK(lk_dataset_read(d, 2, first, n, t));
            for (int64_t i = 0; i < n; i++) {
                const int64_t row = (first + i) * stride;
                for (int64_t e = 0; e < length * 5; e++)
                    cr_assert(x[i * length * 5 + e] == (float)(10 * (row + e / 5) + e % 5));
                for (int64_t e = 0; e < 35; e++)
                    cr_assert(y[i * 35 + e] == (float)(10 * (row + ahead + e / 5) + e % 5));
                for (int64_t e = 0; e < length; e++)
                    cr_assert(t[i * length + e] == row + 1 + e);
            }
        }
        EXPECT_FAIL_WITH(lk_dataset_read(d, 0, samples, 1, x), LK_E_ARG, "field 0 of 3, samples ");
        lk_dataset_close(&d);
    }
}

Test(windows, columns_in_their_order)
{
    lk_dataset *d = NULL;
    float y[100 * 2], w[3 * 4 * 2];
    uint16_t t[100];
    int field = 1;

    EXPECT_OK(lk_dataset_create_columns(open_hundred(), 0, (int64_t[]){4, 1}, 2, &d));
    cr_expect(lk_dataset_samples(d) == 100 && lk_dataset_field(d, 0)->row == 2 && lk_dataset_field(d, 0)->dim[0] == 2);
    EXPECT_OK(lk_dataset_read(d, 0, 3, 97, y));
    EXPECT_OK(lk_dataset_read(d, 1, 3, 97, t));
    for (int i = 0; i < 97; i++)
        cr_assert(y[2 * i] == (float)(10 * (i + 3) + 4) && y[2 * i + 1] == (float)(10 * (i + 3) + 1) && t[i] == i + 3);

    lk_dataset *narrow = d;
    const lk_windows_opts o = {.stride = 2, .n_fields = 2, .field = {{.field = 1, .length = 3}, {.length = 4}}};
    EXPECT_OK(lk_dataset_create_windows(narrow, &o, &d));
    EXPECT_OK(lk_dataset_read(d, 1, 20, 3, w));
    for (int i = 0; i < 3; i++)
        for (int e = 0; e < 8; e++)
            cr_assert(w[8 * i + e] == (float)(10 * (40 + 2 * i + e / 2) + (e % 2 == 0 ? 4 : 1)));
    cr_expect(lk_dataset_source(d, &field) == narrow && field == 0);
    field = 0;
    cr_expect(lk_dataset_samples(lk_dataset_source(d, &field)) == 100 && field == 1);
    lk_dataset_close(&d);
}

/* A row that is larger than what is read at once. */
Test(windows, columns_of_wide_rows)
{
    enum { WIDE = 30000 };
    static float x[3 * WIDE];
    lk_dataset *d = NULL;
    char *item[] = {(char *)"w.h5"};
    hid_t file = -1;
    float y[3];

    for (int i = 0; i < 3 * WIDE; i++)
        x[i] = (float)i;
    EXPECT_OK(lk_h5_create(at("w.h5"), &file));
    add_field(file, "x", LK_ELEM_F32, 2, (int64_t[]){3, WIDE}, x);
    EXPECT_OK(lk_h5_close(&file, "w.h5"));
    EXPECT_OK(lk_dataset_open(&(lk_strings){item, 1}, dir, (const char *[]){"x"}, 1, &d));
    EXPECT_OK(lk_dataset_create_columns(d, 0, (int64_t[]){WIDE - 1}, 1, &d));
    EXPECT_OK(lk_dataset_read(d, 0, 0, 3, y));
    cr_expect(y[0] == WIDE - 1 && y[1] == 2 * WIDE - 1 && y[2] == 3 * WIDE - 1);
    lk_dataset_close(&d);
}

Test(windows, refusals_close_what_was_adopted)
{
    lk_dataset *d = NULL;
    lk_windows_opts o = cut(1, 1, 12);
    const int64_t bytes = lk_mem_bytes();

    o.stride = 0;
    EXPECT_FAIL(lk_dataset_create_windows(open_hundred(), &o, &d), LK_E_ARG, "windows: 3 fields, stride 0");
    o = cut(1, 1, 12);
    o.field[1].field = 2;
    EXPECT_FAIL(lk_dataset_create_windows(open_series(), &o, &d), LK_E_ARG, "windows of field 2 of 2: 7 rows, 1 ahead");
    o = cut(1, 94, 12);
    EXPECT_FAIL(lk_dataset_create_windows(open_series(), &o, &d), LK_E_DATA,
        about("DIR/a.h5: field \"x\": the series has 100 rows, fewer than one window takes: 7 rows from row 94 on"));
    EXPECT_FAIL(lk_dataset_create_columns(open_series(), 0, (int64_t[]){0, 5}, 2, &d), LK_E_RANGE,
        about("DIR/a.h5: field \"x\" has no column 5, it has 5, from 0"));
    EXPECT_FAIL(lk_dataset_create_columns(open_series(), 1, (int64_t[]){0}, 1, &d), LK_E_SHAPE,
        about("DIR/a.h5: field \"token\" has rank 1; columns can be picked of rank 2, [rows,columns]"));
    cr_expect(d == NULL);
    cr_expect(lk_mem_bytes() == bytes);
}

Test(windows, out_of_memory_at_every_point)
{
    const lk_windows_opts o = cut(3, 1, 12);
    const int64_t bytes = lk_mem_bytes();
    lk_dataset *d = NULL;
    int failed = 0;

    lk_dataset *written = open_hundred();
    lk_dataset_close(&written);
    for (int kind = 0; kind < 2; kind++) {
        lk_status st = LK_E_NOMEM;
        for (int64_t n = 1; st != LK_OK && n < 100; n++) {
            lk_dataset *series = open_series();
            lk_mem_fail_at(n);
            st = kind == 0 ? lk_dataset_create_windows(series, &o, &d)
                           : lk_dataset_create_columns(series, 0, (int64_t[]){0}, 1, &d);
            lk_mem_fail_at(0);
            failed += st == LK_E_NOMEM;
            cr_assert(st == LK_OK || st == LK_E_NOMEM);
        }
        lk_dataset_close(&d);
    }
    cr_expect(failed == 4);
    cr_expect(lk_mem_bytes() == bytes);
}
