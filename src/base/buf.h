/* A growing text buffer, and small text helpers. A failed allocation is remembered and reported by lk_buf_status, so
 * that building text needs no check a line. */
#ifndef LK_BASE_BUF_H
#define LK_BASE_BUF_H

#include "base/status.h"
#include <stddef.h>

typedef struct lk_buf {
    char *text; /* always ends in 0 once anything was added; NULL before */
    size_t len, cap;
    bool failed;
} lk_buf;

/* Zero-initialize: lk_buf b = {0}; */
void lk_buf_add(lk_buf *b, const char *text);
void lk_buf_add_n(lk_buf *b, const char *text, size_t n);
void lk_buf_printf(lk_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lk_buf_clear(lk_buf *b);
void lk_buf_fini(lk_buf *b);
LK_MUST_USE lk_status lk_buf_status(const lk_buf *b);
const char *lk_buf_text(const lk_buf *b); /* "" when empty */

/* The candidate nearest to `word` (Damerau-Levenshtein, at most max(2, len/3) edits, and not all of the word), the first of
 * equally near ones, or NULL. */
const char *lk_nearest(const char *word, const char *const *candidates, int n);
/* "12.3 MiB", "1.2 k": for people. */
void lk_format_bytes(double bytes, char *out, size_t cap);
void lk_format_count(double count, char *out, size_t cap);
/* "1:02:03", "2:05" or "4.2 s". */
void lk_format_seconds(double seconds, char *out, size_t cap);
/* Whole-string parses; false when anything is left over, or the value does not fit. Whole numbers are plain decimal ("1e6" and
 * "64k" are refused); reals take any C form but inf and nan, with a decimal point in every locale. */
bool lk_parse_i64(const char *text, int64_t *out);
bool lk_parse_f64(const char *text, double *out);
/* The shortest of 15 to 17 digits that lk_parse_f64 reads back as the same number ("0.1", "3e-05"); 32 bytes are enough. */
void lk_format_f64(double v, char *out, size_t cap);

#endif
