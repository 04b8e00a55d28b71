#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* The state's size may change between versions of the library, so the library makes it. */
struct lk_hasher {
    XXH3_state_t *state;
};

uint64_t lk_hash64(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

lk_hash lk_hash128(const void *data, size_t bytes)
{
    const XXH128_hash_t h = XXH3_128bits(data, bytes);

    return (lk_hash){.hi = h.high64, .lo = h.low64};
}

lk_status lk_hasher_create(lk_hasher **out)
{
    lk_hasher *h = NULL;

    LK_TRY(lk_alloc(sizeof *h, "hash state", &h));
    h->state = XXH3_createState();
    if (h->state == NULL) {
        lk_hasher_destroy(&h);
        return LK_FAIL(LK_E_NOMEM, "out of memory for a hash state");
    }
    lk_hasher_reset(h);
    *out = h;
    return LK_OK;
}

void lk_hasher_reset(lk_hasher *h)
{
    XXH3_128bits_reset(h->state);
}

void lk_hasher_add(lk_hasher *h, const void *data, size_t bytes)
{
    if (bytes > 0)
        XXH3_128bits_update(h->state, data, bytes);
}

lk_hash lk_hasher_get(const lk_hasher *h)
{
    const XXH128_hash_t x = XXH3_128bits_digest(h->state);

    return (lk_hash){.hi = x.high64, .lo = x.low64};
}

void lk_hasher_destroy(lk_hasher **h)
{
    if (*h == NULL)
        return;
    XXH3_freeState((*h)->state);
    lk_free(*h);
    *h = NULL;
}

static void print_u64(uint64_t v, char *text)
{
    for (int i = 15; i >= 0; i--, v >>= 4)
        text[i] = "0123456789abcdef"[v & 15];
}

void lk_hash_print(lk_hash h, char text[LK_HASH_TEXT])
{
    print_u64(h.hi, text);
    print_u64(h.lo, text + 16);
    text[32] = 0;
}

lk_status lk_hash_parse(const char *text, lk_hash *out)
{
    uint64_t half[2] = {0, 0};

    for (int i = 0; i < 32; i++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *d = text[i] != 0 ? strchr(digits, text[i]) : NULL;
        if (d == NULL)
            return LK_FAIL(LK_E_ARG, "\"%.40s\" is not a hash (32 hex digits)", text);
        const int v = (int)(d - digits);
        half[i / 16] = half[i / 16] << 4 | (uint64_t)(v < 16 ? v : v - 6);
    }
    if (text[32] != 0)
        return LK_FAIL(LK_E_ARG, "\"%.40s\" is not a hash (32 hex digits)", text);
    *out = (lk_hash){.hi = half[0], .lo = half[1]};
    return LK_OK;
}
