#include "importing.h"

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(import_text, .init = make_dir, .fini = clean_up);

static void write_string(const char *name, const char *text)
{
    write_text(name, text, strlen(text));
}

Test(import_text, characters)
{
    uint8_t x[20];

    write_string("a.txt", "to be\nor not\n");
    EXPECT_OK(run_import("text", "DIR/a.txt DIR/a.h5"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/a.h5: 13 samples, tokens uint8 [13]\n8 different characters\n"));
    expect_attr("a.h5", "tokens", "vocabulary", "\n benort");
    read_back("a.h5", "tokens", LK_ELEM_U8, 1, (int64_t[]){13}, x);
    cr_expect(memcmp(x, (uint8_t[]){7, 5, 1, 2, 3, 0, 5, 6, 1, 4, 5, 7, 0}, 13) == 0);

    /* parts: 0.7 of 13 is 9.1 */
    EXPECT_OK(run_import("text", "DIR/a.txt DIR/a.h5 --split 0.7 --rest DIR/b.h5 --field ids"));
    EXPECT_TEXT(lk_buf_text(&report),
        about("DIR/a.h5: 9 samples, ids uint8 [9]\nDIR/b.h5: 4 samples, ids uint8 [4]\n8 different characters\n"));
    read_back("a.h5", "ids", LK_ELEM_U8, 1, (int64_t[]){9}, x);
    read_back("b.h5", "ids", LK_ELEM_U8, 1, (int64_t[]){4}, x + 9);
    cr_expect(memcmp(x, (uint8_t[]){7, 5, 1, 2, 3, 0, 5, 6, 1, 4, 5, 7, 0}, 13) == 0);
    expect_attr("b.h5", "ids", "vocabulary", "\n benort");
    hid_t file = -1;
    int64_t first = 0;
    EXPECT_OK(lk_h5_open(at("b.h5"), &file));
    EXPECT_OK(lk_h5_get_i64(file, ".", "first_row", &first));
    EXPECT_OK(lk_h5_close(&file, "b.h5"));
    cr_expect(first == 9);
}

Test(import_text, several_files_and_utf8)
{
    uint8_t x[20];

    /* a byte order mark, and characters of one to four bytes: e with acute, euro sign, a face */
    write_string("a.txt", "\xef\xbb\xbf"
                          "a\xc3\xa9");
    write_gzip("b.gz",
        "\xe2\x82\xac"
        "a\xf0\x9f\x98\x80",
        8);
    EXPECT_OK(run_import("text", "DIR/a.txt DIR/a.h5 --also DIR/b.gz --also DIR/a.txt --shard-rows 3,rest"));
    EXPECT_TEXT(folder(), "a-000.h5 a-001.h5 a.txt b.gz");
    read_back("a-000.h5", "tokens", LK_ELEM_U8, 1, (int64_t[]){3}, x);
    read_back("a-001.h5", "tokens", LK_ELEM_U8, 1, (int64_t[]){4}, x + 3);
    cr_expect(memcmp(x, (uint8_t[]){0, 1, 2, 0, 3, 0, 1}, 7) == 0);
    expect_attr("a-001.h5", "tokens", "vocabulary", "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");

    /* bytes are taken as they are */
    write_text("c.txt", "\xef\xbb\xbf\0\xff\x80", 6);
    EXPECT_OK(run_import("text", "DIR/c.txt DIR/c.h5 --level bytes"));
    EXPECT_TEXT(lk_buf_text(&report), about("DIR/c.h5: 6 samples, tokens uint8 [6]\n"));
    read_back("c.h5", "tokens", LK_ELEM_U8, 1, (int64_t[]){6}, x);
    cr_expect(memcmp(x, "\xef\xbb\xbf\0\xff\x80", 6) == 0);
    hid_t file = -1;
    EXPECT_OK(lk_h5_open(at("c.h5"), &file));
    cr_expect(!lk_h5_has_attr(file, "tokens", "vocabulary"));
    EXPECT_OK(lk_h5_close(&file, "c.h5"));
}

/* 300 characters over more bytes than are read at a time, so that characters lie across the pieces. */
Test(import_text, many_characters_over_many_pieces)
{
    enum { N = 200001 };
    char *text = malloc(3 * N);
    uint16_t *ids = malloc(N * sizeof *ids);
    size_t n = 0;

    for (int i = 0; i < N; i++) {
        const int c = 0x900 + (int)((unsigned)i * 7919u % 300u);
        text[n++] = (char)(0xe0 | c >> 12);
        text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        text[n++] = (char)(0x80 | (c & 0x3f));
    }
    write_text("a.txt", text, n);
    EXPECT_OK(run_import("text", "DIR/a.txt DIR/a.h5 --split 0.5 --rest DIR/b.h5"));
    read_back("a.h5", "tokens", LK_ELEM_U16, 1, (int64_t[]){N / 2}, ids);
    read_back("b.h5", "tokens", LK_ELEM_U16, 1, (int64_t[]){N - N / 2}, ids + N / 2);
    for (int i = 0; i < N; i++)
        cr_assert(ids[i] == (unsigned)i * 7919u % 300u, "%d", i);
    free(text);
    free(ids);
}

Test(import_text, what_is_refused)
{
    static const struct {
        const char *text, *options, *message;
    } bad[] = {
        {"", "", "DIR/a: empty file"},
        {"\xef\xbb\xbf", "", "DIR/a: no characters"},
        {"ab\nc\xff", "", "DIR/a:2: byte 4 (0xff) is not UTF-8 (--level bytes takes any)"},
        {"\x80", "", "DIR/a:1: byte 0 (0x80) is not UTF-8 (--level bytes takes any)"},
        {"a\xc0\x80", "", "DIR/a:1: byte 1 (0xc0) is not UTF-8 (--level bytes takes any)"},
        {"a\xe0\x80\x80", "", "DIR/a:1: byte 1 (0xe0) is not UTF-8 (--level bytes takes any)"},
        {"a\xed\xa0\x80", "", "DIR/a:1: byte 1 (0xed) is not UTF-8 (--level bytes takes any)"},
        {"a\xf4\x90\x80\x80", "", "DIR/a:1: byte 1 (0xf4) is not UTF-8 (--level bytes takes any)"},
        {"a\xe2\x82", "", "DIR/a:1: byte 1 (0xe2) begins a character that the text ends in (--level bytes takes any)"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_string("a", bad[i].text);
        expect_import_refused("text", "DIR/a DIR/a.h5", LK_E_FORMAT, bad[i].message);
    }
    write_text("a", "a\0b", 3);
    expect_import_refused(
        "text", "DIR/a DIR/a.h5", LK_E_FORMAT, "DIR/a:1: byte 1 is 0, which no text has (--level bytes takes any)");
    write_string("a", "ab");
    expect_import_refused(
        "text", "DIR/a DIR/a.h5 --split 0.5", LK_E_ARG, "--split: --rest is missing, the file for the other part");
    expect_import_refused("text", "DIR/a DIR/a.h5 --rest DIR/b.h5", LK_E_ARG,
        "--rest: --split is missing, the part that goes to the first file");
    expect_import_refused("text", "DIR/a DIR/a.h5 --split 0.1 --rest DIR/b.h5", LK_E_ARG,
        "--split 0.1: of 2 samples one part would get none");
    expect_import_refused("text", "DIR/a DIR/a.h5 --split 1 --rest DIR/b.h5", LK_E_ARG,
        "--split 1: of 2 samples one part would get none");
    expect_import_refused(
        "text", "DIR/a DIR/a.h5 --split 0.5 --rest DIR/a.h5", LK_E_ARG, "DIR/a.h5: both parts would go there");
    expect_import_refused("text", "DIR/a DIR/a.h5 --field=", LK_E_ARG, "field \"\": a name is needed");
    expect_import_refused(
        "text", "DIR/a DIR/a.h5 --also DIR/b", LK_E_NOT_FOUND, "DIR/b: open: No such file or directory");
    expect_import_refused(
        "text", "DIR/a DIR/a", LK_E_UNSUPPORTED, "DIR/a: it is there and is no HDF5 file, so it is not replaced");
    expect_import_refused("text", "DIR/a DIR/a.h5 --split 0.5 --rest DIR/no/b.h5", LK_E_NOT_FOUND,
        "DIR/no/b.h5: its folder DIR/no is not there");

    char *whole = NULL;
    size_t bytes = 0;
    write_gzip("a", "to be or not to be", 18);
    EXPECT_OK(lk_file_read(at("a"), 0, &whole, &bytes));
    write_text("a", whole, bytes - 5);
    lk_free(whole);
    expect_import_refused("text", "DIR/a DIR/a.h5", LK_E_FORMAT, "DIR/a: truncated: its gzip stream has no end");
}

Test(import_text, too_many_characters)
{
    char *text = malloc(4 * 30000);
    size_t n = 0;

    for (int c = 0x4e00; c < 0x4e00 + 25000; c++) {
        text[n++] = (char)(0xe0 | c >> 12);
        text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        text[n++] = (char)(0x80 | (c & 0x3f));
    }
    write_text("a", text, n);
    expect_import_refused("text", "DIR/a DIR/a.h5", LK_E_UNSUPPORTED,
        "25000 different characters: a vocabulary takes up to 64000 bytes (--level bytes)");
    write_text("a", text, 3 * 21000);
    EXPECT_OK(run_import("text", "DIR/a DIR/a.h5"));
    free(text);
}

Test(import_text, out_of_memory_at_every_point)
{
    write_string("a", "to be");
    expect_out_of_memory_is_fine("text", "DIR/a DIR/a.h5 --split 0.5 --rest DIR/b.h5");
}
