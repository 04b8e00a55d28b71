/* Any bytes either are refused with the file's name, or are a recording of as many samples as it says. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lk_status parse_all(const uint8_t *data, size_t size)
{
    double samples[100];
    lki_source *source = NULL;
    lki_wav w;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open_memory("fuzz", data, size, &source));
    LK_TRY_TO(st, out, lki_wav_init(&w, source));
    LK_BUG_IF(
        w.channels < 1 || w.rate < 1 || w.samples < 1, "%d channels, %lld samples", w.channels, (long long)w.samples);
    while (w.done < w.samples) {
        const int64_t left = w.samples - w.done, n = left < 100 ? left : 100;
        LK_TRY_TO(st, out, lki_wav_read(&w, n, samples));
        for (int64_t i = 0; i < n; i++)
            LK_BUG_IF(!(samples[i] >= -1 && samples[i] < 1), "%g", samples[i]);
    }
    LK_BUG_IF(w.byte > (int64_t)size, "%lld bytes of %zu", (long long)w.byte, size);
out:
    lki_source_close(&source);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t held = lk_mem_bytes();
    const lk_status st = parse_all(data, size);

    LK_BUG_IF(st != LK_OK && (st != LK_E_FORMAT || strncmp(lk_err_last()->message, "fuzz: ", 6) != 0), "%s: %s",
        lk_status_name(st), lk_err_last()->message);
    LK_BUG_IF(lk_mem_bytes() != held, "%lld bytes are still held", (long long)(lk_mem_bytes() - held));
    return 0;
}
