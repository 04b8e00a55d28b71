#include "importing.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_csv, .init = make_dir, .fini = clean_up);

static void write_csv(const char *text)
{
    write_text("a.csv", text, strlen(text));
}

Test(import_csv, classes_and_bytes)
{
    uint8_t input[12];
    int64_t label[3];

    write_csv("0,5,13,9,7\n1,16,0,3,0\n255,0,0,1,-3\n");
    EXPECT_OK(run_import("csv", "DIR/a.csv DIR/a.h5 --classes --type uint8 --shape 1,2,2 --input image"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/a.h5: 3 samples, image uint8 [3,1,2,2], label int64 [3]\n"));
    read_back("a.h5", "image", LK_ELEM_U8, 4, (int64_t[]){3, 1, 2, 2}, input);
    read_back("a.h5", "label", LK_ELEM_I64, 1, (int64_t[]){3}, label);
    cr_expect(memcmp(input, (uint8_t[]){0, 5, 13, 9, 1, 16, 0, 3, 255, 0, 0, 1}, 12) == 0);
    cr_expect(label[0] == 7 && label[1] == 0 && label[2] == -3);
    EXPECT_TEXT(folder(), "a.csv a.h5");

    hid_t file = -1;
    char *text = NULL;
    int64_t v = -1;
    EXPECT_OK(lk_h5_open(at("a.h5"), &file));
    EXPECT_OK(lk_h5_get_text(file, ".", "source", &text));
    cr_expect(strcmp(text, "a.csv") == 0);
    lk_free(text);
    EXPECT_OK(lk_h5_get_text(file, ".", "importer", &text));
    cr_expect(strcmp(text, "lockstep " LK_VERSION " data import csv") == 0);
    lk_free(text);
    EXPECT_OK(lk_h5_get_i64(file, ".", "rows", &v));
    cr_expect(v == 3);
    EXPECT_OK(lk_h5_close(&file, "a.h5"));
}

Test(import_csv, numbers_in_many_forms)
{
    float x[20], y[20];
    const char text[] = "\xef\xbb\xbf"
                        "1.5,-2e3,.25,1\r\n\"3\", "
                        "4\t,5.,\"-0.5\"\r\n+6,123456789012345678901234567890,0.1,1e-50\n-1.17549435e-38,3.4028234e38,"
                        "0.30000001192092896,16777217";

    write_text("a.csv", text, sizeof text - 1); /* a byte order mark, ends of both kinds, no end at the end */
    EXPECT_OK(run_import("csv", "DIR/a.csv DIR/a.h5"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/a.h5: 4 samples, input float32 [4,3], label float32 [4]\n"));
    read_back("a.h5", "input", LK_ELEM_F32, 2, (int64_t[]){4, 3}, x);
    read_back("a.h5", "label", LK_ELEM_F32, 1, (int64_t[]){4}, y);
    const float want_x[] = {
        1.5f, -2000, 0.25f, 3, 4, 5, 6, 123456789012345678901234567890.0f, 0.1f, -1.17549435e-38f, 3.4028234e38f, 0.3f};
    const float want_y[] = {1, -0.5f, 0, 16777216};
    cr_expect(memcmp(x, want_x, sizeof want_x) == 0);
    cr_expect(memcmp(y, want_y, sizeof want_y) == 0);
}

Test(import_csv, delimiters_and_columns)
{
    float x[20], y[3];
    int64_t k[3];

    write_csv("  1 2\t 3\n4   5 6  \n7 8 9\n \n\n");
    EXPECT_OK(run_import("csv", "DIR/a.csv DIR/a.h5 --delimiter space --label-column none"));
    read_back("a.h5", "input", LK_ELEM_F32, 2, (int64_t[]){3, 3}, x);
    cr_expect(memcmp(x, (float[]){1, 2, 3, 4, 5, 6, 7, 8, 9}, 36) == 0);
    EXPECT_OK(
        run_import("csv", "DIR/a.csv DIR/a.h5 --delimiter space --label-column 2")); /* an HDF5 file is replaced */
    read_back("a.h5", "input", LK_ELEM_F32, 2, (int64_t[]){3, 2}, x);
    read_back("a.h5", "label", LK_ELEM_F32, 1, (int64_t[]){3}, y);
    cr_expect(memcmp(x, (float[]){1, 3, 4, 6, 7, 9}, 24) == 0 && memcmp(y, (float[]){2, 5, 8}, 12) == 0);

    write_csv("x;class;y\n1;2;3\n0.5;0;7\n");
    EXPECT_OK(
        run_import("csv", "DIR/a.csv DIR/a.h5 --delimiter ; --header --label-column class --classes --label kind"));
    read_back("a.h5", "input", LK_ELEM_F32, 2, (int64_t[]){2, 2}, x);
    read_back("a.h5", "kind", LK_ELEM_I64, 1, (int64_t[]){2}, k);
    cr_expect(memcmp(x, (float[]){1, 3, 0.5f, 7}, 16) == 0 && k[0] == 2 && k[1] == 0);

    write_csv("1\t2\n\t3\n");
    EXPECT_FAIL(
        run_import("csv", "DIR/a.csv DIR/b.h5 --delimiter tab"), LK_E_FORMAT, about("DIR/a.csv:2: column 1 is empty"));
    write_csv("1\t2\n4\t3\n");
    EXPECT_OK(run_import("csv", "DIR/a.csv DIR/a.h5 --delimiter tab --label-column -2"));
    read_back("a.h5", "label", LK_ELEM_F32, 1, (int64_t[]){2}, y);
    cr_expect(y[0] == 1 && y[1] == 4);
}

Test(import_csv, gzip_ranges_and_uneven_shards)
{
    char text[20000];
    size_t n = 0;
    uint8_t x[1000];
    int64_t y[1000];

    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%d,%d\n", i % 256, i);
    write_gzip("a.csv.gz", text, n);
    EXPECT_OK(run_import(
        "csv", "DIR/a.csv.gz DIR/train --type uint8 --classes --shard-rows 500,300,rest --skip 10 --rows 900"));
    EXPECT_TEXT(folder(), "a.csv.gz train-000.h5 train-001.h5 train-002.h5");
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/train-000.h5: 500 samples, input uint8 [500,1], label int64 [500]\n"
                                            "DIR/train-001.h5: 300 samples, input uint8 [300,1], label int64 [300]\n"
                                            "DIR/train-002.h5: 100 samples, input uint8 [100,1], label int64 [100]\n"));
    read_back("train-002.h5", "input", LK_ELEM_U8, 2, (int64_t[]){100, 1}, x);
    read_back("train-002.h5", "label", LK_ELEM_I64, 1, (int64_t[]){100}, y);
    for (int i = 0; i < 100; i++)
        cr_assert(y[i] == 810 + i && x[i] == (810 + i) % 256);
    hid_t file = -1;
    int64_t first = 0;
    EXPECT_OK(lk_h5_open(at("train-002.h5"), &file));
    EXPECT_OK(lk_h5_get_i64(file, ".", "first_row", &first));
    EXPECT_OK(lk_h5_close(&file, "train-002.h5"));
    cr_expect(first == 810);

    /* Fewer shards under the same names would leave one of the old ones among them. */
    EXPECT_FAIL(run_import("csv", "DIR/a.csv.gz DIR/train.h5 --shard-rows 500,rest"), LK_E_UNSUPPORTED,
        about("DIR/train-002.h5: left from an earlier import of more shards; remove it first"));
    EXPECT_OK(run_import("csv", "DIR/a.csv.gz DIR/train.h5 --shard-rows 500,300,100,rest"));
    EXPECT_OK(run_import("csv", "DIR/a.csv.gz DIR/all.h5 --skip 999"));
    EXPECT_TEXT(folder(), "a.csv.gz all.h5 train-000.h5 train-001.h5 train-002.h5 train-003.h5");
    read_back("all.h5", "label", LK_ELEM_F32, 1, (int64_t[]){1}, y);
}

static void expect_refused(const char *text, const char *options, lk_status code, const char *message)
{
    char line[200];

    write_csv(text);
    snprintf(line, sizeof line, "DIR/a.csv DIR/out.h5 %s", options);
    EXPECT_FAIL(run_import("csv", line), code, about(message));
    EXPECT_TEXT(folder(), "a.csv"); /* nothing is left behind */
    EXPECT_TEXT(lk_buf_text(&report), "");
}

Test(import_csv, bad_rows_are_named_by_line)
{
    expect_refused("1,2,3\n4,5\n", "", LK_E_FORMAT, "DIR/a.csv:2: 2 values, expected 3 as in line 1");
    expect_refused("x\n\n1,2,3\n", "--header", LK_E_FORMAT, "DIR/a.csv:2: blank line before the end of the rows");
    expect_refused("x\n1,2,3\n1,2,3\n4\n", "--header", LK_E_FORMAT, "DIR/a.csv:4: 1 value, expected 3 as in line 2");
    expect_refused("1,2,3\n4,5,6,7\n", "--classes", LK_E_FORMAT, "DIR/a.csv:2: 4 values, expected 3 as in line 1");
    expect_refused("1,2,3\n4,x,6,0.5\n", "--classes", LK_E_FORMAT, "DIR/a.csv:2: 4 values, expected 3 as in line 1");
    expect_refused("1,2,3\n4,5,6,\n", "", LK_E_FORMAT, "DIR/a.csv:2: 4 values, expected 3 as in line 1");
    expect_refused("1,2,3\n\n4,5,6\n", "", LK_E_FORMAT, "DIR/a.csv:2: blank line before the end of the rows");
    expect_refused("1,2,3\n4,abc,6\n", "", LK_E_FORMAT, "DIR/a.csv:2: column 2: \"abc\" is not a number");
    expect_refused("1,2,3\n4,,6\n", "", LK_E_FORMAT, "DIR/a.csv:2: column 2 is empty");
    expect_refused("1,2,3\n4,5,?\n", "--classes", LK_E_FORMAT, "DIR/a.csv:2: column 3: \"?\" is not a number");
    expect_refused("1,2,3\n4,nan,6\n", "", LK_E_FORMAT, "DIR/a.csv:2: column 2: \"nan\" is not a number");
    expect_refused("1,2,3\n4,5 6,6\n", "", LK_E_FORMAT, "DIR/a.csv:2: column 2: \"5 6\" is not a number");
    expect_refused("1,2,3\n4,\"5\"6,6\n", "", LK_E_FORMAT, "DIR/a.csv:2: column 2: \"\"5\"6\" is not a number");
    expect_refused("1,2,3\n4,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,6\n", "", LK_E_FORMAT,
        "DIR/a.csv:2: column 2: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\" is not a number");
    expect_refused("1,2,3\n4,5,2.5\n", "--classes", LK_E_FORMAT,
        "DIR/a.csv:2: column 3: \"2.5\" is not a whole number, as --classes takes for labels");
    expect_refused("1,2,3\n4,5,1e300\n", "--classes", LK_E_FORMAT,
        "DIR/a.csv:2: column 3: \"1e300\" is not a whole number, as --classes takes for labels");
    expect_refused("1,2,3\n4,256,2\n", "--type uint8", LK_E_FORMAT,
        "DIR/a.csv:2: column 2: \"256\" is not a whole number from 0 to 255, as --type uint8 takes");
    expect_refused("1,2,3\n-1,5,2\n", "--type uint8", LK_E_FORMAT,
        "DIR/a.csv:2: column 1: \"-1\" is not a whole number from 0 to 255, as --type uint8 takes");
    expect_refused("1,2,3\n0.5,5,2\n", "--type uint8", LK_E_FORMAT,
        "DIR/a.csv:2: column 1: \"0.5\" is not a whole number from 0 to 255, as --type uint8 takes");
    expect_refused("1,2,3\n1e39,5,2\n", "", LK_E_FORMAT, "DIR/a.csv:2: column 1: \"1e39\" is too large for float32");
}

Test(import_csv, bad_files_and_options)
{
    expect_refused("", "", LK_E_FORMAT, "DIR/a.csv: empty file");
    expect_refused("\n\n", "", LK_E_FORMAT, "DIR/a.csv: no rows");
    expect_refused("x,y\n", "--header", LK_E_FORMAT, "DIR/a.csv: no rows after the header");
    expect_refused("1,2\n3,4\n", "--skip 2", LK_E_ARG, "--skip 2: DIR/a.csv has 2 rows");
    expect_refused("1,2\n3,4\n", "--rows 3", LK_E_ARG, "--rows 3: DIR/a.csv has 2 rows");
    expect_refused("1,2\n3,4\n", "--skip 1 --rows 2", LK_E_ARG, "--rows 2: DIR/a.csv has 1 row after those skipped");
    expect_refused(
        "1\n3\n", "", LK_E_ARG, "DIR/a.csv has one column: with a label there is no input (--label-column none)");
    expect_refused("1,2\n", "--label-column 3", LK_E_ARG, "--label-column 3: DIR/a.csv has 2 columns");
    expect_refused("1,2\n", "--label-column -3", LK_E_ARG, "--label-column -3: DIR/a.csv has 2 columns");
    expect_refused("1,2\n", "--label-column 0", LK_E_ARG, "--label-column 0: DIR/a.csv has 2 columns");
    expect_refused(
        "1,2\n", "--label-column class", LK_E_ARG, "--label-column class: a number, \"none\", or with --header a name");
    expect_refused("a,b\n1,2\n", "--header --label-column class", LK_E_ARG,
        "--label-column class: the header of the file has no such column");
    expect_refused("1,2,3,4\n", "--shape 2,2", LK_E_ARG, "--shape 2,2: DIR/a.csv has 3 values a sample");
    expect_refused(
        "1,2\n", "--shape 1,1,1,1,1,1,1", LK_E_ARG, "--shape 1,1,1,1,1,1,1: up to 6 dimensions are possible");
    expect_refused("1,2\n", "--delimiter ab", LK_E_ARG, "--delimiter \"ab\": one character, \"tab\" or \"space\"");
    expect_refused("1,2\n3,4\n", "--shard-rows 1", LK_E_ARG,
        "--shard-rows 1: 1 of 2 rows would be left over; end it with \"rest\"");
    expect_refused("1,2\n3,4\n", "--shard-rows 1,2", LK_E_ARG,
        "--shard-rows 1,2: there are 2 rows, so shard 2 gets none or too few");
    expect_refused("1,2\n3,4\n", "--shard-rows 2,rest", LK_E_ARG,
        "--shard-rows 2,rest: there are 2 rows, so shard 2 gets none or too few");
    expect_refused("1,2\n3,4\n", "--shard-rows rest,1", LK_E_ARG,
        "--shard-rows rest,1: \"rest\" is no number of rows (\"500,300,rest\": \"rest\" may come last)");
    expect_refused("1,2\n3,4\n", "--shard-rows 1,x", LK_E_ARG,
        "--shard-rows 1,x: \"x\" is no number of rows (\"500,300,rest\": \"rest\" may come last)");
    expect_refused("1,2\n3,4\n", "--input label", LK_E_ARG, "fields \"label\" and \"label\": two names are needed");
    EXPECT_FAIL(run_import("csv", "DIR/none.csv DIR/a.h5"), LK_E_NOT_FOUND,
        about("DIR/none.csv: open: No such file or directory"));
    EXPECT_FAIL(run_import("csv", "DIR/a.csv DIR/no/a.h5"), LK_E_NOT_FOUND,
        about("DIR/no/a.h5: its folder DIR/no is not there"));
    EXPECT_FAIL(run_import("csv", "DIR/a.csv DIR/a.csv"), LK_E_UNSUPPORTED,
        about("DIR/a.csv: it is there and is no HDF5 file, so it is not replaced"));
    EXPECT_FAIL(run_import("csv", "DIR/a.csv"), LK_E_USAGE, lk_err_last()->message);
    EXPECT_TEXT(folder(), "a.csv");
}

Test(import_csv, damaged_gzip_files)
{
    char text[20000];
    size_t n = 0, bytes = 0;
    char *whole = NULL;

    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%d,%d\n", i * 7919 % 1000, i);
    write_gzip("a.csv", text, n);
    EXPECT_OK(lk_file_read(at("a.csv"), 0, &whole, &bytes));
    write_text("a.csv", whole, bytes - 5);
    EXPECT_FAIL(run_import("csv", "DIR/a.csv DIR/a.h5"), LK_E_FORMAT,
        about("DIR/a.csv: truncated: its gzip stream has no end"));
    write_text("a.csv", whole, bytes / 2);
    EXPECT_FAIL(run_import("csv", "DIR/a.csv DIR/a.h5"), LK_E_FORMAT,
        about("DIR/a.csv: truncated: its gzip stream has no end"));
    whole[bytes - 6] ^= 1; /* of the check sum */
    write_text("a.csv", whole, bytes);
    EXPECT_FAIL(run_import("csv", "DIR/a.csv DIR/a.h5"), LK_E_FORMAT,
        about("DIR/a.csv: damaged gzip file: incorrect data check"));
    lk_free(whole);
    EXPECT_TEXT(folder(), "a.csv");
}

Test(import_csv, out_of_memory_at_every_point)
{
    lk_status st = LK_E_NOMEM;
    int64_t n = 0;

    write_csv("1,2\n3,4\n");
    EXPECT_OK(run_import("csv", "DIR/a.csv DIR/a.h5 --shard-rows 1,1")); /* the report has grown */
    unlink(at("a-000.h5"));
    unlink(at("a-001.h5"));
    const int64_t before = lk_mem_bytes();
    while (st != LK_OK) {
        lk_mem_fail_at(++n);
        st = run_import("csv", "DIR/a.csv DIR/a.h5 --shard-rows 1,1");
        lk_mem_fail_at(0);
        cr_assert(st == LK_OK || st == LK_E_NOMEM);
        cr_assert(
            lk_mem_bytes() == before, "%ld more bytes after failure %ld", (long)(lk_mem_bytes() - before), (long)n);
        if (st != LK_OK && strcmp(folder(), "a.csv") != 0)
            EXPECT_TEXT(folder(), "a-000.h5 a-001.h5 a.csv"); /* both were there, and then something failed */
        cr_assert(n < 1000);
    }
    cr_expect(n > 20);
}
