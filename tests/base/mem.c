#include "base/mem.h"
#include "base/support.h"

#include <limits.h>

Test(mem, blocks_are_aligned_zeroed_and_counted)
{
    const int64_t count = lk_mem_count(), bytes = lk_mem_bytes();
    char *p[4] = {NULL};

    for (int i = 0; i < 4; i++) {
        EXPECT_OK(lk_alloc_array(100 * i + 1, 3, "block", &p[i]));
        cr_expect((uintptr_t)p[i] % 64 == 0);
        for (int k = 0; k < 3 * (100 * i + 1); k++)
            cr_expect(p[i][k] == 0);
    }
    cr_expect(lk_mem_count() == count + 4);
    cr_expect(lk_mem_bytes() >= bytes + 3 * 604);
    for (int i = 0; i < 4; i++)
        lk_free(p[i]);
    lk_free(NULL);
    cr_expect(lk_mem_bytes() == bytes);
}

Test(mem, nothing_asked_for_is_null)
{
    int dummy;
    void *p = &dummy;

    EXPECT_OK(lk_alloc_array(0, 8, "nothing", &p));
    cr_expect(p == NULL);
}

Test(mem, impossible_sizes_fail_and_leave_the_output)
{
    int dummy;
    void *p = &dummy;

    EXPECT_FAIL(
        lk_alloc_array(-1, 8, "arena", &p), LK_E_NOMEM, "arena: -1 items of 8 bytes are more than can be addressed");
    cr_expect(lk_alloc_array(INT64_MAX, 8, "arena", &p) == LK_E_NOMEM);
    cr_expect(lk_alloc_array(INT64_MAX - 10, 1, "arena", &p) == LK_E_NOMEM);
    cr_expect(p == &dummy);
}

Test(mem, realloc_keeps_and_zeroes)
{
    int32_t *p = NULL;

    EXPECT_OK(lk_realloc_array(0, 3, sizeof *p, "list", &p));
    for (int i = 0; i < 3; i++)
        p[i] = i + 1;
    EXPECT_OK(lk_realloc_array(3, 100, sizeof *p, "list", &p));
    for (int i = 0; i < 100; i++)
        cr_expect(p[i] == (i < 3 ? i + 1 : 0));
    EXPECT_OK(lk_realloc_array(100, 2, sizeof *p, "list", &p));
    cr_expect(p[0] == 1 && p[1] == 2);
    int32_t *before = p;
    lk_mem_fail_at(1);
    cr_expect(lk_realloc_array(2, 50, sizeof *p, "list", &p) == LK_E_NOMEM);
    cr_expect(p == before && p[1] == 2);
    lk_free(p);
}

Test(mem, the_chosen_allocation_fails)
{
    char *s[4] = {NULL};

    lk_mem_fail_at(3);
    EXPECT_OK(lk_strdup("a", &s[0]));
    EXPECT_OK(lk_strdup("b", &s[1]));
    EXPECT_FAIL(lk_strdup("c", &s[2]), LK_E_NOMEM, "out of memory: 2 bytes for string");
    cr_expect(s[2] == NULL);
    EXPECT_OK(lk_strdup("d", &s[3]));
    EXPECT_TEXT(s[3], "d");
    for (int i = 0; i < 4; i++)
        lk_free(s[i]);
}

Test(mem, narrowing_and_products_that_do_not_fit_fail)
{
    int i = 5;
    int64_t v = 5;

    EXPECT_OK(lk_cast_int(INT_MIN, &i));
    cr_expect(i == INT_MIN);
    EXPECT_FAIL(lk_cast_int((int64_t)INT_MAX + 1, &i), LK_E_RANGE, "2147483648 does not fit an int");
    cr_expect(i == INT_MIN);
    EXPECT_OK(lk_mul_i64(-3, 1000000000000, &v));
    cr_expect(v == -3000000000000);
    EXPECT_FAIL(lk_mul_i64(INT64_MAX, 2, &v), LK_E_RANGE, "9223372036854775807 times 2 overflows 64 bits");
    cr_expect(v == -3000000000000);
}
