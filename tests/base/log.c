#include "base/log.h"
#include "base/support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What `talk` writes to standard error, in a process of its own; `wish` is LOCKSTEP_LOG. */
static void capture(void (*talk)(void), const char *wish, char *out, size_t cap)
{
    int fd[2], status;
    size_t have = 0;
    ssize_t got;

    cr_assert(pipe(fd) == 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(fd[1], STDERR_FILENO);
        close(fd[0]);
        close(fd[1]);
        if (wish != NULL)
            setenv("LOCKSTEP_LOG", wish, 1);
        else
            unsetenv("LOCKSTEP_LOG");
        talk();
        _exit(0);
    }
    close(fd[1]);
    while ((got = read(fd[0], out + have, cap - 1 - have)) > 0)
        have += (size_t)got;
    out[have] = 0;
    close(fd[0]);
    cr_assert(waitpid(child, &status, 0) == child && status == 0);
}

static void all_levels(void)
{
    errno = EDOM;
    lk_log(LK_LOG_ERROR, "e %d", 1);
    lk_log(LK_LOG_WARN, "w %s", "two");
    lk_log(LK_LOG_INFO, "i");
    lk_log(LK_LOG_DEBUG, "d");
    if (errno != EDOM)
        _exit(1);
}

static void as_rank_2(void)
{
    lk_log_set_rank(2, 4);
    all_levels();
}

static void as_rank_0(void)
{
    lk_log_set_rank(0, 4);
    all_levels();
}

static void set_to_error(void)
{
    lk_log_set_level(LK_LOG_ERROR);
    all_levels();
}

Test(log, levels_and_ranks)
{
    char text[1024];

    capture(all_levels, NULL, text, sizeof text);
    EXPECT_TEXT(text, "lockstep: e 1\nlockstep: w two\nlockstep: i\n");
    capture(as_rank_0, NULL, text, sizeof text);
    EXPECT_TEXT(text, "lockstep [rank 0]: e 1\nlockstep [rank 0]: w two\nlockstep [rank 0]: i\n");
    capture(as_rank_2, NULL, text, sizeof text);
    EXPECT_TEXT(text, "lockstep [rank 2]: e 1\nlockstep [rank 2]: w two\n");
    capture(set_to_error, NULL, text, sizeof text);
    EXPECT_TEXT(text, "lockstep: e 1\n");
}

Test(log, the_environment_stands_above_the_program)
{
    char text[1024];

    capture(set_to_error, "debug", text, sizeof text);
    EXPECT_TEXT(text, "lockstep: e 1\nlockstep: w two\nlockstep: i\nlockstep: d\n");
    capture(all_levels, "error", text, sizeof text);
    EXPECT_TEXT(text, "lockstep: e 1\n");
    capture(set_to_error, "loud", text, sizeof text);
    EXPECT_TEXT(text, "lockstep: e 1\n");
}

static lk_status fail_below(void)
{
    LK_TRY(LK_FAIL(LK_E_DATA, "chunk 7 is damaged"));
    return LK_OK;
}

static void log_record(void)
{
    if (fail_below() != LK_OK)
        lk_log_err(lk_err_last());
}

Test(log, error_records)
{
    char text[1024];

    capture(log_record, NULL, text, sizeof text);
    EXPECT_TEXT(text, "lockstep: chunk 7 is damaged\n");
    capture(log_record, "debug", text, sizeof text);
    EXPECT_HAS(text, "lockstep: chunk 7 is damaged\n    fail_below (");
}

static void long_line(void)
{
    static char longer[20000];

    memset(longer, 'x', sizeof longer - 1);
    lk_log(LK_LOG_INFO, "%s", longer);
}

Test(log, a_long_message_is_cut_and_keeps_its_line_end)
{
    static char text[40000];

    capture(long_line, NULL, text, sizeof text);
    cr_expect(strlen(text) > 8000 && strlen(text) <= 8192);
    cr_expect(text[strlen(text) - 1] == '\n' && text[strlen(text) - 2] == 'x');
}
