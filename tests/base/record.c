#include "base/support.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/record.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static char path[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/lk-record-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/rank-0003.rec", folder);
}

static void teardown(void)
{
    EXPECT_OK(lk_dir_remove(folder));
}

TestSuite(record, .init = setup, .fini = teardown);

/* A child that makes the record, calls `work`, tells that it is ready, and stays until it is killed. */
typedef struct rank_process {
    pid_t pid;
    int ready[2];
} rank_process;

static void start_rank(rank_process *p, void (*work)(lk_record *r))
{
    cr_assert(pipe(p->ready) == 0);
    p->pid = fork();
    cr_assert(p->pid >= 0);
    if (p->pid == 0) {
        lk_record *r = NULL;
        char byte = 'y';
        if (lk_record_create(path, 3, 8, &r) != LK_OK)
            byte = 'n';
        else if (work != NULL)
            work(r);
        if (write(p->ready[1], &byte, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char byte = 0;
    cr_assert(read(p->ready[0], &byte, 1) == 1 && byte == 'y');
}

static void kill_rank(rank_process *p)
{
    int status;

    kill(p->pid, SIGKILL);
    cr_assert(waitpid(p->pid, &status, 0) == p->pid);
    close(p->ready[0]);
    close(p->ready[1]);
}

Test(record, phases_have_names)
{
    EXPECT_TEXT(lk_phase_name(LK_PHASE_START), "start");
    EXPECT_TEXT(lk_phase_name(LK_PHASE_FORWARD), "compute");
    EXPECT_TEXT(lk_phase_name(LK_PHASE_END), "end");
    EXPECT_TEXT(lk_phase_name(LK_PHASE_COUNT), "?");
    for (int p = 0; p < LK_PHASE_COUNT; p++)
        cr_expect(strcmp(lk_phase_name((lk_phase)p), "?") != 0, "phase %d", p);
}

Test(record, a_new_record_says_who_writes_it)
{
    lk_record *r = NULL;

    cr_expect(lk_record_current() == NULL);
    EXPECT_OK(lk_record_create(path, 3, 8, &r));
    const lk_record_data *d = lk_record_view(r);
    cr_expect(d->rank == 3 && d->nranks == 8 && d->pid == getpid());
    cr_expect(d->state == LK_RECORD_RUNNING && d->phase == LK_PHASE_START && d->step == 0 && d->ticks == 0);
    cr_expect(d->host[0] != 0 && d->message[0] == 0);
    cr_expect(lk_record_current() == r);
    lk_record_close(&r);
    cr_expect(r == NULL && lk_record_current() == NULL);
    lk_record_close(&r);
    cr_expect(lk_file_exists(path));
}

static void note_some(lk_record *r)
{
    lk_record_note(r, LK_PHASE_DATA, 1, 16);
    lk_record_note(r, LK_PHASE_FORWARD, 1, 17);
}

Test(record, the_lock_goes_with_the_process_and_the_words_stay)
{
    rank_process p;
    lk_record_data d;
    bool alive;

    start_rank(&p, note_some);
    EXPECT_OK(lk_record_read(path, &d, &alive));
    cr_expect(alive);
    cr_expect(d.pid == p.pid && d.rank == 3 && d.state == LK_RECORD_RUNNING);
    cr_expect(d.phase == LK_PHASE_FORWARD && d.epoch == 1 && d.step == 17 && d.ticks == 2);
    kill_rank(&p);
    EXPECT_OK(lk_record_read(path, &d, &alive));
    cr_expect(!alive);
    cr_expect(d.state == LK_RECORD_RUNNING && d.phase == LK_PHASE_FORWARD && d.step == 17);
}

static void fail_at_length(lk_record *r)
{
    static char longer[3 * LK_ERR_MESSAGE];

    memset(longer, 'x', sizeof longer - 1);
    lk_record_note(r, LK_PHASE_REDUCE, 0, 7);
    lk_record_end(r, LK_RECORD_FAILED, longer);
}

Test(record, a_long_message_is_cut_off)
{
    rank_process p;
    lk_record_data d;
    bool alive;

    start_rank(&p, fail_at_length);
    kill_rank(&p);
    EXPECT_OK(lk_record_read(path, &d, &alive));
    cr_expect(d.state == LK_RECORD_FAILED && d.phase == LK_PHASE_REDUCE && d.step == 7);
    cr_expect(strlen(d.message) == LK_ERR_MESSAGE - 1);
}

Test(record, the_last_end_stands)
{
    lk_record *r = NULL;

    EXPECT_OK(lk_record_create(path, 0, 1, &r));
    lk_record_end(r, LK_RECORD_FAILED, "first");
    EXPECT_TEXT(lk_record_view(r)->message, "first");
    lk_record_end(r, LK_RECORD_FAILED, NULL);
    EXPECT_TEXT(lk_record_view(r)->message, "");
    lk_record_end(r, LK_RECORD_STOPPED, NULL);
    cr_expect(lk_record_view(r)->state == LK_RECORD_STOPPED);
    lk_record_close(&r);
}

Test(record, a_rank_that_closes_its_record_has_not_died)
{
    lk_record *r = NULL;
    lk_record_data d;
    bool alive;

    EXPECT_OK(lk_record_create(path, 0, 1, &r));
    lk_record_close(&r);
    EXPECT_OK(lk_record_read(path, &d, &alive));
    cr_expect(!alive && d.state == LK_RECORD_FAILED && d.message[0] == 0);
    EXPECT_OK(lk_record_create(path, 0, 1, &r));
    lk_record_end(r, LK_RECORD_DONE, NULL);
    lk_record_close(&r);
    EXPECT_OK(lk_record_read(path, &d, &alive));
    cr_expect(!alive && d.state == LK_RECORD_DONE);
}

Test(record, none_is_fine)
{
    lk_record_note(NULL, LK_PHASE_DATA, 0, 0);
    lk_record_end(NULL, LK_RECORD_DONE, NULL);
}

Test(record, a_living_ranks_record_is_not_taken)
{
    rank_process p;
    lk_record *r = NULL;
    char text[64];

    start_rank(&p, NULL);
    snprintf(text, sizeof text, "process %ld is alive", (long)p.pid);
    EXPECT_FAIL_WITH(lk_record_create(path, 3, 8, &r), LK_E_IO, text);
    cr_expect(r == NULL);
    kill_rank(&p);
    EXPECT_OK(lk_record_create(path, 5, 8, &r));
    cr_expect(lk_record_view(r)->rank == 5 && lk_record_view(r)->pid == getpid());
    lk_record_close(&r);
}

Test(record, what_is_no_record_is_told)
{
    lk_record_data d;
    bool alive;

    EXPECT_FAIL_WITH(lk_record_read(path, &d, &alive), LK_E_NOT_FOUND, path);
    EXPECT_OK(lk_file_write_atomic(path, "hello", 5));
    EXPECT_FAIL_WITH(lk_record_read(path, &d, &alive), LK_E_FORMAT, "no flight record");
    char *zeros = NULL;
    EXPECT_OK(lk_alloc(sizeof d, "zeros", &zeros));
    EXPECT_OK(lk_file_write_atomic(path, zeros, sizeof d));
    EXPECT_FAIL_WITH(lk_record_read(path, &d, &alive), LK_E_FORMAT, "no flight record");
    lk_free(zeros);
}

Test(record, damage_and_other_versions_are_told)
{
    lk_record *r = NULL;
    lk_record_data d;
    bool alive;

    EXPECT_OK(lk_record_create(path, 0, 1, &r));
    d = *lk_record_view(r);
    lk_record_close(&r);
    d.phase = 99;
    EXPECT_OK(lk_file_write_atomic(path, &d, sizeof d));
    EXPECT_FAIL_WITH(lk_record_read(path, &d, &alive), LK_E_FORMAT, "damaged flight record (phase 99");
    d.phase = 0;
    d.version = 2;
    EXPECT_OK(lk_file_write_atomic(path, &d, sizeof d));
    EXPECT_FAIL_WITH(lk_record_read(path, &d, &alive), LK_E_FORMAT, "version 2");
}

Test(record, a_place_that_takes_no_file_is_told)
{
    char below[128];
    lk_record *r = NULL;

    EXPECT_OK(lk_file_write_atomic(path, "x", 1));
    snprintf(below, sizeof below, "%s/r.rec", path);
    EXPECT_FAIL_WITH(lk_record_create(below, 0, 1, &r), LK_E_IO, below);
    cr_expect(r == NULL && lk_record_current() == NULL);
}
