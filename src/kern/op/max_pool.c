/* max_pool: the largest value under a sliding window over one to three axes; the first one in D H W order where several
 * are equal. */
#include "kern/kern_int.h"

/* Backward reads the places of the maxima, which the kernel saved. */
const lk_opinfo lk_op_max_pool = {
    .name = "max_pool", .n_in = 1, .infer = lki_pool_infer, .needs = lki_needs_none, .flops = lki_flops_none};
