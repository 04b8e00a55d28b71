/* Any text either is refused with a place or an option, or gives the same rows each time. The first two bytes
 * choose the options. */
#include "base/hash.h"
#include "base/mem.h"
#include "data/import/import_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_expected(const char *message)
{
    return strncmp(message, "fuzz", 4) == 0 || strncmp(message, "--", 2) == 0;
}

enum { KINDS, LEARN, PUT };

/* One pass over all rows. */
static lk_status pass(const uint8_t *data, size_t size, const lk_import_csv_opts *o, lki_encoding *e, int what,
    int64_t *rows, uint64_t *hash)
{
    lki_source *source = NULL;
    lki_csv c = {0};
    char *input = NULL;
    int64_t label = 0;
    bool more = true;
    lk_status st;

    *rows = 0;
    *hash = 0;
    LK_TRY_TO(st, out, lki_source_open_memory("fuzz", data, size, &source));
    LK_TRY_TO(st, out, lki_csv_init(&c, source, o));
    LK_BUG_IF(c.columns < 1 || c.columns > (int64_t)size + 1 || c.label >= c.columns, "label %lld of %lld",
        (long long)c.label, (long long)c.columns);
    if (e->column == NULL)
        LK_TRY_TO(st, out, lki_encoding_init(e, &c));
    if (what == PUT)
        LK_TRY_TO(st, out, lk_alloc_array(e->inputs, sizeof(float), "row", &input));
    for (;;) {
        label = 0;
        LK_TRY_TO(st, out, lki_csv_next(&c, &more));
        if (!more)
            break;
        if (what == KINDS)
            lki_encoding_kinds(e, &c);
        else if (what == LEARN)
            LK_TRY_TO(st, out, lki_encoding_learn(e, &c));
        else
            LK_TRY_TO(st, out, lki_encoding_put(e, &c, input, &label));
        (*rows)++;
        if (what == PUT)
            *hash =
                *hash * 31 + lk_hash64(input, (size_t)e->inputs * (o->type == 0 ? 1 : sizeof(float))) + (uint64_t)label;
    }
    LK_BUG_IF(*rows < 1, "no rows and no error");
out:
    lk_free(input);
    lki_csv_fini(&c);
    lki_source_close(&source);
    return st;
}

/* Rows, and the hash of all values. */
static lk_status parse_all(const uint8_t *data, size_t size, const lk_import_csv_opts *o, int64_t *rows, uint64_t *hash)
{
    lki_encoding e = {0};
    char *text = NULL;
    lk_status st = LK_OK;

    *rows = 0;
    *hash = 0;
    if (o->one_hot[0] != 0)
        LK_TRY_TO(st, out, pass(data, size, o, &e, KINDS, rows, hash));
    LK_TRY_TO(st, out, pass(data, size, o, &e, LEARN, rows, hash));
    LK_TRY_TO(st, out, lki_encoding_place(&e, o));
    LK_TRY_TO(st, out, lki_encoding_print(&e, o, &text));
    const int64_t learned = *rows;
    LK_TRY_TO(st, out, pass(data, size, o, &e, PUT, rows, hash));
    LK_BUG_IF(*rows != learned, "%lld rows, then %lld", (long long)learned, (long long)*rows);
out:
    lk_free(text);
    lki_encoding_fini(&e);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const delimiters[] = {",", "space", "tab", ";"};
    static const char *const labels[] = {"-1", "1", "none", "class"};
    const int64_t held = lk_mem_bytes();
    int64_t rows, again;
    uint64_t hash, hash_again;

    if (size < 2)
        return 0;
    const lk_import_csv_opts o = {.delimiter = (char *)delimiters[data[0] & 3],
        .label_column = (char *)labels[data[0] >> 2 & 3],
        .header = data[0] >> 4 & 1,
        .classes = data[0] >> 5 & 1,
        .type = data[0] >> 6 & 1,
        .skip = data[0] >> 7,
        .source = (char *)"fuzz",
        .one_hot = (char *)(data[1] & 1 ? "auto" : ""),
        .missing = (char *)(data[1] & 2 ? "?" : ""),
        .standardize = data[1] >> 2 & 1,
        .named_classes = data[1] >> 3 & 1,
        .strip = (char *)"."};
    const lk_status st = parse_all(data + 2, size - 2, &o, &rows, &hash);
    LK_BUG_IF(st != LK_OK && ((st != LK_E_FORMAT && st != LK_E_ARG) || !is_expected(lk_err_last()->message)), "%s: %s",
        lk_status_name(st), lk_err_last()->message);
    LK_BUG_IF(parse_all(data + 2, size - 2, &o, &again, &hash_again) != st || again != rows || hash_again != hash,
        "another result the second time");
    LK_BUG_IF(lk_mem_bytes() != held, "%lld bytes are still held", (long long)(lk_mem_bytes() - held));
    return 0;
}
