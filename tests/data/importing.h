/* Importers as the command line calls them: words in, report or message out. */
#ifndef LK_TESTS_DATA_IMPORTING_H
#define LK_TESTS_DATA_IMPORTING_H

#include "files.h"

#include "data/import/import.h"

#include <zlib.h>

static lk_buf report;

/* Runs `lockstep data import FORMAT WORDS...`; the words are parted by blanks, DIR is the folder. */
static inline lk_status run_import(const char *format, const char *line)
{
    char words[1024], *argv[40];
    int argc = 0;
    bool help = false;
    union {
        lk_import_csv_opts csv;
        lk_import_idx_opts idx;
        lk_import_cifar_opts cifar;
        lk_import_text_opts text;
        lk_import_labelled_opts labelled;
        lk_import_wav_opts wav;
        lk_import_images_opts images;
        lk_import_masks_opts masks;
    } opts = {0};

    lk_buf_clear(&report);
    snprintf(words, sizeof words, "%s", about(line));
    for (char *w = strtok(words, " "); w != NULL; w = strtok(NULL, " "))
        argv[argc++] = w;
    for (int i = 0; i < lk_n_importers; i++) {
        const lk_importer *m = &lk_importers[i];
        if (strcmp(m->name, format) != 0)
            continue;
        LK_TRY(lk_table_parse_args(m->table, argc, argv, false, &opts, NULL, &help));
        const lk_status st = m->run(&opts, &report);
        lk_table_fini(m->table, &opts);
        return st;
    }
    return LK_FAIL(LK_E_NOT_FOUND, "no importer %s", format);
}

static inline void write_gzip(const char *name, const void *data, size_t bytes)
{
    gzFile f = gzopen(at(name), "wb");

    cr_assert(f != NULL && gzwrite(f, data, (unsigned)bytes) == (int)bytes);
    gzclose(f);
}

/* Names in the folder, parted by blanks. */
static inline const char *folder(void)
{
    static char text[1024];
    char **names = NULL;
    int n = 0;
    size_t used = 0;

    text[0] = 0;
    EXPECT_OK(lk_dir_list(dir, &names, &n));
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? " " : "", names[i]);
    lk_strings_free(&names, n);
    return text;
}

/* Reads a whole array of a file, which must have this type and shape. */
static inline void read_back(const char *name, const char *field, lk_elem type, int ndim, const int64_t *dim, void *out)
{
    lk_h5_shape s = {.type = type, .ndim = ndim};
    hid_t file = -1;

    memcpy(s.dim, dim, (size_t)ndim * sizeof dim[0]);
    EXPECT_OK(lk_h5_open(at(name), &file));
    EXPECT_OK(lk_h5_read_array(file, field, &s, out));
    EXPECT_OK(lk_h5_close(&file, name));
}

/* An attribute of a field that is text. */
static inline void expect_attr(const char *name, const char *field, const char *attr, const char *want)
{
    hid_t file = -1;
    char *text = NULL;

    EXPECT_OK(lk_h5_open(at(name), &file));
    EXPECT_OK(lk_h5_get_text(file, field, attr, &text));
    EXPECT_TEXT(text, want);
    lk_free(text);
    EXPECT_OK(lk_h5_close(&file, name));
}

/* The import fails so, and leaves the folder as it was. */
static inline void expect_import_refused(const char *format, const char *line, lk_status code, const char *message)
{
    char before[1024];

    snprintf(before, sizeof before, "%s", folder());
    EXPECT_FAIL(run_import(format, line), code, about(message));
    EXPECT_TEXT(folder(), before);
}

/* Fails each allocation in turn; nothing is left behind, neither in memory nor under a passing name. */
static inline void expect_out_of_memory_is_fine(const char *format, const char *line)
{
    lk_status st = LK_E_NOMEM;
    int64_t n = 0;

    EXPECT_OK(run_import(format, line)); /* the report has grown */
    const int64_t before = lk_mem_bytes();
    while (st != LK_OK) {
        lk_mem_fail_at(++n);
        st = run_import(format, line);
        lk_mem_fail_at(0);
        cr_assert(st == LK_OK || st == LK_E_NOMEM, "allocation %ld: %s", (long)n, lk_err_last()->message);
        cr_assert(
            lk_mem_bytes() == before, "%ld more bytes after failure %ld", (long)(lk_mem_bytes() - before), (long)n);
        cr_assert(strstr(folder(), ".tmp.") == NULL, "allocation %ld: %s", (long)n, folder());
        cr_assert(n < 2000);
    }
    cr_expect(n > 8);
}

#endif
