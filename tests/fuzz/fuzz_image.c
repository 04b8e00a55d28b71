/* Any bytes either are refused with the file's name, or give a picture of the size that is told, twice the same; so for
 * ids. */
#include "base/hash.h"
#include "base/mem.h"
#include "data/image.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_PIXELS = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t held = lk_mem_bytes();
    uint64_t hash[4] = {0, 0, 0, 0};

    for (int i = 0; i < 4; i++) {
        lk_image m = {0};
        const int most = i < 2 ? 4 : 1; /* channels */
        const lk_status st = i < 2 ? lk_image_decode("fuzz", data, size, MOST_PIXELS, &m)
                                   : lk_image_decode_ids("fuzz", data, size, MOST_PIXELS, &m);
        if (st == LK_OK) {
            const int64_t n = (int64_t)m.width * m.height * m.channels;
            LK_BUG_IF(n < 1 || n > most * MOST_PIXELS || m.channels < 1 || m.channels > most, "%d x %d, %d channels",
                m.width, m.height, m.channels);
            hash[i] = lk_hash64(m.pixels, (size_t)n);
            lk_image_fini(&m);
        } else {
            LK_BUG_IF(
                (st != LK_E_FORMAT && st != LK_E_UNSUPPORTED) || strncmp(lk_err_last()->message, "fuzz: ", 6) != 0,
                "%s: %s", lk_status_name(st), lk_err_last()->message);
        }
    }
    LK_BUG_IF(hash[0] != hash[1] || hash[2] != hash[3], "another picture the second time");
    LK_BUG_IF(lk_mem_bytes() != held, "%lld bytes are still held", (long long)(lk_mem_bytes() - held));
    return 0;
}
