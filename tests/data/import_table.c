/* Tables with names, missing values and means: what csv does beyond plain numbers. */
#include "importing.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_table, .init = make_dir, .fini = clean_up);

static void write_string(const char *name, const char *text)
{
    write_text(name, text, strlen(text));
}

static float x[64];

static void expect_input(const char *name, int64_t n, int64_t inputs, const float *want)
{
    read_back(name, "input", LK_ELEM_F32, 2, (int64_t[]){n, inputs}, x);
    for (int64_t i = 0; i < n * inputs; i++)
        cr_expect(x[i] == want[i], "%s: row %d, input %d is %g, expected %g", name, (int)(i / inputs),
            (int)(i % inputs), (double)x[i], (double)want[i]);
}

static const char people[] = "39, State-gov, 10, Male, <=50K\n50, Private, ?, Female, >50K\n\n"
                             "10, ?, 40, Male, <=50K\n21, Private, 10, Male, >50K\n";

/* `people` without its blank line, which is for the tests of refusal. */
static void write_people(void)
{
    write_string("a", "39, State-gov, 10, Male, <=50K\n50, Private, ?, Female, >50K\n"
                      "10, ?, 40, Male, <=50K\n21, Private, 10, Male, >50K\n\n");
}

Test(import_table, names_missing_values_and_classes)
{
    int64_t label[4];

    write_people();
    EXPECT_OK(run_import("csv", "DIR/a DIR/a.h5 --one-hot auto --missing ? --named-classes"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/a.h5: 4 samples, input float32 [4,8], label int64 [4]\n"));
    /* age; ? Private State-gov; hours, of which one is missing: 20, told by the next; Female Male */
    expect_input("a.h5", 4, 8,
        (float[]){
            39, 0, 0, 1, 10, 0, 0, 1, 50, 0, 1, 0, 20, 1, 1, 0, 10, 1, 0, 0, 40, 0, 0, 1, 21, 0, 1, 0, 10, 0, 0, 1});
    read_back("a.h5", "label", LK_ELEM_I64, 1, (int64_t[]){4}, label);
    cr_expect(label[0] == 0 && label[1] == 1 && label[2] == 0 && label[3] == 1);
    expect_attr("a.h5", "label", "classes", "<=50K\n>50K");

    /* the same columns by number, one of them dropped */
    EXPECT_OK(run_import("csv", "DIR/a DIR/b.h5 --one-hot 2,-2 --missing ? --named-classes --drop 3"));
    expect_input("b.h5", 4, 6, (float[]){39, 0, 0, 1, 0, 1, 50, 0, 1, 0, 1, 0, 10, 1, 0, 0, 0, 1, 21, 0, 1, 0, 0, 1});

    /* numbers that are names, as bytes */
    uint8_t y[12];
    write_string("c", "1;7\n2;7\n10;8\n");
    EXPECT_OK(run_import("csv", "DIR/c DIR/c.h5 --delimiter ; --one-hot 1 --type uint8 --label-column none"));
    read_back("c.h5", "input", LK_ELEM_U8, 2, (int64_t[]){3, 4}, y);
    cr_expect(memcmp(y, (uint8_t[]){1, 0, 0, 7, 0, 0, 1, 7, 0, 1, 0, 8}, 12) == 0); /* 1, 10, 2: by bytes */
}

Test(import_table, the_same_encoding_for_another_file)
{
    int64_t label[3];

    write_people();
    EXPECT_OK(run_import("csv", "DIR/a DIR/a.h5 --one-hot auto --missing ? --named-classes --standardize"));
    write_string(
        "b", "30, Private, 20, Female, >50K.\n?, ?, ?, Male, <=50K.\n30,State-gov,32.247448713915890,Male,<=50K.\n");
    EXPECT_OK(run_import("csv", "DIR/b DIR/b.h5 --like DIR/a.h5 --named-classes --strip ."));
    /* ages: mean 30, hours 10, 40, 10: mean 20, deviation sqrt(200) */
    const float d = (float)((32.247448713915890 - 20) / 14.142135623730951);
    expect_input("b.h5", 3, 8, (float[]){0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, d, 0, 0, 1});
    read_back("b.h5", "label", LK_ELEM_I64, 1, (int64_t[]){3}, label);
    cr_expect(label[0] == 1 && label[1] == 0 && label[2] == 0);
    /* what came of it can be taken on */
    EXPECT_OK(run_import("csv", "DIR/b DIR/c.h5 --like DIR/b.h5 --named-classes --strip ."));

    expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/a.h5 --named-classes", LK_E_FORMAT,
        "DIR/b:1: column 5: \">50K.\" is not among the 2 names of this column in DIR/a.h5");
    expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/a.h5 --named-classes --missing ?", LK_E_ARG,
        "--like DIR/a.h5: --one-hot, --missing, --standardize and --drop come from that file");
    expect_import_refused(
        "csv", "DIR/b DIR/d.h5 --like DIR/a.h5", LK_E_ARG, "--like DIR/a.h5: labels have names there");
    expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/a.h5 --label-column none", LK_E_ARG,
        "--like DIR/a.h5: column 5 is the label there");
    expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/a.h5 --label-column 1 --named-classes", LK_E_ARG,
        "--like DIR/a.h5: column 1 is not the label there");
    expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/a.h5 --named-classes --input other", LK_E_FORMAT,
        "DIR/a.h5: field \"other\" has no encoding: it is not of an import with --one-hot, --missing, --standardize, "
        "--drop or --named-classes");
    expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/none.h5 --named-classes", LK_E_NOT_FOUND,
        "DIR/none.h5: open: No such file or directory");
    write_string("b", "1,Private,1,Male,>50K\n2,Nobody,2,Male,>50K\n");
    expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/a.h5 --named-classes", LK_E_FORMAT,
        "DIR/b:2: column 2: \"Nobody\" is not among the 3 names of this column in DIR/a.h5");
    write_string("b", "1,2\n");
    expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/a.h5 --named-classes", LK_E_FORMAT,
        "DIR/b has 2 columns, DIR/a.h5 was made of 5");
}

Test(import_table, damaged_encodings)
{
    static const struct {
        const char *text, *message;
    } bad[] = {{"{", "DIR/a.h5: its encoding is no JSON: string or '}' expected near end of file"},
        {"{}", "DIR/a.h5: its encoding has no columns"}, {"[1]", "DIR/a.h5: its encoding has no columns"},
        {"{\"columns\":7}", "DIR/a.h5: its encoding has no columns"},
        {"{\"columns\":[{\"kind\":\"label\"},{\"kind\":\"x\"}]}", "DIR/a.h5: column 2 of its encoding is damaged"},
        {"{\"columns\":[{\"kind\":\"number\",\"mean\":1,\"deviation\":0}]}",
            "DIR/a.h5: column 1 of its encoding is damaged"},
        {"{\"columns\":[{\"kind\":\"dropped\"}]}", "DIR/b has 2 columns, DIR/a.h5 was made of 1"},
        {"{\"columns\":[{\"kind\":\"one-hot\",\"names\":[7,\"x\"]},{\"kind\":\"dropped\"}]}",
            "DIR/b:1: column 1: \"1\" is not among the 1 names of this column in DIR/a.h5"}};

    write_string("b", "1,2\n");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hid_t file = -1;
        EXPECT_OK(lk_h5_create(at("a.h5"), &file));
        add_field(file, "input", LK_ELEM_U8, 1, (int64_t[]){1}, "x");
        EXPECT_OK(lk_h5_set_text(file, "input", "encoding", bad[i].text));
        EXPECT_OK(lk_h5_close(&file, "a.h5"));
        expect_import_refused("csv", "DIR/b DIR/d.h5 --like DIR/a.h5 --label-column none", LK_E_FORMAT, bad[i].message);
    }
}

Test(import_table, series_and_ranges)
{
    float v[8];

    write_string("a", "date,HUFL,OT\n2016-07-01 00:00:00,1,10\n2016-07-01 01:00:00,3,10\n2016-07-01 02:00:00,5,40\n"
                      "2016-07-01 03:00:00,7,20\n");
    EXPECT_OK(run_import(
        "csv", "DIR/a DIR/train.h5 --header --drop date --label-column none --input values --standardize --rows 0:2"));
    read_back("train.h5", "values", LK_ELEM_F32, 2, (int64_t[]){2, 2}, v);
    cr_expect(v[0] == -1 && v[1] == 0 && v[2] == 1 && v[3] == 0); /* a column that never changes is taken over 1 */
    EXPECT_OK(run_import(
        "csv", "DIR/a DIR/valid.h5 --header --label-column none --input values --like DIR/train.h5 --rows 2:"));
    read_back("valid.h5", "values", LK_ELEM_F32, 2, (int64_t[]){2, 2}, v);
    cr_expect(v[0] == 3 && v[1] == 30 && v[2] == 5 && v[3] == 10);
    EXPECT_OK(run_import("csv", "DIR/a DIR/b.h5 --header --drop 1 --label-column none --input values --rows 1:3"));
    read_back("b.h5", "values", LK_ELEM_F32, 2, (int64_t[]){2, 2}, v);
    cr_expect(v[0] == 3 && v[1] == 10 && v[2] == 5 && v[3] == 40);
    EXPECT_OK(run_import("csv", "DIR/a DIR/b.h5 --header --drop 1 --label-column none --input values --rows 1"));
    read_back("b.h5", "values", LK_ELEM_F32, 2, (int64_t[]){1, 2}, v);

    static const struct {
        const char *rows, *message;
    } bad[] = {{"x", "--rows x: a number of rows, or a range like \"100:150\" or \"100:\""},
        {"2:2", "--rows 2:2: a number of rows, or a range like \"100:150\" or \"100:\""},
        {"-1", "--rows -1: a number of rows, or a range like \"100:150\" or \"100:\""},
        {":3", "--rows :3: a number of rows, or a range like \"100:150\" or \"100:\""},
        {"1:2 --skip 1", "--rows 1:2 and --skip: one of them says where to begin"},
        {"4:", "--rows 4:: DIR/a has 4 rows"}, {"2:5", "--rows 2:5: DIR/a has 2 rows after those skipped"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char line[200];
        snprintf(line, sizeof line, "DIR/a DIR/c.h5 --header --drop date --rows=%s", bad[i].rows);
        expect_import_refused("csv", line, LK_E_ARG, bad[i].message);
    }
}

Test(import_table, empty_cells_as_missing)
{
    write_string("a", "1,,x\n,2,\n3,4,x\n");
    EXPECT_OK(run_import("csv", "DIR/a DIR/a.h5 --missing empty --one-hot 3 --label-column none"));
    expect_input("a.h5", 3, 6, (float[]){1, 0, 3, 1, 0, 1, 2, 1, 2, 0, 1, 0, 3, 0, 4, 0, 0, 1});
}

Test(import_table, what_is_refused)
{
    write_text("a", people, sizeof people - 1);
    expect_import_refused("csv", "DIR/a DIR/a.h5 --one-hot auto --missing ? --named-classes", LK_E_FORMAT,
        "DIR/a:3: blank line before the end of the rows");
    write_people();
    expect_import_refused(
        "csv", "DIR/a DIR/a.h5 --one-hot 2,4 --named-classes", LK_E_FORMAT, "DIR/a:2: column 3: \"?\" is not a number");
    expect_import_refused("csv", "DIR/a DIR/a.h5 --one-hot auto --missing ?", LK_E_FORMAT,
        "DIR/a:1: column 5: \"<=50K\" is not a number");
    expect_import_refused("csv", "DIR/a DIR/a.h5 --one-hot auto --missing >50K --named-classes", LK_E_FORMAT,
        "DIR/a:2: column 5: \">50K\" is missing, and it is the label");
    expect_import_refused("csv", "DIR/a DIR/a.h5 --one-hot 6", LK_E_ARG, "--one-hot 6: DIR/a has 5 columns");
    expect_import_refused(
        "csv", "DIR/a DIR/a.h5 --one-hot sex", LK_E_ARG, "--one-hot sex: a number, or with --header a name");
    expect_import_refused("csv", "DIR/a DIR/a.h5 --header --one-hot sex", LK_E_ARG,
        "--one-hot sex: the header of the file has no such column");
    expect_import_refused(
        "csv", "DIR/a DIR/a.h5 --one-hot 5", LK_E_ARG, "--one-hot 5: that column is the label already");
    expect_import_refused("csv", "DIR/a DIR/a.h5 --drop -1", LK_E_ARG, "--drop -1: that column is the label already");
    expect_import_refused(
        "csv", "DIR/a DIR/a.h5 --drop 2 --one-hot 2", LK_E_ARG, "--one-hot 2: that column is dropped already");
    expect_import_refused("csv", "DIR/a DIR/a.h5 --drop 1 --drop 2 --drop 3 --drop 4 --named-classes", LK_E_ARG,
        "DIR/a: no column is left for the input");
    expect_import_refused("csv", "DIR/a DIR/a.h5 --type uint8 --standardize", LK_E_ARG,
        "--type uint8 takes numbers as they are, without --missing and --standardize");
    write_string("a", "x,\n");
    expect_import_refused(
        "csv", "DIR/a DIR/a.h5 --one-hot 1 --named-classes --strip .", LK_E_FORMAT, "DIR/a:1: column 2 is empty");
}

Test(import_table, more_names_than_are_kept)
{
    lk_buf text = {0};

    for (int i = 0; i < 10001; i++)
        lk_buf_printf(&text, "name%d,1\n", i);
    write_text("a", text.text, text.len);
    expect_import_refused(
        "csv", "DIR/a DIR/a.h5 --one-hot 1", LK_E_FORMAT, "DIR/a:10001: column 1: more than 10000 different names");
    cr_expect(run_import("csv", "DIR/a DIR/a.h5 --one-hot 1 --rows 9000") == LK_E_UNSUPPORTED);
    cr_expect(strstr(lk_err_last()->message, "bytes of names and means; up to 64000 are kept with the data") != NULL);
    EXPECT_TEXT(folder(), "a");
    lk_buf_fini(&text);
}

Test(import_table, out_of_memory_at_every_point)
{
    write_string("a", "a,b,c\nx,1,y\nz,?,w\n");
    expect_out_of_memory_is_fine(
        "csv", "DIR/a DIR/a.h5 --header --one-hot auto --missing ? --standardize --named-classes");
    write_string("b", "a,b,c\nx,1,y\n");
    expect_out_of_memory_is_fine("csv", "DIR/b DIR/b.h5 --header --like DIR/a.h5 --named-classes");
}
