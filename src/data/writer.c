#include "data/writer.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/h5.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct lk_writer {
    char *path, *beside;
    hid_t file;
    char **name; /* [n] */
    int n;
};

static lk_status fail_with(lk_status st, const char *path)
{
    return st == LK_OK ? LK_OK : lk_err_prefix(st, "%s: write: ", path);
}

static lk_status add_field(lk_writer *w, int64_t samples, const lk_writer_field *f)
{
    lk_h5_shape s = {.type = f->type, .ndim = 1 + f->ndim, .dim = {samples}};

    memcpy(s.dim + 1, f->dim, (size_t)f->ndim * sizeof f->dim[0]);
    LK_TRY(lk_strdup(f->name, &w->name[w->n]));
    w->n++;
    return fail_with(lk_h5_write_array(w->file, f->name, &s, NULL), w->path);
}

lk_status lk_writer_create(
    const char *path, int64_t samples, const lk_writer_field *field, int n, lk_writer **out)
{
    lk_writer *w = NULL;
    lk_buf b = {0};
    lk_status st;

    LK_TRY(lk_alloc(sizeof *w, "writer", &w));
    w->file = -1;
    lk_buf_printf(&b, "%s.tmp.%ld", path, (long)getpid());
    LK_TRY_TO(st, out, lk_buf_status(&b));
    LK_TRY_TO(st, out, lk_strdup(lk_buf_text(&b), &w->beside));
    LK_TRY_TO(st, out, lk_strdup(path, &w->path));
    LK_TRY_TO(st, out, lk_alloc_array(n, sizeof *w->name, "names of fields", &w->name));
    /* The system's reason is clearer than HDF5's. */
    FILE *try = fopen(w->beside, "we");
    LK_TRY_TO(st, out, LK_SYS(try == NULL, "create", path));
    fclose(try);
    LK_TRY_TO(st, out, fail_with(lk_h5_create(w->beside, &w->file), path));
    for (int i = 0; i < n; i++)
        LK_TRY_TO(st, out, add_field(w, samples, &field[i]));
    *out = w;
    w = NULL;
out:
    lk_buf_fini(&b);
    lk_writer_destroy(&w);
    return st;
}

lk_status lk_writer_rows(lk_writer *w, int field, int64_t first, int64_t n, const void *data)
{
    return fail_with(lk_h5_write_rows(w->file, w->name[field], first, n, data), w->path);
}

lk_status lk_writer_finish(lk_writer *w)
{
    LK_TRY(fail_with(lk_h5_close(&w->file, w->path), w->path));
    LK_TRY(lk_file_sync(w->beside));
    LK_TRY(LK_SYS(rename(w->beside, w->path) != 0, "rename to this name", w->path));
    lk_free(w->beside);
    w->beside = NULL;
    return LK_OK;
}

void lk_writer_destroy(lk_writer **wp)
{
    lk_writer *w = *wp;

    if (w == NULL)
        return;
    if (w->file >= 0 && lk_h5_close(&w->file, w->path) != LK_OK)
        w->file = -1; /* it goes anyway */
    if (w->beside != NULL)
        unlink(w->beside);
    for (int i = 0; i < w->n; i++)
        lk_free(w->name[i]);
    lk_free(w->name);
    lk_free(w->beside);
    lk_free(w->path);
    lk_free(w);
    *wp = NULL;
}
