/* max_pool2d: the largest value under a sliding window; the first one in H W order where several are equal. */
#include "kern/kern_int.h"

/* Backward reads the places of the maxima, which the kernel saved. */
const lk_opinfo lk_op_max_pool2d = {
    .name = "max_pool2d", .n_in = 1, .infer = lki_pool2d_infer, .needs = lki_needs_none, .flops = lki_flops_none};
