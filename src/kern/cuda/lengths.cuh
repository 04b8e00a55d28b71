/* Lengths of the samples, which come with the data. */
#ifndef LK_KERN_CUDA_LENGTHS_CUH
#define LK_KERN_CUDA_LENGTHS_CUH

#include "kern/cuda/cuda_int.h"

struct row_lengths {
    const lk_live *live;
    int node;
    const int64_t *length; /* [B]; NULL: `most` */
    int64_t most, padding; /* padding: what stands for the length of rows that are no samples */
    /* Leaves a note where it is outside of [0, most], and gives 0. */
    __device__ int64_t of(int64_t row) const
    {
        if (row >= live->valid)
            return padding;
        const int64_t n = length == NULL ? most : length[row];
        if (n >= 0 && n <= most)
            return n;
        note_fault(live, LK_FAULT_LENGTH, node, row, n, most);
        return 0;
    }
};
/* From input i of the call, if it has that many. */
static inline row_lengths row_lengths_of(const lk_call *c, int i, int64_t most, int64_t padding)
{
    return {c->live, c->node, c->spec->n_in > i ? (const int64_t *)c->x[i] : NULL, most, padding};
}

#endif
