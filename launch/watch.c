/* The flight records of a job, and its processes. */
#include "launch/launch_int.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

lk_status lki_watch_create(int ranks, lki_watch *out)
{
    const char *tmp = getenv("TMPDIR");
    lki_watch w = {.ranks = ranks, .first = -1};
    lk_buf name = {0};
    lk_status st;

    lk_buf_printf(&name, "%s/lockstep-XXXXXX", tmp != NULL && tmp[0] != 0 ? tmp : "/tmp");
    LK_TRY_TO(st, out, lk_buf_status(&name));
    LK_TRY_TO(st, out, lk_alloc_array(ranks, sizeof *w.seen, "flight records", &w.seen));
    LK_TRY_TO(st, out, lk_strdup(name.text, &w.folder));
    if (mkdtemp(w.folder) == NULL) {
        st = LK_SYS(true, "create a folder of this kind", name.text);
        goto out;
    }
    *out = w;
out:
    lk_buf_fini(&name);
    if (st != LK_OK) {
        lk_free(w.folder);
        lk_free(w.seen);
    }
    return st;
}

/* Failed before dead before anything else: a rank that noted why knows more than one that is gone. */
static bool tells_more(const lki_watch *w, int rank, int than)
{
    if (than < 0 || w->seen[rank].noted != w->seen[than].noted)
        return than < 0;
    return w->seen[rank].last.state == LK_RECORD_FAILED && w->seen[than].last.state != LK_RECORD_FAILED;
}

void lki_watch_look(lki_watch *w)
{
    char path[4096];

    w->looks++;
    for (int r = 0; r < w->ranks; r++) {
        lki_seen *s = &w->seen[r];
        bool alive;
        snprintf(path, sizeof path, "%s/rank-%04d.rec", w->folder, r);
        if (lk_record_read(path, &s->last, &alive) != LK_OK)
            continue;
        w->n_there += !s->there;
        s->there = true;
        if (s->noted == 0 && (s->last.state == LK_RECORD_FAILED || (s->last.state == LK_RECORD_RUNNING && !alive)))
            s->noted = w->looks;
        if (s->noted == w->looks && tells_more(w, r, w->first))
            w->first = r;
    }
}

bool lki_watch_all_ended(const lki_watch *w)
{
    for (int r = 0; r < w->ranks; r++) {
        const lki_seen *s = &w->seen[r];
        if (s->there && s->noted == 0 && s->last.state == LK_RECORD_RUNNING)
            return false;
    }
    return w->n_there > 0;
}

/* Whether a process has `mark` among its environment's entries. */
static bool has_mark(const char *pid, const char *mark)
{
    char path[64];
    char *text = NULL;
    size_t n = 0;
    bool found = false;

    snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    if (lk_file_read(path, 0, &text, &n) != LK_OK)
        return false; /* gone, or another user's */
    for (size_t at = 0; at < n && !found; at += strlen(text + at) + 1)
        found = strcmp(text + at, mark) == 0;
    lk_free(text);
    return found;
}

int lki_watch_sweep(const lki_watch *w)
{
    lk_buf mark = {0};
    int found = 0;
    DIR *proc = opendir("/proc");

    lk_buf_printf(&mark, "LOCKSTEP_RECORDS=%s", w->folder);
    for (const struct dirent *e; proc != NULL && !mark.failed && (e = readdir(proc)) != NULL;) {
        int64_t pid;
        if (!lk_parse_i64(e->d_name, &pid) || pid <= 1 || pid == getpid() || !has_mark(e->d_name, mark.text))
            continue;
        found++;
        kill((pid_t)pid, SIGKILL);
    }
    if (proc != NULL)
        closedir(proc);
    lk_buf_fini(&mark);
    return found;
}

void lki_watch_fini(lki_watch *w)
{
    if (w->folder != NULL && lk_dir_remove(w->folder) != LK_OK)
        lk_log_err(lk_err_last());
    lk_free(w->folder);
    lk_free(w->seen);
    *w = (lki_watch){0};
}
