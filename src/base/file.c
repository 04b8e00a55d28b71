#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

static lk_status write_all(int fd, const char *path, const char *data, size_t n)
{
    while (n > 0) {
        const ssize_t done = write(fd, data, n < INT32_MAX ? n : INT32_MAX);
        if (done < 0 && errno == EINTR)
            continue;
        LK_TRY(LK_SYS(done < 0, "write", path));
        data += done;
        n -= (size_t)done;
    }
    return LK_OK;
}

/* Up to n bytes, fewer only at the end of the file. */
static lk_status read_some(int fd, const char *path, char *to, size_t n, size_t *got)
{
    size_t have = 0;

    while (have < n) {
        const ssize_t done = read(fd, to + have, n - have < INT32_MAX ? n - have : INT32_MAX);
        if (done < 0 && errno == EINTR)
            continue;
        LK_TRY(LK_SYS(done < 0, "read", path));
        if (done == 0)
            break;
        have += (size_t)done;
    }
    *got = have;
    return LK_OK;
}

/* Some file systems know no sync of a folder; there is nothing more to do on those. */
static bool sync_failed(int fd)
{
    return fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP;
}

lk_status lk_file_sync(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    LK_TRY(LK_SYS(fd < 0, "open", path));
    const lk_status st = LK_SYS(sync_failed(fd), "sync", path);
    close(fd);
    return st;
}

/* All of a file's content on disk under `path`. */
static lk_status write_new(const char *path, const void *data, size_t bytes)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    lk_status st;

    LK_TRY(LK_SYS(fd < 0, "create", path));
    LK_TRY_TO(st, out, write_all(fd, path, data, bytes));
    LK_TRY_TO(st, out, LK_SYS(sync_failed(fd), "sync", path));
out:
    if (close(fd) != 0 && st == LK_OK)
        st = LK_SYS(true, "close", path);
    if (st != LK_OK)
        unlink(path);
    return st;
}

lk_status lk_file_write_atomic(const char *path, const void *data, size_t bytes)
{
    char *folder = NULL;
    lk_buf beside = {0};
    lk_status st;

    lk_buf_printf(&beside, "%s.tmp.%ld", path, (long)getpid());
    LK_TRY_TO(st, out, lk_buf_status(&beside));
    LK_TRY_TO(st, out, lk_path_dir(path, &folder));
    LK_TRY_TO(st, out, write_new(beside.text, data, bytes));
    st = LK_SYS(rename(beside.text, path) != 0, "rename to this name", path);
    if (st != LK_OK) {
        unlink(beside.text);
        goto out;
    }
    LK_TRY_TO(st, out, lk_file_sync(folder));
out:
    lk_free(folder);
    lk_buf_fini(&beside);
    return st;
}

lk_status lk_file_read(const char *path, size_t max_bytes, char **out, size_t *bytes)
{
    char *text = NULL;
    size_t have = 0, got, cap;
    struct stat s;
    lk_status st;

    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    LK_TRY(LK_SYS(fd < 0, "open", path));
    LK_TRY_TO(st, out, LK_SYS(fstat(fd, &s) != 0, "stat", path));
    /* The size is a hint: pipes and /proc say 0. One byte more than it says finds the end in the first round. */
    cap = s.st_size > 0 && (max_bytes == 0 || (size_t)s.st_size <= max_bytes) ? (size_t)s.st_size + 2 : 4096;
    LK_TRY_TO(st, out, lk_alloc_array((int64_t)cap, 1, "file content", &text));
    for (;;) {
        LK_TRY_TO(st, out, read_some(fd, path, text + have, cap - 1 - have, &got));
        have += got;
        if (max_bytes > 0 && have > max_bytes) {
            st = LK_FAIL(LK_E_RANGE, "%s: the file is longer than %zu bytes", path, max_bytes);
            goto out;
        }
        if (have < cap - 1)
            break;
        LK_TRY_TO(st, out, lk_realloc_array((int64_t)cap, (int64_t)cap * 2, 1, "file content", &text));
        cap *= 2;
    }
    text[have] = 0;
    *out = text;
    text = NULL;
    if (bytes != NULL)
        *bytes = have;
out:
    lk_free(text);
    close(fd);
    return st;
}

lk_status lk_file_hash(const char *path, lk_hash *out, int64_t *bytes)
{
    char *chunk = NULL;
    lk_hasher *h = NULL;
    int64_t total = 0;
    size_t got;
    lk_status st;

    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    LK_TRY(LK_SYS(fd < 0, "open", path));
    LK_TRY_TO(st, out, lk_hasher_create(&h));
    LK_TRY_TO(st, out, lk_alloc(CHUNK, "file content", &chunk));
    do {
        LK_TRY_TO(st, out, read_some(fd, path, chunk, CHUNK, &got));
        lk_hasher_add(h, chunk, got);
        total += (int64_t)got;
    } while (got == CHUNK);
    *out = lk_hasher_get(h);
    if (bytes != NULL)
        *bytes = total;
out:
    lk_free(chunk);
    lk_hasher_destroy(&h);
    close(fd);
    return st;
}

bool lk_file_exists(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0;
}

static bool is_dir(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* One level; another process may make it at the same time. */
static lk_status make_level(const char *path)
{
    if (mkdir(path, 0777) == 0)
        return LK_OK;
    const int e = errno;
    if (is_dir(path))
        return LK_OK;
    if (e == EEXIST)
        return LK_FAIL(LK_E_IO, "%s: it is there and is no folder", path);
    errno = e;
    return LK_SYS(true, "create folder", path);
}

lk_status lk_dir_create(const char *path)
{
    char *part = NULL;
    lk_status st;

    if (path[0] == 0)
        return LK_FAIL(LK_E_ARG, "the path of a folder is empty");
    if (is_dir(path))
        return LK_OK;
    LK_TRY(lk_strdup(path, &part));
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        LK_TRY_TO(st, out, make_level(part));
        *slash = '/';
    }
    LK_TRY_TO(st, out, make_level(part));
out:
    lk_free(part);
    return st;
}

/* Empties the open folder `fd`, which it closes. Names are looked up below `fd`, never by path, and folders are opened
 * without following links, so that nobody can swap a link in between. */
static lk_status remove_content(int fd, const char *path)
{
    lk_buf below = {0};
    lk_status st = LK_OK;
    DIR *dir = fdopendir(fd);

    if (dir == NULL) {
        st = LK_SYS(true, "open folder", path);
        close(fd);
        return st;
    }
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL) {
            LK_TRY_TO(st, out, LK_SYS(errno != 0, "read folder", path));
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        lk_buf_clear(&below);
        lk_buf_printf(&below, "%s/%s", path, e->d_name);
        LK_TRY_TO(st, out, lk_buf_status(&below));
        const int child = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (child >= 0) {
            LK_TRY_TO(st, out, remove_content(child, below.text));
            LK_TRY_TO(
                st, out, LK_SYS(unlinkat(fd, e->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT, "remove", below.text));
        } else if (errno == ENOTDIR || errno == ELOOP) {
            LK_TRY_TO(st, out, LK_SYS(unlinkat(fd, e->d_name, 0) != 0 && errno != ENOENT, "remove", below.text));
        } else {
            LK_TRY_TO(st, out, LK_SYS(errno != ENOENT, "open folder", below.text));
        }
    }
out:
    closedir(dir);
    lk_buf_fini(&below);
    return st;
}

lk_status lk_dir_remove(const char *path)
{
    char *plain = NULL;
    struct stat s;
    lk_status st;

    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/')
        n--; /* with a slash behind it a link would be followed */
    if (n == 0)
        return LK_FAIL(LK_E_ARG, "\"%s\" cannot be removed", path);
    LK_TRY(lk_strdup(path, &plain));
    plain[n] = 0;
    if (lstat(plain, &s) != 0) {
        st = LK_SYS(errno != ENOENT, "stat", plain);
        goto out;
    }
    if (S_ISLNK(s.st_mode)) {
        st = LK_SYS(unlink(plain) != 0, "remove", plain);
        goto out;
    }
    const int fd = open(plain, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    LK_TRY_TO(st, out, LK_SYS(fd < 0, "open folder", plain));
    LK_TRY_TO(st, out, remove_content(fd, plain));
    LK_TRY_TO(st, out, LK_SYS(rmdir(plain) != 0 && errno != ENOENT, "remove", plain));
out:
    lk_free(plain);
    return st;
}

lk_status lk_dir_check_writable(const char *path)
{
    char *probe = NULL;
    lk_status st;

    LK_TRY(lk_dir_create(path));
    LK_TRY(lk_path_join(path, ".lockstep.XXXXXX", &probe));
    const int fd = mkostemp(probe, O_CLOEXEC);
    st = LK_SYS(fd < 0, "create a file in this folder", path);
    if (fd >= 0) {
        st = write_all(fd, probe, "?", 1);
        close(fd);
        unlink(probe);
    }
    lk_free(probe);
    return st;
}

lk_status lk_path_join(const char *dir, const char *name, char **out)
{
    lk_buf b = {0};
    const size_t n = strlen(dir);

    if (name[0] != '/' && n > 0) {
        lk_buf_add(&b, dir);
        if (dir[n - 1] != '/')
            lk_buf_add(&b, "/");
    }
    lk_buf_add(&b, name);
    const lk_status st = lk_buf_status(&b);
    if (st != LK_OK) {
        lk_buf_fini(&b);
        return st;
    }
    *out = b.text;
    return LK_OK;
}

lk_status lk_path_dir(const char *path, char **out)
{
    size_t n = strlen(path);
    char *dir = NULL;

    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    LK_TRY(lk_strdup(n > 0 ? path : ".", &dir));
    if (n > 0)
        dir[n] = 0;
    *out = dir;
    return LK_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds a copy of `name` to a list that doubles when it is full. */
static lk_status add_name(char ***list, int *n, int *cap, const char *name)
{
    if (*n == *cap) {
        const int more = *cap < 16 ? 16 : *cap * 2;
        LK_TRY(lk_realloc_array(*cap, more, sizeof(char *), "list of names", list));
        *cap = more;
    }
    LK_TRY(lk_strdup(name, &(*list)[*n]));
    (*n)++;
    return LK_OK;
}

static void sort_names(char **list, int n)
{
    if (n > 1)
        qsort(list, (size_t)n, sizeof list[0], by_bytes);
}

/* A folder that is not there matches nothing; one that cannot be read is an error. */
static int on_glob_error(const char *path, int e)
{
    (void)path;
    errno = e;
    return e != ENOENT && e != ENOTDIR;
}

lk_status lk_glob(const char *pattern, char ***paths, int *n)
{
    char **list = NULL;
    int count = 0, cap = 0;
    glob_t found = {0};
    lk_status st = LK_OK;

    if (strpbrk(pattern, "*?[") == NULL) {
        LK_TRY_TO(st, out, add_name(&list, &count, &cap, pattern));
    } else {
        const int rc = glob(pattern, GLOB_NOSORT, on_glob_error, &found);
        if (rc == GLOB_NOSPACE) {
            st = LK_FAIL(LK_E_NOMEM, "%s: out of memory for the files that match", pattern);
            goto out;
        }
        LK_TRY_TO(st, out, LK_SYS(rc == GLOB_ABORTED, "look for files that match", pattern));
        for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++) {
            if (!is_dir(found.gl_pathv[i]))
                LK_TRY_TO(st, out, add_name(&list, &count, &cap, found.gl_pathv[i]));
        }
    }
    sort_names(list, count);
    *paths = list;
    *n = count;
    list = NULL;
out:
    lk_strings_free(&list, count);
    globfree(&found);
    return st;
}

lk_status lk_dir_list(const char *path, char ***names, int *n)
{
    char **list = NULL;
    int count = 0, cap = 0;
    lk_status st;

    DIR *dir = opendir(path);
    LK_TRY(LK_SYS(dir == NULL, "open folder", path));
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL) {
            LK_TRY_TO(st, out, LK_SYS(errno != 0, "read folder", path));
            break;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            LK_TRY_TO(st, out, add_name(&list, &count, &cap, e->d_name));
    }
    sort_names(list, count);
    *names = list;
    *n = count;
    list = NULL;
out:
    lk_strings_free(&list, count);
    closedir(dir);
    return st;
}

void lk_strings_free(char ***list, int n)
{
    if (*list != NULL) {
        for (int i = 0; i < n; i++)
            lk_free((*list)[i]);
    }
    lk_free(*list);
    *list = NULL;
}
