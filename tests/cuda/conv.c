/* Which convolutions go through cuDNN, on the stand-in, which fails calls on request; and what happens where cuDNN refuses or has no memory. That the
 * numbers are right is held by cuda_vs_ref, with cuDNN and without. */
#include "cuda/by_cudnn.h"

enum { SEED = 5 };

static void setup(void)
{
    by_cudnn_open(LK_PRECISION_FP32);
}

static int calls(lk_op op, const kern_case *k)
{
    return by_cudnn_calls(op, k, SEED, LK_LAYOUT_NHWC);
}

static const kern_case windows = {.attr.conv = {.filters = 16, .kernel = {3, 3}, .stride = {2, 1}, .pad_before = {1, 0}, .pad_after = {1, 2}, .bias = true, .act = LK_ACT_RELU}, .in = {{4, {2, 8, 6, 7}}}};
static const kern_case no_relu = {.attr.conv = {.filters = 8, .kernel = {3, 3}, .stride = {1, 1}, .bias = true}, .in = {{4, {2, 8, 6, 7}}}};
static const kern_case one_axis = {.attr.conv = {.filters = 5, .kernel = {3}, .stride = {1}, .bias = true}, .in = {{3, {2, 3, 9}}}};
static const kern_case in_groups = {.attr.conv = {.filters = 8, .kernel = {3, 3}, .stride = {1, 1}, .groups = 2, .act = LK_ACT_RELU}, .in = {{4, {2, 4, 5, 6}}}};
static const kern_case depthwise = {.attr.conv = {.filters = 8, .kernel = {3, 3}, .stride = {1, 1}, .groups = 8}, .in = {{4, {2, 8, 5, 6}}}};
static const kern_case places = {.attr.conv = {.filters = 8, .kernel = {1, 1}, .stride = {1, 1}}, .in = {{4, {2, 8, 5, 6}}}};
static const kern_case three_axes = {.attr.conv = {.filters = 8, .kernel = {2, 2, 2}, .stride = {1, 1, 1}}, .in = {{5, {2, 8, 3, 4, 5}}}};
/* More windows would fit than it has. */
static const kern_case room_behind = {.attr.conv = {.filters = 8, .kernel = {2, 2}, .stride = {1, 1}, .dilation = {3, 1}, .output_pad = {2, 0}}, .in = {{4, {2, 8, 4, 4}}}};

Test(conv, parts_by_cudnn, .init = setup)
{
    cr_assert(calls(LK_OP_CONV, &windows) == 3);
    cr_assert(calls(LK_OP_CONV_TRANSPOSE, &windows) == 3);
    cr_assert(calls(LK_OP_CONV, &no_relu) == 3);
    cr_assert(calls(LK_OP_CONV_TRANSPOSE, &no_relu) == 3);
    cr_assert(calls(LK_OP_CONV, &one_axis) == 3);
    cr_assert(calls(LK_OP_CONV, &in_groups) == 2, "the gradient of the weights is our own");
    cr_assert(calls(LK_OP_CONV, &depthwise) == 0);
    cr_assert(calls(LK_OP_CONV, &places) == 0);
    cr_assert(calls(LK_OP_CONV, &three_axes) == 0);
    cr_assert(calls(LK_OP_CONV_TRANSPOSE, &room_behind) == 0);
    setenv("LOCKSTEP_CUDNN", "0", 1);
    cr_assert(calls(LK_OP_CONV, &windows) == 0);
}

Test(conv, cudnn_does_not_begin, .init = setup)
{
    cr_assert(by_cudnn_plan(LK_OP_CONV, &windows, SEED, LK_LAYOUT_NHWC, "cudnnCreate:1") == LK_E_LIBRARY);
    cr_assert(strstr(lk_err_last()->message, "LOCKSTEP_CUDNN=0 does without cuDNN"), "%s", lk_err_last()->message);
    cr_assert(by_cudnn_plan(LK_OP_CONV, &windows, SEED, LK_LAYOUT_NHWC, "cudnnCreate:1") == LK_OK, "it is tried again");
}

Test(conv, setup_fails_at_each_step, .init = setup)
{
    by_cudnn_fail_setup(LK_OP_CONV, &windows, SEED, LK_LAYOUT_NHWC);
}

Test(conv, plans_are_shared, .init = setup)
{
    by_cudnn_share(LK_OP_CONV, &windows, SEED, LK_LAYOUT_NHWC);
}

static double *output_of(const kern_case *k)
{
    kern_data d = by_cudnn_data(LK_OP_CONV, k, SEED, LK_LAYOUT_NHWC);
    kern_result r;

    KERN_OK(kern_run(by_cudnn, &d.spec, &d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r));
    double *const y = r.y;
    r.y = NULL;
    kern_result_fini(&r);
    kern_data_fini(&d);
    return y;
}

/* tf32 takes the first engine that the heuristic names for floats, which rounds its factors; fp32 does not. */
Test(conv, tf32, .init = setup)
{
    kern_data d = by_cudnn_data(LK_OP_CONV, &no_relu, SEED, LK_LAYOUT_NHWC);
    const int64_t n = lk_shape_count(&d.spec.out);
    double *const exact = output_of(&no_relu);

    by_cudnn_open(LK_PRECISION_TF32);
    double *const rounded = output_of(&no_relu);
    const double error = kern_distance(n, exact, rounded);
    cr_assert(error > 1e-6 && error < 2e-3 * kern_largest(n, exact), "largest difference %g", error);
    lk_free(exact);
    lk_free(rounded);
    kern_data_fini(&d);
}
