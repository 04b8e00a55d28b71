/* Tables in text: lines, the cells of a row, and the import. What becomes of the cells is in csv_encode.c. The file is
 * read two or three times in fixed memory: to see which columns are text where that was asked for, to check every
 * value, learn what the encoding needs and count the rows, and to write. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20, SHOWN = 40 };

static const lk_field csv_rows[] = {
    LK_FIELD(lk_import_csv_opts, source, LK_T_STRING, .positional = true, .help = "Text file, plain or gzip."),
    LK_FIELD(lk_import_csv_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(lk_import_csv_opts, delimiter, LK_T_STRING, .def = ",",
        .help = "What stands between values: one character, \"tab\", or \"space\" for runs of blanks."),
    LK_FIELD(lk_import_csv_opts, header, LK_T_BOOL, .def = "false", .help = "The first line is no row."),
    LK_FIELD(lk_import_csv_opts, label_column, LK_T_STRING, .def = "-1",
        .help = "Column of the label, from 1, or from the end with -1; its name with --header; \"none\"."),
    LK_FIELD(lk_import_csv_opts, classes, LK_T_BOOL, .def = "false",
        .help = "The label is the number of a class (int64), not a value (float32)."),
    LK_FIELD(lk_import_csv_opts, named_classes, LK_T_BOOL, .def = "false",
        .help = "The label is the name of a class; they are numbered in the order of their names."),
    LK_FIELD(lk_import_csv_opts, strip, LK_T_STRING, .def = "",
        .help = "Text to be taken off the end of a class's name, where it is there."),
    LK_FIELD(lk_import_csv_opts, drop, LK_T_STRINGS, .def = "",
        .help = "A column to leave out, as in --label-column; may be given several times."),
    LK_FIELD(lk_import_csv_opts, one_hot, LK_T_STRING, .def = "",
        .help = "Columns of names, \"2,4,city\": each name becomes an input that is 1 where it stands, else 0. "
                "\"auto\": all columns with a value that is no number."),
    LK_FIELD(lk_import_csv_opts, missing, LK_T_STRING, .def = "",
        .help = "What stands for a missing value; \"empty\": nothing does. A name like others with --one-hot; a number "
                "becomes the column's mean, and the column gets an input behind it that is 1 where one is missing."),
    LK_FIELD(lk_import_csv_opts, standardize, LK_T_BOOL, .def = "false",
        .help = "Numbers of the input less their column's mean, over its deviation."),
    LK_FIELD(lk_import_csv_opts, like, LK_T_STRING, .def = "",
        .help = "A file of an earlier import, whose names, means and deviations are taken: for data to validate on."),
    LK_FIELD(lk_import_csv_opts, shape, LK_T_INTS, .def = "", .min = 1, .max = 1e15,
        .help = "Shape of a sample, \"1,8,8\"; by default one dimension."),
    LK_FIELD(lk_import_csv_opts, type, LK_T_ENUM, .def = "float32", .choices = "uint8|float32",
        .help = "Stored type of the input; uint8 takes whole numbers from 0 to 255."),
    LK_FIELD(lk_import_csv_opts, input, LK_T_STRING, .def = "input", .help = "Name of the field of the inputs."),
    LK_FIELD(lk_import_csv_opts, label, LK_T_STRING, .def = "label", .help = "Name of the field of the labels."),
    LK_FIELD(lk_import_csv_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards, \"500,300,rest\": DEST-000.h5, DEST-001.h5 ..."),
    LK_FIELD(lk_import_csv_opts, skip, LK_T_INT, .def = "0", .min = 0, .max = 1e18, .unit = "rows",
        .help = "Rows to leave out, unread, at the beginning."),
    LK_FIELD(lk_import_csv_opts, rows, LK_T_STRING, .def = "0", .unit = "rows",
        .help =
            "Rows to take; 0: all that are left. \"100:150\": those from the 101st to the 150th, \"100:\" to the end."),
};
const lk_table lk_import_csv_table = LK_TABLE(
    lk_import_csv_opts, "lockstep data import csv", "Brings tables in text into HDF5, one sample a line.", csv_rows);

/* ---- lines ---- */

static bool is_blank(char x)
{
    return x == ' ' || x == '\t';
}

static bool line_is_blank(const lki_csv *c)
{
    for (size_t i = 0; i < c->lines.length; i++)
        if (!is_blank(c->lines.text[i]))
            return false;
    return true;
}

static lk_status fail_at_line(const lki_csv *c, const char *text)
{
    return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": %s", lki_source_name(c->source), c->lines.line, text);
}

/* The next line that is a row. Blank lines are fine at the end only. */
static lk_status read_row_line(lki_csv *c, bool *more)
{
    for (;;) {
        LK_TRY(lki_lines_next(&c->lines, more));
        if (!*more)
            return LK_OK;
        if (!line_is_blank(c)) {
            if (c->blank_line > 0) {
                c->lines.line = c->blank_line;
                return fail_at_line(c, "blank line before the end of the rows");
            }
            return LK_OK;
        }
        if (c->blank_line == 0)
            c->blank_line = c->lines.line;
    }
}

/* ---- cells ---- */

/* Takes the value at p. Quotes round it go; blanks round it too. */
static lki_cell take_cell(const lki_csv *c, char *p)
{
    char *const end = c->lines.text + c->lines.length;
    const bool runs = c->delimiter == ' ';
    lki_cell x;

    while (p < end && is_blank(*p) && *p != c->delimiter)
        p++;
    while (runs && p < end && is_blank(*p))
        p++;
    char *close = p < end && *p == '"' ? memchr(p + 1, '"', (size_t)(end - p - 1)) : NULL;
    char *stop = close != NULL ? close + 1 : p;
    while (stop < end && *stop != c->delimiter && !(runs && is_blank(*stop)))
        stop++;
    x.next = stop < end ? stop + 1 : NULL;
    if (runs) { /* blanks at the end of the line are no value */
        while (stop < end && is_blank(*stop))
            stop++;
        x.next = stop < end ? stop : NULL;
        while (stop > p && is_blank(stop[-1]))
            stop--;
    }
    while (stop > p && is_blank(stop[-1]))
        stop--;
    const bool quoted = close != NULL && stop == close + 1;
    x.from = quoted ? p + 1 : p;
    x.to = quoted ? close : stop;
    return x;
}

/* Decimal numbers of up to 15 digits without exponent: whole numbers below 2^53 divided by powers of ten up to 10^22,
 * so rounded once. */
static bool parse_short(const char *p, const char *end, double *out)
{
    static const double power[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    int64_t digits = 0;
    int n = 0, after_point = -1;
    const bool negative = p < end && *p == '-';

    for (p += negative; p < end; p++) {
        if (*p == '.' && after_point < 0) {
            after_point = 0;
        } else if (*p >= '0' && *p <= '9' && n < 15) {
            digits = 10 * digits + (*p - '0');
            n++;
            after_point += after_point >= 0;
        } else {
            return false;
        }
    }
    if (n == 0)
        return false;
    const double v = (double)digits / power[after_point > 0 ? after_point : 0];
    *out = negative ? -v : v;
    return true;
}

bool lki_cell_number(lki_cell x, double *out)
{
    if (parse_short(x.from, x.to, out))
        return true;
    const char behind = *x.to;
    *x.to = 0;
    const bool ok = strlen(x.from) == (size_t)(x.to - x.from) && lk_parse_f64(x.from, out);
    *x.to = behind;
    return ok;
}

lk_status lki_csv_fail(const lki_csv *c, int64_t column, const char *text)
{
    const lki_cell x = c->cell[column];
    const int64_t n = x.to - x.from;

    if (n == 0)
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": column %" PRId64 " is empty", lki_source_name(c->source),
            c->lines.line, column + 1);
    return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": column %" PRId64 ": \"%.*s%s\" %s", lki_source_name(c->source),
        c->lines.line, column + 1, (int)(n < SHOWN ? n : SHOWN), x.from, n > SHOWN ? "..." : "", text);
}

static int64_t count_cells(const lki_csv *c)
{
    int64_t n = 1;

    for (lki_cell x = take_cell(c, c->lines.text); x.next != NULL; x = take_cell(c, x.next))
        n++;
    return n;
}

lk_status lki_csv_next(lki_csv *c, bool *more)
{
    int64_t n = 0;

    if (c->pending)
        *more = true;
    else
        LK_TRY(read_row_line(c, more));
    c->pending = false;
    if (!*more)
        return LK_OK;
    for (char *p = c->lines.text; p != NULL; n++) {
        const lki_cell x = take_cell(c, p);
        if (n < c->columns)
            c->cell[n] = x;
        p = x.next;
    }
    if (n != c->columns)
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": %" PRId64 " value%s, expected %" PRId64 " as in line %" PRId64,
            lki_source_name(c->source), c->lines.line, n, n == 1 ? "" : "s", c->columns, c->first_line);
    return LK_OK;
}

/* ---- the first row, and what the options make of it ---- */

static lk_status parse_delimiter(const char *text, char *out)
{
    if (strcmp(text, "space") == 0)
        *out = ' ';
    else if (strcmp(text, "tab") == 0)
        *out = '\t';
    else if (strlen(text) == 1 && text[0] != '"' && text[0] != '\n' && text[0] != '\r')
        *out = text[0];
    else
        return LK_FAIL(LK_E_ARG, "--delimiter \"%s\": one character, \"tab\" or \"space\"", text);
    return LK_OK;
}

/* "5", "2:7", "2:" with --skip: rows [skip, skip + *rows), *rows 0: to the end. */
static lk_status parse_range(const lk_import_csv_opts *o, int64_t *skip, int64_t *rows)
{
    const char *text = o->rows != NULL ? o->rows : "0";
    const char *colon = strchr(text, ':');
    char first[24] = "";
    int64_t end = 0;

    *skip = o->skip;
    if (colon == NULL) {
        if (lk_parse_i64(text, rows) && *rows >= 0)
            return LK_OK;
    } else if ((size_t)(colon - text) < sizeof first) {
        memcpy(first, text, (size_t)(colon - text));
        const bool to_end = colon[1] == 0;
        if (lk_parse_i64(first, skip) && *skip >= 0 && (to_end || (lk_parse_i64(colon + 1, &end) && end > *skip))) {
            *rows = to_end ? 0 : end - *skip;
            return o->skip == 0 ? LK_OK
                                : LK_FAIL(LK_E_ARG, "--rows %s and --skip: one of them says where to begin", text);
        }
    }
    return LK_FAIL(LK_E_ARG, "--rows %s: a number of rows, or a range like \"100:150\" or \"100:\"", text);
}

static lk_status keep_header(lki_csv *c)
{
    const int64_t n = count_cells(c);
    char *p = c->lines.text;

    LK_TRY(lk_alloc_array(n, sizeof c->name[0], "names of columns", &c->name));
    for (c->names = 0; c->names < n; c->names++) {
        const lki_cell x = take_cell(c, p);
        LK_TRY(lk_alloc((size_t)(x.to - x.from) + 1, "name of a column", &c->name[c->names]));
        memcpy(c->name[c->names], x.from, (size_t)(x.to - x.from));
        p = x.next;
    }
    return LK_OK;
}

lk_status lki_csv_column(const lki_csv *c, const char *option, const char *text, const char *or_else, int64_t *out)
{
    int64_t k = 0;

    for (int64_t i = 0; i < c->names; i++)
        if (strcmp(c->name[i], text) == 0 && i < c->columns) {
            *out = i;
            return LK_OK;
        }
    if (!lk_parse_i64(text, &k))
        return LK_FAIL(LK_E_ARG, "%s %s: %s%s%s", option, text,
            c->o->header ? "the header of the file has no such column" : "a number, ", c->o->header ? "" : or_else,
            c->o->header ? "" : "or with --header a name");
    const int64_t column = k > 0 ? k - 1 : c->columns + k;
    if (column < 0 || column >= c->columns || k == 0)
        return LK_FAIL(
            LK_E_ARG, "%s %s: %s has %" PRId64 " columns", option, text, lki_source_name(c->source), c->columns);
    *out = column;
    return LK_OK;
}

lk_status lki_csv_init(lki_csv *c, lki_source *source, const lk_import_csv_opts *o)
{
    const char *name = lki_source_name(source);
    bool more;

    *c = (lki_csv){.source = source, .o = o};
    LK_TRY(parse_delimiter(o->delimiter, &c->delimiter));
    LK_TRY(parse_range(o, &c->skip, &c->rows));
    LK_TRY(lki_lines_init(&c->lines, source));
    if (o->header) {
        LK_TRY(lki_lines_next(&c->lines, &more));
        if (more)
            LK_TRY(keep_header(c));
    }
    for (int64_t i = 0; i <= c->skip; i++) {
        LK_TRY(read_row_line(c, &more));
        if (more)
            continue;
        if (c->lines.line == 0)
            return LK_FAIL(LK_E_FORMAT, "%s: empty file", name);
        if (i == 0)
            return LK_FAIL(LK_E_FORMAT, "%s: no rows%s", name, o->header ? " after the header" : "");
        if (o->skip == 0)
            return LK_FAIL(LK_E_ARG, "--rows %s: %s has %" PRId64 " rows", o->rows, name, i);
        return LK_FAIL(LK_E_ARG, "--skip %" PRId64 ": %s has %" PRId64 " rows", o->skip, name, i);
    }
    c->pending = true;
    c->first_line = c->lines.line;
    c->columns = count_cells(c);
    LK_TRY(lk_alloc_array(c->columns, sizeof c->cell[0], "cells of a row", &c->cell));
    c->label = -1;
    if (strcmp(o->label_column, "none") != 0)
        LK_TRY(lki_csv_column(c, "--label-column", o->label_column, "\"none\", ", &c->label));
    if (c->columns == 1 && c->label >= 0)
        return LK_FAIL(LK_E_ARG, "%s has one column: with a label there is no input (--label-column none)", name);
    return LK_OK;
}

void lki_csv_fini(lki_csv *c)
{
    lki_lines_fini(&c->lines);
    for (int64_t i = 0; i < c->names; i++)
        lk_free(c->name[i]);
    lk_free(c->name);
    lk_free(c->cell);
    *c = (lki_csv){0};
}

/* ---- the import ---- */

typedef struct job {
    const lk_import_csv_opts *o;
    lki_encoding encoding;
    int64_t rows;
    char *input, *label; /* a piece of them, encoded */
    int64_t piece, now; /* rows of a piece; in it */
    lki_shards *shards;
    char *encoding_text, *classes;
} job;

static lk_status flush(job *j)
{
    LK_TRY(lki_shards_add(j->shards, 0, j->now, (const void *const[]){j->input, j->label}));
    j->now = 0;
    return LK_OK;
}

static lk_status take_kinds(job *j, const lki_csv *c)
{
    lki_encoding_kinds(&j->encoding, c);
    return LK_OK;
}

static lk_status take_learn(job *j, const lki_csv *c)
{
    return lki_encoding_learn(&j->encoding, c);
}

static lk_status take_write(job *j, const lki_csv *c)
{
    const size_t input = (size_t)j->encoding.inputs * lk_elem_size(lki_csv_input_type(j->o));
    const size_t label = lk_elem_size(lki_csv_label_type(j->o));

    LK_TRY(lki_encoding_put(&j->encoding, c, j->input + (size_t)j->now * input, j->label + (size_t)j->now * label));
    if (++j->now == j->piece)
        LK_TRY(flush(j));
    return LK_OK;
}

/* Hands every row of the range to `take`; begin, if not NULL, comes before the first. */
static lk_status read_all(
    job *j, lk_status (*begin)(job *j, const lki_csv *c), lk_status (*take)(job *j, const lki_csv *c), int64_t *rows)
{
    const lk_import_csv_opts *o = j->o;
    lki_source *source = NULL;
    lki_csv c = {0};
    int64_t n = 0;
    bool more = true;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open(o->source, &source));
    LK_TRY_TO(st, out, lki_csv_init(&c, source, o));
    if (begin != NULL)
        LK_TRY_TO(st, out, begin(j, &c));
    for (; c.rows == 0 || n < c.rows; n++) {
        LK_TRY_TO(st, out, lki_csv_next(&c, &more));
        if (!more)
            break;
        if (j->shards != NULL && n == j->rows)
            break;
        LK_TRY_TO(st, out, take(j, &c));
    }
    if (n < c.rows)
        st = LK_FAIL(LK_E_ARG, "--rows %s: %s has %" PRId64 " row%s%s", o->rows, o->source, n, n == 1 ? "" : "s",
            c.skip > 0 ? " after those skipped" : "");
    else if (j->shards != NULL && (n < j->rows || (c.rows == 0 && more)))
        st = LK_FAIL(LK_E_IO, "%s: it had %" PRId64 " rows a moment ago", o->source, j->rows);
    *rows = n;
out:
    lki_csv_fini(&c);
    lki_source_close(&source);
    return st;
}

static lk_status begin_encoding(job *j, const lki_csv *c)
{
    return lki_encoding_init(&j->encoding, c);
}

static lk_status check_shape(const job *j)
{
    const lk_ints *shape = &j->o->shape;
    int64_t size = 1;
    lk_buf text = {0};
    lk_status st = LK_OK;

    if (shape->n == 0)
        return LK_OK;
    for (int i = 0; i < shape->n; i++) {
        lk_buf_printf(&text, "%s%" PRId64, i > 0 ? "," : "", shape->item[i]);
        if (size < 0 || shape->item[i] < 1 || __builtin_mul_overflow(size, shape->item[i], &size))
            size = -1;
    }
    if (size != j->encoding.inputs)
        st = LK_FAIL(LK_E_ARG, "--shape %s: %s has %" PRId64 " values a sample", lk_buf_text(&text), j->o->source,
            j->encoding.inputs);
    else if (shape->n > LK_DATA_MAX_DIMS)
        st = LK_FAIL(LK_E_ARG, "--shape %s: up to %d dimensions are possible", lk_buf_text(&text), LK_DATA_MAX_DIMS);
    lk_buf_fini(&text);
    return st;
}

static lk_status plan_shards(job *j, const lki_csv *c)
{
    const lk_import_csv_opts *o = j->o;
    lki_out_field field[2] = {{.name = o->input, .type = lki_csv_input_type(o), .ndim = 1, .dim = {j->encoding.inputs}},
        {.name = o->label, .type = lki_csv_label_type(o)}};
    lki_attr attr[2];
    int n_attrs = 0;

    if (j->encoding_text != NULL)
        attr[n_attrs++] = (lki_attr){.field = o->input, .name = "encoding", .text = j->encoding_text};
    if (o->named_classes && c->label >= 0)
        attr[n_attrs++] = (lki_attr){.field = o->label, .name = "classes", .text = j->classes};
    const lki_origin origin = {
        .source = o->source, .importer = "lockstep " LK_VERSION " data import csv", .attr = attr, .n_attrs = n_attrs};
    const lki_dest dest = {.path = o->dest, .shard_rows = o->shard_rows, .rows = j->rows, .first = c->skip};

    if (o->shape.n > 0)
        field[0].ndim = o->shape.n;
    for (int i = 0; i < o->shape.n; i++)
        field[0].dim[i] = o->shape.item[i];
    LK_TRY(lki_shards_create(&dest, 1, field, c->label >= 0 ? 2 : 1, &origin, &j->shards));
    return LK_OK;
}

static lk_status make_room(job *j)
{
    const size_t size = lk_elem_size(lki_csv_input_type(j->o));
    const int64_t row = j->encoding.inputs * (int64_t)size;

    j->piece = row < PIECE_BYTES ? PIECE_BYTES / row : 1;
    LK_TRY(lk_alloc_array(j->piece * j->encoding.inputs, size, "rows of text as numbers", &j->input));
    LK_TRY(lk_alloc_array(j->piece, lk_elem_size(lki_csv_label_type(j->o)), "rows of text as numbers", &j->label));
    return LK_OK;
}

lk_status lk_import_csv(const lk_import_csv_opts *o, lk_buf *report)
{
    const bool automatic = strcmp(o->one_hot != NULL ? o->one_hot : "", "auto") == 0;
    job j = {.o = o};
    int64_t n = 0;
    lk_status st;

    if (automatic)
        LK_TRY_TO(st, out, read_all(&j, begin_encoding, take_kinds, &n));
    LK_TRY_TO(st, out, read_all(&j, automatic ? NULL : begin_encoding, take_learn, &j.rows));
    LK_TRY_TO(st, out, lki_encoding_place(&j.encoding, o));
    LK_TRY_TO(st, out, check_shape(&j));
    LK_TRY_TO(st, out, lki_encoding_print(&j.encoding, o, &j.encoding_text));
    LK_TRY_TO(st, out, lki_names_join(&j.encoding.classes, &j.classes));
    LK_TRY_TO(st, out, make_room(&j));
    LK_TRY_TO(st, out, read_all(&j, plan_shards, take_write, &n));
    if (j.now > 0)
        LK_TRY_TO(st, out, flush(&j));
    LK_TRY_TO(st, out, lki_shards_finish(j.shards, report));
out:
    lki_shards_destroy(&j.shards);
    lki_encoding_fini(&j.encoding);
    lk_free(j.encoding_text);
    lk_free(j.classes);
    lk_free(j.label);
    lk_free(j.input);
    return st;
}
