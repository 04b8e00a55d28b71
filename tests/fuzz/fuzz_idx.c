/* Any bytes either are refused with the file's name, or are as many as the header promises. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_ROW = 1 << 16 };

static lk_status parse_all(const uint8_t *data, size_t size)
{
    lki_source *source = NULL;
    lki_idx x;
    char *row = NULL;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open_memory("fuzz", data, size, &source));
    LK_TRY_TO(st, out, lki_idx_init(&x, source));
    LK_BUG_IF(x.ndim < 1 || x.ndim > LK_DATA_MAX_DIMS + 1 || x.row < 1 || x.dim[0] < 1 || x.bytes <= 0,
        "%d dimensions, %lld bytes", x.ndim, (long long)x.bytes);
    if (x.row > MOST_ROW)
        goto out;
    LK_TRY_TO(st, out, lk_alloc_array(x.row, lk_elem_size(x.type), "row", &row));
    for (int64_t i = 0; i < x.dim[0]; i++)
        LK_TRY_TO(st, out, lki_idx_read(&x, 1, row));
    LK_TRY_TO(st, out, lki_idx_end(&x));
    LK_BUG_IF((int64_t)size != x.bytes || x.done != x.bytes, "%zu bytes, %lld promised, %lld read", size,
        (long long)x.bytes, (long long)x.done);
out:
    lk_free(row);
    lki_source_close(&source);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t held = lk_mem_bytes();
    const lk_status st = parse_all(data, size);

    LK_BUG_IF(st != LK_OK && (st != LK_E_FORMAT || strstr(lk_err_last()->message, "fuzz") == NULL), "%s: %s",
        lk_status_name(st), lk_err_last()->message);
    LK_BUG_IF(lk_mem_bytes() != held, "%lld bytes are still held", (long long)(lk_mem_bytes() - held));
    return 0;
}
