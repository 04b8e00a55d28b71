/* A memory space: where a backend's numbers lie, and the one queue in which work on them is done. The host's is always there; a
 * device's comes with its module.
 *
 * What touches the space's memory is queued and done in the order of the calls; a call may return before it is done. The host
 * sees a result after lk_space_copy(..., LK_COPY_OUT), which waits, or after a mark behind it was reached. On the host all of it
 * is done when the call returns, and marks are always reached. All calls on one space come from one thread. */
#ifndef LK_BASE_SPACE_H
#define LK_BASE_SPACE_H

#include "base/status.h"
#include <stddef.h>

typedef struct lk_space lk_space;

/* A place in the queue; work that was recorded. */
typedef struct lk_mark lk_mark;
typedef struct lk_work lk_work;

typedef enum lk_copy {
    LK_COPY_IN,    /* from the host: `from` may be changed when the call returns, unless it is pinned (lk_space_alloc_pinned):
                      then once a mark behind it was reached */
    LK_COPY_OUT,   /* to the host: done when the call returns */
    LK_COPY_LATER, /* to pinned host memory: done once a mark behind it was reached */
    LK_COPY_WITHIN
} lk_copy;

/* One step of a sum along the tree (comm/reduce.h). */
typedef enum lk_sum_form {
    LK_SUM_2,  /* a + b */
    LK_SUM_3L, /* (a + b) + c */
    LK_SUM_3R, /* a + (b + c) */
    LK_SUM_4   /* (a + b) + (c + d) */
} lk_sum_form;

struct lk_space {
    const char *name; /* "host", "cuda" */
    bool host;        /* the processor reads and writes it directly, and all calls are done when they return */
    lk_status (*alloc)(size_t bytes, const char *what, void **out);
    void (*free)(void *p);
    lk_status (*alloc_pinned)(size_t bytes, const char *what, void **out);
    void (*free_pinned)(void *p);
    lk_status (*room)(int64_t *free, int64_t *total); /* optional */
    lk_status (*copy)(void *to, const void *from, size_t bytes, lk_copy kind);
    /* Optional, both or none: copies in beside the queue. */
    lk_status (*copy_ahead)(void *to, const void *from, size_t bytes, lk_mark *after);
    lk_status (*join)(void);
    lk_status (*zero)(void *p, size_t bytes);
    lk_status (*sum)(lk_sum_form form, int64_t n, float *to, const float *const from[4]);
    lk_status (*mark_create)(lk_mark **out);
    void (*mark_destroy)(lk_mark *m);
    lk_status (*mark_set)(lk_mark *m);
    lk_status (*mark_test)(lk_mark *m, bool *reached);
    lk_status (*mark_wait)(lk_mark *m);
    lk_status (*wait)(void);
    /* Optional, all four or none. */
    lk_status (*record_begin)(void);
    lk_status (*record_end)(lk_work **out);
    lk_status (*replay)(lk_work *w);
    void (*work_destroy)(lk_work *w);
};

extern const lk_space lk_space_host;

/* What memory in a device's space is a multiple of. */
enum { LK_SPACE_ALIGN = 256 };

/* Memory in the space, zeroed, 256-byte aligned (host: 64); NULL for 0 bytes. Local. Errors: LK_E_NOMEM with `what`, the bytes and
 * what is free; LK_E_DEVICE. */
LK_MUST_USE lk_status lk_space_alloc(const lk_space *s, size_t bytes, const char *what, void *out_ptr);
/* What an allocation of so many bytes takes there. */
int64_t lk_space_taken(const lk_space *s, int64_t bytes);
/* Bytes of the device that nobody has, and all of them; of the host's space 0 and 0 (base/machine.h knows more). Local. Errors: LK_E_DEVICE. */
LK_MUST_USE lk_status lk_space_room(const lk_space *s, int64_t *free, int64_t *total);
/* Frees; NULL is fine. Waits for what is queued where it must. */
void lk_space_free(const lk_space *s, void *p);
/* Host memory that copies go to and from without waiting; zeroed. */
LK_MUST_USE lk_status lk_space_alloc_pinned(const lk_space *s, size_t bytes, const char *what, void *out_ptr);
void lk_space_free_pinned(const lk_space *s, void *p);
LK_MUST_USE lk_status lk_space_copy(const lk_space *s, void *to, const void *from, size_t bytes, lk_copy kind);
/* Copies from pinned host memory while other work runs: once mark `after` (of what used `to` before) was reached, and not in the order of the queue; what is queued
 * behind the next lk_space_join finds it done. */
LK_MUST_USE lk_status lk_space_copy_ahead(const lk_space *s, void *to, const void *from, size_t bytes, lk_mark *after);
LK_MUST_USE lk_status lk_space_join(const lk_space *s);
LK_MUST_USE lk_status lk_space_zero(const lk_space *s, void *p, size_t bytes);
/* to[i] = the form of from[k][i], one rounding an addition, element by element; `to` may be one of those that are read. */
LK_MUST_USE lk_status lk_space_sum(const lk_space *s, lk_sum_form form, int64_t n, float *to, const float *const from[4]);
/* Marks: create; set at the end of the queue as it is now (again and again); ask or wait until all in front of it is done. A mark
 * that was never set is reached. Errors: LK_E_DEVICE, what the device said; LK_E_COMM where it waits for other ranks in vain. */
LK_MUST_USE lk_status lk_mark_create(const lk_space *s, lk_mark **out);
void lk_mark_destroy(const lk_space *s, lk_mark **m);
LK_MUST_USE lk_status lk_mark_set(const lk_space *s, lk_mark *m);
LK_MUST_USE lk_status lk_mark_test(const lk_space *s, lk_mark *m, bool *reached);
LK_MUST_USE lk_status lk_mark_wait(const lk_space *s, lk_mark *m);
/* Work that is done again and again: what is queued between begin and end (nothing that waits, copies from or to the host, or allocates) is
 * kept in place of being done; replay queues all of it. lk_space_records says whether the space can. */
bool lk_space_records(const lk_space *s);
LK_MUST_USE lk_status lk_space_record_begin(const lk_space *s);
LK_MUST_USE lk_status lk_space_record_end(const lk_space *s, lk_work **out);
LK_MUST_USE lk_status lk_space_replay(const lk_space *s, lk_work *w);
void lk_work_destroy(const lk_space *s, lk_work **w);
/* Until all that was queued is done. Errors as of marks. */
LK_MUST_USE lk_status lk_space_wait(const lk_space *s);

#endif
