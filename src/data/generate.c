#include "data/generate.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/import/import_int.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const lk_field dates_rows[] = {
    LK_FIELD(lk_generate_dates_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(
        lk_generate_dates_opts, samples, LK_T_INT, .def = "10000", .min = 1, .max = 1e12, .help = "How many dates."),
    LK_FIELD(lk_generate_dates_opts, seed, LK_T_INT, .def = "1", .min = 0, .max = 1e18, .help = "Which ones."),
    LK_FIELD(lk_generate_dates_opts, split, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Part of them that goes to DEST; the others go to --rest."),
    LK_FIELD(lk_generate_dates_opts, rest, LK_T_STRING, .def = "", .help = "HDF5 file for the others."),
    LK_FIELD(lk_generate_dates_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards of DEST, \"500,300,rest\": DEST-000.h5, DEST-001.h5 ..."),
};
const lk_table lk_generate_dates_table = LK_TABLE(lk_generate_dates_opts, "lockstep data generate dates",
    "Makes dates as people write them, and what they are in ISO 8601: a task from sequence to sequence.", dates_rows);

/* ---- dates ---- */

typedef struct date {
    int year, month, day, weekday; /* month and day from 1, weekday from 0: Sunday */
} date;

enum { FIRST_YEAR = 1950, LAST_YEAR = 2049, DAYS = 36525, FIRST_WEEKDAY = 0 }; /* 1950-01-01 was a Sunday */

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year));
}

/* The date so many days after the first. */
static date date_of(int days)
{
    date d = {.year = FIRST_YEAR, .month = 1, .weekday = (FIRST_WEEKDAY + days) % 7};

    for (; days >= 365 + is_leap(d.year); d.year++)
        days -= 365 + is_leap(d.year);
    for (; days >= days_of(d.year, d.month); d.month++)
        days -= days_of(d.year, d.month);
    d.day = days + 1;
    return d;
}

/* ---- how people write them ---- */

typedef enum letters { AS_THEY_ARE, SMALL, LARGE } letters;

/* d 3, D 03, o 3rd, m 5, M 05, b May, B May (full), y 87, Y 1987, a Sun, A Sunday; each behind a %. */
static const struct {
    const char *text;
    letters letters;
} forms[] = {
    {"%o of %B %Y", AS_THEY_ARE},
    {"the %o of %B, %Y", AS_THEY_ARE},
    {"%a, %D %b %Y", AS_THEY_ARE},
    {"%A, %B %d, %Y", AS_THEY_ARE},
    {"%B %d, %Y", AS_THEY_ARE},
    {"%b %o, %Y", AS_THEY_ARE},
    {"%d %B %Y", AS_THEY_ARE},
    {"%D-%b-%Y", AS_THEY_ARE},
    {"%m/%d/%y", AS_THEY_ARE},
    {"%M/%D/%Y", AS_THEY_ARE},
    {"%d.%m.%Y", AS_THEY_ARE},
    {"%D.%M.%y", AS_THEY_ARE},
    {"%Y/%M/%D", AS_THEY_ARE},
    {"%Y%M%D", AS_THEY_ARE},
    {"%d %b %y", LARGE},
    {"%b %d '%y", AS_THEY_ARE},
    {"%Y, %B %d", AS_THEY_ARE},
    {"%A %d %B %Y", SMALL},
    {"%o %b '%y", SMALL},
    {"%d. %B %Y", AS_THEY_ARE},
};
enum { FORMS = sizeof forms / sizeof forms[0] };

static const char *const months[] = {"January", "February", "March", "April", "May", "June", "July", "August",
    "September", "October", "November", "December"};
static const char *const weekdays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

static const char *ordinal_end(int n)
{
    if (n / 10 == 1)
        return "th";
    return n % 10 == 1 ? "st" : n % 10 == 2 ? "nd" : n % 10 == 3 ? "rd" : "th";
}

/* What a letter stands for. */
static void write_part(char letter, const date *d, char *out, size_t cap)
{
    switch (letter) {
    case 'd':
        snprintf(out, cap, "%d", d->day);
        break;
    case 'D':
        snprintf(out, cap, "%02d", d->day);
        break;
    case 'o':
        snprintf(out, cap, "%d%s", d->day, ordinal_end(d->day));
        break;
    case 'm':
        snprintf(out, cap, "%d", d->month);
        break;
    case 'M':
        snprintf(out, cap, "%02d", d->month);
        break;
    case 'b':
        snprintf(out, cap, "%.3s", months[d->month - 1]);
        break;
    case 'B':
        snprintf(out, cap, "%s", months[d->month - 1]);
        break;
    case 'y':
        snprintf(out, cap, "%02d", d->year % 100);
        break;
    case 'Y':
        snprintf(out, cap, "%d", d->year);
        break;
    case 'a':
        snprintf(out, cap, "%.3s", weekdays[d->weekday]);
        break;
    default:
        snprintf(out, cap, "%s", weekdays[d->weekday]);
    }
}

static void write_date(int form, const date *d, char *out)
{
    size_t n = 0;

    for (const char *p = forms[form].text; *p != 0; p++) {
        char part[16] = {*p};
        if (*p == '%')
            write_part(*++p, d, part, sizeof part);
        for (const char *c = part; *c != 0; c++) {
            LK_BUG_IF(n == LK_DATES_SOURCE, "a date of more than %d characters", LK_DATES_SOURCE);
            out[n++] = (char)(forms[form].letters == SMALL   ? tolower((unsigned char)*c)
                              : forms[form].letters == LARGE ? toupper((unsigned char)*c)
                                                             : *c);
        }
    }
    out[n] = 0;
}

void lk_generate_date(int64_t seed, int64_t sample, char *source, char *iso)
{
    static const char id[] = "dates";
    const lk_rng r = lk_rng_make((uint64_t)seed, LK_RNG_SYNTHETIC, lk_hash64(id, sizeof id - 1));
    uint32_t word[4];

    lk_rng_block(r, (uint64_t)sample, 0, word);
    const date d = date_of((int)((uint64_t)word[0] * DAYS >> 32));
    write_date((int)((uint64_t)word[1] * FORMS >> 32), &d, source);
    snprintf(iso, 11, "%04u-%02u-%02u", (unsigned)d.year % 10000, (unsigned)d.month % 100, (unsigned)d.day % 100);
}

/* ---- ids ---- */

static const char source_characters[] = " ',-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char target_characters[] = "-0123456789";

static int write_ids(const char *text, const char *characters, int first, uint8_t *ids)
{
    int n = 0;

    for (; text[n] != 0; n++) {
        const char *at = strchr(characters, text[n]);
        LK_BUG_IF(at == NULL, "\"%s\": '%c' is not in the vocabulary", text, text[n]);
        ids[n] = (uint8_t)(first + (int)(at - characters));
    }
    return n;
}

enum { PIECE = 1024 };
typedef struct piece {
    uint8_t source[PIECE][LK_DATES_SOURCE], target[PIECE][LK_DATES_TARGET];
    int32_t source_length[PIECE], target_length[PIECE];
} piece;

static void fill_piece(int64_t seed, int64_t first, int64_t n, piece *p)
{
    memset(p, 0, sizeof *p);
    for (int64_t i = 0; i < n; i++) {
        char source[LK_DATES_SOURCE + 1], iso[11];
        lk_generate_date(seed, first + i, source, iso);
        p->source_length[i] = write_ids(source, source_characters, 1, p->source[i]);
        p->target[i][0] = LK_DATES_BEGIN;
        const int k = write_ids(iso, target_characters, LK_DATES_FIRST, p->target[i] + 1);
        p->target[i][1 + k] = LK_DATES_END;
        p->target_length[i] = k + 2;
    }
}

static lk_status plan_shards(const lk_generate_dates_opts *o, int64_t first_part, lki_shards **out)
{
    static const lki_out_field fields[] = {{.name = "source", .type = LK_ELEM_U8, .ndim = 1, .dim = {LK_DATES_SOURCE}},
        {.name = "source_length", .type = LK_ELEM_I32},
        {.name = "target", .type = LK_ELEM_U8, .ndim = 1, .dim = {LK_DATES_TARGET}},
        {.name = "target_length", .type = LK_ELEM_I32}};
    const lki_attr attr[] = {{.field = "source", .name = "vocabulary", .text = source_characters},
        {.field = "source", .name = "first_id", .number = 1},
        {.field = "target", .name = "vocabulary", .text = target_characters},
        {.field = "target", .name = "first_id", .number = LK_DATES_FIRST},
        {.field = "target", .name = "begin", .number = LK_DATES_BEGIN},
        {.field = "target", .name = "end", .number = LK_DATES_END}, {.field = ".", .name = "seed", .number = o->seed}};
    const lki_origin origin = {.source = "dates",
        .importer = "lockstep " LK_VERSION " data generate dates",
        .attr = attr,
        .n_attrs = sizeof attr / sizeof attr[0]};
    const lki_dest dest[] = {{.path = o->dest, .shard_rows = o->shard_rows, .rows = first_part},
        {.path = o->rest, .rows = o->samples - first_part, .first = first_part}};

    return lki_shards_create(dest, first_part < o->samples ? 2 : 1, fields, 4, &origin, out);
}

lk_status lk_generate_dates(const lk_generate_dates_opts *o, lk_buf *report)
{
    lki_shards *shards = NULL;
    piece *p = NULL;
    int64_t first_part = 0;
    lk_status st;

    LK_TRY_TO(st, out, lki_split(o->split, o->rest, o->samples, &first_part));
    LK_TRY_TO(st, out, lk_alloc(sizeof *p, "dates", &p));
    LK_TRY_TO(st, out, plan_shards(o, first_part, &shards));
    for (int64_t first = 0, n; first < o->samples; first += n) {
        const int64_t end = first < first_part ? first_part : o->samples; /* a piece lies in one part */
        n = end - first < PIECE ? end - first : PIECE;
        fill_piece(o->seed, first, n, p);
        LK_TRY_TO(st, out,
            lki_shards_add(shards, first >= first_part, n,
                (const void *const[]){p->source, p->source_length, p->target, p->target_length}));
    }
    LK_TRY_TO(st, out, lki_shards_finish(shards, report));
out:
    lki_shards_destroy(&shards);
    lk_free(p);
    return st;
}
