/* Inside src/data/import: where bytes come from, the parsers on them, where samples go. */
#ifndef LK_DATA_IMPORT_IMPORT_INT_H
#define LK_DATA_IMPORT_IMPORT_INT_H

#include "data/import/import.h"

#include "base/rng.h"
#include "data/dataset.h"

/* ---- bytes: a file, plain or gzip by its content, or memory ---- */

typedef struct lki_source lki_source;

LK_MUST_USE lk_status lki_source_open(const char *path, lki_source **out);
/* Borrows name and data; they are taken as they are, gzip or not. */
LK_MUST_USE lk_status lki_source_open_memory(const char *name, const void *data, size_t bytes, lki_source **out);
void lki_source_close(lki_source **s);
const char *lki_source_name(const lki_source *s);
/* Fills `out`; *got is less than `bytes` only at the end. A gzip stream that ends too soon is an end, too:
 * lki_source_cut tells. Errors: LK_E_IO, LK_E_FORMAT. */
LK_MUST_USE lk_status lki_source_read(lki_source *s, void *out, size_t bytes, size_t *got);
bool lki_source_cut(const lki_source *s);

/* ---- names: of classes and categories ---- */

typedef struct lki_names {
    char **item; /* sorted by bytes, each once */
    int n, room;
} lki_names;

/* Puts a name in, unless it is there. Errors: LK_E_FORMAT beyond LKI_NAMES_MAX: they are no names of classes. */
enum { LKI_NAMES_MAX = 10000 };
LK_MUST_USE lk_status lki_names_add(lki_names *k, const char *name, size_t length);
/* Its number, or -1. */
int lki_names_find(const lki_names *k, const char *name, size_t length);
/* All of them, with line ends between: text for the caller to lk_free. */
LK_MUST_USE lk_status lki_names_join(const lki_names *k, char **out);
void lki_names_fini(lki_names *k);

/* ---- lines ---- */

typedef struct lki_lines {
    lki_source *source; /* borrowed */
    char *text; /* the line at hand without its end, LF or CR LF; a zero byte stands behind it */
    size_t length, room;
    int64_t line; /* its number, from 1 */
    char *bytes; /* read, not yet cut into lines */
    size_t at, n_bytes;
} lki_lines;

LK_MUST_USE lk_status lki_lines_init(lki_lines *l, lki_source *source);
void lki_lines_fini(lki_lines *l);
/* Takes the next line; a byte order mark before the first is left out. *more is false after the last one. Errors:
 * LK_E_FORMAT for a cut source; LK_E_IO; LK_E_NOMEM. */
LK_MUST_USE lk_status lki_lines_next(lki_lines *l, bool *more);

/* ---- csv ---- */

typedef struct lki_cell {
    char *from, *to, *next; /* text [from,to) of a line; where the next one begins, NULL: it was the last */
} lki_cell;

typedef struct lki_csv {
    lki_source *source; /* borrowed */
    const lk_import_csv_opts *o; /* borrowed */
    char delimiter; /* ' ': runs of blanks */
    int64_t skip, rows; /* the range of rows, rows 0: to the end */
    char **name; /* [names] of the header */
    int64_t names;
    int64_t columns, label; /* of a row; the label's, or -1 */
    int64_t first_line; /* number of the line of the first row */
    int64_t blank_line; /* the first of the blank ones at hand, 0: none */
    lki_lines lines;
    bool pending; /* the line at hand was not given out yet */
    lki_cell *cell; /* [columns] of the row at hand */
} lki_csv;

/* Reads up to the first row that is wanted, which says how many columns there are, and checks the options against it.
 * Errors: LK_E_FORMAT, LK_E_ARG. */
LK_MUST_USE lk_status lki_csv_init(lki_csv *c, lki_source *source, const lk_import_csv_opts *o);
void lki_csv_fini(lki_csv *c);
/* Cuts the next row into cells; *more is false at the end of the file. Errors: LK_E_FORMAT with the line. */
LK_MUST_USE lk_status lki_csv_next(lki_csv *c, bool *more);
/* The column that an option means: a name of the header, or a number from 1 or from the end with -1. `or_else` names
 * what else the option takes. Errors: LK_E_ARG. */
LK_MUST_USE lk_status lki_csv_column(
    const lki_csv *c, const char *option, const char *text, const char *or_else, int64_t *out);
/* The cell at hand as a number; false: it is none. */
bool lki_cell_number(lki_cell x, double *out);
/* LK_E_FORMAT with line, column and content of a cell at hand: `"abc" TEXT`. */
LK_MUST_USE lk_status lki_csv_fail(const lki_csv *c, int64_t column, const char *text);
static inline lk_elem lki_csv_input_type(const lk_import_csv_opts *o)
{
    return o->type == 0 ? LK_ELEM_U8 : LK_ELEM_F32;
}
static inline lk_elem lki_csv_label_type(const lk_import_csv_opts *o)
{
    return o->classes || o->named_classes ? LK_ELEM_I64 : LK_ELEM_F32;
}

typedef enum lki_column_kind { LKI_NUMBER, LKI_ONE_HOT, LKI_LABEL, LKI_DROPPED } lki_column_kind;

typedef struct lki_column {
    lki_column_kind kind;
    int64_t present; /* numbers that are not missing */
    double mean, squares; /* of them; the sum of squares off the mean */
    double deviation; /* over which a number is taken; 1 unless they are standardized */
    bool flag; /* one is missing, so an input tells where */
    lki_names names; /* one-hot */
    int64_t to; /* its first place in the input */
} lki_column;

/* How cells become numbers: from options and data, or from the file of --like. */
typedef struct lki_encoding {
    lki_column *column; /* [n] */
    int64_t n;
    lki_names classes;
    char *missing; /* the mark, "empty", or NULL */
    bool standardize, fixed; /* fixed: learned from another file */
    int64_t inputs; /* of a row */
} lki_encoding;

/* What options and the number of columns say, or the file of --like. Errors: LK_E_ARG; LK_E_NOT_FOUND and LK_E_FORMAT
 * for that file. */
LK_MUST_USE lk_status lki_encoding_init(lki_encoding *e, const lki_csv *c);
void lki_encoding_fini(lki_encoding *e);
/* The row at hand, for --one-hot auto: columns of text become those of names. Before anything is learned. */
void lki_encoding_kinds(lki_encoding *e, const lki_csv *c);
/* Checks the row at hand, and learns from it unless the encoding is fixed. Errors: LK_E_FORMAT with the cell. */
LK_MUST_USE lk_status lki_encoding_learn(lki_encoding *e, const lki_csv *c);
/* After all rows. Errors: LK_E_ARG for options that do not fit what was learned. */
LK_MUST_USE lk_status lki_encoding_place(lki_encoding *e, const lk_import_csv_opts *o);
/* The row at hand: uint8 or float [inputs]; int64 or float label, of lki_csv_label_type. */
LK_MUST_USE lk_status lki_encoding_put(const lki_encoding *e, const lki_csv *c, void *input, void *label);
/* As JSON, for --like of a later import, to lk_free; NULL where there is nothing to it. Errors: LK_E_UNSUPPORTED for
 * more than an attribute takes, LK_E_FORMAT for names that are no UTF-8. */
LK_MUST_USE lk_status lki_encoding_print(const lki_encoding *e, const lk_import_csv_opts *o, char **out);

/* ---- idx ---- */

typedef struct lki_idx {
    lki_source *source; /* borrowed */
    lk_elem type;
    uint32_t magic;
    int ndim;
    int64_t dim[LK_DATA_MAX_DIMS + 1];
    int64_t row; /* elements of a sample */
    int64_t bytes; /* that the header promises, itself included */
    int64_t done; /* read so far */
} lki_idx;

/* Reads the header. Errors: LK_E_FORMAT. */
LK_MUST_USE lk_status lki_idx_init(lki_idx *x, lki_source *source);
/* The next n samples in the machine's byte order. Errors: LK_E_FORMAT where the file ends too soon. */
LK_MUST_USE lk_status lki_idx_read(lki_idx *x, int64_t n, void *out);
/* After the last sample: nothing may follow. */
LK_MUST_USE lk_status lki_idx_end(lki_idx *x);

/* ---- cifar ---- */

/* Records of the class labels, a byte each, and LKI_CIFAR_PIXELS bytes: 32 x 32 of red, of green, of blue. */
enum { LKI_CIFAR_SIDE = 32, LKI_CIFAR_PIXELS = 3 * LKI_CIFAR_SIDE * LKI_CIFAR_SIDE };

typedef struct lki_cifar_kind {
    const char *name;
    int n_labels; /* a record */
    struct {
        const char *name; /* "label", "coarse label" */
        int classes;
    } label[2];
} lki_cifar_kind;
extern const lki_cifar_kind lki_cifar_10, lki_cifar_100;

static inline int lki_cifar_bytes(const lki_cifar_kind *k)
{
    return k->n_labels + LKI_CIFAR_PIXELS;
}

/* Reads all of a source: how many records it has. Errors: LK_E_FORMAT for a cut source, a number of bytes that is not
 * whole records, and a label beyond the classes, with its record; LK_E_IO. */
LK_MUST_USE lk_status lki_cifar_count(lki_source *source, const lki_cifar_kind *k, int64_t *records);

/* ---- UTF-8 ---- */

/* The character at the beginning of bytes [0,n), n >= 1, and its length in bytes: 0 where the bytes end within it, -1
 * for what is no UTF-8 (longer forms than needed, surrogates and what is beyond U+10FFFF included). */
int lki_utf8_take(const unsigned char *bytes, size_t n, uint32_t *code);
void lki_utf8_add(lk_buf *b, uint32_t code);

/* Which of all characters there are, and their ids: numbers in the order of their code points. */
typedef struct lki_vocabulary {
    int32_t *id; /* [LKI_CODES]: -1 for a character that there is not */
    int32_t n;
} lki_vocabulary;
enum { LKI_CODES = 0x110000 };
LK_MUST_USE lk_status lki_vocabulary_init(lki_vocabulary *v);
void lki_vocabulary_fini(lki_vocabulary *v);
static inline void lki_vocabulary_see(lki_vocabulary *v, uint32_t code)
{
    v->id[code] = 0;
}
/* After the last character was seen: numbers them from `first` on. `text`, for the caller to lk_free, is all of them in
 * order. Errors: LK_E_UNSUPPORTED where that text is longer than an HDF5 attribute can be. */
LK_MUST_USE lk_status lki_vocabulary_number(lki_vocabulary *v, int32_t first, char **text);

/* ---- text as a run of characters or bytes ---- */

typedef struct lki_text {
    lki_source *source; /* borrowed */
    bool chars; /* else bytes */
    unsigned char *bytes;
    size_t at, n_bytes;
    int64_t byte, line; /* of what comes next: from 0, from 1 */
    bool ended;
} lki_text;

/* A byte order mark at the beginning is left out of characters. */
LK_MUST_USE lk_status lki_text_init(lki_text *t, lki_source *source, bool chars);
void lki_text_fini(lki_text *t);
/* Up to `most` further characters or bytes; *n is 0 at the end. Errors: LK_E_FORMAT with line and byte for what is no
 * UTF-8 and for a zero byte among characters; LK_E_FORMAT for a cut source; LK_E_IO. */
LK_MUST_USE lk_status lki_text_next(lki_text *t, int64_t most, uint32_t *codes, int64_t *n);

/* ---- lines of a label and a text ---- */

typedef struct lki_labelled {
    lki_lines lines;
    int64_t blank_line; /* the first of the blank ones at hand, 0: none */
    size_t label_length; /* the label is the beginning of the line */
    size_t at; /* where the rest of the text begins */
} lki_labelled;

/* The next line, whose label and text are not empty. *more is false at the end. Errors: LK_E_FORMAT with the line. */
LK_MUST_USE lk_status lki_labelled_next(lki_labelled *l, bool *more);
/* The next character or byte of its text; *more is false where there is none. Errors: LK_E_FORMAT. */
LK_MUST_USE lk_status lki_labelled_take(lki_labelled *l, bool chars, uint32_t *code, bool *more);

/* ---- folders whose files are samples ---- */

typedef struct lki_item {
    char *path, *class_name; /* where there are no classes: its name without the ending */
    int label; /* number of its class */
} lki_item;

typedef struct lki_items {
    lki_item *item; /* [n], sorted by folder and name */
    int64_t n, room;
    lki_names classes;
} lki_items;

void lki_items_fini(lki_items *f);
/* The files with one of the endings (".jpg"; NULL ends the list; whatever their case) in the folders of a folder, whose
 * names are the classes. Hidden files and folders are passed over. Errors: LK_E_NOT_FOUND; LK_E_FORMAT where there is
 * none. The caller calls lki_items_fini in any case. */
LK_MUST_USE lk_status lki_items_by_folder(lki_items *f, const char *folder, const char *const *endings);
/* The files of a folder that match one of the patterns `match` (none: all) and none of `except`. The class is the part
 * of the name that {} stands for in the pattern; classes are those of all files with such an ending. Errors: LK_E_ARG,
 * LK_E_NOT_FOUND, LK_E_FORMAT. */
LK_MUST_USE lk_status lki_items_by_name(lki_items *f, const char *folder, const char *const *endings,
    const char *pattern, const lk_strings *match, const lk_strings *except);
/* The files of a folder with one of the endings, no classes, sorted by their names without the ending, which are all
 * different. Hidden ones are passed over. Errors: LK_E_NOT_FOUND; LK_E_FORMAT where there is none, and for two of one
 * name. */
LK_MUST_USE lk_status lki_items_in_folder(lki_items *f, const char *folder, const char *const *endings);
/* Of lki_items_in_folder: leaves those whose names stand in a file, one a line; all of it must be there. Errors:
 * LK_E_FORMAT with the line; LK_E_NOT_FOUND. */
LK_MUST_USE lk_status lki_items_keep_listed(lki_items *f, const char *folder, const char *list);
/* The first and shortest part of a name that fits; false: none does. */
bool lki_label_in_name(const char *pattern, const char *name, size_t *first, size_t *length);

/* ---- pictures ---- */

extern const char *const lki_picture_endings[];

/* Pictures of one size, as rows of a field. */
typedef struct lki_pictures {
    int channels, height, width;
    const char *first; /* that has this size, and all must have; NULL: they are resampled to it */
    int file_height, file_width; /* of the last one, in its file */
    uint8_t *row; /* [channels, height, width]: the last one */
} lki_pictures;

/* `size` is --size: height and width; empty: as the file `first` has them, which is borrowed. Errors: LK_E_ARG for
 * another number of sides; those of lk_image_read. */
LK_MUST_USE lk_status lki_pictures_init(lki_pictures *p, const lk_ints *size, bool gray, const char *first);
void lki_pictures_fini(lki_pictures *p);
/* Decodes a picture into the row. Errors: those of lk_image_read; LK_E_FORMAT for another size than all have. */
LK_MUST_USE lk_status lki_pictures_read(lki_pictures *p, const char *path);

/* ---- sound ---- */

typedef struct lki_wav {
    lki_source *source; /* borrowed */
    int channels;
    int64_t rate; /* Hz */
    int64_t samples, done; /* of each channel; given out */
    int64_t byte; /* read so far */
} lki_wav;

/* Reads up to the sound: 16-bit PCM with any number of channels; other chunks are passed over. Errors: LK_E_FORMAT. */
LK_MUST_USE lk_status lki_wav_init(lki_wav *w, lki_source *source);
/* The next n samples, in [-1,1): the mean of all channels. Errors: LK_E_FORMAT where the file ends too soon. */
LK_MUST_USE lk_status lki_wav_read(lki_wav *w, int64_t n, double *out);

/* Log-mel spectra: a Hann window, padded with zeros to a power of two; the power spectrum |X|^2 (no scaling); `bands`
 * triangles of height 1 on HTK's mel scale from 0 to half the rate; the natural logarithm of their sums, which are at
 * least LKI_MEL_FLOOR. All in double. */
#define LKI_MEL_FLOOR 1e-10
typedef struct lki_mel {
    double rate;
    int64_t window, hop, fft, bands; /* samples; points of the transform */
    double *taper; /* [window] */
    double *turn; /* [fft/2] pairs: roots of 1 */
    double *z; /* [fft] pairs */
    double *weight; /* [bands, fft/2 + 1] */
} lki_mel;
/* window >= 2. Errors: LK_E_ARG for so many bands that one has no frequency. */
LK_MUST_USE lk_status lki_mel_init(lki_mel *m, int64_t rate, int64_t window, int64_t hop, int64_t bands);
void lki_mel_fini(lki_mel *m);
/* samples [window] -> out [bands] */
void lki_mel_frame(lki_mel *m, const double *samples, float *out);
/* How many frames so many samples have: all that fit whole; 1 for fewer than a window, which zeros follow. */
int64_t lki_mel_frames(int64_t samples, int64_t window, int64_t hop);

/* ---- samples ---- */

typedef struct lki_shards lki_shards;

typedef struct lki_out_field {
    const char *name;
    lk_elem type;
    int ndim; /* of one sample */
    int64_t dim[LK_DATA_MAX_DIMS];
} lki_out_field;

typedef struct lki_attr { /* beside those that all shards have */
    const char *field; /* that has it; "." the file */
    const char *name;
    const char *text; /* NULL: a number */
    bool is_real;
    int64_t number;
    double real;
} lki_attr;

/* What is alike in all shards of an import; texts and names are borrowed until destroy. */
typedef struct lki_origin {
    const char *source, *importer;
    const lki_attr *attr;
    int n_attrs;
} lki_origin;

/* A file to write, or with shard_rows (not empty) several. */
typedef struct lki_dest {
    const char *path, *shard_rows;
    int64_t rows;
    int64_t first; /* row of the source that comes first; -1: they are mixed */
} lki_dest;

/* Where two parts are asked for (rest is not empty): the part `split` of n samples, rounded down, goes to the
 * first. Else all. Errors: LK_E_ARG where one is asked for without the other, or a part would be empty. */
LK_MUST_USE lk_status lki_split(double split, const char *rest, int64_t n, int64_t *first);

/* For samples that are to be mixed: lk_rng_permute of this. */
lk_rng lki_order(int64_t seed);

enum { LKI_DESTS = 2 };
/* Plans the shards of each destination; nothing is written yet. Errors: LK_E_ARG; LK_E_NOT_FOUND for a folder that is
 * not there; LK_E_UNSUPPORTED for a file in the way that is not HDF5. */
LK_MUST_USE lk_status lki_shards_create(const lki_dest *dest, int n_dests, const lki_out_field *fields, int n_fields,
    const lki_origin *origin, lki_shards **out);
/* The next n samples of a destination: one array a field. */
LK_MUST_USE lk_status lki_shards_add(lki_shards *s, int dest, int64_t n, const void *const *rows);
/* After the last sample: the files get their names. */
LK_MUST_USE lk_status lki_shards_finish(lki_shards *s, lk_buf *report);
/* What was not finished is removed. */
void lki_shards_destroy(lki_shards **s);

#endif
