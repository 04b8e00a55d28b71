/* relu: max(x, 0). */
#include "kern/kern_int.h"

const lk_opinfo lk_op_relu = {
    .name = "relu", .n_in = 1, .infer = lki_same_infer, .needs = lki_needs_y, .flops = lki_flops_none};
