#include "cli/cli_int.h"

#include "launch/launch.h"

typedef struct launch_opts {
    int64_t ranks;
    char *hostfile;
    bool dry_run;
    lk_strings command;
} launch_opts;

static const lk_field rows[] = {
    LK_FIELD(launch_opts, ranks, LK_T_INT, .short_name = 'n', .min = 1, .max = 1e6, .help = "Number of ranks."),
    LK_FIELD(launch_opts, hostfile, LK_T_STRING, .def = "", .unit = "file",
        .help = "Hosts to start ranks on, one a line, as mpirun reads them; else all start on this host."),
    LK_FIELD(launch_opts, dry_run, LK_T_BOOL, .def = "false", .help = "Prints the command that would be run."),
    LK_FIELD(launch_opts, command, LK_T_STRINGS, .def = "", .positional = true,
        .help = "What the ranks run: train, eval, plan or bench, with its options."),
};
static const lk_table table = LK_TABLE(launch_opts, "lockstep launch",
    "Starts ranks through mpirun, watches them, and says which one brought the others down. SIGTERM and SIGUSR1 stop a "
    "training with a checkpoint.",
    rows);

/* What the ranks would refuse, is refused here, once and at once. */
static lk_status check_command(int n, char **words, lki_parsed *out)
{
    if (n == 0)
        return LK_FAIL(LK_E_USAGE,
            "launch: a command for the ranks is missing, for instance: lockstep launch -n 4 train run.yaml");
    LK_TRY(lki_parse(n, words, out));
    if (out->command != NULL && !out->command->on_ranks) {
        const char *name = out->command->name;
        lki_parsed_fini(out);
        return LK_FAIL(LK_E_USAGE, "launch: \"%s\" is nothing for ranks: run it without launch", name);
    }
    return LK_OK;
}

static lk_status describe(const lk_launch_opts *l)
{
    lk_buf b = {0};
    lk_status st;

    LK_TRY_TO(st, out, lk_launch_describe(l, &b));
    LK_TRY_TO(st, out, lki_print(&b));
out:
    lk_buf_fini(&b);
    return st;
}

static int run(const lki_parsed *p)
{
    const launch_opts *o = p->opts;
    lki_parsed inner;
    int code = LKI_EXIT_OK;
    lk_status st;

    st = check_command(p->n_rest, p->rest, &inner);
    if (st != LK_OK || inner.command == NULL)
        return lki_finish(st);
    const lk_launch_opts l = {.ranks = (int)o->ranks,
        .hostfile = o->hostfile,
        .stoppable = inner.command->stoppable,
        .word = p->rest,
        .n_words = p->n_rest};
    lki_parsed_fini(&inner);
    st = o->dry_run ? describe(&l) : lk_launch_run(&l, &code);
    return st != LK_OK ? lki_finish(st) : code;
}

const lki_command lki_launch_command = {.name = "launch", .options = &table, .run = run, .takes_rest = true};
