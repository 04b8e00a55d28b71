/* The rules of the operations: output shapes, parameters, and the texts that users see when shapes do not fit. */
#include "kern/kern.h"
#include "kern/cases.h"
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#define SHAPE(...) ((lk_shape){sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}})

static void check_error(lk_opspec s, lk_status want, const char *text)
{
    const lk_status st = lk_op_info(s.op)->infer(&s);
    cr_assert(st == want, "%s: status %s, not %s", lk_op_info(s.op)->name, lk_status_name(st), lk_status_name(want));
    cr_assert_str_eq(lk_err_last()->message, text);
}

static lk_opspec inferred(lk_opspec s)
{
    cr_assert(lk_op_info(s.op)->infer(&s) == LK_OK, "%s: %s", lk_op_info(s.op)->name, lk_err_last()->message);
    return s;
}

static void check_param(
    const lk_opspec *s, int i, const char *suffix, lk_shape shape, lk_param_kind kind, lk_init_kind init, double value)
{
    cr_assert(i < s->n_params);
    const lk_param_info *const p = &s->param[i];
    cr_assert_str_eq(p->suffix, suffix);
    cr_assert(lk_shape_equal(&p->shape, &shape) && p->kind == kind && p->init == init && fabs(p->value - value) < 1e-15,
        "%s", suffix);
}

Test(shapes, tables)
{
    for (int i = 0; i < LK_OP_COUNT; i++) {
        const lk_opinfo *const info = lk_op_info((lk_op)i);
        cr_assert(info->name && info->infer && info->needs && info->flops && info->n_in >= 1 &&
                  info->n_in + info->n_optional <= LK_MAX_IN);
        cr_assert(info->loss == (info->metric[0] != NULL));
        cr_assert(!info->loss || strcmp(info->metric[0], "loss") == 0);
        cr_assert(lk_backend_ref.kernel[i]->forward && lk_backend_ref.kernel[i]->backward, "%s", info->name);
    }
    for (int i = 0; i < LK_OPT_COUNT; i++) {
        const lk_opt_info *const info = lk_opt_get((lk_opt)i);
        cr_assert(info->name && info->n_state >= 0 && info->n_state <= LK_MAX_OPT_STATE && lk_backend_ref.optimizer[i]);
        for (int j = 0; j < info->n_state; j++)
            cr_assert(info->state[j]);
    }
#define X(NAME, word) cr_assert_str_eq(lk_op_info(LK_OP_##NAME)->name, #word);
    LK_OP_LIST(X)
#undef X
#define X(NAME, word) cr_assert_str_eq(lk_opt_get(LK_OPT_##NAME)->name, #word);
    LK_OPT_LIST(X)
#undef X
}

Test(shapes, arithmetic)
{
    char text[LK_SHAPE_TEXT];
    const lk_shape s = SHAPE(8, 3, 32, 32);
    cr_assert(lk_shape_count(&s) == 24576 && lk_shape_row(&s) == 3072);
    cr_assert_str_eq(lk_shape_print(&s, text), "[8,3,32,32]");
    const lk_shape longest = SHAPE(INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN);
    cr_assert(strlen(lk_shape_print(&longest, text)) == LK_SHAPE_TEXT - 1);
    cr_assert(
        !lk_shape_equal(&s, &SHAPE(8, 3, 32)) && !lk_shape_equal(&s, &SHAPE(8, 3, 32, 31)) && lk_shape_equal(&s, &s));

    cr_assert(lk_shape_check(&s, "input") == LK_OK);
    cr_assert(lk_shape_check(&SHAPE(INT64_C(1) << 31, INT64_C(1) << 30), "input") == LK_OK);
    cr_assert(lk_shape_check(&SHAPE(2, 0, 3), "input") == LK_E_SHAPE);
    cr_assert_str_eq(lk_err_last()->message, "input [2,0,3]: dimension 1 is 0, must be at least 1");
    cr_assert(lk_shape_check(&SHAPE(INT64_C(1) << 31, INT64_C(1) << 31), "output") == LK_E_SHAPE);
    cr_assert_str_eq(lk_err_last()->message, "output [2147483648,2147483648]: more elements than can be counted");
    cr_assert(lk_shape_check(&SHAPE(INT64_MAX, INT64_MAX), "output") == LK_E_SHAPE);
    cr_assert(lk_shape_check(&(lk_shape){.ndim = 7}, "input") == LK_E_SHAPE);
    cr_assert_str_eq(lk_err_last()->message, "input has 7 dimensions, at least 1 and at most 6 are possible");
}

Test(shapes, linear)
{
    lk_opspec s = inferred((lk_opspec){
        .op = LK_OP_LINEAR, .attr.linear = {.units = 10, .bias = true}, .n_in = 1, .in = {SHAPE(4, 7, 16)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(4, 7, 10)) && s.n_params == 2);
    check_param(&s, 0, "weight", SHAPE(10, 16), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 0.25);
    check_param(&s, 1, "bias", SHAPE(10), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 0.25);
    cr_assert(lk_op_info(s.op)->flops(&s) == 2.0 * 28 * 16 * 10);
    cr_assert(lk_op_info(s.op)->needs(&s) == LK_NEEDS_X);
    s.attr.linear = (lk_attr_linear){.units = 10, .act = LK_ACT_RELU};
    s = inferred(s);
    cr_assert(s.n_params == 1 && lk_op_info(s.op)->needs(&s) == (LK_NEEDS_X | LK_NEEDS_Y));

    check_error((lk_opspec){.op = LK_OP_LINEAR, .attr.linear = {.units = 0}, .n_in = 1, .in = {SHAPE(4, 7)}},
        LK_E_RANGE, "units is 0, must be at least 1");
    check_error((lk_opspec){.op = LK_OP_LINEAR, .attr.linear = {.units = 3}, .n_in = 1, .in = {SHAPE(4)}}, LK_E_SHAPE,
        "input [4] has 1 dimension, expected [batch, features] or [batch, ..., features]");
    check_error(
        (lk_opspec){
            .op = LK_OP_LINEAR, .attr.linear = {.units = 3}, .n_in = 1, .in = {SHAPE(4, 2)}, .in_dtype = {LK_DT_I64}},
        LK_E_SHAPE, "input [4,2] holds whole numbers (class ids), expected real numbers");
    check_error(
        (lk_opspec){.op = LK_OP_LINEAR, .attr.linear = {.units = INT64_MAX / 4}, .n_in = 1, .in = {SHAPE(4, 2)}},
        LK_E_SHAPE, "output [4,2305843009213693951]: more elements than can be counted");
    check_error(
        (lk_opspec){.op = LK_OP_LINEAR, .attr.linear = {.units = 3}, .n_in = 2, .in = {SHAPE(4, 2), SHAPE(4, 2)}},
        LK_E_SHAPE, "takes 1 input, got 2");
}

Test(shapes, last_step)
{
    const lk_opspec s = inferred((lk_opspec){.op = LK_OP_LAST_STEP, .n_in = 1, .in = {SHAPE(4, 7, 5)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(4, 5)) && s.n_params == 0 && lk_op_info(s.op)->needs(&s) == 0);
    check_error((lk_opspec){.op = LK_OP_LAST_STEP, .n_in = 1, .in = {SHAPE(4, 7)}}, LK_E_SHAPE,
        "input [4,7] has 2 dimensions, expected [batch, steps, channels]");
    check_error((lk_opspec){.op = LK_OP_LAST_STEP,
                    .n_in = 2,
                    .in = {SHAPE(4, 7, 5), SHAPE(4, 1)},
                    .in_dtype = {LK_DT_REAL, LK_DT_I64}},
        LK_E_SHAPE, "input [4,7,5] and lengths [4,1] do not fit: there must be one length a sample");
}

Test(shapes, recurrent)
{
    static const struct {
        lk_op op;
        int64_t gates;
    } item[] = {{LK_OP_LSTM, 4}, {LK_OP_GRU, 3}, {LK_OP_RNN, 1}};
    for (int i = 0; i < 3; i++) {
        const int64_t g = item[i].gates;
        lk_opspec s = inferred((lk_opspec){.op = item[i].op,
            .attr.recurrent = {.units = 16, .layer = 2, .reverse = true},
            .n_in = 2,
            .in = {SHAPE(4, 7, 5), SHAPE(4)},
            .in_dtype = {LK_DT_REAL, LK_DT_I64}});
        cr_assert(lk_shape_equal(&s.out, &SHAPE(4, 7, 16)) && s.n_params == 4);
        check_param(&s, 0, "weight_ih_l2_reverse", SHAPE(16 * g, 5), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 0.25);
        check_param(&s, 1, "weight_hh_l2_reverse", SHAPE(16 * g, 16), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 0.25);
        check_param(&s, 2, "bias_ih_l2_reverse", SHAPE(16 * g), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 0.25);
        check_param(&s, 3, "bias_hh_l2_reverse", SHAPE(16 * g), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 0.25);
        cr_assert(lk_op_info(s.op)->needs(&s) == LK_NEEDS_X);
        cr_assert(lk_op_info(s.op)->flops(&s) == 2.0 * 28 * 16 * (double)g * (5 + 16));
        s = inferred((lk_opspec){
            .op = item[i].op, .attr.recurrent = {.units = 16, .carry = true}, .n_in = 1, .in = {SHAPE(4, 7, 5)}});
        check_param(&s, 3, "bias_hh_l0", SHAPE(16 * g), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 0.25);

        const lk_opspec good = {.op = item[i].op,
            .attr.recurrent = {.units = 3},
            .n_in = 2,
            .in = {SHAPE(4, 7, 5), SHAPE(4)},
            .in_dtype = {LK_DT_REAL, LK_DT_I64}};
        lk_opspec bad = good;
        bad.attr.recurrent.units = 0;
        check_error(bad, LK_E_RANGE, "units is 0, must be at least 1 (and at most 2^30)");
        bad = good;
        bad.attr.recurrent.layer = -1;
        check_error(bad, LK_E_RANGE, "layer is -1, must be in [0, 999]");
        bad = good;
        bad.attr.recurrent.carry = bad.attr.recurrent.reverse = true;
        check_error(bad, LK_E_RANGE,
            "the backward direction starts at the end of a sequence: it cannot carry its state on");
        bad = good;
        bad.in[0] = SHAPE(4, 7);
        check_error(bad, LK_E_SHAPE, "input [4,7] has 2 dimensions, expected [batch, steps, channels]");
        bad = good;
        bad.in[1] = SHAPE(5);
        check_error(bad, LK_E_SHAPE, "input [4,7,5] and lengths [5] do not fit: there must be one length a sample");
        bad = good;
        bad.in_dtype[1] = LK_DT_REAL;
        check_error(bad, LK_E_SHAPE, "lengths [4] hold real numbers, expected one whole number a sample");
    }
}

#define SPATIAL \
    "[batch, channels, length], [batch, channels, height, width] or [batch, channels, depth, height, width]"

Test(shapes, conv)
{
    lk_opspec s = {.op = LK_OP_CONV,
        .attr.conv =
            {.filters = 6, .kernel = {3, 4}, .stride = {2, 1}, .pad_before = {0, 1}, .pad_after = {1, 2}, .bias = true},
        .n_in = 1,
        .in = {SHAPE(2, 5, 9, 8)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 6, 4, 8)) && s.n_params == 2);
    check_param(&s, 0, "weight", SHAPE(6, 5, 3, 4), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 1 / sqrt(60));
    check_param(&s, 1, "bias", SHAPE(6), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 1 / sqrt(60));
    cr_assert(lk_op_info(s.op)->flops(&s) == 2.0 * 2 * 6 * 4 * 8 * 60);

    lk_opspec bad = s;
    bad.in[0] = SHAPE(2, 80);
    check_error(bad, LK_E_SHAPE, "input [2,80] has 2 dimensions, expected " SPATIAL);
    bad.in[0] = SHAPE(2, 5, 1, 8);
    check_error(bad, LK_E_SHAPE, "input [2,5,1,8]: kernel height 3 is larger than the input's 1 with padding 0 + 1");
    bad.in[0] = SHAPE(2, 5, 9, 0);
    check_error(bad, LK_E_SHAPE, "input [2,5,9,0]: dimension 3 is 0, must be at least 1");
    bad = s;
    bad.attr.conv.stride[1] = 0;
    check_error(bad, LK_E_RANGE, "kernel width 4 and stride 0 must be at least 1 (and below 2^30)");
    bad = s;
    bad.attr.conv.pad_after[0] = -1;
    check_error(bad, LK_E_RANGE, "padding 0 and -1 of the height must not be negative (and below 2^30)");
    bad = s;
    bad.attr.conv.filters = -3;
    check_error(bad, LK_E_RANGE, "filters is -3, must be at least 1");
    bad = s;
    bad.attr.conv.act = LK_ACT_GELU;
    check_error(bad, LK_E_UNSUPPORTED, "gelu cannot be fused behind this operation");
}

Test(shapes, conv_axes)
{
    lk_opspec s = {.op = LK_OP_CONV,
        .attr.conv = {.filters = 6, .kernel = {3, 2, 4}, .stride = {1, 2, 1}, .dilation = {2, 1, 0}, .groups = 3},
        .n_in = 1,
        .in = {SHAPE(2, 9, 7, 8, 9)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 6, 3, 4, 6)) && s.n_params == 1);
    check_param(&s, 0, "weight", SHAPE(6, 3, 3, 2, 4), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 1 / sqrt(72));
    cr_assert(s.attr.conv.dilation[2] == 1);
    cr_assert(lk_op_info(s.op)->flops(&s) == 2.0 * 2 * 6 * 3 * 4 * 6 * 72);

    lk_opspec bad = s;
    bad.in[0] = SHAPE(2, 9, 4, 8, 9);
    check_error(bad, LK_E_SHAPE,
        "input [2,9,4,8,9]: kernel depth 3 with dilation 2 is larger than the input's 4 with padding 0 + 0");
    bad = s;
    bad.attr.conv.dilation[1] = -1;
    check_error(bad, LK_E_RANGE, "dilation -1 of the height must be at least 1 (and below 2^30)");
    bad = s;
    bad.attr.conv.groups = 2;
    check_error(bad, LK_E_RANGE,
        "groups is 2, must be at least 1 and divide the input's 9 channels and the 6 filters");

    s = inferred((lk_opspec){.op = LK_OP_CONV,
        .attr.conv = {.filters = 4, .kernel = {3}, .stride = {2}},
        .n_in = 1,
        .in = {SHAPE(2, 5, 8)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 4, 3)) && s.attr.conv.groups == 1 && s.attr.conv.dilation[0] == 1);
    s.in[0] = SHAPE(2, 5, 2);
    check_error(s, LK_E_SHAPE, "input [2,5,2]: kernel length 3 is larger than the input's 2 with padding 0 + 0");
}

Test(shapes, conv_transpose)
{
    lk_opspec s = {.op = LK_OP_CONV_TRANSPOSE,
        .attr.conv = {.filters = 6, .kernel = {3, 4}, .stride = {2, 3}, .pad_before = {1, 0}, .pad_after = {1, 0}, .output_pad = {1, 2}, .groups = 2, .bias = true},
        .n_in = 1,
        .in = {SHAPE(2, 4, 5, 1)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 6, 10, 6)) && s.n_params == 2);
    check_param(&s, 0, "weight", SHAPE(4, 3, 3, 4), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 1 / sqrt(36));
    check_param(&s, 1, "bias", SHAPE(6), LK_PARAM_WEIGHT, LK_INIT_UNIFORM, 1 / sqrt(36));
    cr_assert(lk_op_info(s.op)->flops(&s) == 2.0 * 2 * 4 * 5 * 36);

    lk_opspec bad = s;
    bad.attr.conv.output_pad[0] = 2;
    check_error(bad, LK_E_RANGE,
        "output padding 2 of the height must not be negative, and below the stride 2 or the dilation 1");
    bad = s;
    bad.attr.conv.pad_after[1] = 6;
    check_error(bad, LK_E_SHAPE, "input [2,4,5,1]: padding 0 + 6 leaves nothing of the output's width");
    bad = s;
    bad.attr.conv.groups = 4;
    check_error(bad, LK_E_RANGE,
        "groups is 4, must be at least 1 and divide the input's 4 channels and the 6 filters");
    bad = s;
    bad.in[0] = SHAPE(2, 4);
    check_error(bad, LK_E_SHAPE, "input [2,4] has 2 dimensions, expected " SPATIAL);
    bad.in[0] = SHAPE(1, 1, INT64_C(1) << 61, 1);
    bad.attr.conv = (lk_attr_conv){.filters = 1, .kernel = {1, 1}, .stride = {8, 1}};
    check_error(bad, LK_E_SHAPE, "input [1,1,2305843009213693952,1]: more elements than can be counted");
}

Test(shapes, resize)
{
    lk_opspec s = {.op = LK_OP_ADAPTIVE_AVG_POOL, .attr.resize = {.size = {3, 20}}, .n_in = 1, .in = {SHAPE(2, 5, 7, 9)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 5, 3, 20)) && s.n_params == 0);
    s.attr.resize.size[1] = 0;
    check_error(s, LK_E_RANGE, "width of the output is 0, must be at least 1 (and at most 2^30)");
    s = inferred((lk_opspec){.op = LK_OP_UPSAMPLE, .attr.resize = {.factor = {3, 1, 2}}, .n_in = 1, .in = {SHAPE(2, 5, 7, 9, 4)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 5, 21, 9, 8)));
    s.attr.resize.factor[0] = -2;
    check_error(s, LK_E_RANGE, "factor -2 of the depth must be at least 1 (and at most 2^30)");
    s = inferred((lk_opspec){.op = LK_OP_GLOBAL_MAX_POOL, .n_in = 1, .in = {SHAPE(2, 5, 7, 9, 4)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 5)));
}

Test(shapes, batch_norm)
{
    lk_opspec s = {.op = LK_OP_BATCH_NORM,
        .attr.batch_norm = {.eps = 1e-5, .momentum = 0.2},
        .n_in = 1,
        .in = {SHAPE(2, 5, 3, 4)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &s.in[0]) && s.n_params == 4);
    check_param(&s, 0, "weight", SHAPE(5), LK_PARAM_WEIGHT, LK_INIT_CONSTANT, 1);
    check_param(&s, 1, "bias", SHAPE(5), LK_PARAM_WEIGHT, LK_INIT_CONSTANT, 0);
    check_param(&s, 2, "running_mean", SHAPE(5), LK_PARAM_STATISTIC, LK_INIT_CONSTANT, 0);
    check_param(&s, 3, "running_var", SHAPE(5), LK_PARAM_STATISTIC, LK_INIT_CONSTANT, 1);
    cr_assert(s.param[2].momentum == 0.2 && s.param[3].momentum == 0.2);
    s.attr.batch_norm.running = true;
    cr_assert(inferred(s).param[2].momentum == 0 && inferred(s).param[3].momentum == 0);
    s.attr.batch_norm.running = false;

    s.in[0] = SHAPE(2);
    check_error(
        s, LK_E_SHAPE, "input [2] has 1 dimension, expected [batch, channels] or [batch, channels, ...] with one to three axes");
    s.in[0] = SHAPE(2, 5);
    s.attr.batch_norm.eps = 0;
    check_error(s, LK_E_RANGE, "eps is 0, must be above 0; momentum is 0.2, must be in [0, 1]");
}

Test(shapes, products)
{
    lk_opspec s = {.op = LK_OP_MULTIPLY, .n_in = 2, .in = {SHAPE(2, 3, 4, 5), SHAPE(2, 3)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &s.in[0]) && lk_op_info(s.op)->needs(&s) == LK_NEEDS_X);
    s.in[1] = SHAPE(2, 3, 1, 1);
    inferred(s);
    s.in[1] = SHAPE(2, 4);
    check_error(s, LK_E_SHAPE,
        "cannot multiply [2,3,4,5] and [2,4]: shapes must be equal, or the second [batch, channels] of the first");
    s.in[1] = SHAPE(2, 3, 4, 1);
    check_error(s, LK_E_SHAPE,
        "cannot multiply [2,3,4,5] and [2,3,4,1]: shapes must be equal, or the second [batch, channels] of the first");
    check_error((lk_opspec){.op = LK_OP_SCALE, .attr.scale = {INFINITY}, .n_in = 1, .in = {SHAPE(2)}}, LK_E_RANGE,
        "factor is inf, must be finite");
}

Test(shapes, changes_of_shape)
{
    lk_opspec s = {.op = LK_OP_CONCAT, .attr.axis = {.axis = 2}, .n_in = 3, .in = {SHAPE(2, 3, 4), SHAPE(2, 3, 1), SHAPE(2, 3, 5)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 3, 10)) && lk_op_info(s.op)->needs(&s) == 0);
    s.in[2] = SHAPE(2, 4, 5);
    check_error(s, LK_E_SHAPE, "cannot join [2,3,4] and [2,4,5] along axis 2: all other sizes must be equal");
    s.in[2] = SHAPE(2, 3);
    check_error(s, LK_E_SHAPE, "cannot join [2,3,4] and [2,3] along axis 2: all other sizes must be equal");
    s.attr.axis.axis = 0;
    check_error(s, LK_E_SHAPE, "input [2,3,4]: axis 0 is not one of 1 to 2");

    s = (lk_opspec){.op = LK_OP_SLICE, .attr.axis = {.axis = 1, .start = 2, .length = 3}, .n_in = 1, .in = {SHAPE(2, 5, 4)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 3, 4)));
    s.attr.axis.length = 4;
    check_error(s, LK_E_SHAPE, "input [2,5,4]: 4 places from 2 on are not within axis 1, which has 5");
    s.attr.axis = (lk_attr_axis){.axis = 3, .length = 1};
    check_error(s, LK_E_SHAPE, "input [2,5,4]: axis 3 is not one of 1 to 2");

    s = (lk_opspec){.op = LK_OP_RESHAPE, .attr.reshape.sample = SHAPE(2, 10), .n_in = 1, .in = {SHAPE(7, 5, 4)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(7, 2, 10)));
    s.attr.reshape.sample = SHAPE(3, 7);
    check_error(s, LK_E_SHAPE, "input [7,5,4] has 20 elements a sample, [7,3,7] has 21");
    s.attr.reshape.sample = SHAPE(20, 0);
    check_error(s, LK_E_SHAPE, "output [7,20,0]: dimension 2 is 0, must be at least 1");
    s.attr.reshape.sample = (lk_shape){0};
    check_error(s, LK_E_SHAPE, "a sample of 0 dimensions, at least 1 and at most 5 are possible");

    s = (lk_opspec){.op = LK_OP_PERMUTE, .attr.permute = {{0, 3, 1, 2}}, .n_in = 1, .in = {SHAPE(7, 2, 3, 4)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(7, 4, 2, 3)));
    s.attr.permute.order[3] = 1;
    check_error(s, LK_E_SHAPE, "input [7,2,3,4]: the order must name each of the dimensions 1 to 3 once");

    s = (lk_opspec){.op = LK_OP_PAD, .attr.pad = {.before = {0, 1}, .after = {0, 0, 2}}, .n_in = 1, .in = {SHAPE(7, 2, 3)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(7, 3, 5)));
    s.attr.pad.after[2] = -1;
    check_error(s, LK_E_RANGE, "padding 0 and -1 of axis 2 must not be negative (or above 2^30)");

    s = (lk_opspec){.op = LK_OP_REDUCE, .attr.reduce = {.axes = 10}, .n_in = 1, .in = {SHAPE(7, 2, 3, 4)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(7, 3)));
    s.attr.reduce.keep = true;
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(7, 1, 3, 1)));
    s.attr.reduce.axes = 16;
    check_error(s, LK_E_SHAPE, "input [7,2,3,4]: the axes must be some of 1 to 3");
    s.attr.reduce.axes = 10;
    s.n_in = 2;
    s.in[1] = SHAPE(7);
    s.in_dtype[1] = LK_DT_I64;
    check_error(s, LK_E_SHAPE, "with lengths the axis must be 1 alone");
    s.attr.reduce.axes = 2;
    cr_assert(lk_op_info(s.op)->needs(&s) == LK_NEEDS_IN(1));
    inferred(s);
    s.in[1] = SHAPE(6);
    check_error(s, LK_E_SHAPE, "input [7,2,3,4] and lengths [6] do not fit: there must be one length a sample");
    s.in_dtype[1] = LK_DT_REAL;
    check_error(s, LK_E_SHAPE, "lengths [6] holds real numbers, expected whole numbers");
}

Test(shapes, norms)
{
    lk_opspec s = {.op = LK_OP_LAYER_NORM, .attr.norm = {.eps = 1e-5, .bias = true}, .n_in = 1, .in = {SHAPE(2, 5, 7)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &s.in[0]) && s.n_params == 2);
    check_param(&s, 0, "weight", SHAPE(7), LK_PARAM_WEIGHT, LK_INIT_CONSTANT, 1);
    check_param(&s, 1, "bias", SHAPE(7), LK_PARAM_WEIGHT, LK_INIT_CONSTANT, 0);
    s.attr.norm.bias = false;
    cr_assert(inferred(s).n_params == 1);
    s.attr.norm.eps = 0;
    check_error(s, LK_E_RANGE, "eps is 0, must be above 0");
    s.op = LK_OP_RMS_NORM;
    check_error(s, LK_E_RANGE, "eps is 0, must be above 0");
    s.attr.norm.eps = 1e-6;
    cr_assert(inferred(s).n_params == 1);
    s.in[0] = SHAPE(2);
    check_error(s, LK_E_SHAPE, "input [2] has 1 dimension, expected [batch, ..., features]");

    s = (lk_opspec){.op = LK_OP_GROUP_NORM, .attr.norm = {.eps = 1e-5, .groups = 3}, .n_in = 1, .in = {SHAPE(2, 6, 4, 4)}};
    s = inferred(s);
    cr_assert(s.n_params == 2);
    check_param(&s, 0, "weight", SHAPE(6), LK_PARAM_WEIGHT, LK_INIT_CONSTANT, 1);
    s.attr.norm.groups = 4;
    check_error(s, LK_E_SHAPE, "input [2,6,4,4]: its 6 channels do not make 4 groups of equal size");
    s.attr.norm.groups = 0;
    check_error(s, LK_E_SHAPE, "input [2,6,4,4]: its 6 channels do not make 0 groups of equal size");

    s = inferred((lk_opspec){.op = LK_OP_GLU, .attr.glu = {LK_ACT_SILU}, .n_in = 1, .in = {SHAPE(2, 5, 8)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 5, 4)));
    s.in[0] = SHAPE(2, 5, 7);
    check_error(s, LK_E_SHAPE, "input [2,5,7]: its last dimension, 7, has no halves");
    check_error((lk_opspec){.op = LK_OP_SOFTMAX, .n_in = 1, .in = {SHAPE(2)}}, LK_E_SHAPE,
        "input [2] has 1 dimension, expected [batch, ..., classes]");
}

Test(shapes, pools)
{
    lk_opspec s = {.op = LK_OP_MAX_POOL,
        .attr.pool = {.kernel = {3, 2}, .stride = {2, 2}, .pad = {1, 0}},
        .n_in = 1,
        .in = {SHAPE(2, 5, 7, 9)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 5, 4, 4)) && s.n_params == 0);
    s.attr.pool.pad[1] = 2;
    check_error(s, LK_E_RANGE, "padding 2 must be smaller than the kernel's 2");
    s.op = LK_OP_AVG_POOL;
    s.attr.pool = (lk_attr_pool){.kernel = {3, 11}, .stride = {1, 1}};
    check_error(s, LK_E_SHAPE, "input [2,5,7,9]: kernel width 11 is larger than the input's 9 with padding 0 + 0");

    s = inferred((lk_opspec){.op = LK_OP_GLOBAL_AVG_POOL, .n_in = 1, .in = {SHAPE(2, 5, 7, 9)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 5)));
    s = inferred((lk_opspec){.op = LK_OP_GLOBAL_AVG_POOL, .n_in = 1, .in = {SHAPE(2, 5, 7)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 5)));
    s.in[0] = SHAPE(2, 5);
    check_error(s, LK_E_SHAPE, "input [2,5] has 2 dimensions, expected " SPATIAL);
    s.op = LK_OP_REORDER;
    check_error(s, LK_E_SHAPE, "input [2,5] has 2 dimensions, expected " SPATIAL);
}

Test(shapes, elements)
{
    lk_opspec s = inferred((lk_opspec){.op = LK_OP_FLATTEN, .n_in = 1, .in = {SHAPE(2, 5, 7, 9)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 315)));
    s = inferred((lk_opspec){.op = LK_OP_FLATTEN, .n_in = 1, .in = {SHAPE(2)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(2, 1)));

    check_error((lk_opspec){.op = LK_OP_DROPOUT, .attr.dropout = {.rate = 0.5, .unit = LK_DROP_CHANNEL}, .n_in = 1, .in = {SHAPE(2)}},
        LK_E_SHAPE, "input [2] has 1 dimension, expected [batch, channels, ...]");
    check_error((lk_opspec){.op = LK_OP_DROPOUT, .attr.dropout = {.rate = 1}, .n_in = 1, .in = {SHAPE(2)}}, LK_E_RANGE,
        "rate is 1, must be in [0, 1)");
    check_error((lk_opspec){.op = LK_OP_DROPOUT, .attr.dropout = {.rate = NAN}, .n_in = 1, .in = {SHAPE(2)}},
        LK_E_RANGE, "rate is nan, must be in [0, 1)");
    check_error((lk_opspec){.op = LK_OP_ADD, .n_in = 2, .in = {SHAPE(2, 3, 4, 4), SHAPE(2, 6, 4, 4)}}, LK_E_SHAPE,
        "cannot add [2,3,4,4] and [2,6,4,4]: shapes must be equal");
    check_error((lk_opspec){.op = LK_OP_ADD, .n_in = 1, .in = {SHAPE(2, 3)}}, LK_E_SHAPE, "takes at least 2 inputs, got 1");
    check_error((lk_opspec){.op = LK_OP_RMS_NORM, .attr.norm.eps = 1e-5, .n_in = 2, .in = {SHAPE(2, 3), SHAPE(2, 4)}}, LK_E_SHAPE,
        "cannot add [2,3] and [2,4]: shapes must be equal");
    check_error((lk_opspec){.op = LK_OP_LAYER_NORM, .attr.norm.eps = 1e-5, .n_in = 3, .in = {SHAPE(2, 3), SHAPE(2, 3), SHAPE(2, 3)}}, LK_E_SHAPE,
        "takes at most 2 inputs, got 3");
    s = inferred(
        (lk_opspec){.op = LK_OP_ADD, .attr.add = {.act = LK_ACT_RELU}, .n_in = 2, .in = {SHAPE(2, 3), SHAPE(2, 3)}});
    cr_assert(lk_op_info(s.op)->needs(&s) == LK_NEEDS_Y);
    s.attr.add.act = LK_ACT_SILU;
    cr_assert(lk_op_info(s.op)->needs(&s) == 0);
    s = inferred((lk_opspec){.op = LK_OP_ADD, .n_in = 3, .in = {SHAPE(2, 3), SHAPE(2, 3), SHAPE(2, 3)}});
    cr_assert(lk_op_info(s.op)->flops(&s) == 12);
    s.in[2] = SHAPE(2, 4);
    check_error(s, LK_E_SHAPE, "cannot add [2,3] and [2,4]: shapes must be equal");
    check_error((lk_opspec){.op = LK_OP_ADD, .n_in = 1, .in = {SHAPE(2, 3)}}, LK_E_SHAPE,
        "takes at least 2 inputs, got 1");
}

Test(shapes, activation)
{
    lk_opspec s = {.op = LK_OP_ACTIVATION, .attr.activation = {LK_ACT_ELU, 0.5}, .n_in = 1, .in = {SHAPE(4, 7, 3)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &s.in[0]) && s.n_params == 0);
    for (int act = LK_ACT_RELU; act < LK_ACT_COUNT; act++) {
        s.attr.activation.act = (lk_act)act;
        const bool input = act == LK_ACT_GELU || act == LK_ACT_GELU_TANH || act == LK_ACT_SILU;
        cr_assert(lk_op_info(s.op)->needs(&s) == (unsigned)(input ? LK_NEEDS_X : LK_NEEDS_Y));
    }
    s.attr.activation = (lk_attr_activation){LK_ACT_LEAKY_RELU, -0.1};
    check_error(s, LK_E_RANGE, "leaky_relu: alpha is -0.1, must be in [0, 1e6]");
    s.attr.activation = (lk_attr_activation){LK_ACT_ELU, NAN};
    check_error(s, LK_E_RANGE, "elu: alpha is nan, must be in [0, 1e6]");
}

Test(shapes, sequences)
{
    lk_opspec s = inferred((lk_opspec){.op = LK_OP_EMBEDDING,
        .attr.embedding = {.size = 65, .units = 16, .deviation = 0.02},
        .n_in = 1,
        .in = {SHAPE(4, 9)},
        .in_dtype = {LK_DT_I64}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(4, 9, 16)) && s.n_params == 1);
    check_param(&s, 0, "weight", SHAPE(65, 16), LK_PARAM_WEIGHT, LK_INIT_NORMAL, 0.02);
    s.in_dtype[0] = LK_DT_REAL;
    check_error(s, LK_E_SHAPE, "input [4,9] holds real numbers, expected whole numbers");
    s.in_dtype[0] = LK_DT_I64;
    s.attr.embedding.size = 0;
    check_error(s, LK_E_RANGE, "size 0 and units 16 must be at least 1");
    s.attr.embedding = (lk_attr_embedding){.size = 65, .units = 16, .deviation = -1};
    check_error(s, LK_E_RANGE, "deviation is -1, must be in [0, 1e6]");

    s = inferred((lk_opspec){
        .op = LK_OP_POSITIONS, .attr.positions = {.max = 12, .deviation = 1}, .n_in = 1, .in = {SHAPE(4, 9, 16)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(4, 9, 16)) && s.n_params == 1);
    check_param(&s, 0, "weight", SHAPE(12, 16), LK_PARAM_WEIGHT, LK_INIT_NORMAL, 1);
    s.attr.positions.max = 8;
    check_error(s, LK_E_SHAPE, "a sequence of 9 places, but there are weights for max 8");
    s.attr.positions.max = 0;
    check_error(s, LK_E_RANGE, "max is 0, must be at least 1");
    s.attr.positions.sinusoidal = true;
    cr_assert(inferred(s).n_params == 0);
    s.in[0] = SHAPE(4, 9);
    check_error(s, LK_E_SHAPE, "input [4,9] has 2 dimensions, expected [batch, places, features]");
}

Test(shapes, attention)
{
    lk_opspec s = inferred((lk_opspec){
        .op = LK_OP_ATTENTION, .attr.attention = {.heads = 4, .kv_heads = 2}, .n_in = 1, .in = {SHAPE(3, 5, 64)}});
    cr_assert(lk_shape_equal(&s.out, &SHAPE(3, 5, 32)) && s.n_params == 0);
    cr_assert(lk_op_info(s.op)->flops(&s) == 4.0 * 3 * 5 * 32 * 5);
    s.in[0] = SHAPE(3, 5, 60);
    check_error(s, LK_E_SHAPE, "input [3,5,60]: the last dimension must be a multiple of 8 (heads + 2 kv_heads)");
    s.attr.attention.kv_heads = 3;
    check_error(s, LK_E_RANGE, "heads 4, kv_heads 3: both must be at least 1, and kv_heads divide heads");
    s.attr.attention = (lk_attr_attention){.heads = 4, .rotary = true};
    check_error(s, LK_E_SHAPE, "rotary turns pairs of numbers, but a head has 5");
    s.attr.attention = (lk_attr_attention){.heads = 4, .rate = 1};
    check_error(s, LK_E_RANGE, "rate is 1, must be in [0, 1)");
    s.attr.attention = (lk_attr_attention){.heads = 4, .scale = -1};
    check_error(s, LK_E_RANGE, "scale is -1, must be in [0, 1e6] (0: by the size of a head)");

    s = (lk_opspec){.op = LK_OP_ATTENTION,
        .attr.attention = {.heads = 4},
        .n_in = 2,
        .in = {SHAPE(3, 5, 32), SHAPE(3, 7, 64)}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(3, 5, 32)));
    s.in[1] = SHAPE(3, 7, 32);
    check_error(s, LK_E_SHAPE, "queries [3,5,32] and keys with values [3,7,32] do not fit: these must be [3,places,64]");
    s.in[0] = SHAPE(3, 5, 30);
    check_error(s, LK_E_SHAPE, "input [3,5,30]: the last dimension must be a multiple of 4 (heads)");
    s.in[0] = SHAPE(3, 5, 96);
    s.in[1] = SHAPE(4);
    s.in_dtype[1] = LK_DT_I64;
    check_error(s, LK_E_SHAPE, "input [3,5,96] and lengths [4] do not fit: one length a sample");
    s.in[1] = SHAPE(3, 1);
    check_error(s, LK_E_SHAPE, "lengths [3,1] has 2 dimensions, expected [batch]");
    s.n_in = 3;
    check_error(s, LK_E_SHAPE,
        "takes packed queries, keys and values, or queries and packed keys and values, and lengths");
}

Test(shapes, losses)
{
    lk_opspec s = {
        .op = LK_OP_CROSS_ENTROPY, .n_in = 2, .in = {SHAPE(8, 10), SHAPE(8)}, .in_dtype = {LK_DT_REAL, LK_DT_I64}};
    s = inferred(s);
    cr_assert(lk_shape_equal(&s.out, &SHAPE(1)));
    s.in[1] = SHAPE(9);
    check_error(s, LK_E_SHAPE, "logits [8,10] and target [9] do not fit: the target must hold one class id a sample");
    s.in[1] = SHAPE(8, 1);
    check_error(s, LK_E_SHAPE, "logits [8,10] and target [8,1] do not fit: the target must hold one class id a sample");
    s.in[1] = SHAPE(8);
    s.in_dtype[1] = LK_DT_REAL;
    check_error(s, LK_E_SHAPE,
        "logits [8,10] and target [8] do not fit: a target of real numbers holds the share of each class, in the shape "
        "of the logits; class ids are whole numbers");
    s.in[1] = SHAPE(8, 10);
    s = inferred(s);
    s.attr.cross_entropy.has_ignored = true;
    check_error(s, LK_E_RANGE, "an ignored class id has no meaning where targets are shares of classes");
    s.in[0] = SHAPE(8, 10, 2, 2);
    s.in[1] = SHAPE(8, 2, 2);
    s.in_dtype[1] = LK_DT_I64;
    s = inferred(s);
    s.in[1] = SHAPE(8, 2, 3);
    check_error(
        s, LK_E_SHAPE, "logits [8,10,2,2] and target [8,2,3] do not fit: the target must hold one class id a place");
    s.in[0] = SHAPE(8, 2, 3, 2, 2);
    check_error(s, LK_E_SHAPE,
        "input [8,2,3,2,2] has 5 dimensions, expected logits [batch, classes], [batch, places, classes] or [batch, "
        "classes, height, width]");
    s.in[0] = SHAPE(8, 2, 3, 7);
    s.in[1] = SHAPE(8, 3, 7);
    s.attr.cross_entropy.n_weights = 7;
    check_error(s, LK_E_RANGE, "7 weights of classes for 2 classes (at most 64 are possible)");
    s.attr.cross_entropy.n_weights = 2;
    s.attr.cross_entropy.weight[1] = -1;
    check_error(s, LK_E_RANGE, "the weight of class 1 is -1, must not be negative");
    s.attr.cross_entropy = (lk_attr_cross_entropy){.smoothing = 1};
    check_error(s, LK_E_RANGE, "smoothing is 1, must be in [0, 1)");
    s.attr.cross_entropy = (lk_attr_cross_entropy){.scale = -1};
    check_error(s, LK_E_RANGE, "scale is -1, must be above 0");

    check_error(
        (lk_opspec){
            .op = LK_OP_HINGE, .n_in = 2, .in = {SHAPE(8, 10), SHAPE(8, 10)}, .in_dtype = {LK_DT_REAL, LK_DT_I64}},
        LK_E_SHAPE, "scores [8,10] and target [8,10] do not fit: the target must hold one class id a sample");
    check_error((lk_opspec){.op = LK_OP_HINGE, .n_in = 2, .in = {SHAPE(8, 1), SHAPE(8)}}, LK_E_SHAPE,
        "scores [8,1] and target [8] do not fit: shapes must be equal");
    check_error((lk_opspec){.op = LK_OP_HUBER, .attr.huber = {.delta = -1}, .n_in = 2, .in = {SHAPE(8), SHAPE(8)}},
        LK_E_RANGE, "delta is -1, must be above 0");
    check_error(
        (lk_opspec){
            .op = LK_OP_BCE_LOGITS, .attr.bce_logits = {.positive = NAN}, .n_in = 2, .in = {SHAPE(8), SHAPE(8)}},
        LK_E_RANGE, "the weight of positive targets is nan, must be above 0");
    check_error((lk_opspec){.op = LK_OP_GAN, .attr.gan = {.role = 7}, .n_in = 1, .in = {SHAPE(8)}}, LK_E_RANGE,
        "kind 0 and role 7 are not known");
    check_error((lk_opspec){.op = LK_OP_KL_NORMAL, .n_in = 2, .in = {SHAPE(8, 3), SHAPE(8, 4)}}, LK_E_SHAPE,
        "mean [8,3] and log variance [8,4] do not fit: shapes must be equal");
    check_error((lk_opspec){.op = LK_OP_GAUSSIAN, .n_in = 2, .in = {SHAPE(8, 3), SHAPE(8, 4)}}, LK_E_SHAPE,
        "mean [8,3] and log variance [8,4] do not fit: shapes must be equal");
    check_error((lk_opspec){.op = LK_OP_NOISE, .attr.noise = {.ndim = 2, .dim = {3, 0}}, .n_in = 1, .in = {SHAPE(8)}},
        LK_E_SHAPE, "output [8,3,0]: dimension 2 is 0, must be at least 1");
    check_error((lk_opspec){.op = LK_OP_NOISE, .attr.noise = {.ndim = 6}, .n_in = 1, .in = {SHAPE(8)}}, LK_E_RANGE,
        "6 dimensions a sample, at most 5 are possible");

    check_error((lk_opspec){.op = LK_OP_MSE, .n_in = 2, .in = {SHAPE(8, 10), SHAPE(8, 1)}}, LK_E_SHAPE,
        "prediction [8,10] and target [8,1] do not fit: shapes must be equal");
    check_error(
        (lk_opspec){
            .op = LK_OP_MSE, .n_in = 2, .in = {SHAPE(8, 10), SHAPE(8, 10)}, .in_dtype = {LK_DT_REAL, LK_DT_I64}},
        LK_E_SHAPE, "input [8,10] holds whole numbers (class ids), expected real numbers");
}

/* A failed infer of any case with a dimension of 0 must not do more than fail. */
Test(shapes, empty)
{
    for (int op = 0; op < LK_OP_COUNT; op++)
        for (int i = 0; i < kern_cases[op].n; i++)
            for (int j = 0; j < kern_cases[op].item[i].in[0].ndim; j++) {
                lk_opspec s = {
                    .op = (lk_op)op, .attr = kern_cases[op].item[i].attr, .n_in = lk_op_info((lk_op)op)->n_in};
                memcpy(s.in, kern_cases[op].item[i].in, sizeof s.in);
                s.in[0].dim[j] = 0;
                cr_assert(lk_op_info((lk_op)op)->infer(&s) == LK_E_SHAPE);
            }
}
