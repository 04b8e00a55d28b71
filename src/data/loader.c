/* Readers take jobs in order, one job a microbatch of a step, and fill the slots of a ring: one slot is with the
 * caller, `prefetch` are ahead. What is stored comes through a cache of blocks (cache.h) that is as large as the sample
 * order needs. */
#include "data/loader.h"
#include "base/mem.h"
#include "base/thread.h"
#include "data/cache.h"
#include "data/convert.h"
#include "data/dataset_int.h"
#include "data/mix.h"
#include "data/sampler_int.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* A dataset up to this size stays in memory once it was read, and so does the pool of one that is larger. */
#define KEEP_BYTES (INT64_C(256) << 20)

_Static_assert((int)LKI_CACHE_FIELDS == (int)LK_LOADER_FIELDS, "the cache keeps what a batch holds");

enum { FLOATS_OF_LINE = 16, WORDS_OF_LINE = 8 }; /* a microbatch's arrays begin at 64 bytes */

typedef struct slot {
    lk_batch batch;
    lk_lane_batch *lane; /* [n_lanes] */
    int left; /* microbatches to be filled */
    int failed_lane; /* lowest that failed, or -1 */
    lk_err err; /* its record */
} slot;

/* How far a lane has read ahead: the phase of the order that it reads for (windows and pools, counted through epochs)
 * and the blocks done. */
typedef struct ahead {
    int64_t phase, blocks;
} ahead;

/* A field as it is delivered. */
typedef struct output {
    int part; /* its number in the cache */
    int same; /* an output before it that holds the same values, or -1 */
    lki_converter convert; /* of LK_AS_REAL */
    int64_t row, stride; /* elements of a sample; of a microbatch */
    size_t elem;
    char *rows; /* [n_slots][n_lanes][stride] */
} output;

typedef struct reader {
    lk_loader *loader;
    pthread_t thread;
    int64_t *until, *mark, stamp; /* [rows], [places] */
    int *place, *held; /* [rows], [share] */
    char *sample; /* one sample as stored, part after part, for what the cache does not hold */
    float *scratch; /* a sample of field 0, where it is augmented */
    double *share; /* [rows] of a row's own, where there is mixing */
    float *unmixed; /* a microbatch of the mixed field, where there is mixing */
    int64_t epoch; /* of the microbatch at work */
} reader;

struct lk_loader {
    lk_loader_opts o;
    output out[LK_LOADER_FIELDS];
    int n_parts, part[LK_LOADER_FIELDS]; /* fields of the dataset, each once, as the cache keeps them */
    int64_t part_at[LK_LOADER_FIELDS + 1]; /* bytes in `sample` of a reader */
    lki_cache *cache;
    bool whole; /* the cache holds all blocks, */
    bool pool_cached; /* or all of a pool */
    int64_t n_steps; /* from the cursor to the end, INT64_MAX: no end */
    int64_t bytes;

    int64_t *sample_ids; /* [n_slots][n_lanes][sample_stride] */
    int64_t sample_stride;
    lk_lane_batch *lanes; /* [n_slots][n_lanes] */
    int n_slots, n_started;
    slot *slot;
    reader *reader;

    pthread_mutex_t lock;
    pthread_cond_t work, filled;
    /* Under the lock. */
    int64_t next_step; /* first step that has microbatches nobody took */
    int next_lane;
    int64_t taken; /* steps the caller is done with */
    ahead *ahead; /* [n_lanes] */
    atomic_bool quit; /* also looked at without it */
    /* The caller's. */
    bool mapped;
    lk_status dead;
    lk_err err;
    double wait_seconds;
};

/* Position of the i-th step from the cursor on. */
static void position(const lk_loader *l, int64_t i, int64_t *epoch, int64_t *step)
{
    const int64_t steps = l->o.sampler.steps;

    *epoch = l->o.epoch + (l->o.step + i) / steps;
    *step = (l->o.step + i) % steps;
}

/* ---- filling a microbatch ---- */

/* Microbatch `at` of the ring. */
static char *rows_of(const output *o, int64_t at)
{
    return o->rows + (size_t)(at * o->stride) * o->elem;
}

static lk_status put_class(const lk_loader *l, int i, int64_t id, float *to)
{
    const int64_t classes = l->o.field[i].classes;

    if (id < 0 || id >= classes)
        return LK_FAIL(LK_E_DATA, "field \"%s\": class %" PRId64 ", but there are %" PRId64 " (0 to %" PRId64 ")",
            l->o.data->field[l->o.field[i].field].name, id, classes, classes - 1);
    memset(to, 0, (size_t)classes * sizeof *to);
    to[id] = 1;
    return LK_OK;
}

/* One row of a microbatch from a sample as stored, part after part. */
static lk_status put_row(reader *r, const void *const *stored, int64_t at, int64_t row, int64_t sample)
{
    const lk_loader *l = r->loader;

    for (int i = 0; i < l->o.n_fields; i++) {
        const output *o = &l->out[i];
        if (o->same >= 0)
            continue;
        char *to = rows_of(o, at) + (size_t)(row * o->row) * o->elem;
        const lk_field_info *f = &l->o.data->field[l->part[o->part]];
        if (l->o.field[i].classes > 0)
            LK_TRY(put_class(l, i, lki_whole_at(stored[o->part], f->type, 0), (float *)to));
        else if (l->o.field[i].as == LK_AS_REAL)
            lki_convert(&o->convert, stored[o->part], (float *)to);
        else
            for (int64_t k = 0; k < o->row; k++)
                ((int64_t *)to)[k] = lki_whole_at(stored[o->part], f->type, l->o.field[i].first + k);
        if (i == 0 && r->scratch != NULL)
            lk_augment_run(l->o.augment, f, l->o.sampler.seed, r->epoch, sample, (float *)to, r->scratch);
    }
    return LK_OK;
}

static void mix_classes(const lki_mixing *m, const double *own_share, int64_t classes, const float *unmixed, float *out)
{
    for (int64_t row = 0; row < m->valid; row++) {
        const float *own = unmixed + row * classes, *partner = unmixed + lki_mixing_partner(m, row) * classes;
        for (int64_t k = 0; k < classes; k++)
            out[row * classes + k] =
                (float)(own_share[row] * (double)own[k] + (1 - own_share[row]) * (double)partner[k]);
    }
}

/* The valid rows of a microbatch, each with its partner. */
static void mix(reader *r, int64_t at, int64_t step, int lane, const int64_t *sample, int64_t valid)
{
    const lk_loader *l = r->loader;
    const lki_mixing m = lki_mixing_of(&l->o.mix, l->o.sampler.seed, r->epoch, step, lane, valid);
    const lk_field_info *f = &l->o.data->field[l->o.field[0].field];
    float *input = (float *)rows_of(&l->out[0], at);

    memcpy(r->unmixed, input, (size_t)(valid * f->row) * sizeof *input);
    for (int64_t row = 0; row < valid; row++)
        r->share[row] = lki_mix_row(&m, f, row, sample[row], r->unmixed, input);
    for (int i = 1; i < l->o.n_fields; i++) {
        const output *o = &l->out[i];
        if (l->o.field[i].classes == 0 || o->same >= 0)
            continue;
        memcpy(r->unmixed, rows_of(o, at), (size_t)(valid * o->row) * sizeof *input);
        mix_classes(&m, r->share, o->row, r->unmixed, (float *)rows_of(o, at));
    }
}

/* The last step, counted through epochs, in which the block of a row's sample is of use. */
static int64_t use_until(const lk_sampler *s, int64_t epoch, int64_t step, int64_t row, int64_t sample)
{
    const int64_t begin = epoch * s->steps;

    if (s->order == LK_ORDER_STREAMS) {
        const int64_t until = step + (sample / s->block + 1) * s->block - 1 - sample;
        return begin + (until < s->steps ? until : s->steps - 1);
    }
    if (s->order == LK_ORDER_SEQUENTIAL)
        return begin + ((sample / s->block + 1) * s->block - 1) / (s->rows * s->lanes);
    const int64_t place = step * s->rows + row;
    if (place >= s->pool_first / s->lanes)
        return begin + s->steps - 1;
    const int64_t window_samples = s->window * s->block;
    return begin + ((place / window_samples + 1) * window_samples - 1) / s->rows;
}

static lk_status fill_from_cache(reader *r, const int64_t *sample, int64_t first, int64_t n, int64_t at)
{
    lk_loader *l = r->loader;
    const void *stored[LK_LOADER_FIELDS];

    for (int64_t row = first; row < n;) {
        int64_t n_held;
        const int64_t end = row + lki_cache_hold(l->cache, sample + row, r->until + row, n - row, r->mark, ++r->stamp,
                                      r->place + row, r->held, &n_held);
        lk_status st = lki_cache_load(l->cache, r->held, n_held);
        for (; st == LK_OK && row < end; row++) {
            for (int i = 0; i < l->n_parts; i++)
                stored[i] = lki_cache_row(l->cache, r->place[row], i, sample[row]);
            st = put_row(r, stored, at, row, sample[row]);
        }
        lki_cache_release(l->cache, r->held, n_held);
        LK_TRY(st);
    }
    return LK_OK;
}

/* Rows of a pool that is too large to be kept: sample by sample. */
static lk_status fill_directly(reader *r, const int64_t *sample, int64_t first, int64_t n, int64_t at)
{
    lk_loader *l = r->loader;
    const void *stored[LK_LOADER_FIELDS];

    for (int64_t row = first; row < n; row++) {
        if (atomic_load(&l->quit))
            return LK_FAIL(LK_E_STOPPED, "the loader was stopped");
        for (int i = 0; i < l->n_parts; i++) {
            LK_TRY(lk_dataset_read(l->o.data, l->part[i], sample[row], 1, r->sample + l->part_at[i]));
            stored[i] = r->sample + l->part_at[i];
        }
        LK_TRY(put_row(r, stored, at, row, sample[row]));
    }
    return LK_OK;
}

static lk_status fill_lane(reader *r, int64_t i, int lane)
{
    lk_loader *l = r->loader;
    const lk_sampler *s = &l->o.sampler;
    const int64_t at = i % l->n_slots * l->o.n_lanes + lane;
    int64_t *sample = l->sample_ids + at * l->sample_stride;
    int64_t epoch, step;

    position(l, i, &epoch, &step);
    r->epoch = epoch;
    const int64_t valid = lk_sampler_valid(s, step, l->o.first_lane + lane);
    lki_row_reader rows = lki_sampler_rows(s, epoch);
    int64_t n_cached = 0; /* rows before the pool, or all */
    for (int64_t row = 0; row < valid; row++) {
        sample[row] = lki_sampler_row(&rows, step, l->o.first_lane + lane, row);
        r->until[row] = use_until(s, epoch, step, row, sample[row]);
        if (s->order != LK_ORDER_SHUFFLED || l->pool_cached || step * s->rows + row < s->pool_first / s->lanes)
            n_cached = row + 1;
    }
    LK_TRY(fill_from_cache(r, sample, 0, n_cached, at));
    LK_TRY(fill_directly(r, sample, n_cached, valid, at));
    if (lk_is_mixed(&l->o.mix) && valid > 0)
        mix(r, at, step, l->o.first_lane + lane, sample, valid);

    memset(sample + valid, 0, (size_t)(s->rows - valid) * sizeof *sample);
    lk_lane_batch *b = &l->slot[i % l->n_slots].lane[lane];
    *b = (lk_lane_batch){.valid = valid, .sample = sample};
    for (int k = 0; k < l->o.n_fields; k++) {
        const output *o = &l->out[k];
        b->field[k] = o->same >= 0 ? b->field[o->same] : rows_of(o, at);
        if (o->same < 0)
            memset(
                rows_of(o, at) + (size_t)(valid * o->row) * o->elem, 0, (size_t)((s->rows - valid) * o->row) * o->elem);
    }
    return LK_OK;
}

/* ---- reading ahead ---- */

/* Blocks that the lane's next phase needs are read during this one, evenly over its steps, lest all lanes wait for a
 * window of blocks at once. */
static void read_ahead(reader *r, int64_t i, int lane)
{
    lk_loader *l = r->loader;
    const lk_sampler *s = &l->o.sampler;
    int64_t epoch, step;

    if (s->order != LK_ORDER_SHUFFLED || (s->groups == 0 && !l->pool_cached) || lki_cache_complete(l->cache))
        return;
    position(l, i, &epoch, &step);
    const int64_t now = epoch * s->steps + step;
    const int64_t in_windows = s->pool_first / s->lanes; /* of a lane */
    const int64_t place = step * s->rows, end = place + s->rows;
    int64_t group = s->groups; /* s->groups: the pool */
    double part; /* of this phase that is done after the step */
    if (place < in_windows) {
        const int64_t window_samples = s->window * s->block;
        group = place / window_samples;
        part = (double)(end - group * window_samples) / (double)window_samples;
    } else {
        const int64_t pool_rows = s->steps * s->rows - in_windows;
        part = (double)(end - in_windows) / (double)pool_rows;
    }
    int64_t next = group + 1, next_epoch = epoch;
    if (next > s->groups || (next == s->groups && (s->pool == 0 || !l->pool_cached))) {
        next = 0;
        next_epoch++;
    }
    if (l->o.end_epoch >= 0 && next_epoch >= l->o.end_epoch)
        return;

    const bool pool = next == s->groups;
    const int64_t blocks = pool ? (lki_sampler_pool_blocks(s) - lane + l->o.n_lanes - 1) / l->o.n_lanes
                                : s->window; /* lanes share the pool's */
    const int64_t want = part >= 1 ? blocks : (int64_t)(part * (double)blocks);
    const int64_t phase = next_epoch * (s->groups + 1) + next;
    const int64_t until =
        next_epoch * s->steps + (pool ? s->steps - 1 : ((next + 1) * s->window * s->block - 1) / s->rows);
    ahead *a = &l->ahead[lane];
    for (;;) {
        pthread_mutex_lock(&l->lock);
        if (a->phase < phase)
            *a = (ahead){.phase = phase, .blocks = 0};
        const int64_t j = a->blocks;
        const bool go = !l->quit && a->phase == phase && j < want;
        a->blocks += go;
        pthread_mutex_unlock(&l->lock);
        if (!go)
            return;
        const int64_t block = pool ? lki_sampler_pool_block(s, next_epoch, j * l->o.n_lanes + lane)
                                   : lki_sampler_window_block(s, next_epoch, l->o.first_lane + lane, next, j);
        lki_cache_read_ahead(l->cache, block, until, now);
    }
}

/* ---- readers ---- */

/* Takes the next microbatch that has a slot; false when there is nothing more to do. The lock is held. */
static bool take_job(lk_loader *l, int64_t *i, int *lane)
{
    while (!l->quit && l->next_step < l->n_steps && l->next_step >= l->taken + l->n_slots)
        pthread_cond_wait(&l->work, &l->lock);
    if (l->quit || l->next_step >= l->n_steps)
        return false;
    *i = l->next_step;
    *lane = l->next_lane;
    if (++l->next_lane == l->o.n_lanes) {
        l->next_lane = 0;
        l->next_step++;
    }
    return true;
}

static void *reader_main(void *arg)
{
    reader *r = arg;
    lk_loader *l = r->loader;
    int64_t i;
    int lane;

    pthread_mutex_lock(&l->lock);
    while (take_job(l, &i, &lane)) {
        pthread_mutex_unlock(&l->lock);
        const lk_status st = fill_lane(r, i, lane);
        pthread_mutex_lock(&l->lock);
        slot *s = &l->slot[i % l->n_slots];
        if (st != LK_OK && (s->failed_lane < 0 || lane < s->failed_lane)) {
            s->failed_lane = lane;
            lk_err_take(&s->err);
            s->err.code = st;
        }
        if (--s->left == 0)
            pthread_cond_signal(&l->filled);
        if (st == LK_OK) {
            pthread_mutex_unlock(&l->lock);
            read_ahead(r, i, lane);
            pthread_mutex_lock(&l->lock);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- the caller's side ---- */

static void reset_slot(lk_loader *l, slot *s)
{
    s->left = l->o.n_lanes;
    s->failed_lane = -1;
}

lk_status lk_loader_map(lk_loader *l, const lk_batch **view)
{
    if (l->dead != LK_OK)
        return lk_err_give(&l->err);
    if (l->mapped)
        return LK_FAIL(LK_E_ARG, "the loader's last batch is still mapped");
    if (l->taken >= l->n_steps) {
        *view = NULL;
        return LK_OK;
    }
    slot *s = &l->slot[l->taken % l->n_slots];
    pthread_mutex_lock(&l->lock);
    if (s->left > 0) {
        const double start = lk_now();
        while (s->left > 0)
            pthread_cond_wait(&l->filled, &l->lock);
        l->wait_seconds += lk_now() - start;
    }
    pthread_mutex_unlock(&l->lock);
    if (s->failed_lane >= 0) {
        l->dead = s->err.code;
        l->err = s->err;
        return lk_err_give(&l->err);
    }
    position(l, l->taken, &s->batch.epoch, &s->batch.step);
    s->batch.samples = lk_sampler_step_samples(&l->o.sampler, s->batch.step);
    s->batch.lane = s->lane;
    l->mapped = true;
    *view = &s->batch;
    return LK_OK;
}

void lk_loader_unmap(lk_loader *l, const lk_batch **view)
{
    *view = NULL;
    if (!l->mapped)
        return;
    l->mapped = false;
    pthread_mutex_lock(&l->lock);
    reset_slot(l, &l->slot[l->taken % l->n_slots]);
    l->taken++;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

double lk_loader_wait_seconds(const lk_loader *l)
{
    return l->wait_seconds;
}

int64_t lk_loader_bytes(const lk_loader *l)
{
    return l->bytes;
}

/* ---- creation ---- */

static lk_status check_opts(const lk_loader_opts *o)
{
    const lk_dataset *d = o->data;
    const lk_sampler *s = &o->sampler;

    if (s->steps < 1 || s->samples != d->samples)
        return LK_FAIL(
            LK_E_ARG, "loader: the order has %" PRId64 " samples, the dataset %" PRId64, s->samples, d->samples);
    if (o->n_fields < 1 || o->n_fields > LK_LOADER_FIELDS)
        return LK_FAIL(LK_E_ARG, "loader: %d fields; 1 to %d are possible", o->n_fields, LK_LOADER_FIELDS);
    for (int i = 0; i < o->n_fields; i++)
        if (o->field[i].field < 0 || o->field[i].field >= d->n_fields)
            return LK_FAIL(LK_E_ARG, "loader: field %d of %d", o->field[i].field, d->n_fields);
    if (o->n_lanes < 1 || o->first_lane < 0 || o->first_lane > s->lanes - o->n_lanes)
        return LK_FAIL(
            LK_E_ARG, "loader: microbatches %d to %d of %d", o->first_lane, o->first_lane + o->n_lanes, s->lanes);
    if (o->readers < 1 || o->readers > 1024 || o->prefetch < 1 || o->prefetch > 1 << 20)
        return LK_FAIL(LK_E_ARG, "loader: %d readers, %d steps ahead", o->readers, o->prefetch);
    if (o->epoch < 0 || o->step < 0 || o->step > s->steps)
        return LK_FAIL(
            LK_E_ARG, "loader: epoch %" PRId64 ", step %" PRId64 " of %" PRId64, o->epoch, o->step, s->steps);
    for (int i = 0; i < o->n_fields; i++) {
        const lk_field_info *f = &d->field[o->field[i].field];
        if (o->field[i].as == LK_AS_ID && !lk_elem_is_integer(f->type))
            return LK_FAIL(
                LK_E_DATA, "field \"%s\" has type %s: ids must be whole numbers", f->name, lk_elem_name(f->type));
        if (o->field[i].count != 0 && (o->field[i].as != LK_AS_ID || o->field[i].first < 0 || o->field[i].count < 0 ||
                                          o->field[i].count > f->row - o->field[i].first))
            return LK_FAIL(LK_E_ARG, "loader: field \"%s\": %" PRId64 " elements from %" PRId64 " on, of %" PRId64, f->name,
                o->field[i].count, o->field[i].first, f->row);
    }
    return LK_OK;
}

/* Augmentation and mixing. */
static lk_status check_changes(const lk_loader_opts *o)
{
    const lk_field_info *f = &o->data->field[o->field[0].field];

    if (lk_augment_steps(o->augment) > 0 || lk_is_mixed(&o->mix)) {
        if (o->field[0].as != LK_AS_REAL || o->field[0].classes > 0)
            return LK_FAIL(LK_E_ARG, "loader: augmentation and mixing of ids");
        LK_TRY(lk_augment_check(o->augment, f));
    }
    if (o->mix.cutmix > 0 && f->ndim != 2 && f->ndim != 3)
        return LK_FAIL(LK_E_CONFIG,
            "data.mix.cutmix: field \"%s\" has samples of rank %d; pictures [C,H,W] or [H,W] are needed", f->name,
            f->ndim);
    for (int i = 0; i < o->n_fields; i++) {
        const lk_field_info *c = &o->data->field[o->field[i].field];
        if (o->field[i].classes < 0 || (o->field[i].classes > 0 && o->field[i].as != LK_AS_REAL))
            return LK_FAIL(LK_E_ARG, "loader: field \"%s\" as %" PRId64 " classes", c->name, o->field[i].classes);
        if (o->field[i].classes > 0 && (!lk_elem_is_integer(c->type) || c->row != 1))
            return LK_FAIL(LK_E_DATA,
                "field \"%s\" has %" PRId64 " numbers a sample, of type %s: a class is one whole number", c->name,
                c->row, lk_elem_name(c->type));
    }
    return LK_OK;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Places the cache needs: all blocks where they are few bytes; else two windows a lane, this one and the next (or the
 * pool, if that is few bytes); in sequence and in streams what the steps ahead span. */
static int64_t count_places(lk_loader *l)
{
    const lk_loader_opts *o = &l->o;
    const lk_sampler *s = &o->sampler;
    const lk_dataset *d = o->data;
    const int64_t blocks = (s->samples - 1) / s->block + 1;
    double sample_bytes = 0; /* only compared, so that nothing overflows */

    for (int i = 0; i < l->n_parts; i++)
        sample_bytes += (double)d->field[l->part[i]].row * (double)lk_elem_size(d->field[l->part[i]].type);
    const double block_bytes = sample_bytes * (double)(s->block < s->samples ? s->block : s->samples);
    l->whole = block_bytes * (double)blocks <= (double)KEEP_BYTES;
    l->pool_cached = l->whole;
    if (l->whole)
        return blocks;
    const int64_t spanned = (int64_t)l->n_slots / s->block + 2; /* blocks that the steps ahead span in a stream */
    if (s->order == LK_ORDER_STREAMS)
        return (double)spanned * (double)o->n_lanes * (double)s->rows < (double)blocks ? spanned * o->n_lanes * s->rows
                                                                                       : blocks;
    if (s->order == LK_ORDER_SEQUENTIAL)
        return max_i64(((int64_t)l->n_slots * s->rows * s->lanes) / s->block + 2, o->readers);
    const int64_t windows = s->groups > 0 ? (int64_t)o->n_lanes * s->window : 0;
    const int64_t pool = lki_sampler_pool_blocks(s);
    l->pool_cached = block_bytes * (double)pool <= (double)KEEP_BYTES || pool <= 2 * windows;
    return windows + max_i64(windows, l->pool_cached ? pool : 0);
}

static lk_status alloc_counted(lk_loader *l, int64_t count, size_t size, const char *what, void *out)
{
    LK_TRY(lk_alloc_array(count, size, what, out));
    l->bytes += count * (int64_t)size;
    return LK_OK;
}

static const lk_space *space_of(const lk_loader_opts *o)
{
    return o->space != NULL ? o->space : &lk_space_host;
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static bool same_convert(const lki_converter *a, const lki_converter *b)
{
    const size_t bytes = (size_t)a->n_norm * sizeof *a->mean;

    return a->n_norm == b->n_norm && a->last == b->last && a->scale == b->scale &&
           memcmp(a->mean, b->mean, bytes) == 0 && memcmp(a->std, b->std, bytes) == 0;
}

static lk_status create_outputs(lk_loader *l)
{
    const bool changed =
        lk_augment_steps(l->o.augment) > 0 || lk_is_mixed(&l->o.mix); /* then field 0 is like no other */

    for (int i = 0; i < l->o.n_fields; i++) {
        const lk_loader_field *f = &l->o.field[i];
        const lk_field_info *info = &l->o.data->field[f->field];
        output *o = &l->out[i];
        int p = 0;

        while (p < l->n_parts && l->part[p] != f->field)
            p++;
        if (p == l->n_parts) {
            /* Room for the largest element, so that each part begins at a whole one. */
            int64_t bytes;
            LK_TRY(lk_mul_i64(info->row, (int64_t)sizeof(double), &bytes));
            l->part_at[p + 1] = l->part_at[p] + bytes;
            l->part[l->n_parts++] = f->field;
        }
        *o = (output){
            .part = p, .same = -1, .row = info->row, .elem = f->as == LK_AS_REAL ? sizeof(float) : sizeof(int64_t)};
        if (f->classes > 0)
            o->row = f->classes;
        if (f->count > 0)
            o->row = f->count;
        if (f->as == LK_AS_REAL && f->classes == 0)
            LK_TRY(lki_converter_init(&o->convert, info, &f->convert));
        for (int k = changed ? 1 : 0; k < i && o->same < 0; k++)
            if (l->out[k].same < 0 && l->out[k].part == p && l->o.field[k].as == f->as &&
                l->o.field[k].classes == f->classes && l->o.field[k].first == f->first && l->o.field[k].count == f->count &&
                (f->as == LK_AS_ID || f->classes > 0 || same_convert(&l->out[k].convert, &o->convert)))
                o->same = k;
    }
    return LK_OK;
}

static lk_status create_slots(lk_loader *l)
{
    const lk_sampler *s = &l->o.sampler;
    const int64_t n = (int64_t)l->n_slots * l->o.n_lanes;
    int64_t count;

    LK_TRY(alloc_counted(l, l->n_slots, sizeof l->slot[0], "batches ahead", &l->slot));
    LK_TRY(alloc_counted(l, n, sizeof l->lanes[0], "batches ahead", &l->lanes));
    for (int i = 0; i < l->n_slots; i++) {
        l->slot[i].lane = l->lanes + (int64_t)i * l->o.n_lanes;
        reset_slot(l, &l->slot[i]);
    }
    for (int i = 0; i < l->o.n_fields; i++) {
        output *o = &l->out[i];
        if (o->same >= 0)
            continue;
        LK_TRY(lk_mul_i64(s->rows, o->row, &count));
        o->stride = round_up(count, FLOATS_OF_LINE);
        LK_TRY(lk_mul_i64(n, o->stride, &count));
        LK_TRY(lk_mul_i64(count, (int64_t)o->elem, &count));
        LK_TRY(lk_space_alloc_pinned(space_of(&l->o), (size_t)count, "values of batches ahead", &o->rows));
        l->bytes += count;
    }
    l->sample_stride = round_up(s->rows, WORDS_OF_LINE);
    LK_TRY(lk_mul_i64(n, l->sample_stride, &count));
    LK_TRY(alloc_counted(l, count, sizeof(int64_t), "sample numbers of batches ahead", &l->sample_ids));
    return LK_OK;
}

static lk_status create_readers(lk_loader *l, int64_t places)
{
    const int64_t rows = l->o.sampler.rows;
    const int64_t share = lki_cache_share(l->cache);
    int64_t widest = l->out[0].stride;

    for (int i = 1; i < l->o.n_fields; i++)
        if (l->o.field[i].classes > 0)
            widest = max_i64(widest, l->out[i].stride);

    LK_TRY(alloc_counted(l, l->o.readers, sizeof l->reader[0], "readers", &l->reader));
    for (int i = 0; i < l->o.readers; i++) {
        reader *r = &l->reader[i];
        r->loader = l;
        LK_TRY(alloc_counted(l, rows, sizeof r->until[0], "readers", &r->until));
        LK_TRY(alloc_counted(l, places, sizeof r->mark[0], "readers", &r->mark));
        LK_TRY(alloc_counted(l, rows, sizeof r->place[0], "readers", &r->place));
        LK_TRY(alloc_counted(l, share, sizeof r->held[0], "readers", &r->held));
        if (!l->pool_cached)
            LK_TRY(alloc_counted(l, l->part_at[l->n_parts], 1, "a sample as stored", &r->sample));
        if (lk_augment_steps(l->o.augment) > 0)
            LK_TRY(alloc_counted(l, l->out[0].row, sizeof(float), "a sample as it was", &r->scratch));
        if (lk_is_mixed(&l->o.mix)) {
            LK_TRY(alloc_counted(l, rows, sizeof(double), "shares of a mixed microbatch", &r->share));
            LK_TRY(alloc_counted(l, widest, sizeof(float), "a microbatch as it was", &r->unmixed));
        }
    }
    return LK_OK;
}

/* Signals stay with the thread that asked for them: a reader takes none. */
static lk_status start_readers(lk_loader *l)
{
    sigset_t all, before;
    int e = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < l->o.readers && e == 0; i++) {
        e = pthread_create(&l->reader[i].thread, NULL, reader_main, &l->reader[i]);
        l->n_started += e == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e != 0)
        return LK_FAIL(
            LK_E_LIBRARY, "cannot start reader thread %d of %d: %s", l->n_started + 1, l->o.readers, strerror(e));
    return LK_OK;
}

/* Steps from the cursor to the end. */
static int64_t count_steps(const lk_loader_opts *o)
{
    int64_t n;

    if (o->end_epoch < 0 || __builtin_mul_overflow(o->end_epoch - o->epoch, o->sampler.steps, &n))
        return INT64_MAX;
    return max_i64(n - o->step, 0);
}

lk_status lk_loader_create(const lk_loader_opts *o, lk_loader **out)
{
    lk_loader *l = NULL;
    lk_status st;

    LK_TRY(check_opts(o));
    LK_TRY(check_changes(o));
    LK_TRY(lk_alloc(sizeof *l, "loader", &l));
    l->bytes = (int64_t)sizeof *l;
    l->o = *o;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->filled, NULL);
    l->n_slots = o->prefetch + 1;
    l->n_steps = count_steps(o);
    LK_TRY_TO(st, fail, create_outputs(l));
    LK_TRY_TO(st, fail, create_slots(l));
    const int64_t places = max_i64(count_places(l), o->readers);
    LK_TRY_TO(
        st, fail, lki_cache_create(o->data, l->part, l->n_parts, o->sampler.block, places, o->readers, &l->cache));
    l->bytes += lki_cache_bytes(l->cache);
    LK_TRY_TO(st, fail, create_readers(l, places));
    LK_TRY_TO(st, fail, alloc_counted(l, o->n_lanes, sizeof l->ahead[0], "readers", &l->ahead));
    LK_TRY_TO(st, fail, start_readers(l));
    *out = l;
    return LK_OK;

fail:
    lk_loader_destroy(&l);
    return st;
}

/* What create_slots and create_readers will ask for. */
static int64_t slot_bytes(const lk_loader *l)
{
    const lk_sampler *s = &l->o.sampler;
    const int64_t lanes = (int64_t)l->n_slots * l->o.n_lanes;
    int64_t microbatch = (int64_t)sizeof l->lanes[0] + round_up(s->rows, WORDS_OF_LINE) * (int64_t)sizeof(int64_t);

    for (int i = 0; i < l->o.n_fields; i++)
        if (l->out[i].same < 0)
            microbatch += round_up(s->rows * l->out[i].row, FLOATS_OF_LINE) * (int64_t)l->out[i].elem;
    return l->n_slots * (int64_t)sizeof l->slot[0] + lanes * microbatch;
}

static int64_t reader_bytes(const lk_loader *l, int64_t places, int64_t share)
{
    const int64_t rows = l->o.sampler.rows;
    int64_t bytes = (int64_t)sizeof l->reader[0] + rows * (int64_t)(sizeof l->reader[0].until[0] + sizeof l->reader[0].place[0]) +
                    places * (int64_t)sizeof l->reader[0].mark[0] + share * (int64_t)sizeof l->reader[0].held[0];

    if (!l->pool_cached)
        bytes += l->part_at[l->n_parts];
    if (lk_augment_steps(l->o.augment) > 0)
        bytes += l->out[0].row * (int64_t)sizeof(float);
    if (lk_is_mixed(&l->o.mix)) {
        int64_t widest = l->out[0].row;
        for (int i = 1; i < l->o.n_fields; i++)
            if (l->o.field[i].classes > 0)
                widest = max_i64(widest, l->out[i].row);
        bytes += rows * (int64_t)sizeof(double) + round_up(rows * widest, FLOATS_OF_LINE) * (int64_t)sizeof(float);
    }
    return l->o.readers * bytes;
}

lk_status lk_loader_predict(const lk_loader_opts *o, int64_t *bytes)
{
    lk_loader *l = NULL;
    int64_t cache = 0;
    lk_status st;

    LK_TRY(check_opts(o));
    LK_TRY(check_changes(o));
    LK_TRY(lk_alloc(sizeof *l, "loader", &l));
    l->o = *o;
    l->n_slots = o->prefetch + 1;
    st = create_outputs(l);
    if (st == LK_OK) {
        const int64_t places = max_i64(count_places(l), o->readers), blocks = (o->data->samples - 1) / o->sampler.block + 1;

        st = lki_cache_predict(o->data, l->part, l->n_parts, o->sampler.block, places, &cache);
        *bytes = (int64_t)sizeof *l + slot_bytes(l) + cache + reader_bytes(l, places, places >= blocks ? places : places / o->readers) +
                 o->n_lanes * (int64_t)sizeof l->ahead[0];
    }
    for (int i = 0; i < LK_LOADER_FIELDS; i++)
        lki_converter_fini(&l->out[i].convert);
    lk_free(l);
    return st;
}

void lk_loader_destroy(lk_loader **loader)
{
    lk_loader *l = *loader;

    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    if (l->cache != NULL)
        lki_cache_stop(l->cache);
    for (int i = 0; i < l->n_started; i++)
        pthread_join(l->reader[i].thread, NULL);
    for (int i = 0; i < l->o.readers && l->reader != NULL; i++) {
        lk_free(l->reader[i].until);
        lk_free(l->reader[i].mark);
        lk_free(l->reader[i].place);
        lk_free(l->reader[i].held);
        lk_free(l->reader[i].sample);
        lk_free(l->reader[i].scratch);
        lk_free(l->reader[i].share);
        lk_free(l->reader[i].unmixed);
    }
    lk_free(l->ahead);
    lk_free(l->reader);
    lki_cache_destroy(&l->cache);
    lk_free(l->sample_ids);
    lk_free(l->lanes);
    lk_free(l->slot);
    for (int i = 0; i < LK_LOADER_FIELDS; i++) {
        lk_space_free_pinned(space_of(&l->o), l->out[i].rows);
        lki_converter_fini(&l->out[i].convert);
    }
    pthread_cond_destroy(&l->filled);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    lk_free(l);
    *loader = NULL;
}
