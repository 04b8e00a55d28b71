/* A source as lines of any length. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <string.h>

enum { READ_BYTES = 1 << 16 };

lk_status lki_lines_init(lki_lines *l, lki_source *source)
{
    *l = (lki_lines){.source = source};
    LK_TRY(lk_alloc(READ_BYTES, "text", &l->bytes));
    return LK_OK;
}

void lki_lines_fini(lki_lines *l)
{
    lk_free(l->text);
    lk_free(l->bytes);
    *l = (lki_lines){0};
}

static lk_status keep_bytes(lki_lines *l, const char *from, size_t n)
{
    if (l->length + n + 1 > l->room) {
        size_t room = l->room == 0 ? 4096 : l->room;
        while (room < l->length + n + 1)
            room *= 2;
        LK_TRY(lk_realloc_array((int64_t)l->length, (int64_t)room, 1, "a line of text", &l->text));
        l->room = room;
    }
    memcpy(l->text + l->length, from, n);
    l->length += n;
    return LK_OK;
}

lk_status lki_lines_next(lki_lines *l, bool *more)
{
    bool any = false;

    l->length = 0;
    LK_TRY(keep_bytes(l, "", 0));
    for (;;) {
        if (l->at == l->n_bytes) {
            l->at = 0;
            LK_TRY(lki_source_read(l->source, l->bytes, READ_BYTES, &l->n_bytes));
            if (l->n_bytes == 0)
                break;
        }
        any = true;
        const char *from = l->bytes + l->at;
        const char *end = memchr(from, '\n', l->n_bytes - l->at);
        const size_t n = end != NULL ? (size_t)(end - from) : l->n_bytes - l->at;
        LK_TRY(keep_bytes(l, from, n));
        l->at += n + (end != NULL);
        if (end != NULL)
            break;
    }
    if (l->n_bytes == 0 && lki_source_cut(l->source))
        return LK_FAIL(LK_E_FORMAT, "%s: truncated: its gzip stream has no end", lki_source_name(l->source));
    *more = any;
    l->line += any;
    if (l->line == 1 && l->length >= 3 && memcmp(l->text, "\xef\xbb\xbf", 3) == 0) {
        l->length -= 3;
        memmove(l->text, l->text + 3, l->length);
    }
    if (l->length > 0 && l->text[l->length - 1] == '\r')
        l->length--;
    l->text[l->length] = 0;
    return LK_OK;
}
