#include "data/cache.h"
#include "base/mem.h"
#include "data/dataset_int.h"

#include <inttypes.h>
#include <pthread.h>

enum { LINE = 64 };

typedef enum place_state { EMPTY, LOADING, READY } place_state;

typedef struct place {
    int64_t block; /* -1: free */
    int64_t until;
    int pins;
    int next; /* in the chain of its bucket, -1: last */
    place_state state;
} place;

struct lki_cache {
    lk_dataset *data;
    int n_fields, field[LKI_CACHE_FIELDS];
    int64_t block, n_blocks;
    int64_t row_bytes[LKI_CACHE_FIELDS];
    int64_t share;
    int n_places, n_used; /* places are taken into use one after the other */
    int n_buckets; /* a power of two */
    pthread_mutex_t lock;
    pthread_cond_t loaded;
    place *place;
    int *bucket;
    char *bytes; /* [n_places] times the rows of each field, from a boundary of LINE on */
    size_t field_at[LKI_CACHE_FIELDS], place_bytes;
    int64_t n_ready;
    bool stopped;
};

static char *rows_of(const lki_cache *c, int p, int i)
{
    return c->bytes + (size_t)p * c->place_bytes + c->field_at[i];
}

const void *lki_cache_row(const lki_cache *c, int p, int i, int64_t sample)
{
    return rows_of(c, p, i) + sample % c->block * c->row_bytes[i];
}

static int *bucket_of(lki_cache *c, int64_t block)
{
    return &c->bucket[((uint64_t)block * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (uint64_t)(c->n_buckets - 1)];
}

static int find(lki_cache *c, int64_t block)
{
    int p = *bucket_of(c, block);

    while (p >= 0 && c->place[p].block != block)
        p = c->place[p].next;
    return p;
}

static void unlink_place(lki_cache *c, int p)
{
    int *at = bucket_of(c, c->place[p].block);

    while (*at != p)
        at = &c->place[*at].next;
    *at = c->place[p].next;
    c->n_ready -= c->place[p].state == READY;
}

/* Gives a block a place: a free one, or that of the block which is of no use soonest, if it is before `before`. -1:
 * there is none. */
static int assign(lki_cache *c, int64_t block, int64_t until, int64_t before)
{
    int p = -1;

    if (c->n_used < c->n_places) {
        p = c->n_used++;
    } else {
        for (int i = 0; i < c->n_places; i++) {
            const place *x = &c->place[i];
            if (x->pins == 0 && x->until < before && (p < 0 || x->until < c->place[p].until))
                p = i;
        }
        if (p < 0)
            return -1;
        unlink_place(c, p);
    }
    int *head = bucket_of(c, block);
    c->place[p] = (place){.block = block, .until = until, .next = *head, .state = EMPTY};
    *head = p;
    return p;
}

int64_t lki_cache_hold(lki_cache *c, const int64_t *sample, const int64_t *until, int64_t n, int64_t *mark,
    int64_t stamp, int *place_of, int *held, int64_t *n_held)
{
    int64_t i = 0, count = 0;

    pthread_mutex_lock(&c->lock);
    for (; i < n; i++) {
        const int64_t block = sample[i] / c->block;
        int p = find(c, block);
        if (p < 0 || mark[p] != stamp) {
            if (count == c->share)
                break;
            if (p < 0)
                p = assign(c, block, until[i], INT64_MAX);
            LK_BUG_IF(p < 0, "all %d places of the block cache are held", c->n_places);
            c->place[p].pins++;
            mark[p] = stamp;
            held[count++] = p;
        }
        if (c->place[p].until < until[i])
            c->place[p].until = until[i];
        place_of[i] = p;
    }
    pthread_mutex_unlock(&c->lock);
    *n_held = count;
    return i;
}

static lk_status read_block(lki_cache *c, int64_t block, int p)
{
    const int64_t first = block * c->block;
    const int64_t n = c->data->samples - first < c->block ? c->data->samples - first : c->block;

    for (int i = 0; i < c->n_fields; i++)
        LK_TRY(lk_dataset_read(c->data, c->field[i], first, n, rows_of(c, p, i)));
    return LK_OK;
}

/* Reads an empty place; the lock is held before and after, not meanwhile. */
static lk_status fill(lki_cache *c, int p)
{
    const int64_t block = c->place[p].block;

    if (c->stopped)
        return LK_FAIL(LK_E_STOPPED, "the loader was stopped");
    c->place[p].state = LOADING;
    pthread_mutex_unlock(&c->lock);
    const lk_status st = read_block(c, block, p);
    pthread_mutex_lock(&c->lock);
    c->place[p].state = st == LK_OK ? READY : EMPTY;
    c->n_ready += st == LK_OK;
    pthread_cond_broadcast(&c->loaded);
    return st;
}

lk_status lki_cache_load(lki_cache *c, const int *held, int64_t n_held)
{
    lk_status st = LK_OK;

    pthread_mutex_lock(&c->lock);
    for (int64_t i = 0; i < n_held && st == LK_OK; i++)
        if (c->place[held[i]].state == EMPTY)
            st = fill(c, held[i]);
    /* Then the others': who fails leaves the place empty, and the next one who needs it tries, and gets its own
     * message. */
    for (int64_t i = 0; i < n_held && st == LK_OK; i++) {
        while (c->place[held[i]].state == LOADING)
            pthread_cond_wait(&c->loaded, &c->lock);
        if (c->place[held[i]].state == EMPTY)
            st = fill(c, held[i]);
    }
    pthread_mutex_unlock(&c->lock);
    return st;
}

void lki_cache_release(lki_cache *c, const int *held, int64_t n_held)
{
    pthread_mutex_lock(&c->lock);
    for (int64_t i = 0; i < n_held; i++)
        c->place[held[i]].pins--;
    pthread_mutex_unlock(&c->lock);
}

void lki_cache_read_ahead(lki_cache *c, int64_t block, int64_t until, int64_t now)
{
    pthread_mutex_lock(&c->lock);
    int p = find(c, block);
    if (p < 0)
        p = assign(c, block, until, now);
    if (p >= 0 && c->place[p].until < until)
        c->place[p].until = until;
    if (p >= 0 && c->place[p].state == EMPTY) {
        c->place[p].pins++;
        const lk_status failed = fill(c, p);
        (void)failed;
        c->place[p].pins--;
    }
    pthread_mutex_unlock(&c->lock);
}

void lki_cache_stop(lki_cache *c)
{
    pthread_mutex_lock(&c->lock);
    c->stopped = true;
    pthread_mutex_unlock(&c->lock);
}

bool lki_cache_complete(lki_cache *c)
{
    pthread_mutex_lock(&c->lock);
    const bool complete = c->n_ready == c->n_blocks;
    pthread_mutex_unlock(&c->lock);
    return complete;
}

int64_t lki_cache_bytes(const lki_cache *c)
{
    return (int64_t)c->place_bytes * c->n_places + (int64_t)sizeof(place) * c->n_places +
           (int64_t)sizeof(int) * c->n_buckets;
}

int64_t lki_cache_share(const lki_cache *c)
{
    return c->share;
}

/* All sizes. */
static lk_status lay_down(
    lki_cache *c, lk_dataset *data, const int *field, int n_fields, int64_t block, int64_t places)
{
    int64_t place_bytes = 0, all_bytes;

    c->data = data;
    c->n_fields = n_fields;
    c->block = block < data->samples ? block : data->samples;
    c->n_blocks = (data->samples - 1) / c->block + 1;
    for (int i = 0; i < n_fields; i++) {
        const lk_field_info *f = &data->field[field[i]];
        int64_t bytes;
        c->field[i] = field[i];
        c->row_bytes[i] = f->row * (int64_t)lk_elem_size(f->type);
        c->field_at[i] = (size_t)place_bytes;
        LK_TRY(lk_mul_i64(c->block, c->row_bytes[i], &bytes));
        bytes += (LINE - bytes % LINE) % LINE;
        if (__builtin_add_overflow(place_bytes, bytes, &place_bytes))
            return LK_FAIL(LK_E_RANGE, "a block of %" PRId64 " samples has too many bytes", c->block);
    }
    LK_TRY(lk_cast_int(places, &c->n_places));
    c->place_bytes = (size_t)place_bytes;
    c->n_buckets = 1;
    while (c->n_buckets < c->n_places && c->n_buckets < 1 << 30)
        c->n_buckets *= 2;
    return lk_mul_i64((int64_t)c->place_bytes, places, &all_bytes);
}

lk_status lki_cache_predict(
    lk_dataset *data, const int *field, int n_fields, int64_t block, int64_t places, int64_t *bytes)
{
    lki_cache c = {0};

    LK_TRY(lay_down(&c, data, field, n_fields, block, places));
    *bytes = lki_cache_bytes(&c);
    return LK_OK;
}

lk_status lki_cache_create(
    lk_dataset *data, const int *field, int n_fields, int64_t block, int64_t places, int readers, lki_cache **out)
{
    lki_cache *c = NULL;
    lk_status st;

    LK_TRY(lk_alloc(sizeof *c, "block cache", &c));
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->loaded, NULL);
    LK_TRY_TO(st, fail, lay_down(c, data, field, n_fields, block, places));
    c->share = places >= c->n_blocks ? places : places / readers;
    LK_TRY_TO(st, fail, lk_alloc_array(places, sizeof c->place[0], "block cache", &c->place));
    LK_TRY_TO(st, fail, lk_alloc_array(c->n_buckets, sizeof c->bucket[0], "block cache", &c->bucket));
    LK_TRY_TO(st, fail,
        lk_alloc_array(
            (int64_t)c->place_bytes * places, 1, "block cache (it holds two windows of blocks for each microbatch of this rank)", &c->bytes));
    for (int i = 0; i < c->n_places; i++)
        c->place[i].block = -1;
    for (int i = 0; i < c->n_buckets; i++)
        c->bucket[i] = -1;
    *out = c;
    return LK_OK;

fail:
    lki_cache_destroy(&c);
    return st;
}

void lki_cache_destroy(lki_cache **cache)
{
    lki_cache *c = *cache;

    if (c == NULL)
        return;
    lk_free(c->bytes);
    lk_free(c->bucket);
    lk_free(c->place);
    pthread_cond_destroy(&c->loaded);
    pthread_mutex_destroy(&c->lock);
    lk_free(c);
    *cache = NULL;
}
