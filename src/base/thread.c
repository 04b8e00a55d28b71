#include "base/thread.h"
#include "base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* How long a worker looks for the next run, and the caller for the last worker, before it sleeps: a wake-up costs
 * several microseconds, and the runs of one step follow each other closely. */
#define SPIN_SECONDS 20e-6

typedef struct worker {
    lk_pool *pool;
    pthread_t thread;
    int index;
    int failed; /* lowest task that failed in this run, or -1 */
    lk_err err; /* its record */
} worker;

struct lk_pool {
    int size, n_started;
    bool spin;
    void (*setup)(void);
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    atomic_uint generation; /* counts runs; changed under the lock */
    atomic_int n_busy; /* workers, but for worker 0, that have not ended this run */
    atomic_bool running;
    bool quit;
    /* The run at hand: written before `generation` moves, read after. */
    int n;
    lk_status (*task)(void *arg, int worker, int i);
    void *arg;
    worker worker[];
};

double lk_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void run_share(lk_pool *p, worker *w)
{
    w->failed = -1;
    for (int64_t i = w->index; i < p->n; i += p->size) {
        const lk_status st = p->task(p->arg, w->index, (int)i);
        if (st != LK_OK && w->failed < 0) {
            w->failed = (int)i;
            lk_err_take(&w->err);
            w->err.code = st;
        }
    }
}

/* Waits until a run that is not `seen` has begun; false when the pool ends. */
static bool wait_for_run(lk_pool *p, unsigned seen)
{
    if (p->spin) {
        const double until = lk_now() + SPIN_SECONDS;
        do {
            for (int i = 0; i < 32; i++) {
                if (atomic_load_explicit(&p->generation, memory_order_acquire) != seen)
                    return !p->quit;
                pause_cpu();
            }
        } while (lk_now() < until);
    }
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->generation) == seen)
        pthread_cond_wait(&p->start, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return !p->quit;
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    lk_pool *p = w->pool;

    if (p->setup != NULL)
        p->setup();
    for (unsigned seen = 0; wait_for_run(p, seen); seen++) {
        run_share(p, w);
        if (atomic_fetch_sub_explicit(&p->n_busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
    return NULL;
}

static void begin_run(lk_pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->generation, 1, memory_order_acq_rel);
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_workers(lk_pool *p)
{
    if (p->spin) {
        const double until = lk_now() + SPIN_SECONDS;
        do {
            for (int i = 0; i < 32; i++) {
                if (atomic_load_explicit(&p->n_busy, memory_order_acquire) == 0)
                    return;
                pause_cpu();
            }
        } while (lk_now() < until);
    }
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->n_busy) != 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

lk_status lk_pool_run(lk_pool *p, int n, lk_status (*task)(void *arg, int worker, int i), void *arg)
{
    LK_BUG_IF(atomic_exchange(&p->running, true), "a pool was asked for a second run during the first");
    p->n = n;
    p->task = task;
    p->arg = arg;
    const bool alone = n <= 1 || p->size == 1;
    if (!alone) {
        atomic_store_explicit(&p->n_busy, p->size - 1, memory_order_relaxed);
        begin_run(p);
    }
    run_share(p, &p->worker[0]);
    if (!alone)
        wait_for_workers(p);

    const worker *first = NULL;
    for (int w = 0; w < (alone ? 1 : p->size); w++) {
        const worker *x = &p->worker[w];
        if (x->failed >= 0 && (first == NULL || x->failed < first->failed))
            first = x;
    }
    atomic_store(&p->running, false);
    return first == NULL ? LK_OK : lk_err_give(&first->err);
}

int lk_pool_size(const lk_pool *p)
{
    return p->size;
}

static int cores_allowed(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

lk_status lk_pool_create(int n, void (*setup)(void), lk_pool **out)
{
    lk_pool *p = NULL;
    sigset_t all, before;

    if (n < 1 || n > 65536)
        return LK_FAIL(LK_E_ARG, "a pool of %d workers: 1 to 65536 are possible", n);
    LK_TRY(lk_alloc(sizeof *p + (size_t)n * sizeof p->worker[0], "worker pool", &p));
    p->size = n;
    p->spin = n <= cores_allowed();
    p->setup = setup;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 0; i < n; i++)
        p->worker[i] = (worker){.pool = p, .index = i, .failed = -1};

    /* Signals stay with the thread that asked for them: a worker takes none. */
    int e = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 1; i < n && e == 0; i++) {
        e = pthread_create(&p->worker[i].thread, NULL, worker_main, &p->worker[i]);
        p->n_started += e == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e != 0) {
        const int started = p->n_started;
        lk_pool_destroy(&p);
        return LK_FAIL(LK_E_LIBRARY, "cannot start worker thread %d of %d: %s", started + 1, n - 1, strerror(e));
    }
    if (setup != NULL)
        setup();
    *out = p;
    return LK_OK;
}

void lk_pool_destroy(lk_pool **pool)
{
    lk_pool *p = *pool;

    if (p == NULL)
        return;
    p->quit = true;
    begin_run(p);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->worker[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->start);
    pthread_mutex_destroy(&p->lock);
    lk_free(p);
    *pool = NULL;
}

struct lk_queue {
    pthread_mutex_t lock;
    pthread_cond_t not_full, not_empty;
    int capacity, first, n;
    bool closed;
    void *item[];
};

bool lk_queue_push(lk_queue *q, void *item)
{
    pthread_mutex_lock(&q->lock);
    while (q->n == q->capacity && !q->closed)
        pthread_cond_wait(&q->not_full, &q->lock);
    const bool open = !q->closed;
    if (open) {
        q->item[(q->first + q->n) % q->capacity] = item;
        q->n++;
        pthread_cond_signal(&q->not_empty);
    }
    pthread_mutex_unlock(&q->lock);
    return open;
}

bool lk_queue_pop(lk_queue *q, void **item)
{
    pthread_mutex_lock(&q->lock);
    while (q->n == 0 && !q->closed)
        pthread_cond_wait(&q->not_empty, &q->lock);
    const bool any = q->n > 0;
    if (any) {
        *item = q->item[q->first];
        q->first = (q->first + 1) % q->capacity;
        q->n--;
        pthread_cond_signal(&q->not_full);
    }
    pthread_mutex_unlock(&q->lock);
    return any;
}

lk_status lk_queue_create(int capacity, lk_queue **out)
{
    lk_queue *q = NULL;

    if (capacity < 1 || capacity > 1 << 30) /* twice the capacity still fits an int */
        return LK_FAIL(LK_E_ARG, "a queue for %d items: 1 to %d are possible", capacity, 1 << 30);
    LK_TRY(lk_alloc(sizeof *q + (size_t)capacity * sizeof q->item[0], "queue", &q));
    q->capacity = capacity;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->not_full, NULL);
    pthread_cond_init(&q->not_empty, NULL);
    *out = q;
    return LK_OK;
}

void lk_queue_close(lk_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->not_full);
    pthread_cond_broadcast(&q->not_empty);
    pthread_mutex_unlock(&q->lock);
}

void lk_queue_destroy(lk_queue **queue)
{
    lk_queue *q = *queue;

    if (q == NULL)
        return;
    pthread_cond_destroy(&q->not_empty);
    pthread_cond_destroy(&q->not_full);
    pthread_mutex_destroy(&q->lock);
    lk_free(q);
    *queue = NULL;
}
