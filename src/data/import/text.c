/* Running text as one long field of ids. Read twice in fixed memory: once to see which characters there are and how
 * many, once to write their ids. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <string.h>

enum { LEVEL_BYTES, LEVEL_CHARS };
enum { READ_BYTES = 1 << 16, PIECE = 1 << 16 };

static const lk_field text_rows[] = {
    LK_FIELD(lk_import_text_opts, source, LK_T_STRING, .positional = true, .help = "Text file, plain or gzip."),
    LK_FIELD(lk_import_text_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(lk_import_text_opts, also, LK_T_STRINGS, .def = "",
        .help = "A further text file, that follows on the ones before; may be given several times."),
    LK_FIELD(lk_import_text_opts, level, LK_T_ENUM, .def = "chars", .choices = "bytes|chars",
        .help = "What an id stands for: a byte, or a character of UTF-8 text, numbered by code point."),
    LK_FIELD(lk_import_text_opts, field, LK_T_STRING, .def = "tokens", .help = "Name of the field of the ids."),
    LK_FIELD(lk_import_text_opts, split, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Part of the text that goes to DEST, from its beginning; what follows goes to --rest."),
    LK_FIELD(lk_import_text_opts, rest, LK_T_STRING, .def = "", .help = "HDF5 file for the rest of the text."),
    LK_FIELD(lk_import_text_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards of DEST, \"500000,300000,rest\": DEST-000.h5, DEST-001.h5 ..."),
};
const lk_table lk_import_text_table = LK_TABLE(
    lk_import_text_opts, "lockstep data import text", "Brings running text into HDF5, as a series of ids.", text_rows);

/* ---- characters of a source ---- */

lk_status lki_text_init(lki_text *t, lki_source *source, bool chars)
{
    *t = (lki_text){.source = source, .chars = chars, .line = 1};
    LK_TRY(lk_alloc(READ_BYTES, "text", &t->bytes));
    return LK_OK;
}

void lki_text_fini(lki_text *t)
{
    lk_free(t->bytes);
    *t = (lki_text){0};
}

/* Reads on; what is left of a character stays. */
static lk_status fill(lki_text *t)
{
    size_t got;

    memmove(t->bytes, t->bytes + t->at, t->n_bytes - t->at);
    t->n_bytes -= t->at;
    t->at = 0;
    LK_TRY(lki_source_read(t->source, t->bytes + t->n_bytes, READ_BYTES - t->n_bytes, &got));
    t->ended = got == 0;
    t->n_bytes += got;
    if (t->ended && lki_source_cut(t->source))
        return LK_FAIL(LK_E_FORMAT, "%s: truncated: its gzip stream has no end", lki_source_name(t->source));
    return LK_OK;
}

static lk_status take_char(lki_text *t, uint32_t *code)
{
    const char *name = lki_source_name(t->source);
    const int n = lki_utf8_take(t->bytes + t->at, t->n_bytes - t->at, code);

    if (n <= 0)
        return LK_FAIL(LK_E_FORMAT, "%s:%" PRId64 ": byte %" PRId64 " (0x%02x) %s (--level bytes takes any)", name,
            t->line, t->byte, t->bytes[t->at], n == 0 ? "begins a character that the text ends in" : "is not UTF-8");
    if (*code == 0)
        return LK_FAIL(LK_E_FORMAT,
            "%s:%" PRId64 ": byte %" PRId64 " is 0, which no text has (--level bytes takes any)", name, t->line,
            t->byte);
    t->at += (size_t)n;
    t->byte += n;
    t->line += *code == '\n';
    return LK_OK;
}

lk_status lki_text_next(lki_text *t, int64_t most, uint32_t *codes, int64_t *n)
{
    enum { CHAR_BYTES = 4 };
    int64_t k = 0;

    while (k < most) {
        if (t->n_bytes - t->at < CHAR_BYTES && !t->ended) {
            LK_TRY(fill(t));
            continue;
        }
        if (t->at == t->n_bytes)
            break;
        if (!t->chars) {
            codes[k++] = t->bytes[t->at++];
            t->byte++;
            continue;
        }
        const bool first = t->byte == 0;
        LK_TRY(take_char(t, &codes[k]));
        if (!(first && codes[k] == 0xfeff))
            k++;
    }
    *n = k;
    return LK_OK;
}

/* ---- the import ---- */

typedef struct job {
    const lk_import_text_opts *o;
    lki_vocabulary vocabulary;
    char *characters; /* of the vocabulary, as text */
    lk_elem type;
    int64_t total, first_part, done; /* ids */
    uint32_t *codes; /* [PIECE] */
    void *ids; /* [PIECE] */
    lki_shards *shards;
} job;

static int n_sources(const lk_import_text_opts *o)
{
    return 1 + o->also.n;
}

static const char *source_path(const lk_import_text_opts *o, int i)
{
    return i == 0 ? o->source : o->also.item[i - 1];
}

static lk_status see(job *j, int64_t n)
{
    if (j->o->level == LEVEL_CHARS)
        for (int64_t i = 0; i < n; i++)
            lki_vocabulary_see(&j->vocabulary, j->codes[i]);
    j->total += n;
    return LK_OK;
}

static lk_status write_ids(job *j, int64_t n)
{
    const bool chars = j->o->level == LEVEL_CHARS;

    if (n > j->total - j->done)
        return LK_FAIL(LK_E_IO, "%s: the text has grown while it was read", j->o->source);
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = chars ? j->vocabulary.id[j->codes[i]] : (int32_t)j->codes[i];
        if (id < 0)
            return LK_FAIL(LK_E_IO, "%s: the text has changed while it was read", j->o->source);
        if (j->type == LK_ELEM_U8)
            ((uint8_t *)j->ids)[i] = (uint8_t)id;
        else
            ((uint16_t *)j->ids)[i] = (uint16_t)id;
    }
    const int64_t to_first = j->done >= j->first_part ? 0 : n < j->first_part - j->done ? n : j->first_part - j->done;
    if (to_first > 0)
        LK_TRY(lki_shards_add(j->shards, 0, to_first, (const void *const[]){j->ids}));
    if (n > to_first) {
        const void *const from = (char *)j->ids + (size_t)to_first * lk_elem_size(j->type);
        LK_TRY(lki_shards_add(j->shards, 1, n - to_first, &from));
    }
    j->done += n;
    return LK_OK;
}

/* Hands all characters of all sources to `take`, a piece at a time. */
static lk_status read_all(job *j, lk_status (*take)(job *j, int64_t n))
{
    lki_source *source = NULL;
    lki_text t = {0};
    int64_t n = 1;
    lk_status st = LK_OK;

    for (int i = 0; i < n_sources(j->o); i++) {
        LK_TRY_TO(st, out, lki_source_open(source_path(j->o, i), &source));
        LK_TRY_TO(st, out, lki_text_init(&t, source, j->o->level == LEVEL_CHARS));
        for (n = 1; n > 0;) {
            LK_TRY_TO(st, out, lki_text_next(&t, PIECE, j->codes, &n));
            LK_TRY_TO(st, out, take(j, n));
        }
        if (t.byte == 0) {
            st = LK_FAIL(LK_E_FORMAT, "%s: empty file", source_path(j->o, i));
            goto out;
        }
        lki_text_fini(&t);
        lki_source_close(&source);
    }
out:
    lki_text_fini(&t);
    lki_source_close(&source);
    return st;
}

static lk_status plan_shards(job *j)
{
    const lk_import_text_opts *o = j->o;
    const lki_out_field field = {.name = o->field, .type = j->type};
    const lki_attr attr = {.field = o->field, .name = "vocabulary", .text = j->characters};
    const lki_origin origin = {.source = o->source,
        .importer = "lockstep " LK_VERSION " data import text",
        .attr = &attr,
        .n_attrs = j->characters != NULL};
    const lki_dest dest[] = {{.path = o->dest, .shard_rows = o->shard_rows, .rows = j->first_part},
        {.path = o->rest, .rows = j->total - j->first_part, .first = j->first_part}};

    LK_TRY(lki_shards_create(dest, j->first_part < j->total ? 2 : 1, &field, 1, &origin, &j->shards));
    return LK_OK;
}

lk_status lk_import_text(const lk_import_text_opts *o, lk_buf *report)
{
    job j = {.o = o, .type = LK_ELEM_U8};
    lk_status st;

    LK_TRY_TO(st, out, lk_alloc_array(PIECE, sizeof j.codes[0], "characters", &j.codes));
    LK_TRY_TO(st, out, lki_vocabulary_init(&j.vocabulary));
    LK_TRY_TO(st, out, read_all(&j, see));
    if (o->level == LEVEL_CHARS) {
        LK_TRY_TO(st, out, lki_vocabulary_number(&j.vocabulary, 0, &j.characters));
        j.type = j.vocabulary.n <= 1 << 8 ? LK_ELEM_U8 : LK_ELEM_U16;
    }
    if (j.total == 0) {
        st = LK_FAIL(LK_E_FORMAT, "%s: no characters", o->source);
        goto out;
    }
    LK_TRY_TO(st, out, lk_alloc_array(PIECE, lk_elem_size(j.type), "ids", &j.ids));
    LK_TRY_TO(st, out, lki_split(o->split, o->rest, j.total, &j.first_part));
    LK_TRY_TO(st, out, plan_shards(&j));
    LK_TRY_TO(st, out, read_all(&j, write_ids));
    if (j.done < j.total) {
        st = LK_FAIL(LK_E_IO, "%s: the text has become shorter while it was read", o->source);
        goto out;
    }
    LK_TRY_TO(st, out, lki_shards_finish(j.shards, report));
    if (j.characters != NULL)
        lk_buf_printf(report, "%d different characters\n", (int)j.vocabulary.n);
out:
    lki_shards_destroy(&j.shards);
    lki_vocabulary_fini(&j.vocabulary);
    lk_free(j.characters);
    lk_free(j.ids);
    lk_free(j.codes);
    return st;
}
