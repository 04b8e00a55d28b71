/* A folder of recordings as padded log-mel spectrograms. Each file is streamed; memory is that of one spectrogram. */
#include "base/mem.h"
#include "data/import/import_int.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { READ_FRAMES = 1024, CHANNELS_MAX = 64, RATE_MAX = 1000000 };

static const lk_field wav_rows[] = {
    LK_FIELD(
        lk_import_wav_opts, source, LK_T_STRING, .positional = true, .help = "Folder of .wav files of 16-bit PCM."),
    LK_FIELD(lk_import_wav_opts, dest, LK_T_STRING, .positional = true,
        .help = "HDF5 file to write; with --shard-rows the beginning of the names."),
    LK_FIELD(lk_import_wav_opts, label_pattern, LK_T_STRING, .def = "{}_*",
        .help = "Where in a file's name its class stands, as {}; wildcards for the rest. The shortest text that fits."),
    LK_FIELD(lk_import_wav_opts, match, LK_T_STRINGS, .def = "",
        .help = "Files to take, as a pattern of their names; may be given several times. Classes are numbered, and the "
                "longest is found, over all files of the folder."),
    LK_FIELD(lk_import_wav_opts, except, LK_T_STRINGS, .def = "", .help = "Files to leave out, likewise."),
    LK_FIELD(lk_import_wav_opts, window, LK_T_REAL, .def = "25", .min = 0.1, .max = 10000, .unit = "ms",
        .help = "Length of a frame: a Hann window."),
    LK_FIELD(lk_import_wav_opts, hop, LK_T_REAL, .def = "10", .min = 0.1, .max = 10000, .unit = "ms",
        .help = "From the beginning of a frame to that of the next."),
    LK_FIELD(lk_import_wav_opts, bands, LK_T_INT, .def = "40", .min = 1, .max = 1000,
        .help = "Mel filters, from 0 to half the rate."),
    LK_FIELD(lk_import_wav_opts, max_frames, LK_T_INT, .def = "0", .min = 0, .max = 1e6, .unit = "frames",
        .help = "Longer recordings are cut; 0: all are padded to the longest of the folder."),
    LK_FIELD(lk_import_wav_opts, split, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Part of the files that goes to DEST; the others go to --rest."),
    LK_FIELD(lk_import_wav_opts, rest, LK_T_STRING, .def = "", .help = "HDF5 file for the other files."),
    LK_FIELD(lk_import_wav_opts, seed, LK_T_INT, .def = "1", .min = 0, .max = 1e18,
        .help = "Order of the samples, and which go where."),
    LK_FIELD(lk_import_wav_opts, shard_rows, LK_T_STRING, .def = "",
        .help = "Sizes of several shards of DEST, \"500,300,rest\": DEST-000.h5, DEST-001.h5 ..."),
};
const lk_table lk_import_wav_table = LK_TABLE(
    lk_import_wav_opts, "lockstep data import wav", "Brings recordings into HDF5, as log-mel spectrograms.", wav_rows);

/* ---- the file ---- */

static lk_status take(lki_wav *w, const char *what, void *out, size_t n)
{
    size_t got;

    LK_TRY(lki_source_read(w->source, out, n, &got));
    w->byte += (int64_t)got;
    if (got < n)
        return LK_FAIL(LK_E_FORMAT, "%s: truncated: it ends at byte %" PRId64 ", within %s", lki_source_name(w->source),
            w->byte, what);
    return LK_OK;
}

static uint32_t little(const unsigned char *p, int bytes)
{
    uint32_t v = 0;

    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static lk_status skip_bytes(lki_wav *w, int64_t n)
{
    char some[512];

    for (; n > 0; n -= (int64_t)sizeof some)
        LK_TRY(take(w, "a chunk before the sound", some, n < (int64_t)sizeof some ? (size_t)n : sizeof some));
    return LK_OK;
}

/* The chunk that says what the sound is. */
static lk_status read_format(lki_wav *w, uint32_t size)
{
    enum { PCM = 1, EXTENSIBLE = 0xfffe, NEEDED = 16, SUBFORMAT = 24 };
    const char *name = lki_source_name(w->source);
    unsigned char f[40] = {0};
    const uint32_t here = size < sizeof f ? size : (uint32_t)sizeof f;

    if (size < NEEDED)
        return LK_FAIL(LK_E_FORMAT, "%s: format chunk of %" PRIu32 " bytes, 16 or more are needed", name, size);
    LK_TRY(take(w, "the format chunk", f, here));
    LK_TRY(skip_bytes(w, (int64_t)size - here + (size & 1)));
    uint32_t tag = little(f, 2);
    if (tag == EXTENSIBLE && size >= SUBFORMAT + 2)
        tag = little(f + SUBFORMAT, 2);
    const uint32_t bits = little(f + 14, 2), align = little(f + 12, 2);
    w->channels = (int)little(f + 2, 2);
    w->rate = (int64_t)little(f + 4, 4);
    if (tag != PCM || bits != 16)
        return LK_FAIL(
            LK_E_FORMAT, "%s: format %" PRIu32 " of %" PRIu32 " bits; PCM (1) of 16 bits is read", name, tag, bits);
    if (w->channels < 1 || w->channels > CHANNELS_MAX || w->rate < 1 || w->rate > RATE_MAX ||
        align != 2 * (uint32_t)w->channels)
        return LK_FAIL(LK_E_FORMAT, "%s: %d channels at %" PRId64 " Hz, %" PRIu32 " bytes a sample: that cannot be",
            name, w->channels, w->rate, align);
    return LK_OK;
}

lk_status lki_wav_init(lki_wav *w, lki_source *source)
{
    const char *name = lki_source_name(source);
    unsigned char head[12];

    *w = (lki_wav){.source = source};
    LK_TRY(take(w, "the header", head, 12));
    if (memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0)
        return LK_FAIL(LK_E_FORMAT, "%s: not a WAV file: it does not begin with RIFF and WAVE", name);
    for (;;) {
        LK_TRY(take(w, "a chunk's header", head, 8));
        const uint32_t size = little(head + 4, 4);
        if (memcmp(head, "fmt ", 4) == 0) {
            LK_TRY(read_format(w, size));
        } else if (memcmp(head, "data", 4) == 0) {
            if (w->channels == 0)
                return LK_FAIL(
                    LK_E_FORMAT, "%s: byte %" PRId64 ": sound without a format chunk before it", name, w->byte);
            if (size == 0 || size % (2 * (uint32_t)w->channels) != 0)
                return LK_FAIL(
                    LK_E_FORMAT, "%s: %" PRIu32 " bytes of sound are no whole number of samples", name, size);
            w->samples = size / (2 * w->channels);
            return LK_OK;
        } else {
            LK_TRY(skip_bytes(w, (int64_t)size + (size & 1)));
        }
    }
}

lk_status lki_wav_read(lki_wav *w, int64_t n, double *out)
{
    unsigned char bytes[2 * CHANNELS_MAX * 16];
    const int64_t at_once = (int64_t)sizeof bytes / (2 * w->channels);

    LK_BUG_IF(n > w->samples - w->done, "more samples than there are");
    for (int64_t i = 0; i < n;) {
        const int64_t here = n - i < at_once ? n - i : at_once;
        LK_TRY(take(w, "the sound", bytes, (size_t)(here * 2 * w->channels)));
        for (int64_t k = 0; k < here; k++, i++) {
            double sum = 0;
            for (int c = 0; c < w->channels; c++)
                sum += (int16_t)little(bytes + 2 * (k * w->channels + c), 2);
            out[i] = sum / (w->channels * 32768.0);
        }
    }
    w->done += n;
    return LK_OK;
}

/* ---- the import ---- */

static const char *const endings[] = {".wav", NULL};

typedef struct job {
    const lk_import_wav_opts *o;
    lki_items all, chosen;
    char *classes;
    int64_t rate, window, hop, frames; /* Hz, samples; frames of a row */
    int64_t longest;
    lki_mel mel;
    double *samples; /* [window], and what is to be passed over */
    float *row; /* [frames, bands] */
    lki_shards *shards;
} job;

static int64_t samples_of(double ms, int64_t rate)
{
    return (int64_t)llround(ms * (double)rate / 1000);
}

/* One rate for all, and the longest. */
static lk_status look_at(job *j, const char *path)
{
    lki_source *source = NULL;
    lki_wav w;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open(path, &source));
    LK_TRY_TO(st, out, lki_wav_init(&w, source));
    if (j->rate == 0) {
        j->rate = w.rate;
        j->window = samples_of(j->o->window, w.rate);
        j->hop = samples_of(j->o->hop, w.rate);
        if (j->window < 2 || j->hop < 1)
            st = LK_FAIL(LK_E_ARG,
                "--window %g, --hop %g: %" PRId64 " and %" PRId64 " samples at %" PRId64 " Hz; 2 and 1 are the least",
                j->o->window, j->o->hop, j->window, j->hop, w.rate);
    } else if (w.rate != j->rate) {
        st = LK_FAIL(LK_E_FORMAT, "%s: %" PRId64 " Hz, the files before it have %" PRId64, path, w.rate, j->rate);
    }
    if (st != LK_OK)
        goto out;
    const int64_t frames = lki_mel_frames(w.samples, j->window, j->hop);
    j->longest = frames > j->longest ? frames : j->longest;
out:
    lki_source_close(&source);
    return st;
}

static lk_status read_row(job *j, const char *path, int32_t *length)
{
    lki_source *source = NULL;
    lki_wav w;
    lk_status st;

    LK_TRY_TO(st, out, lki_source_open(path, &source));
    LK_TRY_TO(st, out, lki_wav_init(&w, source));
    const int64_t all = lki_mel_frames(w.samples, j->window, j->hop);
    const int64_t n = all < j->frames ? all : j->frames;
    const int64_t kept = j->hop < j->window ? j->window - j->hop : 0; /* samples that a frame shares with the next */
    int64_t want = j->window;
    memset(j->samples, 0, (size_t)j->window * sizeof j->samples[0]);
    for (int64_t t = 0; t < n; t++) {
        const int64_t here = want < w.samples - w.done ? want : w.samples - w.done;
        LK_TRY_TO(st, out, lki_wav_read(&w, here, j->samples + (t > 0 ? kept : 0)));
        lki_mel_frame(&j->mel, j->samples, j->row + t * j->mel.bands);
        memmove(j->samples, j->samples + j->hop, (size_t)kept * sizeof j->samples[0]);
        want = j->window - kept;
        for (int64_t gap = j->hop - j->window; gap > 0 && t + 1 < n; gap -= READ_FRAMES)
            LK_TRY_TO(st, out, lki_wav_read(&w, gap < READ_FRAMES ? gap : READ_FRAMES, j->samples + j->window));
    }
    while (w.done < w.samples) { /* a file that is cut is refused, also where the cut would not matter */
        const int64_t left = w.samples - w.done;
        LK_TRY_TO(st, out, lki_wav_read(&w, left < READ_FRAMES ? left : READ_FRAMES, j->samples + j->window));
    }
    for (int64_t i = n * j->mel.bands; i < j->frames * j->mel.bands; i++)
        j->row[i] = (float)log(LKI_MEL_FLOOR);
    *length = (int32_t)n;
out:
    lki_source_close(&source);
    return st;
}

static lk_status plan_shards(job *j, int64_t first_part)
{
    const lk_import_wav_opts *o = j->o;
    const lki_out_field fields[] = {{.name = "mel", .type = LK_ELEM_F32, .ndim = 2, .dim = {j->frames, o->bands}},
        {.name = "length", .type = LK_ELEM_I32}, {.name = "label", .type = LK_ELEM_I64}};
    const lki_attr attr[] = {{.field = "label", .name = "classes", .text = j->classes},
        {.field = "mel", .name = "silence", .is_real = true, .real = log(LKI_MEL_FLOOR)},
        {.field = "mel", .name = "rate", .number = j->rate}, {.field = "mel", .name = "window", .number = j->window},
        {.field = "mel", .name = "hop", .number = j->hop}};
    const lki_origin origin = {.source = o->source,
        .importer = "lockstep " LK_VERSION " data import wav",
        .attr = attr,
        .n_attrs = sizeof attr / sizeof attr[0]};
    const lki_dest dest[] = {{.path = o->dest, .shard_rows = o->shard_rows, .rows = first_part, .first = -1},
        {.path = o->rest, .rows = j->chosen.n - first_part, .first = -1}};

    LK_TRY(lki_shards_create(dest, first_part < j->chosen.n ? 2 : 1, fields, 3, &origin, &j->shards));
    return LK_OK;
}

lk_status lk_import_wav(const lk_import_wav_opts *o, lk_buf *report)
{
    static const lk_strings every = {0};
    const lk_rng order = lki_order(o->seed);
    job j = {.o = o};
    int64_t first_part = 0;
    lk_status st;

    LK_TRY_TO(st, out, lki_items_by_name(&j.all, o->source, endings, o->label_pattern, &every, &every));
    LK_TRY_TO(st, out, lki_items_by_name(&j.chosen, o->source, endings, o->label_pattern, &o->match, &o->except));
    LK_TRY_TO(st, out, lki_names_join(&j.all.classes, &j.classes));
    for (int64_t i = 0; i < j.all.n; i++)
        LK_TRY_TO(st, out, look_at(&j, j.all.item[i].path));
    j.frames = o->max_frames > 0 ? o->max_frames : j.longest;
    LK_TRY_TO(st, out, lki_mel_init(&j.mel, j.rate, j.window, j.hop, o->bands));
    LK_TRY_TO(st, out, lk_alloc_array(j.window + READ_FRAMES, sizeof j.samples[0], "sound", &j.samples));
    LK_TRY_TO(st, out, lk_alloc_array(j.frames * o->bands, sizeof j.row[0], "spectrogram", &j.row));
    LK_TRY_TO(st, out, lki_split(o->split, o->rest, j.chosen.n, &first_part));
    LK_TRY_TO(st, out, plan_shards(&j, first_part));
    for (int64_t i = 0; i < j.chosen.n; i++) {
        const lki_item *k = &j.chosen.item[lk_rng_permute(order, j.chosen.n, i)];
        const int64_t label = k->label;
        int32_t length;
        LK_TRY_TO(st, out, read_row(&j, k->path, &length));
        LK_TRY_TO(st, out, lki_shards_add(j.shards, i >= first_part, 1, (const void *const[]){j.row, &length, &label}));
    }
    LK_TRY_TO(st, out, lki_shards_finish(j.shards, report));
    lk_buf_printf(report, "%d classes, the longest recording has %" PRId64 " frames%s\n", j.all.classes.n, j.longest,
        j.longest > j.frames ? ": longer ones are cut" : "");
out:
    lki_shards_destroy(&j.shards);
    lki_mel_fini(&j.mel);
    lki_items_fini(&j.all);
    lki_items_fini(&j.chosen);
    lk_free(j.classes);
    lk_free(j.samples);
    lk_free(j.row);
    return st;
}
