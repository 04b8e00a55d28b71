/* For tests of what goes through cuDNN, on the stand-in, which fails calls on request. */
#ifndef LK_TESTS_CUDA_BY_CUDNN_H
#define LK_TESTS_CUDA_BY_CUDNN_H

#include "cuda/cuda.h"
#include "kern/harness.h"

#include <stdlib.h>

static const lk_backend *by_cudnn;

static inline void by_cudnn_open(lk_precision precision)
{
    const lk_cuda_module *module = NULL;
    lk_cuda_gpu gpu;

    kern_data_type = precision == LK_PRECISION_BF16 ? KERN_BF16 : precision == LK_PRECISION_FP16 ? KERN_F16 : KERN_F32;
    KERN_OK(lk_cuda_load(&module));
    KERN_OK(module->open(0, precision, &by_cudnn));
    KERN_OK(module->describe(0, &gpu));
    if (strstr(gpu.name, "stand-in") == NULL)
        cr_skip_test("on a GPU no call fails on request");
    unsetenv("LOCKSTEP_CUDNN");
}

static inline kern_data by_cudnn_data(lk_op op, const kern_case *k, uint64_t seed, lk_layout layout)
{
    kern_data d;

    kern_data_fill(&d, op, k, 0, seed);
    d.spec.in_layout = d.spec.out_layout = layout;
    return d;
}

/* Calls of cudnnBackendExecute in a forward and backward pass. */
static inline int by_cudnn_calls(lk_op op, const kern_case *k, uint64_t seed, lk_layout layout)
{
    kern_data d = by_cudnn_data(op, k, seed, layout);
    kern_result r;
    int n = 0;

    for (;;) {
        char fail[64];
        snprintf(fail, sizeof fail, "cudnnBackendExecute:%d", n + 1);
        setenv("STANDIN_FAIL", fail, 1);
        const lk_status st = kern_run(by_cudnn, &d.spec, &d, &(kern_opts){.poison = 0xFF}, &r);
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

/* Status of a plan, which is destroyed. */
static inline lk_status by_cudnn_plan(lk_op op, const kern_case *k, uint64_t seed, lk_layout layout, const char *fail)
{
    kern_data d = by_cudnn_data(op, k, seed, layout);
    const lk_kernel *const kernel = by_cudnn->kernel[op];
    const int64_t bytes = lk_mem_bytes();
    lk_kern_plan p = {0};

    setenv("STANDIN_FAIL", fail, 1);
    const lk_status st = kernel->plan(&d.spec, &p);
    unsetenv("STANDIN_FAIL");
    if (st == LK_OK)
        kernel->destroy(p.state);
    cr_assert(lk_mem_bytes() == bytes, "%s: %" PRId64 " bytes are left", fail, lk_mem_bytes() - bytes);
    kern_data_fini(&d);
    return st;
}

/* Each step of the setup in turn: what the library cannot do is done otherwise; a want of memory is an error, since other ranks may not have it, and
 * their numbers would be others. */
static inline void by_cudnn_fail_setup(lk_op op, const kern_case *c, uint64_t seed, lk_layout layout)
{
    static const struct {
        int status;
        lk_status expect;
    } kinds[] = {{3000, LK_OK}, {2000, LK_OK}, {4003, LK_E_NOMEM}};

    KERN_OK(by_cudnn_plan(op, c, seed, layout, "none:1"));
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        int failed = 0;
        for (int n = 1; n <= 100; n++) {
            char fail[64];
            snprintf(fail, sizeof fail, "cudnnBackendFinalize:%d:%d", n, kinds[k].status);
            const lk_status st = by_cudnn_plan(op, c, seed, layout, fail);
            failed += st != LK_OK;
            cr_assert(st == LK_OK || st == kinds[k].expect, "%s: %s: %s", fail, lk_status_name(st), lk_err_last()->message);
        }
        cr_assert((failed >= 20) == (kinds[k].expect != LK_OK), "%d failed", failed);
    }
}

/* The second of two that are alike takes the plans of the first. */
static inline void by_cudnn_share(lk_op op, const kern_case *k, uint64_t seed, lk_layout layout)
{
    kern_data d = by_cudnn_data(op, k, seed, layout);
    const lk_kernel *const kernel = by_cudnn->kernel[op];
    lk_kern_plan p = {0};

    KERN_OK(kernel->plan(&d.spec, &p));
    KERN_OK(by_cudnn_plan(op, k, seed, layout, "cudnnBackendFinalize:1:4003"));
    kernel->destroy(p.state);
    cr_assert(by_cudnn_plan(op, k, seed, layout, "cudnnBackendFinalize:1:4003") == LK_E_NOMEM);
    kern_data_fini(&d);
}

#endif
