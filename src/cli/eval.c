#include "cli/cli_int.h"

#include <inttypes.h>

typedef struct eval_opts {
    char *config;
    lk_strings set;
    char *from, *run_dir;
    bool json;
} eval_opts;

static const lk_field rows[] = {
    LKI_CONFIG_ROW(eval_opts),
    LKI_SET_ROW(eval_opts),
    LK_FIELD(eval_opts, from, LK_T_STRING, .def = "", .unit = "checkpoint",
        .help = "Checkpoint whose weights are evaluated; else the newest good one of the run folder."),
    LKI_RUN_DIR_ROW(eval_opts),
    LKI_JSON_ROW(eval_opts),
};
static const lk_table table = LK_TABLE(eval_opts, "lockstep eval", "Evaluates a checkpoint on data.valid.", rows);

/* With --json the run itself has printed the event. */
static lk_status say(const lk_run_result *r)
{
    lk_buf b = {0};

    lk_buf_printf(&b, "step %" PRId64 ": validation loss %.6g", r->step, r->loss);
    if (r->has_accuracy)
        lk_buf_printf(&b, ", accuracy %.2f %%", 100 * r->accuracy);
    lk_buf_add(&b, "\n");
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    return st;
}

static int run(const lki_parsed *p)
{
    const eval_opts *o = p->opts;
    const lki_session_opts open = {.config = o->config,
        .set = &o->set,
        .run_dir = o->run_dir,
        .resume = o->from != NULL ? o->from : "auto",
        .mode = LK_RUN_EVAL,
        .json = o->json,
        .quiet = true};
    lki_session s;
    lk_run_result result = {0};
    lk_status st;

    const int code = lki_session_open(&open, &s);
    if (code != 0)
        return code;
    st = lk_run_eval(s.run, &result);
    if (st == LK_OK)
        st = lk_comm_agree(s.comm, lk_comm_rank(s.comm) == 0 && !o->json ? say(&result) : LK_OK);
    return lki_session_close(&s, st, LKI_EXIT_OK);
}

const lki_command lki_eval_command = {.name = "eval", .options = &table, .run = run, .on_ranks = true};
