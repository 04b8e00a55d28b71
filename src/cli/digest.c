#include "cli/cli_int.h"

#include "base/mem.h"
#include "train/checkpoint.h"

#include <inttypes.h>

typedef struct digest_opts {
    char *path;
    bool json;
} digest_opts;

static const lk_field rows[] = {
    LK_FIELD(digest_opts, path, LK_T_STRING, .positional = true,
        .help = "A run folder (its newest good checkpoint), or a checkpoint."),
    LKI_JSON_ROW(digest_opts),
};
static const lk_table table = LK_TABLE(digest_opts, "lockstep digest",
    "Computes the digest of weights, optimizer state and position. Two runs with the same digest hold the same bits.",
    rows);

lk_status lki_print_digest(const char *path, bool json)
{
    char text[LK_HASH_TEXT];
    lk_cursor at;
    lk_hash h;
    lk_buf b = {0};

    LK_TRY(lk_checkpoint_digest(path, &h, &at));
    lk_hash_print(h, text);
    if (json)
        return lki_print_json(json_pack("{s:s, s:I, s:I, s:s}", "digest", text, "step", (json_int_t)at.step, "epoch",
            (json_int_t)at.epoch, "path", path));
    lk_buf_printf(&b, "%s  step %" PRId64 " epoch %" PRId64 "  %s\n", text, at.step, at.epoch, path);
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    return st;
}

static int run(const lki_parsed *p)
{
    const digest_opts *o = p->opts;
    char *path = NULL;
    lk_status st;

    st = lk_checkpoint_resolve(o->path, &path);
    if (st == LK_OK)
        st = lki_print_digest(path, o->json);
    lk_free(path);
    return lki_finish(st);
}

const lki_command lki_digest_command = {.name = "digest", .options = &table, .run = run};
