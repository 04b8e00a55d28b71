/* upsample: the nearest place, or the two around with shares by distance. */
#include "kern/cpu/resize.h"

static lki_share share(const lk_opspec *s, int64_t in, int64_t out, int64_t o)
{
    const int64_t factor = out / in;
    if (!s->attr.resize.linear)
        return (lki_share){o / factor, 1, 1, 0};
    /* 2 factor times the position of o, as a whole number. */
    const int64_t at = 2 * o + 1 - factor, from = at < 0 ? 0 : at / (2 * factor);
    const double beyond = at < 0 ? 0 : (double)(at % (2 * factor)) / (double)(2 * factor);
    if (beyond == 0 || from == in - 1)
        return (lki_share){from, 1, 1, 0};
    return (lki_share){from, 2, 1 - beyond, beyond};
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

const lk_kernel lk_kern_cpu_upsample = {.forward = forward, .backward = backward};
