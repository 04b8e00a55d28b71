/* Names of classes, and characters with their numbers. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <string.h>

/* ---- names ---- */

static int compare(const char *item, const char *name, size_t length)
{
    const int c = strncmp(item, name, length);

    return c != 0 ? c : item[length] != 0;
}

/* The first item that is not before the name. */
static int place_of(const lki_names *k, const char *name, size_t length)
{
    int low = 0, high = k->n;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (compare(k->item[middle], name, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int lki_names_find(const lki_names *k, const char *name, size_t length)
{
    const int i = place_of(k, name, length);

    return i < k->n && compare(k->item[i], name, length) == 0 ? i : -1;
}

lk_status lki_names_add(lki_names *k, const char *name, size_t length)
{
    const int i = place_of(k, name, length);
    char *copy = NULL;

    if (i < k->n && compare(k->item[i], name, length) == 0)
        return LK_OK;
    if (k->n == LKI_NAMES_MAX)
        return LK_FAIL(LK_E_FORMAT, "more than %d different names", LKI_NAMES_MAX);
    if (k->n == k->room) {
        const int room = k->room == 0 ? 16 : 2 * k->room;
        LK_TRY(lk_realloc_array(k->n, room, sizeof k->item[0], "names", &k->item));
        k->room = room;
    }
    LK_TRY(lk_alloc(length + 1, "name", &copy));
    memcpy(copy, name, length);
    memmove(k->item + i + 1, k->item + i, (size_t)(k->n - i) * sizeof k->item[0]);
    k->item[i] = copy;
    k->n++;
    return LK_OK;
}

lk_status lki_names_join(const lki_names *k, char **out)
{
    lk_buf b = {0};
    lk_status st;

    for (int i = 0; i < k->n; i++) {
        lk_buf_add(&b, i > 0 ? "\n" : "");
        lk_buf_add(&b, k->item[i]);
    }
    LK_TRY_TO(st, out, lk_buf_status(&b));
    LK_TRY_TO(st, out, lk_strdup(lk_buf_text(&b), out));
out:
    lk_buf_fini(&b);
    return st;
}

void lki_names_fini(lki_names *k)
{
    for (int i = 0; i < k->n; i++)
        lk_free(k->item[i]);
    lk_free(k->item);
    *k = (lki_names){0};
}

/* ---- characters ---- */

int lki_utf8_take(const unsigned char *bytes, size_t n, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char b = bytes[0];
    const int length = b < 0x80                ? 1
                       : b >= 0xc2 && b < 0xe0 ? 2
                       : b >= 0xe0 && b < 0xf0 ? 3
                       : b >= 0xf0 && b < 0xf5 ? 4
                                               : 0;

    if (length == 0)
        return -1;
    uint32_t c = length == 1 ? b : b & (0xffu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((size_t)i == n)
            return 0;
        if ((bytes[i] & 0xc0) != 0x80)
            return -1;
        c = c << 6 | (bytes[i] & 0x3f);
    }
    if (c < least[length] || (c >= 0xd800 && c < 0xe000) || c >= LKI_CODES)
        return -1;
    *code = c;
    return length;
}

void lki_utf8_add(lk_buf *b, uint32_t code)
{
    char text[4];
    size_t n = 1;

    if (code < 0x80) {
        text[0] = (char)code;
    } else {
        n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        for (size_t i = n - 1; i > 0; i--, code >>= 6)
            text[i] = (char)(0x80 | (code & 0x3f));
        text[0] = (char)((0xf00u >> n & 0xf0) | code);
    }
    lk_buf_add_n(b, text, n);
}

lk_status lki_vocabulary_init(lki_vocabulary *v)
{
    LK_TRY(lk_alloc_array(LKI_CODES, sizeof v->id[0], "ids of characters", &v->id));
    memset(v->id, -1, LKI_CODES * sizeof v->id[0]);
    v->n = 0;
    return LK_OK;
}

void lki_vocabulary_fini(lki_vocabulary *v)
{
    lk_free(v->id);
    *v = (lki_vocabulary){0};
}

lk_status lki_vocabulary_number(lki_vocabulary *v, int32_t first, char **text)
{
    enum { ATTRIBUTE_BYTES = 64000 }; /* HDF5 keeps attributes of up to 64 KiB in an object's header */
    lk_buf b = {0};
    lk_status st;

    v->n = 0;
    for (uint32_t c = 0; c < LKI_CODES; c++)
        if (v->id[c] >= 0) {
            v->id[c] = first + v->n++;
            lki_utf8_add(&b, c);
        }
    LK_TRY_TO(st, out, lk_buf_status(&b));
    if (b.len > ATTRIBUTE_BYTES) {
        st = LK_FAIL(LK_E_UNSUPPORTED, "%d different characters: a vocabulary takes up to %d bytes (--level bytes)",
            (int)v->n, ATTRIBUTE_BYTES);
        goto out;
    }
    LK_TRY_TO(st, out, lk_strdup(lk_buf_text(&b), text));
out:
    lk_buf_fini(&b);
    return st;
}
