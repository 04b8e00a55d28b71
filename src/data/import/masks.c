/* Pictures and, in another folder, the class of each of their pixels. One pair is in memory at a time. */
#include "base/mem.h"
#include "data/image.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { IDS = 256 };

static const lk_field masks_rows[] = {
    LK_FIELD(lk_import_masks_opts, images, LK_T_STRING, .positional = true,
        .help = "Folder of pictures: .jpg, .jpeg and .png files."),
    LK_FIELD(lk_import_masks_opts, masks, LK_T_STRING, .positional = true,
        .help = "Folder of masks, .png files called as the pictures are: gray of up to 8 bits, or with a palette; the "
                "value in the file, or the place in the palette, is the class."),
    LK_FIELD(lk_import_masks_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(lk_import_masks_opts, size, LK_T_INTS, .def = "", .min = 1, .max = 65536, .unit = "pixels",
        .help = "Height and width to resample to, \"32,32\"; without it all pictures must have one size."),
    LK_FIELD(lk_import_masks_opts, gray, LK_T_BOOL, .def = "false",
        .help = "One channel of brightness, not three of colour."),
    LK_FIELD(lk_import_masks_opts, classes, LK_T_INT, .def = "0", .min = 0, .max = IDS,
        .help = "Number of classes: a mask with a class beyond is refused; 0: any are taken."),
    LK_FIELD(lk_import_masks_opts, ignore, LK_T_INT, .def = "-1", .min = -1, .max = IDS - 1,
        .help = "With --classes: what else may stand in a mask, for pixels that train.ignore leaves out (PASCAL VOC: "
                "255); -1: nothing."),
    LK_FIELD(lk_import_masks_opts, list, LK_T_STRING, .def = "", .unit = "file",
        .help = "Names without the ending, one a line: only these are taken, not all of the folders."),
    LK_FIELD(lk_import_masks_opts, split, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Part of the pictures that goes to DEST; the others go to --rest."),
    LK_FIELD(lk_import_masks_opts, rest, LK_T_STRING, .def = "", .help = "HDF5 file for the other pictures."),
    LK_FIELD(lk_import_masks_opts, seed, LK_T_INT, .def = "1", .min = 0, .max = 1e18,
        .help = "Order of the samples, and which go where."),
    LK_FIELD(lk_import_masks_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards of DEST, \"500,300,rest\": DEST-000.h5, DEST-001.h5 ..."),
};
const lk_table lk_import_masks_table = LK_TABLE(lk_import_masks_opts, "lockstep data import masks",
    "Brings pictures and the class of each of their pixels into HDF5.", masks_rows);

static const char *const mask_endings[] = {".png", NULL};

typedef struct job {
    const lk_import_masks_opts *o;
    lki_items images, masks; /* alike in number and names */
    lki_pictures pictures;
    bool seen[IDS]; /* classes that are written */
    lki_shards *shards;
} job;

static lk_status check_options(const lk_import_masks_opts *o)
{
    if (o->ignore >= 0 && o->classes == 0)
        return LK_FAIL(LK_E_ARG, "--ignore: --classes is missing; without it any class is taken");
    return LK_OK;
}

static lk_status match_pairs(job *j)
{
    const lk_import_masks_opts *o = j->o;

    LK_TRY(lki_items_in_folder(&j->images, o->images, lki_picture_endings));
    LK_TRY(lki_items_in_folder(&j->masks, o->masks, mask_endings));
    if (o->list != NULL && o->list[0] != 0) {
        LK_TRY(lki_items_keep_listed(&j->images, o->images, o->list));
        LK_TRY(lki_items_keep_listed(&j->masks, o->masks, o->list));
    }
    for (int64_t i = 0; i < j->images.n || i < j->masks.n; i++) {
        const lki_item *image = i < j->images.n ? &j->images.item[i] : NULL;
        const lki_item *mask = i < j->masks.n ? &j->masks.item[i] : NULL;
        const int order = image == NULL ? 1 : mask == NULL ? -1 : strcmp(image->class_name, mask->class_name);
        if (order < 0)
            return LK_FAIL(LK_E_FORMAT, "%s: %s has no %s.png, its mask", image->path, o->masks, image->class_name);
        if (order > 0)
            return LK_FAIL(
                LK_E_FORMAT, "%s: %s has no %s.jpg or .png, its picture", mask->path, o->images, mask->class_name);
    }
    return LK_OK;
}

static lk_status check_classes(const lk_import_masks_opts *o, const char *path, const lk_image *m)
{
    char beside[64] = "";

    for (int64_t i = 0; o->classes > 0 && i < (int64_t)m->width * m->height; i++) {
        const int id = m->pixels[i];
        if (id < o->classes || id == o->ignore)
            continue;
        if (o->ignore >= 0)
            snprintf(beside, sizeof beside, ", --ignore %" PRId64 " only that", o->ignore);
        return LK_FAIL(LK_E_FORMAT,
            "%s: pixel in column %" PRId64 " of row %" PRId64 " (from 0): class %d; --classes %" PRId64
            " takes 0 to %" PRId64 "%s",
            path, i % m->width, i / m->width, id, o->classes, o->classes - 1, beside);
    }
    return LK_OK;
}

/* A mask, in the size of the picture that was read last, into *out, in that of all. */
static lk_status read_mask(job *j, const lki_item *mask, const lki_item *image, lk_image *out)
{
    const lki_pictures *p = &j->pictures;
    lk_image m = {0};
    lk_status st;

    LK_TRY(lk_image_read_ids(mask->path, &m));
    if (m.height != p->file_height || m.width != p->file_width) {
        st = LK_FAIL(LK_E_FORMAT, "%s: %d x %d pixels, its picture %s has %d x %d", mask->path, m.width, m.height,
            image->path, p->file_width, p->file_height);
        goto out;
    }
    LK_TRY_TO(st, out, check_classes(j->o, mask->path, &m));
    LK_TRY_TO(st, out, lk_image_resize_nearest(&m, p->width, p->height, out));
    for (int64_t i = 0; i < (int64_t)p->width * p->height; i++)
        j->seen[out->pixels[i]] = true;
out:
    lk_image_fini(&m);
    return st;
}

static lk_status add_pair(job *j, int dest, const lki_item *image, const lki_item *mask)
{
    lk_image m = {0};
    lk_status st;

    LK_TRY_TO(st, out, lki_pictures_read(&j->pictures, image->path));
    LK_TRY_TO(st, out, read_mask(j, mask, image, &m));
    LK_TRY_TO(st, out, lki_shards_add(j->shards, dest, 1, (const void *const[]){j->pictures.row, m.pixels}));
out:
    lk_image_fini(&m);
    return st;
}

static lk_status plan_shards(job *j, int64_t first_part)
{
    const lk_import_masks_opts *o = j->o;
    const lki_pictures *p = &j->pictures;
    const lki_out_field fields[] = {
        {.name = "image", .type = LK_ELEM_U8, .ndim = 3, .dim = {p->channels, p->height, p->width}},
        {.name = "mask", .type = LK_ELEM_U8, .ndim = 2, .dim = {p->height, p->width}}};
    const lki_origin origin = {.source = o->images, .importer = "lockstep " LK_VERSION " data import masks"};
    const lki_dest dest[] = {{.path = o->dest, .shard_rows = o->shard_rows, .rows = first_part, .first = -1},
        {.path = o->rest, .rows = j->images.n - first_part, .first = -1}};

    LK_TRY(lki_shards_create(dest, first_part < j->images.n ? 2 : 1, fields, 2, &origin, &j->shards));
    return LK_OK;
}

/* "classes 0 to 20, 255" */
static void report_classes(const job *j, lk_buf *report)
{
    const char *before = "classes ";

    for (int first = 0; first < IDS; first++) {
        int last = first;
        if (!j->seen[first])
            continue;
        while (last + 1 < IDS && j->seen[last + 1])
            last++;
        lk_buf_printf(report, "%s%d", before, first);
        if (last > first)
            lk_buf_printf(report, " to %d", last);
        before = ", ";
        first = last;
    }
    lk_buf_add(report, "\n");
}

lk_status lk_import_masks(const lk_import_masks_opts *o, lk_buf *report)
{
    const lk_rng order = lki_order(o->seed);
    job j = {.o = o};
    int64_t first_part = 0;
    lk_status st;

    LK_TRY_TO(st, out, check_options(o));
    LK_TRY_TO(st, out, match_pairs(&j));
    LK_TRY_TO(st, out, lki_pictures_init(&j.pictures, &o->size, o->gray, j.images.item[0].path));
    LK_TRY_TO(st, out, lki_split(o->split, o->rest, j.images.n, &first_part));
    LK_TRY_TO(st, out, plan_shards(&j, first_part));
    for (int64_t i = 0; i < j.images.n; i++) {
        const int64_t k = (int64_t)lk_rng_permute(order, j.images.n, i);
        LK_TRY_TO(st, out, add_pair(&j, i >= first_part, &j.images.item[k], &j.masks.item[k]));
    }
    LK_TRY_TO(st, out, lki_shards_finish(j.shards, report));
    report_classes(&j, report);
out:
    lki_shards_destroy(&j.shards);
    lki_pictures_fini(&j.pictures);
    lki_items_fini(&j.masks);
    lki_items_fini(&j.images);
    return st;
}
