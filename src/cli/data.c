/* lockstep data import FORMAT ... | inspect FILE... */
#include "cli/cli_int.h"

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
        formats[i] = (lki_command){.name = lk_importers[i].name, .help = lk_importers[i].help, .options = lk_importers[i].table, .run = run_import};
    *n = lk_n_importers;
    return formats;
}

typedef struct inspect_opts {
    lk_strings file;
    bool json;
} inspect_opts;

static const lk_field inspect_rows[] = {
    LK_FIELD(inspect_opts, file, LK_T_STRINGS, .positional = true, .help = "HDF5 files."),
    LKI_JSON_ROW(inspect_opts),
};
static const lk_table inspect_table = LK_TABLE(inspect_opts, "lockstep data inspect", "Shows the fields of HDF5 files: type, shape, how they are stored.", inspect_rows);

static lk_status inspect(const char *path, bool json)
{
    lk_buf text = {0};
    lk_status st;

    LK_TRY_TO(st, out, lk_data_inspect(path, json, &text));
    LK_TRY_TO(st, out, lki_print(&text));
out:
    lk_buf_fini(&text);
    return st;
}

/* All files, also after one that cannot be read. */
static int run_inspect(const lki_parsed *p)
{
    const inspect_opts *o = p->opts;
    int worst = LKI_EXIT_OK;

    for (int i = 0; i < o->file.n; i++) {
        const int code = lki_finish(inspect(o->file.item[i], o->json));
        worst = worst == LKI_EXIT_FAILED || code == LKI_EXIT_OK ? worst : code;
    }
    return worst;
}

static const lki_command sub[] = {
    {.name = "import", .help = "Writes data of another format as HDF5 shards.", .list = list_formats},
    {.name = "inspect", .options = &inspect_table, .run = run_inspect},
};

const lki_command lki_data_command = {.name = "data", .help = "Brings data into HDF5, and looks into it.", .sub = sub, .n_sub = sizeof sub / sizeof sub[0]};
