#include "cli/cli_int.h"

#include <signal.h>
#include <string.h>

typedef struct train_opts {
    char *config;
    lk_strings set;
    char *resume, *run_dir;
    bool json, quiet;
} train_opts;

static const lk_field rows[] = {
    LKI_CONFIG_ROW(train_opts),
    LKI_SET_ROW(train_opts),
    LK_FIELD(train_opts, resume, LK_T_STRING, .def = "auto", .unit = "checkpoint",
        .help = "auto: goes on from the newest good checkpoint of the run folder, if there is one; never: starts anew; "
                "else the path of a checkpoint."),
    LKI_RUN_DIR_ROW(train_opts),
    LK_FIELD(train_opts, quiet, LK_T_BOOL, .def = "false", .help = "Shows no progress."),
    LKI_JSON_ROW(train_opts),
};
static const lk_table table =
    LK_TABLE(train_opts, "lockstep train", "Trains a network, from the start or from a checkpoint.", rows);

static void on_stop(int signal)
{
    (void)signal;
    lk_run_request_stop();
}

static void catch_stop(void)
{
    struct sigaction a = {.sa_handler = on_stop, .sa_flags = SA_RESTART};

    sigemptyset(&a.sa_mask);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGUSR1, &a, NULL);
}

static int run(const lki_parsed *p)
{
    const train_opts *o = p->opts;
    const lki_session_opts open = {.config = o->config,
        .set = &o->set,
        .run_dir = o->run_dir,
        .resume = o->resume,
        .mode = LK_RUN_TRAIN,
        .json = o->json,
        .quiet = o->quiet};
    lki_session s;
    lk_run_result result = {0};

    /* First of all: a wish to stop that comes while the run is being opened is kept, too. */
    catch_stop();
    const int code = lki_session_open(&open, &s);
    if (code != 0)
        return code;
    const lk_status st = lk_run_train(s.run, &result);
    return lki_session_close(&s, st, result.stopped ? LKI_EXIT_STOPPED : LKI_EXIT_OK);
}

const lki_command lki_train_command = {
    .name = "train", .options = &table, .run = run, .on_ranks = true, .stoppable = true};
