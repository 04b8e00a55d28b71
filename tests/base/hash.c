#include "base/hash.h"
#include "base/rng.h"
#include "base/support.h"

#include <inttypes.h>

/* The bytes of xxHash's own self-test (tests/sanity_test.c). */
static void fill_published(unsigned char *buf, int n)
{
    uint64_t g = 2654435761u;

    for (int i = 0; i < n; i++, g *= UINT64_C(11400714785074694797))
        buf[i] = (unsigned char)(g >> 56);
}

Test(hash, published_values)
{
    static const struct {
        int len;
        uint64_t want64, hi, lo;
    } row[] = {
        {0, 0x2D06800538D394C2, 0x99AA06D3014798D8, 0x6001C324468D497F},
        {1, 0xC44BDFF4074EECDB, 0xA6CD5E9392000F6A, 0xC44BDFF4074EECDB},
        {6, 0x27B56A84CD2D7325, 0x082AFE0B8162D12A, 0x3E7039BDDA43CFC6},
        {12, 0xA713DAF0DFBB77E7, 0x6E3EFD8FC7802B18, 0x061A192713F69AD9},
        {24, 0xA3FE70BF9D3510EB, 0x0CE966E4678D3761, 0x1E7044D28B1B901D},
        {48, 0x397DA259ECBA1F11, 0xA002AC4E5478227E, 0xF942219AED80F67B},
        {403, 0xCDEB804D65C6DEA4, 0x1B6DE21E332DD73D, 0xCDEB804D65C6DEA4},
        {2367, 0xCB37AEB9E5D361ED, 0xE89C0F6FF369B427, 0xCB37AEB9E5D361ED},
    };
    unsigned char buf[2367];

    fill_published(buf, sizeof buf);
    for (int i = 0; i < (int)(sizeof row / sizeof row[0]); i++) {
        const lk_hash h = lk_hash128(buf, (size_t)row[i].len);
        cr_expect(lk_hash64(buf, (size_t)row[i].len) == row[i].want64, "length %d", row[i].len);
        cr_expect(h.hi == row[i].hi && h.lo == row[i].lo, "length %d", row[i].len);
    }
}

Test(hash, streaming_equals_one_shot)
{
    static unsigned char data[100000];
    const lk_rng r = lk_rng_make(1, LK_RNG_TEST, 0);
    lk_hasher *h = NULL;

    fill_published(data, sizeof data);
    EXPECT_OK(lk_hasher_create(&h));
    for (uint64_t round = 0; round < 60; round++) {
        const size_t total = lk_rng_word(r, 1000 * round) % sizeof data;
        size_t done = 0;
        lk_hasher_reset(h);
        for (uint64_t part = 1; done < total; part++) {
            size_t n = lk_rng_word(r, 1000 * round + part % 1000) % (round % 2 == 0 ? 300 : 20000);
            n = n < total - done ? n : total - done;
            lk_hasher_add(h, data + done, n);
            done += n;
        }
        cr_expect(lk_hash_equal(lk_hasher_get(h), lk_hash128(data, total)), "round %" PRIu64, round);
        cr_expect(lk_hash_equal(lk_hasher_get(h), lk_hasher_get(h)));
    }
    lk_hasher_destroy(&h);
    cr_expect(h == NULL);
    lk_hasher_destroy(&h);
}

Test(hash, text_form)
{
    const lk_hash h = {.hi = 0x0123456789abcdef, .lo = 0xfedcba9876543210};
    char text[LK_HASH_TEXT];
    lk_hash again;

    lk_hash_print(h, text);
    EXPECT_TEXT(text, "0123456789abcdeffedcba9876543210");
    EXPECT_OK(lk_hash_parse(text, &again));
    cr_expect(lk_hash_equal(h, again));
    EXPECT_OK(lk_hash_parse("0123456789ABCDEFFEDCBA9876543210", &again));
    cr_expect(lk_hash_equal(h, again));
    again = (lk_hash){1, 2};
    EXPECT_FAIL(lk_hash_parse("0123", &again), LK_E_ARG, "\"0123\" is not a hash (32 hex digits)");
    EXPECT_FAIL(lk_hash_parse("", &again), LK_E_ARG, "\"\" is not a hash (32 hex digits)");
    EXPECT_FAIL(lk_hash_parse("0123456789abcdeffedcba987654321g", &again), LK_E_ARG,
        "\"0123456789abcdeffedcba987654321g\" is not a hash (32 hex digits)");
    EXPECT_FAIL(lk_hash_parse("0123456789abcdeffedcba98765432100", &again), LK_E_ARG,
        "\"0123456789abcdeffedcba98765432100\" is not a hash (32 hex digits)");
    cr_expect(again.hi == 1 && again.lo == 2);
}
