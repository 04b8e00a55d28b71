#include "data/synthetic.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/dataset_int.h"

#include <inttypes.h>

enum { INPUT, TARGET, N_FIELDS };
enum { WORDS = 1024 };

typedef struct made_up {
    lk_dataset base;
    lk_field_info field[N_FIELDS];
    lki_shard shard;
    lk_rng rng[N_FIELDS];
    uint64_t classes, vocabulary;
} made_up;

static float nearly_normal(uint32_t w)
{
    const int sum = (int)(w & 255) + (int)(w >> 8 & 255) + (int)(w >> 16 & 255) + (int)(w >> 24);

    /* Four bytes: mean 4 * 127.5, variance 4 * (256^2 - 1) / 12 = 21845. */
    return (float)(sum - 510) * 0.00676587f;
}

static void make_floats(lk_rng r, int64_t sample, int64_t n, float *out)
{
    uint32_t words[WORDS];

    for (int64_t done = 0; done < n; done += WORDS) {
        const int64_t here = n - done < WORDS ? n - done : WORDS;
        lk_rng_fill(r, (uint64_t)sample, (uint64_t)done, here, words);
        for (int64_t i = 0; i < here; i++)
            out[done + i] = nearly_normal(words[i]);
    }
}

static void make_ids(lk_rng r, int64_t sample, int64_t n, uint64_t below, int64_t *out)
{
    for (int64_t k = 0; k < n; k++) {
        uint32_t w[4];
        lk_rng_block(r, (uint64_t)sample, (uint64_t)k, w);
        out[k] = (int64_t)(((uint64_t)w[1] << 32 | w[0]) % below);
    }
}

static lk_status read_made_up(lk_dataset *base, int field, int64_t first, int64_t n, void *out)
{
    const made_up *d = (const made_up *)base;
    const int64_t row = d->field[field].row;

    for (int64_t i = 0; i < n; i++) {
        const uint64_t below = field == INPUT ? d->vocabulary : d->classes;
        if (below == 0)
            make_floats(d->rng[field], first + i, row, (float *)out + i * row);
        else
            make_ids(d->rng[field], first + i, row, below, (int64_t *)out + i * row);
    }
    return LK_OK;
}

static void close_made_up(lk_dataset *d)
{
    lk_free(d);
}

static const lki_dataset_ops ops = {.read = read_made_up, .close = close_made_up};

lk_status lk_dataset_create_synthetic(const lk_synthetic_data *o, lk_dataset **out)
{
    const int64_t samples = o->samples, *dim = o->dim, classes = o->classes;
    const int ndim = o->ndim;
    made_up *d = NULL;
    int64_t row = 1, total;

    if (samples < 1 || classes < 0 || o->vocabulary < 0 || ndim < 0 || ndim > LK_DATA_MAX_DIMS)
        return LK_FAIL(
            LK_E_ARG, "made-up data: %" PRId64 " samples of rank %d, %" PRId64 " classes", samples, ndim, classes);
    for (int i = 0; i < ndim; i++)
        if (dim[i] < 1 || __builtin_mul_overflow(row, dim[i], &row))
            return LK_FAIL(LK_E_ARG, "made-up data: dimension %d of a sample is %" PRId64, i + 1, dim[i]);
    if (__builtin_mul_overflow(row, samples, &total) || __builtin_mul_overflow(total, (int64_t)sizeof(float), &total))
        return LK_FAIL(LK_E_ARG, "made-up data: %" PRId64 " samples of %" PRId64 " values are too many", samples, row);

    LK_TRY(lk_alloc(sizeof *d, "made-up data", &d));
    d->field[INPUT] = (lk_field_info){.name = "input", .type = LK_ELEM_F32, .ndim = ndim, .row = row};
    for (int i = 0; i < ndim; i++)
        d->field[INPUT].dim[i] = dim[i];
    if (o->vocabulary > 0)
        d->field[INPUT].type = LK_ELEM_I64;
    if (classes > 0 && o->each) {
        d->field[TARGET] = d->field[INPUT];
        d->field[TARGET].name = "label";
        d->field[TARGET].type = LK_ELEM_I64;
    } else if (classes > 0) {
        d->field[TARGET] = (lk_field_info){.name = "label", .type = LK_ELEM_I64, .row = 1};
    } else {
        d->field[TARGET] = (lk_field_info){.name = "target", .type = LK_ELEM_F32, .ndim = 1, .dim = {1}, .row = 1};
    }
    d->shard = (lki_shard){.path = "made-up data", .samples = samples};
    d->rng[INPUT] = lk_rng_make(o->seed, LK_RNG_SYNTHETIC, INPUT);
    d->rng[TARGET] = lk_rng_make(o->seed, LK_RNG_SYNTHETIC, TARGET);
    d->classes = (uint64_t)classes;
    d->vocabulary = (uint64_t)o->vocabulary;
    d->base = (lk_dataset){
        .ops = &ops, .samples = samples, .n_shards = 1, .n_fields = N_FIELDS, .shard = &d->shard, .field = d->field};
    *out = &d->base;
    return LK_OK;
}
