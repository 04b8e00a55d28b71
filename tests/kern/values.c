/* Forward passes and updates of ref against numbers worked out by hand: finite differences cannot tell a wrong forward
 * pass that goes with an equally wrong backward pass. */
#include "kern/harness.h"

/* Input, weights, bias... -> output. */
static void check_forward(lk_op op, const lk_attrs *attr, bool training, const lk_shape *in, const double *const x[],
    const double *const param[], const double *want)
{
    kern_data d = {.spec = {.op = op, .attr = *attr, .training = training, .n_in = lk_op_info(op)->n_in}};
    int64_t sample[8] = {0};
    for (int i = 0; i < d.spec.n_in; i++) {
        d.spec.in[i] = in[i];
        d.x[i] = (double *)x[i]; /* only read */
    }
    KERN_OK(lk_op_info(op)->infer(&d.spec));
    for (int i = 0; i < d.spec.n_params; i++)
        d.param[i] = (double *)param[i];
    d.micro = (lk_micro){.rows = in[0].dim[0], .valid = in[0].dim[0], .sample = sample};

    kern_result r;
    KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r));
    for (int64_t i = 0; i < lk_shape_count(&d.spec.out); i++)
        cr_assert(fabs(r.y[i] - want[i]) <= 1e-12 * fmax(1, fabs(want[i])),
            "%s: output %" PRId64 " is %.15g, not %.15g", lk_op_info(op)->name, i, r.y[i], want[i]);
    kern_result_fini(&r);
}

static const double one_to_twelve[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

Test(values, linear)
{
    const lk_shape in = {2, {2, 3}};
    const double w[] = {1, 0, -1, 2, 2, 2}, b[] = {10, -20};
    const double plain[] = {8, -8, 8, 10}, relu[] = {8, 0, 8, 10};
    lk_attrs a = {.linear = {.units = 2, .bias = true}};
    check_forward(LK_OP_LINEAR, &a, true, &in, (const double *[]){one_to_twelve}, (const double *[]){w, b}, plain);
    a.linear.act = LK_ACT_RELU;
    check_forward(LK_OP_LINEAR, &a, true, &in, (const double *[]){one_to_twelve}, (const double *[]){w, b}, relu);
}

/* 1 2 3   a row of zeros above, a column of zeros to the right; filter 1 10 / 100 1000 with steps of 2 down and 1
 * across: 4 5 6   row -1..0: 100*1+1000*2, 100*2+1000*3, 100*3; row 1..2: 4+50+700+8000, 5+60+800+9000, 6+900. 7 8 9 */
Test(values, conv)
{
    const lk_shape in = {4, {1, 1, 3, 3}};
    const double w[] = {1, 10, 100, 1000}, b[] = {0.5};
    const double want[] = {2100.5, 3200.5, 300.5, 8754.5, 9865.5, 906.5};
    const lk_attrs a = {
        .conv = {
            .filters = 1, .kernel = {2, 2}, .stride = {2, 1}, .pad_before = {1, 0}, .pad_after = {0, 1}, .bias = true}};
    check_forward(LK_OP_CONV, &a, true, &in, (const double *[]){one_to_twelve}, (const double *[]){w, b}, want);
}

/* Two samples, two channels of 1 x 1, two filters of the two channels. */
Test(values, conv_channels)
{
    const lk_shape in = {4, {2, 2, 1, 1}};
    const double w[] = {1, 10, 100, -1000};
    const double want[] = {21, -1900, 43, -3700}, relu[] = {21, 0, 43, 0};
    lk_attrs a = {.conv = {.filters = 2, .kernel = {1, 1}, .stride = {1, 1}}};
    check_forward(LK_OP_CONV, &a, true, &in, (const double *[]){one_to_twelve}, (const double *[]){w}, want);
    a.conv.act = LK_ACT_RELU;
    check_forward(LK_OP_CONV, &a, true, &in, (const double *[]){one_to_twelve}, (const double *[]){w}, relu);
}

/* Each of 1 2 / 3 4 put down times the kernel 1 2 / 3 4, two apart; then the same one apart. */
Test(values, conv_transpose)
{
    const lk_shape in = {4, {1, 1, 2, 2}};
    const double w[] = {1, 2, 3, 4}, b[] = {0.5};
    const double apart[] = {1.5, 2.5, 2.5, 4.5, 3.5, 4.5, 6.5, 8.5, 3.5, 6.5, 4.5, 8.5, 9.5, 12.5, 12.5, 16.5};
    const double near[] = {1, 4, 4, 6, 20, 16, 9, 24, 16};
    lk_attrs a = {.conv = {.filters = 1, .kernel = {2, 2}, .stride = {2, 2}, .bias = true}};
    check_forward(LK_OP_CONV_TRANSPOSE, &a, true, &in, (const double *[]){one_to_twelve}, (const double *[]){w, b}, apart);
    a.conv = (lk_attr_conv){.filters = 1, .kernel = {2, 2}, .stride = {1, 1}};
    check_forward(LK_OP_CONV_TRANSPOSE, &a, true, &in, (const double *[]){one_to_twelve}, (const double *[]){w}, near);
    /* Rows of the kernel two apart: 1 4 4 / 3 10 8 / 3 10 8 / 9 24 16; without the first row and the last column, and a row
     * of nothing below. */
    a.conv = (lk_attr_conv){.filters = 1, .kernel = {2, 2}, .stride = {1, 1}, .dilation = {2, 1}, .pad_before = {1, 0}, .pad_after = {0, 1}, .output_pad = {1, 0}};
    const double dilated[] = {3, 10, 3, 10, 9, 24, 0, 0};
    check_forward(LK_OP_CONV_TRANSPOSE, &a, true, &in, (const double *[]){one_to_twelve}, (const double *[]){w}, dilated);
}

/* Means of 1 2 3 and 3 4 5; of all; the largest. Twice as long: places at -1/4 (0), 1/4, 3/4, 5/4, 7/4, 9/4 (2). */
Test(values, resize)
{
    const lk_shape five = {3, {1, 1, 5}}, three = {3, {1, 1, 3}}, image = {4, {1, 1, 1, 2}};
    const double two[] = {2, 4}, mean[] = {3}, largest[] = {5}, x[] = {4, 8, 0};
    const double nearest[] = {4, 4, 8, 8, 0, 0}, linear[] = {4, 5, 7, 6, 2, 0}, wide[] = {4, 5, 7, 8, 4, 5, 7, 8};
    lk_attrs a = {.resize = {.size = {2}}};
    check_forward(LK_OP_ADAPTIVE_AVG_POOL, &a, true, &five, (const double *[]){one_to_twelve}, NULL, two);
    check_forward(LK_OP_GLOBAL_AVG_POOL, &a, true, &five, (const double *[]){one_to_twelve}, NULL, mean);
    check_forward(LK_OP_GLOBAL_MAX_POOL, &a, true, &five, (const double *[]){one_to_twelve}, NULL, largest);
    a.resize = (lk_attr_resize){.factor = {2}};
    check_forward(LK_OP_UPSAMPLE, &a, true, &three, (const double *[]){x}, NULL, nearest);
    a.resize = (lk_attr_resize){.factor = {2}, .linear = true};
    check_forward(LK_OP_UPSAMPLE, &a, true, &three, (const double *[]){x}, NULL, linear);
    a.resize = (lk_attr_resize){.factor = {2, 2}, .linear = true};
    check_forward(LK_OP_UPSAMPLE, &a, true, &image, (const double *[]){x}, NULL, wide);
}

/* With the running numbers training is as evaluation. */
Test(values, batch_norm_running)
{
    const lk_shape in = {2, {2, 2}};
    const double x[] = {1, 2, 3, 4}, w[] = {2, -1}, b[] = {0.5, 0}, mean[] = {1, 0}, var[] = {3, 15};
    const double want[] = {0.5, -0.5, 2.5, -1};
    const lk_attrs a = {.batch_norm = {.eps = 1, .momentum = 0.1, .running = true}};
    check_forward(LK_OP_BATCH_NORM, &a, true, &in, (const double *[]){x}, (const double *[]){w, b, mean, var}, want);
}

/* Not in training: (x - mean) / sqrt(var + eps) * w + b by the running numbers. In training: columns 1,3 and 2,4 ->
 * -1, 1. */
Test(values, batch_norm)
{
    const lk_shape in = {2, {2, 2}};
    const double x[] = {1, 2, 3, 4}, w[] = {2, -1}, b[] = {0.5, 0}, mean[] = {1, 0}, var[] = {3, 15};
    const double running[] = {0.5, -0.5, 2.5, -1};
    const double own[] = {0.5 - 2 / sqrt(2), 1 / sqrt(2), 0.5 + 2 / sqrt(2), -1 / sqrt(2)};
    const lk_attrs a = {.batch_norm = {.eps = 1, .momentum = 0.1}};
    check_forward(
        LK_OP_BATCH_NORM, &a, false, &in, (const double *[]){x}, (const double *[]){w, b, mean, var}, running);
    check_forward(LK_OP_BATCH_NORM, &a, true, &in, (const double *[]){x}, (const double *[]){w, b, mean, var}, own);
}

/* gelu(1) = P(X <= 1) for normal X; tables give 0.841344746068543. The tanh form at 1: 0.841191990608276. */
Test(values, gelu)
{
    const lk_shape in = {1, {3}};
    const double x[] = {1, 0, -1}, exact[] = {0.841344746068543, 0, -0.158655253931457},
                 form[] = {0.841191990608276, 0, -0.158808009391724};
    check_forward(
        LK_OP_ACTIVATION, &(lk_attrs){.activation = {LK_ACT_GELU, 0}}, true, &in, (const double *[]){x}, NULL, exact);
    check_forward(LK_OP_ACTIVATION, &(lk_attrs){.activation = {LK_ACT_GELU_TANH, 0}}, true, &in, (const double *[]){x},
        NULL, form);
}

/* At log 3, 0 and -log 3, where e^x is 3, 1 and 1/3; the sigmoid is 3/4, 1/2 and 1/4. */
Test(values, activations)
{
    const lk_shape in = {1, {3}};
    const double l = log(3), x[] = {l, 0, -l};
    static const struct {
        lk_act act;
        double alpha, want[3];
    } cases[] = {
        {LK_ACT_RELU, 0, {1.0986122886681098, 0, 0}},
        {LK_ACT_LEAKY_RELU, 0.5, {1.0986122886681098, 0, -0.5493061443340549}},
        {LK_ACT_ELU, 3, {1.0986122886681098, 0, -2}}, {LK_ACT_SILU, 0, {0.8239592165010823, 0, -0.2746530721670275}},
        {LK_ACT_SIGMOID, 0, {0.75, 0.5, 0.25}}, {LK_ACT_TANH, 0, {0.8, 0, -0.8}},
        {LK_ACT_SOFTPLUS, 0, {1.3862943611198906, 0.6931471805599453, 0.2876820724517809}}, /* log 4, 2, 4/3 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const lk_attrs a = {.activation = {cases[i].act, cases[i].alpha}};
        check_forward(LK_OP_ACTIVATION, &a, true, &in, (const double *[]){x}, NULL, cases[i].want);
    }
}

/* What goes where, on 1 to 12. */
Test(values, shapes)
{
    const lk_shape in = {3, {1, 3, 4}};
    const double *const x = one_to_twelve;
    const double turned[] = {1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12}, part[] = {2, 3, 6, 7, 10, 11};
    const double padded[] = {9, 1, 2, 9, 3, 4, 9, 9, 9}, mean[] = {2.5, 6.5, 10.5}, sum[] = {15, 18, 21, 24};
    check_forward(LK_OP_PERMUTE, &(lk_attrs){.permute = {{0, 2, 1}}}, true, &in, &x, NULL, turned);
    check_forward(LK_OP_SLICE, &(lk_attrs){.axis = {.axis = 2, .start = 1, .length = 2}}, true, &in, &x, NULL, part);
    check_forward(LK_OP_PAD, &(lk_attrs){.pad = {.before = {0, 0, 1}, .after = {0, 1}, .value = 9}}, true,
        &(lk_shape){3, {1, 2, 2}}, &x, NULL, padded);
    check_forward(LK_OP_REDUCE, &(lk_attrs){.reduce = {.mean = true, .axes = 4}}, true, &in, &x, NULL, mean);
    check_forward(LK_OP_REDUCE, &(lk_attrs){.reduce = {.axes = 2}}, true, &in, &x, NULL, sum);
    const lk_shape two[] = {{3, {2, 1, 2}}, {3, {2, 2, 2}}};
    const double joined[] = {1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 7, 8};
    check_forward(LK_OP_CONCAT, &(lk_attrs){.axis = {.axis = 1}}, true, two, (const double *[]){x, x}, NULL, joined);
    const lk_shape gate[] = {{3, {1, 3, 4}}, {2, {1, 3}}};
    const double gated[] = {1, 2, 3, 4, 10, 12, 14, 16, 27, 30, 33, 36};
    check_forward(LK_OP_MULTIPLY, &(lk_attrs){0}, true, gate, (const double *[]){x, x}, NULL, gated);
}

/* Means over the first 0, 2 and (padding) all steps; a length that is none names the sample. */
Test(values, mean_over_lengths)
{
    double x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, dy[] = {1, 1, 0};
    int64_t length[] = {0, 2, 77}, sample[] = {5, 6, 7};
    for (int v = 0; v < 2; v++) {
        const lk_backend *const be = v ? &lk_backend_cpu : &lk_backend_ref;
        kern_data d = {.spec = {.op = LK_OP_REDUCE,
                           .attr.reduce = {.mean = true, .axes = 2},
                           .n_in = 2,
                           .in = {{2, {3, 3}}, {1, {3}}},
                           .in_dtype = {LK_DT_REAL, LK_DT_I64},
                           .training = true},
            .micro = {.rows = 3, .valid = 2, .sample = sample},
            .x = {x},
            .id[1] = length,
            .dy = dy};
        kern_result r;
        length[1] = 2;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        KERN_OK(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r));
        const double want[] = {0, 4.5, 8}, slope[] = {0, 0, 0, 0.5, 0.5, 0, 0, 0, 0};
        cr_assert(kern_distance(3, r.y, want) <= 1e-6 && kern_distance(9, r.dx[0], slope) == 0);
        kern_result_fini(&r);
        length[1] = 4;
        cr_assert(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
        cr_assert_str_eq(lk_err_last()->message, "sample 6: length 4 is outside [0, 3]");
    }
}

/* Vectors 1,3 and 2,2: mean 2, variance 1 and 0; with eps 3 over sqrt(4). Mean squares 5 and 4: over 3 with eps 4, over
 * sqrt(8). */
Test(values, norms)
{
    const lk_shape in = {2, {2, 2}}, two = {3, {1, 2, 2}}, one = {3, {1, 4, 1}};
    const double x[] = {1, 3, 2, 2}, w[] = {2, -1, 1, 3}, b[] = {0.5, 0, 0, 1};
    const double layer[] = {-0.5, -0.5, 0.5, 0}, rms[] = {2 / 3.0, -1, 4 / sqrt(8), -2 / sqrt(8)};
    const lk_attrs a = {.norm = {.eps = 3, .bias = true, .groups = 2}};
    check_forward(LK_OP_LAYER_NORM, &a, true, &in, (const double *[]){x}, (const double *[]){w, b}, layer);
    check_forward(LK_OP_RMS_NORM, &(lk_attrs){.norm = {.eps = 4}}, true, &in, (const double *[]){x},
        (const double *[]){w}, rms);
    /* Groups of one channel of two places, then of two channels of one. */
    const double places[] = {-0.5, 1.5, 0, 0}, channels[] = {-0.5, -0.5, 0, 1};
    check_forward(LK_OP_GROUP_NORM, &a, true, &two, (const double *[]){x}, (const double *[]){w, b}, places);
    check_forward(LK_OP_GROUP_NORM, &a, true, &one, (const double *[]){x}, (const double *[]){w, b}, channels);
}

/* e^x is 1, 2, 5. Gates: the second half, at 0 and log 3, goes through the function. */
Test(values, softmax_and_glu)
{
    const lk_shape in = {2, {1, 3}}, four = {2, {1, 4}};
    const double x[] = {0, log(2), log(5)}, share[] = {1 / 8.0, 2 / 8.0, 5 / 8.0};
    check_forward(LK_OP_SOFTMAX, &(lk_attrs){0}, true, &in, (const double *[]){x}, NULL, share);
    const double h[] = {2, 4, 0, log(3)}, sigmoid[] = {1, 3}, silu[] = {0, 3 * log(3)};
    check_forward(LK_OP_GLU, &(lk_attrs){.glu = {LK_ACT_SIGMOID}}, true, &four, (const double *[]){h}, NULL, sigmoid);
    check_forward(LK_OP_GLU, &(lk_attrs){.glu = {LK_ACT_SILU}}, true, &four, (const double *[]){h}, NULL, silu);
}

/* 3 x 4 with a border of 1 above and below, windows of 3 x 2, steps 2 and 2. All negative: the border must not win the
 * maximum. */
Test(values, pools)
{
    const lk_shape in = {4, {1, 1, 3, 4}};
    double x[12];
    for (int i = 0; i < 12; i++)
        x[i] = -one_to_twelve[i];
    const lk_attrs a = {.pool = {.kernel = {3, 2}, .stride = {2, 2}, .pad = {1, 0}}};
    const double top[] = {-1, -3, -5, -7}, mean[] = {-14 / 6.0, -22 / 6.0, -30 / 6.0, -38 / 6.0}, all[] = {-6.5};
    check_forward(LK_OP_MAX_POOL, &a, true, &in, (const double *[]){x}, NULL, top);
    check_forward(LK_OP_AVG_POOL, &a, true, &in, (const double *[]){x}, NULL, mean);
    check_forward(LK_OP_GLOBAL_AVG_POOL, &a, true, &in, (const double *[]){x}, NULL, all);
}

/* Losses: three samples, of which the third is padding with an impossible class. */
Test(values, losses)
{
    double logits[] = {0, 0, 0, 0, 0, log(6), 9, 9, 9}, target[] = {1, 0, -1, 0, 0, 0, 1, 2, 3};
    int64_t id[] = {0, 1, -5}, sample[] = {5, 6, 7};
    kern_data d = {.spec = {.op = LK_OP_CROSS_ENTROPY,
                       .n_in = 2,
                       .in = {{2, {3, 3}}, {1, {3}}},
                       .in_dtype = {LK_DT_REAL, LK_DT_I64},
                       .training = true},
        .micro = {.rows = 3, .valid = 2, .sample = sample, .grad_scale = 0.5},
        .x = {logits, target},
        .id[1] = id};
    const kern_opts opts = {.poison = 0xFF};
    kern_result r;
    KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
    KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &opts, &r));
    cr_assert_float_eq(r.metrics[LK_METRIC_LOSS], log(3) + log(8), 1e-14); /* -log(1/3), -log(1/8) */
    cr_assert_float_eq(r.metrics[LK_METRIC_NAMED], 1, 0); /* of equal logits the first wins: right in sample 0 */
    const double grad[] = {-1 / 3.0, 1 / 6.0, 1 / 6.0, 1 / 16.0, -7 / 16.0, 6 / 16.0, 0, 0, 0};
    cr_assert(kern_distance(9, r.dx[0], grad) <= 1e-15);
    kern_result_fini(&r);

    d.spec = (lk_opspec){.op = LK_OP_MSE, .n_in = 2, .in = {{2, {3, 3}}, {2, {3, 3}}}, .training = true};
    logits[5] = 6;
    KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
    KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &opts, &r));
    cr_assert_float_eq(r.metrics[LK_METRIC_LOSS], 2 / 3.0 + 12, 1e-14);
    cr_assert_float_eq(r.metrics[LK_METRIC_NAMED], 2 / 3.0 + 2, 1e-14);
    const double slope[] = {-1 / 3.0, 0, 1 / 3.0, 0, 0, 2, 0, 0, 0};
    cr_assert(kern_distance(9, r.dx[0], slope) <= 1e-15);
    kern_result_fini(&r);
}

/* Two places of four features: sin 0, cos 0, sin 0, cos 0; sin 1, cos 1, sin 1/100, cos 1/100. */
Test(values, sequences)
{
    const lk_shape in = {3, {1, 2, 4}};
    const double zero[8] = {0}, want[] = {0, 1, 0, 1, sin(1), cos(1), sin(0.01), cos(0.01)};
    check_forward(LK_OP_POSITIONS, &(lk_attrs){.positions = {.sinusoidal = true}}, true, &in, (const double *[]){zero},
        NULL, want);
    const double w[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    check_forward(LK_OP_POSITIONS, &(lk_attrs){.positions = {.max = 3, .deviation = 1}}, true, &in,
        (const double *[]){zero}, (const double *[]){w}, w);
}

/* Queries of 0 see all their keys alike: the mean of the values seen. Turned by their places, (1,0) times (1,0) is the
 * cosine of the distance. */
Test(values, attention)
{
    const lk_shape in = {3, {1, 3, 3}}, pairs = {3, {1, 3, 6}};
    const double x[] = {0, 5, 1, 0, -7, 2, 0, 9, 6}, causal[] = {1, 1.5, 3}, all[] = {3, 3, 3};
    lk_attrs a = {.attention = {.heads = 1, .causal = true}};
    check_forward(LK_OP_ATTENTION, &a, true, &in, (const double *[]){x}, NULL, causal);
    a.attention.causal = false;
    check_forward(LK_OP_ATTENTION, &a, true, &in, (const double *[]){x}, NULL, all);

    const double turning[] = {1, 0, 1, 0, 1, 10, 1, 0, 1, 0, 2, 20, 1, 0, 1, 0, 4, 40};
    double want[6];
    for (int i = 0; i < 3; i++) {
        double sum = 0, v = 0;
        for (int j = 0; j <= i; j++) {
            sum += exp(3 * cos(i - j));
            v += exp(3 * cos(i - j)) * (1 << j);
        }
        want[2 * i] = v / sum;
        want[2 * i + 1] = 10 * v / sum;
    }
    a.attention = (lk_attr_attention){.heads = 1, .causal = true, .rotary = true, .scale = 3};
    check_forward(LK_OP_ATTENTION, &a, true, &pairs, (const double *[]){turning}, NULL, want);
}

/* Without keys 0, in both directions; a length beyond the keys is an error that names the sample, padding rows are not
 * looked at. */
static void check_lengths(const lk_backend *be)
{
    double q[] = {1, 2, 3, 4, 5, 6}, kv[] = {1, 10, NAN, NAN, 3, 30, 4, 40, 5, 50, 6, 60}, dy[] = {1, 1, 1, 1, 0, 0};
    int64_t length[] = {1, 0, -9}, sample[] = {7, 8, 9};
    kern_data d = {.spec = {.op = LK_OP_ATTENTION,
                       .attr.attention = {.heads = 1},
                       .training = true,
                       .n_in = 3,
                       .in = {{3, {3, 2, 1}}, {3, {3, 2, 2}}, {1, {3}}},
                       .in_dtype = {LK_DT_REAL, LK_DT_REAL, LK_DT_I64}},
        .micro = {.rows = 3, .valid = 2, .sample = sample},
        .x = {q, kv},
        .id[2] = length,
        .dy = dy};
    const double want[] = {10, 10, 0, 0, 0, 0}, none[6] = {0}, share[] = {0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    kern_result r;
    KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
    KERN_OK(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r));
    cr_assert(kern_distance(6, r.y, want) == 0);
    cr_assert(kern_distance(6, r.dx[0], none) == 0);
    cr_assert(kern_distance(12, r.dx[1], share) == 0);
    kern_result_fini(&r);
    length[1] = 3;
    cr_assert(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
    cr_assert_str_eq(lk_err_last()->message, "sample 8: length 3 is outside [0, 2]");
    length[1] = -1;
    cr_assert(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
    cr_assert_str_eq(lk_err_last()->message, "sample 8: length -1 is outside [0, 2]");
}

Test(values, lengths)
{
    check_lengths(&lk_backend_ref);
    check_lengths(&lk_backend_cpu);
}

/* Twice the length is at most twice the memory, dropout included. */
Test(values, attention_memory)
{
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        lk_opspec s = {.op = LK_OP_ATTENTION,
            .attr.attention = {.heads = 4, .causal = true, .rotary = true, .rate = 0.1},
            .training = true,
            .n_in = 1,
            .in = {{3, {2, 4096 << i, 3 * 4 * 32}}}};
        KERN_OK(lk_op_info(s.op)->infer(&s));
        const int64_t before = lk_mem_bytes();
        lk_kern_plan p;
        KERN_OK(lk_backend_cpu.kernel[s.op]->plan(&s, &p));
        bytes[i] = p.saved_bytes + p.scratch_forward + p.scratch_backward + (size_t)(lk_mem_bytes() - before);
        lk_backend_cpu.kernel[s.op]->destroy(p.state);
    }
    cr_assert(bytes[0] > 0 && bytes[1] <= 2 * bytes[0], "%zu and %zu bytes", bytes[0], bytes[1]);
}

/* An id that is not below `size` is an error that names the sample, but only where there is a sample. */
static void check_ids(const lk_backend *be)
{
    double w[] = {1, 2, 3, 4, 5, 6};
    int64_t id[] = {2, 0, 1, 2, 77, -3}, sample[] = {40, 41, 42};
    kern_data d = {.spec = {.op = LK_OP_EMBEDDING,
                       .attr.embedding = {.size = 3, .units = 2, .deviation = 1},
                       .n_in = 1,
                       .in = {{2, {3, 2}}},
                       .in_dtype = {LK_DT_I64}},
        .micro = {.rows = 3, .valid = 2, .sample = sample},
        .id[0] = id,
        .param[0] = w};
    const double want[] = {5, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0};
    kern_result r;
    KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
    KERN_OK(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r));
    cr_assert(kern_distance(12, r.y, want) == 0);
    kern_result_fini(&r);
    id[2] = 3;
    cr_assert(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
    cr_assert_str_eq(lk_err_last()->message, "sample 41: id 3 is outside [0, 3)");
    id[2] = INT64_MIN;
    cr_assert(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
    cr_assert_str_eq(lk_err_last()->message, "sample 41: id -9223372036854775808 is outside [0, 3)");
}

Test(values, ids)
{
    check_ids(&lk_backend_ref);
    check_ids(&lk_backend_cpu);
}

/* Loss over weight, and its gradient, against what PyTorch 1.13 gives in double (cross_entropy, its
 * binary_cross_entropy_with_logits, huber_loss, l1_loss and multi_margin_loss of torch.nn.functional). */
static void check_pytorch(lk_op op, const lk_attrs *attr, bool ids, double want, const double *grad)
{
    double x[] = {0.5, -1, 2, 0.25, 1.5, -0.75, -2, 0.125, 1}, q[] = {0.2, 0.3, 0.5, 1, 0, 0, 0.25, 0.25, 0.5};
    int64_t id[] = {2, 1, 0}, sample[] = {1, 2, 3};
    kern_data d = {.spec = {.op = op,
                       .attr = *attr,
                       .n_in = 2,
                       .in = {{2, {3, 3}}, {ids ? 1 : 2, {3, 3}}},
                       .in_dtype = {LK_DT_REAL, ids ? LK_DT_I64 : LK_DT_REAL},
                       .training = true},
        .micro = {.rows = 3, .valid = 3, .sample = sample, .grad_scale = 1},
        .x = {x, q},
        .id[1] = id};
    kern_result r;
    KERN_OK(lk_op_info(op)->infer(&d.spec));
    KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r));
    cr_assert_float_eq(r.metrics[LK_METRIC_LOSS] / r.metrics[LK_METRIC_WEIGHT], want, 1e-14, "%s: %.17g, not %.17g",
        lk_op_info(op)->name, r.metrics[LK_METRIC_LOSS] / r.metrics[LK_METRIC_WEIGHT], want);
    for (int i = 0; i < 9; i++)
        cr_assert_float_eq(
            r.dx[0][i] / r.metrics[LK_METRIC_WEIGHT], grad[i], 1e-14, "%s: dx %d", lk_op_info(op)->name, i);
    kern_result_fini(&r);
}

Test(values, losses_of_pytorch)
{
    lk_attrs a = {
        .cross_entropy = {.smoothing = 0.1, .has_ignored = true, .ignored = 1, .n_weights = 3, .weight = {0.5, 1, 3}}};
    check_pytorch(LK_OP_CROSS_ENTROPY, &a, true, 0.7061977206275358,
        (double[]){0.137974557409268, 0.0223250001394645, -0.160299557548733, 0, 0, 0, -0.127513995854804,
            0.0392009066327359, 0.0883130892220678});
    a.cross_entropy.has_ignored = false;
    check_pytorch(LK_OP_CROSS_ENTROPY, &a, true, 0.6810514656460654,
        (double[]){0.107313544651653, 0.0173638889973613, -0.124677433649014, 0.0443248372290817, -0.0397713278054923,
            -0.0045535094235894, -0.099177552331514, 0.0304895940476835, 0.0686879582838305});
    a.cross_entropy.smoothing = 0.2;
    check_pytorch(LK_OP_CROSS_ENTROPY, &a, false, 1.3583406222238388,
        (double[]){0.0685650601205112, -0.0784939277713385, 0.00992886765082737, -0.0964159035116591, 0.145413857379693,
            -0.0489979538680338, -0.0240767632695908, 0.0816476176590202, -0.0575708543894294});
    a = (lk_attrs){.bce_logits = {.positive = 3}};
    check_pytorch(LK_OP_BCE_LOGITS, &a, false, 1.2660498875864548,
        (double[]){0.0301603404091774, -0.0521881917564453, 0.0290660173284183, -0.145941166371401, 0.0908416084659604,
            0.0356468112027341, -0.0634661796629804, 0.00520156222895938, -0.0042092047488878});
    const double high = 0.7 / 9;
    a = (lk_attrs){.huber = {.delta = 0.7}};
    check_pytorch(LK_OP_HUBER, &a, false, 0.4825347222222222,
        (double[]){0.3 / 9, -high, high, -high, high, -high, -high, -0.125 / 9, 0.5 / 9});
    const double one = 1 / 9.0;
    check_pytorch(LK_OP_MAE, &(lk_attrs){.loss = {.scale = 0}}, false, 0.9972222222222222,
        (double[]){one, -one, one, -one, one, -one, -one, -one, one});
    check_pytorch(LK_OP_HINGE, &(lk_attrs){.loss = {.scale = 1}}, true, 0.7916666666666666,
        (double[]){0, 0, 0, 0, 0, 0, -2 / 9.0, one, one});
}

/* One loss of one score or mean: value, slope and second metric. */
static void check_single(lk_op op, const lk_attrs *attr, double x, double beside, double loss, double slope)
{
    int64_t sample[] = {1};
    kern_data d = {
        .spec = {.op = op, .attr = *attr, .n_in = lk_op_info(op)->n_in, .in = {{1, {1}}, {1, {1}}}, .training = true},
        .micro = {.rows = 1, .valid = 1, .sample = sample, .grad_scale = 2},
        .x = {&x, &beside}};
    const double scale = attr->loss.scale; /* first in all of them */
    kern_result r;
    KERN_OK(lk_op_info(op)->infer(&d.spec));
    KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r));
    cr_assert_float_eq(r.metrics[LK_METRIC_LOSS], scale * loss, 1e-14);
    cr_assert_float_eq(r.metrics[LK_METRIC_NAMED], op == LK_OP_GAN ? x : loss, 1e-14);
    cr_assert_float_eq(r.dx[0][0], 2 * scale * slope, 1e-14);
    kern_result_fini(&r);
}

Test(values, adversarial_losses)
{
    const double x = -0.5, up = 1 / (1 + exp(0.5)), down = 1 / (1 + exp(-0.5)); /* logistic function at x and at -x */
    const struct {
        lk_gan_kind kind;
        double loss[3], slope[3]; /* real, fake, generator */
    } want[] = {
        {LK_GAN_NON_SATURATING, {-log(up), -log(down), -log(up)}, {-down, up, -down}},
        {LK_GAN_LEAST_SQUARES, {1.125, 0.125, 1.125}, {-1.5, -0.5, -1.5}},
        {LK_GAN_WASSERSTEIN, {0.5, -0.5, 0.5}, {-1, 1, -1}},
        {LK_GAN_HINGE, {1.5, 0.5, 0.5}, {-1, 1, -1}},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        for (int role = 0; role < 3; role++) {
            const lk_attrs a = {.gan = {.scale = 3, .kind = want[i].kind, .role = (lk_gan_role)role}};
            check_single(LK_OP_GAN, &a, x, 0, want[i].loss[role], want[i].slope[role]);
        }
    /* Beyond the bend nothing more is to be had. */
    check_single(LK_OP_GAN, &(lk_attrs){.gan = {.scale = 1, .kind = LK_GAN_HINGE, .role = LK_GAN_REAL}}, 1.5, 0, 0, 0);
    check_single(LK_OP_GAN, &(lk_attrs){.gan = {.scale = 1, .kind = LK_GAN_HINGE, .role = LK_GAN_FAKE}}, -2, 0, 0, 0);
    /* Mean 2, variance 1/4: (1/4 + 4 - 1 + log 4) / 2. */
    check_single(LK_OP_KL_NORMAL, &(lk_attrs){.loss = {.scale = 0.5}}, 2, log(0.25), 1.625 + log(2), 2);
}

/* A target that is no share is an error that names the sample. */
Test(values, wrong_share)
{
    const lk_op ops[] = {LK_OP_BCE_LOGITS, LK_OP_HINGE};
    for (int i = 0; i < 4; i++) {
        const lk_backend *const be = i < 2 ? &lk_backend_ref : &lk_backend_cpu;
        double x[4] = {0}, t[] = {0, 1, 0.5, 1.25};
        int64_t sample[] = {40, 41};
        kern_data d = {.spec = {.op = ops[i % 2], .n_in = 2, .in = {{2, {2, 2}}, {2, {2, 2}}}},
            .micro = {.rows = 2, .valid = 2, .sample = sample},
            .x = {x, t}};
        kern_result r;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        cr_assert(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
        cr_assert_str_eq(lk_err_last()->message, "sample 41: target 1.25 is outside [0, 1]");
    }
}

/* Draws have mean 0 and deviation 1, belong to sample, layer and step, and not to the place in the microbatch; gaussian
 * shifts and scales them, and gives the mean where it does not train. */
Test(values, normal_draws)
{
    enum { ROWS = 2, N = 5000 };
    double *mean = NULL, *variance = NULL;
    KERN_OK(lk_alloc_array(ROWS * N, sizeof *mean, "test", &mean));
    KERN_OK(lk_alloc_array(ROWS * N, sizeof *variance, "test", &variance));
    for (int i = 0; i < ROWS * N; i++) {
        mean[i] = 3;
        variance[i] = log(4);
    }
    kern_result r[6];
    for (int v = 0; v < 6; v++) { /* as is; rows swapped; another step; another layer; gaussian; that in evaluation */
        int64_t sample[ROWS] = {v == 1 ? 12 : 11, v == 1 ? 11 : 12};
        kern_data d = {.spec = {.op = v < 4 ? LK_OP_NOISE : LK_OP_GAUSSIAN,
                           .n_in = v < 4 ? 1 : 2,
                           .in = {{2, {ROWS, N}}, {2, {ROWS, N}}},
                           .training = v < 5,
                           .key = v == 3 ? 6 : 5},
            .micro = {.rows = ROWS, .valid = ROWS, .sample = sample, .seed = 1, .step = v == 2 ? 8 : 7},
            .x = {mean, variance}};
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r[v]));
    }
    double sum = 0, squares = 0;
    int equal = 0;
    for (int i = 0; i < N; i++) {
        sum += r[0].y[i];
        squares += r[0].y[i] * r[0].y[i];
        cr_assert(r[0].y[i] == r[1].y[N + i] && r[0].y[N + i] == r[1].y[i]);
        equal += (r[0].y[i] == r[0].y[N + i]) + (r[0].y[i] == r[2].y[i]) + (r[0].y[i] == r[3].y[i]);
        cr_assert(fabs(r[4].y[i] - (3 + 2 * r[0].y[i])) < 1e-14 && r[5].y[i] == 3);
    }
    cr_assert(equal == 0);
    cr_assert(fabs(sum / N) < 5 / sqrt(N) && fabs(squares / N - 1) < 5 * sqrt(2.0 / N)); /* five deviations */
    for (int v = 0; v < 6; v++)
        kern_result_fini(&r[v]);
    lk_free(mean);
    lk_free(variance);
}

/* Numbers from torch.nn.LSTM, GRU and RNN (PyTorch 2.12.1, double, bidirectional, packed sequences of lengths 3 and 2): input
 * element i is (5 i mod 7 - 3) / 4, weight element i is ((k i + 1) mod 11 - 5) / 8 with k = 7, 3, 5, 8 for weight_ih, weight_hh,
 * bias_ih, bias_hh in either direction. */
Test(values, recurrent)
{
    static const struct {
        lk_op op;
        bool relu, reverse;
        double y[12];
    } item[] = {
        {LK_OP_LSTM, false, false, {0.10161189501466, 0, 0.0098913397950863, 0.116367565985668, -0.016652257662674, 0.060553244213585, -0.0407726667308592, 0.135203185146457, -0.0420559710549214, 0.0801101321804231, 0, 0}},
        {LK_OP_LSTM, false, true, {0.0960621128796328, 0.0319166248325687, -0.044404304634104, 0.106728329341564, -0.0228696895779727, 0.019336412437307, -0.0500676116370574, 0.143489673038722, -0.0274483907762193, 0.0435522904081006, 0, 0}},
        {LK_OP_GRU, false, false, {0.499831787125981, -0.0979830350058778, 0.323747819086955, 0.236144669081792, 0.327491139772735, 0.140443508849811, 0.113645715380249, 0.303599519095315, 0.226411604033758, 0.180268537371443, 0, 0}},
        {LK_OP_GRU, false, true, {0.577148530430016, -0.0165402271846556, 0.21121747435897, 0.23966856226839, 0.190327022453846, -0.0121464953544513, 0.185230109023978, 0.344211694749019, 0.171735507909002, 0.0549271098920159, 0, 0}},
        {LK_OP_RNN, false, false, {-0.411570055674022, 0.385283966269472, -0.773858389484321, 0.791490742772389, -0.75874775714931, 0.589054621386055, -0.819814012076096, 0.809301070201781, -0.735798616486489, 0.697984611238336, 0, 0}},
        {LK_OP_RNN, false, true, {-0.194217437505502, 0.605185447348609, -0.666203586263032, 0.738544158273013, -0.856817601110895, 0.358357398350786, -0.66170294442293, 0.843034934834701, -0.848283639957513, 0.509829973735257, 0, 0}},
        {LK_OP_RNN, true, false, {0, 0.40625, 0, 1.19140625, 0, 1.11962890625, 0, 1.125, 0, 1.265625, 0, 0}},
        {LK_OP_RNN, true, true, {0, 1.138671875, 0, 1.171875, 0, 0.375, 0, 1.4765625, 0, 0.5625, 0, 0}},
    };
    static const int64_t step[] = {7, 3, 5, 8};
    int64_t lengths[] = {3, 2}, sample[] = {0, 1};
    double x[12];
    for (int i = 0; i < 12; i++)
        x[i] = (double)(5 * i % 7 - 3) / 4;
    for (size_t n = 0; n < sizeof item / sizeof item[0]; n++) {
        kern_data d = {.spec = {.op = item[n].op,
                           .attr.recurrent = {.units = 2, .relu = item[n].relu, .reverse = item[n].reverse},
                           .training = true,
                           .n_in = 2,
                           .in = {{3, {2, 3, 2}}, {1, {2}}},
                           .in_dtype = {LK_DT_REAL, LK_DT_I64}},
            .micro = {.rows = 2, .valid = 2, .sample = sample},
            .x = {x},
            .id[1] = lengths};
        double w[4][16];
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        for (int i = 0; i < 4; i++) {
            for (int64_t j = 0; j < 16; j++)
                w[i][j] = (double)((step[i] * j + 1) % 11 - 5) / 8;
            d.param[i] = w[i];
        }
        kern_result r;
        KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r));
        cr_assert(kern_distance(12, r.y, item[n].y) <= 1e-14, "%s, row %zu of the table: off by %.3g",
            lk_op_info(d.spec.op)->name, n, kern_distance(12, r.y, item[n].y));
        kern_result_fini(&r);
    }
}

/* Steps 2 and 1 of two samples, and none of the third; in reverse the first ones. */
Test(values, last_step)
{
    double x[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    int64_t lengths[] = {2, 1, 0}, sample[] = {0, 1, 2};
    for (int reverse = 0; reverse < 2; reverse++) {
        kern_data d = {.spec = {.op = LK_OP_LAST_STEP,
                           .attr.last_step = {.reverse = reverse != 0},
                           .n_in = 2,
                           .in = {{3, {3, 3, 1}}, {1, {3}}},
                           .in_dtype = {LK_DT_REAL, LK_DT_I64}},
            .micro = {.rows = 3, .valid = 3, .sample = sample},
            .x = {x},
            .id[1] = lengths};
        const double want[] = {reverse ? 1 : 2, 4, 0};
        kern_result r;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r));
        cr_assert(kern_distance(3, r.y, want) == 0);
        kern_result_fini(&r);
    }
}

/* Two halves of a sequence with the state carried on are the whole; without it the second half starts anew. */
Test(values, carried_state)
{
    static const lk_op op[] = {LK_OP_LSTM, LK_OP_GRU, LK_OP_RNN};
    const lk_backend *const backend[] = {&lk_backend_ref, &lk_backend_cpu};
    enum { B = 2, T = 6, C = 3, H = 4 };
    int64_t sample[] = {0, 1};
    for (size_t n = 0; n < 6; n++) {
        const lk_backend *const be = backend[n % 2];
        const lk_kernel *const k = be->kernel[op[n / 2]];
        kern_data d = {.spec = {.op = op[n / 2],
                           .attr.recurrent = {.units = H, .carry = true},
                           .n_in = 1,
                           .in = {{3, {B, T, C}}}},
            .micro = {.rows = B, .valid = B, .sample = sample}};
        lk_opspec whole = d.spec, half = d.spec;
        half.in[0].dim[1] = T / 2;
        KERN_OK(lk_op_info(whole.op)->infer(&whole));
        KERN_OK(lk_op_info(half.op)->infer(&half));
        d.x[0] = kern_uniform(lk_rng_make(1, LK_RNG_TEST, 0), B * T * C, -1, 1);
        for (int i = 0; i < 4; i++)
            d.param[i] = kern_uniform(
                lk_rng_make(1, LK_RNG_TEST, (uint64_t)i + 1), lk_shape_count(&whole.param[i].shape), -1, 1);
        kern_result r;
        KERN_OK(kern_run(be, &whole, &d, &(kern_opts){.no_carry = true}, &r));

        lk_kern_plan plan;
        KERN_OK(k->plan(&half, &plan));
        cr_assert(plan.carry_bytes == B * (size_t)H * (op[n / 2] == LK_OP_LSTM ? 2 : 1) * be->real_size);
        kern_buf x, y, scratch, packed, carry, param[4];
        const lk_shape in = {3, {B, T / 2, C}}, out = {3, {B, T / 2, H}};
        kern_buf_init(&x, be, B * T / 2 * C * be->real_size, 0);
        kern_buf_init(&y, be, B * T / 2 * H * be->real_size, 0);
        kern_buf_init(&scratch, be, plan.scratch_forward, 0xFF);
        kern_buf_init(&packed, be, plan.packed_bytes, 0xFF);
        kern_buf_init(&carry, be, plan.carry_bytes, 0);
        lk_call c = {.spec = &half,
            .micro = &d.micro,
            .packed = kern_ptr(&packed),
            .x = {kern_ptr(&x)},
            .y = kern_ptr(&y),
            .scratch = kern_ptr(&scratch),
            .carry = kern_ptr(&carry)};
        for (int i = 0; i < 4; i++) {
            kern_buf_init(&param[i], be, (size_t)lk_shape_count(&whole.param[i].shape) * be->real_size, 0);
            kern_put(kern_real_type(be), &whole.param[i].shape, LK_LAYOUT_PLAIN, d.param[i], &param[i]);
            c.param[i] = kern_ptr(&param[i]);
        }
        if (k->pack)
            KERN_OK(k->pack(&c));
        for (int part = 0; part < 3; part++) { /* the third: the second half once more, from zero */
            const int at = part ? 1 : 0;
            double from[B * T / 2 * C], got[B * T / 2 * H], error = 0;
            for (int b = 0; b < B; b++)
                memcpy(from + b * T / 2 * C, d.x[0] + (b * T + at * T / 2) * C, sizeof from / B);
            kern_put(kern_real_type(be), &in, LK_LAYOUT_PLAIN, from, &x);
            if (part == 2)
                c.carry = NULL;
            KERN_OK(k->forward(&c));
            kern_get(kern_real_type(be), &out, LK_LAYOUT_PLAIN, &y, got);
            for (int b = 0; b < B; b++)
                error = fmax(error, kern_distance(T / 2 * H, got + b * T / 2 * H, r.y + (b * T + at * T / 2) * H));
            cr_assert(part == 2 ? error > 1e-3 : error == 0, "%s %s: part %d is off by %.3g", be->name,
                lk_op_info(half.op)->name, part, error);
        }
        for (int i = 0; i < 4; i++) {
            kern_buf_fini(&param[i]);
            lk_free(d.param[i]);
        }
        kern_buf *const all[] = {&x, &y, &scratch, &packed, &carry};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            kern_buf_check(all[i], "buffer", lk_op_info(half.op)->name);
            kern_buf_fini(all[i]);
        }
        lk_free(d.x[0]);
        kern_result_fini(&r);
    }
}

/* A length outside the sequence is an error that names the sample; that of a padding row means nothing. */
Test(values, wrong_length)
{
    static const lk_op op[] = {LK_OP_LSTM, LK_OP_GRU, LK_OP_RNN};
    const lk_backend *const backend[] = {&lk_backend_ref, &lk_backend_cpu};
    double zero[16] = {0};
    int64_t sample[] = {40, 41};
    for (size_t n = 0; n < 12; n++) {
        int64_t lengths[] = {1, n % 2 ? 4 : -1};
        kern_data d = {.spec = {.op = op[n / 4],
                           .attr.recurrent = {.units = 1},
                           .n_in = 2,
                           .in = {{3, {2, 3, 1}}, {1, {2}}},
                           .in_dtype = {LK_DT_REAL, LK_DT_I64}},
            .micro = {.rows = 2, .valid = 2, .sample = sample},
            .x = {zero},
            .id[1] = lengths,
            .param = {zero, zero, zero, zero}};
        kern_result r;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        cr_assert(kern_run(backend[n / 2 % 2], &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
        cr_assert_str_eq(lk_err_last()->message, n % 2 ? "sample 41: length 4 is outside [0, 3]"
                                                       : "sample 41: length -1 is outside [0, 3]");
        d.micro.valid = 1;
        KERN_OK(kern_run(backend[n / 2 % 2], &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r));
        kern_result_fini(&r);
    }
}

/* A wrong class is an error that names the sample. */
Test(values, wrong_class)
{
    for (int i = 0; i < 2; i++) {
        double logits[6] = {0};
        int64_t id[] = {1, i ? 3 : -1}, sample[] = {40, 41};
        kern_data d = {.spec = {.op = LK_OP_CROSS_ENTROPY,
                           .n_in = 2,
                           .in = {{2, {2, 3}}, {1, {2}}},
                           .in_dtype = {LK_DT_REAL, LK_DT_I64}},
            .micro = {.rows = 2, .valid = 2, .sample = sample},
            .x = {logits},
            .id[1] = id};
        kern_result r;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        cr_assert(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r) == LK_E_DATA);
        cr_assert_str_eq(lk_err_last()->message,
            i ? "sample 41: class id 3 is outside [0, 3)" : "sample 41: class id -1 is outside [0, 3)");
    }
}

/* What is dropped is the stated share, differs by sample, step and layer, and does not depend on the place in the
 * microbatch. */
Test(values, dropout)
{
    enum { ROWS = 2, N = 5000 };
    const double rate = 0.3;
    double *x = NULL;
    KERN_OK(lk_alloc_array(ROWS * N, sizeof *x, "test", &x));
    for (int i = 0; i < ROWS * N; i++)
        x[i] = 1;
    kern_result r[4];
    for (int v = 0; v < 4; v++) { /* as is; rows swapped; another step; another layer */
        int64_t sample[ROWS] = {v == 1 ? 12 : 11, v == 1 ? 11 : 12};
        kern_data d = {.spec = {.op = LK_OP_DROPOUT,
                           .attr.dropout = {.rate = rate},
                           .n_in = 1,
                           .in = {{2, {ROWS, N}}},
                           .training = true,
                           .key = v == 3 ? 6 : 5},
            .micro = {.rows = ROWS, .valid = ROWS, .sample = sample, .seed = 1, .step = v == 2 ? 8 : 7},
            .x = {x}};
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r[v]));
    }
    int dropped = 0, differ[4] = {0};
    for (int i = 0; i < N; i++) {
        cr_assert(r[0].y[i] == 0 || fabs(r[0].y[i] - 1 / 0.7) < 1e-15);
        dropped += r[0].y[i] == 0;
        cr_assert(r[0].y[i] == r[1].y[N + i] && r[0].y[N + i] == r[1].y[i]);
        differ[0] += r[0].y[i] != r[0].y[N + i];
        differ[2] += r[0].y[i] != r[2].y[i];
        differ[3] += r[0].y[i] != r[3].y[i];
    }
    cr_assert(abs(dropped - 1500) < 5 * 33, "%d of %d dropped at rate %g", dropped, (int)N,
        rate); /* five deviations of a binomial */
    for (int v = 0; v < 4; v++) {
        cr_assert(v == 1 || abs(differ[v] - 2100) < 5 * 35, "draws %d: %d of %d differ", v, differ[v],
            (int)N); /* 2 * 0.3 * 0.7 */
        kern_result_fini(&r[v]);
    }
    lk_free(x);
}

/* Whole channels, whole samples: all elements of one fall or stand together, in the stated share. */
Test(values, dropout_units)
{
    enum { ROWS = 200, CHANNELS = 20, AREA = 3, N = ROWS * CHANNELS * AREA };
    double *x = NULL;
    int64_t *sample = NULL;
    KERN_OK(lk_alloc_array(N, sizeof *x, "test", &x));
    KERN_OK(lk_alloc_array(ROWS, sizeof *sample, "test", &sample));
    for (int i = 0; i < N; i++)
        x[i] = 1;
    for (int i = 0; i < ROWS; i++)
        sample[i] = i;
    for (int v = 0; v < 2; v++) {
        const int size = v ? CHANNELS * AREA : AREA, units = N / size;
        kern_data d = {.spec = {.op = LK_OP_DROPOUT,
                           .attr.dropout = {.rate = 0.25, .unit = v ? LK_DROP_SAMPLE : LK_DROP_CHANNEL},
                           .n_in = 1,
                           .in = {{3, {ROWS, CHANNELS, AREA}}},
                           .training = true},
            .micro = {.rows = ROWS, .valid = ROWS, .sample = sample, .seed = 1},
            .x = {x}};
        kern_result r;
        int dropped = 0;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r));
        for (int i = 0; i < N; i++) {
            cr_assert(r.y[i] == 0 || fabs(r.y[i] - 4 / 3.0) < 1e-15);
            cr_assert(r.y[i] == r.y[i / size * size]);
            dropped += i % size == 0 && r.y[i] == 0;
        }
        cr_assert(fabs(dropped - 0.25 * units) < 5 * sqrt(0.1875 * units), "%d of %d dropped", dropped, units);
        kern_result_fini(&r);
    }
    lk_free(x);
    lk_free(sample);
}

/* NaN passes relu and max pooling, in both directions: a run that diverges must show it. */
Test(values, nan_is_kept)
{
    const lk_shape in = {4, {1, 1, 2, 2}};
    const double x[] = {-1, NAN, 3, 2}, dy[] = {1, 1, 1, 1};
    for (int v = 0; v < 2; v++) {
        kern_data d = {.spec = {.op = v ? LK_OP_MAX_POOL : LK_OP_ACTIVATION, .n_in = 1, .in = {in}, .training = true},
            .micro = {.rows = 1, .valid = 1},
            .x = {(double *)x},
            .dy = (double *)dy};
        d.spec.attr.activation.act = LK_ACT_RELU;
        if (v)
            d.spec.attr.pool = (lk_attr_pool){.kernel = {2, 2}, .stride = {1, 1}};
        kern_result r;
        KERN_OK(lk_op_info(d.spec.op)->infer(&d.spec));
        KERN_OK(kern_run(&lk_backend_ref, &d.spec, &d, &(kern_opts){.poison = 0}, &r));
        cr_assert(isnan(r.y[v ? 0 : 1]) && r.dx[0][1] == 1);
        kern_result_fini(&r);
    }
}

/* ---- optimizers ---- */
/* Momentum 0.5, decay 0.1, lr 0.1, gradient 2 (halved by clipping to 1) at p = 1:
 * d = 1 + 0.1 = 1.1, v = 1.1, p = 1 - 0.11 = 0.89; then d = 1.089, v = 0.55 + 1.089 = 1.639, p = 0.89 - 0.1639.
 * Nesterov: p = 1 - 0.1 (1.1 + 0.55) = 0.835; d = 1.0835, v = 1.6335, p = 0.835 - 0.1 (1.0835 + 0.81675). */
Test(values, sgd)
{
    for (int nesterov = 0; nesterov < 2; nesterov++) {
        double p = 1, v = 0;
        const double g = 2;
        lk_opt_args a = {
            .lr = 0.1, .weight_decay = 0.1, .momentum = 0.5, .nesterov = nesterov, .t = 1, .grad_scale = 0.5};
        lk_backend_ref.optimizer[LK_OPT_SGD](1, &p, (void *[]){&v, NULL}, &g, &a);
        cr_assert_float_eq(p, nesterov ? 0.835 : 0.89, 1e-15);
        a.t = 2;
        lk_backend_ref.optimizer[LK_OPT_SGD](1, &p, (void *[]){&v, NULL}, &g, &a);
        cr_assert_float_eq(p, nesterov ? 0.644975 : 0.7261, 1e-15);
        cr_assert_float_eq(v, nesterov ? 1.6335 : 1.639, 1e-15);
    }
}

/* The first update is lr sign(g) whatever g is (but for eps), after the decay: p = 1 (1 - 0.1 * 0.5) - 0.1 * 4 / (4 +
 * 1). The second, with g = 0: m = 0.9 * 0.4, v = 0.99 * 0.16, corrected by 0.19 and 0.0199. */
Test(values, adamw)
{
    double p = 1, m = 0, v = 0, g = 8;
    lk_opt_args a = {.lr = 0.1, .weight_decay = 0.5, .beta1 = 0.9, .beta2 = 0.99, .eps = 1, .t = 1, .grad_scale = 0.5};
    lk_backend_ref.optimizer[LK_OPT_ADAMW](1, &p, (void *[]){&m, &v}, &g, &a);
    cr_assert_float_eq(p, 0.95 - 0.08, 1e-14);
    cr_assert_float_eq(m, 0.4, 1e-15);
    cr_assert_float_eq(v, 0.16, 1e-15);
    g = 0;
    a.t = 2;
    lk_backend_ref.optimizer[LK_OPT_ADAMW](1, &p, (void *[]){&m, &v}, &g, &a);
    cr_assert_float_eq(p, 0.87 * 0.95 - 0.1 * (0.36 / 0.19) / (sqrt(0.1584 / 0.0199) + 1), 1e-14);
}

/* Three updates of three weights against PyTorch 1.13 (torch.optim.Adam, AdamW, RMSprop, Adagrad in double: lr 0.1,
 * betas 0.9 and 0.99, alpha 0.99, eps 0.01, momentum 0.5, weight_decay 0.1). */
Test(values, optimizers_of_pytorch)
{
    static const struct {
        lk_opt opt;
        double p[3];
    } want[] = {
        {LK_OPT_ADAM, {0.8004139151141765, -1.78211562130855, 0.3246561570932439}},
        {LK_OPT_ADAMW, {0.7921188186474593, -1.76049846584506, 0.3167146560206796}},
        {LK_OPT_RMSPROP, {-0.3135391133209295, -0.5854525269604013, -0.8828838980475899}},
        {LK_OPT_ADAGRAD, {0.9217005456393529, -1.909945667247759, 0.400984017982925}},
    };
    static const double g[3][3] = {{0.5, -1, 2}, {0.25, 0, -1}, {-0.75, 0.5, 1}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        double p[] = {1, -2, 0.5}, s[2][3] = {{0}};
        lk_opt_args a = {
            .lr = 0.1, .weight_decay = 0.1, .momentum = 0.5, .beta1 = 0.9, .beta2 = 0.99, .eps = 0.01, .grad_scale = 1};
        for (a.t = 1; a.t <= 3; a.t++)
            lk_backend_ref.optimizer[want[i].opt](3, p, (void *[]){s[0], s[1]}, g[a.t - 1], &a);
        for (int j = 0; j < 3; j++)
            cr_assert_float_eq(
                p[j], want[i].p[j], 1e-14, "%s: weight %d is %.17g", lk_opt_get(want[i].opt)->name, j, p[j]);
    }
}

/* lr 0.5, decay 0.1, betas 0.5 and 0.75: c = 0.5 * 0 + 0.5 * 3 > 0, p = 2 - 0.5 (1 + 0.2) = 1.4, m = 0.25 * 3; then g =
 * -1: c = 0.375 - 0.5 < 0, p = 1.4 - 0.5 (-1 + 0.14), m = 0.75 * 0.75 - 0.25. Without a gradient nor a mean only the
 * decay is left. */
Test(values, lion)
{
    double p[] = {2, 1}, m[] = {0, 0}, g[] = {3, 0};
    lk_opt_args a = {.lr = 0.5, .weight_decay = 0.1, .beta1 = 0.5, .beta2 = 0.75, .t = 1, .grad_scale = 1};
    lk_backend_ref.optimizer[LK_OPT_LION](2, p, (void *[]){m, NULL}, g, &a);
    cr_assert_float_eq(p[0], 1.4, 1e-15);
    cr_assert_float_eq(p[1], 0.95, 1e-15);
    cr_assert_float_eq(m[0], 0.75, 1e-15);
    g[0] = -1;
    lk_backend_ref.optimizer[LK_OPT_LION](2, p, (void *[]){m, NULL}, g, &a);
    cr_assert_float_eq(p[0], 1.83, 1e-15);
    cr_assert_float_eq(m[0], 0.3125, 1e-15);
}

/* |p| = 5, |g| = 1: l = 0.1 * 5 / (1 + 0.5 * 5) = 1/7, v = 2/7 (g + p/2) = (0.6, 0.8). Then g = 0: l = 1, v = v/2 + 2
 * p/2. In one dimension l = 1: v = 2 (g + p/2). */
Test(values, lars)
{
    const lk_shape matrix = {2, {1, 2}}, vector = {1, {2}};
    double p[] = {3, 4}, v[] = {0, 0}, g[] = {1.2, 1.6};
    lk_opt_args a = {
        .lr = 2, .weight_decay = 0.5, .momentum = 0.5, .trust = 0.1, .t = 1, .grad_scale = 0.5, .shape = &matrix};
    lk_backend_ref.optimizer[LK_OPT_LARS](2, p, (void *[]){v, NULL}, g, &a);
    cr_assert(kern_distance(2, p, (double[]){2.4, 3.2}) < 1e-14);
    g[0] = g[1] = 0;
    lk_backend_ref.optimizer[LK_OPT_LARS](2, p, (void *[]){v, NULL}, g, &a);
    cr_assert(kern_distance(2, p, (double[]){-0.3, -0.4}) < 1e-14);
    double q[] = {3, 4}, u[] = {0, 0}, h[] = {1.2, 1.6};
    a.shape = &vector;
    lk_backend_ref.optimizer[LK_OPT_LARS](2, q, (void *[]){u, NULL}, h, &a);
    cr_assert(kern_distance(2, q, (double[]){3 - 4.2, 4 - 5.6}) < 1e-14);
}

/* The first direction is g / (|g| + 1) + p/2 = (2, 1.5), of norm 2.5; |p| = 5: l = 2, in one dimension 1. */
Test(values, lamb)
{
    const lk_shape shape[] = {{2, {1, 2}}, {1, {2}}};
    for (int i = 0; i < 2; i++) {
        double p[] = {3, 4}, m[] = {0, 0}, v[] = {0, 0}, g[] = {2, -2};
        lk_opt_args a = {.lr = 0.25,
            .weight_decay = 0.5,
            .beta1 = 0.9,
            .beta2 = 0.99,
            .eps = 1,
            .t = 1,
            .grad_scale = 0.5,
            .shape = &shape[i]};
        lk_backend_ref.optimizer[LK_OPT_LAMB](2, p, (void *[]){m, v}, g, &a);
        cr_assert(kern_distance(2, p, i ? (double[]){2.5, 3.625} : (double[]){2, 3.25}) < 1e-14);
    }
}

/* Two updates of a [3,2] matrix, as the authors' code gives them in double (lr 0.1, momentum 0.9 with nesterov, weight
 * decay 0.2). */
Test(values, muon)
{
    const lk_shape shape = {2, {3, 2}};
    const double g[2][6] = {{0.5, -1, 2, 0.25, 0, -1}, {-0.75, 0.5, 1, 1, 0.5, 0}};
    const double want[] = {0.9709468465687847, -1.907834160771942, 0.2802222065992324, 0.1620097885113436,
        2.819017533371063, -0.8053003601517092};
    double p[] = {1, -2, 0.5, 0.25, 3, -1}, m[6] = {0}, v[6] = {0}, *scratch = NULL;
    KERN_OK(lk_alloc(lk_opt_scratch(LK_OPT_MUON, &shape, sizeof *scratch), "test", &scratch));
    lk_opt_args a = {.lr = 0.1,
        .weight_decay = 0.2,
        .momentum = 0.9,
        .nesterov = true,
        .grad_scale = 1,
        .shape = &shape,
        .hidden = true,
        .scratch = scratch};
    for (a.t = 1; a.t <= 2; a.t++)
        lk_backend_ref.optimizer[LK_OPT_MUON](6, p, (void *[]){m, v}, g[a.t - 1], &a);
    cr_assert(kern_distance(6, p, want) < 1e-13);
    lk_free(scratch);
}
