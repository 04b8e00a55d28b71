/* train.init_from: what a run that begins takes from the checkpoint of another. Rank 0 reads, all get the same weights. */
#include "train/checkpoint_int.h"
#include "train/run_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* An array of the file that a parameter may come from. */
typedef struct source {
    int array;  /* in the file */
    char *name; /* "conv1.weight", after renaming */
} source;

typedef struct transfer {
    const lk_config *config;
    const lk_graph *graph;
    lki_file *file;
    source *source; /* [n]: each name once, a running mean in the place of its weight */
    int n;
    int64_t missing; /* parameters that matched and could not be loaded */
    int first_missing;
    int64_t loaded, skipped;
} transfer;

/* "weights/conv1/weight" -> "conv1.weight", renamed. */
static lk_status name_source(const lk_config *c, const char *path, size_t folder, char **out)
{
    const char *slash = strrchr(path, '/');
    lk_buf was = {0}, is = {0};
    lk_status st;

    lk_buf_printf(&was, "%.*s.%s", (int)(slash - path - (ptrdiff_t)folder), path + folder, slash + 1);
    LK_TRY_TO(st, out, lk_buf_status(&was));
    const char *name = lk_buf_text(&was), *to = "";
    for (int i = 0; i < c->n_rename; i++) {
        const size_t n = strlen(c->rename[i].from);

        if (strncmp(name, c->rename[i].from, n) != 0)
            continue;
        name += n;
        to = c->rename[i].to;
        break;
    }
    lk_buf_printf(&is, "%s%s", to, name);
    LK_TRY_TO(st, out, lk_buf_status(&is));
    st = lk_strdup(lk_buf_text(&is), out);
out:
    lk_buf_fini(&was);
    lk_buf_fini(&is);
    return st;
}

static source *find_source(const transfer *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->source[i].name, name) == 0)
            return &t->source[i];
    return NULL;
}

/* The arrays below one folder of the file; those below ema stand in the place of weights that are there already. */
static lk_status add_sources(transfer *t, const char *folder, bool replace)
{
    const size_t length = strlen(folder);

    for (int i = 0; i < t->file->arrays.n; i++) {
        const char *path = t->file->arrays.item[i].name;
        char *name = NULL;

        if (strncmp(path, folder, length) != 0 || strchr(path + length, '/') == NULL)
            continue;
        LK_TRY(name_source(t->config, path, length, &name));
        source *s = find_source(t, name);
        if (s == NULL) {
            t->source[t->n++] = (source){i, name};
            continue;
        }
        if (replace) {
            s->array = i;
            lk_free(name);
            continue;
        }
        const lk_status st = LK_FAIL(LK_E_CONFIG, "train.init_from.rename: %s and %s would both be called %s", t->file->arrays.item[s->array].name, path, name);
        lk_free(name);
        return st;
    }
    return LK_OK;
}

static void say_skipped(transfer *t, int param, const char *why, bool matched)
{
    lk_log(LK_LOG_INFO, "init_from: skipped %s: %s", t->graph->param[param].name, why);
    t->skipped++;
    if (matched && t->missing++ == 0)
        t->first_missing = param;
}

static lk_status load_param(transfer *t, int param, float *weights)
{
    const lk_param *p = &t->graph->param[param];
    const source *s = find_source(t, p->name);
    char ours[LK_SHAPE_TEXT], theirs[LK_SHAPE_TEXT], why[2 * LK_SHAPE_TEXT + 64];

    if (fnmatch(t->config->train.init_from.match, p->name, 0) != 0) {
        say_skipped(t, param, "does not match", false);
        return LK_OK;
    }
    if (s == NULL) {
        say_skipped(t, param, "the checkpoint has no such name", true);
        return LK_OK;
    }
    const lki_array *a = &t->file->arrays.item[s->array];
    lk_shape_print(&p->info.shape, ours);
    if (!lk_shape_equal(&a->shape, &p->info.shape)) {
        snprintf(why, sizeof why, "it is %s, in the checkpoint %s", ours, lk_shape_print(&a->shape, theirs));
        say_skipped(t, param, why, true);
        return LK_OK;
    }
    LK_TRY(lki_file_read(t->file, s->array, weights + p->first));
    lk_log(LK_LOG_INFO, "init_from: loaded %s %s from %s", p->name, ours, a->name);
    t->loaded++;
    return LK_OK;
}

/* "conv1.weight, conv1.bias, ..." */
static void list_first(lk_buf *out, const char *name, int i)
{
    if (i < 3)
        lk_buf_printf(out, "%s%s", i > 0 ? ", " : "", name);
    else if (i == 3)
        lk_buf_add(out, ", ...");
}

static lk_status fail_empty(const transfer *t)
{
    lk_buf ours = {0}, theirs = {0};
    lk_status st;

    for (int i = 0; i < t->n; i++)
        list_first(&theirs, t->source[i].name, i);
    for (int i = 0, n = 0; i < t->graph->n_params; i++)
        if (fnmatch(t->config->train.init_from.match, t->graph->param[i].name, 0) == 0)
            list_first(&ours, t->graph->param[i].name, n++);
    if (ours.len == 0)
        st = LK_FAIL(LK_E_CONFIG, "no parameter of this model is called like \"%.80s\" (train.init_from.match); the first is %s", t->config->train.init_from.match, t->graph->n_params > 0 ? t->graph->param[0].name : "none");
    else
        st = LK_FAIL(LK_E_CONFIG, "no name and shape fits: it has %s, and this model %s (train.init_from.rename changes the beginnings of its names)", theirs.len > 0 ? lk_buf_text(&theirs) : "no weights", lk_buf_text(&ours));
    lk_buf_fini(&ours);
    lk_buf_fini(&theirs);
    return st;
}

static lk_status load_all(transfer *t, const char *folder, float *weights)
{
    lk_status st = lki_checkpoint_open(folder, &t->file);

    if (st != LK_OK)
        return lki_checkpoint_fail(st, folder);
    LK_TRY(lk_alloc_array(t->file->arrays.n, sizeof *t->source, "arrays to start from", &t->source));
    LK_TRY(add_sources(t, "weights/", false));
    if (t->config->train.init_from.ema)
        LK_TRY(add_sources(t, "ema/", true));
    for (int i = 0; i < t->graph->n_params; i++)
        LK_TRY(load_param(t, i, weights));
    if (t->loaded == 0)
        return lk_err_prefix(fail_empty(t), "%s: ", folder);
    if (t->config->train.init_from.strict && t->missing > 0)
        return LK_FAIL(LK_E_CONFIG, "%s: %" PRId64 " of this model's parameters are not in it in their shapes, the first is %s (train.init_from.strict)", folder, t->missing, t->graph->param[t->first_missing].name);
    return LK_OK;
}

/* Rank 0. */
static lk_status read_transfer(lk_run *r)
{
    const lk_init_from_opts *o = &r->config->train.init_from;
    transfer t = {.config = r->config, .graph = r->graph};
    char *folder = NULL, where[256];
    lk_status st;

    st = lk_checkpoint_resolve(o->checkpoint, &folder);
    if (st == LK_OK)
        st = load_all(&t, folder, r->host);
    if (st != LK_OK)
        lk_err_prefix(st, "%s: train.init_from: ", lk_config_where(r->config, "train.init_from.checkpoint", where, sizeof where));
    r->loaded = t.loaded;
    r->skipped = t.skipped;
    for (int i = 0; i < t.n; i++)
        lk_free(t.source[i].name);
    lk_free(t.source);
    lki_file_close(&t.file);
    lk_free(folder);
    return st;
}

lk_status lki_transfer(lk_run *r)
{
    if (r->config->train.init_from.checkpoint == NULL)
        return LK_OK;
    LK_TRY(lk_comm_agree(r->comm, r->rank == 0 ? read_transfer(r) : LK_OK));
    return lk_comm_bcast(r->comm, 0, r->host, (size_t)r->graph->flat * sizeof *r->host);
}
