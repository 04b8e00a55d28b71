#include "base/thread.h"
#include "base/mem.h"
#include "base/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { TASKS = 1000 };

typedef struct board {
    pthread_t self[64]; /* of each worker */
    int worker_of[TASKS];
    int last_of[64];
} board;

static lk_status note(void *arg, int worker, int i)
{
    board *b = arg;

    b->worker_of[i] = worker;
    b->last_of[worker] = i;
    b->self[worker] = pthread_self();
    return LK_OK;
}

static atomic_int n_setups;

static void count_setup(void)
{
    atomic_fetch_add(&n_setups, 1);
}

Test(thread, assignment_is_fixed)
{
    static const int sizes[] = {1, 2, 3, 7, 16};
    static const int counts[] = {0, 1, 2, 5, 16, 17, TASKS};

    for (int s = 0; s < 5; s++) {
        lk_pool *p = NULL;
        atomic_store(&n_setups, 0);
        EXPECT_OK(lk_pool_create(sizes[s], count_setup, &p));
        cr_expect(lk_pool_size(p) == sizes[s]);
        for (int c = 0; c < 7; c++) {
            board b;
            memset(b.worker_of, 0xff, sizeof b.worker_of);
            memset(b.last_of, 0xff, sizeof b.last_of);
            EXPECT_OK(lk_pool_run(p, counts[c], note, &b));
            for (int i = 0; i < TASKS; i++)
                cr_expect(b.worker_of[i] == (i < counts[c] ? i % sizes[s] : -1));
            for (int w = 0; w < sizes[s] && w < counts[c]; w++) {
                cr_expect(b.last_of[w] == w + (counts[c] - 1 - w) / sizes[s] * sizes[s]);
                for (int v = 0; v < w; v++)
                    cr_expect(!pthread_equal(b.self[v], b.self[w]));
            }
            cr_expect(counts[c] == 0 || pthread_equal(b.self[0], pthread_self()));
        }
        lk_pool_destroy(&p);
        cr_expect(p == NULL);
        cr_expect(atomic_load(&n_setups) == sizes[s]);
    }
}

typedef struct rising {
    _Alignas(64) int last;
    int broken;
} rising;

static lk_status check_rising(void *arg, int worker, int i)
{
    rising *r = (rising *)arg + worker;

    r->broken += i <= r->last;
    r->last = i;
    return LK_OK;
}

Test(thread, each_worker_goes_upwards_and_nothing_is_allocated)
{
    lk_pool *p = NULL;

    EXPECT_OK(lk_pool_create(4, NULL, &p));
    const int64_t count = lk_mem_count();
    for (int round = 0; round < 3000; round++) {
        rising r[4] = {{.last = -1}, {.last = -1}, {.last = -1}, {.last = -1}};
        EXPECT_OK(lk_pool_run(p, 4 + round % 50, check_rising, r));
        cr_expect(r[0].broken + r[1].broken + r[2].broken + r[3].broken == 0);
        if (round % 500 == 0)
            usleep(2000); /* long enough for the workers to fall asleep */
    }
    cr_expect(lk_mem_count() == count);
    lk_pool_destroy(&p);
}

typedef struct failing {
    int every, first; /* tasks first, first + every ... fail */
    atomic_int n_run;
} failing;

static lk_status fail_some(void *arg, int worker, int i)
{
    failing *f = arg;

    (void)worker;
    atomic_fetch_add(&f->n_run, 1);
    if (i >= f->first && (i - f->first) % f->every == 0)
        return LK_FAIL(i % 2 == 0 ? LK_E_DATA : LK_E_IO, "task %d failed", i);
    return LK_OK;
}

Test(thread, the_lowest_failing_task_is_reported_and_all_run)
{
    for (int size = 1; size <= 5; size++) {
        lk_pool *p = NULL;
        EXPECT_OK(lk_pool_create(size, NULL, &p));
        for (int first = 0; first < 40; first++) {
            failing f = {.every = 3, .first = first};
            char want[32];
            snprintf(want, sizeof want, "task %d failed", first);
            EXPECT_FAIL(lk_pool_run(p, 60, fail_some, &f), first % 2 == 0 ? LK_E_DATA : LK_E_IO, want);
            cr_expect(atomic_load(&f.n_run) == 60);
            EXPECT_TEXT(lk_err_last()->frame[0].func, "fail_some");
        }
        failing none = {.every = 1, .first = 1000};
        EXPECT_OK(lk_pool_run(p, 60, fail_some, &none));
        lk_pool_destroy(&p);
    }
}

Test(thread, impossible_pools)
{
    lk_pool *p = NULL;

    EXPECT_FAIL(lk_pool_create(0, NULL, &p), LK_E_ARG, "a pool of 0 workers: 1 to 65536 are possible");
    lk_mem_fail_at(1);
    cr_expect(lk_pool_create(2, NULL, &p) == LK_E_NOMEM);
    cr_expect(p == NULL);
    lk_pool_destroy(&p);
}

Test(thread, queue_keeps_the_order)
{
    static int item[10];
    lk_queue *q = NULL;
    void *got;

    EXPECT_FAIL(lk_queue_create(0, &q), LK_E_ARG, "a queue for 0 items: 1 to 1073741824 are possible");
    EXPECT_OK(lk_queue_create(4, &q));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++)
            cr_expect(lk_queue_push(q, &item[i]));
        for (int i = 0; i < 3; i++)
            cr_expect(lk_queue_pop(q, &got) && got == &item[i]);
    }
    cr_expect(lk_queue_push(q, &item[7]));
    lk_queue_close(q);
    cr_expect(!lk_queue_push(q, &item[8]));
    cr_expect(lk_queue_pop(q, &got) && got == &item[7]);
    cr_expect(!lk_queue_pop(q, &got));
    lk_queue_destroy(&q);
    cr_expect(q == NULL);
    lk_queue_destroy(&q);
}

enum { ITEMS = 20000, MAKERS = 3, TAKERS = 2 };

typedef struct traffic {
    lk_queue *q;
    unsigned char seen[TAKERS][ITEMS * MAKERS];
    int next_maker, next_taker;
    pthread_mutex_t lock;
} traffic;

static int draw(traffic *t, int *counter)
{
    pthread_mutex_lock(&t->lock);
    const int i = (*counter)++;
    pthread_mutex_unlock(&t->lock);
    return i;
}

static void *make(void *arg)
{
    traffic *t = arg;
    const int me = draw(t, &t->next_maker);

    for (int i = 0; i < ITEMS; i++) {
        if (!lk_queue_push(t->q, &t->seen[0][me * ITEMS + i]))
            return t; /* closed too early */
    }
    return NULL;
}

static void *take(void *arg)
{
    traffic *t = arg;
    const int me = draw(t, &t->next_taker);
    int last[MAKERS] = {-1, -1, -1};
    void *got;

    while (lk_queue_pop(t->q, &got)) {
        const int i = (int)((unsigned char *)got - t->seen[0]);
        t->seen[me][i]++;
        if (i % ITEMS <= last[i / ITEMS])
            return t; /* one maker's items out of order */
        last[i / ITEMS] = i % ITEMS;
    }
    return NULL;
}

Test(thread, queue_between_threads_loses_nothing)
{
    static traffic t = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t maker[MAKERS], taker[TAKERS];
    void *wrong;

    EXPECT_OK(lk_queue_create(5, &t.q));
    for (int i = 0; i < MAKERS; i++)
        cr_assert(pthread_create(&maker[i], NULL, make, &t) == 0);
    for (int i = 0; i < TAKERS; i++)
        cr_assert(pthread_create(&taker[i], NULL, take, &t) == 0);
    for (int i = 0; i < MAKERS; i++) {
        pthread_join(maker[i], &wrong);
        cr_expect(wrong == NULL);
    }
    lk_queue_close(t.q);
    for (int i = 0; i < TAKERS; i++) {
        pthread_join(taker[i], &wrong);
        cr_expect(wrong == NULL);
    }
    for (int i = 0; i < ITEMS * MAKERS; i++)
        cr_expect(t.seen[0][i] + t.seen[1][i] == 1);
    lk_queue_destroy(&t.q);
}

static void *push_until_closed(void *q)
{
    static int item;

    while (lk_queue_push(q, &item)) {
    }
    return NULL;
}

static void *pop_until_closed(void *q)
{
    void *got;

    while (lk_queue_pop(q, &got)) {
    }
    return NULL;
}

Test(thread, close_wakes_those_who_wait)
{
    void *(*const who[2])(void *) = {push_until_closed, pop_until_closed};

    for (int k = 0; k < 2; k++) {
        lk_queue *q = NULL;
        pthread_t waiting[3];
        EXPECT_OK(lk_queue_create(2, &q));
        for (int i = 0; i < 3; i++)
            cr_assert(pthread_create(&waiting[i], NULL, who[k], q) == 0);
        usleep(20000);
        lk_queue_close(q);
        for (int i = 0; i < 3; i++)
            pthread_join(waiting[i], NULL);
        lk_queue_destroy(&q);
    }
}

Test(thread, the_clock_goes_forward)
{
    const double t = lk_now();

    usleep(2000);
    cr_expect(lk_now() - t >= 0.002 && lk_now() - t < 60);
}
