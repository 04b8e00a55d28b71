/* Tiles for any machine: vectors of 4 floats as the compiler sees fit, without fused multiply-add.
 * And the choice of a set. */
#include "kern/cpu/tile.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TARGET
#define LANES 4
typedef float vec __attribute__((vector_size(16)));
typedef int mask;
typedef int32_t bits __attribute__((vector_size(16)));

static inline vec load_first(int n, const float *p)
{
    vec v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}

static inline vec load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

#define FIRST(n) ((int)(n))
#define LOAD(p) load(p)
#define LOAD_FIRST(m, p) load_first(m, p)
#define STORE(p, v) memcpy(p, &(v), sizeof(vec))
#define STORE_FIRST(m, p, v) memcpy(p, &(v), (size_t)(m) * sizeof(float))
#define SET(f) ((vec){(f), (f), (f), (f)})
#define ZERO() ((vec){0})
#define FMA(a, b, c) ((a) * (b) + (c))
#define RECTIFY(v) ((vec)((bits)(v) & ~((v) < ZERO())))

static inline void sum_lanes(vec a, vec b, vec c, vec d, float out[4])
{
    out[0] = (a[0] + a[2]) + (a[1] + a[3]);
    out[1] = (b[0] + b[2]) + (b[1] + b[3]);
    out[2] = (c[0] + c[2]) + (c[1] + c[3]);
    out[3] = (d[0] + d[2]) + (d[1] + d[3]);
}

/* clang-format off */
#define TILES(X) \
    X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) \
    X(1, 2) X(2, 2) X(3, 2) X(4, 2) \
    X(1, 3) X(2, 3) X(3, 3) \
    X(1, 4) X(2, 4)
#define DOTS(X) X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(2, 1) X(2, 2) X(2, 3) X(2, 4)
/* clang-format on */

#include "kern/cpu/tile_body.h"

const lki_tiles lki_tiles_any = {
    .lanes = LANES, .max_rows = {0, 6, 4, 3, 2}, .tile = tile, .dot_rows = 2, .dot_cols = 4, .dot = dot};

/* The best set of the machine, or, with LOCKSTEP_ISA=avx2 or any, at most that one: bits depend on the set, so machines of a mixed cluster can be
 * brought to the same, and tests run each. */
static const lki_tiles *choose(void)
{
    const char *most = getenv("LOCKSTEP_ISA");

    if (most != NULL && strcmp(most, "any") == 0)
        return &lki_tiles_any;
#if defined(__x86_64__)
    const bool no_avx512 = most != NULL && strcmp(most, "avx2") == 0;
    if (!no_avx512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        return &lki_tiles_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &lki_tiles_avx2;
#endif
    return &lki_tiles_any;
}

const lki_tiles *lki_tiles_get(void)
{
    static const lki_tiles *_Atomic chosen; /* every thread would choose the same */
    const lki_tiles *t = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (t == NULL) {
        t = choose();
        atomic_store_explicit(&chosen, t, memory_order_relaxed);
    }
    return t;
}
