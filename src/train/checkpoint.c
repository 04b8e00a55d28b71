/* The folders around state.h5: manifest, writing without a moment at which less is on disk than before, finding the
 * newest good one, taking a state from it. One process at a time writes below a folder. */
#include "train/checkpoint_int.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LATEST_NAME "LATEST"
#define BEST_NAME "BEST"
enum { MANIFEST_MAX = 1024, STEP_NAME = 32 };

lk_status lk_state_digest(const lk_graph *g, const lk_state *s, lk_hash *out)
{
    lki_arrays a;

    LK_TRY(lki_arrays_of_state(g, s, &a));
    const lk_status st = lki_digest_arrays(&a, &s->cursor, out);
    lki_arrays_fini(&a);
    return st;
}

/* ---- names of step folders ---- */

static const char *print_step(int64_t step, char name[STEP_NAME])
{
    snprintf(name, STEP_NAME, "step-%08" PRId64, step);
    return name;
}

static bool parse_step(const char *name, int64_t *step)
{
    char again[STEP_NAME];

    return strncmp(name, "step-", 5) == 0 && lk_parse_i64(name + 5, step) &&
           strcmp(name, print_step(*step, again)) == 0;
}

typedef struct step_list {
    int64_t *step; /* rising */
    int n;
} step_list;

static lk_status list_steps(const char *dir, step_list *out)
{
    char **name = NULL;
    int n = 0;
    lk_status st;

    *out = (step_list){0};
    LK_TRY(lk_dir_list(dir, &name, &n));
    LK_TRY_TO(st, out, lk_alloc_array(n, sizeof out->step[0], "list of checkpoints", &out->step));
    for (int i = 0; i < n; i++) {
        int64_t step;
        if (!parse_step(name[i], &step))
            continue;
        /* Sorted by name, they are sorted by number but where one has more digits. */
        int at = out->n++;
        for (; at > 0 && out->step[at - 1] > step; at--)
            out->step[at] = out->step[at - 1];
        out->step[at] = step;
    }
out:
    lk_strings_free(&name, n);
    return st;
}

static lk_status step_path(const char *dir, int64_t step, char **out)
{
    char name[STEP_NAME];

    return lk_path_join(dir, print_step(step, name), out);
}

/* ---- manifest ---- */

/* One line; its last member is the hash of all that stands before that member. */
static void print_manifest(int64_t bytes, lk_hash file, lk_buf *out)
{
    char hash[LK_HASH_TEXT];

    lk_hash_print(file, hash);
    lk_buf_printf(out, "{\"file\":\"" LKI_STATE_NAME "\",\"bytes\":%" PRId64 ",\"xxh3\":\"%s\"", bytes, hash);
    lk_hash_print(lk_hash128(lk_buf_text(out), out->len), hash);
    lk_buf_printf(out, ",\"manifest\":\"%s\"}\n", hash);
}

/* The text must be what print_manifest makes of the values in it, byte for byte: so no bit of it can change unseen. */
static lk_status parse_manifest(const char *text, size_t n, int64_t *bytes, lk_hash *file)
{
    lk_buf again = {0};
    char hash[LK_HASH_TEXT];
    bool good = false;

    if (sscanf(text, "{\"file\":\"" LKI_STATE_NAME "\",\"bytes\":%" SCNd64 ",\"xxh3\":\"%32[0-9a-f]\"", bytes, hash) ==
            2 &&
        strlen(hash) == 32) {
        LK_TRY(lk_hash_parse(hash, file));
        print_manifest(*bytes, *file, &again);
        const lk_status st = lk_buf_status(&again);
        good = st == LK_OK && again.len == n && memcmp(again.text, text, n) == 0;
        lk_buf_fini(&again);
        LK_TRY(st);
    }
    if (!good)
        return LK_FAIL(LK_E_DATA, LKI_MANIFEST_NAME ": its %zu bytes are not what was written", n);
    return LK_OK;
}

static lk_status read_manifest(const char *folder, int64_t *bytes, lk_hash *file)
{
    char *path = NULL, *text = NULL;
    size_t n;
    lk_status st;

    LK_TRY(lk_path_join(folder, LKI_MANIFEST_NAME, &path));
    st = lk_file_read(path, MANIFEST_MAX, &text, &n);
    if (st == LK_OK)
        st = parse_manifest(text, n, bytes, file);
    else if (st == LK_E_NOT_FOUND)
        st = LK_FAIL(LK_E_DATA, LKI_MANIFEST_NAME " is missing");
    else if (st == LK_E_RANGE)
        st = LK_FAIL(LK_E_DATA, LKI_MANIFEST_NAME " is longer than %d bytes", MANIFEST_MAX);
    lk_free(text);
    lk_free(path);
    return st;
}

/* Compares state.h5 with the manifest; its path to *state (may be NULL). */
static lk_status check_manifest(const char *folder, char **state)
{
    char *path = NULL;
    int64_t said, is;
    lk_hash said_hash, is_hash;
    struct stat s;
    lk_status st;

    LK_TRY(read_manifest(folder, &said, &said_hash));
    LK_TRY(lk_path_join(folder, LKI_STATE_NAME, &path));
    if (stat(path, &s) != 0) {
        st = errno == ENOENT ? LK_FAIL(LK_E_DATA, LKI_STATE_NAME " is missing") : LK_SYS(true, "stat", path);
        goto out;
    }
    if (s.st_size != said) {
        st = LK_FAIL(LK_E_DATA, LKI_STATE_NAME ": %" PRId64 " bytes, manifest says %" PRId64, (int64_t)s.st_size, said);
        goto out;
    }
    LK_TRY_TO(st, out, lk_file_hash(path, &is_hash, &is));
    if (is != said || !lk_hash_equal(is_hash, said_hash)) {
        char text[2][LK_HASH_TEXT];
        lk_hash_print(is_hash, text[0]);
        lk_hash_print(said_hash, text[1]);
        st = LK_FAIL(LK_E_DATA, LKI_STATE_NAME ": its content has the hash %s, manifest says %s", text[0], text[1]);
        goto out;
    }
    if (state != NULL) {
        *state = path;
        path = NULL;
    }
out:
    lk_free(path);
    return st;
}

/* ---- checking ---- */

lk_status lki_checkpoint_folder(const char *path, char **out)
{
    const char *name = strrchr(path, '/');
    struct stat s;

    LK_TRY(LK_SYS(stat(path, &s) != 0, "open checkpoint", path));
    if (S_ISDIR(s.st_mode))
        return lk_strdup(path, out);
    name = name != NULL ? name + 1 : path;
    if (strcmp(name, LKI_STATE_NAME) != 0 && strcmp(name, LKI_MANIFEST_NAME) != 0)
        return LK_FAIL(LK_E_FORMAT, "%s: no checkpoint: neither a step folder nor the " LKI_STATE_NAME " in one", path);
    return lk_path_dir(path, out);
}

lk_status lki_checkpoint_open(const char *folder, lki_file **out)
{
    char *state = NULL;

    LK_TRY(check_manifest(folder, &state));
    const lk_status st = lki_file_open(state, out);
    lk_free(state);
    return st;
}

/* Whether the file, not the machine, is to blame. */
static bool is_damage(lk_status st)
{
    return st == LK_E_DATA || st == LK_E_FORMAT || st == LK_E_NOT_FOUND || st == LK_E_SHAPE;
}

lk_status lki_checkpoint_fail(lk_status st, const char *folder)
{
    return lk_err_prefix(st, is_damage(st) ? "%s: damaged: " : "%s: ", folder);
}

/* All checks; the message is without the folder. */
static lk_status check_folder(const char *folder)
{
    lki_file *f = NULL;

    LK_TRY(lki_checkpoint_open(folder, &f));
    const lk_status st = lki_file_pass(f, NULL, NULL);
    lki_file_close(&f);
    return st;
}

lk_status lk_checkpoint_verify(const char *path)
{
    char *folder = NULL;

    LK_TRY(lki_checkpoint_folder(path, &folder));
    lk_status st = check_folder(folder);
    if (st != LK_OK)
        lki_checkpoint_fail(st, folder);
    lk_free(folder);
    return st;
}

/* ---- finding ---- */

/* The step that LATEST names, or INT64_MAX where it names none that is there. */
static lk_status read_latest(const char *dir, const step_list *steps, int64_t *out)
{
    char *path = NULL, *text = NULL;
    int64_t step = 0;
    lk_status st = LK_OK;

    *out = INT64_MAX;
    LK_TRY(lk_path_join(dir, LATEST_NAME, &path));
    if (!lk_file_exists(path)) /* the first checkpoint was not finished, or step folders were copied without it */
        goto out;
    LK_TRY_TO(st, out, lk_file_read(path, 0, &text, NULL));
    text[strcspn(text, "\r\n")] = 0;
    if (!parse_step(text, &step)) {
        lk_log(LK_LOG_WARN, "%s does not name a checkpoint; taking the newest good one", path);
        goto out;
    }
    for (int i = 0; i < steps->n; i++)
        *out = steps->step[i] == step ? step : *out;
    if (*out != step)
        lk_log(LK_LOG_WARN, "%s names %s, which is not there; taking the newest good one", path, text);
out:
    lk_free(text);
    lk_free(path);
    return st;
}

lk_status lk_checkpoint_find(const char *dir, char **path)
{
    step_list steps = {0};
    char *folder = NULL;
    int64_t latest;
    lk_status st;

    if (!lk_file_exists(dir)) {
        *path = NULL;
        return LK_OK;
    }
    LK_TRY(list_steps(dir, &steps));
    LK_TRY_TO(st, out, read_latest(dir, &steps, &latest));
    for (int i = steps.n - 1; i >= 0; i--) {
        if (steps.step[i] > latest)
            continue;
        LK_TRY_TO(st, out, step_path(dir, steps.step[i], &folder));
        st = check_folder(folder);
        if (st == LK_OK) {
            *path = folder;
            folder = NULL;
            goto out;
        }
        if (st == LK_E_NOMEM)
            goto out;
        lk_log(LK_LOG_WARN, "checkpoint %s %s (%s); %s", folder, is_damage(st) ? "is damaged" : "cannot be used",
            lk_err_last()->message, i > 0 ? "taking the one before" : "there is none before it");
        lk_free(folder);
        folder = NULL;
    }
    *path = NULL;
    st = LK_OK;
out:
    lk_free(folder);
    lk_free(steps.step);
    return st;
}

lk_status lk_checkpoint_resolve(const char *path, char **out)
{
    char *manifest = NULL, *state = NULL, *below = NULL, *found = NULL;
    struct stat s;
    lk_status st;

    LK_TRY(LK_SYS(stat(path, &s) != 0, "open checkpoint or run", path));
    if (!S_ISDIR(s.st_mode))
        return lki_checkpoint_folder(path, out);
    LK_TRY_TO(st, out, lk_path_join(path, LKI_MANIFEST_NAME, &manifest));
    LK_TRY_TO(st, out, lk_path_join(path, LKI_STATE_NAME, &state));
    if (lk_file_exists(manifest) || lk_file_exists(state)) {
        LK_TRY_TO(st, out, lk_strdup(path, out));
        goto out;
    }
    LK_TRY_TO(st, out, lk_path_join(path, "checkpoints", &below));
    LK_TRY_TO(st, out, lk_checkpoint_find(lk_file_exists(below) ? below : path, &found));
    if (found == NULL) {
        st = LK_FAIL(LK_E_NOT_FOUND, "%s: there is no good checkpoint in it", path);
        goto out;
    }
    *out = found;
out:
    lk_free(below);
    lk_free(state);
    lk_free(manifest);
    return st;
}

/* ---- writing ---- */

/* Removes what is in the way after `st`, whose message stays. */
static lk_status remove_after(lk_status st, const char *path)
{
    lk_err why;

    lk_err_take(&why);
    if (lk_dir_remove(path) != LK_OK)
        lk_log(LK_LOG_WARN, "%s is left behind: %s", path, lk_err_last()->message);
    return st == LK_OK ? LK_OK : lk_err_give(&why);
}

/* "step-00000120.tmp.4711", "LATEST.tmp.4711": of a process that is no more, or of this one, which is not writing. */
static bool is_leftover(const char *name)
{
    const char *tmp = strstr(name, ".tmp.");
    int64_t pid;

    if (tmp == NULL || (strncmp(name, "step-", 5) != 0 && strncmp(name, LATEST_NAME, strlen(LATEST_NAME)) != 0))
        return false;
    if (!lk_parse_i64(tmp + 5, &pid) || pid <= 0 || pid > INT32_MAX)
        return false;
    return pid == getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

static lk_status remove_leftovers(const char *dir)
{
    char **name = NULL;
    int n = 0;
    lk_status st = LK_OK;

    LK_TRY(lk_dir_list(dir, &name, &n));
    for (int i = 0; i < n && st == LK_OK; i++) {
        char *path = NULL;
        if (!is_leftover(name[i]))
            continue;
        st = lk_path_join(dir, name[i], &path);
        if (st == LK_OK && unlink(path) != 0)
            st = lk_dir_remove(path);
        lk_free(path);
    }
    lk_strings_free(&name, n);
    return st;
}

static lk_status write_folder(const char *folder, const lk_graph *g, const lk_state *s, const lk_checkpoint_meta *m)
{
    char *state = NULL, *manifest = NULL;
    lki_arrays arrays = {0};
    lk_buf text = {0};
    lk_hash hash;
    int64_t bytes;
    lk_status st;

    LK_TRY_TO(st, out, lk_path_join(folder, LKI_STATE_NAME, &state));
    LK_TRY_TO(st, out, lk_path_join(folder, LKI_MANIFEST_NAME, &manifest));
    LK_TRY_TO(st, out, lki_arrays_of_state(g, s, &arrays));
    LK_TRY_TO(st, out, lk_dir_create(folder));
    LK_TRY_TO(st, out, lki_file_write(state, &arrays, s, m));
    LK_TRY_TO(st, out, lk_file_sync(state));
    LK_TRY_TO(st, out, lk_file_hash(state, &hash, &bytes));
    print_manifest(bytes, hash, &text);
    LK_TRY_TO(st, out, lk_buf_status(&text));
    LK_TRY_TO(st, out, lk_file_write_atomic(manifest, text.text, text.len)); /* syncs the folder too */
out:
    lk_buf_fini(&text);
    lki_arrays_fini(&arrays);
    lk_free(manifest);
    lk_free(state);
    return st;
}

/* Puts `beside` in the place of `folder`. What was there before lies at `beside` after; `aside` is a free name. */
static lk_status put_in_place(const char *beside, const char *folder, const char *aside)
{
    if (!lk_file_exists(folder))
        return LK_SYS(rename(beside, folder) != 0, "rename to this name", folder);
    if (renameat2(AT_FDCWD, beside, AT_FDCWD, folder, RENAME_EXCHANGE) == 0)
        return LK_OK;
    /* A file system that cannot exchange two names. */
    LK_TRY(LK_SYS(rename(folder, aside) != 0, "rename", folder));
    const lk_status st = LK_SYS(rename(beside, folder) != 0, "rename to this name", folder);
    if (rename(aside, st == LK_OK ? beside : folder) != 0)
        lk_log(LK_LOG_WARN, "%s is left behind: rename: %s", aside, strerror(errno));
    return st;
}

/* Reading back must ask the disk, not the memory that was just written from. */
static void drop_cached(const char *folder)
{
    char *state = NULL;

    if (lk_path_join(folder, LKI_STATE_NAME, &state) != LK_OK)
        return;
    const int fd = open(state, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    lk_free(state);
}

/* From a complete `beside` to a verified `folder`; where that fails, what was at `folder` is there again. */
static lk_status publish(const char *dir, const char *beside, const char *folder, const char *aside)
{
    const bool replaces = lk_file_exists(folder);
    lk_err why;
    lk_status st;

    LK_TRY(put_in_place(beside, folder, aside));
    LK_TRY_TO(st, fail, lk_file_sync(dir));
    drop_cached(folder);
    st = check_folder(folder);
    if (st != LK_OK) {
        lk_err_prefix(st, "%s: read back after writing: ", folder);
        goto fail;
    }
    return LK_OK;

fail:
    lk_err_take(&why);
    st = replaces ? put_in_place(beside, folder, aside) : LK_SYS(rename(folder, beside) != 0, "rename", folder);
    if (st != LK_OK)
        lk_log(LK_LOG_WARN, "%s", lk_err_last()->message);
    return lk_err_give(&why);
}

/* Removes a step folder under a temporary name, so that nobody meets a half-removed one. */
static lk_status remove_step(const char *folder)
{
    lk_buf gone = {0};
    lk_status st;

    lk_buf_printf(&gone, "%s.tmp.%ld", folder, (long)getpid());
    LK_TRY_TO(st, out, lk_buf_status(&gone));
    LK_TRY_TO(st, out, LK_SYS(rename(folder, gone.text) != 0, "rename", folder));
    LK_TRY_TO(st, out, lk_dir_remove(gone.text));
out:
    lk_buf_fini(&gone);
    return st;
}

static bool is_best(const lk_watch *w, int64_t step)
{
    for (int i = 0; i < w->n_best; i++)
        if (w->best[i].step == step)
            return true;
    return false;
}

/* Of the checkpoints up to `newest`, which is good, the newest `keep` good ones stay, and the best. So do damaged ones
 * between the newest, for a person to look at. */
static lk_status prune(const char *dir, int64_t newest, int64_t keep, const lk_watch *w)
{
    step_list steps = {0};
    int64_t good = 0;
    lk_status st;

    LK_TRY(list_steps(dir, &steps));
    for (int i = steps.n - 1; i >= 0; i--) {
        char *folder = NULL;
        if (steps.step[i] > newest)
            continue;
        LK_TRY_TO(st, out, step_path(dir, steps.step[i], &folder));
        if (good >= keep)
            st = is_best(w, steps.step[i]) ? LK_OK : remove_step(folder);
        else if (steps.step[i] == newest || check_manifest(folder, NULL) == LK_OK)
            good++;
        lk_free(folder);
        if (st != LK_OK)
            goto out;
    }
out:
    lk_free(steps.step);
    return st;
}

/* `file` in `dir` names this step. */
static lk_status write_name(const char *dir, const char *file, int64_t step)
{
    char name[STEP_NAME], line[STEP_NAME + 1], *latest = NULL;

    LK_TRY(lk_path_join(dir, file, &latest));
    const int n = snprintf(line, sizeof line, "%s\n", print_step(step, name));
    const lk_status st = lk_file_write_atomic(latest, line, (size_t)n);
    lk_free(latest);
    return st;
}

lk_status lk_checkpoint_write(
    const char *dir, const lk_graph *g, const lk_state *s, const lk_checkpoint_meta *m, int64_t keep, char **path)
{
    char *folder = NULL;
    lk_buf beside = {0}, aside = {0};
    lk_status st;

    LK_TRY(lk_dir_create(dir));
    if (remove_leftovers(dir) != LK_OK)
        lk_log(LK_LOG_WARN, "%s", lk_err_last()->message);
    LK_TRY_TO(st, out, step_path(dir, s->cursor.step, &folder));
    lk_buf_printf(&beside, "%s.tmp.%ld", folder, (long)getpid());
    lk_buf_printf(&aside, "%s.old.tmp.%ld", folder, (long)getpid());
    LK_TRY_TO(st, out, lk_buf_status(&beside));
    LK_TRY_TO(st, out, lk_buf_status(&aside));

    st = write_folder(beside.text, g, s, m);
    if (st == LK_OK)
        st = publish(dir, beside.text, folder, aside.text);
    LK_TRY_TO(st, out, remove_after(st, beside.text)); /* what failed, or what was replaced */
    LK_TRY_TO(st, out, write_name(dir, LATEST_NAME, s->cursor.step));
    if (s->watch.n_best > 0)
        LK_TRY_TO(st, out, write_name(dir, BEST_NAME, s->watch.best[0].step));
    if (keep > 0 && prune(dir, s->cursor.step, keep, &s->watch) != LK_OK)
        lk_log(LK_LOG_WARN, "an old checkpoint could not be removed: %s", lk_err_last()->message);
    if (path != NULL) {
        *path = folder;
        folder = NULL;
    }
out:
    lk_buf_fini(&aside);
    lk_buf_fini(&beside);
    lk_free(folder);
    return st;
}

/* ---- reading ---- */

/* Arrays of one kind have the same first letter: weights, optimizer, ema, carry. */
static lk_status fail_other(const char *folder, char kind, const lki_array *theirs, const lki_array *ours)
{
    char a[LK_SHAPE_TEXT], b[LK_SHAPE_TEXT];

    if (kind == 'e' && theirs == NULL)
        return LK_FAIL(LK_E_CONFIG, "%s: holds no running means of the weights (%s): it was made without train.ema", folder, ours->name);
    if (kind == 'e' && ours == NULL)
        return LK_FAIL(LK_E_CONFIG, "%s: holds running means of the weights (%s): it was made with train.ema, which the config does not set", folder, theirs->name);
    const char *what = kind == 'o' ? "optimizer" : "model";
    if (ours == NULL)
        return LK_FAIL(LK_E_CONFIG, "%s: made by another %s: it holds %s %s, which the config has no place for", folder,
            what, theirs->name, lk_shape_print(&theirs->shape, a));
    if (theirs == NULL)
        return LK_FAIL(LK_E_CONFIG, "%s: made by another %s: %s %s of the config is not in it", folder, what,
            ours->name, lk_shape_print(&ours->shape, a));
    return LK_FAIL(LK_E_CONFIG, "%s: made by another %s: %s is %s in it and %s by the config", folder, what, ours->name,
        lk_shape_print(&theirs->shape, a), lk_shape_print(&ours->shape, b));
}

/* Fails with the first array of a kind that differs in name or shape. Both lists are sorted. */
static lk_status compare_names(const char *folder, const lki_arrays *theirs, const lki_arrays *ours, char kind)
{
    int i = 0, k = 0;

    for (;;) {
        while (i < theirs->n && theirs->item[i].name[0] != kind)
            i++;
        while (k < ours->n && ours->item[k].name[0] != kind)
            k++;
        const lki_array *a = i < theirs->n ? &theirs->item[i++] : NULL, *b = k < ours->n ? &ours->item[k++] : NULL;
        if (a == NULL && b == NULL)
            return LK_OK;
        const int order = a == NULL ? 1 : b == NULL ? -1 : strcmp(a->name, b->name);
        if (order != 0)
            return fail_other(folder, kind, order < 0 ? a : NULL, order > 0 ? b : NULL);
        if (!lk_shape_equal(&a->shape, &b->shape))
            return fail_other(folder, kind, a, b);
    }
}

static lk_status read_arrays(const lki_file *f, const lki_arrays *ours, const lk_graph *g, lk_state *s)
{
    memset(s->weights, 0, (size_t)g->flat * sizeof(float));
    for (int k = 0; k < s->n_state; k++)
        memset(s->state[k], 0, (size_t)g->flat * sizeof(float));
    if (s->ema != NULL)
        memset(s->ema, 0, (size_t)g->flat * sizeof(float));
    for (int i = 0, k = 0; k < ours->n; i++) {
        if (strcmp(f->arrays.item[i].name, ours->item[k].name) != 0)
            continue; /* what was not asked for */
        LK_TRY(lki_file_read(f, i, ours->item[k].data));
        k++;
    }
    for (int i = 0; s->ema != NULL && i < g->n_params; i++) {
        const lk_param *p = &g->param[i];
        if (p->info.kind != LK_PARAM_WEIGHT)
            memcpy(s->ema + p->first, s->weights + p->first, (size_t)p->count * sizeof(float));
    }
    return LK_OK;
}

lk_status lk_checkpoint_read(const char *path, const lk_graph *g, lk_state *s, lk_checkpoint_meta *m)
{
    char *folder = NULL;
    lki_file *f = NULL;
    lki_arrays ours = {0};
    lk_status st;

    LK_TRY(lki_checkpoint_folder(path, &folder));
    LK_TRY_TO(st, out, lki_arrays_of_state(g, s, &ours));
    st = lki_checkpoint_open(folder, &f);
    if (st != LK_OK) {
        lki_checkpoint_fail(st, folder);
        goto out;
    }
    LK_TRY_TO(st, out, compare_names(folder, &f->arrays, &ours, 'w'));
    if (s->n_state > 0)
        LK_TRY_TO(st, out, compare_names(folder, &f->arrays, &ours, 'o'));
    if (s->n_state > 0 || s->carry != NULL)
        LK_TRY_TO(st, out, compare_names(folder, &f->arrays, &ours, 'c'));
    if (s->n_state > 0 || s->ema != NULL)
        LK_TRY_TO(st, out, compare_names(folder, &f->arrays, &ours, 'e'));
    st = read_arrays(f, &ours, g, s);
    if (st != LK_OK) {
        lki_checkpoint_fail(st, folder);
        goto out;
    }
    s->cursor = f->cursor;
    s->watch = f->watch;
    if (m != NULL) {
        *m = f->meta;
        m->config = NULL; /* goes with the file */
        f->meta.normalization = NULL;
    }
out:
    lki_arrays_fini(&ours);
    lki_file_close(&f);
    lk_free(folder);
    return st;
}

lk_status lk_checkpoint_digest(const char *path, lk_hash *out, lk_cursor *cursor)
{
    char *folder = NULL;
    lki_file *f = NULL;
    lk_status st;

    LK_TRY(lki_checkpoint_folder(path, &folder));
    st = lki_checkpoint_open(folder, &f);
    if (st == LK_OK)
        st = lki_file_pass(f, NULL, NULL); /* the digest of what is there is the one that was written, or this fails */
    if (st != LK_OK) {
        lki_checkpoint_fail(st, folder);
        goto out;
    }
    *out = f->digest;
    if (cursor != NULL)
        *cursor = f->cursor;
out:
    lki_file_close(&f);
    lk_free(folder);
    return st;
}
