/* Lines of a label and a text, as padded rows of ids. Read twice in the memory of one line: once to see names,
 * characters and lengths, once to write. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <string.h>

enum { LEVEL_BYTES, LEVEL_CHARS };
enum { PIECE_BYTES = 1 << 20, SHOWN = 40 };

static const lk_field labelled_rows[] = {
    LK_FIELD(lk_import_labelled_opts, source, LK_T_STRING, .positional = true, .help = "Text file, plain or gzip."),
    LK_FIELD(lk_import_labelled_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(lk_import_labelled_opts, level, LK_T_ENUM, .def = "chars", .choices = "bytes|chars",
        .help = "What an id stands for: a byte (the id is one more), or a character of UTF-8 text, numbered from 1."),
    LK_FIELD(lk_import_labelled_opts, max_length, LK_T_INT, .def = "0", .min = 0, .max = 1e9, .unit = "ids",
        .help = "Longer texts are cut; 0: rows are as long as the longest text."),
    LK_FIELD(lk_import_labelled_opts, split, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Part of the lines that goes to DEST, drawn by --seed; the others go to --rest."),
    LK_FIELD(lk_import_labelled_opts, rest, LK_T_STRING, .def = "", .help = "HDF5 file for the other lines."),
    LK_FIELD(
        lk_import_labelled_opts, seed, LK_T_INT, .def = "1", .min = 0, .max = 1e18, .help = "Which lines go where."),
    LK_FIELD(lk_import_labelled_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards of DEST, \"500,300,rest\": DEST-000.h5, DEST-001.h5 ..."),
};
const lk_table lk_import_labelled_table = LK_TABLE(lk_import_labelled_opts, "lockstep data import labelled-text",
    "Brings lines of a label, a tab and a text into HDF5, as padded rows of ids.", labelled_rows);

/* ---- lines ---- */

lk_status lki_labelled_next(lki_labelled *l, bool *more)
{
    const char *name = lki_source_name(l->lines.source);

    LK_TRY(lki_lines_next(&l->lines, more));
    while (*more && l->lines.length == 0) {
        l->blank_line = l->blank_line > 0 ? l->blank_line : l->lines.line;
        LK_TRY(lki_lines_next(&l->lines, more));
    }
    if (!*more)
        return LK_OK;
    if (l->blank_line > 0)
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": blank line before the end of the rows", name, l->blank_line);

    const char *text = l->lines.text, *tab = memchr(text, '\t', l->lines.length);
    if (tab == NULL)
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": \"%.*s%s\": no tab, which stands between label and text", name,
            l->lines.line, SHOWN, text, l->lines.length > SHOWN ? "..." : "");
    if (tab == text || memchr(text, 0, (size_t)(tab - text)) != NULL)
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": the label is %s", name, l->lines.line,
            tab == text ? "empty" : "no text: it has a zero byte");
    l->label_length = (size_t)(tab - text);
    l->at = l->label_length + 1;
    if (l->at == l->lines.length)
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": the text is empty", name, l->lines.line);
    return LK_OK;
}

lk_status lki_labelled_take(lki_labelled *l, bool chars, uint32_t *code, bool *more)
{
    const unsigned char *text = (const unsigned char *)l->lines.text;
    const size_t left = l->lines.length - l->at;

    *more = left > 0;
    if (left == 0)
        return LK_OK;
    int n = 1;
    if (chars)
        n = lki_utf8_take(text + l->at, left, code);
    else
        *code = text[l->at];
    if (n <= 0 || (chars && *code == 0))
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": byte %zu of the line (0x%02x) is %s (--level bytes takes any)",
            lki_source_name(l->lines.source), l->lines.line, l->at + 1, text[l->at],
            n <= 0 ? "not UTF-8" : "0, which no text has");
    l->at += (size_t)n;
    return LK_OK;
}

/* ---- the import ---- */

typedef struct job {
    const lk_import_labelled_opts *o;
    bool chars;
    lki_names names;
    lki_vocabulary vocabulary;
    uint32_t top; /* the largest byte */
    char *characters, *classes; /* as text */
    int64_t rows, longest; /* of the source */
    int64_t length; /* of a row that is written */
    lk_elem type;
    int64_t piece; /* rows at a time */
    struct {
        char *tokens;
        int32_t *length;
        int64_t *label;
        int64_t n;
    } part[LKI_DESTS];
    lki_shards *shards;
} job;

static lk_status see_row(job *j, lki_labelled *l)
{
    int64_t n = 0;
    uint32_t code;
    bool more;

    lk_status st = lki_names_add(&j->names, l->lines.text, l->label_length);
    if (st != LK_OK)
        return lk_err_prefix(st, "%s:%" PRId64 ": label: ", lki_source_name(l->lines.source), l->lines.line);
    for (;; n++) {
        LK_TRY(lki_labelled_take(l, j->chars, &code, &more));
        if (!more)
            break;
        if (j->chars)
            lki_vocabulary_see(&j->vocabulary, code);
        else
            j->top = code > j->top ? code : j->top;
    }
    j->longest = n > j->longest ? n : j->longest;
    j->rows++;
    return LK_OK;
}

static lk_status flush(job *j, int part)
{
    const void *const rows[] = {j->part[part].tokens, j->part[part].length, j->part[part].label};

    LK_TRY(lki_shards_add(j->shards, part, j->part[part].n, rows));
    j->part[part].n = 0;
    return LK_OK;
}

static lk_status write_row(job *j, lki_labelled *l, int part)
{
    const int64_t row = j->part[part].n;
    const int label = lki_names_find(&j->names, l->lines.text, l->label_length);
    char *const tokens = j->part[part].tokens + (size_t)(row * j->length) * lk_elem_size(j->type);
    int64_t n = 0;
    uint32_t code;
    bool more;

    memset(tokens, 0, (size_t)j->length * lk_elem_size(j->type));
    for (; n < j->length; n++) {
        LK_TRY(lki_labelled_take(l, j->chars, &code, &more));
        if (!more)
            break;
        const int32_t id = j->chars ? j->vocabulary.id[code] : (int32_t)code + 1;
        if (id < 0)
            break;
        if (j->type == LK_ELEM_U8)
            ((uint8_t *)tokens)[n] = (uint8_t)id;
        else
            ((uint16_t *)tokens)[n] = (uint16_t)id;
    }
    if (label < 0 || n == 0)
        return LK_FAIL(LK_E_IO, "%s:%" PRId64 ": the file has changed while it was read",
            lki_source_name(l->lines.source), l->lines.line);
    j->part[part].length[row] = (int32_t)n;
    j->part[part].label[row] = label;
    if (++j->part[part].n == j->piece)
        LK_TRY(flush(j, part));
    return LK_OK;
}

/* First pass (shards NULL) or second: `rows` is the number of them. */
static lk_status read_all(job *j, int64_t first_part)
{
    const lk_rng order = lki_order(j->o->seed);
    lki_source *source = NULL;
    lki_labelled l = {0};
    bool more;
    int64_t i = 0;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open(j->o->source, &source));
    LK_TRY_TO(st, out, lki_lines_init(&l.lines, source));
    for (;; i++) {
        LK_TRY_TO(st, out, lki_labelled_next(&l, &more));
        if (!more || (j->shards != NULL && i == j->rows))
            break;
        if (j->shards == NULL)
            LK_TRY_TO(st, out, see_row(j, &l));
        else
            LK_TRY_TO(
                st, out, write_row(j, &l, first_part < j->rows && lk_rng_permute(order, j->rows, i) >= first_part));
    }
    if (l.lines.line == 0 || i == 0)
        st = LK_FAIL(LK_E_FORMAT, "%s: %s", j->o->source, l.lines.line == 0 ? "empty file" : "no rows");
    else if (j->shards != NULL && (more || i < j->rows))
        st = LK_FAIL(LK_E_IO, "%s: the file has changed while it was read", j->o->source);
out:
    lki_lines_fini(&l.lines);
    lki_source_close(&source);
    return st;
}

static lk_status plan_shards(job *j, int64_t first_part)
{
    const lk_import_labelled_opts *o = j->o;
    const lki_out_field fields[] = {{.name = "tokens", .type = j->type, .ndim = 1, .dim = {j->length}},
        {.name = "length", .type = LK_ELEM_I32}, {.name = "label", .type = LK_ELEM_I64}};
    const lki_attr attr[] = {{.field = "tokens", .name = "first_id", .number = 1},
        {.field = "label", .name = "classes", .text = j->classes},
        {.field = "tokens", .name = "vocabulary", .text = j->characters}};
    const lki_origin origin = {.source = o->source,
        .importer = "lockstep " LK_VERSION " data import labelled-text",
        .attr = attr,
        .n_attrs = j->chars ? 3 : 2};
    const bool both = first_part < j->rows;
    const lki_dest dest[] = {{.path = o->dest, .shard_rows = o->shard_rows, .rows = first_part, .first = both ? -1 : 0},
        {.path = o->rest, .rows = j->rows - first_part, .first = -1}};

    LK_TRY(lki_shards_create(dest, both ? 2 : 1, fields, 3, &origin, &j->shards));
    return LK_OK;
}

static lk_status make_room(job *j, int n_parts)
{
    const size_t size = lk_elem_size(j->type);

    j->piece = 1 + PIECE_BYTES / (j->length * (int64_t)size);
    for (int i = 0; i < n_parts; i++) {
        LK_TRY(lk_alloc_array(j->piece * j->length, size, "rows of ids", &j->part[i].tokens));
        LK_TRY(lk_alloc_array(j->piece, sizeof j->part[i].length[0], "lengths", &j->part[i].length));
        LK_TRY(lk_alloc_array(j->piece, sizeof j->part[i].label[0], "labels", &j->part[i].label));
    }
    return LK_OK;
}

lk_status lk_import_labelled(const lk_import_labelled_opts *o, lk_buf *report)
{
    job j = {.o = o, .chars = o->level == LEVEL_CHARS};
    int64_t first_part = 0;
    lk_status st;

    LK_TRY_TO(st, out, lki_vocabulary_init(&j.vocabulary));
    LK_TRY_TO(st, out, read_all(&j, 0));
    if (j.chars)
        LK_TRY_TO(st, out, lki_vocabulary_number(&j.vocabulary, 1, &j.characters));
    LK_TRY_TO(st, out, lki_names_join(&j.names, &j.classes));
    j.type = (j.chars ? j.vocabulary.n : (int32_t)j.top + 1) <= UINT8_MAX ? LK_ELEM_U8 : LK_ELEM_U16;
    j.length = o->max_length > 0 ? o->max_length : j.longest;
    LK_TRY_TO(st, out, lki_split(o->split, o->rest, j.rows, &first_part));
    LK_TRY_TO(st, out, make_room(&j, first_part < j.rows ? 2 : 1));
    LK_TRY_TO(st, out, plan_shards(&j, first_part));
    LK_TRY_TO(st, out, read_all(&j, first_part));
    for (int i = 0; i < LKI_DESTS; i++)
        if (j.part[i].n > 0)
            LK_TRY_TO(st, out, flush(&j, i));
    LK_TRY_TO(st, out, lki_shards_finish(j.shards, report));
    lk_buf_printf(report, "%d classes, the longest text has %" PRId64 " ids%s\n", j.names.n, j.longest,
        j.longest > j.length ? ": longer ones are cut" : "");
out:
    lki_shards_destroy(&j.shards);
    for (int i = 0; i < LKI_DESTS; i++) {
        lk_free(j.part[i].tokens);
        lk_free(j.part[i].length);
        lk_free(j.part[i].label);
    }
    lk_free(j.classes);
    lk_free(j.characters);
    lki_names_fini(&j.names);
    lki_vocabulary_fini(&j.vocabulary);
    return st;
}
