#include "base/space.h"

#include "base/mem.h"

#include <string.h>

/* ---- the host ---- */

static lk_status alloc_host(size_t bytes, const char *what, void **out)
{
    return lk_alloc(bytes, what, out);
}

static void free_host(void *p)
{
    lk_free(p);
}

static lk_status copy_host(void *to, const void *from, size_t bytes, lk_copy kind)
{
    (void)kind;
    memmove(to, from, bytes);
    return LK_OK;
}

static lk_status zero_host(void *p, size_t bytes)
{
    memset(p, 0, bytes);
    return LK_OK;
}

static lk_status sum_host(lk_sum_form form, int64_t n, float *to, const float *const from[4])
{
    const float *a = from[0], *b = from[1], *c = from[2], *d = from[3];

    switch (form) {
    case LK_SUM_2:
        for (int64_t i = 0; i < n; i++)
            to[i] = a[i] + b[i];
        break;
    case LK_SUM_3L:
        for (int64_t i = 0; i < n; i++)
            to[i] = (a[i] + b[i]) + c[i];
        break;
    case LK_SUM_3R:
        for (int64_t i = 0; i < n; i++)
            to[i] = a[i] + (b[i] + c[i]);
        break;
    case LK_SUM_4:
        for (int64_t i = 0; i < n; i++)
            to[i] = (a[i] + b[i]) + (c[i] + d[i]);
        break;
    }
    return LK_OK;
}

static lk_status mark_create_host(lk_mark **out)
{
    *out = NULL;
    return LK_OK;
}

static void mark_destroy_host(lk_mark *m)
{
    (void)m;
}

static lk_status mark_host(lk_mark *m)
{
    (void)m;
    return LK_OK;
}

static lk_status mark_test_host(lk_mark *m, bool *reached)
{
    (void)m;
    *reached = true;
    return LK_OK;
}

static lk_status wait_host(void)
{
    return LK_OK;
}

const lk_space lk_space_host = {
    .name = "host",
    .host = true,
    .alloc = alloc_host,
    .free = free_host,
    .alloc_pinned = alloc_host,
    .free_pinned = free_host,
    .copy = copy_host,
    .zero = zero_host,
    .sum = sum_host,
    .mark_create = mark_create_host,
    .mark_destroy = mark_destroy_host,
    .mark_set = mark_host,
    .mark_test = mark_test_host,
    .mark_wait = mark_host,
    .wait = wait_host,
};

/* ---- any ---- */

lk_status lk_space_alloc(const lk_space *s, size_t bytes, const char *what, void *out_ptr)
{
    void *p = NULL;

    if (bytes > 0)
        LK_TRY(s->alloc(bytes, what, &p));
    memcpy(out_ptr, &p, sizeof p);
    return LK_OK;
}

int64_t lk_space_taken(const lk_space *s, int64_t bytes)
{
    return s->host ? bytes : (bytes + LK_SPACE_ALIGN - 1) / LK_SPACE_ALIGN * LK_SPACE_ALIGN;
}

lk_status lk_space_room(const lk_space *s, int64_t *free, int64_t *total)
{
    *free = *total = 0;
    return s->room != NULL ? s->room(free, total) : LK_OK;
}

void lk_space_free(const lk_space *s, void *p)
{
    if (p != NULL)
        s->free(p);
}

lk_status lk_space_alloc_pinned(const lk_space *s, size_t bytes, const char *what, void *out_ptr)
{
    void *p = NULL;

    if (bytes > 0)
        LK_TRY(s->alloc_pinned(bytes, what, &p));
    memcpy(out_ptr, &p, sizeof p);
    return LK_OK;
}

void lk_space_free_pinned(const lk_space *s, void *p)
{
    if (p != NULL)
        s->free_pinned(p);
}

lk_status lk_space_copy(const lk_space *s, void *to, const void *from, size_t bytes, lk_copy kind)
{
    return bytes > 0 ? s->copy(to, from, bytes, kind) : LK_OK;
}

lk_status lk_space_copy_ahead(const lk_space *s, void *to, const void *from, size_t bytes, lk_mark *after)
{
    if (bytes == 0)
        return LK_OK;
    return s->copy_ahead != NULL ? s->copy_ahead(to, from, bytes, after) : s->copy(to, from, bytes, LK_COPY_IN);
}

lk_status lk_space_join(const lk_space *s)
{
    return s->join != NULL ? s->join() : LK_OK;
}

lk_status lk_space_zero(const lk_space *s, void *p, size_t bytes)
{
    return bytes > 0 ? s->zero(p, bytes) : LK_OK;
}

lk_status lk_space_sum(const lk_space *s, lk_sum_form form, int64_t n, float *to, const float *const from[4])
{
    return n > 0 ? s->sum(form, n, to, from) : LK_OK;
}

lk_status lk_mark_create(const lk_space *s, lk_mark **out)
{
    return s->mark_create(out);
}

void lk_mark_destroy(const lk_space *s, lk_mark **m)
{
    if (*m != NULL)
        s->mark_destroy(*m);
    *m = NULL;
}

lk_status lk_mark_set(const lk_space *s, lk_mark *m)
{
    return s->mark_set(m);
}

lk_status lk_mark_test(const lk_space *s, lk_mark *m, bool *reached)
{
    return s->mark_test(m, reached);
}

lk_status lk_mark_wait(const lk_space *s, lk_mark *m)
{
    return s->mark_wait(m);
}

lk_status lk_space_wait(const lk_space *s)
{
    return s->wait();
}

bool lk_space_records(const lk_space *s)
{
    return s->record_begin != NULL;
}

lk_status lk_space_record_begin(const lk_space *s)
{
    return s->record_begin();
}

lk_status lk_space_record_end(const lk_space *s, lk_work **out)
{
    return s->record_end(out);
}

lk_status lk_space_replay(const lk_space *s, lk_work *w)
{
    return s->replay(w);
}

void lk_work_destroy(const lk_space *s, lk_work **w)
{
    if (*w != NULL)
        s->work_destroy(*w);
    *w = NULL;
}
