/* Inside the command line: what subcommands are, and what they share. */
#ifndef LK_CLI_CLI_INT_H
#define LK_CLI_CLI_INT_H

#include "base/table.h"
#include "cli/cli.h"
#include "comm/comm.h"
#include "train/run.h"

#include <jansson.h>

enum { LKI_EXIT_OK = 0, LKI_EXIT_FAILED = 1, LKI_EXIT_INPUT = 2, LKI_EXIT_STOPPED = 75 };

typedef struct lki_command lki_command;

/* A command line taken apart. */
typedef struct lki_parsed {
    const lki_command *command; /* NULL: help was asked for, and has been printed */
    void *opts; /* the table's struct */
    int n_rest;
    char **rest; /* see takes_rest; borrowed from the command line */
} lki_parsed;

struct lki_command {
    const char *name;
    const char *help; /* groups; else the table's stands */
    const lk_table *options; /* NULL: a group */
    int (*run)(const lki_parsed *p); /* gives the exit code */
    bool takes_rest; /* the first word that is no option, and all after it, go to `rest` */
    bool on_ranks; /* may run as several ranks */
    bool stoppable; /* takes SIGTERM and SIGUSR1 as "stop with a checkpoint" */
    const lki_command *sub; /* groups */
    int n_sub;
    const lki_command *(*list)(int *n); /* groups whose commands another room knows: in place of sub */
};

extern const lki_command lki_train_command, lki_eval_command, lki_predict_command, lki_plan_command, lki_digest_command,
    lki_checkpoint_command, lki_data_command, lki_bench_command, lki_launch_command, lki_doctor_command;

LK_MUST_USE lk_status lki_parse(int argc, char **argv, lki_parsed *out);
void lki_parsed_fini(lki_parsed *p);

/* Writes text to standard output. Errors: LK_E_IO. */
LK_MUST_USE lk_status lki_print(const lk_buf *text);
/* One object as one line on standard output; takes the reference. NULL counts as out of memory. Errors: LK_E_IO,
 * LK_E_NOMEM. */
LK_MUST_USE lk_status lki_print_json(json_t *o);

/* The digest of a checkpoint as a line of text or of JSON. */
LK_MUST_USE lk_status lki_print_digest(const char *path, bool json);

/* The exit code of a subcommand that runs in one process, after its error, if there is one, has been printed. */
int lki_finish(lk_status st);

/* ---- runs on ranks ---- */

/* The ranks that this process is one of: all of MPI when it was started under it, else itself. With
 * LOCKSTEP_FAULT=RANK:CALL in the environment that call on that rank fails, for tests. Tells the log its rank.
 * Collective. */
LK_MUST_USE lk_status lki_comm_open(lk_comm **out);
void lki_comm_close(lk_comm **c);
/* Reads the config; a run_dir that is not NULL stands above run.dir. Local. */
LK_MUST_USE lk_status lki_config_open(const char *path, const lk_strings *set, const char *run_dir, lk_config **out);

/* Says once what went wrong in this thread's error record, and gives the exit code: 2, or 1 once the run has started.
 * What the ranks agreed on is printed by rank 0; what they can no longer agree on is left in the flight record for the
 * launcher, or printed where there is none, and ends all ranks. To be called before the run is closed. */
int lki_fail(lk_comm *c, lk_status st, bool started);

typedef struct lki_session_opts {
    const char *config;
    const lk_strings *set;
    const char *run_dir; /* or NULL */
    const char *resume;
    lk_run_mode mode;
    bool json, quiet;
    bool predict; /* LK_RUN_EVAL: for predictions */
    int ranks; /* LK_RUN_PLAN: for so many; 0: those there are */
} lki_session_opts;

typedef struct lki_session {
    lk_comm *comm;
    lk_config *config;
    lk_run *run;
} lki_session;

/* Opens communicator, config and run. Returns 0; or the exit code, and then the reason was printed and nothing is open.
 * Collective. */
int lki_session_open(const lki_session_opts *o, lki_session *out);
/* Closes all of it. Returns the exit code for what the run returned, `code` where that is LK_OK. Collective. */
int lki_session_close(lki_session *s, lk_status st, int code);

/* ---- rows that several tables share ---- */
#define LKI_CONFIG_ROW(type_) \
    LK_FIELD(type_, config, LK_T_STRING, .positional = true, .help = "YAML file that describes the run.")
#define LKI_SET_ROW(type_) \
    LK_FIELD(type_, set, LK_T_STRINGS, .def = "", .unit = "key=value", \
        .help = "Puts a value in the place of the config's, for instance train.epochs=2.")
#define LKI_RUN_DIR_ROW(type_) \
    LK_FIELD(type_, run_dir, LK_T_STRING, .def = "", .unit = "dir", \
        .help = "Folder of the run; else run.dir of the config, else runs/NAME.")
#define LKI_JSON_ROW(type_) \
    LK_FIELD(type_, json, LK_T_BOOL, .def = "false", .help = "Reports as JSON on standard output, one object a line.")

#endif
