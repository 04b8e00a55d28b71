/* Weights rounded at random as operations pack them: each is what the formula makes of it with the draw of its place in the parameter, wherever the packed form puts it; what
 * is packed as float stays. */
#include "cuda/cuda.h"
#include "kern/formula.h"
#include "kern/harness.h"

#include <stdlib.h>

static const lk_backend *backends[2];
static float (*const formula[2])(float x, uint32_t word) = {lki_formula_round_bf16, lki_formula_round_fp16};

static void setup(void)
{
    const lk_cuda_module *module = NULL;

    setenv("LOCKSTEP_CUDNN", "0", 1); /* so that what takes a bias in 16 bits is the same whether there is cuDNN or not */
    KERN_OK(lk_cuda_load(&module));
    KERN_OK(module->open(0, LK_PRECISION_BF16, &backends[0]));
    KERN_OK(module->open(0, LK_PRECISION_FP16, &backends[1]));
}

static lk_rounding rounding_of(int param, uint64_t row)
{
    return (lk_rounding){.rng = lk_rng_make(21, LK_RNG_ROUNDING, (uint64_t)param), .row = row};
}

/* The packed bytes; `rounding` of them all, or NULL. */
static void pack(const lk_kernel *k, const lk_opspec *s, const lk_kern_plan *plan, const lk_backend *be, double *const w[], const lk_rounding *rounding, kern_buf *packed)
{
    kern_buf param[LK_MAX_PARAMS] = {0}, scratch;
    lk_call c = {.spec = s, .state = plan->state, .rounding = rounding};

    for (int i = 0; i < s->n_params; i++) {
        kern_buf_init(&param[i], be, (size_t)lk_shape_count(&s->param[i].shape) * sizeof(float), 0);
        kern_put(KERN_F32, &s->param[i].shape, LK_LAYOUT_PLAIN, w[i], &param[i]);
        c.param[i] = kern_ptr(&param[i]);
    }
    kern_buf_init(&scratch, be, plan->scratch_forward, 0xFF);
    kern_buf_init(packed, be, plan->packed_bytes, 0x5A);
    c.packed = kern_ptr(packed);
    c.scratch = kern_ptr(&scratch);
    KERN_OK(k->pack(&c));
    KERN_OK(lk_space_wait(be->space));
    kern_buf_check(packed, "packed", "pack");
    kern_unguard(packed);
    kern_bring_out(packed);
    for (int i = 0; i < s->n_params; i++)
        kern_buf_fini(&param[i]);
    kern_buf_fini(&scratch);
}

/* `rounded`: so many parameters, from the first, that are packed in 16 bits. */
static void check(lk_op op, lk_attrs attr, lk_shape in, lk_layout layout, int rounded, const char *label)
{
    for (int t = 0; t < 2; t++) {
        const lk_backend *const be = backends[t];
        const lk_kernel *const k = be->kernel[op];
        lk_opspec s = {.op = op, .attr = attr, .training = true, .n_in = 1, .in = {in}, .in_layout = layout, .out_layout = layout};
        lk_kern_plan plan = {0};
        double *w[LK_MAX_PARAMS] = {NULL}, *drawn[LK_MAX_PARAMS] = {NULL};
        lk_rounding by[2][LK_MAX_PARAMS];
        kern_buf at_random, again, later, nearest, want;

        KERN_OK(lk_op_info(op)->infer(&s));
        KERN_OK(k->plan(&s, &plan));
        for (int i = 0; i < s.n_params; i++) {
            const int64_t n = lk_shape_count(&s.param[i].shape);

            by[0][i] = rounding_of(i, 7);
            by[1][i] = rounding_of(i, 8);
            w[i] = kern_uniform(lk_rng_make(2, LK_RNG_TEST, (uint64_t)i), n, -1, 1);
            KERN_OK(lk_alloc_array(n, sizeof *drawn[i], "test", &drawn[i]));
            for (int64_t e = 0; e < n; e++) {
                uint32_t words[4];

                lk_rng_block(by[0][i].rng, by[0][i].row, (uint64_t)e / 4, words);
                drawn[i][e] = i < rounded ? (double)formula[t]((float)w[i][e], words[e % 4]) : w[i][e];
            }
        }
        pack(k, &s, &plan, be, w, by[0], &at_random);
        pack(k, &s, &plan, be, w, by[0], &again);
        pack(k, &s, &plan, be, w, by[1], &later);
        pack(k, &s, &plan, be, w, NULL, &nearest);
        pack(k, &s, &plan, be, drawn, NULL, &want);
        cr_assert_gt(at_random.bytes, 0, "%s packs nothing", label);
        cr_assert(memcmp(kern_view(&at_random), kern_view(&want), want.bytes) == 0, "%s on %s: other numbers than the formula's", label, be->name);
        cr_assert(memcmp(kern_view(&at_random), kern_view(&again), again.bytes) == 0, "%s on %s", label, be->name);
        cr_assert_eq(memcmp(kern_view(&at_random), kern_view(&later), later.bytes) == 0, rounded == 0, "%s on %s: the next update's draws", label, be->name);
        cr_assert_eq(memcmp(kern_view(&at_random), kern_view(&nearest), nearest.bytes) == 0, rounded == 0, "%s on %s: to nearest", label, be->name);
        kern_buf *const all[] = {&at_random, &again, &later, &nearest, &want};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            kern_buf_fini(all[i]);
        for (int i = 0; i < s.n_params; i++) {
            lk_free(w[i]);
            lk_free(drawn[i]);
        }
        if (k->destroy != NULL)
            k->destroy(plan.state);
    }
}

Test(cuda, weights_are_rounded_at_random, .init = setup)
{
    const lk_attr_conv square = {.filters = 6, .kernel = {3, 3}, .stride = {1, 1}, .pad_before = {1, 1}, .pad_after = {1, 1}, .bias = true};
    lk_attr_conv grouped = square, each_channel = square, point = square;

    grouped.groups = 2;
    each_channel.groups = 6;
    point.kernel[0] = point.kernel[1] = 1;
    point.pad_before[0] = point.pad_before[1] = point.pad_after[0] = point.pad_after[1] = 0;
    check(LK_OP_LINEAR, (lk_attrs){.linear = {.units = 11, .bias = true}}, (lk_shape){2, {4, 13}}, LK_LAYOUT_PLAIN, 2, "linear");
    check(LK_OP_LINEAR, (lk_attrs){.linear = {.units = 8}}, (lk_shape){2, {4, 16}}, LK_LAYOUT_PLAIN, 1, "linear without bias");
    check(LK_OP_CONV, (lk_attrs){.conv = square}, (lk_shape){4, {2, 4, 5, 5}}, LK_LAYOUT_NHWC, 2, "conv");
    check(LK_OP_CONV, (lk_attrs){.conv = grouped}, (lk_shape){4, {2, 4, 5, 5}}, LK_LAYOUT_NHWC, 1, "conv in groups");
    check(LK_OP_CONV, (lk_attrs){.conv = each_channel}, (lk_shape){4, {2, 6, 5, 5}}, LK_LAYOUT_NHWC, 0, "conv channel by channel");
    check(LK_OP_CONV, (lk_attrs){.conv = point}, (lk_shape){4, {2, 4, 5, 5}}, LK_LAYOUT_NHWC, 2, "conv of one place");
    check(LK_OP_CONV_TRANSPOSE, (lk_attrs){.conv = square}, (lk_shape){4, {2, 4, 5, 5}}, LK_LAYOUT_NHWC, 1, "conv_transpose");
    check(LK_OP_LSTM, (lk_attrs){.recurrent = {.units = 5}}, (lk_shape){3, {2, 3, 7}}, LK_LAYOUT_PLAIN, 2, "lstm");
    check(LK_OP_GRU, (lk_attrs){.recurrent = {.units = 5}}, (lk_shape){3, {2, 3, 7}}, LK_LAYOUT_PLAIN, 2, "gru");
    check(LK_OP_RNN, (lk_attrs){.recurrent = {.units = 5}}, (lk_shape){3, {2, 3, 7}}, LK_LAYOUT_PLAIN, 2, "rnn");
}
