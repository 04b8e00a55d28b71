/* Memory spaces in tests: numbers go in and out of whatever space a communicator has; and a space of the tests' own
 * that makes the most of what a device may do: its memory cannot be touched by the host, queued work is done late, only
 * while someone asks for a mark or waits, and bit by bit. */
#ifndef LK_TESTS_COMM_SPACES_H
#define LK_TESTS_COMM_SPACES_H

#include "base/space.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>

/* ---- any space ---- */

static inline void *space_new(const lk_space *s, size_t bytes)
{
    void *p = NULL;

    CHECK_OK(lk_space_alloc(s, bytes + 1, "test", &p));
    return p;
}

static inline void space_put(const lk_space *s, void *to, const void *from, size_t bytes)
{
    CHECK_OK(lk_space_copy(s, to, from, bytes, LK_COPY_IN));
}

static inline void space_get(const lk_space *s, void *to, const void *from, size_t bytes)
{
    CHECK_OK(lk_space_copy(s, to, from, bytes, LK_COPY_OUT));
}

/* ---- the tests' own ---- */

/* Added to addresses of its memory, so that the processor stops a program that uses one. */
#define LATE_OFFSET ((uintptr_t)1 << 60)

enum { LATE_WORK = 1 << 14, LATE_PINNED = 1 << 12 };

typedef struct late_work {
    enum { LATE_COPY, LATE_ZERO, LATE_SUM } what;
    char *to;
    const char *from[4];
    char *captured; /* a source that may be changed when the call returns */
    size_t bytes;
    lk_sum_form form;
} late_work;

struct lk_mark {
    int64_t behind; /* reached when so many have been done */
};

static struct {
    late_work work[LATE_WORK]; /* a ring: number i is at i % LATE_WORK */
    int64_t queued, done;
    struct {
        char *at;
        size_t bytes;
    } pinned[LATE_PINNED];
    int64_t n_allocated, copies, copied_out, copied_in; /* calls; bytes to and from pinned memory */
    int misuse; /* what a real device would answer with wrong numbers */
    uint64_t random; /* how much is done at a time */
    int64_t fail_alloc, fail_copy; /* the allocation, the copy so many from now on is refused */
    int64_t fail_work; /* queued work so many from now on fails when it is done; all that waits says so */
    bool lost;
} late;

static inline char *late_host(const void *p)
{
    return (char *)((uintptr_t)p - LATE_OFFSET);
}

static inline bool late_is_pinned(const void *p, size_t bytes)
{
    for (int i = 0; i < LATE_PINNED; i++) {
        if (late.pinned[i].at != NULL && (const char *)p >= late.pinned[i].at &&
            (const char *)p + bytes <= late.pinned[i].at + late.pinned[i].bytes)
            return true;
    }
    return false;
}

static inline int64_t late_pinned_bytes(void)
{
    int64_t sum = 0;

    for (int i = 0; i < LATE_PINNED; i++)
        sum += late.pinned[i].at != NULL ? (int64_t)late.pinned[i].bytes : 0;
    return sum;
}

static lk_status late_lost(void)
{
    return LK_FAIL(LK_E_DEVICE, "late: work that was queued has failed");
}

static lk_status late_do(int64_t until)
{
    for (; late.done < until && !late.lost; late.done++) {
        late_work *w = &late.work[late.done % LATE_WORK];
        if (late.fail_work > 0 && --late.fail_work == 0) {
            late.lost = true;
            break;
        }
        if (w->what == LATE_COPY)
            memmove(w->to, w->captured != NULL ? w->captured : w->from[0], w->bytes);
        else if (w->what == LATE_ZERO)
            memset(w->to, 0, w->bytes);
        else
            CHECK_OK(lk_space_sum(&lk_space_host, w->form, (int64_t)(w->bytes / sizeof(float)), (float *)(void *)w->to,
                (const float *const *)(const void *)w->from));
        free(w->captured);
        w->captured = NULL;
    }
    return late.lost ? late_lost() : LK_OK;
}

static lk_status late_queue(late_work w)
{
    if (late.queued - late.done == LATE_WORK)
        LK_TRY(late_do(late.done + 1));
    late.work[late.queued++ % LATE_WORK] = w;
    return LK_OK;
}

static lk_status late_alloc(size_t bytes, const char *what, void **out)
{
    const bool fail = late.fail_alloc > 0 && --late.fail_alloc == 0;
    char *p = fail ? NULL : aligned_alloc(256, (bytes + 255) / 256 * 256);

    if (p == NULL)
        return LK_FAIL(LK_E_NOMEM, "late: no %zu bytes for %s", bytes, what);
    memset(p, 0, bytes);
    late.n_allocated++;
    *out = (void *)((uintptr_t)p + LATE_OFFSET);
    return LK_OK;
}

static void late_free(void *p)
{
    (void)!late_do(late.queued);
    free(late_host(p));
}

static lk_status late_alloc_pinned(size_t bytes, const char *what, void **out)
{
    const bool fail = late.fail_alloc > 0 && --late.fail_alloc == 0;
    int i = 0;

    while (i < LATE_PINNED && late.pinned[i].at != NULL)
        i++;
    char *p = i < LATE_PINNED && !fail ? calloc(1, bytes) : NULL;
    if (p == NULL)
        return LK_FAIL(LK_E_NOMEM, "late: no %zu bytes for %s", bytes, what);
    late.pinned[i].at = p;
    late.pinned[i].bytes = bytes;
    late.n_allocated++;
    *out = p;
    return LK_OK;
}

static void late_free_pinned(void *p)
{
    for (int i = 0; i < LATE_PINNED; i++) {
        if (late.pinned[i].at != p)
            continue;
        for (int64_t k = late.done; k < late.queued && !late.lost; k++) {
            const late_work *w = &late.work[k % LATE_WORK];
            late.misuse += late_is_pinned(w->to, 0) && w->to >= (char *)p && w->to < (char *)p + late.pinned[i].bytes;
            late.misuse += w->from[0] >= (char *)p && w->from[0] < (char *)p + late.pinned[i].bytes;
        }
        late.pinned[i].at = NULL;
        free(p);
        return;
    }
    late.misuse++;
}

static lk_status late_copy(void *to, const void *from, size_t bytes, lk_copy kind)
{
    late_work w = {.what = LATE_COPY, .bytes = bytes};

    late.copies++;
    if (late.fail_copy > 0 && --late.fail_copy == 0)
        return LK_FAIL(LK_E_LIBRARY, "late: a copy that is refused");
    w.to = kind == LK_COPY_OUT || kind == LK_COPY_LATER ? to : late_host(to);
    w.from[0] = kind == LK_COPY_IN ? from : late_host(from);
    if (kind == LK_COPY_LATER && !late_is_pinned(to, bytes))
        late.misuse++;
    if (kind == LK_COPY_IN && !late_is_pinned(from, bytes)) {
        w.captured = malloc(bytes);
        memcpy(w.captured, from, bytes);
    }
    late.copied_out += kind == LK_COPY_LATER ? (int64_t)bytes : 0;
    late.copied_in += kind == LK_COPY_IN && w.captured == NULL ? (int64_t)bytes : 0;
    LK_TRY(late_queue(w));
    return kind == LK_COPY_OUT ? late_do(late.queued) : LK_OK;
}

static lk_status late_zero(void *p, size_t bytes)
{
    return late_queue((late_work){.what = LATE_ZERO, .to = late_host(p), .bytes = bytes});
}

static lk_status late_sum(lk_sum_form form, int64_t n, float *to, const float *const from[4])
{
    static const int used[] = {2, 3, 3, 4};
    late_work w = {.what = LATE_SUM, .to = late_host(to), .bytes = (size_t)n * sizeof(float), .form = form};

    for (int i = 0; i < used[form]; i++)
        w.from[i] = late_host(from[i]);
    return late_queue(w);
}

static lk_status late_mark_create(lk_mark **out)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL ? LK_OK : LK_FAIL(LK_E_NOMEM, "mark");
}

static void late_mark_destroy(lk_mark *m)
{
    free(m);
}

static lk_status late_mark_set(lk_mark *m)
{
    m->behind = late.queued;
    return late.lost ? late_lost() : LK_OK;
}

static lk_status late_mark_test(lk_mark *m, bool *reached)
{
    late.random = late.random * 6364136223846793005u + 1442695040888963407u;
    const int64_t some = late.done + (int64_t)(late.random >> 33) % 4;
    LK_TRY(late_do(some < late.queued ? some : late.queued));
    *reached = m->behind <= late.done;
    return LK_OK;
}

static lk_status late_mark_wait(lk_mark *m)
{
    return late_do(m->behind);
}

static lk_status late_wait(void)
{
    return late_do(late.queued);
}

static const lk_space late_space = {
    .name = "late",
    .alloc = late_alloc,
    .free = late_free,
    .alloc_pinned = late_alloc_pinned,
    .free_pinned = late_free_pinned,
    .copy = late_copy,
    .zero = late_zero,
    .sum = late_sum,
    .mark_create = late_mark_create,
    .mark_destroy = late_mark_destroy,
    .mark_set = late_mark_set,
    .mark_test = late_mark_test,
    .mark_wait = late_mark_wait,
    .wait = late_wait,
};

/* As new: after a test that broke it. */
static inline void late_reset(uint64_t seed)
{
    for (; late.done < late.queued; late.done++) {
        free(late.work[late.done % LATE_WORK].captured);
        late.work[late.done % LATE_WORK].captured = NULL;
    }
    late.lost = false;
    late.fail_alloc = late.fail_copy = late.fail_work = 0;
    late.random = seed;
}

#endif
