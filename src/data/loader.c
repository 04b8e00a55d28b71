/* Readers take jobs in order, one job a microbatch of a step, and fill the slots of a ring: one slot is with the
 * caller, `prefetch` are ahead. What is stored comes through a cache of blocks (cache.h) that is as large as the sample
 * order needs. */
#include "data/loader.h"
#include "base/mem.h"
#include "base/thread.h"
#include "data/cache.h"
#include "data/convert.h"
#include "data/dataset_int.h"
#include "data/sampler_int.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* A dataset up to this size stays in memory once it was read, and so does the pool of one that is larger. */
#define KEEP_BYTES (INT64_C(256) << 20)

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

typedef struct reader {
    lk_loader *loader;
    pthread_t thread;
    int64_t *until, *mark, stamp; /* [rows], [places] */
    int *place, *held; /* [rows], [share] */
    char *sample; /* one sample as stored, for what the cache does not hold: input, then target */
} reader;

struct lk_loader {
    lk_loader_opts o;
    lki_converter input, target;
    lki_cache *cache;
    bool whole; /* the cache holds all blocks, */
    bool pool_cached; /* or all of a pool */
    int64_t n_steps; /* from the cursor to the end, INT64_MAX: no end */
    int64_t bytes;

    float *input_rows; /* [n_slots][n_lanes][input_stride] */
    void *target_rows; /* int64 or float [n_slots][n_lanes][target_stride] */
    int64_t *sample_ids; /* [n_slots][n_lanes][sample_stride] */
    int64_t input_stride, target_stride, sample_stride;
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

/* One row of a microbatch from a stored sample. */
static void put_row(
    const lk_loader *l, const void *input, const void *target, float *input_out, void *target_out, int64_t row)
{
    lki_convert(&l->input, input, input_out + row * l->input.row);
    if (l->o.target_field < 0)
        return;
    if (l->o.target_is_class) {
        const lk_field_info *f = &l->o.data->field[l->o.target_field];
        for (int64_t i = 0; i < f->row; i++)
            ((int64_t *)target_out)[row * f->row + i] = lki_whole_at(target, f->type, i);
    } else {
        lki_convert(&l->target, target, (float *)target_out + row * l->target.row);
    }
}

/* The last step, counted through epochs, in which the block of a row's sample is of use. */
static int64_t use_until(const lk_sampler *s, int64_t epoch, int64_t step, int64_t row, int64_t sample)
{
    const int64_t begin = epoch * s->steps;

    if (!s->shuffle)
        return begin + ((sample / s->block + 1) * s->block - 1) / (s->rows * s->lanes);
    const int64_t place = step * s->rows + row;
    if (place >= s->pool_first / s->lanes)
        return begin + s->steps - 1;
    const int64_t window_samples = s->window * s->block;
    return begin + ((place / window_samples + 1) * window_samples - 1) / s->rows;
}

static lk_status fill_from_cache(
    reader *r, const int64_t *sample, int64_t first, int64_t n, float *input_out, void *target_out)
{
    lk_loader *l = r->loader;

    for (int64_t row = first; row < n;) {
        int64_t n_held;
        const int64_t end = row + lki_cache_hold(l->cache, sample + row, r->until + row, n - row, r->mark, ++r->stamp,
                                      r->place + row, r->held, &n_held);
        const lk_status st = lki_cache_load(l->cache, r->held, n_held);
        for (; st == LK_OK && row < end; row++)
            put_row(l, lki_cache_input(l->cache, r->place[row], sample[row]),
                lki_cache_target(l->cache, r->place[row], sample[row]), input_out, target_out, row);
        lki_cache_release(l->cache, r->held, n_held);
        LK_TRY(st);
    }
    return LK_OK;
}

/* Rows of a pool that is too large to be kept: sample by sample. */
static lk_status fill_directly(
    reader *r, const int64_t *sample, int64_t first, int64_t n, float *input_out, void *target_out)
{
    lk_loader *l = r->loader;
    char *target = r->sample + l->input.row * (int64_t)sizeof(double); /* behind the largest element type */

    for (int64_t row = first; row < n; row++) {
        if (atomic_load(&l->quit))
            return LK_FAIL(LK_E_STOPPED, "the loader was stopped");
        LK_TRY(lk_dataset_read(l->o.data, l->o.input_field, sample[row], 1, r->sample));
        if (l->o.target_field >= 0)
            LK_TRY(lk_dataset_read(l->o.data, l->o.target_field, sample[row], 1, target));
        put_row(l, r->sample, target, input_out, target_out, row);
    }
    return LK_OK;
}

static lk_status fill_lane(reader *r, int64_t i, int lane)
{
    lk_loader *l = r->loader;
    const lk_sampler *s = &l->o.sampler;
    const int64_t at = i % l->n_slots * l->o.n_lanes + lane;
    float *input = l->input_rows + at * l->input_stride;
    int64_t *sample = l->sample_ids + at * l->sample_stride;
    char *target = l->o.target_field < 0
                       ? NULL
                       : (char *)l->target_rows +
                             (size_t)(at * l->target_stride) * (l->o.target_is_class ? sizeof(int64_t) : sizeof(float));
    int64_t epoch, step;

    position(l, i, &epoch, &step);
    const int64_t valid = lk_sampler_valid(s, step, l->o.first_lane + lane);
    lki_row_reader rows = lki_sampler_rows(s, epoch);
    int64_t n_cached = 0; /* rows before the pool, or all */
    for (int64_t row = 0; row < valid; row++) {
        sample[row] = lki_sampler_row(&rows, step, l->o.first_lane + lane, row);
        r->until[row] = use_until(s, epoch, step, row, sample[row]);
        if (!s->shuffle || l->pool_cached || step * s->rows + row < s->pool_first / s->lanes)
            n_cached = row + 1;
    }
    LK_TRY(fill_from_cache(r, sample, 0, n_cached, input, target));
    LK_TRY(fill_directly(r, sample, n_cached, valid, input, target));

    const int64_t padding = s->rows - valid;
    memset(input + valid * l->input.row, 0, (size_t)(padding * l->input.row) * sizeof *input);
    memset(sample + valid, 0, (size_t)padding * sizeof *sample);
    if (target != NULL) {
        const int64_t target_row = l->o.data->field[l->o.target_field].row;
        const size_t row_bytes = (size_t)target_row * (l->o.target_is_class ? sizeof(int64_t) : sizeof(float));
        memset(target + (size_t)valid * row_bytes, 0, (size_t)padding * row_bytes);
    }
    l->slot[i % l->n_slots].lane[lane] = (lk_lane_batch){
        .valid = valid, .input = input, .target = target != NULL ? (void *)target : input, .sample = sample};
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

    if (!s->shuffle || (s->groups == 0 && !l->pool_cached) || lki_cache_complete(l->cache))
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
    if (o->input_field < 0 || o->input_field >= d->n_fields || o->target_field < -1 || o->target_field >= d->n_fields)
        return LK_FAIL(
            LK_E_ARG, "loader: input field %d, target field %d of %d", o->input_field, o->target_field, d->n_fields);
    if (o->n_lanes < 1 || o->first_lane < 0 || o->first_lane > s->lanes - o->n_lanes)
        return LK_FAIL(
            LK_E_ARG, "loader: microbatches %d to %d of %d", o->first_lane, o->first_lane + o->n_lanes, s->lanes);
    if (o->readers < 1 || o->readers > 1024 || o->prefetch < 1 || o->prefetch > 1 << 20)
        return LK_FAIL(LK_E_ARG, "loader: %d readers, %d steps ahead", o->readers, o->prefetch);
    if (o->epoch < 0 || o->step < 0 || o->step > s->steps)
        return LK_FAIL(
            LK_E_ARG, "loader: epoch %" PRId64 ", step %" PRId64 " of %" PRId64, o->epoch, o->step, s->steps);
    if (o->target_field < 0 && o->target_is_class)
        return LK_FAIL(LK_E_ARG, "loader: the input is the target, so it has no classes");
    if (o->target_is_class && !lk_elem_is_integer(d->field[o->target_field].type))
        return LK_FAIL(LK_E_DATA, "field \"%s\" has type %s: classes must be whole numbers",
            d->field[o->target_field].name, lk_elem_name(d->field[o->target_field].type));
    return LK_OK;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Places the cache needs: all blocks where they are few bytes; else two windows a lane, this one and the next (or the
 * pool, if that is few bytes); in sequence what the steps ahead span. */
static int64_t count_places(lk_loader *l)
{
    const lk_loader_opts *o = &l->o;
    const lk_sampler *s = &o->sampler;
    const lk_dataset *d = o->data;
    const int64_t blocks = (s->samples - 1) / s->block + 1;
    double sample_bytes = 0; /* only compared, so that nothing overflows */

    for (int f = 0; f < d->n_fields; f++)
        if (f == o->input_field || f == o->target_field)
            sample_bytes += (double)d->field[f].row * (double)lk_elem_size(d->field[f].type);
    const double block_bytes = sample_bytes * (double)(s->block < s->samples ? s->block : s->samples);
    l->whole = block_bytes * (double)blocks <= (double)KEEP_BYTES;
    l->pool_cached = l->whole;
    if (l->whole)
        return blocks;
    if (!s->shuffle)
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

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
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
    LK_TRY(lk_mul_i64(s->rows, l->input.row, &count));
    l->input_stride = round_up(count, FLOATS_OF_LINE);
    LK_TRY(lk_mul_i64(n, l->input_stride, &count));
    LK_TRY(alloc_counted(l, count, sizeof(float), "inputs of batches ahead", &l->input_rows));
    l->sample_stride = round_up(s->rows, WORDS_OF_LINE);
    LK_TRY(lk_mul_i64(n, l->sample_stride, &count));
    LK_TRY(alloc_counted(l, count, sizeof(int64_t), "sample numbers of batches ahead", &l->sample_ids));
    if (l->o.target_field >= 0) {
        LK_TRY(lk_mul_i64(s->rows, l->o.data->field[l->o.target_field].row, &count));
        l->target_stride = round_up(count, FLOATS_OF_LINE);
        LK_TRY(lk_mul_i64(n, l->target_stride, &count));
        LK_TRY(alloc_counted(l, count, l->o.target_is_class ? sizeof(int64_t) : sizeof(float),
            "targets of batches ahead", &l->target_rows));
    }
    return LK_OK;
}

static lk_status create_readers(lk_loader *l, int64_t places)
{
    const int64_t rows = l->o.sampler.rows;
    const int64_t share = lki_cache_share(l->cache);

    LK_TRY(alloc_counted(l, l->o.readers, sizeof l->reader[0], "readers", &l->reader));
    for (int i = 0; i < l->o.readers; i++) {
        reader *r = &l->reader[i];
        r->loader = l;
        LK_TRY(alloc_counted(l, rows, sizeof r->until[0], "readers", &r->until));
        LK_TRY(alloc_counted(l, places, sizeof r->mark[0], "readers", &r->mark));
        LK_TRY(alloc_counted(l, rows, sizeof r->place[0], "readers", &r->place));
        LK_TRY(alloc_counted(l, share, sizeof r->held[0], "readers", &r->held));
        if (!l->pool_cached)
            LK_TRY(
                alloc_counted(l, l->input.row + (l->o.target_field >= 0 ? l->o.data->field[l->o.target_field].row : 0),
                    sizeof(double), "a sample as stored", &r->sample));
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
    LK_TRY(lk_alloc(sizeof *l, "loader", &l));
    l->bytes = (int64_t)sizeof *l;
    l->o = *o;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->filled, NULL);
    l->n_slots = o->prefetch + 1;
    l->n_steps = count_steps(o);
    LK_TRY_TO(st, fail, lki_converter_init(&l->input, &o->data->field[o->input_field], &o->input_convert));
    if (o->target_field >= 0 && !o->target_is_class)
        LK_TRY_TO(st, fail, lki_converter_init(&l->target, &o->data->field[o->target_field], &o->target_convert));
    LK_TRY_TO(st, fail, create_slots(l));
    const int64_t places = max_i64(count_places(l), o->readers);
    LK_TRY_TO(st, fail,
        lki_cache_create(o->data, o->input_field, o->target_field, o->sampler.block, places, o->readers, &l->cache));
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
    }
    lk_free(l->ahead);
    lk_free(l->reader);
    lki_cache_destroy(&l->cache);
    lk_free(l->sample_ids);
    lk_free(l->target_rows);
    lk_free(l->input_rows);
    lk_free(l->lanes);
    lk_free(l->slot);
    lki_converter_fini(&l->target);
    lki_converter_fini(&l->input);
    pthread_cond_destroy(&l->filled);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    lk_free(l);
    *loader = NULL;
}
