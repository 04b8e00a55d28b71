#include "base/buf.h"
#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_WORD = 64 };

/* Room for n more bytes and the end. */
static bool make_room(lk_buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (n < b->cap - b->len)
        return true;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap <= b->len + n && cap < SIZE_MAX / 2)
        cap *= 2;
    if (n >= SIZE_MAX / 2 || lk_realloc_array((int64_t)b->len, (int64_t)cap, 1, "text", &b->text) != LK_OK) {
        b->failed = true;
        return false;
    }
    b->cap = cap;
    return true;
}

void lk_buf_add_n(lk_buf *b, const char *text, size_t n)
{
    if (!make_room(b, n))
        return;
    if (n > 0)
        memcpy(b->text + b->len, text, n);
    b->len += n;
    b->text[b->len] = 0;
}

void lk_buf_add(lk_buf *b, const char *text)
{
    lk_buf_add_n(b, text, strlen(text));
}

void lk_buf_printf(lk_buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !make_room(b, (size_t)n)) {
        b->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(b->text + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void lk_buf_clear(lk_buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->text != NULL)
        b->text[0] = 0;
}

void lk_buf_fini(lk_buf *b)
{
    lk_free(b->text);
    *b = (lk_buf){0};
}

lk_status lk_buf_status(const lk_buf *b)
{
    if (b->failed)
        return LK_FAIL(LK_E_NOMEM, "out of memory for text after %zu bytes", b->len);
    return LK_OK;
}

const char *lk_buf_text(const lk_buf *b)
{
    return b->text != NULL ? b->text : "";
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* Damerau-Levenshtein distance in its restricted form: insert, delete, replace, swap neighbours. */
static int distance(const char *a, int na, const char *b, int nb)
{
    int row[3][LONGEST_WORD + 1];
    int *before = row[0], *last = row[1], *now = row[2];

    for (int j = 0; j <= nb; j++)
        last[j] = j;
    for (int i = 1; i <= na; i++) {
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            now[j] = min_int(last[j - 1] + (a[i - 1] != b[j - 1]), min_int(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = min_int(now[j], before[j - 2] + 1);
        }
        int *t = before;
        before = last;
        last = now;
        now = t;
    }
    return last[nb];
}

const char *lk_nearest(const char *word, const char *const *candidates, int n)
{
    const size_t len = strlen(word);
    const char *best = NULL;

    if (len > LONGEST_WORD)
        return NULL;
    int best_distance = (len / 3 > 2 ? (int)(len / 3) : 2) + 1;
    for (int i = 0; i < n; i++) {
        const size_t other = strlen(candidates[i]);
        if (other > LONGEST_WORD)
            continue;
        const int d = distance(word, (int)len, candidates[i], (int)other);
        /* A word of which nothing was kept is no misspelling. */
        if (d < best_distance && d < (int)(len > other ? len : other)) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}

static void format_scaled(
    double v, double step, const char *const *units, int n_units, const char *whole, char *out, size_t cap)
{
    int u = 0;

    while (u < n_units - 1 && fabs(v) >= step * (u == 0 ? 1.0 : 0.99995)) {
        v /= step;
        u++;
    }
    if (u == 0)
        snprintf(out, cap, "%.4g%s", v, whole);
    else
        snprintf(out, cap, "%.1f %s", v, units[u]);
}

void lk_format_bytes(double bytes, char *out, size_t cap)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

    format_scaled(bytes, 1024, units, 7, " B", out, cap);
}

void lk_format_count(double count, char *out, size_t cap)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};

    format_scaled(count, 1000, units, 7, "", out, cap);
}

void lk_format_seconds(double seconds, char *out, size_t cap)
{
    if (!(seconds >= 59.95 || seconds <= -59.95)) {
        snprintf(out, cap, "%.1f s", seconds);
        return;
    }
    const double whole = floor(fabs(seconds) + 0.5);
    const char *sign = seconds < 0 ? "-" : "";
    const double hours = floor(whole / 3600);
    const int minutes = (int)floor((whole - hours * 3600) / 60), rest = (int)fmod(whole, 60);
    if (hours > 0)
        snprintf(out, cap, "%s%.0f:%02d:%02d", sign, hours, minutes, rest);
    else
        snprintf(out, cap, "%s%d:%02d", sign, minutes, rest);
}

bool lk_parse_i64(const char *text, int64_t *out)
{
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    char *end;

    if (digits[0] == 0 || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (errno != 0 || *end != 0)
        return false;
    *out = v;
    return true;
}

/* Numbers are read and written with a decimal point, whatever the locale of a program that uses the library. */
static locale_t plain_locale(void)
{
    return newlocale(LC_ALL_MASK, "C", (locale_t)0); /* the C library's own object: nothing is allocated */
}

bool lk_parse_f64(const char *text, double *out)
{
    char *end;

    if (text[0] == 0 || isspace((unsigned char)text[0]))
        return false;
    const double v = strtod_l(text, &end, plain_locale());
    if (*end != 0 || end == text || !isfinite(v))
        return false;
    *out = v;
    return true;
}

void lk_format_f64(double v, char *out, size_t cap)
{
    const locale_t before = uselocale(plain_locale());

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, cap, "%.*g", digits, v);
        double again;
        if (!lk_parse_f64(out, &again) || again == v)
            break;
    }
    uselocale(before);
}
