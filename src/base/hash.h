/* XXH3 hashes: 64 bits for names, 128 bits for data and digests. */
#ifndef LK_BASE_HASH_H
#define LK_BASE_HASH_H

#include "base/status.h"
#include <stddef.h>

typedef struct lk_hash {
    uint64_t hi, lo;
} lk_hash;

typedef struct lk_hasher lk_hasher; /* streaming state */

#define LK_HASH_TEXT 33 /* 32 hex digits and the end */

uint64_t lk_hash64(const void *data, size_t bytes);
lk_hash lk_hash128(const void *data, size_t bytes);
LK_MUST_USE lk_status lk_hasher_create(lk_hasher **out);
void lk_hasher_reset(lk_hasher *h);
void lk_hasher_add(lk_hasher *h, const void *data, size_t bytes);
lk_hash lk_hasher_get(const lk_hasher *h);
void lk_hasher_destroy(lk_hasher **h);
/* 32 hex digits, high half first. */
void lk_hash_print(lk_hash h, char text[LK_HASH_TEXT]);
LK_MUST_USE lk_status lk_hash_parse(const char *text, lk_hash *out);
static inline bool lk_hash_equal(lk_hash a, lk_hash b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

#endif
