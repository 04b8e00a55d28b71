/* What mpirun says, apart from what ranks say. */
#include "base/file.h"
#include "base/mem.h"
#include "launch/launch_int.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FENCE "--------------------------------------------------------------------------\n"

static const char killed[] =
    FENCE "Primary job  terminated normally, but 1 process returned\n"
          "a non-zero exit code. Per user-direction, the job has been aborted.\n" FENCE FENCE
          "mpirun noticed that process rank 2 with PID 0 on node n-1.cluster exited on signal 9 (Killed).\n" FENCE;

static const char exited[] =
    FENCE "mpirun detected that one or more processes exited with non-zero status, thus causing\n"
          "the job to be terminated. The first process to do so was:\n\n"
          "  Process name: [[18757,1],3]\n  Exit code:    5\n" FENCE;

/* Speech that writes into a file, to be read back. */
typedef struct fixture {
    lki_speech s;
    FILE *file;
    char *text;
} fixture;

static fixture begin(void)
{
    fixture f = {.file = tmpfile()};

    cr_assert(f.file != NULL);
    f.s.fd = fileno(f.file);
    return f;
}

static const char *passed(fixture *f)
{
    const off_t n = lseek(f->s.fd, 0, SEEK_END);

    free(f->text);
    f->text = calloc((size_t)n + 1, 1);
    cr_assert(pread(f->s.fd, f->text, (size_t)n, 0) == n);
    return f->text;
}

static void end(fixture *f)
{
    lki_speech_fini(&f->s);
    fclose(f->file);
    free(f->text);
}

static void expect(const char *got, const char *want)
{
    cr_expect(strcmp(got, want) == 0, "got \"%s\", want \"%s\"", got, want);
}

static void say(fixture *f, const char *text)
{
    lki_speech_add(&f->s, text, strlen(text));
}

Test(speech, lines_of_ranks_pass_as_they_are)
{
    fixture f = begin();

    say(&f, "one\ntw");
    expect(passed(&f), "one\ntw");
    cr_expect(f.s.open_line);
    say(&f, "o\n\rbar 10 %\rbar 20 %");
    expect(passed(&f), "one\ntwo\n\rbar 10 %\rbar 20 %");
    lki_speech_end(&f.s);
    cr_expect(f.s.kept.len == 0 && f.s.passed == strlen(passed(&f)));
    end(&f);
}

Test(speech, dashes_are_held_back_until_it_is_clear_what_they_are)
{
    fixture f = begin();

    say(&f, "a - b --");
    expect(passed(&f), "a - b ");
    lki_speech_idle(&f.s);
    expect(passed(&f), "a - b --");
    say(&f, "-----\nafter");
    expect(passed(&f), "a - b -------\nafter");
    say(&f, "--------------------------------------------------------------------------- not a fence\n");
    lki_speech_end(&f.s);
    cr_expect(strstr(passed(&f), "--- not a fence\n") != NULL);
    cr_expect(f.s.kept.len == 0);
    end(&f);
}

Test(speech, blocks_are_kept_aside_however_they_are_cut)
{
    for (size_t piece = 1; piece < sizeof killed; piece = piece * 3 / 2 + 1) {
        fixture f = begin();

        say(&f, "before\n");
        for (size_t at = 0; at < strlen(killed); at += piece) {
            const size_t left = strlen(killed) - at;
            lki_speech_add(&f.s, killed + at, left < piece ? left : piece);
        }
        say(&f, "after\n");
        lki_speech_end(&f.s);
        expect(passed(&f), "before\nafter\n");
        cr_expect(strncmp(f.s.kept.text, "Primary job", 11) == 0);
        cr_expect(strstr(f.s.kept.text, "exited on signal 9 (Killed).\n") != NULL);
        cr_expect(strstr(f.s.kept.text, "----") == NULL);
        end(&f);
    }
}

Test(speech, a_block_may_come_behind_a_progress_bar)
{
    fixture f = begin();

    say(&f, "\rbar 30 %");
    say(&f, killed);
    lki_speech_end(&f.s);
    expect(passed(&f), "\rbar 30 %");
    cr_expect(f.s.open_line);
    end(&f);
}

Test(speech, a_rank_may_speak_inside_of_a_block)
{
    fixture f = begin();

    say(&f, FENCE "MPI_ABORT was invoked\nlockstep [rank 1]: why\nwith errorcode 1.\n" FENCE);
    lki_speech_end(&f.s);
    expect(passed(&f), "lockstep [rank 1]: why\n");
    expect(f.s.kept.text, "MPI_ABORT was invoked\nwith errorcode 1.\n");
    end(&f);
}

Test(speech, the_same_block_is_kept_once)
{
    fixture f = begin();

    for (int i = 0; i < 4; i++)
        say(&f, FENCE "no component\n" FENCE);
    lki_speech_end(&f.s);
    expect(f.s.kept.text, "no component\n");
    expect(passed(&f), "");
    end(&f);
}

Test(speech, what_never_closes_was_no_block)
{
    fixture f = begin();

    say(&f, FENCE "a rank's own\n");
    for (int i = 0; i < 2000; i++)
        say(&f, "line of a long text\n");
    const char *text = passed(&f);
    cr_expect(strncmp(text, FENCE, strlen(FENCE)) == 0 && strncmp(text + strlen(FENCE), "a rank's own\n", 13) == 0);
    cr_expect(strlen(text) == strlen(FENCE) + 13 + 2000 * 20, "%zu", strlen(text));
    cr_expect(f.s.kept.len == 0);
    end(&f);
}

Test(speech, a_block_that_the_end_cuts_is_kept)
{
    fixture f = begin();

    say(&f, FENCE "cut off");
    lki_speech_end(&f.s);
    expect(f.s.kept.text, "cut off");
    expect(passed(&f), "");
    end(&f);
}

Test(speech, single_lines_of_mpirun_do_not_pass)
{
    fixture f = begin();

    say(&f, "\rbar 40 %mpirun: Forwarding signal 10 to job\n\rbar 50 %");
    expect(passed(&f), "\rbar 40 %\rbar 50 %");
    f.s.pid = 77;
    say(&f, "[n1:77] *** Process received signal ***\n[n1:77] Signal: Segmentation fault (11)\nmpirun: abort is "
            "already in progress\n\n");
    expect(passed(&f), "\rbar 40 %\rbar 50 %");
    say(&f, "[n1:26950] [[1464,0],0] ORTE_ERROR_LOG: Out of resource in file show_help.c at line 501\n[n1:7] a rank's "
            "own\n[");
    lki_speech_end(&f.s);
    expect(passed(&f), "\rbar 40 %\rbar 50 %[n1:7] a rank's own\n[");
    cr_expect(strstr(f.s.kept.text, "ORTE_ERROR_LOG") != NULL);
    end(&f);
}

Test(speech, verdicts)
{
    lki_verdict v;

    lki_mpirun_verdict(killed, &v);
    cr_expect(v.rank == 2 && v.signal == 9);
    expect(v.host, "n-1.cluster");
    lki_mpirun_verdict(exited, &v);
    cr_expect(v.rank == 3 && v.signal == 0 && v.exit_code == 5 && !v.abort);
    lki_mpirun_verdict("MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\n", &v);
    cr_expect(v.rank == -1 && v.abort);
    lki_mpirun_verdict("", &v);
    cr_expect(v.rank == -1 && v.signal == 0 && v.exit_code == -1);
    lki_mpirun_verdict("noticed that process rank x", &v);
    cr_expect(v.rank == -1);
}

Test(speech, the_command_line)
{
    char train[] = "train", config[] = "my run.yaml", set[] = "--set", value[] = "a=it's";
    char *const words[] = {train, config, set, value};
    const lk_launch_opts o = {.ranks = 3, .word = words, .n_words = 4};
    char folder[] = "/tmp/lk-mpirun-XXXXXX", program[64];
    lk_buf text = {0};

    cr_assert(mkdtemp(folder) != NULL);
    snprintf(program, sizeof program, "%s/mpirun", folder);
    setenv("PATH", folder, 1);
    unsetenv("SLURM_JOB_ID");
    unsetenv("LOCKSTEP_MPIRUN");
    cr_expect(lk_launch_describe(&o, &text) == LK_E_NOT_FOUND);
    cr_expect(strstr(lk_err_last()->message, "openmpi-bin") != NULL);
    cr_assert(lk_file_write_atomic(program, "#!/bin/sh\n", 10) == LK_OK);
    cr_expect(lk_launch_describe(&o, &text) == LK_E_NOT_FOUND, "a file that cannot be run is no program");
    cr_assert(chmod(program, 0755) == 0);
    cr_expect(lk_launch_describe(&o, &text) == LK_OK);
    cr_expect(strncmp(text.text, program, strlen(program)) == 0);
    cr_expect(strstr(text.text, " --oversubscribe ") != NULL);
    cr_expect(strstr(text.text, " -n 3 /") != NULL);
    cr_expect(strstr(text.text, " train 'my run.yaml' --set 'a=it'\\''s'\n") != NULL, "%s", text.text);
    lk_buf_fini(&text);
    cr_expect(lk_dir_remove(folder) == LK_OK);
}
