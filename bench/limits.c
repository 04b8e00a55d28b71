/* What a machine gives: fused multiply-adds, memory, and the matrix products of src/kern/cpu/gemm.c. One measurement a
 * line, as JSON; the best of many repetitions, since others may be at work too. Built and run by bench/limits.sh. */
#include "kern/cpu/cpu_int.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 256, LEAST_REPEATS = 5, BYTES = 128 << 20 };
#define SECONDS 0.4

typedef struct work work;
struct work {
    void (*once)(work *w);
    int64_t m, n, k;
    float *a, *b, *c;
    float out; /* keeps the compiler from dropping what it was computed from */
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is measured ---- */

typedef float vector __attribute__((vector_size(64)));
enum { CHAINS = 12, TURNS = 100000 };

/* Independent chains of multiply-adds in registers. */
static void fma_once(work *w)
{
    vector x[CHAINS], by = {0}, plus = {0};

    by += w->a[0];
    plus += w->b[0];
    for (int i = 0; i < CHAINS; i++)
        x[i] = by + (float)i;
    for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            x[i] = x[i] * by + plus;
    for (int i = 0; i < CHAINS; i++)
        w->out += x[i][0];
}

static void read_once(work *w)
{
    vector sum[4] = {{0}};
    const vector *x = (const vector *)w->a;

    for (size_t i = 0; i < BYTES / sizeof *x; i += 4)
        for (int j = 0; j < 4; j++)
            sum[j] += x[i + (size_t)j];
    w->out += sum[0][0] + sum[1][0] + sum[2][0] + sum[3][0];
}

/* a = b + 0.5 c: two read, one written. */
static void triad_once(work *w)
{
    vector *restrict a = (vector *)w->a;
    const vector *restrict b = (const vector *)w->b, *restrict c = (const vector *)w->c;

    for (size_t i = 0; i < BYTES / sizeof *a; i++)
        a[i] = b[i] + 0.5f * c[i];
}

static void nt_once(work *w)
{
    lki_gemm_nt(lki_tiles_get(), w->m, w->n, w->k, w->a, w->k, w->b, w->k, w->c, w->n);
}

static void nn_once(work *w)
{
    lki_gemm_nn(lki_tiles_get(), w->m, w->n, w->k, w->a, w->k, 1, w->b, w->n, w->c, w->n, false);
}

/* ---- all threads at the same time, each on its own memory ---- */

typedef struct team {
    pthread_barrier_t barrier;
    int threads;
    bool over;
    work work[MAX_THREADS];
} team;

typedef struct member {
    team *t;
    int i;
} member;

static void *help(void *arg)
{
    const member *m = arg;

    for (;;) {
        pthread_barrier_wait(&m->t->barrier);
        if (m->t->over)
            return NULL;
        m->t->work[m->i].once(&m->t->work[m->i]);
        pthread_barrier_wait(&m->t->barrier);
    }
}

/* Seconds of the quickest turn. */
static double best(team *t)
{
    pthread_t id[MAX_THREADS];
    member m[MAX_THREADS];
    double quickest = 1e30;

    pthread_barrier_init(&t->barrier, NULL, (unsigned)t->threads);
    t->over = false;
    for (int i = 1; i < t->threads; i++) {
        m[i] = (member){t, i};
        if (pthread_create(&id[i], NULL, help, &m[i]) != 0) {
            fprintf(stderr, "limits: cannot start thread %d\n", i);
            exit(1);
        }
    }
    const double end = now() + SECONDS;
    for (int turn = 0; turn < LEAST_REPEATS || now() < end; turn++) {
        pthread_barrier_wait(&t->barrier);
        const double start = now();
        t->work[0].once(&t->work[0]);
        pthread_barrier_wait(&t->barrier);
        const double took = now() - start;
        if (took < quickest)
            quickest = took;
    }
    t->over = true;
    pthread_barrier_wait(&t->barrier);
    for (int i = 1; i < t->threads; i++)
        pthread_join(id[i], NULL);
    pthread_barrier_destroy(&t->barrier);
    return quickest;
}

static float *filled(int64_t n)
{
    float *v = aligned_alloc(64, lki_floats(n));

    if (v == NULL) {
        fprintf(stderr, "limits: no memory for %lld numbers\n", (long long)n);
        exit(1);
    }
    for (int64_t i = 0; i < n; i++)
        v[i] = 1e-3f * (float)(i % 997) - 0.5f;
    return v;
}

static void measure(const char *name, int threads, void (*once)(work *), int64_t m, int64_t n, int64_t k, double amount,
    const char *unit)
{
    static team t;
    const int64_t whole = BYTES / (int64_t)sizeof(float);

    t.threads = threads;
    for (int i = 0; i < threads; i++)
        t.work[i] = (work){.once = once,
            .m = m,
            .n = n,
            .k = k,
            .a = filled(m > 0 ? m * k : whole),
            .b = filled(m > 0 ? n * k : whole),
            .c = filled(m > 0 ? m * n : whole)};
    const double seconds = best(&t);
    printf("{\"name\": \"%s\", \"threads\": %d, \"m\": %lld, \"n\": %lld, \"k\": %lld, \"%s\": %.2f}\n", name, threads,
        (long long)m, (long long)n, (long long)k, unit, 1e-9 * amount * threads / seconds);
    fflush(stdout);
    for (int i = 0; i < threads; i++) {
        free(t.work[i].a);
        free(t.work[i].b);
        free(t.work[i].c);
    }
}

int main(int argc, char **argv)
{
    /* Rows of a microbatch against layers, then squares. */
    static const int64_t sizes[][3] = {{16, 512, 784}, {64, 512, 512}, {256, 256, 256}, {256, 1024, 256},
        {512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}};

    for (int i = 1; i < argc; i++) {
        const int threads = atoi(argv[i]);
        if (threads < 1 || threads > MAX_THREADS) {
            fprintf(stderr, "limits: \"%s\" is not a number of threads from 1 to %d\n", argv[i], MAX_THREADS);
            return 2;
        }
        measure("fma", threads, fma_once, 1, 16, 1, 2.0 * CHAINS * 16 * TURNS, "gflops");
        measure("read", threads, read_once, 0, 0, 0, BYTES, "gb_per_s");
        measure("triad", threads, triad_once, 0, 0, 0, 3.0 * BYTES, "gb_per_s");
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const int64_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
            measure("gemm_nt", threads, nt_once, m, n, k, 2.0 * (double)(m * n * k), "gflops");
            measure("gemm_nn", threads, nn_once, m, n, k, 2.0 * (double)(m * n * k), "gflops");
        }
    }
    return 0;
}
