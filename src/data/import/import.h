/* Data from outside as HDF5 shards. One row of lk_importers a format: the command line `lockstep data import NAME ...`
 * is its table. */
#ifndef LK_DATA_IMPORT_IMPORT_H
#define LK_DATA_IMPORT_IMPORT_H

#include "base/table.h"

typedef struct lk_importer {
    const char *name, *help;
    const lk_table *table;
    /* Reads the source and writes one or more shards, all or none: they are written beside, then renamed. A file that
     * is in the way is replaced if it is HDF5, else refused. Adds a line a shard to `report`. `opts` is the table's
     * struct. Local. Errors: LK_E_NOT_FOUND, LK_E_IO; LK_E_FORMAT with file and line or byte counts; LK_E_ARG for
     * options that do not fit the data. */
    lk_status (*run)(const void *opts, lk_buf *report);
} lk_importer;

extern const lk_importer lk_importers[];
extern const int lk_n_importers;

/* Shards, alike in all importers: `dest` is the file, or with shard_rows "500,300,rest" DEST-000.h5, DEST-001.h5 ...
 * (".h5" at the end of DEST is dropped) of so many rows each. skip and rows take a range of the source's rows; rows 0:
 * all that is left. */
typedef struct lk_import_csv_opts {
    char *source, *dest;
    char *delimiter; /* one character, "tab", or "space": runs of blanks */
    bool header;
    char *label_column; /* from 1, or from the end with -1; "none"; with `header` a name */
    bool classes, named_classes;
    char *strip;
    lk_strings drop;
    char *one_hot, *missing;
    bool standardize;
    char *like;
    lk_ints shape; /* of a sample; empty: [inputs] */
    int type; /* 0 uint8, 1 float32 */
    char *input, *label;
    char *shard_rows;
    int64_t skip;
    char *rows; /* "5", or a range "2:7", "2:" */
} lk_import_csv_opts;
extern const lk_table lk_import_csv_table;
/* Tables in text, plain or gzip by content, one sample a line; the label is one of the columns. Values may be quoted,
 * lines may end in CR LF. Columns of names become one input a name. How cells became numbers is kept in the attribute
 * `encoding` of the input, as JSON, for `like`; names of classes in `classes` of the label, one a line. */
LK_MUST_USE lk_status lk_import_csv(const lk_import_csv_opts *o, lk_buf *report);

typedef struct lk_import_idx_opts {
    char *images, *labels, *dest;
    char *input, *label;
    char *shard_rows;
    int64_t skip, rows;
} lk_import_idx_opts;
extern const lk_table lk_import_idx_table;
/* The files of MNIST and its kin, plain or gzip by content: images of any element type and 2 or more dimensions (three:
 * a channel dimension of 1 is put in, [N,H,W] becomes [N,1,H,W]), labels of one whole number a sample, or "none". */
LK_MUST_USE lk_status lk_import_idx(const lk_import_idx_opts *o, lk_buf *report);

typedef struct lk_import_cifar_opts {
    lk_strings files;
    char *dest;
    int labels; /* 0 cifar10, 1 fine, 2 coarse */
    char *names;
    char *shard_rows;
    int64_t skip, rows;
} lk_import_cifar_opts;
extern const lk_table lk_import_cifar_table;
/* The binary version of CIFAR-10 and CIFAR-100, plain or gzip by content, several files one after the other: `image`
 * uint8 [n,3,32,32] and `label` int64 [n]; names of the classes, from a file of one a line, in the attribute `classes`
 * of the label. */
LK_MUST_USE lk_status lk_import_cifar(const lk_import_cifar_opts *o, lk_buf *report);

/* Two parts, alike in all importers that have them: the part `split` of the samples goes to dest, the others to rest;
 * split 0 and rest "": all go to dest. */
typedef struct lk_import_text_opts {
    char *source, *dest;
    lk_strings also;
    int level; /* 0 bytes, 1 chars */
    char *field;
    double split;
    char *rest;
    char *shard_rows;
} lk_import_text_opts;
extern const lk_table lk_import_text_table;
/* Running text, plain or gzip by content, several files one after the other, as one field [n] of ids, one a sample:
 * bytes (uint8), or characters of UTF-8 text, numbered by code point among those that there are (uint8 for up to 256 of
 * them, else uint16; the attribute `vocabulary` of the field is all of them in that order). */
LK_MUST_USE lk_status lk_import_text(const lk_import_text_opts *o, lk_buf *report);

typedef struct lk_import_labelled_opts {
    char *source, *dest;
    int level; /* 0 bytes, 1 chars */
    int64_t max_length;
    double split;
    char *rest;
    int64_t seed;
    char *shard_rows;
} lk_import_labelled_opts;
extern const lk_table lk_import_labelled_table;
/* Lines of a label, a tab and a text, plain or gzip by content: fields `tokens` [n, longest] of ids from 1 (bytes: the
 * byte and 1; characters as above), padded with 0; `length` int32 [n]; `label` int64 [n], the number of its name among
 * all of them, sorted by bytes (attribute `classes` of the field, one a line). */
LK_MUST_USE lk_status lk_import_labelled(const lk_import_labelled_opts *o, lk_buf *report);

typedef struct lk_import_wav_opts {
    char *source, *dest;
    char *label_pattern;
    lk_strings match, except;
    double window, hop; /* ms */
    int64_t bands, max_frames;
    double split;
    char *rest;
    int64_t seed;
    char *shard_rows;
} lk_import_wav_opts;
extern const lk_table lk_import_wav_table;
/* A folder of .wav files of 16-bit PCM, all of one rate: fields `mel` float32 [n, frames, bands], log-mel spectra
 * (import_int.h has the formula) padded with the value of silence (attribute `silence`); `length` int32 [n], frames;
 * `label` int64 [n]. In an order drawn by the seed. */
LK_MUST_USE lk_status lk_import_wav(const lk_import_wav_opts *o, lk_buf *report);

typedef struct lk_import_images_opts {
    char *source, *dest;
    lk_ints size; /* height, width; empty: as they are */
    bool gray;
    double split;
    char *rest;
    int64_t seed;
    char *shard_rows;
} lk_import_images_opts;
extern const lk_table lk_import_images_table;
/* JPEG and PNG files in class folders: `image` uint8 [n, 3 or 1, H, W] and `label` int64 [n], the number of the folder
 * among all that have pictures, sorted by name. In an order drawn by the seed. Alpha is left out; resampling is
 * lk_image_resize. */
LK_MUST_USE lk_status lk_import_images(const lk_import_images_opts *o, lk_buf *report);

typedef struct lk_import_masks_opts {
    char *images, *masks, *dest;
    lk_ints size; /* height, width; empty: as they are */
    bool gray;
    int64_t classes; /* 0: any ids */
    int64_t ignore; /* -1: none */
    char *list;
    double split;
    char *rest;
    int64_t seed;
    char *shard_rows;
} lk_import_masks_opts;
extern const lk_table lk_import_masks_table;
/* Pictures and their masks, PNG files of class ids, from two folders, paired by their names without the ending: `image`
 * as above, `mask` uint8 [n, H, W]. In an order drawn by the seed. Masks are resampled by lk_image_resize_nearest. */
LK_MUST_USE lk_status lk_import_masks(const lk_import_masks_opts *o, lk_buf *report);

#endif
