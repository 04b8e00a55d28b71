/* Numbers in text. The file is read twice in fixed memory: once to check every value and count the rows, once to write
 * them. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TYPE_U8, TYPE_F32 };
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
    LK_FIELD(lk_import_csv_opts, rows, LK_T_INT, .def = "0", .min = 0, .max = 1e18, .unit = "rows",
        .help = "Rows to take; 0: all that are left."),
};
const lk_table lk_import_csv_table = LK_TABLE(
    lk_import_csv_opts, "lockstep data import csv", "Brings numbers in text into HDF5, one sample a line.", csv_rows);

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

/* ---- values ---- */

/* One value of the line at hand: text [from,to), and where to go on. */
typedef struct cell {
    char *from, *to, *next; /* next NULL: it was the last */
} cell;

/* Takes the value at p. Quotes round it go; blanks round it too. */
static cell take_cell(const lki_csv *c, char *p)
{
    char *const end = c->lines.text + c->lines.length;
    const bool runs = c->delimiter == ' ';
    cell x;

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

static bool parse_number(cell x, double *out)
{
    if (parse_short(x.from, x.to, out))
        return true;
    const char behind = *x.to;
    *x.to = 0;
    const bool ok = strlen(x.from) == (size_t)(x.to - x.from) && lk_parse_f64(x.from, out);
    *x.to = behind;
    return ok;
}

static lk_status fail_at_cell(const lki_csv *c, int64_t column, cell x, const char *text)
{
    const int64_t n = x.to - x.from;

    if (n == 0)
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": column %" PRId64 " is empty", lki_source_name(c->source),
            c->lines.line, column + 1);
    return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": column %" PRId64 ": \"%.*s%s\" %s", lki_source_name(c->source),
        c->lines.line, column + 1, (int)(n < SHOWN ? n : SHOWN), x.from, n > SHOWN ? "..." : "", text);
}

/* Checks a value and stores it at `out`, if there is one. */
static lk_status put_value(const lki_csv *c, int64_t column, cell x, lk_elem type, int64_t index, void *out)
{
    double v;

    if (!parse_number(x, &v))
        return fail_at_cell(c, column, x, "is not a number");
    switch (type) {
    case LK_ELEM_U8:
        if (!(v >= 0 && v <= 255) || v != floor(v))
            return fail_at_cell(c, column, x, "is not a whole number from 0 to 255, as --type uint8 takes");
        if (out != NULL)
            ((uint8_t *)out)[index] = (uint8_t)v;
        break;
    case LK_ELEM_I64:
        if (v != floor(v) || fabs(v) > 0x1p53)
            return fail_at_cell(c, column, x, "is not a whole number, as --classes takes for labels");
        if (out != NULL)
            ((int64_t *)out)[index] = (int64_t)v;
        break;
    default:
        if (isinf((float)v))
            return fail_at_cell(c, column, x, "is too large for float32");
        if (out != NULL)
            ((float *)out)[index] = (float)v;
    }
    return LK_OK;
}

static int64_t count_cells(const lki_csv *c)
{
    int64_t n = 1;

    for (cell x = take_cell(c, c->lines.text); x.next != NULL; x = take_cell(c, x.next))
        n++;
    return n;
}

static lk_elem input_type(const lk_import_csv_opts *o)
{
    return o->type == TYPE_U8 ? LK_ELEM_U8 : LK_ELEM_F32;
}

static lk_elem label_type(const lk_import_csv_opts *o)
{
    return o->classes ? LK_ELEM_I64 : LK_ELEM_F32;
}

lk_status lki_csv_next(lki_csv *c, void *input, void *label, bool *more)
{
    if (c->pending)
        *more = true;
    else
        LK_TRY(read_row_line(c, more));
    c->pending = false;
    if (!*more)
        return LK_OK;

    int64_t column = 0, to = 0;
    char *p = c->lines.text;
    lk_status st = LK_OK;
    for (; p != NULL && column < c->columns && st == LK_OK; column++) {
        const cell x = take_cell(c, p);
        if (column == c->label)
            st = put_value(c, column, x, label_type(c->o), 0, label);
        else
            st = put_value(c, column, x, input_type(c->o), to++, input);
        p = x.next;
    }
    /* In a row of another length the values are not where they belong, so that is what is told. */
    if (st != LK_OK || p != NULL || column < c->columns) {
        const int64_t n = count_cells(c);
        if (n != c->columns)
            return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": %" PRId64 " value%s, expected %" PRId64 " as in line %" PRId64,
                lki_source_name(c->source), c->lines.line, n, n == 1 ? "" : "s", c->columns, c->first_line);
    }
    return st;
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

/* The column that is called so in the header line at hand, or -1. */
static int64_t find_column(const lki_csv *c, const char *name)
{
    int64_t column = 0;

    for (char *p = c->lines.text; p != NULL; column++) {
        const cell x = take_cell(c, p);
        if ((size_t)(x.to - x.from) == strlen(name) && memcmp(x.from, name, strlen(name)) == 0)
            return column;
        p = x.next;
    }
    return -1;
}

/* Which column the label is, now that their number is known; `named` is the one that the header calls so. */
static lk_status choose_label(lki_csv *c, int64_t named)
{
    const char *text = c->o->label_column;
    const char *name = lki_source_name(c->source);
    int64_t k = 0;

    c->label = -1;
    if (strcmp(text, "none") == 0)
        return LK_OK;
    if (named >= 0)
        c->label = named;
    else if (!lk_parse_i64(text, &k))
        return LK_FAIL(LK_E_ARG, "--label-column %s: %s", text,
            c->o->header ? "the header of the file has no such column" : "a number, \"none\", or with --header a name");
    else
        c->label = k > 0 ? k - 1 : c->columns + k;
    if (c->label < 0 || c->label >= c->columns || (named < 0 && k == 0))
        return LK_FAIL(LK_E_ARG, "--label-column %s: %s has %" PRId64 " columns", text, name, c->columns);
    return LK_OK;
}

static lk_status check_shape(const lki_csv *c)
{
    int64_t size = 1;
    lk_buf text = {0};

    if (c->o->shape.n == 0)
        return LK_OK;
    for (int i = 0; i < c->o->shape.n; i++) {
        lk_buf_printf(&text, "%s%" PRId64, i > 0 ? "," : "", c->o->shape.item[i]);
        if (size < 0 || c->o->shape.item[i] < 1 || __builtin_mul_overflow(size, c->o->shape.item[i], &size))
            size = -1;
    }
    lk_status st = LK_OK;
    if (size != c->inputs)
        st = LK_FAIL(LK_E_ARG, "--shape %s: %s has %" PRId64 " values a sample", lk_buf_text(&text),
            lki_source_name(c->source), c->inputs);
    else if (c->o->shape.n > LK_DATA_MAX_DIMS)
        st = LK_FAIL(LK_E_ARG, "--shape %s: up to %d dimensions are possible", lk_buf_text(&text), LK_DATA_MAX_DIMS);
    lk_buf_fini(&text);
    return st;
}

lk_status lki_csv_init(lki_csv *c, lki_source *source, const lk_import_csv_opts *o)
{
    const char *name = lki_source_name(source);
    int64_t named = -1;
    bool more;

    *c = (lki_csv){.source = source, .o = o};
    LK_TRY(parse_delimiter(o->delimiter, &c->delimiter));
    LK_TRY(lki_lines_init(&c->lines, source));
    if (o->header) {
        LK_TRY(lki_lines_next(&c->lines, &more));
        if (more)
            named = find_column(c, o->label_column);
    }
    for (int64_t i = 0; i <= o->skip; i++) {
        LK_TRY(read_row_line(c, &more));
        if (more)
            continue;
        if (c->lines.line == 0)
            return LK_FAIL(LK_E_FORMAT, "%s: empty file", name);
        if (i == 0)
            return LK_FAIL(LK_E_FORMAT, "%s: no rows%s", name, o->header ? " after the header" : "");
        return LK_FAIL(LK_E_ARG, "--skip %" PRId64 ": %s has %" PRId64 " rows", o->skip, name, i);
    }
    c->pending = true;
    c->first_line = c->lines.line;
    c->columns = count_cells(c);
    LK_TRY(choose_label(c, named));
    c->inputs = c->columns - (c->label >= 0);
    if (c->inputs == 0)
        return LK_FAIL(LK_E_ARG, "%s has one column: with a label there is no input (--label-column none)", name);
    LK_TRY(check_shape(c));
    return LK_OK;
}

void lki_csv_fini(lki_csv *c)
{
    lki_lines_fini(&c->lines);
    *c = (lki_csv){0};
}

/* ---- the import ---- */

/* First pass: every value of the range is checked, the rows are counted. */
static lk_status check_rows(const lk_import_csv_opts *o, int64_t *rows)
{
    lki_source *source = NULL;
    lki_csv c = {0};
    int64_t n = 0;
    bool more = true;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open(o->source, &source));
    LK_TRY_TO(st, out, lki_csv_init(&c, source, o));
    while (o->rows == 0 || n < o->rows) {
        LK_TRY_TO(st, out, lki_csv_next(&c, NULL, NULL, &more));
        if (!more)
            break;
        n++;
    }
    if (n < o->rows)
        st = LK_FAIL(LK_E_ARG, "--rows %" PRId64 ": %s has %" PRId64 " row%s%s", o->rows, o->source, n,
            n == 1 ? "" : "s", o->skip > 0 ? " after those skipped" : "");
    *rows = n;
out:
    lki_csv_fini(&c);
    lki_source_close(&source);
    return st;
}

static lk_status plan_shards(const lki_csv *c, int64_t rows, lki_shards **out)
{
    const lk_import_csv_opts *o = c->o;
    lki_out_field field[2] = {{.name = o->input, .type = input_type(o), .ndim = 1, .dim = {c->inputs}},
        {.name = o->label, .type = label_type(o)}};
    const lki_origin origin = {.source = o->source, .importer = "lockstep " LK_VERSION " data import csv"};
    const lki_dest dest = {.path = o->dest, .shard_rows = o->shard_rows, .rows = rows, .first = o->skip};

    if (o->shape.n > 0)
        field[0].ndim = o->shape.n;
    for (int i = 0; i < o->shape.n; i++)
        field[0].dim[i] = o->shape.item[i];
    LK_TRY(lki_shards_create(&dest, 1, field, c->label >= 0 ? 2 : 1, &origin, out));
    return LK_OK;
}

/* Second pass. */
static lk_status copy_rows(lki_csv *c, int64_t rows, lki_shards *shards)
{
    const size_t input_bytes = (size_t)c->inputs * lk_elem_size(input_type(c->o)),
                 label_bytes = lk_elem_size(label_type(c->o));
    const int64_t piece = input_bytes < PIECE_BYTES ? PIECE_BYTES / (int64_t)input_bytes : 1;
    char *input = NULL, *label = NULL;
    bool more = true;
    lk_status st;

    LK_TRY_TO(st, out, lk_alloc_array(piece, input_bytes, "rows of text as numbers", &input));
    LK_TRY_TO(st, out, lk_alloc_array(piece, label_bytes, "rows of text as numbers", &label));
    for (int64_t first = 0; first < rows; first += piece) {
        const int64_t n = rows - first < piece ? rows - first : piece;
        for (int64_t i = 0; i < n; i++) {
            LK_TRY_TO(
                st, out, lki_csv_next(c, input + (size_t)i * input_bytes, label + (size_t)i * label_bytes, &more));
            if (!more) {
                st = LK_FAIL(LK_E_IO, "%s: it had %" PRId64 " rows a moment ago, now %" PRId64,
                    lki_source_name(c->source), rows, first + i);
                goto out;
            }
        }
        LK_TRY_TO(st, out, lki_shards_add(shards, 0, n, (const void *const[]){input, label}));
    }
out:
    lk_free(label);
    lk_free(input);
    return st;
}

lk_status lk_import_csv(const lk_import_csv_opts *o, lk_buf *report)
{
    lki_source *source = NULL;
    lki_shards *shards = NULL;
    lki_csv c = {0};
    int64_t rows = 0;
    lk_status st;

    LK_TRY_TO(st, out, check_rows(o, &rows));
    LK_TRY_TO(st, out, lki_source_open(o->source, &source));
    LK_TRY_TO(st, out, lki_csv_init(&c, source, o));
    LK_TRY_TO(st, out, plan_shards(&c, rows, &shards));
    LK_TRY_TO(st, out, copy_rows(&c, rows, shards));
    LK_TRY_TO(st, out, lki_shards_finish(shards, report));
out:
    lki_shards_destroy(&shards);
    lki_csv_fini(&c);
    lki_source_close(&source);
    return st;
}
