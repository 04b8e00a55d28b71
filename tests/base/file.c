#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char room[64];

static void enter(void)
{
    strcpy(room, "/tmp/lockstep-test-file.XXXXXX");
    cr_assert(mkdtemp(room) != NULL);
    cr_assert(chdir(room) == 0);
}

static void leave(void)
{
    cr_assert(chdir("/") == 0);
    EXPECT_OK(lk_dir_remove(room));
    cr_expect(!lk_file_exists(room));
}

TestSuite(file, .init = enter, .fini = leave);

static void put(const char *path, const char *text)
{
    EXPECT_OK(lk_file_write_atomic(path, text, strlen(text)));
}

static void expect_content(const char *path, const char *want)
{
    char *text = NULL;
    size_t n = 0;

    EXPECT_OK(lk_file_read(path, 0, &text, &n));
    EXPECT_TEXT(text, want);
    cr_expect(n == strlen(want));
    lk_free(text);
}

static void expect_names(const char *dir, int want_n, const char *const *want)
{
    char **names = NULL;
    int n = 0;

    EXPECT_OK(lk_dir_list(dir, &names, &n));
    cr_expect(n == want_n, "%d names, not %d", n, want_n);
    for (int i = 0; i < n && i < want_n; i++)
        EXPECT_TEXT(names[i], want[i]);
    lk_strings_free(&names, n);
    cr_expect(names == NULL);
}

Test(file, writes_and_replaces)
{
    put("a", "one");
    expect_content("a", "one");
    put("a", "two and more");
    expect_content("a", "two and more");
    put("a", "");
    expect_content("a", "");
    expect_names(".", 1, (const char *const[]){"a"});
}

Test(file, a_failed_write_leaves_nothing_beside)
{
    put("old", "old");
    EXPECT_OK(lk_dir_create("taken/full"));
    EXPECT_FAIL_WITH(lk_file_write_atomic("taken", "x", 1), LK_E_IO, "taken: rename to this name: ");
    EXPECT_FAIL_WITH(lk_file_write_atomic("absent/x", "x", 1), LK_E_NOT_FOUND, "No such file or directory");
    expect_names(".", 2, (const char *const[]){"old", "taken"});

    /* A disk that is full in the middle: the file size limit stands for it. */
    static char large[100000];
    struct rlimit before;
    cr_assert(getrlimit(RLIMIT_FSIZE, &before) == 0);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert(setrlimit(RLIMIT_FSIZE, &(struct rlimit){1000, before.rlim_max}) == 0);
    const lk_status st = lk_file_write_atomic("old", large, sizeof large);
    cr_assert(setrlimit(RLIMIT_FSIZE, &before) == 0);
    cr_expect(st == LK_E_IO);
    EXPECT_HAS(lk_err_last()->message, "write: File too large");
    expect_names(".", 2, (const char *const[]){"old", "taken"});
    expect_content("old", "old");

    for (int64_t n = 1; n < 10; n++) {
        lk_mem_fail_at(n);
        const lk_status short_of_memory = lk_file_write_atomic("old", "new", 3);
        lk_mem_fail_at(0);
        expect_names(".", 2, (const char *const[]){"old", "taken"});
        if (short_of_memory == LK_OK) {
            cr_expect(n > 1);
            expect_content("old", "new");
            return;
        }
        cr_expect(short_of_memory == LK_E_NOMEM);
        expect_content("old", "old");
    }
    cr_expect(false, "never got through");
}

Test(file, reads_whole_files)
{
    static char large[300001];
    char *text = NULL;
    size_t n = 0;

    memset(large, 'z', sizeof large - 1);
    put("large", large);
    expect_content("large", large);
    EXPECT_OK(lk_file_read("large", 300000, &text, NULL));
    lk_free(text);
    text = NULL;
    EXPECT_FAIL(lk_file_read("large", 299999, &text, &n), LK_E_RANGE, "large: the file is longer than 299999 bytes");
    EXPECT_FAIL(lk_file_read("absent", 0, &text, &n), LK_E_NOT_FOUND, "absent: open: No such file or directory");
    EXPECT_FAIL(lk_file_read(".", 0, &text, &n), LK_E_IO, ".: read: Is a directory");
    cr_expect(text == NULL && n == 0);
    /* Files that do not know their size. */
    EXPECT_OK(lk_file_read("/proc/self/status", 0, &text, &n));
    cr_expect(n > 100 && strlen(text) == n);
    EXPECT_HAS(text, "Pid:");
    lk_free(text);
}

Test(file, hash_is_that_of_the_content)
{
    const size_t bytes = 3 * (1 << 20) + 17;
    char *data = NULL;
    lk_hash h = {0};
    int64_t n = 0;

    EXPECT_OK(lk_alloc(bytes, "data", &data));
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(i * i >> 3);
    EXPECT_OK(lk_file_write_atomic("data", data, bytes));
    EXPECT_OK(lk_file_hash("data", &h, &n));
    cr_expect(n == (int64_t)bytes && lk_hash_equal(h, lk_hash128(data, bytes)));
    EXPECT_OK(lk_file_write_atomic("data", data, 1 << 20));
    EXPECT_OK(lk_file_hash("data", &h, NULL));
    cr_expect(lk_hash_equal(h, lk_hash128(data, 1 << 20)));
    lk_free(data);
    EXPECT_FAIL(lk_file_hash("absent", &h, NULL), LK_E_NOT_FOUND, "absent: open: No such file or directory");
}

Test(file, folders_with_parents)
{
    EXPECT_OK(lk_dir_create("a/b/c"));
    EXPECT_OK(lk_dir_create("a/b/c"));
    EXPECT_OK(lk_dir_create("a/b/d/"));
    EXPECT_OK(lk_dir_create("/tmp"));
    expect_names("a/b", 2, (const char *const[]){"c", "d"});
    put("a/f", "");
    EXPECT_FAIL(lk_dir_create("a/f"), LK_E_IO, "a/f: it is there and is no folder");
    EXPECT_FAIL_WITH(lk_dir_create("a/f/g"), LK_E_IO, "a/f");
    EXPECT_FAIL(lk_dir_create(""), LK_E_ARG, "the path of a folder is empty");
    EXPECT_OK(lk_file_sync("a/f"));
    EXPECT_OK(lk_file_sync("a"));
    EXPECT_FAIL(lk_file_sync("absent"), LK_E_NOT_FOUND, "absent: open: No such file or directory");
    EXPECT_FAIL(lk_dir_list("absent", &(char **){NULL}, &(int){0}), LK_E_NOT_FOUND,
        "absent: open folder: No such file or directory");
}

Test(file, remove_takes_the_tree_and_no_link_target)
{
    EXPECT_OK(lk_dir_create("keep/inner"));
    put("keep/inner/file", "x");
    put("keep/other", "x");
    EXPECT_OK(lk_dir_create("go/deep/deeper"));
    put("go/deep/deeper/f", "x");
    put("go/.hidden", "x");
    cr_assert(symlink("../keep", "go/link") == 0);
    cr_assert(symlink("../../keep/other", "go/deep/file_link") == 0);
    cr_assert(symlink("nowhere", "go/broken") == 0);
    cr_assert(mkfifo("go/fifo", 0666) == 0);
    EXPECT_OK(lk_dir_remove("go"));
    cr_expect(!lk_file_exists("go"));
    expect_content("keep/inner/file", "x");
    expect_content("keep/other", "x");

    /* A link in the place of the folder itself goes, what it points to stays; a slash behind it changes nothing. */
    cr_assert(symlink("keep", "top") == 0);
    EXPECT_OK(lk_dir_remove("top/"));
    expect_names(".", 1, (const char *const[]){"keep"});
    expect_content("keep/inner/file", "x");

    EXPECT_OK(lk_dir_remove("absent"));
    EXPECT_FAIL_WITH(lk_dir_remove("keep/other"), LK_E_IO, "keep/other: open folder: ");
    EXPECT_FAIL(lk_dir_remove("/"), LK_E_ARG, "\"/\" cannot be removed");
    EXPECT_FAIL(lk_dir_remove(""), LK_E_ARG, "\"\" cannot be removed");
}

Test(file, writable_folders)
{
    EXPECT_OK(lk_dir_check_writable("new/folder"));
    expect_names("new/folder", 0, NULL);
    put("file", "");
    EXPECT_FAIL(lk_dir_check_writable("file"), LK_E_IO, "file: it is there and is no folder");
    if (geteuid() != 0) { /* root may write everywhere */
        EXPECT_OK(lk_dir_create("locked"));
        cr_assert(chmod("locked", 0555) == 0);
        EXPECT_FAIL_WITH(lk_dir_check_writable("locked"), LK_E_IO, "locked: create a file in this folder: ");
        cr_assert(chmod("locked", 0755) == 0);
    }
    EXPECT_FAIL_WITH(lk_dir_check_writable("/proc/self"), LK_E_NOT_FOUND, "/proc/self: create a file in this folder: ");
}

Test(file, paths)
{
    static const struct {
        const char *dir, *name, *want;
    } join[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a", "/b", "/b"}, {"", "b", "b"}, {".", "b", "./b"},
        {"/", "b", "/b"}, {"", "", ""}, {"a", "", "a/"}};
    static const struct {
        const char *path, *want;
    } dir[] = {{"a/b", "a"}, {"a/b/c", "a/b"}, {"a", "."}, {"/a", "/"}, {"/", "/"}, {"a/b/", "a"}, {"a//b", "a"},
        {"", "."}, {"//a", "/"}, {"a/", "."}};
    char *s = NULL;

    for (int i = 0; i < (int)(sizeof join / sizeof join[0]); i++) {
        EXPECT_OK(lk_path_join(join[i].dir, join[i].name, &s));
        EXPECT_TEXT(s, join[i].want);
        lk_free(s);
    }
    for (int i = 0; i < (int)(sizeof dir / sizeof dir[0]); i++) {
        EXPECT_OK(lk_path_dir(dir[i].path, &s));
        EXPECT_TEXT(s, dir[i].want);
        lk_free(s);
    }
    cr_expect(lk_file_exists(".") && !lk_file_exists("absent"));
}

static void expect_glob(const char *pattern, int want_n, const char *const *want)
{
    char **paths = NULL;
    int n = -1;

    EXPECT_OK(lk_glob(pattern, &paths, &n));
    cr_expect(n == want_n, "%s: %d paths, not %d", pattern, n, want_n);
    for (int i = 0; i < n && i < want_n; i++)
        EXPECT_TEXT(paths[i], want[i]);
    lk_strings_free(&paths, n);
}

Test(file, glob_is_sorted_by_bytes_and_takes_files)
{
    char name[32];

    for (int i = 40; i >= 0; i--) {
        snprintf(name, sizeof name, "many-%02d", i);
        put(name, "");
    }
    put("train-b.h5", "");
    put("train-B.h5", "");
    put("train-10.h5", "");
    put("train-2.h5", "");
    EXPECT_OK(lk_dir_create("train-x.h5"));
    EXPECT_OK(lk_dir_create("d1"));
    EXPECT_OK(lk_dir_create("d2"));
    put("d1/f", "");
    put("d2/f", "");
    expect_glob("train-*.h5", 4, (const char *const[]){"train-10.h5", "train-2.h5", "train-B.h5", "train-b.h5"});
    expect_glob("train-[bB].h?", 2, (const char *const[]){"train-B.h5", "train-b.h5"});
    expect_glob("d*/f", 2, (const char *const[]){"d1/f", "d2/f"});
    expect_glob("nothing-*.h5", 0, NULL);
    expect_glob("absent/*.h5", 0, NULL);
    expect_glob("plain-absent.h5", 1, (const char *const[]){"plain-absent.h5"});
    char **paths = NULL;
    int n = 0;
    EXPECT_OK(lk_glob("many-*", &paths, &n));
    cr_assert(n == 41);
    for (int i = 1; i < n; i++)
        cr_expect(strcmp(paths[i - 1], paths[i]) < 0);
    lk_strings_free(&paths, n);
}

Test(file, lists_survive_a_failed_allocation)
{
    char **names = NULL;
    int n = 0;

    put("a", "");
    put("b", "");
    for (int64_t at = 1; at <= 3; at++) {
        const int64_t held = lk_mem_bytes();
        lk_mem_fail_at(at);
        cr_expect(lk_dir_list(".", &names, &n) == LK_E_NOMEM);
        lk_mem_fail_at(at);
        cr_expect(lk_glob("*", &names, &n) == LK_E_NOMEM);
        lk_mem_fail_at(0);
        cr_expect(names == NULL && n == 0 && lk_mem_bytes() == held);
    }
}
