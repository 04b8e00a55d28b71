/* Samples into HDF5 files of planned sizes. Each is written under a passing name; when all are whole they get theirs.
 */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/h5.h"
#include "data/import/import_int.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FIELDS = 8, MAX_ATTRS = 8 };

typedef struct shard {
    char *path, *passing; /* its name, and the one under which it is written */
    int64_t first, rows;
    bool begun, named;
} shard;

/* The shards of a destination, one after the other. */
typedef struct part {
    shard *shard;
    int n;
    int now; /* the shard at hand */
    int64_t done; /* rows of it */
    int64_t first; /* row of the source that comes first, or -1 */
    hid_t file;
} part;

struct lki_shards {
    lki_out_field field[MAX_FIELDS]; /* names borrowed */
    int n_fields;
    lki_origin origin;
    lki_attr attr[MAX_ATTRS]; /* texts borrowed */
    part part[LKI_DESTS];
    int n_parts;
};

/* ---- the plan ---- */

/* "500,300,rest" into sizes that add up to `rows`. */
static lk_status plan_sizes(part *s, const char *text, int64_t rows)
{
    int64_t left = rows;
    int cap = 0;

    for (const char *at = text; at != NULL;) {
        char word[32];
        const char *comma = strchr(at, ',');
        const size_t n = comma != NULL ? (size_t)(comma - at) : strlen(at);
        int64_t here = 0;
        snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), at);
        if (strcmp(word, "rest") == 0 && comma == NULL)
            here = left;
        else if (!lk_parse_i64(word, &here) || here < 1)
            return LK_FAIL(LK_E_ARG,
                "--shard-rows %s: \"%s\" is no number of rows (\"500,300,rest\": \"rest\" may come last)", text, word);
        if (here > left || here == 0)
            return LK_FAIL(LK_E_ARG, "--shard-rows %s: there are %" PRId64 " rows, so shard %d gets none or too few",
                text, rows, s->n + 1);
        if (s->n == cap) {
            cap = cap == 0 ? 8 : 2 * cap;
            LK_TRY(lk_realloc_array(s->n, cap, sizeof s->shard[0], "shards", &s->shard));
        }
        s->shard[s->n++] = (shard){.first = rows - left, .rows = here};
        left -= here;
        at = comma != NULL ? comma + 1 : NULL;
    }
    if (left > 0)
        return LK_FAIL(LK_E_ARG,
            "--shard-rows %s: %" PRId64 " of %" PRId64 " rows would be left over; end it with \"rest\"", text, left,
            rows);
    return LK_OK;
}

static lk_status name_shard(shard *k, const char *dest, int index, bool numbered)
{
    const size_t n = strlen(dest);
    const bool has_end = n > 3 && strcmp(dest + n - 3, ".h5") == 0;
    lk_buf b = {0};
    lk_status st;

    if (numbered) {
        lk_buf_add_n(&b, dest, has_end ? n - 3 : n);
        lk_buf_printf(&b, "-%03d.h5", index);
    } else {
        lk_buf_add(&b, dest);
    }
    LK_TRY_TO(st, out, lk_buf_status(&b));
    LK_TRY_TO(st, out, lk_strdup(b.text, &k->path));
    lk_buf_printf(&b, ".tmp.%ld", (long)getpid());
    LK_TRY_TO(st, out, lk_buf_status(&b));
    LK_TRY_TO(st, out, lk_strdup(b.text, &k->passing));
out:
    lk_buf_fini(&b);
    return st;
}

/* Only HDF5 is replaced: the source given twice would be gone otherwise. */
static lk_status check_in_the_way(const char *path)
{
    struct stat s;

    if (stat(path, &s) != 0)
        return LK_OK;
    lk_h5_lock();
    const bool ours = S_ISREG(s.st_mode) && H5Fis_hdf5(path) > 0;
    H5Eclear2(H5E_DEFAULT);
    lk_h5_unlock();
    return ours ? LK_OK : LK_FAIL(LK_E_UNSUPPORTED, "%s: it is there and is no HDF5 file, so it is not replaced", path);
}

/* A shard of an earlier import behind ours would be taken for one of them. */
static lk_status check_left_over(const char *dest, int n)
{
    shard next = {0};
    lk_status st;

    LK_TRY_TO(st, out, name_shard(&next, dest, n, true));
    if (lk_file_exists(next.path))
        st = LK_FAIL(LK_E_UNSUPPORTED, "%s: left from an earlier import of more shards; remove it first", next.path);
out:
    lk_free(next.path);
    lk_free(next.passing);
    return st;
}

static lk_status check_folder(const char *dest)
{
    char *folder = NULL;
    struct stat s;
    lk_status st = LK_OK;

    LK_TRY(lk_path_dir(dest, &folder));
    if (stat(folder, &s) != 0 || !S_ISDIR(s.st_mode))
        st = LK_FAIL(LK_E_NOT_FOUND, "%s: its folder %s is not there", dest, folder);
    lk_free(folder);
    return st;
}

lk_status lki_split(double split, const char *rest, int64_t n, int64_t *first)
{
    const bool has_rest = rest != NULL && rest[0] != 0;

    if (has_rest != (split > 0))
        return LK_FAIL(LK_E_ARG, "%s",
            has_rest ? "--rest: --split is missing, the part that goes to the first file"
                     : "--split: --rest is missing, the file for the other part");
    /* the factor makes 0.57 of 100 be 57, which as doubles is a little less */
    const int64_t k = has_rest ? (int64_t)(split * (double)n * (1 + 4 * DBL_EPSILON)) : n;
    if (k < 1 || (has_rest && k >= n))
        return LK_FAIL(LK_E_ARG, "--split %g: of %" PRId64 " samples one part would get none", split, n);
    *first = k;
    return LK_OK;
}

lk_rng lki_order(int64_t seed)
{
    static const char id[] = "data import";

    return lk_rng_make((uint64_t)seed, LK_RNG_ORDER, lk_hash64(id, sizeof id - 1));
}

static lk_status plan_part(part *p, const lki_dest *d)
{
    const bool numbered = d->shard_rows != NULL && d->shard_rows[0] != 0;

    p->first = d->first;
    LK_TRY(check_folder(d->path));
    LK_TRY(plan_sizes(p, numbered ? d->shard_rows : "rest", d->rows));
    for (int i = 0; i < p->n; i++) {
        LK_TRY(name_shard(&p->shard[i], d->path, i, numbered));
        LK_TRY(check_in_the_way(p->shard[i].path));
    }
    if (numbered)
        LK_TRY(check_left_over(d->path, p->n));
    return LK_OK;
}

static lk_status check_field_names(const lki_out_field *fields, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++)
            if (fields[i].name[0] == 0 || fields[k].name[0] == 0 || strcmp(fields[i].name, fields[k].name) == 0)
                return LK_FAIL(
                    LK_E_ARG, "fields \"%s\" and \"%s\": two names are needed", fields[i].name, fields[k].name);
    if (fields[0].name[0] == 0)
        return LK_FAIL(LK_E_ARG, "field \"\": a name is needed");
    return LK_OK;
}

/* Two parts in one file would overwrite each other. */
static lk_status check_apart(const lki_shards *s)
{
    const part *a = &s->part[0], *b = &s->part[1];

    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < b->n; k++)
            if (strcmp(a->shard[i].path, b->shard[k].path) == 0)
                return LK_FAIL(LK_E_ARG, "%s: both parts would go there", a->shard[i].path);
    return LK_OK;
}

lk_status lki_shards_create(const lki_dest *dest, int n_dests, const lki_out_field *fields, int n_fields,
    const lki_origin *origin, lki_shards **out)
{
    lki_shards *s = NULL;
    lk_status st;

    LK_BUG_IF(n_fields < 1 || n_fields > MAX_FIELDS || origin->n_attrs > MAX_ATTRS || n_dests < 1 ||
                  n_dests > LKI_DESTS || dest[0].rows < 1,
        "%d fields, %d destinations, %" PRId64 " rows", n_fields, n_dests, dest[0].rows);
    LK_TRY(check_field_names(fields, n_fields));
    LK_TRY(lk_alloc(sizeof *s, "shards", &s));
    s->n_parts = n_dests;
    for (int i = 0; i < LKI_DESTS; i++)
        s->part[i].file = -1;
    s->n_fields = n_fields;
    s->origin = *origin;
    if (origin->n_attrs > 0)
        memcpy(s->attr, origin->attr, (size_t)origin->n_attrs * sizeof s->attr[0]);
    s->origin.attr = s->attr;
    memcpy(s->field, fields, (size_t)n_fields * sizeof fields[0]);
    for (int i = 0; i < n_dests; i++)
        LK_TRY_TO(st, fail, plan_part(&s->part[i], &dest[i]));
    LK_TRY_TO(st, fail, check_apart(s));
    *out = s;
    return LK_OK;

fail:
    lki_shards_destroy(&s);
    return st;
}

/* ---- writing ---- */

static lk_h5_shape shape_of(const lki_out_field *f, int64_t rows)
{
    lk_h5_shape shape = {.type = f->type, .ndim = f->ndim + 1, .dim = {rows}};

    memcpy(shape.dim + 1, f->dim, (size_t)f->ndim * sizeof f->dim[0]);
    return shape;
}

static lk_status begin_shard(lki_shards *s, part *p)
{
    shard *k = &p->shard[p->now];
    const char *slash = strrchr(s->origin.source, '/');

    k->begun = true;
    LK_TRY(lk_h5_create(k->passing, &p->file));
    LK_TRY(lk_h5_set_text(p->file, ".", "source", slash != NULL ? slash + 1 : s->origin.source));
    LK_TRY(lk_h5_set_text(p->file, ".", "importer", s->origin.importer));
    if (p->first >= 0)
        LK_TRY(lk_h5_set_i64(p->file, ".", "first_row", p->first + k->first));
    LK_TRY(lk_h5_set_i64(p->file, ".", "rows", k->rows));
    for (int f = 0; f < s->n_fields; f++) {
        const lk_h5_shape shape = shape_of(&s->field[f], k->rows);
        LK_TRY(lk_h5_write_array(p->file, s->field[f].name, &shape, NULL));
    }
    for (int i = 0; i < s->origin.n_attrs; i++) {
        const lki_attr *a = &s->origin.attr[i];
        if (a->text != NULL)
            LK_TRY(lk_h5_set_text(p->file, a->field, a->name, a->text));
        else if (a->is_real)
            LK_TRY(lk_h5_set_f64(p->file, a->field, a->name, a->real));
        else
            LK_TRY(lk_h5_set_i64(p->file, a->field, a->name, a->number));
    }
    return LK_OK;
}

static lk_status add_to_shard(lki_shards *s, part *p, int64_t n, const char *const *rows)
{
    shard *k = &p->shard[p->now];
    lk_status st = LK_OK;

    if (!k->begun)
        st = begin_shard(s, p);
    for (int f = 0; f < s->n_fields && st == LK_OK; f++)
        st = lk_h5_write_rows(p->file, s->field[f].name, p->done, n, rows[f]);
    if (st != LK_OK)
        return lk_err_prefix(st, "%s: ", k->path);
    p->done += n;
    if (p->done == k->rows) {
        LK_TRY(lk_h5_close(&p->file, k->path));
        p->now++;
        p->done = 0;
    }
    return LK_OK;
}

lk_status lki_shards_add(lki_shards *s, int dest, int64_t n, const void *const *rows)
{
    part *p = &s->part[dest];
    const char *at[MAX_FIELDS];

    for (int f = 0; f < s->n_fields; f++)
        at[f] = rows[f];
    while (n > 0) {
        LK_BUG_IF(dest >= s->n_parts || p->now == p->n, "more rows than shards were planned for");
        const int64_t room = p->shard[p->now].rows - p->done;
        const int64_t here = n < room ? n : room;
        LK_TRY(add_to_shard(s, p, here, at));
        for (int f = 0; f < s->n_fields; f++) {
            int64_t row = (int64_t)lk_elem_size(s->field[f].type);
            for (int i = 0; i < s->field[f].ndim; i++)
                row *= s->field[f].dim[i];
            at[f] += here * row;
        }
        n -= here;
    }
    return LK_OK;
}

static void report_shard(const lki_shards *s, const shard *k, lk_buf *report)
{
    lk_buf_printf(report, "%s: %" PRId64 " samples", k->path, k->rows);
    for (int f = 0; f < s->n_fields; f++) {
        const lk_h5_shape shape = shape_of(&s->field[f], k->rows);
        char text[192];
        lki_h5_format_shape(&shape, false, text, sizeof text);
        lk_buf_printf(report, ", %s %s %s", s->field[f].name, lk_elem_name(s->field[f].type), text);
    }
    lk_buf_add(report, "\n");
}

static lk_status name_files(part *p)
{
    char *folder = NULL;
    lk_status st;

    LK_TRY(lk_path_dir(p->shard[0].path, &folder));
    for (int i = 0; i < p->n; i++) {
        LK_TRY_TO(st, out,
            LK_SYS(rename(p->shard[i].passing, p->shard[i].path) != 0, "rename to its name", p->shard[i].path));
        p->shard[i].named = true;
    }
    LK_TRY_TO(st, out, lk_file_sync(folder));
out:
    lk_free(folder);
    return st;
}

lk_status lki_shards_finish(lki_shards *s, lk_buf *report)
{
    for (int k = 0; k < s->n_parts; k++) {
        const part *p = &s->part[k];
        LK_BUG_IF(p->now != p->n, "%d of %d shards are written", p->now, p->n);
        for (int i = 0; i < p->n; i++)
            LK_TRY(lk_file_sync(p->shard[i].passing));
    }
    for (int k = 0; k < s->n_parts; k++)
        LK_TRY(name_files(&s->part[k]));
    for (int k = 0; k < s->n_parts; k++)
        for (int i = 0; i < s->part[k].n; i++)
            report_shard(s, &s->part[k].shard[i], report);
    return LK_OK;
}

static void destroy_part(part *p)
{
    if (p->file >= 0) {
        lk_h5_lock();
        H5Fclose(p->file);
        lk_h5_unlock();
    }
    for (int i = 0; i < p->n; i++) {
        if (p->shard[i].begun && !p->shard[i].named)
            unlink(p->shard[i].passing);
        lk_free(p->shard[i].path);
        lk_free(p->shard[i].passing);
    }
    lk_free(p->shard);
}

void lki_shards_destroy(lki_shards **shards)
{
    lki_shards *s = *shards;

    if (s == NULL)
        return;
    for (int i = 0; i < s->n_parts; i++)
        destroy_part(&s->part[i]);
    lk_free(s);
    *shards = NULL;
}
