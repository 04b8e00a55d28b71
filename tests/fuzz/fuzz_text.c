/* Any bytes either are refused with a place, or are the characters that they are made of again. The first byte chooses
 * between running text and labelled lines, bytes and characters. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lk_status parse_text(lki_source *source, bool chars, lk_buf *again)
{
    uint32_t codes[7];
    lki_text t = {0};
    int64_t n = 1;
    lk_status st;

    LK_TRY_TO(st, out, lki_text_init(&t, source, chars));
    while (n > 0) {
        LK_TRY_TO(st, out, lki_text_next(&t, sizeof codes / sizeof codes[0], codes, &n));
        for (int64_t i = 0; i < n; i++) {
            LK_BUG_IF(codes[i] >= (chars ? LKI_CODES : 256), "code %u", (unsigned)codes[i]);
            if (chars)
                lki_utf8_add(again, codes[i]);
            else
                lk_buf_add_n(again, (const char[]){(char)codes[i]}, 1);
        }
    }
out:
    lki_text_fini(&t);
    return st;
}

static lk_status parse_lines(lki_source *source, bool chars)
{
    lki_labelled l = {0};
    bool more = true;
    uint32_t code;
    lk_status st;

    LK_TRY_TO(st, out, lki_lines_init(&l.lines, source));
    for (;;) {
        LK_TRY_TO(st, out, lki_labelled_next(&l, &more));
        if (!more)
            break;
        LK_BUG_IF(l.label_length < 1 || l.label_length + 2 > l.lines.length, "label of %zu, line of %zu",
            l.label_length, l.lines.length);
        int64_t n = 0;
        for (;; n++) {
            LK_TRY_TO(st, out, lki_labelled_take(&l, chars, &code, &more));
            if (!more)
                break;
        }
        LK_BUG_IF(n < 1, "no characters");
    }
out:
    lki_lines_fini(&l.lines);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t held = lk_mem_bytes();
    lki_source *source = NULL;
    lk_buf again = {0};

    if (size == 0)
        return 0;
    const bool chars = data[0] & 1, lines = data[0] & 2;
    data++;
    size--;
    lk_status st = lki_source_open_memory("fuzz", data, size, &source);
    if (st == LK_OK)
        st = lines ? parse_lines(source, chars) : parse_text(source, chars, &again);
    LK_BUG_IF(st != LK_OK && (st != LK_E_FORMAT || strncmp(lk_err_last()->message, "fuzz:", 5) != 0), "%s: %s",
        lk_status_name(st), lk_err_last()->message);
    if (st == LK_OK && !lines) {
        const size_t mark = chars && size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
        LK_BUG_IF(again.len != size - mark || (again.len > 0 && memcmp(again.text, data + mark, again.len) != 0),
            "other bytes than were read");
    }
    lk_buf_fini(&again);
    lki_source_close(&source);
    LK_BUG_IF(lk_mem_bytes() != held, "%lld bytes are still held", (long long)(lk_mem_bytes() - held));
    return 0;
}
