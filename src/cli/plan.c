#include "cli/cli_int.h"

typedef struct plan_opts {
    char *config;
    lk_strings set;
    int64_t ranks;
    bool json;
} plan_opts;

static const lk_field rows[] = {
    LKI_CONFIG_ROW(plan_opts),
    LKI_SET_ROW(plan_opts),
    LK_FIELD(plan_opts, ranks, LK_T_INT, .def = "0", .min = 0, .max = 1e6,
        .help = "What a rank of so many takes of memory, each with a GPU of its own where there is one; 0: of as many as are started."),
    LKI_JSON_ROW(plan_opts),
};
static const lk_table table = LK_TABLE(plan_opts, "lockstep plan",
    "Shows the compiled step: operations in order, FLOPs, buckets, and what a rank will take of memory, on the device that run.device takes. Writes nothing.", rows);

static lk_status say(const lk_run *r, bool json)
{
    lk_buf b = {0};

    lk_status st = lk_run_describe(r, json, &b);
    if (st == LK_OK)
        st = lki_print(&b);
    lk_buf_fini(&b);
    return st;
}

static int run(const lki_parsed *p)
{
    const plan_opts *o = p->opts;
    const lki_session_opts open = {
        .config = o->config, .set = &o->set, .resume = "never", .mode = LK_RUN_PLAN, .json = o->json, .quiet = true, .ranks = (int)o->ranks};
    lki_session s;

    const int code = lki_session_open(&open, &s);
    if (code != 0)
        return code;
    const lk_status st = lk_comm_agree(s.comm, lk_comm_rank(s.comm) == 0 ? say(s.run, o->json) : LK_OK);
    return lki_session_close(&s, st, LKI_EXIT_OK);
}

const lki_command lki_plan_command = {.name = "plan", .options = &table, .run = run, .on_ranks = true};
