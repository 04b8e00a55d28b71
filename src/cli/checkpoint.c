/* lockstep checkpoint show|verify|digest|diff */
#include "cli/cli_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "train/checkpoint.h"

typedef struct paths_opts {
    lk_strings path;
    bool json;
} paths_opts;

#define PATHS_ROW \
    LK_FIELD(paths_opts, path, LK_T_STRINGS, .positional = true, \
        .help = "Checkpoints, or run folders, which stand for their newest good one.")

static const lk_field rows[] = {PATHS_ROW, LKI_JSON_ROW(paths_opts)};

static const lk_table show_table =
    LK_TABLE(paths_opts, "lockstep checkpoint show", "Shows what is in a checkpoint.", rows);
static const lk_table verify_table = LK_TABLE(paths_opts, "lockstep checkpoint verify",
    "Checks every array of a checkpoint against its hash; exit code 1 when one is damaged.", rows);
static const lk_table digest_table =
    LK_TABLE(paths_opts, "lockstep checkpoint digest", "Computes digests, one line a checkpoint.", rows);

typedef struct diff_opts {
    char *first, *second;
    bool json;
} diff_opts;

static const lk_field diff_rows[] = {
    LK_FIELD(diff_opts, first, LK_T_STRING, .positional = true, .help = "A checkpoint, or a run folder."),
    LK_FIELD(diff_opts, second, LK_T_STRING, .positional = true, .help = "Another one."),
    LKI_JSON_ROW(diff_opts),
};
static const lk_table diff_table = LK_TABLE(diff_opts, "lockstep checkpoint diff",
    "Compares two checkpoints array by array; exit code 1 when they differ.", diff_rows);

static lk_status show(const char *path, bool json)
{
    lk_buf b = {0};
    lk_status st;

    LK_TRY_TO(st, out, lk_checkpoint_show(path, json, &b));
    LK_TRY_TO(st, out, lki_print(&b));
out:
    lk_buf_fini(&b);
    return st;
}

static lk_status verify(const char *path, bool json)
{
    lk_buf b = {0};
    const lk_status st = lk_checkpoint_verify(path);

    if (json)
        LK_TRY(lki_print_json(json_pack("{s:s, s:b, s:s*}", "path", path, "good", st == LK_OK, "error",
            st == LK_OK ? NULL : lk_err_last()->message)));
    if (st != LK_OK || json)
        return st;
    lk_buf_printf(&b, "%s: good\n", path);
    const lk_status printed = lki_print(&b);
    lk_buf_fini(&b);
    return printed;
}

/* All paths, also after one that failed; the exit code is that of the worst. */
static int for_each(const paths_opts *o, lk_status (*act)(const char *path, bool json))
{
    int worst = LKI_EXIT_OK;

    for (int i = 0; i < o->path.n; i++) {
        char *path = NULL;
        lk_status st = lk_checkpoint_resolve(o->path.item[i], &path);
        if (st == LK_OK)
            st = act(path, o->json);
        const int code = lki_finish(st);
        /* Damage found in one counts more than another that is not there. */
        worst = worst == LKI_EXIT_FAILED || code == LKI_EXIT_OK ? worst : code;
        lk_free(path);
    }
    return worst;
}

static int run_show(const lki_parsed *p)
{
    return for_each(p->opts, show);
}

static int run_verify(const lki_parsed *p)
{
    return for_each(p->opts, verify);
}

static int run_digest(const lki_parsed *p)
{
    return for_each(p->opts, lki_print_digest);
}

static int run_diff(const lki_parsed *p)
{
    const diff_opts *o = p->opts;
    char *a = NULL, *b = NULL;
    lk_buf text = {0};
    bool same = false;
    lk_status st;

    LK_TRY_TO(st, out, lk_checkpoint_resolve(o->first, &a));
    LK_TRY_TO(st, out, lk_checkpoint_resolve(o->second, &b));
    LK_TRY_TO(st, out, lk_checkpoint_diff(a, b, o->json, &text, &same));
    LK_TRY_TO(st, out, lki_print(&text));
out:
    lk_free(a);
    lk_free(b);
    lk_buf_fini(&text);
    return st != LK_OK ? lki_finish(st) : same ? LKI_EXIT_OK : LKI_EXIT_FAILED;
}

static const lki_command sub[] = {
    {.name = "show", .options = &show_table, .run = run_show},
    {.name = "verify", .options = &verify_table, .run = run_verify},
    {.name = "digest", .options = &digest_table, .run = run_digest},
    {.name = "diff", .options = &diff_table, .run = run_diff},
};

const lki_command lki_checkpoint_command = {
    .name = "checkpoint", .help = "Looks into checkpoints.", .sub = sub, .n_sub = sizeof sub / sizeof sub[0]};
