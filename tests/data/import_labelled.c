#include "importing.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_labelled, .init = make_dir, .fini = clean_up);

static void write_string(const char *name, const char *text)
{
    write_text(name, text, strlen(text));
}

Test(import_labelled, characters_and_bytes)
{
    uint8_t x[18];
    int32_t length[3];
    int64_t label[3];

    write_string("a", "ham\tab\r\nspam\tc\tb\xc3\xa9"
                      "c\r\nham\tb\r\n\r\n");
    EXPECT_OK(run_import("labelled-text", "DIR/a DIR/a.h5"));
    EXPECT_TEXT(
        lk_buf_text(&report), about("DIR/a.h5: 3 samples, tokens uint8 [3,5], length int32 [3], label int64 [3]\n"
                                    "2 classes, the longest text has 5 ids\n"));
    expect_attr("a.h5", "label", "classes", "ham\nspam");
    expect_attr("a.h5", "tokens", "vocabulary", "\tabc\xc3\xa9");
    read_back("a.h5", "tokens", LK_ELEM_U8, 2, (int64_t[]){3, 5}, x);
    read_back("a.h5", "length", LK_ELEM_I32, 1, (int64_t[]){3}, length);
    read_back("a.h5", "label", LK_ELEM_I64, 1, (int64_t[]){3}, label);
    cr_expect(memcmp(x, (uint8_t[]){2, 3, 0, 0, 0, 4, 1, 3, 5, 4, 3, 0, 0, 0, 0}, 15) == 0);
    cr_expect(length[0] == 2 && length[1] == 5 && length[2] == 1);
    cr_expect(label[0] == 0 && label[1] == 1 && label[2] == 0);

    EXPECT_OK(run_import("labelled-text", "DIR/a DIR/a.h5 --level bytes --max-length 4"));
    EXPECT_TEXT(
        lk_buf_text(&report), about("DIR/a.h5: 3 samples, tokens uint8 [3,4], length int32 [3], label int64 [3]\n"
                                    "2 classes, the longest text has 6 ids: longer ones are cut\n"));
    read_back("a.h5", "tokens", LK_ELEM_U8, 2, (int64_t[]){3, 4}, x);
    read_back("a.h5", "length", LK_ELEM_I32, 1, (int64_t[]){3}, length);
    cr_expect(memcmp(x, (uint8_t[]){'b', 'c', 0, 0, 'd', '\t' + 1, 'c', 0xc4, 'c', 0, 0, 0}, 12) == 0);
    cr_expect(length[0] == 2 && length[1] == 4 && length[2] == 1);

    /* the byte 255 is 256 */
    uint16_t wide[2];
    write_string("b", "x\t\xff\x01");
    EXPECT_OK(run_import("labelled-text", "DIR/b DIR/b.h5 --level bytes"));
    read_back("b.h5", "tokens", LK_ELEM_U16, 2, (int64_t[]){1, 2}, wide);
    cr_expect(wide[0] == 256 && wide[1] == 2);
}

/* Every line goes to one of the parts, in the order of the file; which one is the seed's. */
Test(import_labelled, parts)
{
    enum { N = 1000 };
    lk_buf text = {0};
    static int64_t label[N], other[N];
    static uint8_t tokens[N][3];
    int of_part[2][10] = {0}, same = 0;

    for (int i = 0; i < N; i++)
        lk_buf_printf(&text, "%d\t%03d\n", i % 10, i);
    write_text("a", text.text, text.len);
    lk_buf_fini(&text);
    EXPECT_OK(run_import("labelled-text", "DIR/a DIR/train --split 0.8 --rest DIR/test.h5 --shard-rows 500,rest"));
    EXPECT_TEXT(folder(), "a test.h5 train-000.h5 train-001.h5");
    read_back("train-000.h5", "label", LK_ELEM_I64, 1, (int64_t[]){500}, label);
    read_back("train-001.h5", "label", LK_ELEM_I64, 1, (int64_t[]){300}, label + 500);
    read_back("test.h5", "label", LK_ELEM_I64, 1, (int64_t[]){200}, label + 800);
    read_back("train-000.h5", "tokens", LK_ELEM_U8, 2, (int64_t[]){500, 3}, tokens);
    read_back("train-001.h5", "tokens", LK_ELEM_U8, 2, (int64_t[]){300, 3}, tokens[500]);
    read_back("test.h5", "tokens", LK_ELEM_U8, 2, (int64_t[]){200, 3}, tokens[800]);
    static bool seen[N];
    int before = -1;
    for (int i = 0; i < N; i++) {
        const int number = 100 * (tokens[i][0] - 1) + 10 * (tokens[i][1] - 1) + tokens[i][2] - 1;
        cr_assert(!seen[number] && label[i] == number % 10);
        cr_assert(i == 800 || number > before);
        before = number;
        seen[number] = true;
        of_part[i >= 800][label[i]]++;
    }
    for (int k = 0; k < 10; k++) /* 20 of 100 expected, deviation 3.6 */
        cr_expect(of_part[1][k] > 5 && of_part[1][k] < 40, "class %d: %d of 100", k, of_part[1][k]);

    EXPECT_OK(run_import("labelled-text", "DIR/a DIR/b.h5 --split 0.8 --rest DIR/other.h5 --seed 2"));
    read_back("other.h5", "label", LK_ELEM_I64, 1, (int64_t[]){200}, other);
    for (int i = 0; i < 200; i++)
        same += other[i] == label[800 + i];
    cr_expect(same < 100);
}

Test(import_labelled, what_is_refused)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "DIR/a: empty file"},
        {"\r\n\n", "DIR/a: no rows"},
        {"a\tb\nc d\n", "DIR/a:2: \"c d\": no tab, which stands between label and text"},
        {"a\tb\n0123456789012345678901234567890123456789x",
            "DIR/a:2: \"0123456789012345678901234567890123456789...\": no tab, which stands between label and text"},
        {"a\tb\n\tb\n", "DIR/a:2: the label is empty"},
        {"a\tb\na\t\r\n", "DIR/a:2: the text is empty"},
        {"a\tb\n\n\na\tb\n", "DIR/a:2: blank line before the end of the rows"},
        {"a\tb\na\txy\xff", "DIR/a:2: byte 5 of the line (0xff) is not UTF-8 (--level bytes takes any)"},
        {"a\tb\na\txy\xe2\x82\n", "DIR/a:2: byte 5 of the line (0xe2) is not UTF-8 (--level bytes takes any)"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_string("a", bad[i].text);
        expect_import_refused("labelled-text", "DIR/a DIR/a.h5", LK_E_FORMAT, bad[i].message);
    }
    write_text("a", "a\tx\0", 4);
    expect_import_refused("labelled-text", "DIR/a DIR/a.h5", LK_E_FORMAT,
        "DIR/a:1: byte 4 of the line (0x00) is 0, which no text has (--level bytes takes any)");
    write_text("a", "a\0b\tx", 5);
    expect_import_refused(
        "labelled-text", "DIR/a DIR/a.h5", LK_E_FORMAT, "DIR/a:1: the label is no text: it has a zero byte");
    write_string("a", "a\tb\n");
    expect_import_refused("labelled-text", "DIR/a DIR/a.h5 --split 0.5 --rest DIR/b.h5", LK_E_ARG,
        "--split 0.5: of 1 samples one part would get none");
    expect_import_refused("labelled-text", "DIR/b DIR/a.h5", LK_E_NOT_FOUND, "DIR/b: open: No such file or directory");

    lk_buf many = {0};
    for (int i = 0; i < 10001; i++)
        lk_buf_printf(&many, "%d\tx\n", i);
    write_text("a", many.text, many.len);
    lk_buf_fini(&many);
    expect_import_refused(
        "labelled-text", "DIR/a DIR/a.h5", LK_E_FORMAT, "DIR/a:10001: label: more than 10000 different names");
}

Test(import_labelled, out_of_memory_at_every_point)
{
    write_string("a", "a\tb\nc\tb\n");
    expect_out_of_memory_is_fine("labelled-text", "DIR/a DIR/a.h5 --split 0.5 --rest DIR/b.h5");
}
