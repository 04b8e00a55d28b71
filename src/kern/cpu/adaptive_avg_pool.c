/* adaptive_avg_pool: the mean over the places that belong to an output. */
#include "kern/cpu/resize.h"

static lki_share share(const lk_opspec *s, int64_t in, int64_t out, int64_t o)
{
    (void)s;
    const int64_t from = o * in / out, n = ((o + 1) * in + out - 1) / out - from;
    return (lki_share){from, n, 1 / (double)n, 1 / (double)n};
}

static lk_status forward(const lk_call *c)
{
    lki_resize_forward(c, share);
    return LK_OK;
}

static lk_status backward(const lk_call *c)
{
    lki_resize_backward(c, share);
    return LK_OK;
}

const lk_kernel lk_kern_cpu_adaptive_avg_pool = {.forward = forward, .backward = backward};
