/* state.h5: a state as named arrays, each with its hash, and what is known of the run as attributes of the root. */
#include "train/checkpoint_int.h"

#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "lockstep checkpoint 1"
#define PIECE (INT64_C(1) << 24) /* elements moved at a time */

/* ---- arrays of a state ---- */

static lk_status add_array(
    lki_arrays *a, const char *folder, const char *sub, const lk_param *p, float *flat)
{
    lki_array *item = &a->item[a->n];
    lk_buf name = {0};

    /* "LAYER.SUFFIX" is LAYER/SUFFIX in the file. */
    lk_buf_printf(&name, "%s/%s%s%.*s/%s", folder, sub, sub[0] != 0 ? "/" : "", (int)(strlen(p->name) - strlen(p->info.suffix) - 1), p->name, p->info.suffix);
    const lk_status st = lk_buf_status(&name);
    if (st != LK_OK) {
        lk_buf_fini(&name);
        return st;
    }
    *item = (lki_array){.name = name.text, .shape = p->info.shape, .count = p->count, .data = flat + p->first};
    a->n++;
    return LK_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const lki_array *)a)->name, ((const lki_array *)b)->name);
}

lk_status lki_arrays_of_state(const lk_graph *g, const lk_state *s, lki_arrays *out)
{
    lki_arrays a = {0};
    lk_status st = LK_OK;

    LK_TRY(lk_alloc_array((int64_t)g->n_params * (2 + s->n_state) + 1, sizeof a.item[0], "list of arrays", &a.item));
    for (int i = 0; i < g->n_params; i++) {
        const lk_param *p = &g->param[i];
        LK_TRY_TO(st, fail, add_array(&a, "weights", "", p, s->weights));
        if (s->ema != NULL && p->info.kind == LK_PARAM_WEIGHT)
            LK_TRY_TO(st, fail, add_array(&a, "ema", "", p, s->ema));
        for (int k = 0; k < s->n_state && p->info.kind == LK_PARAM_WEIGHT; k++)
            LK_TRY_TO(st, fail, add_array(&a, "optimizer", s->state_name[k], p, s->state[k]));
    }
    if (s->carry != NULL) {
        a.item[a.n] = (lki_array){.shape = {2, {s->carry_lanes, s->carry_count}}, .count = s->carry_lanes * s->carry_count, .data = s->carry};
        LK_TRY_TO(st, fail, lk_strdup(LKI_CARRY_NAME, &a.item[a.n].name));
        a.n++;
    }
    if (a.n > 1)
        qsort(a.item, (size_t)a.n, sizeof a.item[0], by_name);
    *out = a;
    return LK_OK;

fail:
    lki_arrays_fini(&a);
    return st;
}

void lki_arrays_fini(lki_arrays *a)
{
    for (int i = 0; i < a->n; i++)
        lk_free(a->item[i].name);
    lk_free(a->item);
    *a = (lki_arrays){0};
}

int64_t lki_array_rows(const lki_array *a)
{
    return a->shape.ndim > 0 ? a->shape.dim[0] : 1;
}

static int64_t row_count(const lki_array *a)
{
    const int64_t rows = lki_array_rows(a);

    return rows > 0 ? a->count / rows : 0;
}

int64_t lki_array_step(const lki_array *a)
{
    const int64_t rows = lki_array_rows(a), row = row_count(a);

    if (row == 0 || row * rows <= PIECE)
        return rows > 0 ? rows : 1;
    return row < PIECE ? PIECE / row : 1;
}

/* ---- digest ---- */

void lki_digest_array(lk_hasher *h, const lki_array *a)
{
    const int64_t ndim = a->shape.ndim;

    lk_hasher_add(h, a->name, strlen(a->name) + 1);
    lk_hasher_add(h, &ndim, sizeof ndim);
    lk_hasher_add(h, a->shape.dim, (size_t)ndim * sizeof a->shape.dim[0]);
}

lk_hash lki_digest_end(lk_hasher *h, const lk_cursor *c)
{
    lk_hasher_add(h, &c->epoch, sizeof c->epoch);
    lk_hasher_add(h, &c->step, sizeof c->step);
    return lk_hasher_get(h);
}

lk_status lki_digest_arrays(const lki_arrays *a, const lk_cursor *c, lk_hash *out)
{
    lk_hasher *h = NULL;

    LK_TRY(lk_hasher_create(&h));
    for (int i = 0; i < a->n; i++) {
        lki_digest_array(h, &a->item[i]);
        lk_hasher_add(h, a->item[i].data, (size_t)a->item[i].count * sizeof(float));
    }
    *out = lki_digest_end(h, c);
    lk_hasher_destroy(&h);
    return LK_OK;
}

/* ---- writing ---- */

static lk_status write_array(hid_t file, const lki_array *a)
{
    lk_h5_shape shape = {.type = LK_ELEM_F32, .ndim = a->shape.ndim};
    const int64_t rows = lki_array_rows(a), step = lki_array_step(a), row = row_count(a);
    char hash[LK_HASH_TEXT];

    memcpy(shape.dim, a->shape.dim, (size_t)shape.ndim * sizeof shape.dim[0]);
    LK_TRY(lk_h5_write_array(file, a->name, &shape, NULL));
    for (int64_t first = 0; first < rows; first += step)
        LK_TRY(
            lk_h5_write_rows(file, a->name, first, rows - first < step ? rows - first : step, a->data + first * row));
    lk_hash_print(lk_hash128(a->data, (size_t)a->count * sizeof(float)), hash);
    LK_TRY(lk_h5_set_text(file, a->name, "xxh3", hash));
    return LK_OK;
}

/* A text of any length: one of fixed length may have up to 64 KiB as an attribute. */
static lk_status set_long_text(hid_t file, const char *attr, const char *text)
{
    hid_t type = -1, space = -1, id = -1;
    lk_status st;

    lk_h5_lock();
    LK_TRY_TO(st, out, LK_H5(type = H5Tcopy(H5T_C_S1)));
    LK_TRY_TO(st, out, LK_H5(H5Tset_size(type, H5T_VARIABLE)));
    LK_TRY_TO(st, out, LK_H5(H5Tset_cset(type, H5T_CSET_UTF8)));
    LK_TRY_TO(st, out, LK_H5(space = H5Screate(H5S_SCALAR)));
    LK_TRY_TO(st, out, LK_H5(id = H5Acreate2(file, attr, type, space, H5P_DEFAULT, H5P_DEFAULT)));
    LK_TRY_TO(st, out, LK_H5(H5Awrite(id, type, &text)));
out:
    if (id >= 0)
        H5Aclose(id);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    lk_h5_unlock();
    return st == LK_OK ? LK_OK : lk_err_prefix(st, "attribute \"%s\": ", attr);
}

static lk_status write_watch(hid_t file, const lk_watch *w)
{
    lk_buf best = {0};

    LK_TRY(lk_h5_set_f64(file, ".", "lr_factor", w->lr_factor));
    LK_TRY(lk_h5_set_f64(file, ".", "lr_best", w->lr_best));
    LK_TRY(lk_h5_set_i64(file, ".", "lr_since", w->lr_since));
    LK_TRY(lk_h5_set_f64(file, ".", "stop_best", w->stop_best));
    LK_TRY(lk_h5_set_i64(file, ".", "stop_since", w->stop_since));
    for (int i = 0; i < w->n_best; i++)
        lk_buf_printf(&best, "%" PRId64 " %.17g\n", w->best[i].step, w->best[i].score);
    LK_TRY(lk_h5_set_f64(file, ".", "loss_scale", w->loss_scale));
    LK_TRY(lk_h5_set_i64(file, ".", "scale_since", w->scale_since));
    LK_TRY(lk_h5_set_i64(file, ".", "left_out", w->left_out));
    lk_status st = lk_buf_status(&best);
    if (st == LK_OK)
        st = lk_h5_set_text(file, ".", "best", lk_buf_text(&best));
    lk_buf_fini(&best);
    return st;
}

static lk_status write_head(hid_t file, const lk_state *s, const lk_checkpoint_meta *m, lk_hash digest)
{
    const lk_cursor *c = &s->cursor;
    char model[17], hash[LK_HASH_TEXT];

    snprintf(model, sizeof model, "%016" PRIx64, m->model_hash);
    lk_hash_print(digest, hash);
    LK_TRY(lk_h5_set_text(file, ".", "format", FORMAT));
    LK_TRY(lk_h5_set_text(file, ".", "lockstep", LK_VERSION));
    LK_TRY(lk_h5_set_i64(file, ".", "step", c->step));
    LK_TRY(lk_h5_set_i64(file, ".", "epoch", c->epoch));
    LK_TRY(lk_h5_set_i64(file, ".", "step_in_epoch", c->step_in_epoch));
    LK_TRY(lk_h5_set_i64(file, ".", "seed", (int64_t)m->seed));
    LK_TRY(lk_h5_set_text(file, ".", "model_hash", model));
    LK_TRY(lk_h5_set_i64(file, ".", "samples", m->samples));
    LK_TRY(lk_h5_set_i64(file, ".", "batch", m->batch));
    LK_TRY(lk_h5_set_i64(file, ".", "microbatches", m->microbatches));
    LK_TRY(lk_h5_set_text(file, ".", "reduction", m->reduction != NULL ? m->reduction : "exact"));
    if (m->backend != NULL)
        LK_TRY(lk_h5_set_text(file, ".", "backend", m->backend));
    LK_TRY(lk_h5_set_text(file, ".", "digest", hash));
    LK_TRY(write_watch(file, &s->watch));
    LK_TRY(set_long_text(file, "config", m->config != NULL ? m->config : ""));
    if (m->normalization != NULL)
        LK_TRY(set_long_text(file, "normalization", m->normalization));
    return LK_OK;
}

/* A disk that is full, or alike: HDF5 gives the system's reason amid much else, over several lines. */
static lk_status fail_write(lk_status st, const char *path)
{
    static const char before[] = "error message = '";
    const char *reason = strstr(lk_err_last()->message, before);

    if (reason == NULL)
        return lk_err_prefix(st, "%s: ", path);
    reason += sizeof before - 1;
    return LK_FAIL(LK_E_IO, "%s: write: %.*s", path, (int)strcspn(reason, "'\n"), reason);
}

lk_status lki_file_write(const char *path, const lki_arrays *a, const lk_state *s, const lk_checkpoint_meta *m)
{
    hid_t file = -1;
    lk_hash digest;
    lk_err why;

    LK_TRY(lki_digest_arrays(a, &s->cursor, &digest));
    lk_status st = lk_h5_create(path, &file);
    if (st != LK_OK)
        return fail_write(st, path);
    st = write_head(file, s, m, digest);
    for (int i = 0; i < a->n && st == LK_OK; i++)
        st = write_array(file, &a->item[i]);
    if (st != LK_OK)
        st = fail_write(st, path);
    lk_err_take(&why);
    const lk_status closed = lk_h5_close(&file, path); /* always, but the first message is the one to keep */
    if (st != LK_OK)
        return lk_err_give(&why);
    return closed == LK_OK ? LK_OK : fail_write(closed, path);
}

/* ---- reading ---- */

static lk_status get_hash(hid_t file, const char *name, const char *attr, lk_hash *out)
{
    char *text = NULL;

    LK_TRY(lk_h5_get_text(file, name, attr, &text));
    lk_status st = lk_hash_parse(text, out);
    lk_free(text);
    if (st != LK_OK)
        return LK_FAIL(LK_E_DATA, "attribute \"%s\" of \"%s\" is no hash", attr, name);
    return LK_OK;
}

static lk_status get_count(hid_t file, const char *attr, int64_t *out)
{
    LK_TRY(lk_h5_get_i64(file, ".", attr, out));
    if (*out < 0)
        return LK_FAIL(LK_E_DATA, "attribute \"%s\" is %" PRId64, attr, *out);
    return LK_OK;
}

static lk_status parse_best(const char *text, lk_watch *w)
{
    while (*text != 0) {
        int used = 0;

        if (w->n_best == LK_MAX_BEST || sscanf(text, "%" SCNd64 " %lg\n%n", &w->best[w->n_best].step, &w->best[w->n_best].score, &used) != 2 || used == 0)
            return LK_FAIL(LK_E_DATA, "attribute \"best\" holds no lines of step and score");
        w->n_best++;
        text += used;
    }
    return LK_OK;
}

/* Checkpoints from before there was one begin anew. */
static lk_status read_watch(hid_t file, lk_watch *w)
{
    char *best = NULL;

    *w = lk_watch_start();
    if (!lk_h5_has_attr(file, ".", "lr_factor"))
        return LK_OK;
    LK_TRY(lk_h5_get_f64(file, ".", "lr_factor", &w->lr_factor));
    LK_TRY(lk_h5_get_f64(file, ".", "lr_best", &w->lr_best));
    LK_TRY(get_count(file, "lr_since", &w->lr_since));
    LK_TRY(lk_h5_get_f64(file, ".", "stop_best", &w->stop_best));
    LK_TRY(get_count(file, "stop_since", &w->stop_since));
    if (lk_h5_has_attr(file, ".", "loss_scale")) {
        LK_TRY(lk_h5_get_f64(file, ".", "loss_scale", &w->loss_scale));
        LK_TRY(get_count(file, "scale_since", &w->scale_since));
        LK_TRY(get_count(file, "left_out", &w->left_out));
    }
    LK_TRY(lk_h5_get_text(file, ".", "best", &best));
    const lk_status st = parse_best(best, w);
    lk_free(best);
    return st;
}

static lk_status read_head(lki_file *f)
{
    char *format = NULL, *model = NULL, *reduction = NULL, *config = NULL, *normalization = NULL, *backend = NULL, *end;
    int64_t seed;
    lk_status st;

    LK_TRY_TO(st, out, lk_h5_get_text(f->id, ".", "format", &format));
    if (strcmp(format, FORMAT) != 0) {
        st = LK_FAIL(LK_E_FORMAT, "its format is \"%.60s\", this lockstep " LK_VERSION " reads \"" FORMAT "\"", format);
        goto out;
    }
    LK_TRY_TO(st, out, lk_h5_get_text(f->id, ".", "lockstep", &f->version));
    LK_TRY_TO(st, out, get_count(f->id, "step", &f->cursor.step));
    LK_TRY_TO(st, out, get_count(f->id, "epoch", &f->cursor.epoch));
    LK_TRY_TO(st, out, get_count(f->id, "step_in_epoch", &f->cursor.step_in_epoch));
    LK_TRY_TO(st, out, lk_h5_get_i64(f->id, ".", "seed", &seed));
    f->meta.seed = (uint64_t)seed;
    LK_TRY_TO(st, out, lk_h5_get_text(f->id, ".", "model_hash", &model));
    f->meta.model_hash = strtoull(model, &end, 16);
    if (end != model + 16 || *end != 0) {
        st = LK_FAIL(LK_E_DATA, "attribute \"model_hash\" is \"%.40s\"", model);
        goto out;
    }
    LK_TRY_TO(st, out, get_count(f->id, "samples", &f->meta.samples));
    LK_TRY_TO(st, out, get_count(f->id, "batch", &f->meta.batch));
    LK_TRY_TO(st, out, get_count(f->id, "microbatches", &f->meta.microbatches));
    LK_TRY_TO(st, out, lk_h5_get_text(f->id, ".", "reduction", &reduction));
    f->meta.reduction = strcmp(reduction, "fast") == 0 ? "fast" : "exact";
    LK_TRY_TO(st, out, get_hash(f->id, ".", "digest", &f->digest));
    LK_TRY_TO(st, out, read_watch(f->id, &f->watch));
    LK_TRY_TO(st, out, lk_h5_get_text(f->id, ".", "config", &config));
    f->meta.config = config;
    if (lk_h5_has_attr(f->id, ".", "normalization")) {
        LK_TRY_TO(st, out, lk_h5_get_text(f->id, ".", "normalization", &normalization));
        f->meta.normalization = normalization;
    }
    if (lk_h5_has_attr(f->id, ".", "backend")) {
        LK_TRY_TO(st, out, lk_h5_get_text(f->id, ".", "backend", &backend));
        f->meta.backend = backend;
    }
out:
    lk_free(format);
    lk_free(model);
    lk_free(reduction);
    return st;
}

static lk_status read_array_head(hid_t file, const char *name, lki_array *out)
{
    lk_h5_shape s;

    LK_TRY(lk_h5_array_shape(file, name, &s));
    if (strncmp(name, "weights/", 8) != 0 && strncmp(name, "optimizer/", 10) != 0 && strncmp(name, "ema/", 4) != 0 && strcmp(name, LKI_CARRY_NAME) != 0)
        return LK_FAIL(LK_E_DATA, "array \"%s\" is not " LKI_CARRY_NAME ", and lies neither below weights nor below optimizer nor below ema", name);
    if (s.type != LK_ELEM_F32 || s.ndim > LK_MAX_DIMS)
        return LK_FAIL(LK_E_DATA, "array \"%s\" is %s of rank %d, not float32 of rank up to %d", name,
            lk_elem_name(s.type), s.ndim, LK_MAX_DIMS);
    out->shape.ndim = s.ndim;
    out->count = 1;
    for (int i = 0; i < s.ndim; i++) {
        out->shape.dim[i] = s.dim[i];
        out->count *= s.dim[i]; /* lk_h5_array_shape has checked that the bytes can be counted */
    }
    LK_TRY(get_hash(file, name, "xxh3", &out->hash));
    LK_TRY(lk_strdup(name, &out->name));
    return LK_OK;
}

static lk_status read_names(lki_file *f)
{
    char **name = NULL;
    int n = 0;
    lk_status st;

    LK_TRY(lk_h5_list(f->id, &name, &n));
    LK_TRY_TO(st, out, lk_alloc_array(n, sizeof f->arrays.item[0], "list of arrays", &f->arrays.item));
    for (int i = 0; i < n; i++) {
        LK_TRY_TO(st, out, read_array_head(f->id, name[i], &f->arrays.item[i]));
        f->arrays.n++;
    }
out:
    lk_strings_free(&name, n);
    return st;
}

lk_status lki_file_open(const char *path, lki_file **out)
{
    lki_file *f = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *f, "checkpoint", &f));
    f->id = -1;
    LK_TRY_TO(st, fail, lk_strdup(path, &f->path));
    LK_TRY_TO(st, fail, lk_h5_open(path, &f->id));
    st = read_head(f);
    if (st == LK_OK)
        st = read_names(f);
    if (st != LK_OK) {
        lk_err_prefix(st, LKI_STATE_NAME ": ");
        goto fail;
    }
    *out = f;
    return LK_OK;

fail:
    lki_file_close(&f);
    return st;
}

void lki_file_close(lki_file **f)
{
    lki_file *old = *f;

    if (old == NULL)
        return;
    if (old->id >= 0) {
        lk_h5_lock();
        H5Fclose(old->id); /* opened for reading: nothing is left to write */
        lk_h5_unlock();
    }
    lki_arrays_fini(&old->arrays);
    lk_free((char *)old->meta.config);
    lk_free((char *)old->meta.normalization);
    lk_free(old->version);
    lk_free(old->path);
    lk_free(old);
    *f = NULL;
}

lk_status lki_file_read_rows(const lki_file *f, int i, int64_t row, int64_t rows, float *out)
{
    const lk_status st = lk_h5_read_rows(f->id, f->arrays.item[i].name, row, rows, out);

    return st == LK_OK ? LK_OK : lk_err_prefix(st, LKI_STATE_NAME ": ");
}

static lk_status check_hash(const lki_array *a, lk_hash is)
{
    char text[2][LK_HASH_TEXT];

    if (lk_hash_equal(is, a->hash))
        return LK_OK;
    lk_hash_print(is, text[0]);
    lk_hash_print(a->hash, text[1]);
    return LK_FAIL(
        LK_E_DATA, LKI_STATE_NAME ": array \"%s\" has the hash %s, its attribute says %s", a->name, text[0], text[1]);
}

lk_status lki_file_read(const lki_file *f, int i, float *out)
{
    const lki_array *a = &f->arrays.item[i];
    const int64_t rows = lki_array_rows(a), step = lki_array_step(a), row = row_count(a);

    for (int64_t first = 0; first < rows; first += step)
        LK_TRY(lki_file_read_rows(f, i, first, rows - first < step ? rows - first : step, out + first * row));
    LK_TRY(check_hash(a, lk_hash128(out, (size_t)a->count * sizeof(float))));
    return LK_OK;
}

/* Array i through `piece`, into both hashes. */
static lk_status pass_array(
    const lki_file *f, int i, float *piece, lk_hasher *own, lk_hasher *all, lki_visit *visit, void *arg)
{
    const lki_array *a = &f->arrays.item[i];
    const int64_t rows = lki_array_rows(a), step = lki_array_step(a), row = row_count(a);

    lk_hasher_reset(own);
    lki_digest_array(all, a);
    for (int64_t first = 0; first < rows; first += step) {
        const int64_t n = rows - first < step ? rows - first : step;
        LK_TRY(lki_file_read_rows(f, i, first, n, piece));
        lk_hasher_add(own, piece, (size_t)(n * row) * sizeof(float));
        lk_hasher_add(all, piece, (size_t)(n * row) * sizeof(float));
        if (visit != NULL)
            visit(arg, i, piece, n * row);
    }
    LK_TRY(check_hash(a, lk_hasher_get(own)));
    return LK_OK;
}

lk_status lki_file_pass(const lki_file *f, lki_visit *visit, void *arg)
{
    lk_hasher *own = NULL, *all = NULL;
    float *piece = NULL;
    int64_t largest = 0;
    char text[2][LK_HASH_TEXT];
    lk_status st;

    for (int i = 0; i < f->arrays.n; i++) {
        const lki_array *a = &f->arrays.item[i];
        const int64_t n = lki_array_step(a) * row_count(a);
        largest = n > largest ? n : largest;
    }
    LK_TRY_TO(st, out, lk_hasher_create(&own));
    LK_TRY_TO(st, out, lk_hasher_create(&all));
    LK_TRY_TO(st, out, lk_alloc_array(largest, sizeof *piece, "piece of a checkpoint", &piece));
    for (int i = 0; i < f->arrays.n; i++)
        LK_TRY_TO(st, out, pass_array(f, i, piece, own, all, visit, arg));
    const lk_hash digest = lki_digest_end(all, &f->cursor);
    if (!lk_hash_equal(digest, f->digest)) {
        lk_hash_print(digest, text[0]);
        lk_hash_print(f->digest, text[1]);
        st = LK_FAIL(
            LK_E_DATA, LKI_STATE_NAME ": the arrays have the digest %s, its attribute says %s", text[0], text[1]);
    }
out:
    lk_free(piece);
    lk_hasher_destroy(&all);
    lk_hasher_destroy(&own);
    return st;
}
