/* Folders whose files are samples: which files, of which classes, in which order. */
#include "base/file.h"
#include "base/mem.h"
#include "data/import/import_int.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static void free_item(lki_item *k)
{
    lk_free(k->path);
    lk_free(k->class_name);
}

void lki_items_fini(lki_items *f)
{
    for (int64_t i = 0; i < f->n; i++)
        free_item(&f->item[i]);
    lk_free(f->item);
    lki_names_fini(&f->classes);
    *f = (lki_items){0};
}

static bool has_ending(const char *name, const char *const *endings)
{
    const char *dot = strrchr(name, '.');

    for (; dot != NULL && *endings != NULL; endings++)
        if (strcasecmp(dot, *endings) == 0)
            return true;
    return false;
}

static lk_status add_item(lki_items *f, const char *folder, const char *name, const char *class_name, size_t length)
{
    if (f->n == f->room) {
        const int64_t room = f->room == 0 ? 64 : 2 * f->room;
        LK_TRY(lk_realloc_array(f->n, room, sizeof f->item[0], "files of a folder", &f->item));
        f->room = room;
    }
    lki_item *k = &f->item[f->n];
    *k = (lki_item){0};
    f->n++; /* so that half an item is freed, too */
    LK_TRY(lk_path_join(folder, name, &k->path));
    LK_TRY(lk_alloc(length + 1, "name of a class", &k->class_name));
    memcpy(k->class_name, class_name, length);
    return LK_OK;
}

static void number_classes(lki_items *f)
{
    for (int64_t i = 0; i < f->n; i++)
        f->item[i].label = lki_names_find(&f->classes, f->item[i].class_name, strlen(f->item[i].class_name));
}

static lk_status list_folder(const char *folder, char ***names, int *n)
{
    struct stat s;

    LK_TRY(LK_SYS(stat(folder, &s) != 0, "open", folder));
    if (!S_ISDIR(s.st_mode))
        return LK_FAIL(LK_E_FORMAT, "%s: not a folder", folder);
    LK_TRY(lk_dir_list(folder, names, n));
    return LK_OK;
}

/* ---- a folder a class ---- */

static lk_status add_class_folder(lki_items *f, const char *folder, const char *name, const char *const *endings)
{
    char *path = NULL, **names = NULL;
    int n = 0;
    struct stat s;
    lk_status st;

    LK_TRY(lk_path_join(folder, name, &path));
    if (name[0] == '.' || stat(path, &s) != 0 || !S_ISDIR(s.st_mode)) {
        lk_free(path);
        return LK_OK;
    }
    const int64_t before = f->n;
    LK_TRY_TO(st, out, lk_dir_list(path, &names, &n));
    for (int i = 0; i < n; i++)
        if (names[i][0] != '.' && has_ending(names[i], endings))
            LK_TRY_TO(st, out, add_item(f, path, names[i], name, strlen(name)));
    if (f->n > before)
        LK_TRY_TO(st, out, lki_names_add(&f->classes, name, strlen(name)));
out:
    lk_strings_free(&names, n);
    lk_free(path);
    return st;
}

lk_status lki_items_by_folder(lki_items *f, const char *folder, const char *const *endings)
{
    char **names = NULL;
    int n = 0;
    lk_status st;

    *f = (lki_items){0};
    LK_TRY_TO(st, out, list_folder(folder, &names, &n));
    for (int i = 0; i < n; i++)
        LK_TRY_TO(st, out, add_class_folder(f, folder, names[i], endings));
    if (f->n == 0) {
        st = LK_FAIL(
            LK_E_FORMAT, "%s: no folders with *%s files in it: a folder a class is expected", folder, endings[0]);
        goto out;
    }
    number_classes(f);
out:
    lk_strings_free(&names, n);
    return st;
}

/* ---- classes in the names of files ---- */

/* Does [text, text + n) match the pattern [pattern, pattern + m)? Both are short: names of files. */
static bool matches(const char *pattern, size_t m, const char *text, size_t n)
{
    char p[256], t[256];

    if (m >= sizeof p || n >= sizeof t)
        return false;
    memcpy(p, pattern, m);
    memcpy(t, text, n);
    p[m] = t[n] = 0;
    return fnmatch(p, t, 0) == 0;
}

bool lki_label_in_name(const char *pattern, const char *name, size_t *first, size_t *length)
{
    const char *mark = strstr(pattern, "{}");
    const size_t n = strlen(name);

    if (mark == NULL)
        return false;
    const size_t before = (size_t)(mark - pattern), after = strlen(mark + 2);
    for (size_t a = 0; a <= n; a++) {
        if (!matches(pattern, before, name, a))
            continue;
        for (size_t b = a + 1; b <= n; b++)
            if (matches(mark + 2, after, name + b, n - b)) {
                *first = a;
                *length = b - a;
                return true;
            }
    }
    return false;
}

static bool is_any(const lk_strings *globs, const char *name)
{
    for (int i = 0; i < globs->n; i++)
        if (fnmatch(globs->item[i], name, 0) == 0)
            return true;
    return false;
}

lk_status lki_items_by_name(lki_items *f, const char *folder, const char *const *endings, const char *pattern,
    const lk_strings *match, const lk_strings *except)
{
    char **names = NULL;
    int n = 0;
    size_t first, length;
    bool any = false;
    lk_status st;

    *f = (lki_items){0};
    if (strstr(pattern, "{}") == NULL)
        return LK_FAIL(LK_E_ARG, "--label-pattern %s: {} is missing, which stands for the label", pattern);
    LK_TRY_TO(st, out, list_folder(folder, &names, &n));
    for (int i = 0; i < n; i++) {
        if (names[i][0] == '.' || !has_ending(names[i], endings))
            continue;
        any = true;
        if (!lki_label_in_name(pattern, names[i], &first, &length)) {
            st = LK_FAIL(LK_E_FORMAT, "%s/%s: its name does not match --label-pattern %s", folder, names[i], pattern);
            goto out;
        }
        LK_TRY_TO(st, out, lki_names_add(&f->classes, names[i] + first, length));
        if ((match->n == 0 || is_any(match, names[i])) && !is_any(except, names[i]))
            LK_TRY_TO(st, out, add_item(f, folder, names[i], names[i] + first, length));
    }
    if (f->n == 0) {
        st = any ? LK_FAIL(LK_E_ARG, "%s: --match and --except leave no file", folder)
                 : LK_FAIL(LK_E_FORMAT, "%s: no *%s files in it", folder, endings[0]);
        goto out;
    }
    number_classes(f);
out:
    lk_strings_free(&names, n);
    return st;
}

/* ---- no classes ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const lki_item *)a)->class_name, ((const lki_item *)b)->class_name);
}

lk_status lki_items_in_folder(lki_items *f, const char *folder, const char *const *endings)
{
    char **names = NULL;
    int n = 0;
    lk_status st;

    *f = (lki_items){0};
    LK_TRY_TO(st, out, list_folder(folder, &names, &n));
    for (int i = 0; i < n; i++)
        if (names[i][0] != '.' && has_ending(names[i], endings))
            LK_TRY_TO(st, out, add_item(f, folder, names[i], names[i], (size_t)(strrchr(names[i], '.') - names[i])));
    if (f->n == 0) {
        st = LK_FAIL(LK_E_FORMAT, "%s: no *%s files in it", folder, endings[0]);
        goto out;
    }
    qsort(f->item, (size_t)f->n, sizeof f->item[0], compare_names);
    for (int64_t i = 1; i < f->n; i++)
        if (compare_names(&f->item[i - 1], &f->item[i]) == 0) {
            st = LK_FAIL(LK_E_FORMAT, "%s and %s: two files of one name", f->item[i - 1].path, f->item[i].path);
            goto out;
        }
out:
    lk_strings_free(&names, n);
    return st;
}

/* Marks those whose names stand in the lines. */
static lk_status mark_listed(const lki_items *f, const char *folder, lki_lines *l, bool *listed)
{
    const char *path = lki_source_name(l->source);
    bool more = true, any = false;

    for (;;) {
        LK_TRY(lki_lines_next(l, &more));
        if (!more)
            break;
        if (l->length == 0)
            continue;
        const lki_item key = {.class_name = l->text};
        const lki_item *k = bsearch(&key, f->item, (size_t)f->n, sizeof f->item[0], compare_names);
        if (k == NULL || strlen(l->text) != l->length)
            return LK_FAIL(
                LK_E_FORMAT, "%s:%" PRId64 ": there is no file \"%.200s\" in %s", path, l->line, l->text, folder);
        if (listed[k - f->item])
            return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": \"%.200s\" for the second time", path, l->line, l->text);
        listed[k - f->item] = true;
        any = true;
    }
    return any ? LK_OK : LK_FAIL(LK_E_FORMAT, "%s: no names in it", path);
}

lk_status lki_items_keep_listed(lki_items *f, const char *folder, const char *list)
{
    lki_source *source = NULL;
    lki_lines l = {0};
    bool *listed = NULL;
    int64_t n = 0;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open(list, &source));
    LK_TRY_TO(st, out, lki_lines_init(&l, source));
    LK_TRY_TO(st, out, lk_alloc_array(f->n, sizeof *listed, "files of a folder", &listed));
    LK_TRY_TO(st, out, mark_listed(f, folder, &l, listed));
    for (int64_t i = 0; i < f->n; i++) {
        if (listed[i])
            f->item[n++] = f->item[i];
        else
            free_item(&f->item[i]);
    }
    f->n = n;
out:
    lk_free(listed);
    lki_lines_fini(&l);
    lki_source_close(&source);
    return st;
}
