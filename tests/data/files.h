/* Files for the tests of this folder: a folder of their own that goes at the end, and HDF5 files with a few fields. */
#ifndef LK_TESTS_DATA_FILES_H
#define LK_TESTS_DATA_FILES_H

#include "base/support.h"

#include "base/file.h"
#include "base/mem.h"
#include "data/h5.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[64];
static char path_text[8][256];
static int path_next;

static inline void make_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/lockstep-data-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
}

static inline void remove_dir(void)
{
    EXPECT_OK(lk_dir_remove(dir));
}

/* A path in the folder; the last eight stay valid. */
static inline const char *at(const char *name)
{
    char *p = path_text[path_next++ % 8];

    snprintf(p, sizeof path_text[0], "%s/%s", dir, name);
    return p;
}

/* What a message says about files of the folder: "DIR/a.h5: ..." */
static inline const char *about(const char *fmt)
{
    static char text[1024];
    size_t n = 0;

    for (const char *c = fmt; *c != 0; c++) {
        if (strncmp(c, "DIR", 3) == 0) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%s", dir);
            c += 2;
        } else {
            text[n++] = *c;
        }
    }
    text[n] = 0;
    return text;
}

static inline void write_text(const char *name, const void *text, size_t bytes)
{
    EXPECT_OK(lk_file_write_atomic(at(name), text, bytes));
}

static inline void add_field(hid_t file, const char *name, lk_elem type, int ndim, const int64_t *dim, const void *data)
{
    lk_h5_shape s = {.type = type, .ndim = ndim};

    memcpy(s.dim, dim, (size_t)ndim * sizeof dim[0]);
    EXPECT_OK(lk_h5_write_array(file, name, &s, data));
}

/* A shard with `input` uint8 [n,3] and `label` int64 [n]: sample i of the dataset has bytes i, i+1, i+2 (mod 256) and
 * label i. */
static inline void write_shard(const char *name, int64_t first, int64_t n)
{
    uint8_t *input = calloc((size_t)(3 * n + 1), 1);
    int64_t *label = calloc((size_t)(n + 1), sizeof *label);
    hid_t file = -1;

    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < 3; k++)
            input[3 * i + k] = (uint8_t)(first + i + k);
        label[i] = first + i;
    }
    EXPECT_OK(lk_h5_create(at(name), &file));
    add_field(file, "input", LK_ELEM_U8, 2, (int64_t[]){n, 3}, input);
    add_field(file, "label", LK_ELEM_I64, 1, (int64_t[]){n}, label);
    EXPECT_OK(lk_h5_close(&file, name));
    free(input);
    free(label);
}

static inline int64_t size_of(const char *path)
{
    int64_t bytes = -1;
    FILE *f = fopen(path, "rb");
    if (f != NULL) {
        fseek(f, 0, SEEK_END);
        bytes = ftell(f);
        fclose(f);
    }
    return bytes;
}

#endif
