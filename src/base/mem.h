/* Memory with a name: every allocation is 64-byte aligned, counted, and says what it is for when it fails. */
#ifndef LK_BASE_MEM_H
#define LK_BASE_MEM_H

#include "base/status.h"
#include <stddef.h>

/* Allocates `count` items of `size` bytes, zeroed, into *out (NULL when count is 0). Local.
 * `what` names the use ("activation arena"). Errors: LK_E_NOMEM (also when the product overflows), *out untouched. */
LK_MUST_USE lk_status lk_alloc_array(int64_t count, size_t size, const char *what, void *out_ptr);
#define lk_alloc(size, what, out_ptr) lk_alloc_array(1, (size), (what), (out_ptr))
/* Grows a lk_alloc_array block to `count` items, keeping the first `old_count`; *ptr may be NULL. */
LK_MUST_USE lk_status lk_realloc_array(int64_t old_count, int64_t count, size_t size, const char *what, void *ptr);
/* Copies a string. */
LK_MUST_USE lk_status lk_strdup(const char *s, char **out);
/* Frees; NULL is fine. */
void lk_free(void *p);

/* Allocations made so far by this process; bytes now held. For tests ("a step allocates nothing") and reports. */
int64_t lk_mem_count(void);
int64_t lk_mem_bytes(void);
/* Fault injection for tests: the n-th allocation from now fails (0: off). */
void lk_mem_fail_at(int64_t n);

/* Narrowing that can fail. */
LK_MUST_USE lk_status lk_cast_int(int64_t v, int *out);
LK_MUST_USE lk_status lk_mul_i64(int64_t a, int64_t b, int64_t *out);

#endif
