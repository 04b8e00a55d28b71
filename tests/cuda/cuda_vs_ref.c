/* The CUDA backend against ref, with values of LOCKSTEP_TEST_PRECISION (fp32, bf16, fp16). On whatever module LOCKSTEP_CUDA_MODULE names: the real one on
 * a GPU, or its stand-in on the host. */
#include "cuda/cuda.h"
#include "kern/harness.h"
#include "kern/tolerance.h"

#include <stdlib.h>

static const lk_backend *tested;
static lk_precision precision;

/* Of 16-bit values: one rounding each of what goes in and comes out, sums in float; what a recurrent layer rounds in a step goes on into the next ones.
 * The backward pass of softmax reads its rounded output, and takes the difference of gradients that may be ten times as large. */
static double tolerance_of(lk_op op)
{
    const double more = op == LK_OP_LSTM || op == LK_OP_GRU || op == LK_OP_RNN ? 2 : op == LK_OP_SOFTMAX ? 3 : 1;

    if (tolerance[op] == 0)
        return 0;
    return precision == LK_PRECISION_BF16 ? more * 1e-2 : precision == LK_PRECISION_FP16 ? more * 2e-3 : fmax(tolerance[op], 1e-5);
}

static void setup(void)
{
    const lk_cuda_module *module = NULL;
    const char *name = getenv("LOCKSTEP_TEST_PRECISION");

    if (name && strcmp(name, "bf16") == 0) {
        precision = LK_PRECISION_BF16;
        kern_data_type = KERN_BF16;
        kern_kink = 0.1;
    } else if (name && strcmp(name, "fp16") == 0) {
        precision = LK_PRECISION_FP16;
        kern_data_type = KERN_F16;
        kern_kink = 2e-2;
    }
    KERN_OK(lk_cuda_load(&module));
    KERN_OK(module->open(0, precision, &tested));
}

#include "kern/vs_ref.h"

/* Adding gradients of 16 bits, where several consumers give one, and everything else that the engine asks of a backend beside operations. */
Test(cuda, floats_and_values, .init = setup)
{
    const lk_shape shape = {1, {1003}};
    double *const v = kern_uniform(lk_rng_make(5, LK_RNG_TEST, 1), shape.dim[0], -3, 3), *back = NULL;
    kern_buf f, x;

    KERN_OK(lk_alloc_array(shape.dim[0], sizeof *back, "test", &back));
    kern_buf_init(&f, tested, (size_t)shape.dim[0] * sizeof(float), 0xFF);
    kern_buf_init(&x, tested, (size_t)shape.dim[0] * tested->value_size, 0xFF);
    kern_put(KERN_F32, &shape, LK_LAYOUT_PLAIN, v, &f);
    tested->from_float(shape.dim[0], kern_ptr(&f), kern_ptr(&x));
    kern_get(kern_value_type(tested), &shape, LK_LAYOUT_PLAIN, &x, back);
    for (int64_t i = 0; i < shape.dim[0]; i++)
        cr_assert(back[i] == kern_quantize(kern_data_type, v[i]), "%g became %g", v[i], back[i]);
    kern_fill(&f, 0xFF);
    tested->to_float(shape.dim[0], kern_ptr(&x), kern_ptr(&f));
    kern_get(KERN_F32, &shape, LK_LAYOUT_PLAIN, &f, back);
    for (int64_t i = 0; i < shape.dim[0]; i++)
        cr_assert(back[i] == kern_quantize(kern_data_type, v[i]));
    kern_buf_check(&f, "floats", "floats_and_values");
    kern_buf_check(&x, "values", "floats_and_values");
    kern_buf_fini(&f);
    kern_buf_fini(&x);
    lk_free(v);
    lk_free(back);
}

/* The slots that work on weights, against those of cpu: the same bits where only additions and products are done. */
Test(cuda, weights, .init = setup)
{
    enum { TILE = 256, TILES = 5, N = TILE * TILES, STAT = 77 };
    const lk_shape shape = {1, {N}}, tiles_shape = {1, {TILES}};
    const lk_backend *const cpu = &lk_backend_cpu;
    const lk_backend *const side[2] = {cpu, tested};
    const lk_perturb change = {.scale = 0.7, .clip = 0.5, .deviation = 0.01, .rng = lk_rng_make(3, LK_RNG_GRADIENT, 9), .row = 4, .first = 11};
    double got[2][N], sums[2][TILES];

    for (int op = 0; op < 5; op++) {
        for (int k = 0; k < 2; k++) {
            const lk_backend *const be = side[k];
            double *const a = kern_uniform(lk_rng_make(6, LK_RNG_TEST, 1), N, -2, 2), *const b = kern_uniform(lk_rng_make(6, LK_RNG_TEST, 2), N, -2, 2);
            kern_buf x, y, t, item, live;

            kern_buf_init(&x, be, N * sizeof(float), 0xFF);
            kern_buf_init(&y, be, N * sizeof(float), 0xFF);
            kern_buf_init(&t, be, TILES * sizeof(double), 0xFF);
            kern_buf_init(&item, be, sizeof(lk_stat_item), 0);
            kern_buf_init(&live, be, sizeof(lk_live), 0);
            *(lk_stat_item *)kern_view(&item) = (lk_stat_item){.first = 300, .n = STAT, .momentum = 0.1};
            *(lk_live *)kern_view(&live) = (lk_live){.folds_after = 3};
            kern_bring_in(&item);
            kern_bring_in(&live);
            kern_put(KERN_F32, &shape, LK_LAYOUT_PLAIN, a, &x);
            kern_put(KERN_F32, &shape, LK_LAYOUT_PLAIN, b, &y);
            if (op == 0)
                be->fold(N, 0.81, kern_ptr(&x), kern_ptr(&y));
            if (op == 1)
                be->average(N, 0.3, kern_ptr(&y), kern_ptr(&x));
            if (op == 2)
                be->perturb(N, &change, kern_ptr(&x));
            if (op == 3)
                be->scale_statistics(1, kern_ptr(&item), 3, kern_ptr(&live), kern_ptr(&x));
            if (op == 4)
                be->tile_squares(TILES, TILE, kern_ptr(&x), kern_ptr(&t));
            KERN_OK(lk_space_wait(be->space));
            kern_get(KERN_F32, &shape, LK_LAYOUT_PLAIN, &x, got[k]);
            kern_get(KERN_F64, &tiles_shape, LK_LAYOUT_PLAIN, &t, sums[k]);
            kern_buf *const all[] = {&x, &y, &t, &item, &live};
            for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
                kern_buf_check(all[i], "buffer", "weights");
                kern_buf_fini(all[i]);
            }
            lk_free(a);
            lk_free(b);
        }
        /* fold and average may contract to one rounding less; draws differ in the last place of log and cos. */
        cr_assert(kern_distance(N, got[0], got[1]) <= (op == 4 ? 0 : 1e-6), "slot %d: %g", op, kern_distance(N, got[0], got[1]));
        for (int i = 0; op == 4 && i < TILES; i++)
            cr_assert(fabs(sums[0][i] - sums[1][i]) <= 1e-13 * sums[0][i]);
    }
}
