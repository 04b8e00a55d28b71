/* Which subcommand, with which options; help and version. */
#include "cli/cli_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lki_command *const commands[] = {
    &lki_train_command,
    &lki_eval_command,
    &lki_predict_command,
    &lki_plan_command,
    &lki_launch_command,
    &lki_data_command,
    &lki_checkpoint_command,
    &lki_digest_command,
    &lki_bench_command,
    &lki_doctor_command,
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0], MANY_COMMANDS = 32, WORDS_BYTES = 64 };

typedef struct top_opts {
    bool version;
    lk_strings command;
} top_opts;

static const lk_field top_rows[] = {
    LK_FIELD(top_opts, version, LK_T_BOOL, .def = "false", .help = "Prints the version."),
    LK_FIELD(top_opts, command, LK_T_STRINGS, .def = "", .positional = true,
        .help = "One of the commands below, with its options and arguments; \"help COMMAND\" tells about it."),
};
static const lk_table top_table = LK_TABLE(top_opts, "lockstep",
    "Trains neural networks on any number of ranks, with the same bits on each number.", top_rows);

/* Output. */

lk_status lki_print(const lk_buf *text)
{
    LK_TRY(lk_buf_status(text));
    if (fwrite(lk_buf_text(text), 1, text->len, stdout) != text->len || fflush(stdout) != 0)
        return LK_SYS(true, "write", "standard output");
    return LK_OK;
}

lk_status lki_print_json(json_t *o)
{
    lk_buf b = {0};
    char *text = o != NULL ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;

    json_decref(o);
    if (text == NULL)
        return LK_FAIL(LK_E_NOMEM, "out of memory for a line of JSON");
    lk_buf_printf(&b, "%s\n", text);
    free(text);
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    return st;
}

/* Help. */

static const char *help_of(const lki_command *c)
{
    return c->help != NULL ? c->help : c->options->help;
}

static void list_commands(const lki_command *const *c, int n, lk_buf *out)
{
    int widest = 0;

    for (int i = 0; i < n; i++)
        widest = (int)strlen(c[i]->name) > widest ? (int)strlen(c[i]->name) : widest;
    lk_buf_add(out, "\ncommands:\n");
    for (int i = 0; i < n; i++)
        lk_buf_printf(out, "  %-*s  %s\n", widest, c[i]->name, help_of(c[i]));
}

static int sub_commands(const lki_command *group, const lki_command **out)
{
    int n = group->n_sub;
    const lki_command *sub = group->list != NULL ? group->list(&n) : group->sub;

    for (int i = 0; i < n; i++)
        out[i] = &sub[i];
    return n;
}

/* `command` NULL: of the program; `words` lead to it. */
static lk_status print_help(const lki_command *command, const char *words)
{
    const lki_command *sub[MANY_COMMANDS];
    lk_buf text = {0};

    if (command == NULL) {
        lk_table_usage(&top_table, &text);
        list_commands(commands, N_COMMANDS, &text);
        lk_buf_add(&text,
            "\nexit codes: 0 done; 1 failed; 2 wrong input, nothing was started; 75 stopped on request, start again\n");
    } else if (command->options == NULL) {
        lk_buf_printf(&text, "usage: lockstep %s COMMAND ...\n%s\n", words, command->help);
        list_commands(sub, sub_commands(command, sub), &text);
    } else {
        lk_table_usage(command->options, &text);
    }
    const lk_status st = lki_print(&text);
    lk_buf_fini(&text);
    return st;
}

/* Finding the command. */

static lk_status unknown_command(const char *words, const char *word, const lki_command *const *c, int n)
{
    const char *names[MANY_COMMANDS];
    const char *colon = words[0] != 0 ? ": " : "";

    for (int i = 0; i < n; i++)
        names[i] = c[i]->name;
    const char *near = lk_nearest(word, names, n);
    if (near != NULL)
        return LK_FAIL(LK_E_USAGE, "%s%sunknown command \"%.80s\" (did you mean \"%s\"?)", words, colon, word, near);
    return LK_FAIL(LK_E_USAGE, "%s%sunknown command \"%.80s\" (lockstep %s%s--help lists them)", words, colon, word,
        words, words[0] != 0 ? " " : "");
}

/* Takes the words of a command off the front, and gives them in one text. With *help on the way in a group is an
 * answer, too; it is set when a group's help is asked for. */
static lk_status find_command(int *argc, char ***argv, const lki_command **out, char words[WORDS_BYTES], bool *help)
{
    const lki_command *sub[MANY_COMMANDS];
    const lki_command *const *set = commands;
    const lki_command *found = NULL;
    int n = N_COMMANDS;

    words[0] = 0;
    while (found == NULL || found->options == NULL) {
        if (*argc == 0 && found != NULL && *help)
            break;
        if (*argc == 0)
            return LK_FAIL(LK_E_USAGE, "%s%sa command is missing (lockstep %s%s--help lists them)", words,
                found != NULL ? ": " : "", words, found != NULL ? " " : "");
        const char *word = **argv;
        if (found != NULL && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            *help = true;
            break;
        }
        found = NULL;
        for (int i = 0; i < n && found == NULL; i++)
            found = strcmp(set[i]->name, word) == 0 ? set[i] : NULL;
        if (found == NULL)
            return unknown_command(words, word, set, n);
        --*argc;
        ++*argv;
        const size_t used = strlen(words);
        snprintf(words + used, WORDS_BYTES - used, "%s%s", used > 0 ? " " : "", found->name);
        n = sub_commands(found, sub);
        set = sub;
    }
    *out = found;
    return LK_OK;
}

lk_status lki_parse(int argc, char **argv, lki_parsed *out)
{
    lki_parsed p = {0};
    char words[WORDS_BYTES];
    bool help = false;
    int used = 0;

    LK_TRY(find_command(&argc, &argv, &p.command, words, &help));
    if (!help) {
        LK_TRY(lk_alloc(p.command->options->size, "options", &p.opts));
        const lk_status st =
            lk_table_parse_args(p.command->options, argc, argv, p.command->takes_rest, p.opts, &used, &help);
        if (st != LK_OK) {
            lk_free(p.opts);
            return st;
        }
    }
    if (help) {
        const lki_command *asked = p.command;
        lki_parsed_fini(&p);
        LK_TRY(print_help(asked, words));
    } else {
        p.n_rest = argc - used;
        p.rest = argv + used;
    }
    *out = p;
    return LK_OK;
}

void lki_parsed_fini(lki_parsed *p)
{
    if (p->opts != NULL)
        lk_table_fini(p->command->options, p->opts);
    lk_free(p->opts);
    *p = (lki_parsed){0};
}

/* Ending. */

/* Wrong words are seen by every rank alike, before they know each other: the first one speaks. */
static bool speaks_for_all(void)
{
    static const char *const ranks[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};

    for (size_t i = 0; lk_comm_under_mpi() && i < sizeof ranks / sizeof ranks[0]; i++) {
        const char *rank = getenv(ranks[i]);
        if (rank != NULL)
            return strcmp(rank, "0") == 0;
    }
    return true;
}

int lki_finish(lk_status st)
{
    static const char own[] = "lockstep ";
    lk_err e;

    if (st == LK_OK)
        return LKI_EXIT_OK;
    lk_err_take(&e);
    /* Tables call themselves by the program's name, which the log puts in front anyway. */
    if (strncmp(e.message, own, strlen(own)) == 0)
        memmove(e.message, e.message + strlen(own), strlen(e.message) + 1 - strlen(own));
    else if (strncmp(e.message, "lockstep: ", 10) == 0)
        memmove(e.message, e.message + 10, strlen(e.message) + 1 - 10);
    if (speaks_for_all())
        lk_log_err(&e);
    return lk_status_damage(st) <= LK_DAMAGE_CALL ? LKI_EXIT_INPUT : LKI_EXIT_FAILED;
}

static int run_command(int argc, char **argv)
{
    lki_parsed p;

    const lk_status st = lki_parse(argc, argv, &p);
    if (st != LK_OK || p.command == NULL)
        return lki_finish(st);
    const int code = p.command->run(&p);
    lki_parsed_fini(&p);
    return code;
}

/* help [COMMAND...] */
static int run_help(int argc, char **argv)
{
    const lki_command *c = NULL;
    char words[WORDS_BYTES] = "";
    bool help = true;
    lk_status st = LK_OK;

    if (argc > 0)
        st = find_command(&argc, &argv, &c, words, &help);
    if (st == LK_OK)
        st = print_help(c, words);
    return lki_finish(st);
}

static int print_version(void)
{
    lk_buf b = {0};

    lk_buf_add(&b, "lockstep " LK_VERSION "\n");
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    return lki_finish(st);
}

int lk_cli_main(int argc, char **argv)
{
    top_opts top;
    int used = 0;
    bool help = false;

    /* Whoever reads our output may go first; the write that fails says so. */
    signal(SIGPIPE, SIG_IGN);
    argc = argc > 0 ? argc - 1 : 0;
    argv = argv != NULL && argc > 0 ? argv + 1 : argv;
    const lk_status st = lk_table_parse_args(&top_table, argc, argv, true, &top, &used, &help);
    if (st != LK_OK)
        return lki_finish(st);
    const bool version = top.version;
    lk_table_fini(&top_table, &top);
    if (help)
        return lki_finish(print_help(NULL, ""));
    if (version)
        return print_version();
    argc -= used;
    argv += used;
    if (argc > 0 && strcmp(argv[0], "help") == 0)
        return run_help(argc - 1, argv + 1);
    return run_command(argc, argv);
}
