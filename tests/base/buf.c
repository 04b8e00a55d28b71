#include "base/buf.h"
#include "base/mem.h"
#include "base/support.h"

#include <locale.h>
#include <math.h>

Test(buf, grows_and_keeps_its_end)
{
    lk_buf b = {0};

    EXPECT_TEXT(lk_buf_text(&b), "");
    for (int i = 0; i < 1000; i++)
        lk_buf_printf(&b, "%03d,", i);
    lk_buf_add(&b, "end");
    lk_buf_add_n(&b, "xyz", 1);
    EXPECT_OK(lk_buf_status(&b));
    cr_expect(b.len == 4004 && strlen(b.text) == 4004);
    cr_expect(strncmp(b.text + 4 * 999, "999,endx", 9) == 0);
    lk_buf_clear(&b);
    EXPECT_TEXT(lk_buf_text(&b), "");
    lk_buf_add(&b, "");
    EXPECT_TEXT(b.text, "");
    lk_buf_fini(&b);
    cr_expect(b.text == NULL);
}

Test(buf, a_failed_allocation_is_remembered)
{
    lk_buf b = {0};

    lk_buf_add(&b, "first");
    lk_mem_fail_at(1);
    lk_buf_printf(&b, "%500d", 1);
    lk_buf_add(&b, "later");
    EXPECT_FAIL(lk_buf_status(&b), LK_E_NOMEM, "out of memory for text after 5 bytes");
    EXPECT_TEXT(b.text, "first");
    lk_buf_clear(&b);
    lk_buf_add(&b, "again");
    EXPECT_OK(lk_buf_status(&b));
    lk_buf_fini(&b);
}

Test(buf, nearest_word)
{
    static const char *const words[] = {"epochs", "batch", "microbatches", "optimizer", "lr"};
    static const struct {
        const char *word, *want;
    } row[] = {{"epoch", "epochs"}, {"epohcs", "epochs"}, {"bacth", "batch"}, {"optimiser", "optimizer"},
        {"micro_batches", "microbatches"}, {"rl", "lr"}, {"l", "lr"}, {"xy", NULL}, {"momentum", NULL}, {"", NULL},
        {"microbaches_", "microbatches"}};

    for (int i = 0; i < (int)(sizeof row / sizeof row[0]); i++) {
        const char *got = lk_nearest(row[i].word, words, 5);
        cr_expect(row[i].want == NULL ? got == NULL : got != NULL && strcmp(got, row[i].want) == 0, "%s -> %s",
            row[i].word, got != NULL ? got : "none");
    }
    cr_expect(lk_nearest("epochs", NULL, 0) == NULL);
    char longer[200];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    cr_expect(lk_nearest(longer, words, 5) == NULL);
}

Test(buf, formats_for_people)
{
    char t[32];

    static const struct {
        double v;
        const char *want;
    } bytes[] = {{0, "0 B"}, {512, "512 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {12.3 * 1048576, "12.3 MiB"},
        {1048570, "1.0 MiB"}, {5e12, "4.5 TiB"}};
    for (int i = 0; i < 7; i++) {
        lk_format_bytes(bytes[i].v, t, sizeof t);
        EXPECT_TEXT(t, bytes[i].want);
    }
    static const struct {
        double v;
        const char *want;
    } counts[] = {{0, "0"}, {999, "999"}, {1200, "1.2 k"}, {25600000, "25.6 M"}, {999990, "1.0 M"}};
    for (int i = 0; i < 5; i++) {
        lk_format_count(counts[i].v, t, sizeof t);
        EXPECT_TEXT(t, counts[i].want);
    }
    static const struct {
        double v;
        const char *want;
    } seconds[] = {{0, "0.0 s"}, {4.21, "4.2 s"}, {59.94, "59.9 s"}, {59.96, "1:00"}, {125, "2:05"},
        {3599.7, "1:00:00"}, {3723, "1:02:03"}, {360000, "100:00:00"}};
    for (int i = 0; i < 8; i++) {
        lk_format_seconds(seconds[i].v, t, sizeof t);
        EXPECT_TEXT(t, seconds[i].want);
    }
}

Test(buf, whole_numbers)
{
    static const char *const bad[] = {"", "-", "+", " 1", "1 ", "1e6", "64k", "0x10", "1.0", "--1",
        "9223372036854775808", "-9223372036854775809", "abc", "1_000"};
    int64_t v = 77;

    for (int i = 0; i < (int)(sizeof bad / sizeof bad[0]); i++)
        cr_expect(!lk_parse_i64(bad[i], &v) && v == 77, "\"%s\"", bad[i]);
    cr_expect(lk_parse_i64("9223372036854775807", &v) && v == INT64_MAX);
    cr_expect(lk_parse_i64("-9223372036854775808", &v) && v == INT64_MIN);
    cr_expect(lk_parse_i64("007", &v) && v == 7);
    cr_expect(lk_parse_i64("+3", &v) && v == 3);
}

Test(buf, reals)
{
    static const char *const bad[] = {"", " 1", "1 ", "1,5", "inf", "-inf", "nan", "NAN", "1e400", "abc", "1.5x", "."};
    static const double values[] = {0.1, 3e-3, 1.0 / 3, 1e300, -2.5, 5e-324, 0.30000000000000004, 123456789.125, 0};
    double v = 77;
    char t[32];

    for (int i = 0; i < (int)(sizeof bad / sizeof bad[0]); i++)
        cr_expect(!lk_parse_f64(bad[i], &v) && v == 77, "\"%s\"", bad[i]);
    cr_expect(lk_parse_f64("3e-3", &v) && v == 3e-3);
    cr_expect(lk_parse_f64("-.5", &v) && v == -0.5);
    cr_expect(lk_parse_f64("0x1p-3", &v) && v == 0.125);
    cr_expect(lk_parse_f64("1e-400", &v) && v == 0);
    for (int i = 0; i < (int)(sizeof values / sizeof values[0]); i++) {
        lk_format_f64(values[i], t, sizeof t);
        cr_expect(lk_parse_f64(t, &v) && v == values[i], "%s", t);
    }
    lk_format_f64(0.1, t, sizeof t);
    EXPECT_TEXT(t, "0.1");
    lk_format_f64(3e-5, t, sizeof t);
    EXPECT_TEXT(t, "3e-05");
}

/* A program with a decimal comma reads and writes the same numbers. Without such a locale on the machine this says
 * nothing. */
Test(buf, numbers_do_not_depend_on_the_locale)
{
    double v = 0;
    char t[32];

    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") == NULL)
        cr_skip("no de_DE.UTF-8 here");
    cr_expect(lk_parse_f64("0.5", &v) && v == 0.5);
    lk_format_f64(0.5, t, sizeof t);
    EXPECT_TEXT(t, "0.5");
}
