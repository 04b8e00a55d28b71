#include "data/augment.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/table.h"

#include <inttypes.h>
#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

enum { STEPS_MAX = 64, OPTS_BYTES = 64, PLACE_BYTES = 256, STEP_BLOCKS_LOG2 = 40 };

/* ---- what is drawn ---- */

typedef struct draw {
    lk_rng stream;
    uint64_t row, block;
    uint32_t word[4];
    int left;
} draw;

static uint32_t next_word(draw *d)
{
    if (d->left == 0) {
        lk_rng_block(d->stream, d->row, d->block++, d->word);
        d->left = 4;
    }
    return d->word[4 - d->left--];
}

static double uniform(draw *d, double low, double high)
{
    return low + (high - low) * (double)lk_rng_unit(next_word(d));
}

/* In [0, n), n below 2^32: of a picture's sizes. */
static int64_t below(draw *d, int64_t n)
{
    return (int64_t)((uint64_t)next_word(d) * (uint64_t)n >> 32);
}

/* ---- the table's types ---- */

/* A sample as c pictures of h times w; what minds no shape sees one row. */
typedef struct picture {
    int64_t c, h, w;
    int ndim;
    float *x, *scratch; /* [c,h,w] */
} picture;

typedef enum needs { ANY, PICTURE, COLOURS, SPECTROGRAM } needs;

typedef struct step_kind {
    const lk_table *table;
    const char *short_form; /* option that a plain value stands for, or NULL */
    needs needs;
    void (*run)(const void *opts, draw *d, picture *p);
    const char *(*refuse)(const void *opts, const lk_field_info *f); /* optional: why samples of this size do not do */
    const char *(*wrong)(const void *opts); /* optional: what the rows alone cannot see */
} step_kind;

typedef struct step {
    const step_kind *kind;
    alignas(max_align_t) char opts[OPTS_BYTES];
    char where[PLACE_BYTES];
} step;

struct lk_augment {
    int n;
    step step[STEPS_MAX];
};

/* ---- moving ---- */

static int64_t reflect(int64_t i, int64_t n)
{
    if (i < 0)
        i = -i;
    return i < n ? i : 2 * n - 2 - i;
}

/* Value (y, x) becomes that of (y + down, x + right); beyond the edge 0, or the picture mirrored at its edge. */
static void move(picture *p, int64_t down, int64_t right, bool mirrored)
{
    memcpy(p->scratch, p->x, (size_t)(p->c * p->h * p->w) * sizeof *p->x);
    for (int64_t c = 0; c < p->c; c++) {
        const float *from = p->scratch + c * p->h * p->w;
        float *to = p->x + c * p->h * p->w;
        for (int64_t y = 0; y < p->h; y++)
            for (int64_t x = 0; x < p->w; x++) {
                int64_t fy = y + down, fx = x + right;
                if (mirrored) {
                    fy = reflect(fy, p->h);
                    fx = reflect(fx, p->w);
                }
                const bool inside = fy >= 0 && fy < p->h && fx >= 0 && fx < p->w;
                to[y * p->w + x] = inside ? from[fy * p->w + fx] : 0;
            }
    }
}

typedef struct crop_opts {
    int64_t pad;
    int mode; /* zero|reflect */
} crop_opts;

static const lk_field crop_rows[] = {
    LK_FIELD(crop_opts, pad, LK_T_INT, .unit = "pixels", .def = "4", .min = 1, .max = 1e6,
        .help = "How wide the picture is padded on each side."),
    LK_FIELD(crop_opts, mode, LK_T_ENUM, .def = "zero", .choices = "zero|reflect",
        .help = "What the padding holds: zeros, or the picture mirrored at its edge."),
};
static const lk_table crop_table = LK_TABLE(crop_opts, "crop",
    "A piece of the padded picture, as large as the picture was. `crop: 4` is short for `crop: {pad: 4}`.", crop_rows);

static void crop(const void *opts, draw *d, picture *p)
{
    const crop_opts *o = opts;
    const int64_t down = below(d, 2 * o->pad + 1) - o->pad, right = below(d, 2 * o->pad + 1) - o->pad;

    move(p, down, right, o->mode == 1);
}

static const char *refuse_crop(const void *opts, const lk_field_info *f)
{
    const crop_opts *o = opts;
    const int64_t h = f->dim[f->ndim - 2], w = f->dim[f->ndim - 1];

    return o->mode == 1 && (o->pad >= h || o->pad >= w) ? "reflect needs a pad that is smaller than the picture" : NULL;
}

typedef struct flip_opts {
    double probability;
} flip_opts;

static const lk_field flip_rows[] = {
    LK_FIELD(flip_opts, probability, LK_T_REAL, .def = "0.5", .min = 0, .max = 1, .help = "How often."),
};
static const lk_table flip_table = LK_TABLE(
    flip_opts, "flip", "Left and right change sides. `flip: 0.5` is short for `flip: {probability: 0.5}`.", flip_rows);

static void flip(const void *opts, draw *d, picture *p)
{
    if (uniform(d, 0, 1) >= ((const flip_opts *)opts)->probability)
        return;
    for (int64_t r = 0; r < p->c * p->h; r++) {
        float *row = p->x + r * p->w;
        for (int64_t i = 0, k = p->w - 1; i < k; i++, k--) {
            const float v = row[i];
            row[i] = row[k];
            row[k] = v;
        }
    }
}

typedef struct shift_opts {
    int64_t rows, columns;
} shift_opts;

static const lk_field shift_rows[] = {
    LK_FIELD(shift_opts, rows, LK_T_INT, .unit = "pixels", .def = "0", .min = 0, .max = 1e6,
        .help = "At most so far up or down."),
    LK_FIELD(shift_opts, columns, LK_T_INT, .unit = "pixels", .def = "0", .min = 0, .max = 1e6,
        .help = "At most so far to the left or right."),
};
static const lk_table shift_table =
    LK_TABLE(shift_opts, "shift", "Moves the picture by whole pixels; zeros come in.", shift_rows);

static void shift(const void *opts, draw *d, picture *p)
{
    const shift_opts *o = opts;
    const int64_t down = below(d, 2 * o->rows + 1) - o->rows, right = below(d, 2 * o->columns + 1) - o->columns;

    move(p, down, right, false);
}

/* Where a value comes from: (y, x) about the picture's middle, times a matrix, plus an offset. */
typedef struct origin {
    double yy, yx, xy, xx, y, x;
} origin;

/* Bilinear, with zeros around the picture. */
static double value_at(const float *from, int64_t h, int64_t w, double y, double x)
{
    const double y0 = floor(y), x0 = floor(x), fy = y - y0, fx = x - x0;
    double sum = 0;

    if (!(y0 >= -1 && y0 < (double)h && x0 >= -1 && x0 < (double)w))
        return 0;
    for (int k = 0; k < 4; k++) {
        const int64_t yk = (int64_t)y0 + k / 2, xk = (int64_t)x0 + k % 2;
        if (yk >= 0 && yk < h && xk >= 0 && xk < w)
            sum += (k / 2 ? fy : 1 - fy) * (k % 2 ? fx : 1 - fx) * (double)from[yk * w + xk];
    }
    return sum;
}

static void warp(picture *p, const origin *o)
{
    const double my = 0.5 * (double)(p->h - 1), mx = 0.5 * (double)(p->w - 1);

    memcpy(p->scratch, p->x, (size_t)(p->c * p->h * p->w) * sizeof *p->x);
    for (int64_t y = 0; y < p->h; y++)
        for (int64_t x = 0; x < p->w; x++) {
            const double dy = (double)y - my - o->y, dx = (double)x - mx - o->x;
            const double fy = o->yy * dy + o->yx * dx + my, fx = o->xy * dy + o->xx * dx + mx;
            for (int64_t c = 0; c < p->c; c++)
                p->x[(c * p->h + y) * p->w + x] = (float)value_at(p->scratch + c * p->h * p->w, p->h, p->w, fy, fx);
        }
}

static double radians(double degrees)
{
    return degrees * (3.14159265358979323846 / 180);
}

typedef struct rotate_opts {
    double degrees;
} rotate_opts;

static const lk_field rotate_rows[] = {
    LK_FIELD(rotate_opts, degrees, LK_T_REAL, .unit = "degrees", .def = "15", .min = 0, .max = 180,
        .help = "At most so far either way."),
};
static const lk_table rotate_table = LK_TABLE(rotate_opts, "rotate",
    "Turns the picture about its middle, bilinear; zeros come in. `rotate: 10` is short for `rotate: {degrees: 10}`.",
    rotate_rows);

static void rotate(const void *opts, draw *d, picture *p)
{
    const double most = ((const rotate_opts *)opts)->degrees, angle = radians(uniform(d, -most, most));
    const double c = cos(angle), s = sin(angle);

    warp(p, &(origin){.yy = c, .yx = -s, .xy = s, .xx = c});
}

typedef struct affine_opts {
    lk_reals scale;
    double shear, translate;
} affine_opts;

static const lk_field affine_rows[] = {
    LK_FIELD(affine_opts, scale, LK_T_REALS, .def = "[1, 1]", .min = 0, .max = 1e3,
        .help = "Smallest and largest factor of its size."),
    LK_FIELD(affine_opts, shear, LK_T_REAL, .unit = "degrees", .def = "0", .min = 0, .max = 89,
        .help = "Upright lines lean at most so far either way."),
    LK_FIELD(affine_opts, translate, LK_T_REAL, .def = "0", .min = 0, .max = 1,
        .help = "Moves the picture at most by this share of its height and width."),
};
static const lk_table affine_table = LK_TABLE(affine_opts, "affine",
    "Scales, shears and moves the picture about its middle, bilinear; zeros come in.", affine_rows);

static void affine(const void *opts, draw *d, picture *p)
{
    const affine_opts *o = opts;
    const double scale = uniform(d, o->scale.item[0], o->scale.item[1]);
    const double lean = tan(radians(uniform(d, -o->shear, o->shear)));
    const double y = uniform(d, -o->translate, o->translate) * (double)p->h;
    const double x = uniform(d, -o->translate, o->translate) * (double)p->w;

    warp(p, &(origin){.yy = 1 / scale, .xy = -lean / scale, .xx = 1 / scale, .y = y, .x = x});
}

static const char *wrong_affine(const void *opts)
{
    const lk_reals *s = &((const affine_opts *)opts)->scale;

    return s->n == 2 && s->item[0] > 0 && s->item[0] <= s->item[1]
               ? NULL
               : "affine.scale: expected two numbers above 0, the smaller one first";
}

/* ---- values ---- */

typedef struct amount_opts {
    double amount;
} amount_opts;

static const lk_field brightness_rows[] = {
    LK_FIELD(amount_opts, amount, LK_T_REAL, .def = "0.2", .min = 0, .max = 1e6,
        .help = "At most so much, in the values that go into the model."),
};
static const lk_table brightness_table = LK_TABLE(amount_opts, "brightness",
    "Adds one number to all values. `brightness: 0.2` is short for `brightness: {amount: 0.2}`.", brightness_rows);

static void brightness(const void *opts, draw *d, picture *p)
{
    const double most = ((const amount_opts *)opts)->amount, more = uniform(d, -most, most);

    for (int64_t i = 0; i < p->c * p->h * p->w; i++)
        p->x[i] = (float)((double)p->x[i] + more);
}

static const lk_field contrast_rows[] = {
    LK_FIELD(amount_opts, amount, LK_T_REAL, .def = "0.2", .min = 0, .max = 1,
        .help = "Distances become at most so much smaller or larger, as a share."),
};
static const lk_table contrast_table = LK_TABLE(amount_opts, "contrast",
    "Moves all values towards or away from the sample's mean. `contrast: 0.2` is short for `contrast: {amount: 0.2}`.",
    contrast_rows);

static void contrast(const void *opts, draw *d, picture *p)
{
    const double most = ((const amount_opts *)opts)->amount, factor = uniform(d, 1 - most, 1 + most);
    const int64_t n = p->c * p->h * p->w;
    double mean = 0;

    for (int64_t i = 0; i < n; i++)
        mean += (double)p->x[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++)
        p->x[i] = (float)(mean + factor * ((double)p->x[i] - mean));
}

static const lk_field saturation_rows[] = {
    LK_FIELD(amount_opts, amount, LK_T_REAL, .def = "0.2", .min = 0, .max = 1,
        .help = "Distances become at most so much smaller or larger, as a share."),
};
static const lk_table saturation_table = LK_TABLE(amount_opts, "saturation",
    "Moves the three colours of each pixel towards or away from its grey, 0.299 R + 0.587 G + 0.114 B. "
    "`saturation: 0.2` is short for `saturation: {amount: 0.2}`.",
    saturation_rows);

static void saturation(const void *opts, draw *d, picture *p)
{
    const double most = ((const amount_opts *)opts)->amount, factor = uniform(d, 1 - most, 1 + most);
    const int64_t n = p->h * p->w;

    for (int64_t i = 0; i < n; i++) {
        float *v[3] = {p->x + i, p->x + n + i, p->x + 2 * n + i};
        const double grey = 0.299 * (double)*v[0] + 0.587 * (double)*v[1] + 0.114 * (double)*v[2];
        for (int c = 0; c < 3; c++)
            *v[c] = (float)(grey + factor * ((double)*v[c] - grey));
    }
}

typedef struct noise_opts {
    double std;
} noise_opts;

static const lk_field noise_rows[] = {
    LK_FIELD(noise_opts, std, LK_T_REAL, .def = "0.1", .min = 0, .max = 1e6, .help = "Its standard deviation."),
};
static const lk_table noise_table = LK_TABLE(noise_opts, "noise",
    "Adds Gaussian noise, to each value its own. `noise: 0.1` is short for `noise: {std: 0.1}`.", noise_rows);

static void noise(const void *opts, draw *d, picture *p)
{
    const double std = ((const noise_opts *)opts)->std;

    /* Normal number i is made of words 2 i and 2 i + 1, so of the step's own blocks. */
    for (int64_t i = 0; i < p->c * p->h * p->w; i++)
        p->x[i] = (float)((double)p->x[i] + std * lk_rng_normal_row(d->stream, d->row, 2 * d->block + (uint64_t)i));
}

/* ---- covering ---- */

/* Rows [y0, y1) and columns [x0, x1), as far as they are in the picture. */
static void cover(picture *p, int64_t y0, int64_t y1, int64_t x0, int64_t x1)
{
    y0 = y0 > 0 ? y0 : 0;
    x0 = x0 > 0 ? x0 : 0;
    for (int64_t c = 0; c < p->c; c++)
        for (int64_t y = y0; y < y1 && y < p->h; y++)
            for (int64_t x = x0; x < x1 && x < p->w; x++)
                p->x[(c * p->h + y) * p->w + x] = 0;
}

typedef struct cutout_opts {
    int64_t size;
} cutout_opts;

static const lk_field cutout_rows[] = {
    LK_FIELD(
        cutout_opts, size, LK_T_INT, .unit = "pixels", .def = "8", .min = 1, .max = 1e6, .help = "Side of the square."),
};
static const lk_table cutout_table = LK_TABLE(cutout_opts, "cutout",
    "Sets a square to 0; its middle is anywhere in the picture. `cutout: 8` is short for `cutout: {size: 8}`.",
    cutout_rows);

static void cutout(const void *opts, draw *d, picture *p)
{
    const int64_t size = ((const cutout_opts *)opts)->size;
    const int64_t y = below(d, p->h) - size / 2, x = below(d, p->w) - size / 2;

    cover(p, y, y + size, x, x + size);
}

typedef struct mask_opts {
    int64_t width, count;
} mask_opts;

static const lk_field mask_rows[] = {
    LK_FIELD(mask_opts, width, LK_T_INT, .def = "10", .min = 1, .max = 1e6,
        .help = "A band is at most so wide, any width from 0 is as likely."),
    LK_FIELD(mask_opts, count, LK_T_INT, .def = "1", .min = 1, .max = 1000, .help = "Bands."),
};
static const lk_table time_table = LK_TABLE(mask_opts, "time_mask",
    "Sets bands of neighbouring times to 0, in spectrograms [time,frequency] or [1,frequency,time]. `time_mask: 20` is "
    "short for `time_mask: {width: 20}`.",
    mask_rows);
static const lk_table frequency_table = LK_TABLE(mask_opts, "frequency_mask",
    "Sets bands of neighbouring frequencies to 0, in spectrograms [time,frequency] or [1,frequency,time]. "
    "`frequency_mask: 8` is short for `frequency_mask: {width: 8}`.",
    mask_rows);

static void mask(const mask_opts *o, draw *d, picture *p, bool rows)
{
    const int64_t n = rows ? p->h : p->w;

    for (int64_t k = 0; k < o->count; k++) {
        const int64_t width = below(d, o->width + 1), first = below(d, n - width + 1);
        if (rows)
            cover(p, first, first + width, 0, p->w);
        else
            cover(p, 0, p->h, first, first + width);
    }
}

static void time_mask(const void *opts, draw *d, picture *p)
{
    mask(opts, d, p, p->ndim == 2);
}

static void frequency_mask(const void *opts, draw *d, picture *p)
{
    mask(opts, d, p, p->ndim == 3);
}

static const char *refuse_time(const void *opts, const lk_field_info *f)
{
    return ((const mask_opts *)opts)->width > f->dim[f->ndim == 2 ? 0 : 2] ? "the width is more than there are times"
                                                                           : NULL;
}

static const char *refuse_frequency(const void *opts, const lk_field_info *f)
{
    return ((const mask_opts *)opts)->width > f->dim[1] ? "the width is more than there are frequencies" : NULL;
}

/* ---- the table ---- */

static const step_kind kinds[] = {
    {.table = &crop_table, .short_form = "pad", .needs = PICTURE, .run = crop, .refuse = refuse_crop},
    {.table = &flip_table, .short_form = "probability", .needs = PICTURE, .run = flip},
    {.table = &shift_table, .needs = PICTURE, .run = shift},
    {.table = &rotate_table, .short_form = "degrees", .needs = PICTURE, .run = rotate},
    {.table = &affine_table, .needs = PICTURE, .run = affine, .wrong = wrong_affine},
    {.table = &brightness_table, .short_form = "amount", .needs = ANY, .run = brightness},
    {.table = &contrast_table, .short_form = "amount", .needs = ANY, .run = contrast},
    {.table = &saturation_table, .short_form = "amount", .needs = COLOURS, .run = saturation},
    {.table = &noise_table, .short_form = "std", .needs = ANY, .run = noise},
    {.table = &cutout_table, .short_form = "size", .needs = PICTURE, .run = cutout},
    {.table = &time_table, .short_form = "width", .needs = SPECTROGRAM, .run = time_mask, .refuse = refuse_time},
    {.table = &frequency_table,
        .short_form = "width",
        .needs = SPECTROGRAM,
        .run = frequency_mask,
        .refuse = refuse_frequency},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- reading ---- */

static lk_status find_kind(const lk_yaml *item, const char *word, const step_kind **out)
{
    const char *names[N_KINDS];

    for (int k = 0; k < N_KINDS; k++) {
        names[k] = kinds[k].table->name;
        if (strcmp(word, names[k]) == 0) {
            *out = &kinds[k];
            return LK_OK;
        }
    }
    const char *near = lk_nearest(word, names, N_KINDS);
    if (near != NULL)
        return lk_yaml_fail(item, "data.augment: unknown step \"%.80s\" (did you mean \"%s\"?)", word, near);
    return lk_yaml_fail(item, "data.augment: unknown step \"%.80s\" (docs/config.md lists what there is)", word);
}

static lk_status parse_step(const lk_yaml *item, step *s)
{
    const bool word_only = item->kind == LK_YAML_SCALAR && !lk_yaml_is_empty(item);

    if (!word_only && (item->kind != LK_YAML_MAP || item->n_child != 1))
        return lk_yaml_fail(item, "data.augment: expected a step, one word or one key with its options");
    const lk_yaml *written = word_only ? NULL : item->child[0];
    const char *word = word_only ? item->text : written->key;
    LK_TRY(find_kind(item, word, &s->kind));
    const bool plain = written != NULL && written->kind != LK_YAML_MAP && !lk_yaml_is_empty(written);
    if (plain && s->kind->short_form == NULL)
        return lk_yaml_fail(written, "%s: expected a map of options", word);
    if (item->line > 0)
        snprintf(s->where, sizeof s->where, "%s:%d:%d: ", item->source, item->line, item->column);
    else
        snprintf(s->where, sizeof s->where, "%s: ", item->source);

    /* A bare word is a map without options, a plain value one with the main option. */
    lk_yaml value, map = {.kind = LK_YAML_MAP,
                       .source = item->source,
                       .line = item->line,
                       .column = item->column,
                       .key = (char *)s->kind->table->name};
    lk_yaml *child = &value;
    if (plain) {
        value = *written;
        value.key = (char *)s->kind->short_form;
        map.child = &child;
        map.n_child = 1;
    }
    LK_BUG_IF(s->kind->table->size > sizeof s->opts, "options of %s take %zu bytes", word, s->kind->table->size);
    LK_TRY(lk_table_parse(s->kind->table, written != NULL && written->kind == LK_YAML_MAP ? written : &map, s->opts));
    const char *wrong = s->kind->wrong != NULL ? s->kind->wrong(s->opts) : NULL;
    if (wrong != NULL) {
        lk_table_fini(s->kind->table, s->opts);
        return lk_yaml_fail(item, "%s", wrong);
    }
    return LK_OK;
}

lk_status lk_augment_parse(const lk_yaml *list, lk_augment **out)
{
    lk_augment *a = NULL;
    lk_status st = LK_OK;

    if (!lk_yaml_is_empty(list) && list->kind != LK_YAML_LIST)
        return lk_yaml_fail(list, "data.augment: expected a list of steps");
    LK_TRY(lk_alloc(sizeof *a, "augmentation", &a));
    for (int i = 0; list != NULL && list->kind == LK_YAML_LIST && i < list->n_child; i++) {
        if (a->n == STEPS_MAX) {
            st = lk_yaml_fail(list->child[i], "data.augment: more than %d steps", STEPS_MAX);
            goto fail;
        }
        LK_TRY_TO(st, fail, parse_step(list->child[i], &a->step[a->n]));
        a->n++;
    }
    *out = a;
    return LK_OK;

fail:
    lk_augment_destroy(&a);
    return st;
}

void lk_augment_destroy(lk_augment **ap)
{
    lk_augment *a = *ap;

    if (a == NULL)
        return;
    for (int i = 0; i < a->n; i++)
        lk_table_fini(a->step[i].kind->table, a->step[i].opts);
    lk_free(a);
    *ap = NULL;
}

int lk_augment_steps(const lk_augment *a)
{
    return a != NULL ? a->n : 0;
}

/* ---- use ---- */

static const char *shape_text(const lk_field_info *f, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "[");

    for (int i = 0; i < f->ndim && n < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%" PRId64, i > 0 ? "," : "", f->dim[i]);
    if (n < cap)
        snprintf(out + n, cap - n, "]");
    return out;
}

lk_status lk_augment_check(const lk_augment *a, const lk_field_info *f)
{
    static const char *const wanted[] = {
        [PICTURE] = "pictures [C,H,W] or [H,W] are needed",
        [COLOURS] = "pictures of three colours, [3,H,W], are needed",
        [SPECTROGRAM] = "spectrograms [time,frequency] or [1,frequency,time] are needed",
    };
    char shape[160];

    for (int i = 0; i < lk_augment_steps(a); i++) {
        const step *s = &a->step[i];
        bool fits = s->kind->needs == ANY || f->ndim == 2 || f->ndim == 3;
        if (s->kind->needs == COLOURS)
            fits = f->ndim == 3 && f->dim[0] == 3;
        if (s->kind->needs == SPECTROGRAM && f->ndim == 3)
            fits = f->dim[0] == 1;
        for (int k = 0; k < f->ndim; k++)
            fits = fits && (s->kind->needs == ANY || f->dim[k] <= UINT32_MAX / 4); /* see `below` */
        const char *why = !fits ? wanted[s->kind->needs] : s->kind->refuse != NULL ? s->kind->refuse(s->opts, f) : NULL;
        if (why != NULL)
            return LK_FAIL(LK_E_CONFIG, "%s%s: field \"%s\" has samples %s: %s", s->where, s->kind->table->name,
                f->name, shape_text(f, shape, sizeof shape), why);
    }
    return LK_OK;
}

void lk_augment_run(
    const lk_augment *a, const lk_field_info *f, uint64_t seed, int64_t epoch, int64_t sample, float *x, float *scratch)
{
    const lk_rng stream = lk_rng_make(seed, LK_RNG_AUGMENT, (uint64_t)epoch);
    picture p = {.c = 1, .h = 1, .w = f->row, .ndim = f->ndim, .x = x, .scratch = scratch};

    if (f->ndim == 2 || f->ndim == 3) {
        p.w = f->dim[f->ndim - 1];
        p.h = f->dim[f->ndim - 2];
        p.c = f->ndim == 3 ? f->dim[0] : 1;
    }
    for (int i = 0; i < a->n; i++) {
        draw d = {.stream = stream, .row = (uint64_t)sample, .block = (uint64_t)i << STEP_BLOCKS_LOG2};
        a->step[i].kind->run(a->step[i].opts, &d, &p);
    }
}

void lk_augment_document(lk_buf *out)
{
    lk_buf_add(out,
        "## Augmentation\n\n"
        "`data.augment` is a list of steps that change the inputs of training at random, one after the other, after "
        "scale, "
        "mean and std. A\n"
        "step is a word (`- flip`), or a key with a map of options (`- crop: {pad: 4}`); where a step says so, a plain "
        "value stands for its\n"
        "main option (`- rotate: 10`). What is drawn depends on seed, epoch, sample and the step's place in the list. "
        "Samples are pictures\n"
        "`[C,H,W]` or `[H,W]`; noise, brightness and contrast take any. `H` counts rows, from the top.\n\n");
    for (int k = 0; k < N_KINDS; k++) {
        lk_buf_printf(out, "### `%s`\n\n", kinds[k].table->name);
        lk_table_document(kinds[k].table, NULL, out);
    }
}
