/* Small helpers for Criterion tests over status codes and messages.
 * Criterion cannot start under the thread sanitizer (its shared arena finds no address there), so that build gets a plain runner
 * instead: all tests of a program one after the other in one process, the few macros that we use. */
#ifndef LK_TESTS_BASE_SUPPORT_H
#define LK_TESTS_BASE_SUPPORT_H

#include "base/status.h"

#include <string.h>

#ifndef __SANITIZE_THREAD__
#include <criterion/criterion.h>
#else
#include <setjmp.h>
#include <stdio.h>

typedef struct plain_test {
    const char *suite, *name;
    void (*run)(void);
    void (*init)(void);
    void (*fini)(void);
} plain_test;

static plain_test plain_list[256], plain_suite[16];
static int plain_n, plain_n_suites, plain_failed;
static jmp_buf plain_leave;

#define Test(suite_, name_) \
    static void suite_##_##name_(void); \
    __attribute__((constructor)) static void suite_##_##name_##_add(void) \
    { \
        plain_list[plain_n++] = (plain_test){.suite = #suite_, .name = #name_, .run = suite_##_##name_}; \
    } \
    static void suite_##_##name_(void)

#define TestSuite(suite_, ...) \
    __attribute__((constructor)) static void suite_##_suite_add(void) \
    { \
        plain_suite[plain_n_suites++] = (plain_test){.suite = #suite_, __VA_ARGS__}; \
    } \
    struct suite_##_suite

#define PLAIN_SAY(cond, ...) \
    do { \
        plain_failed++; \
        fprintf(stderr, "%s:%d: failed: %s", __FILE__, __LINE__, #cond); \
        fprintf(stderr, " " __VA_ARGS__); \
        fputc('\n', stderr); \
    } while (0)
#define cr_expect(cond, ...) \
    do { \
        if (!(cond)) \
            PLAIN_SAY(cond, __VA_ARGS__); \
    } while (0)
#define cr_assert(cond, ...) \
    do { \
        if (!(cond)) { \
            PLAIN_SAY(cond, __VA_ARGS__); \
            longjmp(plain_leave, 1); \
        } \
    } while (0)
#define cr_skip(...) longjmp(plain_leave, 1)

__attribute__((noinline)) static void plain_run(void (*run)(void))
{
    if (setjmp(plain_leave) == 0)
        run();
}

int main(void)
{
    for (int i = 0; i < plain_n; i++) {
        const plain_test *t = &plain_list[i], *suite = NULL;
        for (int s = 0; s < plain_n_suites; s++)
            suite = strcmp(plain_suite[s].suite, t->suite) == 0 ? &plain_suite[s] : suite;
        if (suite != NULL && suite->init != NULL)
            suite->init();
        plain_run(t->run);
        if (suite != NULL && suite->fini != NULL)
            suite->fini();
    }
    printf("%d tests, %d failures\n", plain_n, plain_failed);
    return plain_failed > 0;
}
#endif

#define EXPECT_OK(expr) \
    do { \
        const lk_status st_ = (expr); \
        cr_assert(st_ == LK_OK, "%s: %s: %s", #expr, lk_status_name(st_), lk_err_last()->message); \
    } while (0)

#define EXPECT_FAIL(expr, code, text) \
    do { \
        const lk_status st_ = (expr); \
        cr_expect(st_ == (code), "%s gives %s", #expr, lk_status_name(st_)); \
        cr_expect(strcmp(lk_err_last()->message, (text)) == 0, "%s says \"%s\", not \"%s\"", #expr, lk_err_last()->message, (text)); \
    } while (0)

/* As EXPECT_FAIL, for messages with a part that differs from run to run. */
#define EXPECT_FAIL_WITH(expr, code, part) \
    do { \
        const lk_status st_ = (expr); \
        cr_expect(st_ == (code), "%s gives %s", #expr, lk_status_name(st_)); \
        cr_expect(strstr(lk_err_last()->message, (part)) != NULL, "%s says \"%s\", without \"%s\"", #expr, lk_err_last()->message, (part)); \
    } while (0)

#define EXPECT_TEXT(got, want) cr_expect(strcmp((got), (want)) == 0, "got:\n%s\nwant:\n%s", (got), (want))
#define EXPECT_HAS(text, part) cr_expect(strstr((text), (part)) != NULL, "no \"%s\" in:\n%s", (part), (text))

#endif
