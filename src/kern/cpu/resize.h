/* Sizes changed axis by axis, channels last: output place o is a sum of n input places from `from` on, of which the
 * first has one share and the others another. */
#ifndef LK_KERN_CPU_RESIZE_H
#define LK_KERN_CPU_RESIZE_H

#include "kern/cpu/cpu_int.h"

typedef struct lki_share {
    int64_t from, n;
    double first, others;
} lki_share;

/* What output place o of `out` along an axis takes from the `in` places of the input. */
typedef lki_share (*lki_share_fn)(const lk_opspec *s, int64_t in, int64_t out, int64_t o);

void lki_resize_forward(const lk_call *c, lki_share_fn share);
void lki_resize_backward(const lk_call *c, lki_share_fn share);

#endif
