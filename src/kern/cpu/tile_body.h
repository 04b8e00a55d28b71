/* Body of the tile functions, included once an instruction set by tile_*.c, which defines
 *   TARGET the attribute of every function; LANES, vec, mask;
 *   FIRST(n) the mask of the first n lanes; LOAD(p), LOAD_FIRST(m, p) with zeros behind; STORE(p, v),
 *   STORE_FIRST(m, p, v); SET(f), ZERO(), FMA(a, b, c), RECTIFY(v), which keeps NaN;
 *   sum_lanes(a, b, c, d, out), the sum of the lanes of each of four vectors;
 *   TILES(X) the sizes as X(rows, vectors), DOTS(X) as X(rows, columns). */

/* Arrays of constant size whose loops are unrolled become registers. */
#define UNROLL _Pragma("GCC unroll 16")

/* The v-th of n vectors, the last of which may be short. */
#define LOAD_NTH(v, n, p) ((v) == (n)-1 ? LOAD_FIRST(last, (p) + (v)*LANES) : LOAD((p) + (v)*LANES))

/* The second half of the rows lies like the first: then half as many registers hold where they are, from two pointers,
 * which pays where there is but one vector to a row. */
static inline bool halves_alike(const int64_t *row, int half, int n)
{
    bool alike = true;
    for (int r = half; r < n; r++)
        alike = alike && row[r] - row[half] == row[r - half] - row[0];
    return alike;
}

/* Keeps the compiler from making two pointers one and an offset again. */
#define KEEP_APART(p, q) __asm__("" : "+r"(p), "+r"(q))

/* clang-format off */
/* All k, with ROW(r) the element of row r at a; STEP moves a, and what ROW has besides. */
#define ALL_K(R, NV, START, ROW, STEP) \
    int64_t o = 0; \
    do { \
        for (int64_t s = 0; s < t->segs; s++) { \
            const float *a = t->a + o * t->a_outer + s * t->a_seg, *b = t->b + o * t->b_outer + s * t->b_seg; \
            START \
            for (int64_t i = t->k; i > 0; i--) { \
                vec w[NV]; \
                UNROLL for (int v = 0; v < (NV); v++) \
                    w[v] = LOAD_NTH(v, NV, b); \
                UNROLL for (int r = 0; r < (R); r++) { \
                    const vec x = SET(ROW(r)); \
                    UNROLL for (int v = 0; v < (NV); v++) \
                        acc[r][v] = FMA(x, w[v], acc[r][v]); \
                } \
                STEP \
                b += b_k; \
            } \
        } \
    } while (++o < t->outer);
#define ROW_OF_ALL(r) a[row[r]]
#define ROW_OF_HALF(r) ((r) < HALF ? a[row[(r)]] : a2[row[(r)-HALF]])

#define TILE(R, NV) \
    TARGET static void tile_##R##_##NV(const lki_tile *t) \
    { \
        enum { HALF = ((R) + 1) / 2 }; \
        const mask last = FIRST(t->n - ((NV)-1) * LANES); \
        const int64_t a_k = t->a_k, b_k = t->b_k; \
        int64_t row[R]; \
        vec acc[R][NV]; \
        UNROLL for (int r = 0; r < (R); r++) { \
            row[r] = t->row_a[r]; \
            UNROLL for (int v = 0; v < (NV); v++) \
                acc[r][v] = ZERO(); \
        } \
        if (t->add) { \
            UNROLL for (int r = 0; r < (R); r++) \
                UNROLL for (int v = 0; v < (NV); v++) \
                    acc[r][v] = LOAD_NTH(v, NV, t->c + t->row_c[r]); \
        } else if (t->bias) { \
            UNROLL for (int r = 0; r < (R); r++) \
                UNROLL for (int v = 0; v < (NV); v++) \
                    acc[r][v] = LOAD_NTH(v, NV, t->bias); \
        } \
        if ((NV) == 1 && (R) >= 8 && halves_alike(t->row_a, HALF, R)) { \
            const int64_t between = row[HALF % (R)] - row[0]; \
            ALL_K(R, NV, const float *a2 = a + between;, ROW_OF_HALF, a += a_k; a2 += a_k; KEEP_APART(a, a2);) \
        } else { \
            ALL_K(R, NV, , ROW_OF_ALL, a += a_k;) \
        } \
        if (t->relu) { \
            UNROLL for (int r = 0; r < (R); r++) \
                UNROLL for (int v = 0; v < (NV); v++) \
                    acc[r][v] = RECTIFY(acc[r][v]); \
        } \
        UNROLL for (int r = 0; r < (R); r++) { \
            float *const c = t->c + t->row_c[r]; \
            UNROLL for (int v = 0; v < (NV)-1; v++) \
                STORE(c + v * LANES, acc[r][v]); \
            STORE_FIRST(last, c + ((NV)-1) * LANES, acc[r][(NV)-1]); \
        } \
    }

#define DOT_STEP(R, S, LOAD_AT) \
    vec v[S]; \
    UNROLL for (int s = 0; s < (S); s++) \
        v[s] = LOAD_AT(w + s * ldw + i); \
    UNROLL for (int r = 0; r < (R); r++) { \
        const vec u = LOAD_AT(x + r * ldx + i); \
        UNROLL for (int s = 0; s < (S); s++) \
            acc[r][s] = FMA(u, v[s], acc[r][s]); \
    }
#define LOAD_LEFT(p) LOAD_FIRST(left, p)
#define NTH_OR_ZERO(n, S, v) ((S) > (n) ? (v)[(S) > (n) ? (n) : 0] : ZERO())

#define DOT(R, S) \
    TARGET static void dot_##R##_##S( \
        int64_t k, const float *x, int64_t ldx, const float *w, int64_t ldw, float *y, int64_t ldy) \
    { \
        vec acc[R][S]; \
        UNROLL for (int r = 0; r < (R); r++) \
            UNROLL for (int s = 0; s < (S); s++) \
                acc[r][s] = ZERO(); \
        int64_t i = 0; \
        for (; i + LANES <= k; i += LANES) { \
            DOT_STEP(R, S, LOAD) \
        } \
        if (i < k) { \
            const mask left = FIRST(k - i); \
            DOT_STEP(R, S, LOAD_LEFT) \
        } \
        UNROLL for (int r = 0; r < (R); r++) { \
            float sum[4]; \
            sum_lanes(acc[r][0], NTH_OR_ZERO(1, S, acc[r]), NTH_OR_ZERO(2, S, acc[r]), NTH_OR_ZERO(3, S, acc[r]), sum); \
            UNROLL for (int s = 0; s < (S); s++) \
                y[r * ldy + s] = sum[s]; \
        } \
    }
/* clang-format on */

TILES(TILE)
DOTS(DOT)

static void tile(const lki_tile *t, int rows)
{
    static void (*const table[LK_TILE_VECTORS + 1][LK_TILE_ROWS + 1])(const lki_tile *) = {
#define ENTRY(R, NV) [NV][R] = tile_##R##_##NV,
        TILES(ENTRY)
#undef ENTRY
    };
    table[(t->n + LANES - 1) / LANES][rows](t);
}

static void dot(
    int rows, int cols, int64_t k, const float *x, int64_t ldx, const float *w, int64_t ldw, float *y, int64_t ldy)
{
    static void (*const table[5][5])(int64_t, const float *, int64_t, const float *, int64_t, float *, int64_t) = {
#define ENTRY(R, S) [R][S] = dot_##R##_##S,
        DOTS(ENTRY)
#undef ENTRY
    };
    table[rows][cols](k, x, ldx, w, ldw, y, ldy);
}
