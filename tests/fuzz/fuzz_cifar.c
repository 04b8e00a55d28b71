/* Any bytes either are refused with the file's name, or are so many records. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lk_status count(const uint8_t *data, size_t size, const lki_cifar_kind *kind, int64_t *records)
{
    lki_source *source = NULL;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open_memory("fuzz", data, size, &source));
    LK_TRY_TO(st, out, lki_cifar_count(source, kind, records));
out:
    lki_source_close(&source);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t held = lk_mem_bytes();

    for (int k = 0; k < 2; k++) {
        const lki_cifar_kind *kind = k == 0 ? &lki_cifar_10 : &lki_cifar_100;
        int64_t records = 0;
        const lk_status st = count(data, size, kind, &records);
        LK_BUG_IF(st != LK_OK && (st != LK_E_FORMAT || strncmp(lk_err_last()->message, "fuzz: ", 6) != 0), "%s: %s",
            lk_status_name(st), lk_err_last()->message);
        LK_BUG_IF(st == LK_OK && (records < 1 || records * lki_cifar_bytes(kind) != (int64_t)size),
            "%zu bytes, %lld records", size, (long long)records);
        for (int64_t i = 0; i < records; i++)
            for (int c = 0; c < kind->n_labels; c++)
                LK_BUG_IF(data[i * lki_cifar_bytes(kind) + c] >= kind->label[c].classes, "record %lld", (long long)i);
    }
    LK_BUG_IF(lk_mem_bytes() != held, "%lld bytes are still held", (long long)(lk_mem_bytes() - held));
    return 0;
}
