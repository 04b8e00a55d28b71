/* Worker threads and a bounded queue. Results never depend on how many workers there are: work is cut by the caller into
 * tasks that are fixed beforehand, and a task's result goes to its own place. */
#ifndef LK_BASE_THREAD_H
#define LK_BASE_THREAD_H

#include "base/status.h"

typedef struct lk_pool lk_pool;
typedef struct lk_queue lk_queue;

/* A pool of n workers; worker 0 is the calling thread, n-1 threads are started. `setup` (optional) runs once in each worker,
 * worker 0 included, before any task: where a library must be told to stay on one thread. */
LK_MUST_USE lk_status lk_pool_create(int n, void (*setup)(void), lk_pool **out);
int lk_pool_size(const lk_pool *p);
/* Runs task(arg, w, i) for i in [0,n): task i on worker i % size, in rising order on each worker, so that a worker's share is fixed.
 * Returns when all have ended: the status and record of the lowest failing i; the others still run. Does not allocate. */
LK_MUST_USE lk_status lk_pool_run(lk_pool *p, int n, lk_status (*task)(void *arg, int worker, int i), void *arg);
void lk_pool_destroy(lk_pool **p);

/* Bounded first-in first-out queue of pointers between threads. */
LK_MUST_USE lk_status lk_queue_create(int capacity, lk_queue **out);
bool lk_queue_push(lk_queue *q, void *item); /* waits while full; false once closed */
bool lk_queue_pop(lk_queue *q, void **item); /* waits while empty; false once closed and empty */
void lk_queue_close(lk_queue *q);            /* wakes everyone */
void lk_queue_destroy(lk_queue **q);

/* Seconds on the monotonic clock: for reports and deadlines, never for a decision that touches numbers. */
double lk_now(void);

#endif
