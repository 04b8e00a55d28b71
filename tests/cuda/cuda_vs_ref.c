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

/* As many classes as GPT-2 has tokens. Their number is odd, so the rows lie at other addresses beside 16 bytes. Element by element: what most classes get is far
 * below what check_spec would see beside the largest. */
Test(cuda, many_classes, .init = setup)
{
    enum { ROWS = 3, CLASSES = 50257 };
    const double unit = precision == LK_PRECISION_BF16 ? 0x1p-8 : precision == LK_PRECISION_FP16 ? 0x1p-11 : 1e-6, scale = 256;
    const lk_attr_cross_entropy attrs[] = {{.smoothing = 0}, {.smoothing = 0.1}};
    int64_t id[ROWS] = {CLASSES - 1, 0, 25000}, sample[ROWS] = {40, 41, 42};
    double *const logits = kern_uniform(lk_rng_make(8, LK_RNG_TEST, 1), ROWS * CLASSES, -4, 4);

    for (int64_t i = 0; i < ROWS * CLASSES; i++)
        logits[i] = kern_quantize(kern_data_type, logits[i]);
    logits[2 * CLASSES + 25000] = 5; /* this row is right */
    for (size_t k = 0; k < sizeof attrs / sizeof attrs[0]; k++) {
        kern_data d = {.spec = {.op = LK_OP_CROSS_ENTROPY, .attr.cross_entropy = attrs[k], .n_in = 2, .in = {{2, {ROWS, CLASSES}}, {1, {ROWS}}}, .in_dtype = {LK_DT_REAL, LK_DT_I64}, .training = true},
            .micro = {.rows = ROWS, .valid = ROWS, .sample = sample, .grad_scale = scale},
            .x = {logits},
            .id[1] = id};
        kern_result want, got;

        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &want));
        KERN_OK(kern_run(tested, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &got));
        for (int i = 0; i < LK_MAX_METRICS && lk_op_info(d.spec.op)->metric[i]; i++)
            cr_assert(fabs(got.metrics[i] - want.metrics[i]) <= 1e-6 * fabs(want.metrics[i]), "metric %d is %.9g, not %.9g", i, got.metrics[i], want.metrics[i]);
        cr_assert_eq(want.metrics[LK_METRIC_COUNT], ROWS);
        for (int64_t i = 0; i < ROWS * CLASSES; i++) {
            const double limit = 2 * unit * (fabs(want.dx[0][i]) + 1e-2 * scale / CLASSES) + (precision == LK_PRECISION_FP16 ? 0x1p-25 : 0);

            cr_assert(fabs(got.dx[0][i] - want.dx[0][i]) <= limit, "row %" PRId64 ", class %" PRId64 ": gradient %.9g, not %.9g", i / CLASSES, i % CLASSES, got.dx[0][i], want.dx[0][i]);
        }
        kern_result_fini(&want);
        kern_result_fini(&got);
    }
    lk_free(logits);
}

/* Forward and backward queued one behind the other, as the engine does it: who looks for notes of bad data, looks when both are done. */
static lk_status both_passes(const kern_data *d, double *to)
{
    const lk_opspec *const s = &d->spec;
    const lk_kernel *const k = tested->kernel[s->op];
    const size_t ids = (size_t)lk_shape_count(&s->in[1]) * sizeof(int64_t);
    kern_buf x, id, saved, scratch, metrics, live, fault, dx;
    lk_micro micro = d->micro;
    lk_kern_plan plan = {0};

    if (k->plan)
        KERN_OK(k->plan(s, &plan));
    kern_buf_init(&x, tested, (size_t)lk_shape_count(&s->in[0]) * tested->value_size, 0xFF);
    kern_buf_init(&dx, tested, x.bytes, 0xFF);
    kern_buf_init(&id, tested, ids, 0xFF);
    kern_buf_init(&saved, tested, plan.saved_bytes, 0xFF);
    kern_buf_init(&scratch, tested, plan.scratch_forward > plan.scratch_backward ? plan.scratch_forward : plan.scratch_backward, 0xFF);
    kern_buf_init(&metrics, tested, LK_MAX_METRICS * sizeof(double), 0xFF);
    kern_put(kern_value_type(tested), &s->in[0], LK_LAYOUT_PLAIN, d->x[0], &x);
    memcpy(kern_view(&id), d->id[1], ids);
    kern_bring_in(&id);
    micro.metrics = kern_ptr(&metrics);
    kern_live(tested, s, &micro, &live, &fault);
    lk_call c = {.spec = s, .micro = &micro, .state = plan.state, .node = 7, .live = kern_ptr(&live), .x = {kern_ptr(&x), kern_ptr(&id)}, .saved = kern_ptr(&saved), .scratch = kern_ptr(&scratch)};
    KERN_OK(k->forward(&c));
    c.dx[0] = kern_ptr(&dx);
    KERN_OK(k->backward(&c));
    const lk_status st = kern_settle(tested, &d->micro, &fault);
    kern_get(kern_value_type(tested), &s->in[0], LK_LAYOUT_PLAIN, &dx, to);
    kern_buf *const all[] = {&x, &id, &saved, &scratch, &metrics, &live, &fault, &dx};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        kern_buf_check(all[i], "buffer", d->label);
        kern_buf_fini(all[i]);
    }
    if (k->destroy && plan.state)
        k->destroy(plan.state);
    return st;
}

/* Place of a softmax that element i of the scores belongs to. */
static int64_t place_of(const lk_shape *s, int64_t i)
{
    const int64_t classes = s->dim[s->ndim == 4 ? 1 : s->ndim - 1], places = lk_shape_row(s) / classes;

    return s->ndim == 4 ? i / (classes * places) * places + i % places : i / classes;
}

/* A bad class id comes to the backward pass, too: it gives that place no gradient, the others theirs, and touches nothing outside. */
Test(cuda, back_after_a_wrong_class, .init = setup)
{
    static const struct {
        lk_op op;
        lk_shape scores, ids;
        int64_t classes;
    } cases[] = {
        {LK_OP_CROSS_ENTROPY, {2, {3, 3}}, {1, {3}}, 3},
        {LK_OP_CROSS_ENTROPY, {2, {3, 1500}}, {1, {3}}, 1500},
        {LK_OP_CROSS_ENTROPY, {3, {3, 5, 7}}, {2, {3, 5}}, 7},
        {LK_OP_CROSS_ENTROPY, {4, {3, 4, 2, 3}}, {3, {3, 2, 3}}, 4},
        {LK_OP_HINGE, {2, {3, 3}}, {1, {3}}, 3},
        {LK_OP_HINGE, {2, {3, 1}}, {1, {3}}, 2},
    };
    int64_t sample[] = {40, 41, 42};

    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const lk_shape *const shape = &cases[n].scores;
        const int64_t count = lk_shape_count(shape), ids = lk_shape_count(&cases[n].ids), bad = ids / 3; /* the first place of sample 41 */
        const int64_t wrong[] = {cases[n].classes, -1, INT64_MAX, INT64_MIN, INT64_C(1) << 32};
        double *const scores = kern_uniform(lk_rng_make(9, LK_RNG_TEST, n), count, -2, 2), *good = NULL, *got = NULL;
        int64_t *id = NULL;
        kern_data d = {.spec = {.op = cases[n].op, .n_in = 2, .in = {*shape, cases[n].ids}, .in_dtype = {LK_DT_REAL, LK_DT_I64}, .training = true},
            .micro = {.rows = 3, .valid = 2, .sample = sample, .grad_scale = 1},
            .x = {scores}};

        KERN_OK(lk_alloc_array(ids, sizeof *id, "test", &id));
        KERN_OK(lk_alloc_array(count, sizeof *good, "test", &good));
        KERN_OK(lk_alloc_array(count, sizeof *got, "test", &got));
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        d.id[1] = id;
        snprintf(d.label, sizeof d.label, "case %zu", n);
        for (int64_t i = 0; i < ids; i++)
            id[i] = i / (ids / 3) == 2 ? INT64_MIN : i % cases[n].classes; /* row 2 is padding */
        const int64_t right = id[bad];
        KERN_OK(both_passes(&d, good));
        for (size_t w = 0; w < sizeof wrong / sizeof wrong[0]; w++) {
            char message[120];

            id[bad] = wrong[w];
            cr_assert_eq(both_passes(&d, got), LK_E_DATA, "case %zu: class id %" PRId64, n, wrong[w]);
            snprintf(message, sizeof message, "sample 41: class id %" PRId64 " is outside [0, %" PRId64 ")", wrong[w], cases[n].classes);
            cr_assert_str_eq(lk_err_last()->message, message);
            for (int64_t i = 0; i < count; i++) {
                const double want = place_of(shape, i) == bad ? 0 : good[i];

                cr_assert(got[i] == want, "case %zu, class id %" PRId64 ": gradient %" PRId64 " is %g, not %g", n, wrong[w], i, got[i], want);
            }
        }
        id[bad] = right;
        KERN_OK(both_passes(&d, got));
        cr_assert(memcmp(got, good, (size_t)count * sizeof *got) == 0, "case %zu: a bad id leaves something behind", n);
        lk_free(scores);
        lk_free(good);
        lk_free(got);
        lk_free(id);
    }
}

/* Grids have 31 bits. What takes more blocks is an error; cut to 32 bits the second of each would be a single block, and nobody would know. */
enum { RUN = 4 * 256 }; /* floats that a block adds */
static const int64_t too_many[] = {INT64_C(1) << 31, (INT64_C(1) << 32) + 1};

static void check_refused(lk_status st)
{
    cr_assert_eq(st, LK_E_DEVICE);
    cr_assert(strstr(lk_err_last()->message, "cudaErrorInvalidConfiguration"), "%s", lk_err_last()->message);
}

Test(cuda, too_many_blocks, .init = setup)
{
    kern_buf x;

    kern_buf_init(&x, tested, RUN * sizeof(float), 0);
    const float *const from[4] = {kern_ptr(&x), kern_ptr(&x)};
    KERN_OK(lk_space_sum(tested->space, LK_SUM_2, RUN, kern_ptr(&x), from));
    for (size_t i = 0; i < sizeof too_many / sizeof too_many[0]; i++)
        check_refused(lk_space_sum(tested->space, LK_SUM_2, too_many[i] * RUN, kern_ptr(&x), from));
    /* An error of that kind is over when it was said. */
    KERN_OK(lk_space_sum(tested->space, LK_SUM_2, RUN, kern_ptr(&x), from));
    KERN_OK(lk_space_wait(tested->space));
    kern_buf_check(&x, "buffer", "too_many_blocks");
    kern_buf_fini(&x);
}

/* Where nothing is returned, the next wait says it. */
Test(cuda, too_many_blocks_said_later, .init = setup)
{
    kern_buf x, tiles;

    kern_buf_init(&x, tested, 256 * sizeof(float), 0);
    kern_buf_init(&tiles, tested, sizeof(double), 0);
    tested->tile_squares(too_many[1], 256, kern_ptr(&x), kern_ptr(&tiles));
    check_refused(lk_space_wait(tested->space));
}
