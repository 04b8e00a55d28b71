/* Checks for test programs that run under mpirun, where Criterion's own processes would be in the way. A program is a list of
 * functions; check_end prints one closing line on rank 0 and gives the exit code. */
#ifndef LK_TESTS_CHECK_H
#define LK_TESTS_CHECK_H

#include <stdio.h>

static int check_passed, check_failed;

#define CHECK(cond, ...) \
    do { \
        if (cond) { \
            check_passed++; \
        } else { \
            check_failed++; \
            fprintf(stderr, "%s:%d: failed: %s: ", __FILE__, __LINE__, #cond); \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
        } \
    } while (0)

#define CHECK_OK(expr) \
    do { \
        const lk_status check_st_ = (expr); \
        CHECK(check_st_ == LK_OK, "%s: %s", lk_status_name(check_st_), lk_err_last()->message); \
    } while (0)

static inline int check_end(int rank)
{
    if (rank == 0 || check_failed > 0)
        printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed > 0;
}

#endif
