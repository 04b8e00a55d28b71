#include "cli/cli_int.h"

#include "base/mem.h"

#include <inttypes.h>

typedef struct predict_opts {
    char *config;
    lk_strings set;
    char *from, *run_dir, *out, *grid;
    int64_t samples;
    bool json;
} predict_opts;

static const lk_field rows[] = {
    LKI_CONFIG_ROW(predict_opts),
    LKI_SET_ROW(predict_opts),
    LK_FIELD(predict_opts, from, LK_T_STRING, .def = "", .unit = "checkpoint",
        .help = "Checkpoint whose weights predict; else the newest good one of the run folder."),
    LK_FIELD(predict_opts, out, LK_T_STRING, .unit = "file",
        .help = "HDF5 file to write: prediction, in the order of the samples; of a classifier label, too."),
    LK_FIELD(predict_opts, samples, LK_T_INT, .def = "", .min = 1, .max = 1e15,
        .help = "As many of the first samples; else all of data.valid, or 64 where a gan or a vae makes them."),
    LK_FIELD(predict_opts, grid, LK_T_STRING, .def = "", .unit = "file",
        .help = "PNG file of the first 64 predictions as pictures, 8 in a row."),
    LKI_RUN_DIR_ROW(predict_opts),
    LKI_JSON_ROW(predict_opts),
};
static const lk_table table =
    LK_TABLE(predict_opts, "lockstep predict", "Writes what a checkpoint makes of data.valid, whose target need not be there, or of noise.", rows);

/* With --json the run itself has printed the event. */
static lk_status say(const lk_predict_result *r, const char *path)
{
    lk_buf b = {0};

    lk_buf_printf(&b, "%" PRId64 " predictions in %s", r->samples, path);
    if (r->classes > 0)
        lk_buf_printf(&b, ", confidence %.2f %%", 100 * r->confidence);
    lk_buf_add(&b, "\n");
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    return st;
}

static int run(const lki_parsed *p)
{
    const predict_opts *o = p->opts;
    const lki_session_opts open = {.config = o->config,
        .set = &o->set,
        .run_dir = o->run_dir,
        .resume = o->from != NULL ? o->from : "auto",
        .mode = LK_RUN_EVAL,
        .predict = true,
        .json = o->json,
        .quiet = true};
    const lk_predict_args args = {.out = o->out, .grid = o->grid, .samples = o->samples};
    lki_session s;
    lk_predict_result result;
    lk_status st;

    const int code = lki_session_open(&open, &s);
    if (code != 0)
        return code;
    st = lk_run_predict(s.run, &args, &result);
    if (st != LK_OK && !result.started)
        return lki_session_close(&s, LK_OK, lki_fail(s.comm, st, false));
    if (st == LK_OK)
        st = lk_comm_agree(s.comm, lk_comm_rank(s.comm) == 0 && !o->json ? say(&result, o->out) : LK_OK);
    lk_free(result.share);
    return lki_session_close(&s, st, LKI_EXIT_OK);
}

const lki_command lki_predict_command = {.name = "predict", .options = &table, .run = run, .on_ranks = true};
