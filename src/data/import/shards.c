/* Samples into HDF5 files of planned sizes. Each is written under a passing name; when all are whole they get theirs.
 */
#include "base/file.h"
#include "base/mem.h"
#include "data/h5.h"
#include "data/import/import_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FIELDS = 2 };

typedef struct shard {
    char *path, *passing; /* its name, and the one under which it is written */
    int64_t first, rows;
    bool begun, named;
} shard;

struct lki_shards {
    lki_out_field field[MAX_FIELDS]; /* names borrowed */
    int n_fields;
    lki_origin origin;
    shard *shard;
    int n;
    int now; /* the shard at hand */
    int64_t done; /* rows of it */
    hid_t file;
};

/* ---- the plan ---- */

/* "500,300,rest" into sizes that add up to `rows`. */
static lk_status plan_sizes(lki_shards *s, const char *text, int64_t rows)
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

lk_status lki_shards_create(const char *dest, const char *shard_rows, int64_t rows, const lki_out_field *fields,
    int n_fields, const lki_origin *origin, lki_shards **out)
{
    lki_shards *s = NULL;
    lk_status st;

    LK_BUG_IF(n_fields < 1 || n_fields > MAX_FIELDS || rows < 1, "%d fields, %" PRId64 " rows", n_fields, rows);
    if (fields[0].name[0] == 0 || fields[n_fields - 1].name[0] == 0 ||
        (n_fields > 1 && strcmp(fields[0].name, fields[1].name) == 0))
        return LK_FAIL(
            LK_E_ARG, "fields \"%s\" and \"%s\": two names are needed", fields[0].name, fields[n_fields - 1].name);
    LK_TRY(check_folder(dest));
    LK_TRY(lk_alloc(sizeof *s, "shards", &s));
    s->file = -1;
    s->n_fields = n_fields;
    s->origin = *origin;
    memcpy(s->field, fields, (size_t)n_fields * sizeof fields[0]);
    const bool numbered = shard_rows != NULL && shard_rows[0] != 0;
    LK_TRY_TO(st, fail, plan_sizes(s, numbered ? shard_rows : "rest", rows));
    for (int i = 0; i < s->n; i++) {
        LK_TRY_TO(st, fail, name_shard(&s->shard[i], dest, i, numbered));
        LK_TRY_TO(st, fail, check_in_the_way(s->shard[i].path));
    }
    if (numbered)
        LK_TRY_TO(st, fail, check_left_over(dest, s->n));
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

static lk_status begin_shard(lki_shards *s)
{
    shard *k = &s->shard[s->now];
    const char *slash = strrchr(s->origin.source, '/');

    k->begun = true;
    LK_TRY(lk_h5_create(k->passing, &s->file));
    LK_TRY(lk_h5_set_text(s->file, ".", "source", slash != NULL ? slash + 1 : s->origin.source));
    LK_TRY(lk_h5_set_text(s->file, ".", "importer", s->origin.importer));
    LK_TRY(lk_h5_set_i64(s->file, ".", "first_row", s->origin.first + k->first));
    LK_TRY(lk_h5_set_i64(s->file, ".", "rows", k->rows));
    for (int f = 0; f < s->n_fields; f++) {
        const lk_h5_shape shape = shape_of(&s->field[f], k->rows);
        LK_TRY(lk_h5_write_array(s->file, s->field[f].name, &shape, NULL));
    }
    return LK_OK;
}

static lk_status add_to_shard(lki_shards *s, int64_t n, const char *const *rows)
{
    shard *k = &s->shard[s->now];
    lk_status st = LK_OK;

    if (!k->begun)
        st = begin_shard(s);
    for (int f = 0; f < s->n_fields && st == LK_OK; f++)
        st = lk_h5_write_rows(s->file, s->field[f].name, s->done, n, rows[f]);
    if (st != LK_OK)
        return lk_err_prefix(st, "%s: ", k->path);
    s->done += n;
    if (s->done == k->rows) {
        LK_TRY(lk_h5_close(&s->file, k->path));
        s->now++;
        s->done = 0;
    }
    return LK_OK;
}

lk_status lki_shards_add(lki_shards *s, int64_t n, const void *const *rows)
{
    const char *at[MAX_FIELDS];

    for (int f = 0; f < s->n_fields; f++)
        at[f] = rows[f];
    while (n > 0) {
        LK_BUG_IF(s->now == s->n, "more rows than shards were planned for");
        const int64_t room = s->shard[s->now].rows - s->done;
        const int64_t here = n < room ? n : room;
        LK_TRY(add_to_shard(s, here, at));
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

lk_status lki_shards_finish(lki_shards *s, lk_buf *report)
{
    char *folder = NULL;
    lk_status st;

    LK_BUG_IF(s->now != s->n, "%d of %d shards are written", s->now, s->n);
    for (int i = 0; i < s->n; i++)
        LK_TRY(lk_file_sync(s->shard[i].passing));
    LK_TRY(lk_path_dir(s->shard[0].path, &folder));
    for (int i = 0; i < s->n; i++) {
        LK_TRY_TO(st, out,
            LK_SYS(rename(s->shard[i].passing, s->shard[i].path) != 0, "rename to its name", s->shard[i].path));
        s->shard[i].named = true;
    }
    LK_TRY_TO(st, out, lk_file_sync(folder));
    for (int i = 0; i < s->n; i++)
        report_shard(s, &s->shard[i], report);
out:
    lk_free(folder);
    return st;
}

void lki_shards_destroy(lki_shards **shards)
{
    lki_shards *s = *shards;

    if (s == NULL)
        return;
    if (s->file >= 0) {
        lk_h5_lock();
        H5Fclose(s->file);
        lk_h5_unlock();
    }
    for (int i = 0; i < s->n; i++) {
        if (s->shard[i].begun && !s->shard[i].named)
            unlink(s->shard[i].passing);
        lk_free(s->shard[i].path);
        lk_free(s->shard[i].passing);
    }
    lk_free(s->shard);
    lk_free(s);
    *shards = NULL;
}
