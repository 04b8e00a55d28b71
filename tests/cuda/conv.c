/* Which convolutions go through cuDNN, on the stand-in, which fails calls on request; and what happens where cuDNN refuses or has no memory. That the
 * numbers are right is held by cuda_vs_ref, with cuDNN and without. */
#include "cuda/cuda.h"
#include "kern/harness.h"

#include <stdlib.h>

static const lk_backend *be;

static void open_device(lk_precision precision)
{
    const lk_cuda_module *module = NULL;
    lk_cuda_gpu gpu;

    KERN_OK(lk_cuda_load(&module));
    KERN_OK(module->open(0, precision, &be));
    KERN_OK(module->describe(0, &gpu));
    if (strstr(gpu.name, "stand-in") == NULL)
        cr_skip_test("on a GPU no call fails on request");
    unsetenv("LOCKSTEP_CUDNN");
}

static void setup(void)
{
    open_device(LK_PRECISION_FP32);
}

static kern_data data_of(lk_op op, const kern_case *k)
{
    kern_data d;

    kern_data_fill(&d, op, k, 0, 5);
    d.spec.in_layout = d.spec.out_layout = LK_LAYOUT_NHWC;
    return d;
}

/* Calls of cudnnBackendExecute in a forward and backward pass. */
static int calls(lk_op op, const kern_case *k)
{
    kern_data d = data_of(op, k);
    kern_result r;
    int n = 0;

    for (;;) {
        char fail[64];
        snprintf(fail, sizeof fail, "cudnnBackendExecute:%d", n + 1);
        setenv("STANDIN_FAIL", fail, 1);
        const lk_status st = kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r);
        unsetenv("STANDIN_FAIL");
        if (st == LK_OK)
            break;
        cr_assert(st == LK_E_LIBRARY, "%s", lk_err_last()->message);
        cr_assert(strstr(lk_err_last()->message, "cudnnBackendExecute: CUDNN_STATUS_EXECUTION_FAILED: as STANDIN_FAIL wants it"), "%s", lk_err_last()->message);
        n++;
    }
    kern_result_fini(&r);
    kern_data_fini(&d);
    return n;
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

/* Status of a plan for `windows`, which is destroyed. */
static lk_status plan_and_destroy(const char *fail)
{
    kern_data d = data_of(LK_OP_CONV, &windows);
    const lk_kernel *const k = be->kernel[LK_OP_CONV];
    const int64_t bytes = lk_mem_bytes();
    lk_kern_plan p = {0};

    setenv("STANDIN_FAIL", fail, 1);
    const lk_status st = k->plan(&d.spec, &p);
    unsetenv("STANDIN_FAIL");
    if (st == LK_OK)
        k->destroy(p.state);
    cr_assert(lk_mem_bytes() == bytes, "%s: %" PRId64 " bytes are left", fail, lk_mem_bytes() - bytes);
    kern_data_fini(&d);
    return st;
}

Test(conv, cudnn_does_not_begin, .init = setup)
{
    cr_assert(plan_and_destroy("cudnnCreate:1") == LK_E_LIBRARY);
    cr_assert(strstr(lk_err_last()->message, "LOCKSTEP_CUDNN=0 does without cuDNN"), "%s", lk_err_last()->message);
    cr_assert(plan_and_destroy("cudnnCreate:1") == LK_OK, "it is tried again");
}

/* Each step of the setup in turn: what the library cannot do is done otherwise; a want of memory is an error, since other ranks may not have it, and
 * their numbers would be others. */
Test(conv, setup_fails_at_each_step, .init = setup)
{
    static const struct {
        int status;
        lk_status expect;
    } kinds[] = {{3000, LK_OK}, {2000, LK_OK}, {4003, LK_E_NOMEM}};
    KERN_OK(plan_and_destroy("none:1"));
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        int failed = 0;
        for (int n = 1; n <= 100; n++) {
            char fail[64];
            snprintf(fail, sizeof fail, "cudnnBackendFinalize:%d:%d", n, kinds[k].status);
            const lk_status st = plan_and_destroy(fail);
            failed += st != LK_OK;
            cr_assert(st == LK_OK || st == kinds[k].expect, "%s: %s: %s", fail, lk_status_name(st), lk_err_last()->message);
        }
        cr_assert((failed >= 20) == (kinds[k].expect != LK_OK), "%d failed", failed);
    }
}

/* The second of two that are alike takes the plans of the first. */
Test(conv, plans_are_shared, .init = setup)
{
    kern_data d = data_of(LK_OP_CONV, &windows);
    const lk_kernel *const k = be->kernel[LK_OP_CONV];
    lk_kern_plan p = {0};

    KERN_OK(k->plan(&d.spec, &p));
    KERN_OK(plan_and_destroy("cudnnBackendFinalize:1:4003"));
    k->destroy(p.state);
    cr_assert(plan_and_destroy("cudnnBackendFinalize:1:4003") == LK_E_NOMEM);
    kern_data_fini(&d);
}

static double *output_of(const kern_case *k)
{
    kern_data d = data_of(LK_OP_CONV, k);
    kern_result r;

    KERN_OK(kern_run(be, &d.spec, &d, &(kern_opts){.poison = 0xFF, .forward_only = true}, &r));
    double *const y = r.y;
    r.y = NULL;
    kern_result_fini(&r);
    kern_data_fini(&d);
    return y;
}

/* tf32 takes the first engine that the heuristic names for floats, which rounds its factors; fp32 does not. */
Test(conv, tf32, .init = setup)
{
    kern_data d = data_of(LK_OP_CONV, &no_relu);
    const int64_t n = lk_shape_count(&d.spec.out);
    double *const exact = output_of(&no_relu);

    open_device(LK_PRECISION_TF32);
    double *const rounded = output_of(&no_relu);
    const double error = kern_distance(n, exact, rounded);
    cr_assert(error > 1e-6 && error < 2e-3 * kern_largest(n, exact), "largest difference %g", error);
    lk_free(exact);
    lk_free(rounded);
    kern_data_fini(&d);
}
