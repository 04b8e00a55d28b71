#include "base/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A small file of the system, "" if it is not there; the file is the caller's business only as far as it says something. */
static void read_text(const char *path, char *text, size_t cap)
{
    FILE *f = fopen(path, "re");
    size_t n = 0;

    if (f != NULL) {
        n = fread(text, 1, cap - 1, f);
        fclose(f);
    }
    text[n] = 0;
}

/* The number behind a word at the beginning of a line. */
static bool number_after(const char *text, const char *word, int64_t *out)
{
    const size_t n = strlen(word);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, word, n) == 0)
            return sscanf(line + n, "%" SCNd64, out) == 1;
        if (*line == 0)
            break;
    }
    return false;
}

int64_t lk_resident_bytes(void)
{
    char text[256];
    int64_t all, resident;

    read_text("/proc/self/statm", text, sizeof text);
    return sscanf(text, "%" SCNd64 " %" SCNd64, &all, &resident) == 2 ? resident * sysconf(_SC_PAGESIZE) : 0;
}

typedef struct smallest {
    int64_t bytes;
    char *by;
} smallest;

static void take(smallest *s, int64_t bytes, const char *path)
{
    if (bytes >= s->bytes)
        return;
    s->bytes = bytes > 0 ? bytes : 0;
    snprintf(s->by, LK_AVAILABLE_TEXT, "%.*s", LK_AVAILABLE_TEXT - 1, path);
}

/* How the two versions call the same things. */
typedef struct group_files {
    const char *limit, *usage, *file_pages;
} group_files;

static void look_at_group(const char *folder, const group_files *f, smallest *s)
{
    char path[LK_AVAILABLE_TEXT + 64], text[8192];
    int64_t limit, used, pages = 0;

    snprintf(path, sizeof path, "%s/memory.stat", folder);
    read_text(path, text, sizeof text);
    number_after(text, f->file_pages, &pages);
    snprintf(path, sizeof path, "%s/%s", folder, f->usage);
    read_text(path, text, sizeof text);
    if (!number_after(text, "", &used))
        return;
    snprintf(path, sizeof path, "%s/%s", folder, f->limit);
    read_text(path, text, sizeof text);
    /* "max", and in version 1 a number beyond any memory, stand for no limit. */
    if (number_after(text, "", &limit))
        take(s, limit - (used > pages ? used - pages : 0), path);
}

/* The group and all above it. A process in a container sees its own group as the root, whatever /proc calls it, so folders that are not there are
 * passed over. */
static void look_at_groups(const char *mount, const char *group, const group_files *f, smallest *s)
{
    char folder[LK_AVAILABLE_TEXT];
    const size_t stem = strlen(mount);

    snprintf(folder, sizeof folder, "%s%s", mount, group);
    for (;;) {
        look_at_group(folder, f, s);
        char *last = strrchr(folder, '/');
        if (last == NULL || last < folder + stem)
            break;
        *last = 0;
    }
}

int64_t lk_available_bytes(const char *root, char by[LK_AVAILABLE_TEXT])
{
    static const group_files v1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "};
    static const group_files v2 = {"memory.max", "memory.current", "inactive_file "};
    char path[LK_AVAILABLE_TEXT], text[8192], mount[LK_AVAILABLE_TEXT];
    smallest s = {INT64_MAX, by};
    int64_t kib;

    by[0] = 0;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    read_text(path, text, sizeof text);
    if (number_after(text, "MemAvailable:", &kib))
        take(&s, kib * 1024, path);
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    read_text(path, text, sizeof text);
    for (char *line = text, *end; *line != 0; line = end + 1) {
        end = strchr(line, '\n');
        if (end == NULL)
            break;
        *end = 0;
        /* "0::/path" is version 2, "9:memory:/path" version 1. */
        char *kinds = strchr(line, ':'), *group = kinds == NULL ? NULL : strchr(kinds + 1, ':');
        if (group == NULL)
            continue;
        *group++ = 0;
        const bool second = kinds[1] == 0;
        if (!second && strstr(kinds + 1, "memory") == NULL)
            continue;
        snprintf(mount, sizeof mount, second ? "%s/sys/fs/cgroup" : "%s/sys/fs/cgroup/memory", root);
        look_at_groups(mount, strcmp(group, "/") == 0 ? "" : group, second ? &v2 : &v1, &s);
    }
    return s.bytes;
}
