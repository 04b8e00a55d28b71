#include "base/mem.h"

#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static _Atomic int64_t n_allocs;
static _Atomic int64_t n_bytes;
static _Atomic int64_t fail_at;

lk_status lk_alloc_array(int64_t count, size_t size, const char *what, void *out_ptr)
{
    size_t bytes;

    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes) || bytes > (size_t)INT64_MAX - ALIGNMENT)
        return LK_FAIL(LK_E_NOMEM, "%s: %" PRId64 " items of %zu bytes are more than can be addressed", what, count, size);
    if (bytes == 0) {
        *(void **)out_ptr = NULL;
        return LK_OK;
    }
    bool fail = atomic_load(&fail_at) > 0 && atomic_fetch_sub(&fail_at, 1) == 1;
    const size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *p = fail ? NULL : aligned_alloc(ALIGNMENT, rounded);
    if (p == NULL)
        return LK_FAIL(LK_E_NOMEM, "out of memory: %zu bytes for %s", bytes, what);
    memset(p, 0, rounded);
    atomic_fetch_add(&n_allocs, 1);
    atomic_fetch_add(&n_bytes, (int64_t)malloc_usable_size(p));
    *(void **)out_ptr = p;
    return LK_OK;
}

lk_status lk_realloc_array(int64_t old_count, int64_t count, size_t size, const char *what, void *ptr)
{
    void *old = *(void **)ptr;
    void *fresh = NULL;

    LK_TRY(lk_alloc_array(count, size, what, &fresh));
    const int64_t keep = old_count < count ? old_count : count;
    if (old != NULL && keep > 0)
        memcpy(fresh, old, (size_t)keep * size);
    lk_free(old);
    *(void **)ptr = fresh;
    return LK_OK;
}

lk_status lk_strdup(const char *s, char **out)
{
    const size_t n = strlen(s) + 1;
    char *copy = NULL;

    LK_TRY(lk_alloc_array((int64_t)n, 1, "string", &copy));
    memcpy(copy, s, n);
    *out = copy;
    return LK_OK;
}

void lk_free(void *p)
{
    if (p == NULL)
        return;
    atomic_fetch_sub(&n_bytes, (int64_t)malloc_usable_size(p));
    free(p);
}

int64_t lk_mem_count(void)
{
    return atomic_load(&n_allocs);
}

int64_t lk_mem_bytes(void)
{
    return atomic_load(&n_bytes);
}

void lk_mem_fail_at(int64_t n)
{
    atomic_store(&fail_at, n);
}

lk_status lk_cast_int(int64_t v, int *out)
{
    if (v < INT_MIN || v > INT_MAX)
        return LK_FAIL(LK_E_RANGE, "%" PRId64 " does not fit an int", v);
    *out = (int)v;
    return LK_OK;
}

lk_status lk_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    int64_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return LK_FAIL(LK_E_RANGE, "%" PRId64 " times %" PRId64 " overflows 64 bits", a, b);
    *out = product;
    return LK_OK;
}
