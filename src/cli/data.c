/* lockstep data import FORMAT ... | generate WHAT ... | inspect FILE... | verify FILE... */
#include "cli/cli_int.h"

#include "data/generate.h"
#include "data/import/import.h"
#include "data/inspect.h"

enum { MANY_FORMATS = 16 };

static const lk_importer *importer_of(const lk_table *t)
{
    for (int i = 0; i < lk_n_importers; i++) {
        if (lk_importers[i].table == t)
            return &lk_importers[i];
    }
    lk_bug(__FILE__, __LINE__, "no importer has the table \"%s\"", t->name);
}

static int run_import(const lki_parsed *p)
{
    lk_buf report = {0};
    lk_status st;

    LK_TRY_TO(st, out, importer_of(p->command->options)->run(p->opts, &report));
    LK_TRY_TO(st, out, lki_print(&report));
out:
    lk_buf_fini(&report);
    return lki_finish(st);
}

static const lki_command *list_formats(int *n)
{
    static lki_command formats[MANY_FORMATS];

    LK_BUG_IF(lk_n_importers > MANY_FORMATS, "%d importers", lk_n_importers);
    for (int i = 0; i < lk_n_importers; i++)
        formats[i] = (lki_command){.name = lk_importers[i].name,
            .help = lk_importers[i].help,
            .options = lk_importers[i].table,
            .run = run_import};
    *n = lk_n_importers;
    return formats;
}

static int run_dates(const lki_parsed *p)
{
    lk_buf report = {0};
    lk_status st;

    LK_TRY_TO(st, out, lk_generate_dates(p->opts, &report));
    LK_TRY_TO(st, out, lki_print(&report));
out:
    lk_buf_fini(&report);
    return lki_finish(st);
}

static const lki_command generate_sub[] = {
    {.name = "dates",
        .help = "Dates as people write them, and in ISO 8601.",
        .options = &lk_generate_dates_table,
        .run = run_dates},
};

typedef struct inspect_opts {
    lk_strings file;
    bool json;
} inspect_opts;

typedef struct verify_opts {
    lk_strings file;
} verify_opts;

static const lk_field inspect_rows[] = {
    LK_FIELD(inspect_opts, file, LK_T_STRINGS, .positional = true, .help = "HDF5 files."),
    LKI_JSON_ROW(inspect_opts),
};
static const lk_table inspect_table = LK_TABLE(inspect_opts, "lockstep data inspect",
    "Shows what is in HDF5 files: fields with type, shape, storage and range of values.", inspect_rows);

static const lk_field verify_rows[] = {
    LK_FIELD(verify_opts, file, LK_T_STRINGS, .positional = true, .help = "HDF5 files."),
};
static const lk_table verify_table = LK_TABLE(verify_opts, "lockstep data verify",
    "Reads every value of HDF5 files; exit code 1 when one is damaged.", verify_rows);

/* Adds what there is to say of a file, and prints it. */
static lk_status tell(lk_status (*add)(const char *path, bool json, lk_buf *out), const char *path, bool json)
{
    lk_buf text = {0};
    lk_status st;

    LK_TRY_TO(st, out, add(path, json, &text));
    LK_TRY_TO(st, out, lki_print(&text));
out:
    lk_buf_fini(&text);
    return st;
}

static lk_status verify(const char *path, bool json, lk_buf *out)
{
    (void)json;
    return lk_data_verify(path, out);
}

/* All files, also after one that cannot be read; damage counts more than absence. */
static int for_each(const lk_strings *files, lk_status (*add)(const char *path, bool json, lk_buf *out), bool json)
{
    int worst = LKI_EXIT_OK;

    for (int i = 0; i < files->n; i++) {
        const int code = lki_finish(tell(add, files->item[i], json));
        worst = worst == LKI_EXIT_FAILED || code == LKI_EXIT_OK ? worst : code;
    }
    return worst;
}

static int run_inspect(const lki_parsed *p)
{
    const inspect_opts *o = p->opts;

    return for_each(&o->file, lk_data_inspect, o->json);
}

static int run_verify(const lki_parsed *p)
{
    const verify_opts *o = p->opts;

    return for_each(&o->file, verify, false);
}

static const lki_command sub[] = {
    {.name = "import", .help = "Writes data of another format as HDF5 shards.", .list = list_formats},
    {.name = "generate",
        .help = "Makes data sets whose answers are known.",
        .sub = generate_sub,
        .n_sub = sizeof generate_sub / sizeof generate_sub[0]},
    {.name = "inspect", .options = &inspect_table, .run = run_inspect},
    {.name = "verify", .options = &verify_table, .run = run_verify},
};

const lki_command lki_data_command = {.name = "data",
    .help = "Brings data into HDF5, and looks into it.",
    .sub = sub,
    .n_sub = sizeof sub / sizeof sub[0]};
