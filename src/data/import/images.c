/* A folder of class folders of pictures. One picture is in memory at a time. */
#include "base/mem.h"
#include "data/import/import_int.h"

static const lk_field images_rows[] = {
    LK_FIELD(lk_import_images_opts, source, LK_T_STRING, .positional = true,
        .help = "Folder with a folder for each class, which has the class's name and its .jpg, .jpeg and .png files."),
    LK_FIELD(lk_import_images_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(lk_import_images_opts, size, LK_T_INTS, .def = "", .min = 1, .max = 65536, .unit = "pixels",
        .help = "Height and width to resample to, \"32,32\"; without it all pictures must have one size."),
    LK_FIELD(lk_import_images_opts, gray, LK_T_BOOL, .def = "false",
        .help = "One channel of brightness, not three of colour."),
    LK_FIELD(lk_import_images_opts, split, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Part of the pictures that goes to DEST; the others go to --rest."),
    LK_FIELD(lk_import_images_opts, rest, LK_T_STRING, .def = "", .help = "HDF5 file for the other pictures."),
    LK_FIELD(lk_import_images_opts, seed, LK_T_INT, .def = "1", .min = 0, .max = 1e18,
        .help = "Order of the samples, and which go where."),
    LK_FIELD(lk_import_images_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards of DEST, \"500,300,rest\": DEST-000.h5, DEST-001.h5 ..."),
};
const lk_table lk_import_images_table = LK_TABLE(lk_import_images_opts, "lockstep data import images",
    "Brings folders of JPEG and PNG pictures into HDF5; a folder is a class.", images_rows);

typedef struct job {
    const lk_import_images_opts *o;
    lki_items items;
    char *classes;
    lki_pictures pictures;
    lki_shards *shards;
} job;

static lk_status plan_shards(job *j, int64_t first_part)
{
    const lk_import_images_opts *o = j->o;
    const lki_pictures *p = &j->pictures;
    const lki_out_field fields[] = {
        {.name = "image", .type = LK_ELEM_U8, .ndim = 3, .dim = {p->channels, p->height, p->width}},
        {.name = "label", .type = LK_ELEM_I64}};
    const lki_attr attr = {.field = "label", .name = "classes", .text = j->classes};
    const lki_origin origin = {
        .source = o->source, .importer = "lockstep " LK_VERSION " data import images", .attr = &attr, .n_attrs = 1};
    const lki_dest dest[] = {{.path = o->dest, .shard_rows = o->shard_rows, .rows = first_part, .first = -1},
        {.path = o->rest, .rows = j->items.n - first_part, .first = -1}};

    LK_TRY(lki_shards_create(dest, first_part < j->items.n ? 2 : 1, fields, 2, &origin, &j->shards));
    return LK_OK;
}

lk_status lk_import_images(const lk_import_images_opts *o, lk_buf *report)
{
    const lk_rng order = lki_order(o->seed);
    job j = {.o = o};
    int64_t first_part = 0;
    lk_status st;

    LK_TRY_TO(st, out, lki_items_by_folder(&j.items, o->source, lki_picture_endings));
    LK_TRY_TO(st, out, lki_names_join(&j.items.classes, &j.classes));
    LK_TRY_TO(st, out, lki_pictures_init(&j.pictures, &o->size, o->gray, j.items.item[0].path));
    LK_TRY_TO(st, out, lki_split(o->split, o->rest, j.items.n, &first_part));
    LK_TRY_TO(st, out, plan_shards(&j, first_part));
    for (int64_t i = 0; i < j.items.n; i++) {
        const lki_item *k = &j.items.item[lk_rng_permute(order, j.items.n, i)];
        const int64_t label = k->label;
        LK_TRY_TO(st, out, lki_pictures_read(&j.pictures, k->path));
        LK_TRY_TO(st, out, lki_shards_add(j.shards, i >= first_part, 1, (const void *const[]){j.pictures.row, &label}));
    }
    LK_TRY_TO(st, out, lki_shards_finish(j.shards, report));
    lk_buf_printf(report, "%d classes\n", j.items.classes.n);
out:
    lki_shards_destroy(&j.shards);
    lki_pictures_fini(&j.pictures);
    lki_items_fini(&j.items);
    lk_free(j.classes);
    return st;
}
