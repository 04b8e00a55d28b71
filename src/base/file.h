/* Files and paths: atomic writing, reading whole files, directories, globbing. Local, all of it. */
#ifndef LK_BASE_FILE_H
#define LK_BASE_FILE_H

#include "base/buf.h"
#include "base/status.h"

/* Writes beside (`path` + ".tmp.<pid>"), syncs, renames, syncs the folder: readers see the old content or the new. On failure
 * nothing is left beside and the old file stands. */
LK_MUST_USE lk_status lk_file_write_atomic(const char *path, const void *data, size_t bytes);
/* Reads the whole file (text gets its end) into *out, owned by the caller (lk_free). max_bytes 0: no limit. */
LK_MUST_USE lk_status lk_file_read(const char *path, size_t max_bytes, char **out, size_t *bytes);
/* 128-bit hash of a file's content, and its size. */
struct lk_hash;
LK_MUST_USE lk_status lk_file_hash(const char *path, struct lk_hash *out, int64_t *bytes);
LK_MUST_USE lk_status lk_file_sync(const char *path);     /* fsync of a file or folder */
LK_MUST_USE lk_status lk_dir_create(const char *path);    /* with parents; an existing one is fine */
LK_MUST_USE lk_status lk_dir_remove(const char *path);    /* with everything in it; absent is fine; never follows links */
LK_MUST_USE lk_status lk_dir_check_writable(const char *path); /* creates it with parents, then tries a file in it */
bool lk_file_exists(const char *path);
/* Joins; an absolute `name` stands alone. Owned by the caller. */
LK_MUST_USE lk_status lk_path_join(const char *dir, const char *name, char **out);
/* The folder part ("." where there is none). Owned by the caller. */
LK_MUST_USE lk_status lk_path_dir(const char *path, char **out);
/* Files that match a pattern, sorted by name in bytes; a pattern without wildcards gives itself, existing or not. */
LK_MUST_USE lk_status lk_glob(const char *pattern, char ***paths, int *n);
/* Names in a folder but . and .., sorted. */
LK_MUST_USE lk_status lk_dir_list(const char *path, char ***names, int *n);
void lk_strings_free(char ***list, int n);

#endif
