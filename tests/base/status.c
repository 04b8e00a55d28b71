#include "base/support.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static lk_status innermost(int n)
{
    return LK_FAIL(LK_E_SHAPE, "%d rows do not fit", n);
}

static lk_status middle(int n)
{
    LK_TRY(innermost(n));
    return LK_OK;
}

static lk_status outer(int n, int *undone)
{
    lk_status st;

    LK_TRY_TO(st, fail, middle(n));
    return LK_OK;

fail:
    ++*undone;
    return st;
}

Test(status, record_holds_message_and_frames)
{
    int undone = 0;

    cr_expect(outer(7, &undone) == LK_E_SHAPE);
    cr_expect(undone == 1);
    const lk_err *e = lk_err_last();
    cr_expect(e->code == LK_E_SHAPE);
    EXPECT_TEXT(e->message, "7 rows do not fit");
    cr_assert(e->n_frames == 3);
    EXPECT_TEXT(e->frame[0].func, "innermost");
    EXPECT_TEXT(e->frame[1].func, "middle");
    EXPECT_TEXT(e->frame[2].func, "outer");
    cr_expect(e->frame[0].line > 0 && strstr(e->frame[0].file, "status.c") != NULL);
}

static lk_status deep(int levels)
{
    if (levels == 0)
        return LK_FAIL(LK_E_DATA, "bottom");
    LK_TRY(deep(levels - 1));
    return LK_OK;
}

Test(status, more_frames_than_fit_are_left_out)
{
    cr_expect(deep(100) == LK_E_DATA);
    cr_expect(lk_err_last()->n_frames == LK_ERR_FRAMES);
    EXPECT_TEXT(lk_err_last()->message, "bottom");
}

Test(status, a_message_may_quote_the_record_itself)
{
    cr_expect(innermost(3) == LK_E_SHAPE);
    cr_expect(LK_FAIL(LK_E_USAGE, "--x: %s", lk_err_last()->message) == LK_E_USAGE);
    EXPECT_TEXT(lk_err_last()->message, "--x: 3 rows do not fit");
}

Test(status, prefix_keeps_code_and_frames)
{
    cr_expect(middle(1) == LK_E_SHAPE);
    cr_expect(lk_err_prefix(LK_E_SHAPE, "shard %d: ", 3) == LK_E_SHAPE);
    EXPECT_TEXT(lk_err_last()->message, "shard 3: 1 rows do not fit");
    cr_expect(lk_err_last()->n_frames == 2);
    cr_expect(lk_err_last()->code == LK_E_SHAPE);
}

Test(status, long_texts_are_cut_not_overrun)
{
    char longer[3 * LK_ERR_MESSAGE];

    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    cr_expect(LK_FAIL(LK_E_ARG, "%s", longer) == LK_E_ARG);
    cr_expect(strlen(lk_err_last()->message) == LK_ERR_MESSAGE - 1);
    cr_expect(lk_err_prefix(LK_E_ARG, "%s", longer) == LK_E_ARG);
    cr_expect(strlen(lk_err_last()->message) == LK_ERR_MESSAGE - 1);
}

static void *fail_elsewhere(void *out)
{
    if (middle(42) != LK_OK)
        lk_err_take(out);
    return NULL;
}

Test(status, a_record_travels_between_threads)
{
    pthread_t other;
    lk_err taken;

    cr_expect(innermost(1) == LK_E_SHAPE);
    cr_assert(pthread_create(&other, NULL, fail_elsewhere, &taken) == 0);
    pthread_join(other, NULL);
    EXPECT_TEXT(lk_err_last()->message, "1 rows do not fit"); /* each thread has its own */
    cr_expect(lk_err_give(&taken) == LK_E_SHAPE);
    EXPECT_TEXT(lk_err_last()->message, "42 rows do not fit");
    cr_expect(lk_err_last()->n_frames == 2);
}

Test(status, system_calls_are_translated)
{
    cr_expect(LK_SYS(false, "open", "a") == LK_OK);
    errno = ENOENT;
    EXPECT_FAIL(LK_SYS(true, "open", "a/b"), LK_E_NOT_FOUND, "a/b: open: No such file or directory");
    errno = ENOMEM;
    EXPECT_FAIL(LK_SYS(true, "map", "x"), LK_E_NOMEM, "x: map: Cannot allocate memory");
    errno = EACCES;
    EXPECT_FAIL(LK_SYS(true, "open", "x"), LK_E_IO, "x: open: Permission denied");
}

Test(status, numbers_grow_with_damage)
{
    static const lk_status all[] = {
#define X(name, number, damage, text) LK_E_##name,
        LK_STATUS_MAP(X)
#undef X
    };
    const int n = (int)(sizeof all / sizeof all[0]);

    for (int i = 0; i < n; i++) {
        cr_expect(lk_status_name(all[i])[0] != 0 && lk_status_text(all[i])[0] != 0);
        cr_expect(i == 0 || all[i] > all[i - 1]);
        cr_expect(i == 0 || lk_status_damage(all[i]) >= lk_status_damage(all[i - 1]));
    }
    EXPECT_TEXT(lk_status_name(LK_E_NOT_FOUND), "NOT_FOUND");
    EXPECT_TEXT(lk_status_name((lk_status)999), "UNKNOWN");
    cr_expect(lk_status_damage((lk_status)999) == LK_DAMAGE_PROCESS);
}

static void leave(const char *message)
{
    _exit(strstr(message, "slot 9 of 4") != NULL ? 33 : 34);
}

Test(status, a_broken_invariant_goes_through_the_hook)
{
    const pid_t child = fork();
    int status;

    if (child == 0) {
        lk_bug_set_hook(leave);
        const int slot = 9;
        LK_BUG_IF(slot >= 4, "slot %d of %d", slot, 4);
        _exit(35);
    }
    cr_assert(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 33);
}
