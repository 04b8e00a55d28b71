/* Column sums and conversions of the CUDA module, called as its own files call them. */
#include "base/mem.h"
#include "base/rng.h"
#include "cuda/cuda.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) \
    do { \
        const lk_status s_ = (expr); \
        cr_assert(s_ == LK_OK, "%s: %s: %s", #expr, lk_status_name(s_), lk_err_last()->message); \
    } while (0)

/* As lki_type of kern/cuda/cuda_int.h. */
enum { F32, BF16, F16, TYPES };
static const size_t sizes[TYPES] = {4, 2, 2};

static const lk_space *space;
static lk_status (*column_sums)(int t, int64_t rows, int64_t cols, int64_t step, const void *x, float *out, void *scratch);
static size_t (*column_sums_scratch)(int64_t rows, int64_t cols);
static lk_status (*convert)(int64_t n, int from_type, const void *from, int to_type, void *to);

static void setup(void)
{
    const lk_cuda_module *m;
    const lk_backend *b;

    OK(lk_cuda_load(&m));
    OK(m->open(0, LK_PRECISION_FP32, &b));
    space = b->space;
    void *const handle = dlopen(getenv("LOCKSTEP_CUDA_MODULE"), RTLD_NOW | RTLD_NOLOAD); /* the same, open already */
    cr_assert(handle != NULL, "%s", dlerror());
    *(void **)&column_sums = dlsym(handle, "lki_column_sums_cuda");
    *(void **)&column_sums_scratch = dlsym(handle, "lki_column_sums_scratch");
    *(void **)&convert = dlsym(handle, "lki_convert");
    cr_assert(column_sums && column_sums_scratch && convert);
}

static float bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static uint32_t float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* To nearest, ties to even. */
static void put(int t, void *to, int64_t i, float v)
{
    if (t == F32) {
        ((float *)to)[i] = v;
    } else if (t == BF16) {
        const uint32_t u = float_bits(v);
        ((uint16_t *)to)[i] = isnan(v) ? 0x7FFF : (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
    } else {
        const _Float16 h = (_Float16)v;
        memcpy((uint16_t *)to + i, &h, 2);
    }
}

static float get(int t, const void *from, int64_t i)
{
    if (t == F32)
        return ((const float *)from)[i];
    if (t == BF16)
        return bits_float((uint32_t)((const uint16_t *)from)[i] << 16);
    _Float16 h;
    memcpy(&h, (const uint16_t *)from + i, 2);
    return (float)h;
}

static void *on_device(size_t bytes, const void *from)
{
    void *p = NULL;
    OK(lk_space_alloc(space, bytes, "test", &p));
    if (from)
        OK(lk_space_copy(space, p, from, bytes, LK_COPY_IN));
    return p;
}

/* Each element goes through at most 512 / 8 + 8 additions and one for each 512 rows, each within half a unit in the last place of a sum that is no larger
 * than the sum of magnitudes. */
Test(sums, columns, .init = setup)
{
    static const int64_t shapes[][2] = {{1, 1}, {1, 33}, {7, 5}, {8, 32}, {9, 31}, {511, 64}, {512, 3}, {513, 33}, {1500, 40}, {3000, 1}};

    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int t = 0; t < TYPES; t++) {
            const int64_t rows = shapes[s][0], cols = shapes[s][1], step = cols + (s % 2 == 0 ? 0 : 3), n = rows * step;
            const lk_rng rng = lk_rng_make(17, LK_RNG_TEST, s);
            unsigned char *const host = calloc((size_t)n, sizes[t]);
            float *const out = calloc((size_t)cols, 4), *const again = calloc((size_t)cols, 4);
            for (int64_t i = 0; i < n; i++)
                put(t, host, i, (float)((double)lk_rng_word(rng, (uint64_t)i) * 0x1p-31 - 1));
            void *x = on_device((size_t)n * sizes[t], host), *y = on_device((size_t)cols * 4, NULL);
            void *scratch = on_device(column_sums_scratch(rows, cols), NULL);
            OK(column_sums(t, rows, cols, step, x, y, scratch));
            OK(lk_space_copy(space, out, y, (size_t)cols * 4, LK_COPY_OUT));
            OK(column_sums(t, rows, cols, step, x, y, scratch));
            OK(lk_space_copy(space, again, y, (size_t)cols * 4, LK_COPY_OUT));
            cr_assert(memcmp(out, again, (size_t)cols * 4) == 0);
            for (int64_t c = 0; c < cols; c++) {
                double sum = 0, magnitude = 0;
                for (int64_t r = 0; r < rows; r++) {
                    sum += get(t, host, r * step + c);
                    magnitude += fabs(get(t, host, r * step + c));
                }
                cr_assert(fabs(out[c] - sum) <= (72 + (double)rows / 512) * 0x1p-24 * magnitude,
                    "type %d, %" PRId64 " rows, %" PRId64 " columns: column %" PRId64 " is %.9g, not %.9g", t, rows, cols, c, out[c], sum);
            }
            lk_space_free(space, x);
            lk_space_free(space, y);
            lk_space_free(space, scratch);
            free(host);
            free(out);
            free(again);
        }
}

/* Every way, from every start of an alignment: to the bit. */
Test(sums, conversions, .init = setup)
{
    static const float odd[] = {0, -0.0f, 1, -1, 65504, 65520, 1e30f, -1e30f, INFINITY, -INFINITY, NAN, 1e-8f, 5.9604645e-8f, 2.9802322e-8f, 1e-40f, 1.00390625f, 1.01171875f, 1.00048828125f, 1.00146484375f};
    enum { N = 1003, ODD = sizeof odd / sizeof odd[0], SLACK = 8 };
    const lk_rng rng = lk_rng_make(18, LK_RNG_TEST, 0);
    static unsigned char from[4 * (N + SLACK)], to[4 * (N + SLACK)];

    for (int a = 0; a < TYPES; a++)
        for (int b = 0; b < TYPES; b++)
            for (int shift = 0; shift < 3; shift++)
                for (int64_t n = 0; n <= N; n += n < 20 ? 1 : N - 20) {
                    for (int64_t i = 0; i < N + SLACK; i++)
                        put(a, from, i, i < ODD ? odd[i] : (float)((double)lk_rng_word(rng, (uint64_t)i) * 0x1p-28 - 8));
                    memset(to, 0x5A, sizeof to);
                    unsigned char *x = on_device(sizeof from, from), *y = on_device(sizeof to, to);
                    const int64_t first = shift, into = shift == 2 ? 0 : shift;
                    OK(convert(n, a, x + (size_t)first * sizes[a], b, y + (size_t)into * sizes[b]));
                    OK(lk_space_copy(space, to, y, sizeof to, LK_COPY_OUT));
                    for (int64_t i = 0; i < n; i++) {
                        unsigned char want[4], got[4];
                        const float v = get(a, from, first + i);
                        put(b, want, 0, v);
                        memcpy(got, to + (size_t)(into + i) * sizes[b], sizes[b]);
                        cr_assert(isnan(v) ? isnan(get(b, got, 0)) : memcmp(want, got, sizes[b]) == 0,
                            "from type %d to %d, shift %d: element %" PRId64 " of %" PRId64 ", %.9g, became %.9g", a, b, shift, i, n, v, get(b, got, 0));
                    }
                    for (size_t i = (size_t)(into + n) * sizes[b]; i < sizeof to; i++)
                        cr_assert(to[i] == 0x5A, "from type %d to %d, %" PRId64 " elements: something was written behind them", a, b, n);
                    lk_space_free(space, x);
                    lk_space_free(space, y);
                }
}
