/* A run on this process's ranks, from communicator to exit code. */
#include "cli/cli_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static lk_comm *world; /* for a broken invariant, which is found anywhere */

/* True when the launcher reads this process's flight record, and will say what stands in it. */
static bool launcher_speaks(void)
{
    return getenv("LOCKSTEP_RECORDS") != NULL && lk_record_current() != NULL;
}

static void on_bug(const char *message)
{
    if (world == NULL)
        return;
    lk_record_end(lk_record_current(), LK_RECORD_FAILED, message);
    if (!launcher_speaks())
        lk_log(LK_LOG_ERROR, "%s", message);
    lk_world_abort(world, LKI_EXIT_FAILED);
}

int lki_fail(lk_comm *c, lk_status st, bool started)
{
    const lk_err *e = lk_err_last();
    const bool agreed = lk_status_damage(st) < LK_DAMAGE_COMM;
    const bool silent = agreed ? lk_comm_rank(c) != 0 : launcher_speaks();

    /* In the launcher's folder a message is one that nobody has seen yet. */
    lk_record_end(lk_record_current(), LK_RECORD_FAILED, agreed && launcher_speaks() ? NULL : e->message);
    if (agreed)
        lk_log_set_rank(lk_comm_rank(c),
            1); /* the message names the rank that it comes from, which is seldom the one that prints it */
    if (!silent)
        lk_log_err(e);
    if (!agreed)
        lk_world_abort(c, LKI_EXIT_FAILED);
    return started ? LKI_EXIT_FAILED : LKI_EXIT_INPUT;
}

static lk_status add_fault(const char *text, lk_comm **c)
{
    const char *colon = strchr(text, ':');
    char rank[16];
    int64_t r, call;

    snprintf(rank, sizeof rank, "%.*s", colon != NULL ? (int)(colon - text) : 0, text);
    if (colon == NULL || !lk_parse_i64(rank, &r) || !lk_parse_i64(colon + 1, &call) || r < 0 || call < 1)
        return LK_FAIL(LK_E_USAGE, "LOCKSTEP_FAULT: expected RANK:CALL, got \"%.80s\"", text);
    return lk_comm_create_fault(*c, (int)r, call, c);
}

lk_status lki_comm_open(lk_comm **out)
{
    const char *fault = getenv("LOCKSTEP_FAULT");
    lk_comm *c = NULL;
    lk_status st;

    LK_TRY(lk_comm_under_mpi() ? lk_comm_create_mpi(&c) : lk_comm_create_self(&c));
    lk_log_set_rank(lk_comm_rank(c), lk_comm_nranks(c));
    if (fault != NULL && fault[0] != 0)
        LK_TRY_TO(st, fail, add_fault(fault, &c));
    world = c;
    lk_bug_set_hook(on_bug);
    *out = c;
    return LK_OK;

fail:
    lk_comm_destroy(&c);
    return st;
}

void lki_comm_close(lk_comm **c)
{
    world = NULL;
    lk_comm_destroy(c);
}

lk_status lki_config_open(const char *path, const lk_strings *set, const char *run_dir, lk_config **out)
{
    lk_config *c = NULL;
    lk_status st;

    LK_TRY(lk_config_load(path, set, &c));
    if (run_dir != NULL) {
        lk_free(c->run.dir);
        c->run.dir = NULL;
        LK_TRY_TO(st, fail, lk_strdup(run_dir, &c->run.dir));
    }
    *out = c;
    return LK_OK;

fail:
    lk_config_destroy(&c);
    return st;
}

int lki_session_open(const lki_session_opts *o, lki_session *out)
{
    lki_session s = {0};
    lk_status st;

    st = lki_comm_open(&s.comm);
    if (st != LK_OK) {
        const int code = lki_finish(st);
        return st == LK_E_USAGE ? code : LKI_EXIT_FAILED;
    }
    LK_TRY_TO(st, fail, lk_comm_agree(s.comm, lki_config_open(o->config, o->set, o->run_dir, &s.config)));
    const lk_train_args args = {
        .mode = o->mode, .config = s.config, .comm = s.comm, .resume = o->resume, .json = o->json, .quiet = o->quiet, .predict = o->predict, .ranks = o->ranks};
    LK_TRY_TO(st, fail, lk_run_open(&args, &s.run));
    *out = s;
    return 0;

fail:;
    const int code = lki_fail(s.comm, st, false);
    lki_session_close(&s, LK_OK, 0);
    return code;
}

int lki_session_close(lki_session *s, lk_status st, int code)
{
    if (st != LK_OK)
        code = lki_fail(s->comm, st, true);
    lk_run_close(&s->run);
    lk_config_destroy(&s->config);
    lki_comm_close(&s->comm);
    return code;
}
