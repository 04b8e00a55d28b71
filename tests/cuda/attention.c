/* Which attention goes through cuDNN, on the stand-in, which fails calls on request; and what happens where cuDNN refuses or has no memory. That the numbers are
 * right is held by cuda_vs_ref, with cuDNN and without. */
#include "cuda/by_cudnn.h"

static void setup(void)
{
    by_cudnn_open(LK_PRECISION_BF16);
}

/* Seeds with which the stand-in's module leaves it to the kernels for small sizes, or does not. */
enum { LARGE = 3, SMALL = 20 };

static int calls(const kern_case *k)
{
    return by_cudnn_calls(LK_OP_ATTENTION, k, LARGE, LK_LAYOUT_PLAIN);
}

static const kern_case packed = {.attr.attention = {.heads = 2, .causal = true}, .in = {{3, {2, 5, 48}}}};
static const kern_case grouped = {.attr.attention = {.heads = 2, .kv_heads = 1, .scale = 0.5}, .in = {{3, {2, 5, 32}}}};
static const kern_case rotary = {.attr.attention = {.heads = 2, .causal = true, .rotary = true}, .in = {{3, {2, 5, 48}}}};
static const kern_case memory = {.attr.attention = {.heads = 2}, .in = {{3, {2, 5, 16}}, {3, {2, 7, 32}}}};
static const kern_case one_by_one = {.attr.attention = {.heads = 4, .causal = true}, .in = {{3, {3, 5, 96}}}};
static const kern_case no_workspace = {.attr.attention = {.heads = 8}, .in = {{3, {1, 200, 192}}}};
static const kern_case odd_width = {.attr.attention = {.heads = 2}, .in = {{3, {2, 5, 36}}}};
static const kern_case wide = {.attr.attention = {.heads = 1}, .in = {{3, {1, 5, 432}}}};
static const kern_case single = {.attr.attention = {.heads = 2}, .in = {{3, {2, 1, 48}}}};
static const kern_case dropped = {.attr.attention = {.heads = 2, .rate = 0.1}, .in = {{3, {2, 5, 48}}}};
static const kern_case lengths = {.attr.attention = {.heads = 2}, .in = {{3, {2, 5, 48}}, {1, {2}}}, .ids[1] = {1, 6}};

Test(attention, by_cudnn, .init = setup)
{
    cr_assert(calls(&packed) == 2);
    cr_assert(calls(&grouped) == 2);
    cr_assert(calls(&rotary) == 2);
    cr_assert(calls(&memory) == 2);
    cr_assert(by_cudnn_calls(LK_OP_ATTENTION, &packed, SMALL, LK_LAYOUT_PLAIN) == 0, "it is small");
    by_cudnn_open(LK_PRECISION_FP16);
    cr_assert(calls(&packed) == 2);
}

Test(attention, otherwise, .init = setup)
{
    cr_assert(calls(&no_workspace) == 1, "only the way forward");
    cr_assert(calls(&odd_width) == 0);
    cr_assert(calls(&wide) == 0);
    cr_assert(calls(&single) == 0);
    cr_assert(calls(&dropped) == 0);
    cr_assert(calls(&lengths) == 0);
    setenv("LOCKSTEP_CUDNN", "0", 1);
    cr_assert(calls(&packed) == 0);
    by_cudnn_open(LK_PRECISION_FP32);
    cr_assert(calls(&packed) == 0);
}

/* The workspace, which the stand-in's module bounds to a small number of bytes, holds one sample of `one_by_one`'s heads at a time. */
Test(attention, backward_goes_over_samples, .init = setup)
{
    cr_assert(calls(&one_by_one) == 1 + 3);
}

/* Each step of the setup in turn: see tests/cuda/conv.c. */
Test(attention, setup_fails_at_each_step, .init = setup)
{
    by_cudnn_fail_setup(LK_OP_ATTENTION, &packed, LARGE, LK_LAYOUT_PLAIN);
}

Test(attention, plans_are_shared, .init = setup)
{
    by_cudnn_share(LK_OP_ATTENTION, &packed, LARGE, LK_LAYOUT_PLAIN);
}
