#include "importing.h"

#include "data/generate.h"

#include <time.h>

static void clean_up(void)
{
    lk_buf_fini(&report);
    remove_dir();
}

TestSuite(generate, .init = make_dir, .fini = clean_up);

static lk_status generate(const char *line)
{
    char words[1024], *argv[20];
    int argc = 0;
    bool help = false;
    lk_generate_dates_opts o;

    lk_buf_clear(&report);
    snprintf(words, sizeof words, "%s", about(line));
    for (char *w = strtok(words, " "); w != NULL; w = strtok(NULL, " "))
        argv[argc++] = w;
    LK_TRY(lk_table_parse_args(&lk_generate_dates_table, argc, argv, false, &o, NULL, &help));
    const lk_status st = lk_generate_dates(&o, &report);
    lk_table_fini(&lk_generate_dates_table, &o);
    return st;
}

/* Every source is one of the ways of writing the date that stands beside it, with its weekday: by strftime. */
Test(generate, every_date_is_written_in_a_known_way)
{
    static const char *const forms[] = {"%-d# of %B %Y", "the %-d# of %B, %Y", "%a, %d %b %Y", "%A, %B %-d, %Y",
        "%B %-d, %Y", "%b %-d#, %Y", "%-d %B %Y", "%d-%b-%Y", "%-m/%-d/%y", "%m/%d/%Y", "%-d.%-m.%Y", "%d.%m.%y",
        "%Y/%m/%d", "%Y%m%d", "%-d %^b %y", "%b %-d '%y", "%Y, %B %-d", "*%A %-d %B %Y", "*%-d# %b '%y", "%-d. %B %Y"};
    enum { FORMS = sizeof forms / sizeof forms[0], N = 20000 };
    int of_form[FORMS] = {0}, of_decade[10] = {0}, leap_days = 0;

    for (int i = 0; i < N; i++) {
        char source[LK_DATES_SOURCE + 1], iso[11], again[16];
        struct tm t = {0};
        lk_generate_date(7, i, source, iso);
        cr_assert(sscanf(iso, "%4d-%2d-%2d", &t.tm_year, &t.tm_mon, &t.tm_mday) == 3 && strlen(iso) == 10, "%s", iso);
        t.tm_year -= 1900;
        t.tm_mon--;
        const time_t when = timegm(&t);
        gmtime_r(&when, &t); /* an impossible day becomes another one */
        strftime(again, sizeof again, "%Y-%m-%d", &t);
        cr_assert(strcmp(again, iso) == 0, "%s", iso);
        of_decade[(t.tm_year - 50) / 10]++;
        leap_days += t.tm_mon == 1 && t.tm_mday == 29;

        int found = 0;
        for (int k = 0; k < FORMS; k++) {
            char text[64], whole[64];
            size_t n = 0;
            strftime(text, sizeof text, forms[k][0] == '*' ? forms[k] + 1 : forms[k], &t);
            for (const char *c = text; *c != 0; c++) {
                const int d = t.tm_mday;
                const char *end = d == 1 || d == 21 || d == 31 ? "st"
                                  : d == 2 || d == 22          ? "nd"
                                  : d == 3 || d == 23          ? "rd"
                                                               : "th";
                if (*c == '#')
                    n += (size_t)snprintf(whole + n, sizeof whole - n, "%s", end);
                else
                    whole[n++] = *c >= 'A' && *c <= 'Z' && forms[k][0] == '*' ? (char)(*c + 'a' - 'A') : *c;
            }
            whole[n] = 0;
            if (strcmp(whole, source) == 0) {
                of_form[k]++;
                found++;
            }
        }
        cr_assert(found >= 1, "%s: \"%s\" is no way of writing it", iso, source);
    }
    for (int k = 0; k < FORMS; k++) /* 1000 expected, deviation 31; May is May in full, so some are two at once */
        cr_expect(of_form[k] > 850 && of_form[k] < 1300, "form %d: %d", k, of_form[k]);
    for (int k = 0; k < 10; k++)
        cr_expect(of_decade[k] > 1800 && of_decade[k] < 2200, "decade %d: %d", k, of_decade[k]);
    cr_expect(leap_days > 2 && leap_days < 40); /* 25 of 36525 days: 14 */
}

Test(generate, files)
{
    static uint8_t source[3000][LK_DATES_SOURCE], target[3000][LK_DATES_TARGET];
    static int32_t source_length[3000], target_length[3000];
    const char *const characters = " ',-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    EXPECT_OK(generate("--samples 3000 --seed 5 DIR/a.h5 --split 0.75 --rest DIR/b.h5 --shard-rows 100,rest"));
    EXPECT_TEXT(folder(), "a-000.h5 a-001.h5 b.h5");
    expect_attr("b.h5", "source", "vocabulary", characters);
    expect_attr("b.h5", "target", "vocabulary", "-0123456789");
    for (int i = 0, first = 0; i < 3; i++) {
        const char *name = i == 0 ? "a-000.h5" : i == 1 ? "a-001.h5" : "b.h5";
        const int64_t n[] = {100, 2150, 750};
        read_back(name, "source", LK_ELEM_U8, 2, (int64_t[]){n[i], LK_DATES_SOURCE}, source[first]);
        read_back(name, "target", LK_ELEM_U8, 2, (int64_t[]){n[i], LK_DATES_TARGET}, target[first]);
        read_back(name, "source_length", LK_ELEM_I32, 1, &n[i], source_length + first);
        read_back(name, "target_length", LK_ELEM_I32, 1, &n[i], target_length + first);
        first += (int)n[i];
    }
    for (int i = 0; i < 3000; i++) {
        char text[LK_DATES_SOURCE + 1], iso[11];
        lk_generate_date(5, i, text, iso);
        cr_assert(source_length[i] == (int)strlen(text) && target_length[i] == 12);
        for (int k = 0; k < LK_DATES_SOURCE; k++) {
            if (k < source_length[i])
                cr_assert(characters[source[i][k] - 1] == text[k], "%d, %d", i, k);
            else
                cr_assert(source[i][k] == 0);
        }
        cr_assert(target[i][0] == LK_DATES_BEGIN && target[i][11] == LK_DATES_END);
        for (int k = 0; k < 10; k++)
            cr_assert("-0123456789"[target[i][k + 1] - LK_DATES_FIRST] == iso[k], "%d, %d", i, k);
    }

    /* the same dates whatever the number of them and of files; others by another seed */
    static uint8_t again[50][LK_DATES_SOURCE];
    EXPECT_OK(generate("--samples 50 --seed 5 DIR/c.h5"));
    read_back("c.h5", "source", LK_ELEM_U8, 2, (int64_t[]){50, LK_DATES_SOURCE}, again);
    cr_expect(memcmp(again, source, sizeof again) == 0);
    EXPECT_OK(generate("--samples 50 --seed 6 DIR/c.h5"));
    read_back("c.h5", "source", LK_ELEM_U8, 2, (int64_t[]){50, LK_DATES_SOURCE}, again);
    cr_expect(memcmp(again, source, sizeof again) != 0);
}

Test(generate, what_is_refused)
{
    EXPECT_FAIL(generate("DIR/no/a.h5"), LK_E_NOT_FOUND, about("DIR/no/a.h5: its folder DIR/no is not there"));
    EXPECT_FAIL(generate("--samples 1 DIR/a.h5 --split 0.5 --rest DIR/b.h5"), LK_E_ARG,
        "--split 0.5: of 1 samples one part would get none");
    cr_expect(generate("--samples 0 DIR/a.h5") == LK_E_USAGE);
    EXPECT_TEXT(folder(), "");
    lk_status st = LK_E_NOMEM;
    EXPECT_OK(generate("--samples 5 DIR/a.h5"));
    const int64_t before = lk_mem_bytes();
    for (int i = 1; st != LK_OK; i++) {
        lk_mem_fail_at(i);
        st = generate("--samples 5 DIR/a.h5");
        lk_mem_fail_at(0);
        cr_assert((st == LK_OK || st == LK_E_NOMEM) && lk_mem_bytes() == before && i < 100);
    }
    EXPECT_TEXT(folder(), "a.h5");
}
