#include "engine/place.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

lk_status lki_place_peak(const lki_buffer *buf, int n_bufs, int n_instr, int64_t *bytes, int *instr)
{
    int64_t *change = NULL, now = 0;

    LK_TRY(lk_alloc_array(n_instr + 2, sizeof *change, "bytes in use", &change));
    for (int b = 0; b < n_bufs; b++)
        if (buf[b].alias < 0) {
            change[buf[b].first] += buf[b].bytes;
            change[buf[b].last + 1] -= buf[b].bytes;
        }
    *bytes = -1;
    *instr = 0;
    for (int t = 0; t < n_instr; t++) {
        now += change[t];
        if (now <= *bytes)
            continue;
        *bytes = now;
        *instr = t;
    }
    lk_free(change);
    return LK_OK;
}

static int by_size(const void *a, const void *b)
{
    const lki_buffer *x = *(lki_buffer *const *)a, *y = *(lki_buffer *const *)b;

    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Those that stay longest first, then by size. */
static int by_stay(const void *a, const void *b)
{
    const lki_buffer *x = *(lki_buffer *const *)a, *y = *(lki_buffer *const *)b;
    const int x_stay = x->last - x->first, y_stay = y->last - y->first;

    return x_stay != y_stay ? (x_stay > y_stay ? -1 : 1) : by_size(a, b);
}

/* By bytes times instructions. */
static int by_area(const void *a, const void *b)
{
    const lki_buffer *x = *(lki_buffer *const *)a, *y = *(lki_buffer *const *)b;
    const double x_area = (double)x->bytes * (x->last - x->first + 1), y_area = (double)y->bytes * (y->last - y->first + 1);

    return x_area != y_area ? (x_area > y_area ? -1 : 1) : by_size(a, b);
}

/* One after the other in an order, each at the lowest offset where nothing alive at the same time lies; returns the bytes they take. `placed`: room
 * for n, by offset. */
static int64_t place_one_by_one(lki_buffer **order, int n, lki_buffer **placed)
{
    int64_t bytes = 0;

    for (int i = 0; i < n; i++) {
        lki_buffer *const o = order[i];
        int64_t at = 0;
        int j;

        for (j = 0; j < i && placed[j]->offset < at + o->bytes; j++)
            if (placed[j]->first <= o->last && o->first <= placed[j]->last && placed[j]->offset + placed[j]->bytes > at)
                at = placed[j]->offset + placed[j]->bytes;
        while (j > 0 && placed[j - 1]->offset > at)
            j--;
        memmove(placed + j + 1, placed + j, (size_t)(i - j) * sizeof *placed);
        placed[j] = o;
        o->offset = at;
        if (at + o->bytes > bytes)
            bytes = at + o->bytes;
    }
    return bytes;
}

/* Greedy by size (Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference", section 4.3); where that wastes something, by other
 * orders too, and the best is taken. Each buffer looks at all that were placed before. */
static lk_status place_greedily(lki_buffer *buf, int n_bufs, int n_instr, int64_t *arena_bytes)
{
    static int (*const orders[])(const void *, const void *) = {by_size, by_area, by_stay};
    lki_buffer **order = NULL, **placed = NULL;
    int64_t least;
    int n = 0, peak;
    lk_status st;

    LK_TRY(lki_place_peak(buf, n_bufs, n_instr, &least, &peak));
    LK_TRY(lk_alloc_array(n_bufs + 1, sizeof *order, "buffer order", &order));
    LK_TRY_TO(st, done, lk_alloc_array(n_bufs + 1, sizeof *placed, "buffer order", &placed));
    for (int b = 0; b < n_bufs; b++)
        if (buf[b].alias < 0)
            order[n++] = &buf[b];
    for (size_t k = 0; k < sizeof orders / sizeof orders[0] && (k == 0 || *arena_bytes > least); k++) {
        qsort(order, (size_t)n, sizeof *order, orders[k]);
        const int64_t bytes = place_one_by_one(order, n, placed);
        if (k > 0 && bytes >= *arena_bytes)
            continue;
        *arena_bytes = bytes;
        for (int i = 0; i < n; i++)
            order[i]->best = order[i]->offset;
    }
    for (int i = 0; i < n; i++)
        order[i]->offset = order[i]->best;
done:
    lk_free(order);
    lk_free(placed);
    return st;
}

typedef struct block {
    int64_t at, bytes;
} block;

/* Free places below `top`, by offset, no two of them side by side. */
typedef struct free_list {
    block *item;
    int n;
    int64_t top;
} free_list;

/* The first that is large enough. */
static int64_t take_place(free_list *f, int64_t bytes)
{
    int i = 0;

    while (i < f->n && f->item[i].bytes < bytes)
        i++;
    if (i == f->n) {
        const bool last = i > 0 && f->item[i - 1].at + f->item[i - 1].bytes == f->top;
        const int64_t at = last ? f->item[--f->n].at : f->top;

        f->top = at + bytes;
        return at;
    }
    block *b = &f->item[i];
    const int64_t at = b->at;
    b->at += bytes;
    b->bytes -= bytes;
    if (b->bytes == 0)
        memmove(b, b + 1, (size_t)(--f->n - i) * sizeof *b);
    return at;
}

static void give_place(free_list *f, int64_t at, int64_t bytes)
{
    int i = 0, end = f->n;

    while (i < end) {
        const int mid = (i + end) / 2;

        if (f->item[mid].at < at)
            i = mid + 1;
        else
            end = mid;
    }
    block *b = &f->item[i];
    const bool below = i > 0 && b[-1].at + b[-1].bytes == at, above = i < f->n && at + bytes == b->at;
    if (below && above) {
        b[-1].bytes += bytes + b->bytes;
        memmove(b, b + 1, (size_t)(--f->n - i) * sizeof *b);
    } else if (below) {
        b[-1].bytes += bytes;
    } else if (above) {
        b->at = at;
        b->bytes += bytes;
    } else {
        memmove(b + 1, b, (size_t)(f->n++ - i) * sizeof *b);
        *b = (block){at, bytes};
    }
}

/* Those that stay longest first. */
static int by_first(const void *a, const void *b)
{
    const lki_buffer *x = *(lki_buffer *const *)a, *y = *(lki_buffer *const *)b;

    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    if (x->last != y->last)
        return x->last > y->last ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int by_last(const void *a, const void *b)
{
    const lki_buffer *x = *(lki_buffer *const *)a, *y = *(lki_buffer *const *)b;

    if (x->last != y->last)
        return x->last < y->last ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* In the order of the instructions, each at the lowest free place that is large enough. */
static lk_status place_in_time(lki_buffer *buf, int n_bufs, int64_t *arena_bytes)
{
    lki_buffer **begin = NULL, **end = NULL;
    free_list f = {0};
    int n = 0, gone = 0;
    lk_status st;

    LK_TRY(lk_alloc_array(n_bufs + 1, sizeof *begin, "buffer order", &begin));
    LK_TRY_TO(st, done, lk_alloc_array(n_bufs + 1, sizeof *end, "buffer order", &end));
    LK_TRY_TO(st, done, lk_alloc_array(n_bufs + 1, sizeof *f.item, "free places", &f.item));
    for (int b = 0; b < n_bufs; b++)
        if (buf[b].alias < 0)
            begin[n++] = &buf[b];
    memcpy(end, begin, (size_t)n * sizeof *end);
    qsort(begin, (size_t)n, sizeof *begin, by_first);
    qsort(end, (size_t)n, sizeof *end, by_last);
    for (int i = 0; i < n; i++) {
        for (; end[gone]->last < begin[i]->first; gone++)
            give_place(&f, end[gone]->offset, end[gone]->bytes);
        begin[i]->offset = take_place(&f, begin[i]->bytes);
    }
    *arena_bytes = f.top;
done:
    lk_free(begin);
    lk_free(end);
    lk_free(f.item);
    return st;
}

/* Up to so many buffers are placed greedily, the time of which grows with the square of their number. In networks that have more, what placing them in time
 * wastes is little beside what they keep. */
enum { MAX_GREEDY = 4096 };

lk_status lki_place(lki_buffer *buf, int n_bufs, int n_instr, int64_t *arena_bytes)
{
    return n_bufs <= MAX_GREEDY ? place_greedily(buf, n_bufs, n_instr, arena_bytes) : place_in_time(buf, n_bufs, arena_bytes);
}
